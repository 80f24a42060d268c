"""Cross-entropy of angular logits in one pass over the classes forward and one backward, a tile of classes at a time.

The (classes, batch) array of products is the only large thing kept: weights are never normalised as a whole, softmax is
taken tile by tile, and the margin touches one logit an example. That logit comes from the angle itself and not from the
product: exact at 0 and pi, with a finite gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed
from torch import Tensor
from torch.autograd.function import once_differentiable

from onsphere import sphere
from onsphere.angular import Angular, Cosine
from onsphere.margins import Margin

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

# Logits of a tile: it stays in a cache on a CPU, and fills a GPU.
_TILE = {"cpu": 1 << 17}
_LARGE_TILE = 1 << 24


@dataclass(frozen=True)
class Form:
    """What the logits are: height_i * length_j * g(theta_ij) + bias_j.

    Args:
        margin: psi, for the logit of an example's own class; None for g there too.
        angular: g.
        scale: height of all examples; None for the norm of each one's feature.
        normalize_weight: length 1 for all classes; otherwise the norm of each one's weights.
        label_smoothing: share of the target that is spread over all classes.
        classes: number of them over all processes.
    """

    margin: Margin | None
    angular: Angular
    scale: float | None
    normalize_weight: bool
    label_smoothing: float
    classes: int

    @property
    def bilinear(self) -> bool:
        """Whether logits are products of vectors, so that their derivatives need no derivative of g."""
        return isinstance(self.angular, Cosine)


def losses(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    class_weight: Tensor | None,
    form: Form,
    *,
    rows: Tensor | slice = slice(None),
    group: ProcessGroup | None = None,
) -> Tensor:
    """Cross-entropy of every example, (B,).

    Args:
        features: (B, D), float32 or float64.
        weight: (C, D) of the same type: of all classes, or of those of this process.
        bias: (C,) or None.
        labels: (B,), the row of ``weight`` of every example's class; -1 where another process has it.
        class_weight: (classes,) or None, and
        rows: which of its entries belong to the rows of ``weight``.
        form: of the logits.
        group: the processes that have the other classes; all of them have the same features.
    """
    own = None
    if class_weight is not None:
        own = class_weight[rows]
    found: Tensor = _Losses.apply(features, weight, bias, labels, own, form, group)  # type: ignore[no-untyped-call]
    return found


class _Losses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        class_weight: Tensor | None,
        form: Form,
        group: ProcessGroup | None,
    ) -> Tensor:
        with sphere.full_precision(features.device):
            inverse_norm = _inverse_norms(features)
            height = _heights(features, form)
            # Bilinear logits take their heights from the vectors; any other g is a function of the bare cosine.
            directions = features
            if form.scale is not None or not form.bilinear:
                directions = features * (inverse_norm[:, None] * (form.scale if form.bilinear and form.scale else 1.0))
            target = None if form.margin is None else _targets(features, weight, labels, form)
            own_logit = features.new_zeros(len(labels)) if target is None else target.logit.clone()
            if target is not None and bias is not None:
                own_logit[target.examples] += bias[labels[target.examples]]

            products = features.new_empty(len(weight), len(features))
            inverse_length = features.new_empty(len(weight))
            maximum = features.new_full((len(features),), -torch.inf)
            total, spread = torch.zeros_like(maximum), torch.zeros_like(maximum)
            columns = directions.T.contiguous()
            for tile in _tiles(labels, len(weight)):
                some = weight[tile.classes]
                lengths = torch.linalg.vector_norm(some, dim=1)
                inverse_length[tile.classes] = inverse = _reciprocal(lengths)
                product = torch.mm(some, columns, out=products[tile.classes])
                if form.normalize_weight or not form.bilinear:
                    product.mul_(inverse[:, None])
                logits = product
                if not form.bilinear:
                    logits = form.angular.of_cosine(product) * height
                    if not form.normalize_weight:
                        logits.mul_(lengths[:, None])
                if bias is not None:
                    logits.add_(bias[tile.classes, None])
                if target is None:
                    own_logit[tile.examples] = logits[tile.rows, tile.examples]
                else:
                    logits[tile.rows, tile.examples] = own_logit[tile.examples]
                higher = torch.maximum(maximum, logits.amax(0))
                total.mul_((maximum - higher).exp_()).add_((logits - higher).exp_().sum(0))
                maximum = higher
                if form.label_smoothing:
                    spread += logits.sum(0) if class_weight is None else class_weight[tile.classes] @ logits
            weights = _Weights.of(labels, class_weight, form, features, group)
            if group is not None:
                maximum, total, own_logit, spread = _over_processes(maximum, total, own_logit, spread, group)
            log_total = maximum + total.log()
            found = weights.own * (log_total - own_logit)
            if form.label_smoothing:
                found = found + weights.every * (weights.sum * log_total - spread)

        ctx.form, ctx.weights, ctx.target = form, weights, target
        ctx.save_for_backward(
            features, weight, bias, labels, class_weight, products, directions, inverse_norm, inverse_length, log_total
        )
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (
            features, weight, bias, labels, class_weight, products, directions, inverse_norm, inverse_length, log_total
        ) = ctx.saved_tensors  # fmt: skip
        form: Form = ctx.form
        weights: _Weights = ctx.weights
        target: _Targets | None = ctx.target
        with sphere.full_precision(features.device):
            height = _heights(features, form)
            of_all = (
                grad * weights.own if not form.label_smoothing else grad * (weights.own + weights.every * weights.sum)
            )
            of_own = grad * weights.own
            to_weight = torch.empty_like(weight)
            to_bias = None if bias is None else torch.empty_like(bias)
            to_directions = torch.zeros_like(features)
            to_height = torch.zeros_like(height) if form.scale is None and not form.bilinear else None
            to_target = torch.zeros_like(grad)
            for tile in _tiles(labels, len(weight)):
                some, product, inverse = weight[tile.classes], products[tile.classes], inverse_length[tile.classes]
                lengths = None if form.normalize_weight else torch.linalg.vector_norm(some, dim=1)
                values = slope = None
                logits = product
                if not form.bilinear:
                    values, slope = _value_and_slope(form.angular, product)
                    logits = values * height
                    if lengths is not None:
                        logits.mul_(lengths[:, None])
                    if bias is not None:
                        logits.add_(bias[tile.classes, None])
                push = (logits - log_total).exp_().mul_(of_all)
                if target is not None and not form.bilinear:  # bilinear products hold the margin's logit already
                    examples = tile.examples
                    own = target.logit[examples]
                    if bias is not None:
                        own = own + bias[labels[examples]]
                    push[tile.rows, examples] = (own - log_total[examples]).exp() * of_all[examples]
                if form.label_smoothing:
                    every = weights.every if class_weight is None else weights.every * class_weight[tile.classes, None]
                    push.sub_(every * grad)
                push[tile.rows, tile.examples] -= of_own[tile.examples]
                if to_bias is not None:
                    to_bias[tile.classes] = push.sum(1)
                if target is not None:
                    to_target[tile.examples] = push[tile.rows, tile.examples]
                    push[tile.rows, tile.examples] = 0.0

                radial = None  # what a class's own direction loses or gains
                if form.bilinear:
                    if form.normalize_weight:
                        radial = _row_products(push, product, bias, tile)
                        radial = radial.mul_(inverse).mul_(inverse).neg_()
                        push.mul_(inverse[:, None])
                else:
                    assert values is not None and slope is not None
                    if lengths is not None:
                        gain = (push * values) @ height
                        push.mul_(lengths[:, None])
                    if to_height is not None:
                        to_height += (push * values).sum(0)
                    push.mul_(slope).mul_(height)
                    radial = torch.linalg.vecdot(push, product).mul_(inverse).mul_(inverse).neg_()
                    if lengths is not None:
                        radial.add_(gain * inverse)
                    push.mul_(inverse[:, None])
                part = torch.mm(push, directions, out=to_weight[tile.classes])
                if radial is not None:
                    part.addcmul_(some, radial[:, None])
                to_directions.addmm_(push.T, some)

            if form.bilinear and form.scale is None:
                to_features = to_directions
            else:
                unit = features * inverse_norm[:, None]
                along = torch.linalg.vecdot(to_directions, unit)[:, None]
                outer = inverse_norm * (form.scale if form.bilinear and form.scale else 1.0)
                to_features = (to_directions - along * unit) * outer[:, None]
                if to_height is not None:
                    to_features += to_height[:, None] * unit
            if target is not None:
                chosen = to_target[target.examples, None]
                to_features.index_add_(0, target.examples, chosen * target.to_feature)
                to_weight.index_add_(0, labels[target.examples], chosen * target.to_weight)
        return to_features, to_weight, to_bias, None, None, None, None


def _row_products(push: Tensor, product: Tensor, bias: Tensor | None, tile: _Tile) -> Tensor:
    """Sum over examples of push times the product without its bias, for every class."""
    rows: Tensor = torch.linalg.vecdot(push, product)
    return rows if bias is None else rows - bias[tile.classes] * push.sum(1)


@dataclass(frozen=True)
class _Weights:
    """How much the parts of the loss weigh: (1 - eps) w_y, eps / C, and the sum of all w_j."""

    own: Tensor
    every: float
    sum: float | Tensor

    @classmethod
    def of(
        cls, labels: Tensor, class_weight: Tensor | None, form: Form, like: Tensor, group: ProcessGroup | None
    ) -> _Weights:
        every = form.label_smoothing / form.classes
        if class_weight is None:
            return cls(torch.full_like(like[:, 0], 1 - form.label_smoothing), every, float(form.classes))
        here = labels >= 0
        own = torch.where(here, class_weight[labels.clamp_min(0)] if len(class_weight) else 0.0, 0.0)
        total = class_weight.sum()
        if group is not None:
            torch.distributed.all_reduce(own, group=group)
            torch.distributed.all_reduce(total, group=group)
        return cls((1 - form.label_smoothing) * own, every, total)


@dataclass(frozen=True)
class _Targets:
    """The logits of examples and their own classes, with a margin, and their derivatives.

    Args:
        examples: (m,), those whose class is here.
        logit: (B,), without bias; 0 for the others.
        to_feature: (m, D), derivative of the logit in the feature.
        to_weight: (m, D), in the class's weights.
    """

    examples: Tensor
    logit: Tensor
    to_feature: Tensor
    to_weight: Tensor


def _targets(features: Tensor, weight: Tensor, labels: Tensor, form: Form) -> _Targets:
    assert form.margin is not None
    examples = (labels >= 0).nonzero().squeeze(1)
    x = features[examples].to(sphere.finest(features.device))
    w = weight[labels[examples]].to(x.dtype)
    x_norm, w_norm = (torch.linalg.vector_norm(each, dim=1, keepdim=True) for each in (x, w))
    x_inverse, w_inverse = _reciprocal(x_norm), _reciprocal(w_norm)
    x_unit, w_unit = x * x_inverse, w * w_inverse
    arcs = sphere.arcs(x_unit, w_unit)
    with torch.enable_grad():
        theta = arcs.angle.detach().requires_grad_()
        psi = form.margin.psi(theta, form.angular)
        (slope,) = torch.autograd.grad(psi.sum(), theta)
    psi, slope = psi.detach()[:, None], slope[:, None]
    height = x_norm if form.scale is None else torch.full_like(x_norm, form.scale)
    length = torch.ones_like(w_norm) if form.normalize_weight else w_norm
    directed = (x_inverse > 0) & (w_inverse > 0)
    turn = torch.where(directed, -height * length * slope, 0.0)
    to_feature, to_weight = turn * arcs.at_u * x_inverse, turn * arcs.at_v * w_inverse
    if form.scale is None:
        to_feature = to_feature + length * psi * x_unit
    if not form.normalize_weight:
        to_weight = to_weight + height * psi * w_unit
    logit = features.new_zeros(len(features))
    logit[examples] = (height * length * psi).squeeze(1).to(features.dtype)
    return _Targets(examples, logit, to_feature.to(features.dtype), to_weight.to(weight.dtype))


@dataclass(frozen=True)
class _Tile:
    """Some classes, the examples whose class is among them, and which row of the tile that is."""

    classes: slice
    examples: Tensor
    rows: Tensor


def _tiles(labels: Tensor, classes: int) -> Iterator[_Tile]:
    """The classes in order; a class that is not here (-1) is in no tile."""
    high = max(1, _TILE.get(labels.device.type, _LARGE_TILE) // len(labels))
    order = labels.argsort()
    starts = torch.arange(0, classes + high, high, device=labels.device)
    ends = torch.searchsorted(labels[order], starts).tolist()
    for number, first in enumerate(range(0, classes, high)):
        examples = order[ends[number] : ends[number + 1]]
        yield _Tile(slice(first, min(first + high, classes)), examples, labels[examples] - first)


def _over_processes(
    maximum: Tensor, total: Tensor, own: Tensor, spread: Tensor, group: ProcessGroup
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    highest = maximum.clone()
    torch.distributed.all_reduce(highest, torch.distributed.ReduceOp.MAX, group)
    sums = torch.stack([total * (maximum - highest).exp(), own, spread])
    torch.distributed.all_reduce(sums, group=group)
    return highest, sums[0], sums[1], sums[2]


def _heights(features: Tensor, form: Form) -> Tensor:
    if form.scale is not None:
        return torch.full_like(features[:, 0], form.scale)
    norms: Tensor = torch.linalg.vector_norm(features, dim=1)
    return norms


def _inverse_norms(x: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dim=1)
    return _reciprocal(norm)


def _reciprocal(norm: Tensor) -> Tensor:
    """1 / norm, and 0 for what has no direction."""
    return torch.where(norm > 0, 1 / norm, 0.0)


def _value_and_slope(angular: Angular, cosine: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        at = cosine.detach().requires_grad_()
        value = angular.of_cosine(at)
        (slope,) = torch.autograd.grad(value.sum(), at)
    return value.detach(), slope
