"""Symmetric starts: unions of orbits of random finite groups, subgroups of the finite reflection groups.

Some of the best codes are so symmetric that random starts never meet them. A gradient has the symmetry of the points,
so what starts as a union of orbits stays one, and only few points are really free.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bonds = dict[tuple[int, int], int]

LARGEST = 400  # elements of a group at most
DRAWS = 60  # groups drawn before a start is given up
SAME = 1 - 1e-9  # the cosine from which on two points are one
DIGITS = 6  # to which two images, or two elements of a group, are compared


def simple_roots(bonds: Bonds, rank: int) -> Array:
    """Simple roots (rank, rank) of the reflection group of a Coxeter diagram; no bond means a right angle.

    Their Gram matrix has the entries -cos(pi / m) with m the label of the bond (Coxeter 1935).

    Example:
        >>> roots = simple_roots({(0, 1): 3}, 2)
        >>> round(float(roots[0] @ roots[1]), 6)
        -0.5
    """
    gram = np.eye(rank)
    for (a, b), label in bonds.items():
        gram[a, b] = gram[b, a] = -np.cos(np.pi / label)
    return np.asarray(np.linalg.cholesky(gram))


def irreducible(rank: int, rng: np.random.Generator) -> Bonds:
    """The diagram of a random irreducible finite reflection group: A, B, D, E, F, H or a dihedral group.

    Example:
        >>> irreducible(1, np.random.default_rng(0))
        {}
    """
    line = {(a, a + 1): 3 for a in range(rank - 1)}
    if rank == 1:
        return line
    if rank == 2:
        return {(0, 1): int(rng.integers(3, 16))}
    choices = [line, line | {(rank - 2, rank - 1): 4}]  # A and B
    shorter = {(a, a + 1): 3 for a in range(rank - 2)}
    if rank >= 4:
        choices.append(shorter | {(rank - 3, rank - 1): 3})  # D
    if rank in (3, 4):
        choices.append(line | {(rank - 2, rank - 1): 5})  # H
    if rank == 4:
        choices.append(line | {(1, 2): 4})  # F
    if rank in (6, 7, 8):
        choices.append(shorter | {(2, rank - 1): 3})  # E
    return choices[int(rng.integers(len(choices)))]


def random_reflections(d: int, rng: np.random.Generator) -> Array:
    """The reflections (d, d, d) in the simple roots of a random finite reflection group of R^d, maybe a product."""
    roots = np.zeros((d, d))
    begin = 0
    while begin < d:
        rank = d - begin if rng.random() < 0.5 else int(rng.integers(1, d - begin + 1))
        roots[begin : begin + rank, begin : begin + rank] = simple_roots(irreducible(rank, rng), rank)
        begin += rank
    return np.asarray(np.eye(d) - 2 * roots[:, :, None] * roots[:, None, :])


def closure(generators: Sequence[Array], most: int) -> Array | None:
    """The group that matrices generate, (order, d, d) with the identity first; None where it has more than ``most``.

    Example:
        >>> len(closure([np.array([[0.0, -1.0], [1.0, 0.0]])], 10))
        4
    """
    elements = [np.eye(len(generators[0]))]
    seen = {_key(elements[0])}
    frontier = elements
    while frontier:
        fresh = []
        for element in frontier:
            for generator in generators:
                product = element @ generator
                if (key := _key(product)) not in seen:
                    seen.add(key)
                    fresh.append(product)
                    if len(seen) > most:
                        return None
        elements, frontier = elements + fresh, fresh
    return np.array(elements)


def orbit(group: Array, x: Array) -> Array:
    """The different images of a vector.

    Example:
        >>> group = closure([np.array([[0.0, -1.0], [1.0, 0.0]])], 10)
        >>> len(orbit(group, np.array([1.0, 0.0]))), len(orbit(group, np.zeros(2)))
        (4, 1)
    """
    images = group @ x
    _, first = np.unique(np.round(images, DIGITS) + 0.0, axis=0, return_index=True)
    return np.asarray(images[np.sort(first)])


def symmetric_start(n: int, d: int, rng: np.random.Generator) -> tuple[Array, int] | None:
    """A random union of orbits with n points and the order of the group; None where no group of many draws fits.

    Example:
        >>> points, order = symmetric_start(12, 3, np.random.default_rng(0))
        >>> points.shape, order > 1
        ((12, 3), True)
    """
    for _ in range(DRAWS):
        reflections = random_reflections(d, rng)
        generators = []
        for _ in range(int(rng.integers(1, 3))):
            element = np.eye(d)
            for k in rng.integers(d, size=int(rng.integers(1, 2 * d + 1))):
                element = element @ reflections[k]
            generators.append(element)
        if rng.random() < 0.25:
            generators.append(-np.eye(d))
        group = closure(generators, min(n, LARGEST))
        if group is not None and len(group) > 1 and (points := _union(group, n, rng)) is not None:
            return points, len(group)
    return None


def _union(group: Array, n: int, rng: np.random.Generator) -> Array | None:
    """Generic orbits, and smaller ones of vectors that an element fixes to make up n; None where they do not."""
    order, d = len(group), group.shape[1]
    small = []
    for k in rng.integers(1, order, size=6):
        values, vectors = np.linalg.eigh((group[k] + group[k].T) / 2)
        fixed = vectors[:, values > 1 - 1e-9]
        if fixed.shape[1]:
            x = fixed @ rng.standard_normal(fixed.shape[1])
            small.append(orbit(group, x / np.linalg.norm(x)))
    generic = n // order if rng.random() < 0.6 else int(rng.integers(0, n // order + 1))
    left = n - generic * order
    parts: list[Array] = []
    while left and (fitting := [k for k, points in enumerate(small) if len(points) <= left]):
        taken = small.pop(fitting[int(rng.integers(len(fitting)))])
        if not any((part @ taken[0]).max() > SAME for part in parts):  # two elements may fix the same axis
            parts.append(taken)
            left -= len(taken)
    if left:
        return None
    for _ in range(generic):
        free = rng.standard_normal(d)
        parts.append(group @ (free / np.linalg.norm(free)))
    return np.concatenate(parts)


def _key(matrix: Array) -> bytes:
    return bytes((np.round(matrix, DIGITS) + 0.0).tobytes())
