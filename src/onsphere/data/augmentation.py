"""Random crops and flips, in batch and on the device of the images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pad four black pixels on every side, crop at random to the old size, mirror half of the images left to right.

    Args:
        images: (N, C, H, W), of any type and on any device.
        generator: the source of the offsets and flips, on the same device.

    Source: Lee et al. 2015, *Deeply-Supervised Nets*, which the MMA paper follows (section 5.1).

    >>> augment(torch.ones(2, 3, 32, 32), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 32, 32])
    """
    *_, height, width = images.shape
    # Black pixels are zero whatever the type is.
    return _crop_flip(F.pad(images, (4, 4, 4, 4)), generator, height, width)


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the images left to right, all that the thesis does to faces.

    Args:
        images: (N, C, H, W), of any type and on any device.
        generator: the source of the flips, on the same device.

    Source: thesis, section 2.3.6.

    >>> flip(torch.ones(2, 3, 32, 32), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 32, 32])
    """
    *_, height, width = images.shape
    return _crop_flip(images, generator, height, width)


def shift(pixels: int) -> Augmentation:
    """Move images at random by up to so many pixels along both axes, and mirror none: for characters.

    Args:
        pixels: the most; what comes into view repeats the edge, whatever the background's colour is.

    Raises:
        ValueError: if pixels is negative.

    >>> shift(2)(torch.ones(2, 1, 32, 32, dtype=torch.uint8), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 32, 32])
    """
    if pixels < 0:
        raise ValueError(f"pixels={pixels}: expected at least 0")
    return partial(_shift, pixels=pixels)


def _shift(images: Tensor, generator: torch.Generator, pixels: int) -> Tensor:
    count, device, (height, width) = len(images), images.device, images.shape[2:]
    down, right = (torch.randint(-pixels, pixels + 1, (count, 1), generator=generator, device=device) for _ in range(2))
    rows = (torch.arange(height, device=device) + down).clamp(0, height - 1)
    columns = (torch.arange(width, device=device) + right).clamp(0, width - 1)
    return images[torch.arange(count, device=device)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(
        0, 3, 1, 2
    )


def crop_flip(size: int) -> Augmentation:
    """Crop squares of ``size`` at random, mirror half of the images left to right.

    Args:
        size: of the crops, in pixels; ImageNet's are 224 from images of 256.

    Source: thesis B.2, which has no other augmentation for ImageNet.

    >>> crop_flip(24)(torch.ones(2, 3, 32, 32, dtype=torch.uint8), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 24, 24])
    """
    return partial(_crop_flip, height=size, width=size)


def _crop_flip(images: Tensor, generator: torch.Generator, height: int, width: int) -> Tensor:
    _fits(images, height, width)
    count, device = len(images), images.device
    down, right = images.shape[2] - height + 1, images.shape[3] - width + 1
    top = torch.randint(down, (count,), generator=generator, device=device)
    left = torch.randint(right, (count,), generator=generator, device=device)
    mirrored = torch.rand(count, generator=generator, device=device) < 0.5
    # Every possible crop is a view of the batch, so that one indexing copies each image once.
    crops = images.unfold(2, height, 1).unfold(3, width, 1)
    cropped = crops[torch.arange(count, device=device), :, top, left]
    return torch.where(mirrored[:, None, None, None], cropped.flip(3), cropped)


def centre_crop(size: int) -> Callable[[Tensor], Tensor]:
    """Crop the square of ``size`` in the middle: what a network trained on crops is tested on.

    Args:
        size: of the crops, in pixels.

    >>> centre_crop(24)(torch.ones(2, 3, 32, 32, dtype=torch.uint8)).shape
    torch.Size([2, 3, 24, 24])
    """
    return partial(_centre_crop, size=size)


def _centre_crop(images: Tensor, size: int) -> Tensor:
    _fits(images, size, size)
    top, left = (images.shape[2] - size) // 2, (images.shape[3] - size) // 2
    return images[:, :, top : top + size, left : left + size]


def _fits(images: Tensor, height: int, width: int) -> None:
    if not (0 < height <= images.shape[2] and 0 < width <= images.shape[3]):
        given = " x ".join(map(str, images.shape[2:]))
        raise ValueError(f"crops of {height} x {width} from images of {given}: expected crops within the images")


def then(*augmentations: Augmentation) -> Augmentation:
    """Apply augmentations one after the other, all driven by the same generator.

    Args:
        augmentations: such as ``augment``, ``crop_flip(224)`` or ``auto_augment()``; none leaves images as they are.

    >>> both = then(augment, crop_flip(24))
    >>> both(torch.ones(2, 3, 32, 32, dtype=torch.uint8), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 24, 24])
    """
    return partial(_in_turn, augmentations=augmentations)


def _in_turn(images: Tensor, generator: torch.Generator, augmentations: tuple[Augmentation, ...]) -> Tensor:
    for augmentation in augmentations:
        images = augmentation(images, generator)
    return images
