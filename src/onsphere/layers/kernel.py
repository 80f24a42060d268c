"""How a decoupled layer computes: products and patch energies in one pass, then h and g in tiles that fit a cache.

Shapes throughout: products (N, G, K, ...), of N examples with G groups of K filters and any number of spatial
dimensions; norms of patches (N, G, 1, ...); what belongs to a filter (G, K, 1, ...).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from onsphere import sphere
from onsphere.angular import Angular, Cosine, of_cosine
from onsphere.magnitude import Magnitude

TILE = 65536  # numbers; a few tensors of this size stay in a second-level cache


@dataclass(frozen=True)
class Convolution:
    """A convolution without bias, its padding of zeros and the same on both ends."""

    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    groups: int

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        none = [0] * len(self.stride)
        product: Tensor = torch.ops.aten.convolution(
            x, weight, None, self.stride, self.padding, self.dilation, False, none, self.groups
        )
        return product

    def backward(self, grad: Tensor, x: Tensor, weight: Tensor, wanted: Sequence[bool]) -> tuple[Tensor, Tensor]:
        none = [0] * len(self.stride)
        by_input, by_weight, _ = torch.ops.aten.convolution_backward(
            grad, x, weight, None, self.stride, self.padding, self.dilation, False, none, self.groups, [*wanted, False]
        )
        return by_input, by_weight


@dataclass(frozen=True)
class Product:
    """x W^T for inputs (N, d): the convolution of a fully connected layer."""

    groups: int = 1

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        return x @ weight.T

    def backward(self, grad: Tensor, x: Tensor, weight: Tensor, wanted: Sequence[bool]) -> tuple[Any, Any]:
        return grad @ weight if wanted[0] else None, grad.T @ x if wanted[1] else None


def products_and_squares(x: Tensor, weight: Tensor, linear: Convolution | Product) -> tuple[Tensor, Tensor]:
    """What filters make of x, (N, filters, ...), and the squares of x summed over each group's channels, (N, G, ...).

    Args:
        x: (N, channels, ...), float32 or float64.
        weight: of x's dtype.
        linear: convolution or matrix product.
    """
    if _literally():
        return linear(x, weight), _squares(x, linear.groups)
    found: tuple[Tensor, Tensor] = _ProductsAndSquares.apply(x, weight, linear)  # type: ignore[no-untyped-call]
    return found


def _squares(x: Tensor, groups: int) -> Tensor:
    return torch.unflatten(x.square(), 1, (groups, -1)).sum(2)


class _ProductsAndSquares(torch.autograd.Function):
    """Both at once, so that backward adds the second gradient to the first in place, and in float32 under autocast."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, linear: Convolution | Product) -> tuple[Tensor, Tensor]:
        ctx.linear = linear
        ctx.save_for_backward(x, weight)
        squares = x.new_empty(len(x), linear.groups, *x.shape[2:])
        for part, out in _tiles(x, squares):
            torch.sum(torch.unflatten(part * part, 1, (linear.groups, -1)), 2, out=out)
        return linear(x, weight), squares

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_squares: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        linear: Convolution | Product = ctx.linear
        with sphere.without_autocast(grad.device):
            if torch.is_grad_enabled():

                def formula(x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
                    return linear(x, weight), _squares(x, linear.groups)

                return *_differentiable(formula, (x, weight), (grad, grad_squares)), None
            wanted = ctx.needs_input_grad[:2]
            by_input, by_weight = linear.backward(grad, x, weight, wanted)
            if wanted[0]:
                groups = torch.unflatten(by_input, 1, (linear.groups, -1))
                groups.addcmul_(torch.unflatten(x, 1, (linear.groups, -1)), grad_squares.unsqueeze(2), value=2)
        return by_input if wanted[0] else None, by_weight if wanted[1] else None, None


@dataclass(frozen=True)
class Operator:
    """h and g of a layer.

    Args:
        magnitude: h.
        angular: g.
        couples: h is a function of ||w|| ||x|| (eq. 4.15) and not of ||x|| alone.
    """

    magnitude: Magnitude
    angular: Angular | Callable[[Tensor], Tensor]
    couples: bool = False


def respond(
    operator: Operator, product: Tensor, norm: Tensor, lengths: Tensor, radius: Tensor | None, k: Tensor | None
) -> Tensor:
    """h(||w||, ||x||) g(theta) from the products of unit filters with patches.

    Args:
        operator: h and g.
        product: (N, G, K, ...).
        norm: of the patches, (N, G, 1, ...), above 0.
        lengths: of the filters, (G, K, 1, ...).
        radius: of the operator, (G, K, 1, ...) or (G, 1, 1, ...); None where h has none.
        k: learned curvature, (G, K, 1, ...) or (1, 1, 1, ...); None where g has none.
    """
    inverse = norm.reciprocal()
    thick = operator.couples or (radius is not None and radius.shape[1] > 1)  # h is another one for each filter
    fast = hasattr(operator.angular, "value_and_slope") and not operator.couples
    fast = fast and (not thick or hasattr(operator.magnitude, "value_and_slopes"))
    if thick and fast and not _literally():
        return _Response.apply(operator, product, inverse, None, norm, radius, k)  # type: ignore[no-untyped-call, no-any-return]
    length = norm * lengths if operator.couples else norm
    h = operator.magnitude(length) if radius is None else operator.magnitude(length, radius)
    if _literally() or not fast:
        response = h * _activation(operator.angular, product * inverse, k)
        bound = _bound(operator)
        return response if bound is None else response.clamp(-bound, bound)
    if isinstance(operator.angular, Cosine):  # h goes with 1 / ||x||, so that there is one multiplication for both
        return _Response.apply(operator, product, inverse * h, None, None, None, k)  # type: ignore[no-untyped-call, no-any-return]
    return _Response.apply(operator, product, inverse, h, None, None, k)  # type: ignore[no-untyped-call, no-any-return]


class _Response(torch.autograd.Function):
    """y = h g(product * inverse), tile by tile; the product is all of its size that is kept for backward.

    h is given, or worked out of norm and radius for each filter, or left out as 1.
    """

    @staticmethod
    def forward(
        ctx: Any,
        operator: Operator,
        product: Tensor,
        inverse: Tensor,
        h: Tensor | None,
        norm: Tensor | None,
        radius: Tensor | None,
        k: Tensor | None,
    ) -> Tensor:
        ctx.operator = operator
        ctx.save_for_backward(product, inverse, h, norm, radius, k)
        response = torch.empty_like(product)
        bound = _bound(operator)
        for p, i, hs, n, y in _tiles(product, inverse, h, norm, response):
            g = _values_and_slopes(operator.angular, p * i, k)[0]
            if n is not None:
                hs = operator.magnitude.value_and_slopes(n, radius)[0]  # type: ignore[attr-defined]
            torch.mul(g, 1 if hs is None else hs, out=y)
            if bound is not None:
                y.clamp_(-bound, bound)  # rounding may carry a cosine beyond 1
        return response

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        operator: Operator = ctx.operator
        product, inverse, h, norm, radius, k = ctx.saved_tensors
        if torch.is_grad_enabled():

            def formula(product: Tensor, inverse: Tensor, h: Any, norm: Any, radius: Any, k: Any) -> tuple[Tensor, ...]:
                factor = h if norm is None else operator.magnitude(norm, radius)
                g = _activation(operator.angular, product * inverse, k)
                return (g if factor is None else factor * g,)

            return None, *_differentiable(formula, (product, inverse, h, norm, radius, k), (grad,))
        by_product, by_inverse = torch.empty_like(product), torch.empty_like(inverse)
        given: list[Any] = [t if t is None else torch.zeros_like(t) for t in (h, norm, radius, k)]
        by_h, by_norm, by_radius, by_k = given
        tensors = (grad, product, inverse, h, norm, by_product, by_inverse, by_h, by_norm)
        for dy, p, i, hs, n, dp, di, dh, dn in _tiles(*tensors):
            g, slope, by_curvature = _values_and_slopes(operator.angular, p * i, k)
            if n is not None:
                hs, h_by_norm, h_by_radius = operator.magnitude.value_and_slopes(n, radius)  # type: ignore[attr-defined]
                by_filter = dy * g
                torch.sum(h_by_norm.mul_(by_filter), 2, keepdim=True, out=dn)
                by_radius.add_(h_by_radius.mul_(by_filter).sum_to_size(by_radius.shape))
            elif dh is not None:
                torch.sum(g.mul_(dy), 2, keepdim=True, out=dh)
            dg = dy if hs is None else dy * hs
            if by_curvature is not None:
                by_k.add_(by_curvature.mul_(dg).sum_to_size(by_k.shape))
            slope.mul_(dg)
            torch.mul(slope, i, out=dp)
            torch.sum(slope.mul_(p), 2, keepdim=True, out=di)
        return None, by_product, by_inverse, by_h, by_norm, by_radius, by_k


def _values_and_slopes(angular: Any, cosine: Tensor, k: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """g, its derivative by the cosine and, where it is learned, by the curvature; g may be the cosine's memory."""
    if k is None:
        value, slope = angular.value_and_slope(cosine)
        return value, slope, None
    found: tuple[Tensor, Tensor, Tensor] = angular.value_and_slopes(cosine, k)
    return found


def _activation(angular: Any, cosine: Tensor, k: Tensor | None) -> Tensor:
    g: Tensor = of_cosine(angular, cosine) if k is None else angular.of_cosine(cosine, k)
    return g


def _bound(operator: Operator) -> float | None:
    return getattr(operator.magnitude, "bound", None)


def _tiles(*tensors: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """The tensors in parts of equally many examples, so small on a CPU that they stay in its cache."""
    first = next(tensor for tensor in tensors if tensor is not None)
    rows = _rows(first)
    parts = [itertools.repeat(None) if tensor is None else torch.split(tensor, rows) for tensor in tensors]
    yield from zip(*parts, strict=False)  # repeat has no end


def _rows(x: Tensor) -> int:
    """How many examples fit a tile; all of them on a GPU, which has no use for tiles."""
    if x.device.type != "cpu" or not x.numel():
        return max(1, len(x))
    return max(1, TILE * len(x) // x.numel())


def at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _literally() -> bool:
    """Whether to write formulas out: a compiler fuses them itself, torch.func and a tracer look into them."""
    return torch.compiler.is_compiling() or torch._C._is_tracing() or torch._C._are_functorch_transforms_active()


def _differentiable(
    formula: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Tensor | None], grads: Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """The gradients once more as a graph, for second derivatives."""
    # By aliases, since one input may have been made of another (1 / ||x|| of ||x||): what comes to the second through
    # the first is not its gradient here.
    aliases = [x if x is None else x.view_as(x) for x in inputs]
    wanted = [x for x in aliases if x is not None and x.requires_grad]
    reached = [(y, grad) for y, grad in zip(formula(*aliases), grads, strict=True) if y.requires_grad]
    outputs, theirs = [y for y, _ in reached], [grad for _, grad in reached]
    found = iter(torch.autograd.grad(outputs, wanted, theirs, create_graph=True, allow_unused=True))
    return tuple(next(found) if x is not None and x.requires_grad else None for x in inputs)
