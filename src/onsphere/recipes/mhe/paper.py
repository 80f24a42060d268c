"""The numbers of the thesis's tables: testing errors in percent."""

from __future__ import annotations

from collections.abc import Mapping

Errors = Mapping[str, float]


def _variants(prefix: str, s2: float, s1: float, s0: float) -> dict[str, float]:
    return {f"{prefix}-s2": s2, f"{prefix}-s1": s1, f"{prefix}-s0": s0}


# CNN-9, by number of classes.
TABLE_5_1: Mapping[int, Errors] = {
    10: {
        "none": 7.75,
        **_variants("mhe", 6.22, 6.74, 6.44),
        **_variants("half-mhe", 6.28, 6.54, 6.30),
        **_variants("a-mhe", 6.21, 6.77, 6.45),
        **_variants("half-a-mhe", 6.52, 6.49, 6.44),
    },
    100: {
        "none": 28.13,
        **_variants("mhe", 27.15, 27.09, 26.16),
        **_variants("half-mhe", 25.61, 26.30, 26.18),
        **_variants("a-mhe", 26.17, 27.31, 27.90),
        **_variants("half-a-mhe", 26.03, 26.52, 26.47),
    },
}

# CNN-9 on CIFAR-100, by widths.
TABLE_5_2: Mapping[tuple[int, ...], Errors] = {
    (16, 32, 64): {"none": 47.72, "mhe-s2": 36.84, "half-mhe-s2": 35.16},
    (32, 64, 128): {"none": 38.64, "mhe-s2": 30.05, "half-mhe-s2": 29.33},
    (64, 128, 256): {"none": 28.13, "mhe-s2": 26.75, "half-mhe-s2": 25.96},
    (128, 256, 512): {"none": 24.95, "mhe-s2": 24.05, "half-mhe-s2": 23.38},
    (256, 512, 1024): {"none": 25.45, "mhe-s2": 23.14, "half-mhe-s2": 21.83},
}

# CIFAR-100, by depth; CNN-15 without MHE did not converge.
TABLE_5_3: Mapping[int, Errors] = {
    6: {"none": 32.08, "mhe-s2": 28.16, "half-mhe-s2": 27.56},
    9: {"none": 28.13, "mhe-s2": 26.75, "half-mhe-s2": 25.96},
    15: {"mhe-s2": 26.9, "half-mhe-s2": 25.84},
}

# CNN-9 on CIFAR-100, by layers; half space cannot be on the output layer.
TABLE_5_4: Mapping[str, Errors] = {
    "output": {"none": 28.13, "mhe-s2": 26.85, "a-mhe-s2": 27.8},
    "hidden": {"none": 28.13, "mhe-s2": 26.55, "half-mhe-s2": 26.28, "a-mhe-s2": 26.56, "half-a-mhe-s2": 26.64},
    "everywhere": {"none": 28.13, "mhe-s2": 26.16, "half-mhe-s2": 25.61, "a-mhe-s2": 26.17, "half-a-mhe-s2": 26.03},
}

# ResNet-32, by number of classes.
TABLE_5_5: Mapping[int, Errors] = {
    10: {"none": 5.19, "mhe-s2": 4.72, "half-mhe-s2": 4.66},
    100: {"none": 22.87, "mhe-s2": 22.19, "half-mhe-s2": 22.04},
}

# ImageNet, by model: top-1 error of the centre crop.
TABLE_5_6: Mapping[str, Errors] = {
    "resnet18": {"none": 32.95, "orthogonal": 32.65, "orthonormal": 32.61, "mhe-s2": 32.50, "half-mhe-s2": 32.45},
    "resnet34": {"none": 30.04, "orthogonal": 29.74, "orthonormal": 29.75, "mhe-s2": 29.60, "half-mhe-s2": 29.50},
}

_IMBALANCE_ROWS = ("none", "orthonormal", "mhe-s2", "half-mhe-s2", "a-mhe-s2", "half-a-mhe-s2")


def _rows(*errors: float) -> Errors:
    return dict(zip(_IMBALANCE_ROWS, errors, strict=True))


# CNN-9, by number of classes (Table 5.7 for 10, Table D.6 for 100) and kind of imbalance.
IMBALANCED: Mapping[tuple[int, str], Errors] = {
    (10, "single"): _rows(9.80, 8.34, 7.98, 7.90, 7.96, 7.59),
    (10, "multiple"): _rows(12.00, 10.80, 10.25, 9.59, 9.88, 9.89),
    (100, "single"): _rows(31.43, 30.75, 29.30, 29.40, 30.16, 29.60),
    (100, "multiple"): _rows(38.39, 37.89, 37.07, 36.52, 37.54, 37.07),
}

# CIFAR-10 with few images of class 0: the error on the test images of that class, Table 5.7's Err. (S).
CLASS_0: Errors = _rows(30.40, 26.80, 25.80, 26.40, 26.00, 25.90)

# SphereNet, by number of classes.
TABLE_D_3: Mapping[int, Errors] = {
    10: {
        "none": 6.37,
        "orthonormal": 6.13,
        **_variants("mhe", 5.71, 5.99, 5.95),
        **_variants("half-mhe", 6.12, 6.33, 6.31),
        **_variants("a-mhe", 5.91, 5.98, 6.06),
        **_variants("half-a-mhe", 6.14, 5.87, 6.11),
    },
    100: {
        "none": 28.10,
        "orthonormal": 27.95,
        **_variants("mhe", 27.28, 26.99, 27.03),
        **_variants("half-mhe", 27.17, 27.77, 27.46),
        **_variants("a-mhe", 27.07, 27.27, 26.70),
        **_variants("half-a-mhe", 27.35, 27.68, 27.58),
    },
}
