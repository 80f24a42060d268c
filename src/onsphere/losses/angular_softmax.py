"""The angular head: features and class weights to a loss through angles, a margin and cross-entropy."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onsphere import sphere
from onsphere.angular import Angular, Cosine
from onsphere.losses import kernel
from onsphere.margins import Annealed, LSoftmax, Margin

__all__ = ["AngularSoftmax", "angular_softmax"]

Reduction = Literal["mean", "sum", "none"]
Scale = float | Literal["feature_norm"]
WEIGHT_STD = 0.01


def angular_softmax(
    features: Tensor,
    weight: Tensor,
    labels: Tensor,
    margin: Margin | None = None,
    *,
    scale: Scale = 64.0,
    normalize_weight: bool = True,
    angular: Angular = Cosine(),
    bias: Tensor | None = None,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    class_weight: Tensor | None = None,
) -> Tensor:
    r"""Cross-entropy over classes whose logits are functions of angles, with a margin for the own class.

    .. math:: L_i = -\log\frac{e^{z_{y_i}}}{\sum_j e^{z_j}}, \qquad
        z_j = s_i \, l_j \, g(\theta_j) + b_j \; (j \ne y_i), \quad
        z_{y_i} = s_i \, l_{y_i} \, \psi(\theta_{y_i}) + b_{y_i}

    with theta_j the angle between x_i and W_j, s_i the scale and l_j = 1, or ||W_j|| where weights are not normalised.
    A zero feature or weight has no direction: its cosines are 0 and it gets no gradient through them. Where its norm
    is a factor of the logit and g the cosine, the logit is an inner product with a gradient there too, except where a
    margin replaces it.

    Args:
        features: x, (B, D), floating point; half precision is read as float32, also under autocast.
        weight: W, (C, D), one class a row.
        labels: y, (B,), int64.
        margin: psi, see :mod:`onsphere.margins`; None for g.
        scale: s, or "feature_norm" for s_i = ||x_i||.
        normalize_weight: l_j = 1.
        angular: g, see :mod:`onsphere.angular`.
        bias: b, (C,).
        reduction: "mean" (weighted by ``class_weight`` as in ``torch.nn.functional.cross_entropy``), "sum", or "none"
            for (B,).
        label_smoothing: in [0, 1).
        class_weight: (C,), not negative.

    Returns:
        A scalar, or (B,); float32, or float64 where features or weight are.

    Raises:
        ValueError: a shape, type or label is wrong; the message says which and what was expected.

    Source: thesis, Part I (L_o, L_w, L_s, L_g), eqs. 2.4, 2.18, 2.20, 3.10, 3.11, D.11, section B.3; MMA paper, eq. 15.

    >>> x, w = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    >>> round(angular_softmax(x, w, torch.tensor([0]), scale=1.0).item(), 4)
    0.3133
    """
    check_form(margin, scale, normalize_weight, angular, reduction, label_smoothing)
    check_vectors(len(weight), bias=bias, class_weight=class_weight)
    height = None if scale == "feature_norm" else float(scale)
    form = kernel.Form(margin, angular, height, normalize_weight, label_smoothing, len(weight))
    return _loss(features, weight, labels, form, bias, reduction, class_weight)


def _loss(
    features: Tensor,
    weight: Tensor,
    labels: Tensor,
    form: kernel.Form,
    bias: Tensor | None,
    reduction: Reduction,
    class_weight: Tensor | None,
) -> Tensor:
    """The same, where all but the batch is known to be right."""
    check_batch(features, labels, weight)
    check_labels(labels, len(weight))
    dtype = torch.promote_types(torch.promote_types(features.dtype, weight.dtype), torch.float32)
    bias = None if bias is None else bias.to(dtype)
    class_weight = None if class_weight is None else class_weight.to(weight.device, dtype)
    losses = kernel.losses(features.to(dtype), weight.to(dtype), bias, labels, class_weight, form)
    return reduced(losses, reduction, None if class_weight is None else class_weight[labels])


class AngularSoftmax(nn.Module):
    r"""A last layer and its loss in one: class weights, angles, a margin, a scale and cross-entropy.

    .. math:: L = \frac{1}{B} \sum_i -\log\frac{e^{s\,\psi(\theta_{y_i})}}
        {e^{s\,\psi(\theta_{y_i})} + \sum_{j \ne y_i} e^{s\,g(\theta_j)}}

    ``head(features, labels)`` is the loss, ``head.logits(features)`` the scores to classify by, without margin.

    ============================  ===========================================================================
    softmax (2.1)                 ``scale="feature_norm", normalize_weight=False, bias=True``
    modified, W-Softmax (2.18)    ``scale="feature_norm"``; with ``angular=`` eq. 3.10
    L-Softmax (2.4)               ``Annealed(LSoftmax(m)), scale="feature_norm", normalize_weight=False``
    SphereFace, A-Softmax (2.20)  ``Annealed(SphereFace(m)), scale="feature_norm"``; with ``angular=`` eq. 3.11
    S-Softmax (B.3)               ``scale=30.0``
    CosFace, AM-Softmax (D.11)    ``CosFace(0.35)``
    ArcFace                       ``ArcFace(0.5)``
    ============================  ===========================================================================

    Time and memory are about those of a linear layer with cross-entropy: weights are not normalised as a whole, and
    there is one (B, C) array. Everything is computed in float32 or better, also under autocast and backward.

    Args:
        in_features: D.
        num_classes: C, at least 2.
        margin: psi, see :mod:`onsphere.margins`; None for no margin.
        scale: s; 64 is what CosFace and ArcFace take. "feature_norm" keeps the norm of every feature instead.
        normalize_weight: classes are directions; False keeps the norms of their weights.
        angular: g, see :mod:`onsphere.angular`.
        bias: add b, one number a class, from 0.
        reduction: "mean", "sum" or "none".
        label_smoothing: in [0, 1).
        class_weight: (C,), not negative; a buffer outside the state dict.
        device: of the weights.
        dtype: of the weights.

    Weights are drawn from N(0, 0.01^2).

    Raises:
        ValueError: a size, scale, reduction or smoothing is out of its range, or LSoftmax meets normalised weights; on
            a call, a label is out of range, or a shape or type is wrong, or the batch is empty.

    Source: thesis, Part I and chapter 2, eqs. 3.10, 3.11, D.11, B.3; MMA paper, section 6.

    >>> from onsphere.margins import ArcFace
    >>> head = AngularSoftmax(8, 5, ArcFace(0.5), scale=64.0)
    >>> features, labels = torch.randn(3, 8), torch.tensor([0, 4, 2])
    >>> head(features, labels).shape, head.logits(features).shape
    (torch.Size([]), torch.Size([3, 5]))
    """

    class_weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        margin: Margin | None = None,
        *,
        scale: Scale = 64.0,
        normalize_weight: bool = True,
        angular: Angular = Cosine(),
        bias: bool = False,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
        class_weight: Tensor | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        check_sizes(in_features, num_classes)
        check_form(margin, scale, normalize_weight, angular, reduction, label_smoothing)
        self.in_features, self.num_classes = in_features, num_classes
        self.margin, self.scale, self.normalize_weight, self.angular = margin, scale, normalize_weight, angular
        self.reduction, self.label_smoothing = reduction, label_smoothing
        self.weight = nn.Parameter(torch.empty(num_classes, in_features, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(num_classes, device=device, dtype=dtype)) if bias else None
        check_vectors(num_classes, class_weight=class_weight)
        self.register_buffer("class_weight", class_weight, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.normal_(self.weight, std=WEIGHT_STD)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            # Loops over tiles that labels decide about are no work for a compiler.
            uncompiled: Tensor = torch.compiler.disable(self._loss)(features, labels)  # type: ignore[no-untyped-call]
            return uncompiled
        return self._loss(features, labels)

    def _loss(self, features: Tensor, labels: Tensor) -> Tensor:
        loss = _loss(features, self.weight, labels, form_of(self), self.bias, self.reduction, self.class_weight)
        count_step(self)
        return loss

    def logits(self, features: Tensor) -> Tensor:
        """Scores of all classes without the margin, (B, C), or (..., C) for features (..., D).

        Raises:
            ValueError: the features are not D wide, or not floating point.
        """
        return plain_logits(features, self.weight, self.bias, self.scale, self.normalize_weight, self.angular)

    def extra_repr(self) -> str:
        return described(self)


def plain_logits(
    features: Tensor, weight: Tensor, bias: Tensor | None, scale: Scale, normalize_weight: bool, angular: Angular
) -> Tensor:
    """s g(theta) + b of all classes, with the operations of torch alone so that they can be exported."""
    if not features.is_floating_point() or features.ndim < 1 or features.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"features of shape {tuple(features.shape)} and type {features.dtype}: expected (..., {weight.shape[1]}), "
            "floating point"
        )
    with sphere.without_autocast(features.device):
        dtype = torch.promote_types(torch.promote_types(features.dtype, weight.dtype), torch.float32)
        x, w = features.to(dtype), weight.to(dtype)
        height = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        length = torch.linalg.vector_norm(w, dim=-1)
        unit = x / torch.where(height > 0, height, 1.0)
        cosine = F.linear(unit, w) / torch.where(length > 0, length, 1.0)
        logits = angular.of_cosine(cosine) * (height if scale == "feature_norm" else scale)
        if not normalize_weight:
            logits = logits * length
        return logits if bias is None else logits + bias.to(dtype)


def form_of(head: Any) -> kernel.Form:
    """What the logits of a head are."""
    height = None if head.scale == "feature_norm" else float(head.scale)
    return kernel.Form(head.margin, head.angular, height, head.normalize_weight, head.label_smoothing, head.num_classes)


def count_step(head: nn.Module) -> None:
    """Move the annealing of a head on, where it has one and is being trained."""
    if isinstance(head.margin, Annealed) and head.training and torch.is_grad_enabled():
        head.margin.advance()


def reduced(losses: Tensor, reduction: Reduction, sample_weight: Tensor | None) -> Tensor:
    """Losses that are weighted already, to their mean over the weights, their sum or themselves."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    return losses.mean() if sample_weight is None else losses.sum() / sample_weight.sum()


