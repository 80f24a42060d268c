"""Clouds of points on the surfaces of made-up shapes: boxes, cones, tori and others of random proportions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch

from onsphere.data.point_clouds import Array, in_unit_ball, on_mesh
from onsphere.data.tensors import TensorData, Tensors

Surface = Callable[[int, np.random.Generator], Array]


def shapes(points: int = 1024, train_per_class: int = 100, test_per_class: int = 25, *, seed: int = 0) -> TensorData:
    """Points drawn uniformly from the surfaces of eight kinds of solids, each of random proportions.

    Boxes, capsules, cones, cylinders, prisms, pyramids, spheres and tori stand upright, z is up, and are turned about
    that axis at random; each cloud is centred and scaled into the unit ball. Nothing has to be downloaded for it.

    Args:
        points: of a cloud.
        train_per_class: clouds of each kind to learn from.
        test_per_class: clouds of each kind to test on.
        seed: of proportions, angles and points. A cloud depends on it, on its number and on its kind only.

    Raises:
        ValueError: if points is below 2, or another number is below 1.

    Returns:
        Clouds (3, points), float32.

    >>> shapes(64, 2, 1).train
    Tensors(16 of 3 x 64)
    """
    for name, value, least in (
        ("points", points, 2),
        ("train_per_class", train_per_class, 1),
        ("test_per_class", test_per_class, 1),
    ):
        if value < least:
            raise ValueError(f"{name}={value}: expected at least {least}")
    train, test = (_clouds(points, count, [seed, part]) for part, count in enumerate((train_per_class, test_per_class)))
    return TensorData("shapes", train, test, len(SURFACES), tuple(SURFACES))


def _clouds(points: int, per_class: int, seed: list[int]) -> Tensors:
    numbers = [(label, number) for number in range(per_class) for label in range(len(SURFACES))]
    clouds = np.empty((len(numbers), 3, points), dtype=np.float32)
    for row, (label, number) in enumerate(numbers):
        random = np.random.default_rng([*seed, label, number])
        upright = list(SURFACES.values())[label](points, random)
        clouds[row] = in_unit_ball(_turned(upright, 2 * math.pi * random.random())).T
    return Tensors(torch.from_numpy(clouds), torch.tensor([label for label, _ in numbers]))


def _turned(points: Array, angle: float) -> Array:
    x, y, z = points.T
    return np.stack((x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle), z), 1)


def _height(random: np.random.Generator) -> float:
    """Of a solid of radius 1, or of half a side of 1."""
    return random.uniform(1.0, 3.0)


def _pieces(count: int, random: np.random.Generator, *pieces: tuple[float, Surface]) -> Array:
    """Points of a surface that is put together of several pieces, given with their areas."""
    areas = np.array([area for area, _ in pieces])
    counts = random.multinomial(count, areas / areas.sum())
    return random.permutation(
        np.concatenate([draw(each, random) for each, (_, draw) in zip(counts, pieces, strict=True)])
    )


def _ring(radius: Array, z: Array | float, random: np.random.Generator) -> Array:
    """Points at these distances from the axis and at these heights, in random directions."""
    angle = 2 * math.pi * random.random(len(radius))
    return np.stack((radius * np.cos(angle), radius * np.sin(angle), np.broadcast_to(z, radius.shape)), 1)


def _disc(z: float) -> tuple[float, Surface]:
    return math.pi, lambda count, random: _ring(np.sqrt(random.random(count)), z, random)


def _wall(height: float) -> tuple[float, Surface]:
    return 2 * math.pi * height, lambda count, random: _ring(np.ones(count), height * random.random(count), random)


def sphere(count: int, random: np.random.Generator) -> Array:
    z = random.uniform(-1.0, 1.0, count)  # the area between two heights is in proportion to their distance
    return _ring(np.sqrt(1 - z * z), z, random)


def cylinder(count: int, random: np.random.Generator) -> Array:
    height = _height(random)
    return _pieces(count, random, _disc(0.0), _wall(height), _disc(height))


def capsule(count: int, random: np.random.Generator) -> Array:
    height = _height(random)

    def caps(count: int, random: np.random.Generator) -> Array:
        halves = sphere(count, random)
        halves[:, 2] += height * (halves[:, 2] > 0)
        return halves

    return _pieces(count, random, (4 * math.pi, caps), _wall(height))


def cone(count: int, random: np.random.Generator) -> Array:
    height = _height(random)

    def side(count: int, random: np.random.Generator) -> Array:
        share = np.sqrt(random.random(count))  # of the way from the tip, as on a disc
        return _ring(share, height * (1 - share), random)

    return _pieces(count, random, _disc(0.0), (math.pi * math.hypot(1.0, height), side))


def torus(count: int, random: np.random.Generator) -> Array:
    thickness = random.uniform(0.2, 0.5)
    # The area up to an angle v around the tube is in proportion to v + thickness sin(v): Newton's method inverts it.
    area = random.uniform(-math.pi, math.pi, count)
    v = area.copy()
    for _ in range(20):
        v -= (v + thickness * np.sin(v) - area) / (1 + thickness * np.cos(v))
    return _ring(1 + thickness * np.cos(v), thickness * np.sin(v), random)


def _prism(corners: Array, height: float, count: int, random: np.random.Generator) -> Array:
    """Points on the mesh over a convex polygon, (k, 2)."""
    k = len(corners)
    floor, ceiling = (np.column_stack((corners, np.full(k, z))) for z in (0.0, height))
    fan = [(0, i, i + 1) for i in range(1, k - 1)]
    faces = [*fan, *((a + k, b + k, c + k) for a, b, c in fan)]
    for i, j in ((i, (i + 1) % k) for i in range(k)):
        faces += [(i, j, j + k), (i, j + k, i + k)]
    return on_mesh(np.concatenate((floor, ceiling)), np.array(faces), count, random)


def box(count: int, random: np.random.Generator) -> Array:
    x, y = random.uniform(0.5, 1.0, 2)
    return _prism(np.array([[-x, -y], [x, -y], [x, y], [-x, y]]), _height(random), count, random)


def prism(count: int, random: np.random.Generator) -> Array:
    angles = 2 * math.pi * np.arange(3) / 3
    return _prism(np.column_stack((np.cos(angles), np.sin(angles))), _height(random), count, random)


def pyramid(count: int, random: np.random.Generator) -> Array:
    corners = [[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]]
    faces = [[0, 1, 2], [0, 2, 3], *([i, (i + 1) % 4, 4] for i in range(4))]
    return on_mesh(np.array([*corners, [0.0, 0.0, _height(random)]]), np.array(faces), count, random)


SURFACES: Mapping[str, Surface] = {
    "box": box,
    "capsule": capsule,
    "cone": cone,
    "cylinder": cylinder,
    "prism": prism,
    "pyramid": pyramid,
    "sphere": sphere,
    "torus": torus,
}
"""Each draws so many points uniformly from the surface of a solid of random proportions, (count, 3)."""
