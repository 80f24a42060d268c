"""Checks of what an attack is given, and its numbers as tensors that go with the images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Amount = float | Tensor
"""One number, or a tensor that broadcasts over the images, such as (C, 1, 1)."""


def check_images(images: Tensor) -> None:
    """Raise a ValueError unless these are images that can be changed a little."""
    if not images.is_floating_point():
        raise ValueError(
            f"images of type {images.dtype}: expected floating point, since whole numbers have no gradient; divide "
            "pixels of 0 to 255 by 255"
        )
    if images.dim() < 2:
        raise ValueError(f"images of shape {tuple(images.shape)}: expected a batch, such as (N, C, H, W)")


def check_labels(labels: Tensor, images: Tensor) -> None:
    """Raise a ValueError unless there is one label an image."""
    if labels.dim() == 0 or len(labels) != len(images):
        raise ValueError(f"labels of shape {tuple(labels.shape)} for {len(images)} images: expected one an image")


def check_whole(name: str, value: int, least: int) -> None:
    """Raise a ValueError unless a number is a whole one and not too small."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}={value!r}: expected a whole number, at least {least}")


def limits(bounds: Sequence[Amount], images: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest value of a pixel, once it is clear that the images keep to them.

    Raises:
        ValueError: the first is not below the second, or a pixel lies outside by more than rounding.
    """
    if len(bounds) != 2:
        raise ValueError(f"bounds={bounds!r}: expected the least and the largest value of a pixel")
    low, high = (_beside(f"bounds[{i}]", bound, images) for i, bound in enumerate(bounds))
    if not bool((low < high).all()):
        raise ValueError(f"bounds={bounds!r}: expected the least value of a pixel below the largest")
    # What normalising and its inverse leave of a pixel at the bound may lie beyond it by some last digits.
    rounding = 4 * torch.finfo(images.dtype).eps * torch.maximum(low.abs(), high.abs())
    if images.numel() and not bool(((images >= low - rounding) & (images <= high + rounding)).all()):
        raise ValueError(
            f"images go from {images.min():g} to {images.max():g}, outside of bounds={bounds!r}: give the bounds of "
            "the images' own units, or put Normalized around the model and hand it pixels"
        )
    return low, high


def amount(name: str, value: Amount, images: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """How far a pixel may go, in the images' units.

    Raises:
        ValueError: it is negative, not finite or more than there is between the bounds, or does not broadcast.
    """
    found = _beside(name, value, images)
    if not bool((torch.isfinite(found) & (found >= 0)).all()):
        raise ValueError(f"{name}={value!r}: expected at least 0, in the units of the images")
    if not bool((found <= (high - low) * (1 + 4 * torch.finfo(images.dtype).eps)).all()):
        raise ValueError(
            f"{name}={value!r} is more than there is between bounds=({_words(low)}, {_words(high)}): expected the "
            "units of the images, such as 8/255 for pixels from 0 to 1"
        )
    return found


def _beside(name: str, value: Amount, images: Tensor) -> Tensor:
    found = torch.as_tensor(value, dtype=images.dtype, device=images.device).detach()
    # One number a channel would go along the last dimension, silently where an image is as wide as it has channels.
    misplaced = found.dim() == 1 and found.numel() > 1 and images.dim() > 2
    try:
        fits = not misplaced and found.expand_as(images).shape == images.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name} of shape {tuple(found.shape)} for images of shape {tuple(images.shape)}: expected a number, or "
            f"one a channel as {(images.shape[1], *(1,) * (images.dim() - 2))}"
        )
    return found


def _words(bound: Tensor) -> str:
    return f"{bound.item():g}" if bound.numel() == 1 else "one a channel"