def check_sizes(in_features: int, num_classes: int) -> None:
    if in_features < 1:
        raise ValueError(f"in_features={in_features}: expected at least 1")
    if num_classes < 2:
        raise ValueError(f"num_classes={num_classes}: expected at least 2")


def check_form(
    margin: Margin | None,
    scale: Scale,
    normalize_weight: bool,
    angular: Angular,
    reduction: str,
    label_smoothing: float,
) -> None:
    if isinstance(margin, type) or not (margin is None or hasattr(margin, "psi")):
        raise ValueError(f"margin={margin!r}: expected a margin such as ArcFace(0.5), or None")
    if isinstance(angular, type) or not (callable(angular) and hasattr(angular, "of_cosine")):
        raise ValueError(f"angular={angular!r}: expected an angular activation such as Linear()")
    if getattr(angular, "learnable", False):
        raise ValueError(f"angular={angular!r}: expected learnable=False, since a head does not learn its curvature")
    if margin is not None:
        margin.psi(torch.zeros(1), angular)  # whether it takes this g
    if scale != "feature_norm" and not (isinstance(scale, int | float) and math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale={scale!r}: expected a number above 0, or 'feature_norm'")
    inner = margin.margin if isinstance(margin, Annealed) else margin
    if isinstance(inner, LSoftmax) and normalize_weight:
        raise ValueError(
            f"{inner} keeps the norms of the weights: expected normalize_weight=False (and scale='feature_norm', the "
            f"paper's loss); with normalised weights it is SphereFace(m={inner.m})"
        )
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction={reduction!r}: expected 'mean', 'sum' or 'none'")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing={label_smoothing!r}: expected a number in [0, 1)")


