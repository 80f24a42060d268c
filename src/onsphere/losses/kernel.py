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
            kind = _logits_of(features, form)
            target = None if form.margin is None else _targets(features, weight, labels, form)
            own = features.new_zeros(len(labels)) if target is None else target.logit.clone()
            if target is not None and bias is not None:
                own[target.examples] += bias[labels[target.examples]]

            products = features.new_empty(len(weight), len(features))
            maximum = features.new_full((len(features),), -torch.inf)
            total, spread = torch.zeros_like(maximum), torch.zeros_like(maximum)
            for tile in _tiles(labels, len(weight)):
                logits = kind.logits(weight[tile.classes], kind.products(weight[tile.classes], products[tile.classes]))
                if bias is not None:
                    logits = logits + bias[tile.classes, None]
                if target is None:
                    own[tile.examples] = logits[tile.rows, tile.examples]
                else:  # products may be overwritten by it: nothing is pushed through them there
                    logits[tile.rows, tile.examples] = own[tile.examples]
                higher = torch.maximum(maximum, logits.amax(0))
                total.mul_((maximum - higher).exp_()).add_((logits - higher).exp_().sum(0))
                maximum = higher
                if form.label_smoothing:
                    spread += logits.sum(0) if class_weight is None else class_weight[tile.classes] @ logits
            weights = _Weights.of(labels, class_weight, form, features, group)
            if group is not None:
                maximum, total, own, spread = _over_processes(maximum, total, own, spread, group)
            log_total = maximum + total.log()
            found = weights.own * (log_total - own)
            if form.label_smoothing:
                found = found + weights.every * (weights.sum * log_total - spread)
        ctx.form, ctx.weights, ctx.target = form, weights, target
        ctx.save_for_backward(features, weight, bias, labels, class_weight, products, own, log_total)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, bias, labels, class_weight, products, own, log_total = ctx.saved_tensors
        form: Form = ctx.form
        weights: _Weights = ctx.weights
        target: _Targets | None = ctx.target
        with sphere.full_precision(features.device):
            kind = _logits_of(features, form)
            on_own = grad * weights.own
            on_all = on_own + grad * weights.every * weights.sum if form.label_smoothing else on_own
            own_push = (own - log_total).exp() * on_all - on_own
            to_weight = torch.empty_like(weight)
            to_bias = None if bias is None else torch.empty_like(bias)
            for tile in _tiles(labels, len(weight)):
                some, known = weight[tile.classes], products[tile.classes]
                logits = kind.logits(some, known)
                if bias is not None:
                    logits = logits + bias[tile.classes, None]
                push = (logits - log_total).exp_().mul_(on_all)  # by the logits' derivatives
                push[tile.rows, tile.examples] = own_push[tile.examples]
                if form.label_smoothing:
                    share = torch.ones_like(some[:, 0]) if class_weight is None else class_weight[tile.classes]
                    push.sub_(torch.outer(share, grad * weights.every))
                if to_bias is not None:
                    to_bias[tile.classes] = push.sum(1)
                if target is not None:
                    target.push[tile.examples] = push[tile.rows, tile.examples]
                    push[tile.rows, tile.examples] = 0.0
                kind.back(some, known, push, to_weight[tile.classes])
            to_features = kind.to_features()
            if target is not None:
                push = target.push[target.examples, None]
                to_features.index_add_(0, target.examples, push * target.to_feature)
                to_weight.index_add_(0, labels[target.examples], push * target.to_weight)
        return to_features, to_weight, to_bias, None, None, None, None


class _Inner:
    """Logits that are inner products of vectors, normalised or not: g is the cosine."""

    def __init__(self, features: Tensor, form: Form) -> None:
        self.features, self.form = features, form
        self.inverse = _reciprocal(_norms(features))
        self.directions = features if form.scale is None else features * (form.scale * self.inverse)[:, None]
        self.columns = self.directions.T.contiguous()
        self.to_directions = torch.zeros_like(features)

    def products(self, some: Tensor, out: Tensor) -> Tensor:
        """The logits of a tile of classes, which are all that is kept of it; (classes, B), written to ``out``."""
        torch.mm(some, self.columns, out=out)
        return out.mul_(_reciprocal(_norms(some))[:, None]) if self.form.normalize_weight else out

    def logits(self, some: Tensor, products: Tensor) -> Tensor:
        return products

    def back(self, some: Tensor, products: Tensor, push: Tensor, to_weight: Tensor) -> None:
        """Carry the loss's derivative in a tile's logits to its weights and, for later, to the features.

        Args:
            some: the tile's weights.
            products: what was kept of it.
            push: the derivative; it is used up.
            to_weight: written.
        """
        if self.form.normalize_weight:
            inverse = _reciprocal(_norms(some))
            radial = torch.linalg.vecdot(push, products) * inverse
            torch.mm(push, self.directions, out=to_weight).addcmul_(some, radial[:, None], value=-1)
            to_weight.mul_(inverse[:, None])  # last: the square of the inverse of a tiny norm would overflow
            push.mul_(inverse[:, None])
        else:
            torch.mm(push, self.directions, out=to_weight)
        self.to_directions.addmm_(push.T, some)

    def to_features(self) -> Tensor:
        """The loss's derivative in the features, once all tiles are done."""
        if self.form.scale is None:
            return self.to_directions
        unit = self.features * self.inverse[:, None]
        return _tangential(self.to_directions, unit) * (self.form.scale * self.inverse)[:, None]


