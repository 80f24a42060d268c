"""The "+" forms: a head and a diversity measure on its class weights."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor, nn

from onsphere.diversity import MHE, MMA
from onsphere.losses.angular_softmax import AngularSoftmax
from onsphere.losses.sharded import ShardedAngularSoftmax
from onsphere.margins import Annealed, ArcFace, CosFace, SphereFace

__all__ = ["ArcFacePlus", "CosFacePlus", "Plus", "SphereFacePlus"]


class Plus(nn.Module):
    r"""A head's loss and a diversity measure of its class weights, which keeps the classes apart.

    .. math:: L = L_{head}(x, y) + \lambda \, l(W)

    Called as the head is; ``logits`` and ``weight`` are the head's.

    Args:
        head: such as ``AngularSoftmax``, or ``ShardedAngularSoftmax``.
        measure: l, such as ``MMA()``; with a true attribute ``data_dependent``, as ``MHE(data_dependent=True)`` has, it
            is handed the labels too.
        coefficient: lambda, at least 0.

    Raises:
        ValueError: if the coefficient is negative or not finite; on a call, if the measure wants labels and the weights
            are shared out over processes, each of which has other labels.

    Source: MMA paper, eq. 15; thesis, eq. 5.8.

    >>> import torch
    >>> objective = Plus(AngularSoftmax(8, 5, ArcFace(0.5)), MMA(), 0.03)
    >>> objective(torch.randn(3, 8), torch.tensor([0, 4, 2])).shape
    torch.Size([])
    """

    def __init__(
        self, head: AngularSoftmax | ShardedAngularSoftmax, measure: Callable[..., Tensor], coefficient: float
    ) -> None:
        super().__init__()
        if not (math.isfinite(coefficient) and coefficient >= 0):
            raise ValueError(f"coefficient={coefficient!r}: expected a finite number of at least 0")
        if isinstance(measure, type):
            raise TypeError(f"measure must be an instance: {measure.__name__}(), not {measure.__name__}")
        self.head, self.measure, self.coefficient = head, measure, float(coefficient)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        wants_labels = getattr(self.measure, "data_dependent", False)
        if wants_labels and hasattr(self.weight, "full_tensor"):
            raise ValueError(
                f"{self.measure} wants the labels of the whole batch and the weights are shared out over processes: "
                "expected a measure without labels, or onsphere.Regularizer called with the labels of all processes"
            )
        loss: Tensor = self.head(features, labels)
        weight = self.weight  # after the call: what shares weights out may bring them together for it only
        if hasattr(weight, "full_tensor"):
            weight = weight.full_tensor()
        return loss + self.coefficient * (self.measure(weight, labels) if wants_labels else self.measure(weight))

    @property
    def weight(self) -> Tensor:
        """The class weights, (C, D)."""
        return self.head.weight

    def logits(self, features: Tensor) -> Tensor:
        """Scores of all classes without the margin."""
        return self.head.logits(features)

    def extra_repr(self) -> str:
        return f"coefficient={self.coefficient:g}"


def ArcFacePlus(
    in_features: int, num_classes: int, m: float = 0.5, *, scale: float = 64.0, coefficient: float = 0.03
) -> Plus:
    r"""ArcFace+: ArcFace and MMA on the class weights.

    .. math:: l_{arcface}(m) + \lambda \, l_{MMA}(W)

    Args:
        in_features: D.
        num_classes: C.
        m: margin in radians; default 0.5.
        scale: s; default 64.
        coefficient: lambda; default 0.03, the paper's.

    Raises:
        ValueError: as ``AngularSoftmax`` and ``ArcFace`` do.

    Source: MMA paper, section 6 and eq. 15.

    >>> ArcFacePlus(512, 100).head.margin
    ArcFace(m=0.5, easy_margin=False)
    """
    return Plus(AngularSoftmax(in_features, num_classes, ArcFace(m), scale=scale), MMA(), coefficient)


def SphereFacePlus(
    in_features: int, num_classes: int, m: float = 4.0, *, coefficient: float = 1.0, s: float = 2.0
) -> Plus:
    r"""SphereFace+: annealed SphereFace on features that keep their norms, and MHE between the batch's classes and all.

    .. math:: \ell_{SF} + \lambda_M \frac{1}{B(C-1)} \sum_{i=1}^{B} \sum_{j \ne y_i}
        f_s(\|\hat w_{y_i} - \hat w_j\|)

    The thesis trains plain SphereFace first and fine-tunes with this (D.1).

    Args:
        in_features: D.
        num_classes: C.
        m: multiplies the angle; default 4.
        coefficient: lambda_M; default 1, the thesis's for output layers (D.1).
        s: power of the energy; default 2 (D.1).

    Raises:
        ValueError: as ``AngularSoftmax``, ``SphereFace`` and ``MHE`` do.

    Source: thesis, eq. 5.8 and section D.1.

    >>> SphereFacePlus(512, 100).head.margin.margin
    SphereFace(m=4.0)
    """
    head = AngularSoftmax(in_features, num_classes, Annealed(SphereFace(m)), scale="feature_norm")
    return Plus(head, MHE(s=s, data_dependent=True), coefficient)


def CosFacePlus(
    in_features: int,
    num_classes: int,
    m: float = 0.35,
    *,
    scale: float = 64.0,
    coefficient: float = 1.0,
    s: float = 2.0,
) -> Plus:
    r"""AM-Softmax with MHE: CosFace and the energy between the batch's classes and all.

    .. math:: \mathcal{L}_{AMS}(s, m) + \lambda \frac{1}{B(C-1)} \sum_{i=1}^{B} \sum_{j \ne y_i}
        f_s(\|\hat w_{y_i} - \hat w_j\|)

    Args:
        in_features: D.
        num_classes: C.
        m: taken from the cosine; default 0.35.
        scale: s of the head; default 64, that of CosFace's paper; AM-Softmax's, whose settings D.6 takes, is 30.
        coefficient: lambda, weight of the energy; default 1, the thesis's for output layers (D.1).
        s: power of the energy; default 2.

    Raises:
        ValueError: as ``AngularSoftmax``, ``CosFace`` and ``MHE`` do.

    Source: thesis, section D.6.

    >>> CosFacePlus(512, 100).coefficient
    1.0
    """
    head = AngularSoftmax(in_features, num_classes, CosFace(m), scale=scale)
    return Plus(head, MHE(s=s, data_dependent=True), coefficient)
