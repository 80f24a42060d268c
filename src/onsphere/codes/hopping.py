"""Moves that leave a local optimum but keep most of it: what basin hopping does between two polishes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from onsphere.codes.relaxation import unit

Array = NDArray[np.float64]
Move = Callable[[Array, float, np.random.Generator], Array]

LOOSE = 1e-7  # a point whose largest cosine is this far below the code's touches nothing


def holes(x: Array, count: int, rng: np.random.Generator) -> Array:
    """Directions far from all points and from each other: the deepest of a random sample, at most ``count``."""
    n, d = x.shape
    sample = unit(rng.standard_normal((min(40 * n, 20_000), d)))
    near = (sample @ x.T).max(1)
    order = np.argsort(near)
    chosen = [order[0]]
    for k in order[1 : 10 * count]:
        if len(chosen) < count and (sample[chosen] @ sample[k]).max() < near[order[0]]:
            chosen.append(k)
    return np.asarray(sample[chosen])


def relocate(x: Array, angle: float, rng: np.random.Generator) -> Array:
    """Move one to three points, half of the time those that touch nothing, into the deepest holes."""
    n = len(x)
    count = min(int(rng.integers(1, 4)), n - 2)
    gram = x @ x.T
    gram.flat[:: n + 1] = -1.0
    closest = gram.max(1)
    order = rng.permutation(n)
    if rng.random() < 0.5:
        loose = closest[order] < closest.max() - LOOSE
        order = np.concatenate([order[loose], order[~loose]])
    moved = order[:count]
    places = holes(np.delete(x, moved, 0), count + 2, rng)
    y = x.copy()
    chosen = rng.permutation(len(places))[:count]
    y[moved[: len(chosen)]] = places[chosen]
    return y


def shake_cap(x: Array, angle: float, rng: np.random.Generator) -> Array:
    """Shake the points around a random direction, up to a quarter of all."""
    n, d = x.shape
    count = int(rng.integers(3, max(4, n // 4)))
    inside = np.argsort(-(x @ unit(rng.standard_normal((1, d)))[0]))[:count]
    y = x.copy()
    y[inside] += angle * rng.uniform(0.2, 0.8) / np.sqrt(d) * rng.standard_normal((len(inside), d))
    return unit(y)


def shake(x: Array, angle: float, rng: np.random.Generator) -> Array:
    """Shake all points a little."""
    return unit(x + angle * rng.uniform(0.05, 0.35) / np.sqrt(x.shape[1]) * rng.standard_normal(x.shape))


def twist(x: Array, angle: float, rng: np.random.Generator) -> Array:
    """Turn the points on one side of a random hyperplane, in a plane parallel to it."""
    frame, _ = np.linalg.qr(rng.standard_normal((x.shape[1],) * 2))
    z = x @ frame
    side = z[:, 0] > rng.uniform(-0.6, 0.8)
    turn = rng.uniform(0.3, 1.5) * angle * (1 if rng.random() < 0.5 else -1)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    plane = slice(1, 3) if x.shape[1] > 2 else slice(0, 2)  # in two dimensions there is only one
    z[side, plane] = z[side, plane] @ rotation
    return unit(z @ frame.T)


# The share of each move among the hops.
MOVES: Mapping[str, tuple[Move, float]] = {
    "points moved into holes": (relocate, 0.4),
    "a shaken cap": (shake_cap, 0.4),
    "all points shaken": (shake, 0.1),
    "a twist": (twist, 0.1),
}


def hop(x: Array, angle: float, rng: np.random.Generator) -> tuple[str, Array]:
    """A random move: its name and the moved points.

    Args:
        x: (n, d) unit rows.
        angle: the minimum angle of x, radians: the scale of the moves.
        rng: where chance comes from.

    Example:
        >>> from onsphere.codes.exact import cross_polytope
        >>> name, moved = hop(cross_polytope(6, 3), np.pi / 2, np.random.default_rng(0))
        >>> name in MOVES, moved.shape
        (True, (6, 3))
    """
    names = list(MOVES)
    name = names[int(rng.choice(len(names), p=[share for _, share in MOVES.values()]))]
    return name, MOVES[name][0](x, angle, rng)
