"""Symmetric starts: unions of orbits of random finite groups, subgroups of the finite reflection groups."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Matrix = NDArray[np.float64]


def coxeter_roots(bonds: dict[tuple[int, int], int], rank: int) -> Matrix:
    """Simple roots (rank, rank) of the finite reflection group with the given Coxeter diagram."""
    gram = np.eye(rank)
    for a in range(rank):
        for b in range(a):
            gram[a, b] = gram[b, a] = -np.cos(np.pi / bonds.get((b, a), 2))
    return np.linalg.cholesky(gram)


def path(rank: int, **_: int) -> dict[tuple[int, int], int]:
    return {(a, a + 1): 3 for a in range(rank - 1)}


def families(rank: int, rng: np.random.Generator) -> dict[tuple[int, int], int]:
    """A random irreducible diagram of a rank."""
    if rank == 1:
        return {}
    if rank == 2:
        return {(0, 1): int(rng.integers(3, 16))}
    line = path(rank)
    choices = [line, line | {(rank - 2, rank - 1): 4}]
    if rank == 3:
        choices.append(line | {(1, 2): 5})
    if rank >= 4:
        fork = path(rank - 1) | {(rank - 3, rank - 1): 3}
        choices.append(fork)
    if rank == 4:
        choices += [line | {(2, 3): 5}, line | {(1, 2): 4}]
    if rank in (6, 7, 8):
        choices.append(path(rank - 1) | {(2, rank - 1): 3})
    return choices[rng.integers(len(choices))]


def random_reflections(d: int, rng: np.random.Generator) -> Matrix:
    """Simple roots of a random finite reflection group on R^d, irreducible or a product."""
    roots = np.zeros((d, d))
    begin = 0
    while begin < d:
        left = d - begin
        rank = left if rng.random() < 0.5 else int(rng.integers(1, left + 1))
        roots[begin : begin + rank, begin : begin + rank] = coxeter_roots(families(rank, rng), rank)
        begin += rank
    return roots


def closure(generators: list[Matrix], most: int) -> Matrix | None:
    """All products of the generators, or None where there are more than `most`."""
    d = len(generators[0])
    elements = [np.eye(d)]
    seen = {tuple(np.round(elements[0], 5).ravel() + 0.0)}
    frontier = elements
    while frontier:
        fresh = []
        for element in frontier:
            for generator in generators:
                product = element @ generator
                key = tuple(np.round(product, 5).ravel() + 0.0)
                if key not in seen:
                    seen.add(key)
                    fresh.append(product)
                    if len(seen) > most:
                        return None
        elements = elements + fresh
        frontier = fresh
    return np.array(elements)


def orbit(group: Matrix, x: NDArray[np.float64]) -> Points:
    images = group @ x
    _, first = np.unique(np.round(images, 6) + 0.0, axis=0, return_index=True)
    return images[np.sort(first)]


def symmetric_start(n: int, d: int, rng: np.random.Generator) -> tuple[Points, int] | None:
    """A random union of orbits with n points, and the group's order; None where this draw fits no such union."""
    roots = random_reflections(d, rng)
    reflections = np.eye(d) - 2 * roots[:, :, None] * roots[:, None, :]
    generators = []
    for _ in range(int(rng.integers(1, 3))):
        element = np.eye(d)
        for r in rng.integers(d, size=int(rng.integers(1, 2 * d + 1))):
            element = element @ reflections[r]
        generators.append(element)
    if rng.random() < 0.25:
        generators.append(-np.eye(d))
    group = closure(generators, min(n, 400))
    if group is None or len(group) < 2:
        return None
    order = len(group)
    parts: list[Points] = []
    left = n
    # special orbits: of vectors that some element fixes
    special = []
    for _ in range(6):
        element = group[rng.integers(1, order)]
        values, vectors = np.linalg.eigh((element + element.T) / 2)
        fixed = vectors[:, values > 1 - 1e-9]
        if fixed.shape[1]:
            x = fixed @ rng.standard_normal(fixed.shape[1])
            special.append((orbit(group, x / np.linalg.norm(x)), fixed.shape[1]))
    generic_most = n // order
    wanted = generic_most if rng.random() < 0.6 else int(rng.integers(0, generic_most + 1))
    left -= wanted * order
    for _ in range(20):
        fitting = [(points, dim) for points, dim in special if len(points) <= left]
        if not left or not fitting:
            break
        k = int(rng.integers(len(fitting)))
        points, dim = fitting[k]
        parts.append(points)
        left -= len(points)
        special = [(p, q) for p, q in special if p is not points]
    if left:
        return None
    for _ in range(wanted):
        x = rng.standard_normal(d)
        parts.append(group @ (x / np.linalg.norm(x)))
    return np.concatenate(parts), order
