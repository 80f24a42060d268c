"""From images to features: a model looks at every image and, if asked to, at its mirror image."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

MEAN, STD = 127.5, 128.0  # of pixels from 0 to 255


class Source(Protocol):
    """Images that are taken some at a time, as :class:`onsphere.data.Images` and :class:`onsphere.data.Files` are."""

    def __len__(self) -> int: ...

    def take(self, indices: Tensor) -> Tensor:
        """(n, C, H, W) uint8."""


def extract(
    model: nn.Module,
    images: Source,
    *,
    mean: float | Sequence[float] = MEAN,
    std: float | Sequence[float] = STD,
    flip: bool = True,
    batch: int = 64,
    device: torch.device | str | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    r"""The features of images and of their mirror images.

    .. math::
        x = f((p - \mathrm{mean}) / \mathrm{std})

    The model is set to evaluation, and back afterwards. If it has a method ``features``, as
    :class:`onsphere.models.Recogniser` has, that is f; else the model itself is.

    Args:
        model: gives (n, D) for (n, C, H, W); it stays where it is.
        images: p, from 0 to 255.
        mean: taken from every pixel, one number or one a channel.
        std: what the pixels are then divided by.
        flip: look at the images flipped left to right, too.
        batch: how many images at a time.
        device: where the model is; None takes that of its first parameter.
        progress: called after every batch with the number of images done.

    Returns:
        (N, D) features, and (N, D) of the mirror images or None, for :func:`onsphere.verification.scores`.

    Raises:
        ValueError: there is no image, a number is out of range, or what the model gives is no (n, D).

    Source: thesis 2.3.6: pixels are "normalized by subtracting 127.5 and then being divided by 128", and the features
        are those of the image and of the flipped one.

    Example:
        >>> from onsphere.data import Images
        >>> images = Images(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.arange(3))
        >>> features, flipped = extract(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), images)
        >>> features.shape, flipped.shape
        ((3, 2), (3, 2))
    """
    if not len(images):
        raise ValueError("there are no images")
    if batch < 1:
        raise ValueError(f"batch={batch}: expected at least 1")
    if device is None:
        first = next(model.parameters(), None)
        device = "cpu" if first is None else first.device
    function = features_of(model)
    shift, scale = by_channel(mean, "mean", device), by_channel(std, "std", device)
    if (scale == 0).any():
        raise ValueError(f"std={std}: expected no zero")
    found: list[NDArray[np.float32]] = []
    mirrored: list[NDArray[np.float32]] = []
    with evaluated(model), torch.inference_mode():
        for start in range(0, len(images), batch):
            pixels = images.take(torch.arange(start, min(start + batch, len(images)))).to(device)
            for values in (shift, scale):
                if values.shape[1] not in (1, pixels.shape[1]):
                    raise ValueError(f"mean and std have {values.shape[1]} channels, the images {pixels.shape[1]}")
            ready = (pixels.float() - shift) / scale
            found.append(_checked(function(ready), len(pixels)))
            if flip:
                mirrored.append(_checked(function(ready.flip(3)), len(pixels)))
            if progress is not None:
                progress(start + len(pixels))
    return np.concatenate(found), np.concatenate(mirrored) if flip else None


def features_of(model: nn.Module) -> Callable[[Tensor], Any]:
    """The model's method ``features``, or the model; a layer of that name, as VGG has one, is not meant.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> features_of(model) is model
        True
    """
    method = getattr(model, "features", None)
    return method if inspect.ismethod(method) else model


@contextmanager
def evaluated(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and after it, also after an error, for every part the mode that it was in."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


def by_channel(given: float | Sequence[float], name: str, device: torch.device | str) -> Tensor:
    """Numbers that go with the channels of images, (1, C, 1, 1), or a ValueError that names them."""
    values = torch.as_tensor(given, dtype=torch.float32, device=device)
    if values.ndim > 1 or not values.numel() or not bool(torch.isfinite(values).all()):
        raise ValueError(f"{name}={given!r}: expected a number, or one a channel")
    return values.reshape(1, -1, 1, 1)


def _checked(found: Any, count: int) -> NDArray[np.float32]:
    if not isinstance(found, Tensor):
        raise ValueError(f"the model gives {type(found).__name__}: expected a tensor of ({count}, D) features")
    if found.ndim != 2 or len(found) != count:
        raise ValueError(f"the model gives {tuple(found.shape)} for {count} images: expected ({count}, D) features")
    features: NDArray[np.float32] = found.float().cpu().numpy()
    return features
