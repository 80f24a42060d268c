r"""Bring points near a local optimum of the Tammes problem by minimising smooth stand-ins of the largest cosine.

Both are minimised over w with x = w / ||w||, by L-BFGS, in stages that grow ever sharper:

.. math::
    \text{soft maximum:}\quad \frac{1}{b} \log \sum_{i < j} e^{b \langle x_i, x_j \rangle}, \qquad
    \text{log-Riesz:}\quad \frac{1}{s} \log \sum_{i < j} \|x_i - x_j\|^{-s}
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from onsphere.codes.packing_angle import packing_angle

Array = NDArray[np.float64]
Smooth = Callable[[Array, int, int, float], tuple[float, Array]]


def unit(w: Array) -> Array:
    """The rows as unit vectors.

    Example:
        >>> unit(np.array([[3.0, 4.0]]))
        array([[0.6, 0.8]])
    """
    return np.asarray(w / np.sqrt(np.einsum("nd,nd->n", w, w))[:, None])


def largest_cosine(x: Array) -> float:
    """The largest cosine of two different rows of unit length.

    Example:
        >>> largest_cosine(np.eye(3))
        0.0
    """
    gram = x @ x.T
    gram.flat[:: len(x) + 1] = -1.0
    return float(gram.max())


def angle_of(cosine: float) -> float:
    """The angle of a cosine, radians; rounding may have carried the cosine of unit vectors past 1 or -1.

    Example:
        >>> angle_of(1 + 1e-15)
        0.0
    """
    return math.acos(min(1.0, max(-1.0, cosine)))


def soft_maximum(flat: Array, n: int, d: int, b: float) -> tuple[float, Array]:
    """Value and gradient of the soft maximum of the cosines at w, flattened.

    Example:
        >>> soft_maximum(np.eye(2).ravel(), 2, 2, 10.0)[0]
        0.0
    """
    w = flat.reshape(n, d)
    norm = np.sqrt(np.einsum("nd,nd->n", w, w))[:, None]
    x = w / norm
    gram = x @ x.T
    gram.flat[:: n + 1] = -2.0
    top = float(gram.max())
    gram -= top
    gram *= b
    np.exp(gram, out=gram)
    gram.flat[:: n + 1] = 0.0
    total = float(gram.sum())
    gradient = gram @ x
    gradient *= 2.0 / total
    gradient -= np.einsum("nd,nd->n", gradient, x)[:, None] * x
    gradient /= norm
    return top + math.log(total / 2) / b, gradient.ravel()


def log_riesz(flat: Array, n: int, d: int, s: float) -> tuple[float, Array]:
    """Value and gradient of the logarithm of the Riesz energy, divided by s, at w, flattened.

    Equal points stand a tiny distance apart here, without force, so that the value stays finite.

    Example:
        >>> round(log_riesz(np.eye(2).ravel(), 2, 2, 1.0)[0], 6)  # log of 1 / sqrt 2
        -0.346574
    """
    w = flat.reshape(n, d)
    norm = np.sqrt(np.einsum("nd,nd->n", w, w))[:, None]
    x = w / norm
    halved = x @ x.T  # to become half the squared distances, 1 - cosine
    np.subtract(1.0, halved, out=halved)
    halved.flat[:: n + 1] = np.inf
    nearest = max(float(halved.min()), 1e-14)
    inverse = nearest / np.maximum(halved, nearest)
    weight = inverse ** (s / 2)
    total = float(weight.sum())
    weight *= inverse
    gradient = weight @ x
    gradient *= 1.0 / (total * nearest)
    gradient -= np.einsum("nd,nd->n", gradient, x)[:, None] * x
    gradient /= norm
    return math.log(total / 2) / s - 0.5 * math.log(2 * nearest), gradient.ravel()


def riesz_stages(x: Array, exponents: Sequence[float], iterations: int) -> Array:
    """Minimise the log-Riesz energy with one exponent after the other."""
    for s in exponents:
        x = _minimise(log_riesz, x, s, iterations)
    return x


def soft_stages(x: Array, stages: Sequence[float], iterations: int) -> Array:
    """Minimise the soft maximum with b (1 - c) = each of the stages.

    c is the largest cosine that a good code may have, or the one at hand where that is smaller.
    """
    n, d = x.shape
    hoped = math.cos(packing_angle(n, d))
    for stage in stages:
        c = min(largest_cosine(x), hoped)
        x = _minimise(soft_maximum, x, stage / max(1 - c, 1e-12), iterations)
    return x


def _minimise(smooth: Smooth, x: Array, sharpness: float, iterations: int) -> Array:
    from scipy.optimize import minimize

    n, d = x.shape
    options = {"maxiter": iterations, "maxcor": 10, "ftol": 1e-11, "gtol": 1e-7}
    found = minimize(smooth, x.ravel(), (n, d, sharpness), "L-BFGS-B", jac=True, options=options)
    return unit(found.x.reshape(n, d))