def check_vectors(num_classes: int, **vectors: Tensor | None) -> None:
    for name, vector in vectors.items():
        if vector is None:
            continue
        if not vector.is_floating_point() or vector.shape != (num_classes,):
            raise ValueError(
                f"{name} of shape {tuple(vector.shape)} and type {vector.dtype}: expected ({num_classes},), one "
                "floating-point number a class"
            )
        if name == "class_weight" and not bool(((vector >= 0) & vector.isfinite()).all()):
            raise ValueError(f"class_weight={vector}: expected finite numbers of at least 0")


def check_batch(features: Tensor, labels: Tensor, weight: Tensor, *, empty: bool = False) -> None:
    if not weight.is_floating_point() or weight.ndim != 2:
        raise ValueError(
            f"weight of shape {tuple(weight.shape)} and type {weight.dtype}: expected (C, D), floating point"
        )
    in_features = weight.shape[1]
    if not features.is_floating_point() or features.ndim != 2 or features.shape[1] != in_features:
        raise ValueError(
            f"features of shape {tuple(features.shape)} and type {features.dtype}: expected (B, {in_features}), "
            "floating point"
        )
    if labels.dtype != torch.int64 or labels.shape != features.shape[:1]:
        raise ValueError(
            f"labels of shape {tuple(labels.shape)} and type {labels.dtype}: expected ({len(features)},), torch.int64"
        )
    if not len(labels) and not empty:
        raise ValueError(
            f"features of shape {tuple(features.shape)}: expected at least one example, the batch is empty"
        )
    if labels.device != features.device:
        raise ValueError(f"labels are on {labels.device}, features on {features.device}: expected the same device")


def check_labels(labels: Tensor, num_classes: int) -> None:
    low, high = torch.stack(torch.aminmax(labels)).tolist()  # the one wait for the device
    if low < 0 or high >= num_classes:
        wrong = low if low < 0 else high
        place = int((labels == wrong).nonzero()[0])
        raise ValueError(f"labels[{place}] is {wrong}: expected 0 to {num_classes - 1}")


def described(head: Any) -> str:
    """The settings of a head that differ from the defaults."""
    parts = [f"in_features={head.in_features}, num_classes={head.num_classes}"]
    if not isinstance(head.margin, nn.Module):  # a module shows itself
        parts.append(f"margin={head.margin}")
    parts.append(f"scale={head.scale!r}")
    if not head.normalize_weight:
        parts.append("normalize_weight=False")
    if not isinstance(head.angular, Cosine):
        parts.append(f"angular={head.angular}")
    if head.bias is not None:
        parts.append("bias=True")
    if head.reduction != "mean":
        parts.append(f"reduction={head.reduction!r}")
    if head.label_smoothing:
        parts.append(f"label_smoothing={head.label_smoothing}")
    return ", ".join(parts)
