"""The numbers of chapter 4 and appendix C: testing errors, and accuracies under attack, in percent.

A network that could not converge (N/C) has no number.
"""

from __future__ import annotations

from collections.abc import Mapping

Errors = Mapping[str, float]

# TanhConv on CIFAR-100, by the way of optimization.
TABLE_4_1: Errors = {
    "linearly-weighted": 22.95,
    "nonlinearly-weighted-product": 23.03,
    "nonlinearly-weighted-separate": 23.38,
    "standard": 23.09,
    "weight-projection": 21.17,
    "weighted-gradients": 21.45,
}

_MAGNITUDES = ("sphere", "ball", "tanh", "linear", "seg", "log", "mix")


def _columns(baseline: float, **columns: tuple[float, ...]) -> dict[str, float]:
    """Errors of the seven magnitudes with each angular activation, and that of the baseline."""
    found = {"baseline": baseline}
    for angular, errors in columns.items():
        names = (f"{magnitude}-{angular.replace('_', '-')}" for magnitude in _MAGNITUDES)
        found |= dict(zip(names, errors, strict=True))
    return found


# CNN-9 without batch normalization on CIFAR-100; N/C: linear-square-cosine and seg-square-cosine.
TABLE_4_2: Errors = {
    "baseline": 35.30,
    "linear-linear": 33.39,
    "linear-cosine": 31.76,
    "tanh-linear": 32.88,
    "tanh-cosine": 31.88,
    "tanh-square-cosine": 34.26,
    "seg-linear": 34.69,
    "seg-cosine": 30.34,
}

# CNN-9 with batch normalization on CIFAR-100, by whether there are ReLUs.
TABLE_4_3: Mapping[bool, Errors] = {
    False: _columns(
        58.24,
        cosine=(33.31, 31.81, 32.27, 36.49, 33.57, 33.62, 33.46),
        square_cosine=(25.90, 25.43, 25.27, 24.36, 24.29, 24.91, 24.93),
    ),
    True: _columns(
        26.01,
        cosine=(26.00, 25.18, 25.15, 24.81, 24.96, 25.17, 25.27),
        square_cosine=(26.97, 26.48, 26.94, 25.14, 25.04, 25.85, 25.77),
    ),
}

# ResNet-32 on CIFAR-100 by Adam, and by SGD.
TABLE_4_4: Errors = _columns(
    26.69,
    linear=(21.79, 21.44, 21.6, 21.09, 20.86, 21.84, 21.02),
    cosine=(21.44, 21.12, 21.17, 22.17, 20.91, 21.08, 21.28),
    square_cosine=(24.40, 24.31, 24.77, 21.31, 20.88, 22.86, 21.81),
)
TABLE_C_2: Errors = _columns(
    21.55,
    linear=(21.71, 20.96, 21.07, 21.43, 20.58, 21.15, 20.82),
    cosine=(21.61, 21.25, 21.12, 21.25, 20.61, 21.42, 21.20),
    square_cosine=(24.62, 24.40, 24.29, 20.54, 20.61, 23.10, 21.19),
)

# DCNet-32, by number of classes. ResNet-1001, for comparison: 4.92 and 22.71, with 64 images a step 4.64.
TABLE_4_5: Mapping[int, Errors] = {
    10: {"tanh-cosine": 4.75, "linear-square-cosine": 5.34},
    100: {"tanh-cosine": 21.12, "linear-square-cosine": 20.23},
}

# ImageNet, top-5 error of the centre crop, by network; N/C: baseline and linear without batch normalization. The
# operators of the standard network start from a trained baseline.
TABLE_4_6: Mapping[str, Errors] = {
    "standard": {"baseline": 12.63, "sphere": 12.68, "linear": 11.99, "tanh": 12.47},
    "modified": {"baseline": 12.10, "sphere": 11.55, "linear": 11.50, "tanh": 11.10},
    "modified-without-bn": {"sphere": 13.30, "tanh": 12.79},
}

_TARGETS = ("baseline", "sphere", "ball", "tanh")
Accuracies = Mapping[str, Mapping[str, float]]


def _attacked(none: tuple[float, ...], fgsm: tuple[float, ...], bim: tuple[float, ...]) -> dict[str, dict[str, float]]:
    return {
        row: {"top1": clean, "fgsm": one, "bim": many}
        for row, clean, one, many in zip(_TARGETS, none, fgsm, bim, strict=True)
    }


_NATURAL, _ADVERSARIAL = (85.35, 88.58, 91.13, 91.45), (83.70, 87.41, 87.47, 87.54)

# CIFAR-10, accuracies under attack, by the way of training: white box, and black box.
TABLE_4_7: Mapping[str, Accuracies] = {
    "natural": _attacked(_NATURAL, (18.82, 43.64, 50.47, 52.60), (8.67, 8.89, 7.74, 10.18)),
    "adversarial": _attacked(_ADVERSARIAL, (78.96, 85.98, 82.20, 81.46), (7.96, 35.07, 17.38, 19.86)),
}
TABLE_4_8: Mapping[str, Accuracies] = {
    "natural": _attacked(_NATURAL, (50.90, 56.71, 49.50, 50.61), (36.22, 43.10, 27.48, 29.06)),
    "adversarial": _attacked(_ADVERSARIAL, (77.57, 76.29, 78.67, 80.38), (78.55, 77.79, 80.59, 82.47)),
}
