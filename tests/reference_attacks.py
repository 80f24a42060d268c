"""The attacks' formulas, literal and slow: numpy in float64, one image at a time, derivatives written out by hand."""

from __future__ import annotations

import numpy as np


class Network:
    """B tanh(A x + a) + b, a classifier whose Jacobian can be written down."""

    def __init__(self, pixels: int, hidden: int, classes: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.A, self.a = rng.standard_normal((hidden, pixels)), rng.standard_normal(hidden)
        self.B, self.b = rng.standard_normal((classes, hidden)), rng.standard_normal(classes)

    def logits(self, x: np.ndarray) -> np.ndarray:
        return self.B @ np.tanh(self.A @ x + self.a) + self.b

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        """(classes, pixels): row k is the gradient of logit k."""
        return self.B @ np.diag(1 - np.tanh(self.A @ x + self.a) ** 2) @ self.A

    def cross_entropy(self, x: np.ndarray, label: int) -> float:
        logits = self.logits(x)
        return float(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[label])

    def slope(self, x: np.ndarray, label: int) -> np.ndarray:
        """The gradient of the cross-entropy: J^T (softmax - one-hot)."""
        shares = np.exp(self.logits(x) - self.logits(x).max())
        shares /= shares.sum()
        shares[label] -= 1
        return self.jacobian(x).T @ shares


def fgsm(network: Network, x: np.ndarray, label: int, eps: float, low: float, high: float) -> np.ndarray:
    return np.clip(x + eps * np.sign(network.slope(x, label)), low, high)


def bim(
    network: Network, x: np.ndarray, label: int, eps: float, step: float, steps: int, low: float, high: float
) -> np.ndarray:
    moved = x
    for _ in range(steps):
        moved = moved + step * np.sign(network.slope(moved, label))
        moved = np.clip(np.clip(moved, x - eps, x + eps), low, high)
    return moved


def deepfool(
    network: Network, x: np.ndarray, steps: int, overshoot: float, norm: str, low: float, high: float
) -> np.ndarray:
    """Algorithm 2 with the authors' 1e-4 in every step."""
    start = int(np.argmax(network.logits(x)))
    moved, way = x, np.zeros_like(x)
    for _ in range(steps):
        logits, jacobian = network.logits(moved), network.jacobian(moved)
        if int(np.argmax(logits)) != start:
            break
        found = []
        for k in range(len(logits)):
            if k == start:
                continue
            w, f = jacobian[k] - jacobian[start], logits[k] - logits[start]
            q = 2 if norm == "l2" else 1
            size = float((np.abs(w) ** q).sum() ** (1 / q)) + 1e-8
            direction = w / size if norm == "l2" else np.sign(w)
            found.append((abs(f) / size, direction))
        distance, direction = min(found, key=lambda pair: pair[0])
        way = way + (distance + 1e-4) * direction
        moved = np.clip(x + (1 + overshoot) * way, low, high)
    return moved
