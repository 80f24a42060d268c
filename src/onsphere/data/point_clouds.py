"""Clouds of points: drawn from the faces of a mesh, brought to one size, and turned and jittered at random."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from onsphere.data.augmentation import Augmentation

Array = np.ndarray[Any, np.dtype[np.float64]]
Numbers = np.ndarray[Any, np.dtype[np.int64]]
UP = {"x": 0, "y": 1, "z": 2}


def on_mesh(vertices: Array, faces: Numbers, count: int, random: np.random.Generator) -> Array:
    r"""Points drawn uniformly from the surface of a mesh.

    .. math:: p = a + (1 - \sqrt{u})(b - a) + v \sqrt{u} \, (c - a), \qquad u, v \sim U(0, 1)

    for a triangle a, b, c, which is drawn with a probability in proportion to its area.

    Args:
        vertices: (V, 3).
        faces: (F, 3), numbers of vertices.
        count: how many points.
        random: draws them.

    Raises:
        ValueError: if the faces have no area.

    Returns:
        (count, 3).

    Source: Osada et al. 2002, Shape distributions, section 4.2.

    >>> square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    >>> on_mesh(square, np.array([[0, 1, 2], [0, 2, 3]]), 5, np.random.default_rng(0)).shape
    (5, 3)
    """
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    total = areas.sum()
    if not 0 < total < math.inf:
        raise ValueError(f"{len(faces)} faces with an area of {total / 2}: expected a surface")
    chosen = random.choice(len(faces), count, p=areas / total)
    root, share = np.sqrt(random.random((count, 1))), random.random((count, 1))
    points: Array = a[chosen] + (1 - root) * (b - a)[chosen] + share * root * (c - a)[chosen]
    return points


def in_unit_ball(points: Array) -> Array:
    r"""Points moved and scaled, so that their mean is 0 and the farthest has norm 1.

    .. math:: p_i \mapsto \frac{p_i - \bar{p}}{\max_j \|p_j - \bar{p}\|}

    Args:
        points: (n, 3), not all the same.

    Source: Qi et al. 2017, PointNet, section 5.1.

    >>> in_unit_ball(np.array([[1.0, 0, 0], [5.0, 0, 0]])).tolist()
    [[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    """
    centred = points - points.mean(0)
    scaled: Array = centred / np.linalg.norm(centred, axis=1).max()
    return scaled


def rotate_jitter(std: float = 0.01, clip: float = 0.05, up: Literal["x", "y", "z"] = "z") -> Augmentation:
    """Turn every cloud by a random angle about the axis that points up, and move all its points a little.

    Args:
        std: standard deviation of each coordinate's move.
        clip: the most that a coordinate moves.
        up: the axis; z in ModelNet's files, y in the HDF5 files of PointNet's authors.

    Returns:
        ``augment`` of a Recipe: (clouds (N, 3, P), generator) to clouds.

    Raises:
        ValueError: if std or clip is below 0, or up is another axis.

    Source: Qi et al. 2017, PointNet, section 5.1.

    >>> rotate_jitter()(torch.ones(2, 3, 5), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 5])
    """
    for name, value in (("std", std), ("clip", clip)):
        if not value >= 0:
            raise ValueError(f"{name}={value}: expected at least 0")
    if up not in UP:
        raise ValueError(f"up={up!r}: expected {', '.join(UP)}")
    return partial(_rotate_jitter, std=std, clip=clip, axis=UP[up])


def _rotate_jitter(clouds: Tensor, generator: torch.Generator, std: float, clip: float, axis: int) -> Tensor:
    count, device, dtype = len(clouds), clouds.device, clouds.dtype
    angle = 2 * math.pi * torch.rand(count, 1, generator=generator, device=device, dtype=dtype)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    turned = torch.empty_like(clouds)
    turned[:, axis] = clouds[:, axis]
    turned[:, first] = clouds[:, first] * angle.cos() - clouds[:, second] * angle.sin()
    turned[:, second] = clouds[:, first] * angle.sin() + clouds[:, second] * angle.cos()
    moves = torch.randn(clouds.shape, generator=generator, device=device, dtype=dtype)
    return turned + (std * moves).clamp_(-clip, clip)
