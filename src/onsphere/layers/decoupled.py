"""Layers that take the product of a function of norms and a function of the angle: decoupled operators."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.common_types import _size_1_t, _size_2_t, _size_3_t

from onsphere import sphere
from onsphere.angular import Angular, Cosine
from onsphere.layers.kernel import Convolution, Operator, Product, products_and_squares, respond, without_autocast
from onsphere.magnitude import Magnitude, Sphere

__all__ = ["Decoupled", "DecoupledConv1d", "DecoupledConv2d", "DecoupledConv3d", "DecoupledLinear", "Weighting"]

Weighting = Literal["linear", "nonlinear_product", "nonlinear_separate"]
PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
Activation = Angular | Callable[[Tensor], Tensor]

EPS = 1e-4  # the authors' published code (wy1iu/SphereNet, wy1iu/DCNets) adds as much to ||x||^2
MOMENTUM = 0.1  # of the moving average of norms, as in torch's batch normalization
OWN_STATE = ("log_radius", "mean_norm", "log_k", "beta", "gamma")  # what an ordinary layer has not


class Decoupled(nn.Module):
    r"""What the decoupled layers have in common: h, g, the operator radius and the learned curvature.

    Not to be made by itself; ``isinstance(layer, Decoupled)`` finds the decoupled layers of a model.

    Attributes:
        magnitude: h.
        angular: g.
        weighting: how the lengths of the filters enter; None for not at all.
        eps: added to the squared length of a patch.
        log_radius: logarithm of the learned operator radius rho, one a filter or one in all; starts at 0. None where h
            has no radius.
        mean_norm: moving average of E||x||, one a group; 0 before the first batch. None where h has no radius.
        log_k: logarithm of the learned curvature, one a filter or one in all; None where g has none.
        weighted_gradients: whether gradients are multiplied by ||w|| (section 4.4.2).
    """

    weight: Tensor
    log_radius: nn.Parameter | None
    mean_norm: Tensor | None
    log_k: nn.Parameter | None
    default_magnitude: Magnitude = Sphere()

    def configure(
        self,
        magnitude: Magnitude | None,
        angular: Activation,
        weighting: Weighting | None,
        eps: float,
        groups: int = 1,
        curvature: nn.Parameter | None = None,
    ) -> None:
        """Set what the layer computes and make the parameters that go with it.

        Args:
            magnitude: h; None for the class's own.
            angular: g.
            weighting: how the lengths of the filters enter.
            eps: added to the squared length of a patch.
            groups: of the convolution.
            curvature: a ``log_k`` that this layer shares with others.

        Raises:
            ValueError: for an eps that is not above 0 and an unknown weighting.
            TypeError: for an h or g that cannot be called, such as a class in place of an object.
        """
        if not (math.isfinite(eps) and eps > 0):
            raise ValueError(f"eps={eps!r}: expected a number above 0, since patches of zeros have no direction")
        if weighting not in (None, "linear", "nonlinear_product", "nonlinear_separate"):
            raise ValueError(
                f"weighting={weighting!r}: expected None, 'linear', 'nonlinear_product' or 'nonlinear_separate'"
            )
        magnitude = self.default_magnitude if magnitude is None else magnitude
        for name, function in (("magnitude", magnitude), ("angular", angular)):
            if isinstance(function, type | str) or not callable(function):
                raise TypeError(f"{name}={function!r}: expected an object such as onsphere.{name}.Linear()")
        self.magnitude, self.angular, self.weighting, self.eps = magnitude, angular, weighting, eps
        self.weighted_gradients = False
        self._groups, filters = groups, len(self.weight)
        like: Any = {"device": self.weight.device, "dtype": self.weight.dtype}
        radius = getattr(magnitude, "radius", None)
        self.register_parameter(
            "log_radius",
            None if radius is None else nn.Parameter(torch.zeros(filters if radius == "filter" else 1, **like)),
        )
        self.register_buffer("mean_norm", None if radius is None else torch.zeros(groups, **like))
        if getattr(angular, "learnable", False):
            count = filters if angular.shared == "filter" else 1  # type: ignore[union-attr]
            start = math.log(angular.k)  # type: ignore[union-attr]
            curvature = nn.Parameter(torch.full((count,), start, **like)) if curvature is None else curvature
            self.register_parameter("log_k", curvature)
        else:
            self.register_parameter("log_k", None)

    def reset_parameters(self) -> None:
        """Start anew, as after ``to_empty``: random weights, a radius of 1, the first curvature, no norms seen yet."""
        super().reset_parameters()  # type: ignore[misc]
        with torch.no_grad():
            for name in ("log_radius", "mean_norm", "log_k"):  # torch's layers call this before they are made
                values = getattr(self, name, None)
                if values is not None:
                    values.fill_(math.log(self.angular.k) if name == "log_k" else 0.0)  # type: ignore[union-attr]

    @property
    def radius(self) -> Tensor | None:
        """The operator radius rho, one a filter or one in all; None where h has none."""
        return None if self.log_radius is None else self.log_radius.exp()

    def unit_weight(self) -> Tensor:
        """The filters (filters, d) on the unit sphere, in float32 or better."""
        rows = self.weight.flatten(1)
        unit = sphere.normalize(rows)
        if not self.weighted_gradients:
            return unit
        fixed = unit.detach()
        return fixed + (unit - fixed) * _lengths(rows).detach()  # the value of one, ||w|| times its gradient

    def respond(self, product: Tensor, energy: Tensor) -> Tensor:
        """The layer's output (N, filters, ...) without its bias.

        Args:
            product: of unit filters with patches, (N, filters, ...).
            energy: squared lengths of the patches, (N, groups, ...).
        """
        flat = (1,) * (product.dim() - 2)

        def by_filter(values: Tensor) -> Tensor:  # (G, K, 1, ...), or (1, 1, 1, ...) of one in all
            groups = self._groups if len(values) == product.shape[1] else 1
            return values.to(product.dtype).view(groups, -1, *flat)

        norm = (energy + self.eps).sqrt()
        radius = k = None
        if self.log_radius is not None:
            mean = self._mean_norm(norm).to(product.dtype).view(-1, 1, *flat)
            radius = by_filter(self.log_radius.to(product.dtype).exp()) * mean
        if self.log_k is not None:
            k = by_filter(self.log_k.to(product.dtype).exp())
        lengths = by_filter(_lengths(self.weight.flatten(1))) if self.weighting else norm.new_ones((1, 1, *flat))
        operator = Operator(self.magnitude, self.angular, couples=self.weighting == "nonlinear_product")
        groups = torch.unflatten(product, 1, (self._groups, -1))
        response = respond(operator, groups, norm.unsqueeze(2), lengths, radius, k)
        if self.weighting == "linear":
            response = response * lengths
        elif self.weighting == "nonlinear_separate":
            response = response * self._magnitude_of_weights(lengths, by_filter)
        return response.flatten(1, 2)

    def _magnitude_of_weights(self, lengths: Tensor, by_filter: Callable[[Tensor], Tensor]) -> Tensor:
        """h(||w||) / alpha, so that alpha counts once as in eq. 4.16, and with rho alone: E||x|| says nothing of w."""
        arguments = () if self.log_radius is None else (by_filter(self.log_radius.to(lengths.dtype).exp()),)
        return self.magnitude(lengths, *arguments) / getattr(self.magnitude, "alpha", 1.0)

    def _mean_norm(self, norm: Tensor) -> Tensor:
        """E||x||, one a group: the moving average, with this batch in it when training."""
        assert self.mean_norm is not None
        norm = norm.detach()  # no_grad alone does not keep a forward derivative out
        with torch.no_grad():
            sums = norm.sum([dim for dim in range(norm.dim()) if dim != 1])
            sums = torch.cat([sums, sums.new_full((1,), norm.numel() // len(sums))])
            updates = self.training and not _recomputing()
            if updates and torch.distributed.is_available() and torch.distributed.is_initialized():
                torch.distributed.all_reduce(sums)
            here = (sums[:-1] / sums[-1]).to(self.mean_norm.dtype)
            known = torch.where(self.mean_norm > 0, self.mean_norm, here)
            if updates:
                mean = known.lerp(here, MOMENTUM)
                self.mean_norm.copy_(torch.where(mean.isfinite(), mean, self.mean_norm))  # an empty batch has no mean
                known = self.mean_norm.clone()  # a copy, since the buffer may change before backward
            return known

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, missing: list[str], *rest: Any
    ) -> None:
        # The weights of an ordinary layer have nothing of what an operator learns: then it stays as it is.
        ordinary = not any(prefix + name in state_dict for name in OWN_STATE)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, *rest)
        if ordinary:
            missing[:] = [name for name in missing if name not in {prefix + own for own in OWN_STATE}]

    def extra_repr(self) -> str:
        own = [f"magnitude={self.magnitude}", f"angular={self.angular}"]
        own += [f"weighting={self.weighting!r}"] if self.weighting else []
        own += ["weighted_gradients=True"] if self.weighted_gradients else []
        return ", ".join([super().extra_repr(), *own, f"eps={self.eps}"])


class DecoupledLinear(Decoupled, nn.Linear):
    r"""A fully connected layer in which the lengths and the angle of neuron and input act apart.

    .. math:: f = h(\|w\|, \|x\|) \, g(\theta_{(w, x)}) + b, \qquad \|x\| := \sqrt{\langle x, x \rangle + \epsilon}

    See :class:`DecoupledConv2d`, of which this is the one with a patch for the whole input.

    Args:
        in_features: d of the input (..., d).
        out_features: neurons.
        bias: add b, one number a neuron; off by default, as in the thesis.
        magnitude: h, of ``onsphere.magnitude`` or a function of norms.
        angular: g, of ``onsphere.angular`` or a function of angles in radians.
        weighting: how ||w|| enters: None, ``linear``, ``nonlinear_product`` (eq. 4.15), ``nonlinear_separate`` (4.16).
        eps: added to the squared length of the input; 1e-4 is what the authors' code adds.
        device: of the weights.
        dtype: of the weights.

    Raises:
        ValueError: for an eps that is not above 0 and an unknown weighting.
        TypeError: for an h or g that cannot be called.

    Source: thesis, eq. 4.3 and section 3.2.4 (extension to fully connected layers).

    >>> import onsphere as osp
    >>> layer = osp.DecoupledLinear(2, 1, magnitude=osp.magnitude.Linear(), angular=osp.angular.Linear())
    >>> with torch.no_grad():
    ...     _ = layer.weight.copy_(torch.tensor([[3.0, 4.0]]))
    >>> layer(torch.tensor([[-30.0, -40.0], [-4.0, 3.0]])).round().abs().tolist()
    [[50.0], [0.0]]
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        *,
        magnitude: Magnitude | None = None,
        angular: Activation = Cosine(),
        weighting: Weighting | None = None,
        eps: float = EPS,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device=device, dtype=dtype)
        self.configure(magnitude, angular, weighting, eps)

    def forward(self, input: Tensor) -> Tensor:
        with without_autocast(input.device):
            x = _at_least_float32(input).reshape(-1, input.shape[-1])
            product, energy = products_and_squares(x, self.unit_weight().to(x.dtype), Product())
            output = self.respond(product, energy)
            if self.bias is not None:
                output = output + self.bias
        return _as_expected(output.reshape(*input.shape[:-1], -1), input)


