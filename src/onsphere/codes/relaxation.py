r"""Bring points near a local optimum of the Tammes problem by minimising smooth stand-ins of the largest cosine.

Both are minimised over w with x = w / ||w||, by L-BFGS, in stages that grow ever sharper:

.. math::
    \text{soft maximum:}\quad \frac{1}{b} \log \sum_{i < j} e^{b \langle x_i, x_j \rangle}, \qquad
    \text{log-Riesz:}\quad \frac{1}{s} \log \sum_{i < j} \|x_i - x_j\|^{-s}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Smooth = Callable[[NDArray[np.float64], int, int, float], tuple[float, NDArray[np.float64]]]


def unit(w: NDArray[np.float64]) -> Points:
    """The rows as unit vectors."""
    return w / np.sqrt(np.einsum("nd,nd->n", w, w))[:, None]


def largest_cosine(x: Points) -> float:
    """The largest cosine of two different rows."""
    gram = x @ x.T
    gram.flat[:: len(x) + 1] = -1.0
    return float(gram.max())


def soft_maximum(flat: NDArray[np.float64], n: int, d: int, b: float) -> tuple[float, NDArray[np.float64]]:
    """Value and gradient of the soft maximum of the cosines at w, flattened."""
    w = flat.reshape(n, d)
    norm = np.sqrt(np.einsum("nd,nd->n", w, w))[:, None]
    x = w / norm
    gram = x @ x.T
    gram.flat[:: n + 1] = -2.0
    top = gram.max()
    gram -= top
    gram *= b
    np.exp(gram, out=gram)
    gram.flat[:: n + 1] = 0.0
    total = gram.sum()
    gradient = gram @ x
    gradient *= 2.0 / total
    gradient -= np.einsum("nd,nd->n", gradient, x)[:, None] * x
    gradient /= norm
    return float(top + np.log(total / 2) / b), gradient.ravel()


def log_riesz(flat: NDArray[np.float64], n: int, d: int, s: float) -> tuple[float, NDArray[np.float64]]:
    """Value and gradient of the logarithm of the Riesz energy, divided by s, at w, flattened."""
    w = flat.reshape(n, d)
    norm = np.sqrt(np.einsum("nd,nd->n", w, w))[:, None]
    x = w / norm
    square = x @ x.T  # of half the chord
    square *= -1.0
    square += 1.0
    square.flat[:: n + 1] = np.inf
    nearest = max(float(square.min()), 1e-300)
    inverse = nearest / np.maximum(square, nearest)
    weight = inverse ** (s / 2)
    total = weight.sum()
    weight *= inverse
    gradient = weight @ x
    gradient *= 1.0 / (total * nearest)
    gradient -= np.einsum("nd,nd->n", gradient, x)[:, None] * x
    gradient /= norm
    return float(np.log(total / 2) / s - 0.5 * np.log(2 * nearest)), gradient.ravel()


def relax(x: Points, smooth: Smooth, sharpness: Sequence[float], iterations: int) -> Points:
    """Minimise a smooth stand-in in stages."""
    from scipy.optimize import minimize

    n, d = x.shape
    for each in sharpness:
        found = minimize(
            smooth, x.ravel(), (n, d, each), "L-BFGS-B", jac=True, options={"maxiter": iterations, "maxcor": 10, "ftol": 1e-11, "gtol": 1e-7}
        )
        x = unit(found.x.reshape(n, d))
    return x


def soft(x: Points, stages: Sequence[float], iterations: int) -> Points:
    """Stages of the soft maximum with b = stage / (1 - c): c of the best packing to be hoped for, then as found."""
    n, d = x.shape
    for stage in stages:
        c = min(largest_cosine(x), expected_cosine(n, d))
        x = relax(x, soft_maximum, [stage / (1 - c)], iterations)
    return x


def expected_cosine(n: int, d: int) -> float:
    from math import cos, exp, lgamma, log, pi
    # n caps of half the angle cover about this share of the sphere: a guess that only sets a scale
    area = log(2) + lgamma((d + 1) / 2) - lgamma(d / 2) - 0.5 * log(pi) + log(d - 1) - log(2)
    half = exp((log(0.7 ** (d - 2)) + log(d - 1) - log(n) + 0.5 * log(pi) + lgamma((d - 1) / 2) - lgamma(d / 2) + log(2)) / (d - 1)) / 1.0
    return cos(min(2 * half * 0.9, 0.6 * pi))