class _Curved:
    """Logits of any g: height_i * length_j * g(cosine). The cosines are what is kept."""

    def __init__(self, features: Tensor, form: Form) -> None:
        self.form = form
        norms = _norms(features)
        self.inverse = _reciprocal(norms)
        self.directions = features * self.inverse[:, None]
        self.columns = self.directions.T.contiguous()
        self.height = norms if form.scale is None else torch.full_like(norms, form.scale)
        self.to_directions, self.to_height = torch.zeros_like(features), torch.zeros_like(norms)

    def products(self, some: Tensor, out: Tensor) -> Tensor:
        torch.mm(some, self.columns, out=out)
        return out.mul_(_reciprocal(_norms(some))[:, None])

    def logits(self, some: Tensor, products: Tensor) -> Tensor:
        logits = self.form.angular.of_cosine(products) * self.height
        return logits if self.form.normalize_weight else logits.mul_(_norms(some)[:, None])

    def back(self, some: Tensor, products: Tensor, push: Tensor, to_weight: Tensor) -> None:
        value, slope = _value_and_slope(self.form.angular, products)
        length = _norms(some)
        inverse = _reciprocal(length)
        radial = torch.zeros_like(length)
        if not self.form.normalize_weight:
            radial += (push * value) @ self.height
            push.mul_(length[:, None])
        if self.form.scale is None:
            self.to_height += (push * value).sum(0)
        push.mul_(slope).mul_(self.height)
        radial -= torch.linalg.vecdot(push, products) * inverse
        torch.mm(push, self.directions, out=to_weight).addcmul_(some, radial[:, None])
        to_weight.mul_(inverse[:, None])  # last, as above
        push.mul_(inverse[:, None])
        self.to_directions.addmm_(push.T, some)

    def to_features(self) -> Tensor:
        turned = _tangential(self.to_directions, self.directions) * self.inverse[:, None]
        return turned + self.to_height[:, None] * self.directions


def _logits_of(features: Tensor, form: Form) -> _Inner | _Curved:
    return _Inner(features, form) if isinstance(form.angular, Cosine) else _Curved(features, form)


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
        own = torch.zeros_like(like[:, 0])  # of its type also where this process has no class
        here = labels >= 0
        own[here] = class_weight[labels[here]]
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
        push: (B,), the loss's derivative in the logit, filled in backward.
    """

    examples: Tensor
    logit: Tensor
    to_feature: Tensor
    to_weight: Tensor
    push: Tensor


def _targets(features: Tensor, weight: Tensor, labels: Tensor, form: Form) -> _Targets:
    assert form.margin is not None
    examples = (labels >= 0).nonzero().squeeze(1)
    x = features[examples].to(sphere.finest(features.device))
    w = weight[labels[examples]].to(x.dtype)
    x_norm, w_norm = (torch.linalg.vector_norm(each, dim=1, keepdim=True) for each in (x, w))
    x_inverse, w_inverse = _reciprocal(x_norm), _reciprocal(w_norm)
    x_unit, w_unit = x * x_inverse, w * w_inverse
    arcs = sphere.arcs(x_unit, w_unit)
    with torch.inference_mode(False), torch.enable_grad():  # also where a validation loss is taken in inference mode
        theta = arcs.angle.clone().requires_grad_()
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
    to_feature, to_weight = to_feature.to(features.dtype), to_weight.to(weight.dtype)
    return _Targets(examples, logit, to_feature, to_weight, torch.zeros_like(logit))


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


def _norms(x: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(x, dim=1)
    return norms


def _tangential(x: Tensor, unit: Tensor) -> Tensor:
    """What is left of the rows of x without their parts along unit vectors."""
    along: Tensor = torch.linalg.vecdot(x, unit)
    return x - along[:, None] * unit


def _reciprocal(norm: Tensor) -> Tensor:
    """1 / norm, and 0 for what has no direction."""
    return torch.where(norm > 0, 1 / norm, 0.0)


def _value_and_slope(angular: Angular, cosine: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        at = cosine.detach().requires_grad_()
        value = angular.of_cosine(at)
        (slope,) = torch.autograd.grad(value.sum(), at)
    return value.detach(), slope
