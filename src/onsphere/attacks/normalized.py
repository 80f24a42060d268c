"""A network that takes pixels from 0 to 1, so that an attack's bound is in pixels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from onsphere.verification.extraction import by_channel

LEAST = 1 / 255  # deviation of a channel of one value only, as in training


class Normalized(nn.Module):
    r"""A model behind the normalisation that it was trained with.

    .. math:: \text{normalized}(x) = \text{model}\big((x - \mathrm{mean}) / \mathrm{std}\big)

    The attacks' defaults, eps = 8/255 and bounds from 0 to 1, are then those of pixels. The state dict has the model's
    names with ``model.`` before them and nothing else.

    Args:
        model: takes normalised images (N, C, ...).
        mean: taken from every pixel, one number or one a channel, such as ``Data.mean``.
        std: what pixels are then divided by, such as ``Data.std``; taken as 1/255 where it is smaller, as in training.

    Raises:
        ValueError: of numbers that are not finite, or a negative std.

    Source: thesis, C.1.2, whose eps = 8 and tau = 2 are of pixels from 0 to 255.

    >>> import torch
    >>> normalized = Normalized(nn.Identity(), mean=[0.5], std=[0.25])
    >>> normalized(torch.tensor([[[[0.5, 1.0]]]]))
    tensor([[[[0., 2.]]]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", by_channel(mean, "mean", "cpu"), persistent=False)
        self.register_buffer("std", deviation(std), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """What the model gives for pixels (N, C, ...) from 0 to 1."""
        outputs: Tensor = self.model((images - beside(self.mean, images)) / beside(self.std, images))
        return outputs


def deviation(std: float | Sequence[float]) -> Tensor:
    """Standard deviations of channels, (1, C, 1, 1), none of them zero."""
    found = by_channel(std, "std", "cpu")
    if (found < 0).any():
        raise ValueError(f"std={std!r}: expected none below 0")
    return found.clamp_min(LEAST)


def beside(values: Tensor, images: Tensor) -> Tensor:
    """One number a channel, (1, C, 1, 1), as a tensor that broadcasts over the images.

    Raises:
        ValueError: the images are no floating-point numbers, or have another number of channels.
    """
    if not images.is_floating_point():
        raise ValueError(f"images of type {images.dtype}: expected floating point, pixels of 0 to 255 divided by 255")
    if values.numel() not in (1, images.shape[1]):
        raise ValueError(
            f"mean and std have {values.numel()} channels, the images of shape {tuple(images.shape)} {images.shape[1]}"
        )
    return values.to(images.dtype).view(-1, *(1,) * (images.dim() - 2))
