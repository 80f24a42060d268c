"""What margins are compared with: softmax beside a loss of pairs, of triplets, or of distances to class centres."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class SoftmaxAnd(nn.Module):
    r"""A head and a loss of the features beside it.

    .. math:: L = L_{head}(x, y) + \lambda L_{features}(x, y)

    Args:
        head: a classifier with ``logits``.
        loss: called with features (B, D) and labels (B,).
        weight: lambda, at least 0.
        probe: the head learns from the features and they not from it: for losses that need no classifier, so that the
            accuracy among the classes can be told nevertheless.

    Raises:
        ValueError: if the weight is negative.

    Source: thesis, section 2.3.6 ("we follow the FR convention to form a weighted combination with softmax loss").
    """

    def __init__(self, head: nn.Module, loss: nn.Module, weight: float, *, probe: bool = False) -> None:
        super().__init__()
        if not weight >= 0:
            raise ValueError(f"weight={weight}: expected at least 0")
        self.loss, self.weight_of_loss, self.probe = loss, weight, probe
        self.head = head  # the last layer, which where.output finds

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        classified: Tensor = self.head(features.detach() if self.probe else features, labels)
        beside: Tensor = self.loss(features, labels)
        return classified + self.weight_of_loss * beside

    def logits(self, features: Tensor) -> Tensor:
        """Scores of all classes, of the head alone."""
        scores: Tensor = self.head.logits(features)  # type: ignore[operator]
        return scores


class CentreLoss(nn.Module):
    r"""Half the squared distances between features and the centres of their classes, which follow the features.

    .. math:: L_C = \frac{1}{2B} \sum_i \|x_i - c_{y_i}\|^2, \qquad
        c_j \leftarrow c_j - \alpha \frac{\sum_i [y_i = j] (c_j - x_i)}{1 + \sum_i [y_i = j]}

    The centres are no parameters: each batch in training moves those of its classes. The paper has the sum over the
    batch; here it is the mean, as the softmax loss beside it is one.

    Args:
        features: D.
        classes: C.
        rate: alpha, in [0, 1]; 0.5 in the paper.

    Raises:
        ValueError: if the rate is out of its range.

    Source: Wen et al. 2016, *A Discriminative Feature Learning Approach for Deep Face Recognition*, eqs. 2 to 4.

    >>> loss = CentreLoss(2, 3, rate=1.0)
    >>> x, y = torch.tensor([[2.0, 0.0], [4.0, 0.0]]), torch.tensor([1, 1])
    >>> loss(x, y).item(), loss.centres[1].tolist()
    (5.0, [2.0, 0.0])
    """

    centres: Tensor

    def __init__(self, features: int, classes: int, rate: float = 0.5) -> None:
        super().__init__()
        if not 0 <= rate <= 1:
            raise ValueError(f"rate={rate}: expected a number between 0 and 1")
        self.rate = rate
        self.register_buffer("centres", torch.zeros(classes, features))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        away = features.float() - self.centres[labels]
        value = away.square().sum(1).mean() / 2
        if self.training and torch.is_grad_enabled():
            with torch.no_grad():
                count = self.centres.new_zeros(len(self.centres)).index_add_(
                    0, labels, self.centres.new_ones(len(labels))
                )
                moved = torch.zeros_like(self.centres).index_add_(0, labels, away.detach())
                if torch.distributed.is_available() and torch.distributed.is_initialized():
                    for total in (count, moved):  # so that the centres stay the same on every process
                        torch.distributed.all_reduce(total)
                self.centres += self.rate * moved / (1 + count)[:, None]
        return value


def centre(features: int, classes: int) -> nn.Module:
    """The centre loss with its paper's rate."""
    return CentreLoss(features, classes)


def contrastive(features: int, classes: int) -> nn.Module:
    """The contrastive loss of pytorch-metric-learning: distances of unit features, 0 within and at least 1 between.

    Raises:
        ModuleNotFoundError: if the package is missing.
    """
    made: nn.Module = _losses().ContrastiveLoss()
    return made


def triplet(features: int, classes: int) -> nn.Module:
    """The triplet loss of pytorch-metric-learning with FaceNet's margin 0.2 between distances of unit features.

    Raises:
        ModuleNotFoundError: if the package is missing.
    """
    made: nn.Module = _losses().TripletMarginLoss(margin=0.2)
    return made


def _losses() -> Any:
    try:
        from pytorch_metric_learning import losses
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"losses of pairs need the package {error.name!r}: pip install 'onsphere[margins]'", name=error.name
        ) from error
    return losses
