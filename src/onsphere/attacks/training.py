"""Training against an attack: half of the objective on adversarial images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onsphere.attacks.fast_gradient import Objective, ascended
from onsphere.attacks.normalized import beside, deviation
from onsphere.verification.extraction import by_channel


class AdversarialTraining(nn.Module):
    r"""A model whose objective is one part on the images and one on what the fast gradient sign method makes of them.

    .. math:: \tilde{J}(x, y) = (1 - \alpha) \, J(x, y) + \alpha \, J\big(\mathrm{clip}(x + \epsilon \,
        \mathrm{sign}(\nabla_x J(x, y))), y\big)

    ``model(images, labels)`` is the objective, ``model(images)`` are the logits: what ``Recipe(objective=None)`` wants.
    The adversarial images are made anew at every step, with the model in evaluation mode, and the objective is not
    differentiated through them. A step takes about three times the forward and backward passes of an ordinary one.

    Args:
        model: takes normalised images (N, C, ...) and gives logits (N, num_classes).
        eps: epsilon, in pixels from 0 to 1, whatever mean and std are; the thesis's is 8 of 255.
        weight: alpha, the part of the adversarial images; Goodfellow's is 0.5. With 0 none are made.
        mean: what was taken from every pixel, one number or one a channel, such as ``Data.mean``. With it and std the
            bounds of the pixels are known; a pixel that augmentation has put beyond them is moved no farther out.
        std: what pixels were then divided by, such as ``Data.std``.
        objective: J, (logits, labels) to a mean over the examples.

    Raises:
        ValueError: eps or weight is not between 0 and 1, or std is negative.

    Source: Goodfellow, Shlens and Szegedy 2015, section 6; thesis, C.1.2.

    >>> model = AdversarialTraining(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), mean=[0.5], std=[0.25])
    >>> images, labels = torch.randn(5, 1, 8, 8), torch.arange(5)
    >>> model(images, labels).backward()
    >>> model(images).shape
    torch.Size([5, 10])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        eps: float = 8 / 255,
        weight: float = 0.5,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        *,
        objective: Objective = F.cross_entropy,
    ) -> None:
        super().__init__()
        for name, value in (("eps", eps), ("weight", weight)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name}={value!r}: expected a number from 0 to 1")
        self.model, self.eps, self.weight, self.objective = model, eps, weight, objective
        self.register_buffer("mean", by_channel(mean, "mean", "cpu"), persistent=False)
        self.register_buffer("std", deviation(std), persistent=False)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The objective, or the logits where there are no labels."""
        if labels is None:
            logits: Tensor = self.model(images)
            return logits
        total: Tensor | float = 0.0
        if self.weight < 1:
            total = (1 - self.weight) * self.objective(self.model(images), labels)
        if self.weight > 0:
            adversarial = self.examples(images, labels)
            total = total + self.weight * self.objective(self.model(adversarial), labels)
        assert isinstance(total, Tensor)
        return total

    def examples(self, images: Tensor, labels: Tensor) -> Tensor:
        """The adversarial images (N, C, ...) of normalised images, normalised too."""
        mean, std = beside(self.mean, images), beside(self.std, images)
        low, high = torch.minimum(-mean / std, images), torch.maximum((1 - mean) / std, images)
        eps = self.eps / std
        return ascended(self.model, images, labels, eps, eps, 1, low, high, self.objective)[0]

    def extra_repr(self) -> str:
        return f"eps={self.eps:g}, weight={self.weight:g}"
