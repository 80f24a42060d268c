"""Augmentation policies, AutoAugment and TrivialAugment: other operations for every image of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Literal

import torch
from torch import Tensor

from onsphere.data.augmentation import Augmentation


@dataclass(frozen=True)
class Space:
    """What an operation does at full strength; at no strength it changes nothing, or least.

    Args:
        shear: pixels to the side for a pixel downwards.
        translate: pixels.
        rotate: degrees.
        bits: that posterizing leaves of eight.
        factors: of brightness, colour, contrast and sharpness, at no strength and at full strength.
        fill: the pixels that come into the picture from outside.
    """

    shear: float
    translate: float
    rotate: float
    bits: int
    factors: tuple[float, float]
    fill: int


AUTO = Space(shear=0.3, translate=10, rotate=30, bits=4, factors=(0.1, 1.9), fill=128)
WIDE = Space(shear=0.99, translate=32, rotate=135, bits=2, factors=(0.01, 2.0), fill=0)

Operation = Callable[[Tensor, Tensor, Space], Tensor]
"""From uint8 images (n, 3, H, W), signed strengths -1 ... 1 (n,) and the space to uint8 images."""


def auto_augment(policy: Literal["cifar10", "imagenet", "svhn"] = "cifar10") -> Augmentation:
    """AutoAugment: one of 25 pairs of operations for every image, each done with its own probability.

    Args:
        policy: which pairs: those that were found on CIFAR-10 (also for CIFAR-100), on ImageNet or on SVHN.

    Raises:
        ValueError: if there is no such policy.
        ModuleNotFoundError: if kornia is missing.

    The pairs and the operations on colours are kornia's, the strengths are the paper's: level l of 10 is l/10 of a
    shear by 0.3, a shift by 10 pixels, a turn by 30 degrees, of all thresholds for solarizing, of 4 bits less, and
    0.1 + 1.8 l/10 as the factor of brightness, colour, contrast and sharpness; shears, shifts and turns go either way.
    Pixels from outside are grey. kornia's own AutoAugment is something else: it draws one pair for a whole batch, adds
    brightness where the paper multiplies, shears by up to 54 degrees, and fixes the way of a shift by its level.

    In the paper it follows ``augment`` and is followed by Cutout: ``then(augment, auto_augment(), cutout(16))``.

    Source: Cubuk et al. 2018, *AutoAugment*, and the code published with it for CIFAR-10 (10 pixels).

    >>> images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    >>> auto_augment("cifar10")(images, torch.Generator().manual_seed(0)).shape
    torch.Size([4, 3, 32, 32])
    """
    policies = ("cifar10", "imagenet", "svhn")
    if policy not in policies:
        raise ValueError(f"policy={policy!r}: expected {', '.join(policies)}")
    pairs = getattr(_kornia("augmentation.auto.autoaugment.autoaugment"), f"{policy}_policy")
    table = torch.tensor(
        [[(NAMES.index(name), chance, (level or 0) / 10) for name, chance, level in pair] for pair in pairs]
    )
    return partial(_auto_augment, table=table)


def _auto_augment(images: Tensor, generator: torch.Generator, table: Tensor) -> Tensor:
    count, device = len(images), images.device
    pair = torch.randint(len(table), (count,), generator=generator, device=device)
    done = torch.rand(2, count, generator=generator, device=device)
    way = torch.rand(2, count, generator=generator, device=device) < 0.5
    for step in range(2):
        operation, chance, strength = table.to(device)[pair, step].unbind(1)
        operation = torch.where(done[step] < chance, operation, NAMES.index("identity"))
        images = _applied(images, operation.long(), torch.where(way[step], -strength, strength), AUTO)
    return images


def trivial_augment() -> Augmentation:
    """TrivialAugment (Wide): one operation of 14 for every image, at a random strength.

    Raises:
        ModuleNotFoundError: if kornia is missing.

    31 strengths from nothing to a shear by 0.99, a shift by 32 pixels, a turn by 135 degrees, all thresholds for
    solarizing, 2 bits left, and factors from 0.01 to 2 of brightness, colour, contrast and sharpness. Pixels from
    outside are black. The operations on colours are kornia's; kornia's own TrivialAugment draws one operation for a
    whole batch and has no colour.

    Source: Müller and Hutter 2021, *TrivialAugment*, and the code published with it.

    >>> images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    >>> trivial_augment()(images, torch.Generator().manual_seed(0)).shape
    torch.Size([4, 3, 32, 32])
    """
    _kornia("enhance")  # here rather than in the first epoch
    return _trivial_augment


def _trivial_augment(images: Tensor, generator: torch.Generator) -> Tensor:
    count, device = len(images), images.device
    operation = torch.randint(len(NAMES) - 1, (count,), generator=generator, device=device)  # all but "invert"
    strength = torch.randint(31, (count,), generator=generator, device=device) / 30
    way = torch.rand(count, generator=generator, device=device) < 0.5
    return _applied(images, operation, torch.where(way, -strength, strength), WIDE)


def cutout(size: int, *, fill: int = 128) -> Augmentation:
    """Paint over a square with its centre anywhere in the image, so that it may reach over the edge.

    Args:
        size: of the square, in pixels; 16 for CIFAR-10 in the paper, 8 for CIFAR-100.
        fill: its pixels; grey stands for the paper's zero, which is the mean there.

    Source: DeVries and Taylor 2017, *Improved Regularization of Convolutional Neural Networks with Cutout*.

    >>> images = torch.ones(5, 3, 8, 8, dtype=torch.uint8)
    >>> cutout(16, fill=0)(images, torch.Generator().manual_seed(0)).sum()  # wherever its centre is
    tensor(0)
    """
    return partial(_cutout, size=size, fill=fill)


def _cutout(images: Tensor, generator: torch.Generator, size: int, fill: int) -> Tensor:
    inside = []
    for length in images.shape[2:]:
        centre = torch.randint(length, (len(images), 1), generator=generator, device=images.device)
        offset = torch.arange(length, device=images.device) - (centre - size // 2)
        inside.append((offset >= 0) & (offset < size))
    return images.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], fill)


def _applied(images: Tensor, operation: Tensor, strength: Tensor, space: Space) -> Tensor:
    """Each image after its own operation, the images of one operation together."""
    channels = images.shape[1]
    if channels not in (1, 3):
        raise ValueError(f"images of shape {tuple(images.shape)}: expected 1 or 3 channels")
    out = images.expand(-1, 3, -1, -1).clone()  # grey is a colour
    chosen = operation.tolist()  # the only wait for the device
    for number, (_, apply) in enumerate(OPERATIONS.items()):
        rows = torch.tensor([row for row, other in enumerate(chosen) if other == number], device=images.device)
        if len(rows):
            out[rows] = apply(out[rows], strength[rows], space)
    return out[:, :channels]


def _identity(images: Tensor, strength: Tensor, space: Space) -> Tensor:
    return images


def _invert(images: Tensor, strength: Tensor, space: Space) -> Tensor:
    return 255 - images


def _auto_contrast(images: Tensor, strength: Tensor, space: Space) -> Tensor:
    """Stretch every channel to 0 ... 255, unless it has one value only."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    stretched = (images - low) * (255 / (high - low).clamp_min(1).float())
    return torch.where(high > low, _rounded(stretched / 255), images)


