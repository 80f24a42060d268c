"""What every attack needs: the slope of something that a model says with respect to its images, and no other change."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from onsphere.verification.extraction import evaluated


@contextmanager
def attacking(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, so that no buffer moves, and gradients even where the caller wants none.

    Parameters want none meanwhile: an autograd function of one's own would compute theirs in vain, and memory is saved.
    """
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with evaluated(model), torch.inference_mode(False), torch.enable_grad():
        try:
            for parameter in learned:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter in learned:
                parameter.requires_grad_(True)


def usable(given: Tensor) -> Tensor:
    """The same values, free of the caller's graph and fit to be saved for a backward pass."""
    return given.clone() if given.is_inference() else given.detach()


def slope(value: Tensor, images: Tensor, *, again: bool = False) -> Tensor:
    """The derivative of one number with respect to the images; nobody's ``grad`` is touched.

    Args:
        value: made from the images.
        images: that require a gradient.
        again: keep what a further call for the same forward pass needs.

    Raises:
        ValueError: value is not one number, or does not depend on the images as far as autograd can see.
    """
    if value.dim():
        raise ValueError(f"the objective has the shape {tuple(value.shape)}: expected one number, such as a mean")
    found = None
    if value.requires_grad:
        (found,) = torch.autograd.grad(value, images, retain_graph=again, allow_unused=True)
    if found is None:
        raise ValueError(
            "the model's outputs have no gradient with respect to the images: expected differentiable operations "
            "from the images on, nothing detached or rounded"
        )
    return found


def warn_of_nan(found: Tensor, what: str) -> None:
    """Warn where the gradient of an image was NaN: it stays as it is, which is no sign of robustness.

    Args:
        found: (N,), True for these images.
        what: the attack.
    """
    count = int(found.sum())
    if count:
        warnings.warn(
            f"{what}: {count} of {len(found)} images have a gradient that is NaN or of no use; what it would have "
            "changed is left as it is, so that these images may only look robust",
            RuntimeWarning,
            stacklevel=3,
        )
