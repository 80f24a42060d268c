"""The numbers of chapter 7 and appendix F of the thesis: testing errors in percent, and energies."""

from __future__ import annotations

from collections.abc import Mapping

Errors = Mapping[str, float]

# CIFAR-100, by the depth of the plain CNN.
TABLE_7_1: Mapping[int, Errors] = {
    6: {"none": 37.59, "upt-learnable": 48.47, "upt": 42.61, "gs-learnable": 37.24, "gs": 33.02},
    9: {"none": 33.55, "upt-learnable": 46.72, "upt": 39.38, "gs-learnable": 32.95, "gs": 31.03},
}

# By mean: energy and error; None where the training did not converge (N/C).
TABLE_7_2: Mapping[str, tuple[float, float | None]] = {
    "mean-0": (3.5109, 32.49),
    "mean-1e-3": (3.5117, 33.11),
    "mean-1e-2": (3.5160, 39.51),
    "mean-2e-2": (3.5531, 53.89),
    "mean-3e-2": (3.6761, None),
    "mean-5e-2": (4.2776, None),
}

# MNIST, by initialization.
TABLE_7_3: Mapping[str, Errors] = {
    "normal": {"none": 6.05, "gs": 5.11, "hr": 5.31, "ls": 5.32, "cp": 5.14, "ogd": 5.38, "or": 5.41},
    "xavier": {"none": 2.14, "gs": 1.45, "hr": 1.60, "ls": 1.54, "cp": 1.49, "ogd": 1.56, "or": 1.78},
}

# CIFAR-100, by the depth of the plain CNN.
TABLE_7_4: Mapping[int, Errors] = {
    6: {
        "none": 37.59,
        "hs-mhe": 34.97,
        "gs": 33.02,
        "hr": 35.67,
        "ls": 34.48,
        "cp": 33.53,
        "ogd": 33.33,
        "or": 34.70,
    },
    9: {
        "none": 33.55,
        "hs-mhe": 32.87,
        "gs": 31.03,
        "hr": 32.75,
        "ls": 31.22,
        "cp": 31.28,
        "ogd": 31.47,
        "or": 32.63,
    },
}

# CNN-6 without batch normalization; OR did not converge.
TABLE_7_5: Errors = {
    "none": 38.95,
    "hs-mhe": 36.90,
    "gs": 35.61,
    "hr": 37.51,
    "ls": 35.83,
    "cp": 34.88,
    "ogd": 35.38,
}

# CNN-6, by what the neurons were refined with before training; the energy is that of all rows.
TABLE_7_6: Mapping[str, Errors] = {
    "none": {"gs": 33.02, "ls": 34.48, "cp": 33.53},
    "mhe": {"gs": 32.99, "ls": 34.43, "cp": 33.50},
    "hs-mhe": {"gs": 32.78, "ls": 34.37, "cp": 33.42},
}
TABLE_7_6_ENERGY: Errors = {"none": 3.5109, "mhe": 3.5003, "hs-mhe": 3.4976}

# CNN-6, by whether the neurons were normalised. Without, Table 7.4 has 33.33 for OGD.
TABLE_7_7: Mapping[bool, Errors] = {
    False: {"none": 37.59, "gs": 33.02, "hr": 35.67, "ls": 34.48, "cp": 33.53, "ogd": 33.37, "or": 34.70},
    True: {"none": 36.05, "gs": 32.54, "hr": 35.30, "ls": 32.11, "cp": 32.49, "ogd": 32.70, "or": 33.27},
}

# ResNets on CIFAR-100, by depth.
TABLE_7_8: Mapping[int, Errors] = {
    20: {"none": 31.11, "gs": 30.73, "cp": 30.47},
    32: {"none": 30.16, "gs": 29.56, "cp": 29.31},
}

# CNN-10 on ImageNet: top-1 and top-5.
TABLE_7_9: Mapping[str, tuple[float, float]] = {"none": (44.32, 21.13), "cp": (43.67, 20.26)}

# mini-ImageNet: five-shot accuracy of episodes, not an error.
TABLE_7_10: Mapping[str, float] = {
    "baseline": 62.53,
    "baseline-opt": 63.27,
    "baseline++": 66.43,
    "baseline++-opt": 66.82,
}

BLOCKS = (1, 2, 4, 8, 16, 32, 64)
Column = tuple[float, float, float, float, float, float, float]  # one error a number of blocks
_BASELINES = {"none": 37.59, "fixed": 73.81}


def _by_blocks(cp: Column, gs: Column, hr: Column, ls: Column, ogd: Column) -> dict[int, Errors]:
    columns = {"cp": cp, "gs": gs, "hr": hr, "ls": ls, "ogd": ogd}
    return {k: {**_BASELINES, **{row: errors[i] for row, errors in columns.items()}} for i, k in enumerate(BLOCKS)}


# CNN-6, by the number of blocks k, shared ones first.
TABLE_F_4: Mapping[int, Errors] = _by_blocks(
    cp=(33.53, 34.93, 39.40, 47.77, 56.65, 63.46, 67.36),
    gs=(33.02, 34.39, 39.13, 46.65, 55.91, 62.65, 67.11),
    hr=(35.67, 35.83, 39.67, 46.69, 55.69, 62.38, 67.05),
    ls=(34.48, 34.50, 37.58, 45.62, 54.75, 61.60, 66.61),
    ogd=(33.33, 35.06, 39.80, 47.43, 57.15, 62.46, 67.23),
)
TABLE_F_5: Mapping[int, Errors] = _by_blocks(
    cp=(33.53, 33.54, 34.77, 37.25, 40.74, 45.36, 50.94),
    gs=(33.02, 33.15, 34.50, 36.43, 39.89, 44.77, 49.16),
    hr=(35.67, 35.65, 35.71, 36.40, 39.98, 44.83, 49.57),
    ls=(34.48, 34.09, 34.96, 36.17, 39.93, 44.61, 49.23),
    ogd=(33.33, 34.27, 35.97, 39.75, 43.43, 48.98, 54.93),
)
