"""Steps along the sign of the gradient: the fast gradient sign method, and the basic iterative method."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onsphere.attacks.gradients import attacking, slope, usable, warn_of_nan
from onsphere.attacks.inputs import Amount, amount, check_images, check_labels, check_whole, limits

Objective = Callable[[Tensor, Tensor], Tensor]


def fgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: Amount = 8 / 255,
    *,
    bounds: tuple[Amount, Amount] = (0.0, 1.0),
    objective: Objective = F.cross_entropy,
) -> Tensor:
    r"""The fast gradient sign method: every pixel goes the whole way in the direction that raises the objective.

    .. math:: \tilde{x} = \mathrm{clip}\big(x + \epsilon \, \mathrm{sign}(\nabla_x J(\theta, x, y))\big)

    The model is in evaluation mode for it, and then again in the mode that it was in; its parameters, their ``grad``
    and its buffers stay as they are. A pixel whose gradient is NaN stays too, with a warning.

    Args:
        model: takes images and gives logits (N, C).
        images: x, (N, ...) of a floating type on the model's device, within the bounds.
        labels: y, (N,); the true classes, or any others that the model is to be led away from.
        eps: epsilon, in the units of the images: one number, or a tensor that broadcasts, such as (C, 1, 1) for one a
            channel. The thesis's is 8 of 255.
        bounds: the least and the largest value of a pixel, numbers or tensors such as (C, 1, 1); pixels are clipped
            to them.
        objective: J, (logits, labels) to a mean over the examples.

    Returns:
        the adversarial images, detached, of the images' type.

    Raises:
        ValueError: for images that are no floating-point numbers or outside the bounds, an eps below 0 or above the
            distance of the bounds, or a model whose outputs have no gradient.

    Source: Goodfellow, Shlens and Szegedy 2015, *Explaining and harnessing adversarial examples*; thesis, C.1.2.

    >>> model = nn.Linear(2, 2)
    >>> _ = model.load_state_dict({"weight": torch.eye(2), "bias": torch.zeros(2)})
    >>> fgsm(model, torch.tensor([[0.5, 0.25]]), torch.tensor([0]), eps=0.125)
    tensor([[0.3750, 0.3750]])
    """
    check_images(images)
    check_labels(labels, images)
    low, high = limits(bounds, images)
    size = amount("eps", eps, images, low, high)
    found, nan = ascended(model, images, labels, size, size, 1, low, high, objective)
    warn_of_nan(nan, "fgsm")
    return found


def bim(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: Amount = 8 / 255,
    step: Amount = 2 / 255,
    steps: int = 20,
    *,
    bounds: tuple[Amount, Amount] = (0.0, 1.0),
    objective: Objective = F.cross_entropy,
) -> Tensor:
    r"""The basic iterative method: small steps of the fast gradient sign method, never farther than eps from the image.

    .. math:: \tilde{x}_0 = x, \qquad
        \tilde{x}_{n+1} = \mathrm{clip}_{x, \epsilon}\big(
        \tilde{x}_n + \tau \, \mathrm{sign}(\nabla_x J(\theta, \tilde{x}_n, y))\big)

    Nothing is random. What :func:`fgsm` says of the model's mode, of its parameters and of NaN holds here too.

    Args:
        model: takes images and gives logits (N, C).
        images: x, (N, ...) of a floating type on the model's device, within the bounds.
        labels: y, (N,).
        eps: epsilon, the most that a pixel may change, as in :func:`fgsm`; the thesis's is 8 of 255.
        step: tau, the length of a step; the thesis's is 2 of 255.
        steps: N; the thesis's is 20.
        bounds: the least and the largest value of a pixel, as in :func:`fgsm`.
        objective: J, (logits, labels) to a mean over the examples.

    Returns:
        the adversarial images, detached, of the images' type.

    Raises:
        ValueError: as :func:`fgsm`, and if steps is below 1.

    Source: Kurakin, Goodfellow and Bengio 2017, *Adversarial machine learning at scale*; thesis, C.1.2.

    >>> model = nn.Linear(2, 2)
    >>> _ = model.load_state_dict({"weight": torch.eye(2), "bias": torch.zeros(2)})
    >>> bim(model, torch.tensor([[0.5, 0.25]]), torch.tensor([0]), eps=0.125, step=0.0625, steps=5)
    tensor([[0.3750, 0.3750]])
    """
    check_images(images)
    check_labels(labels, images)
    check_whole("steps", steps, 1)
    low, high = limits(bounds, images)
    size, length = (amount(name, value, images, low, high) for name, value in (("eps", eps), ("step", step)))
    found, nan = ascended(model, images, labels, size, length, steps, low, high, objective)
    warn_of_nan(nan, "bim")
    return found


def ascended(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: Tensor,
    step: Tensor,
    steps: int,
    low: Tensor,
    high: Tensor,
    objective: Objective,
) -> tuple[Tensor, Tensor]:
    """Images after some steps that raise the objective, and which of them ever had a NaN in their gradient, (N,).

    Args:
        model, images, labels, steps, objective: as in bim.
        eps, step, low, high: tensors that broadcast over the images; nothing is checked.
    """
    with attacking(model):
        start, labels = usable(images).clamp(low, high), usable(labels)
        nan = torch.zeros(len(start), dtype=torch.bool, device=start.device)
        least, most = torch.maximum(start - eps, low), torch.minimum(start + eps, high)
        x = start.clone()
        for _ in range(steps if len(start) else 0):
            x.requires_grad_()
            # The sum over the batch has the signs of the mean, and in half precision it does not underflow so soon.
            rise = slope(objective(model(x), labels) * len(x), x)
            nan |= rise.isnan().flatten(1).any(1)
            x = (x.detach() + step * rise.nan_to_num(nan=0.0).sign()).clamp(least, most)
    return x, nan