def _equalize(images: Tensor, strength: Tensor, space: Space) -> Tensor:
    return _rounded(_kornia("enhance").equalize(images / 255))


def _solarize(images: Tensor, strength: Tensor, space: Space) -> Tensor:
    threshold = 256 - (256 * strength.abs() + 1e-4).floor()
    return torch.where(images < threshold.view(-1, 1, 1, 1), images, 255 - images)


def _posterize(images: Tensor, strength: Tensor, space: Space) -> Tensor:
    lost = ((8 - space.bits) * strength.abs() + 1e-4).floor()  # whole bits, whatever the rounding of l/10 is
    return images & (256 - 2**lost).to(torch.uint8).view(-1, 1, 1, 1)


def _shear(images: Tensor, strength: Tensor, space: Space, *, along_x: bool) -> Tensor:
    zero, one, slope = torch.zeros_like(strength), torch.ones_like(strength), space.shear * strength
    rows = (one, slope, zero, zero, one, zero) if along_x else (one, zero, zero, slope, one, zero)
    return _warped(images, rows, space.fill)


def _translate(images: Tensor, strength: Tensor, space: Space, *, along_x: bool) -> Tensor:
    zero, one = torch.zeros_like(strength), torch.ones_like(strength)
    shift = strength.sign() * (space.translate * strength.abs() + 1e-4).floor()
    rows = (one, zero, shift, zero, one, zero) if along_x else (one, zero, zero, zero, one, shift)
    return _warped(images, rows, space.fill)


def _rotate(images: Tensor, strength: Tensor, space: Space) -> Tensor:
    angle = strength.sign() * (space.rotate * strength.abs() + 1e-4).floor() * (math.pi / 180)
    cos, sin = angle.cos(), angle.sin()
    x, y = images.shape[3] / 2, images.shape[2] / 2
    return _warped(images, (cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y), space.fill)


def _warped(images: Tensor, rows: Sequence[Tensor], fill: int) -> Tensor:
    """Each pixel from where its place is mapped to, (x, y) -> (a x + b y + c, d x + e y + f); no interpolation."""
    a, b, c, d, e, f = (entry.view(-1, 1, 1) for entry in rows)
    count, _, height, width = images.shape
    y = torch.arange(height, device=images.device)[:, None] + 0.5
    x = torch.arange(width, device=images.device) + 0.5
    column, row = (a * x + b * y + c).floor().long(), (d * x + e * y + f).floor().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    image = torch.arange(count, device=images.device)[:, None, None]
    moved = images[image, :, row.clamp(0, height - 1), column.clamp(0, width - 1)].permute(0, 3, 1, 2)
    return torch.where(inside[:, None], moved, fill)


def _enhanced(images: Tensor, strength: Tensor, space: Space, *, name: str) -> Tensor:
    """One of kornia's functions that go from a degenerate image (factor 0) over the image (1) and beyond."""
    low, high = space.factors
    return _rounded(getattr(_kornia("enhance"), name)(images / 255, low + (high - low) * strength.abs()))


def _rounded(images: Tensor) -> Tensor:
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


def _kornia(module: str) -> Any:
    try:
        return import_module(f"kornia.{module}")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"augmentation policies need the package {error.name!r}: pip install 'onsphere[vision]'", name=error.name
        ) from error


OPERATIONS: Mapping[str, Operation] = {
    "identity": _identity,
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "solarize": _solarize,
    "posterize": _posterize,
    "shear_x": partial(_shear, along_x=True),
    "shear_y": partial(_shear, along_x=False),
    "translate_x": partial(_translate, along_x=True),
    "translate_y": partial(_translate, along_x=False),
    "rotate": _rotate,
    "brightness": partial(_enhanced, name="adjust_brightness_accumulative"),
    "color": partial(_enhanced, name="adjust_saturation_with_gray_subtraction"),
    "contrast": partial(_enhanced, name="adjust_contrast_with_mean_subtraction"),
    "sharpness": partial(_enhanced, name="sharpness"),
    "invert": _invert,
}
"""The operations by kornia's names; "invert", which TrivialAugment does not have, stands last."""

NAMES = tuple(OPERATIONS)