class _DecoupledConv(Decoupled, nn.modules.conv._ConvNd):
    def forward(self, input: Tensor) -> Tensor:
        with without_autocast(input.device):
            x = _at_least_float32(input)
            dims = len(self.kernel_size)
            batched = x.dim() == dims + 2
            x = x if batched else x.unsqueeze(0)
            ends: list[int] = self._reversed_padding_repeated_twice  # before and after, last dimension first
            if self.padding_mode != "zeros":
                x, ends = F.pad(x, ends, mode=self.padding_mode), [0] * len(ends)
            elif ends[::2] != ends[1::2]:
                x, ends = F.pad(x, ends), [0] * len(ends)
            convolution = Convolution(self.stride, ends[::-2], self.dilation, self.groups)
            weight = self.unit_weight().view_as(self.weight).to(x.dtype)
            product, squares = products_and_squares(x, weight, convolution)
            output = self.respond(product, self._windows(F.pad(squares, ends)))
            if self.bias is not None:
                output = output + self.bias.view(-1, *(1,) * dims)
        return _as_expected(output if batched else output.squeeze(0), input)

    def _windows(self, energy: Tensor) -> Tensor:
        """Sums over each filter's window of a padded image (N, groups, ...)."""
        # Sums of a view with overlapping windows, dimension by dimension: exact where a fast convolution with ones is
        # not (it may even be negative), and little work, since the channels are gone.
        for dim, size, stride, dilation in zip(
            range(2, energy.dim()), self.kernel_size, self.stride, self.dilation, strict=True
        ):
            energy = energy.unfold(dim, dilation * (size - 1) + 1, stride)[..., ::dilation].sum(-1)
        return energy


class DecoupledConv1d(_DecoupledConv, nn.Conv1d):
    r"""A convolution of sequences in which the lengths and the angle of filter and patch act apart.

    .. math:: f = h(\|w\|, \|x\|) \, g(\theta_{(w, x)}) + b, \qquad \|x\| := \sqrt{\langle x, x \rangle + \epsilon}

    See :class:`DecoupledConv2d`; the arguments are those of ``torch.nn.Conv1d``.

    Args:
        in_channels: channels of the input (N, in_channels, L) or (in_channels, L).
        out_channels: filters.
        kernel_size: length of a patch.
        stride: step between patches.
        padding: zeros on both ends, also ``"same"`` or ``"valid"``; they are part of the patches.
        dilation: step between the numbers of a patch.
        groups: a filter reads, and a patch's length is that of, the in_channels / groups channels of its group.
        bias: add b, one number a filter; off by default, as in the thesis.
        padding_mode: what to pad with instead of zeros, as in ``torch.nn.Conv1d``.
        magnitude: h, of ``onsphere.magnitude`` or a function of norms.
        angular: g, of ``onsphere.angular`` or a function of angles in radians.
        weighting: how ||w|| enters: None, ``linear``, ``nonlinear_product`` (eq. 4.15), ``nonlinear_separate`` (4.16).
        eps: added to the squared length of a patch; 1e-4 is what the authors' code adds.
        device: of the weights.
        dtype: of the weights.

    Raises:
        ValueError: for an eps that is not above 0 and an unknown weighting, and where ``torch.nn.Conv1d`` does.
        TypeError: for an h or g that cannot be called.

    Source: thesis, eq. 4.3.

    >>> DecoupledConv1d(3, 8, 5, padding="same")(torch.zeros(2, 3, 20)).shape
    torch.Size([2, 8, 20])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _size_1_t,
        stride: _size_1_t = 1,
        padding: str | _size_1_t = 0,
        dilation: _size_1_t = 1,
        groups: int = 1,
        bias: bool = False,
        padding_mode: PaddingMode = "zeros",
        *,
        magnitude: Magnitude | None = None,
        angular: Activation = Cosine(),
        weighting: Weighting | None = None,
        eps: float = EPS,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        shape = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(*shape, device=device, dtype=dtype)
        self.configure(magnitude, angular, weighting, eps, groups)


class DecoupledConv2d(_DecoupledConv, nn.Conv2d):
    r"""A convolution in which the lengths and the angle of filter and patch act apart.

    .. math:: f = h(\|w\|, \|x\|) \, g(\theta_{(w, x)}) + b, \qquad \|x\| := \sqrt{\langle x, x \rangle + \epsilon}

    h is one of ``onsphere.magnitude``, g one of ``onsphere.angular``. Without ``weighting`` the lengths of the filters
    do not count: weight decay then has no effect on what the layer computes. With it

    - ``linear``: h(||x||) ||w||; with ``magnitude.Linear`` and ``angular.Cosine`` that is an ordinary convolution,
    - ``nonlinear_product``: h(||x|| ||w||) (eq. 4.15),
    - ``nonlinear_separate``: h(||x||) h(||w||) / alpha (eq. 4.16).

    The operator radius of ``Ball``, ``Tanh`` and ``Seg`` is learned: h is given rho E||x||, where rho = exp(log_radius)
    starts at 1, one a filter or one in all, and E||x|| is a moving average over the batches of training, one a group
    (``mean_norm``; eq. C.1 to C.3), the first of which starts it. In training it is worked out over the batch of all
    processes, so that each must run the layer equally often.

    A patch of zeros gives h(sqrt(eps)) g(pi/2), which is 0, with finite gradients; a filter of zeros gives 0 and gets
    no gradient. All is computed in float32 or better, also under autocast and also backward; under autocast the output
    is float32, elsewhere it has the type of the input. The arguments up to ``padding_mode`` are those of
    ``torch.nn.Conv2d``, but the bias is off by default, as in the thesis.

    Args:
        in_channels: channels of the input (N, in_channels, H, W) or (in_channels, H, W).
        out_channels: filters.
        kernel_size: height and width of a patch, or one number for both.
        stride: step between patches.
        padding: zeros around the image, also ``"same"`` or ``"valid"``; they are part of the patches.
        dilation: step between the pixels of a patch.
        groups: a filter reads, and a patch's length is that of, the in_channels / groups channels of its group.
        bias: add b, one number a filter.
        padding_mode: what to pad with instead of zeros, as in ``torch.nn.Conv2d``.
        magnitude: h, of ``onsphere.magnitude`` or a function of norms.
        angular: g, of ``onsphere.angular`` or a function of angles in radians.
        weighting: how ||w|| enters: None, ``linear``, ``nonlinear_product`` or ``nonlinear_separate``.
        eps: added to the squared length of a patch; 1e-4 is what the authors' code (wy1iu/DCNets) adds.
        device: of the weights.
        dtype: of the weights.

    Raises:
        ValueError: for an eps that is not above 0 and an unknown weighting, and where ``torch.nn.Conv2d`` does.
        TypeError: for an h or g that cannot be called.

    Source: thesis, eq. 4.3 and sections 4.3.2 to 4.3.6, C.2.

    >>> import onsphere as osp
    >>> layer = osp.DecoupledConv2d(3, 8, 3, padding=1, magnitude=osp.magnitude.Tanh(), angular=osp.angular.Linear())
    >>> bool((layer(100 * torch.randn(2, 3, 5, 5)).abs() <= 1).all())
    True
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _size_2_t,
        stride: _size_2_t = 1,
        padding: str | _size_2_t = 0,
        dilation: _size_2_t = 1,
        groups: int = 1,
        bias: bool = False,
        padding_mode: PaddingMode = "zeros",
        *,
        magnitude: Magnitude | None = None,
        angular: Activation = Cosine(),
        weighting: Weighting | None = None,
        eps: float = EPS,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        shape = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(*shape, device=device, dtype=dtype)
        self.configure(magnitude, angular, weighting, eps, groups)


class DecoupledConv3d(_DecoupledConv, nn.Conv3d):
    r"""A convolution of volumes in which the lengths and the angle of filter and patch act apart.

    .. math:: f = h(\|w\|, \|x\|) \, g(\theta_{(w, x)}) + b, \qquad \|x\| := \sqrt{\langle x, x \rangle + \epsilon}

    See :class:`DecoupledConv2d`; the arguments are those of ``torch.nn.Conv3d``.

    Args:
        in_channels: channels of the input (N, in_channels, D, H, W) or (in_channels, D, H, W).
        out_channels: filters.
        kernel_size: depth, height and width of a patch, or one number for all.
        stride: step between patches.
        padding: zeros around the volume, also ``"same"`` or ``"valid"``; they are part of the patches.
        dilation: step between the numbers of a patch.
        groups: a filter reads, and a patch's length is that of, the in_channels / groups channels of its group.
        bias: add b, one number a filter; off by default, as in the thesis.
        padding_mode: what to pad with instead of zeros, as in ``torch.nn.Conv3d``.
        magnitude: h, of ``onsphere.magnitude`` or a function of norms.
        angular: g, of ``onsphere.angular`` or a function of angles in radians.
        weighting: how ||w|| enters: None, ``linear``, ``nonlinear_product`` (eq. 4.15), ``nonlinear_separate`` (4.16).
        eps: added to the squared length of a patch; 1e-4 is what the authors' code adds.
        device: of the weights.
        dtype: of the weights.

    Raises:
        ValueError: for an eps that is not above 0 and an unknown weighting, and where ``torch.nn.Conv3d`` does.
        TypeError: for an h or g that cannot be called.

    Source: thesis, eq. 4.3.

    >>> DecoupledConv3d(3, 8, 3, stride=2)(torch.zeros(2, 3, 9, 9, 9)).shape
    torch.Size([2, 8, 4, 4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _size_3_t,
        stride: _size_3_t = 1,
        padding: str | _size_3_t = 0,
        dilation: _size_3_t = 1,
        groups: int = 1,
        bias: bool = False,
        padding_mode: PaddingMode = "zeros",
        *,
        magnitude: Magnitude | None = None,
        angular: Activation = Cosine(),
        weighting: Weighting | None = None,
        eps: float = EPS,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        shape = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(*shape, device=device, dtype=dtype)
        self.configure(magnitude, angular, weighting, eps, groups)


def _lengths(rows: Tensor) -> Tensor:
    """||w|| of each row, as (rows, 1), in float32 or better."""
    lengths: Tensor = torch.linalg.vector_norm(_at_least_float32(rows), dim=1, keepdim=True)
    return lengths


def _recomputing() -> bool:
    """Whether backward asks for a forward pass anew (activation checkpointing), which must give what the first gave."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _as_expected(output: Tensor, input: Tensor) -> Tensor:
    """Float32 under autocast: eight bits would be all that is left of a bfloat16 cosine. Elsewhere the input's type."""
    device = input.device.type
    mixed = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return output if mixed else output.to(input.dtype)
