"""Layers whose output is the cosine between a weight and what it reads: hyperspherical networks (thesis, chapter 3).

For now there is the cosine operator alone (eq. 3.3). Its two factors are kept apart, the product with unit weights and
1 / ||x||, since every other operator of chapters 3 and 4 is a function of the two.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.common_types import _size_2_t

from onsphere import sphere

__all__ = ["SphereConv2d", "SphereLinear"]

# The thesis's published code adds as much to ||x||^2.
EPS = 1e-4


class SphereConv2d(nn.Conv2d):
    r"""Cosine of the angle between each filter and each patch (cosine SphereConv).

    .. math:: f = \frac{\langle w, x \rangle}{\|w\| \, \|x\|} + b, \qquad
        \frac{1}{\|x\|} := \frac{1}{\sqrt{\langle x, x \rangle + \epsilon}}

    The output is in [-1, 1] and does not depend on the lengths of the filters, nor on those of the patches as long as
    they are well above sqrt(eps). A patch of zeros gives 0 with a gradient of at most 1 / sqrt(eps) a filter; a filter
    of zeros gives 0 and gets none. Weight decay has no effect on what the layer computes.

    Arguments and the state dict are those of ``torch.nn.Conv2d``; only the bias is off by default, as in the thesis.
    Everything is computed in float32 or better, also under autocast and also backward; under autocast the output is
    float32, elsewhere it has the type of the input.

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
        eps: added to the squared length of a patch; 1e-4 is what the authors' code (wy1iu/SphereNet) adds.
        device: of the weights.
        dtype: of the weights.

    Raises:
        ValueError: if eps is not above 0, and where ``torch.nn.Conv2d`` does.

    Source: thesis, equations 3.1 and 3.3.

    >>> layer = SphereConv2d(3, 8, 3, padding=1)
    >>> image = torch.rand(1, 3, 5, 5) + 1
    >>> torch.allclose(layer(image), layer(1000 * image), atol=1e-4)
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
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
        *,
        eps: float = EPS,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device=device,
            dtype=dtype,
        )
        self.eps = _above_zero(eps)

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            x = _at_least_float32(input)
            weight = sphere.normalize(self.weight.flatten(1)).view_as(self.weight).to(x.dtype)
            product = self._conv_forward(x, weight, None)
            inverse = (self._patch_energy(x) + self.eps).rsqrt()  # one channel a group
            if self.groups > 1:
                inverse = inverse.repeat_interleave(self.out_channels // self.groups, -3)
            cosine = product * inverse
            if self.bias is not None:
                cosine = cosine + self.bias[:, None, None]
        return _as_expected(cosine, input)

    def _patch_energy(self, x: Tensor) -> Tensor:
        """||x||^2 of every patch, (..., groups, H', W'): squares summed over channels first, then over the window."""
        energy = torch.unflatten(x.square(), -3, (self.groups, -1)).sum(-3)
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        energy = F.pad(energy, self._reversed_padding_repeated_twice, mode=mode)
        # Sums of a view with overlapping windows, rows and then columns: exact where a fast convolution with ones is
        # not (it may even be negative), and little work, since the channels are gone.
        for dim, size, stride, dilation in zip((-2, -1), self.kernel_size, self.stride, self.dilation, strict=True):
            energy = energy.unfold(dim, dilation * (size - 1) + 1, stride)[..., ::dilation].sum(-1)
        return energy

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, eps={self.eps}"  # type: ignore[no-untyped-call]


class SphereLinear(nn.Linear):
    r"""Cosine of the angle between each neuron and the input: :class:`SphereConv2d` for a fully connected layer.

    .. math:: f = \frac{\langle w, x \rangle}{\|w\| \sqrt{\langle x, x \rangle + \epsilon}} + b

    Args:
        in_features: d of the input (..., d).
        out_features: neurons.
        bias: add b, one number a neuron.
        eps: added to the squared length of the input; 1e-4 is what the authors' code (wy1iu/SphereNet) adds.
        device: of the weights.
        dtype: of the weights.

    Raises:
        ValueError: if eps is not above 0.

    Source: thesis, equation 3.3 and section 3.2.4 (extension to fully connected layers).

    >>> layer = SphereLinear(2, 1)
    >>> with torch.no_grad():
    ...     _ = layer.weight.copy_(torch.tensor([[3.0, 4.0]]))
    >>> layer(torch.tensor([[30.0, 40.0], [-4.0, 3.0]])).abs().round(decimals=4).tolist()
    [[1.0], [0.0]]
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        *,
        eps: float = EPS,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device=device, dtype=dtype)
        self.eps = _above_zero(eps)

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            x = _at_least_float32(input)
            weight = sphere.normalize(self.weight).to(x.dtype)
            product: Tensor = _Product.apply(x, weight)  # type: ignore[no-untyped-call]
            cosine = product * (x.square().sum(-1, keepdim=True) + self.eps).rsqrt()
            if self.bias is not None:
                cosine = cosine + self.bias
        return _as_expected(cosine, input)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, eps={self.eps}"


class _Product(torch.autograd.Function):
    """x @ weight.T whose backward products stay float32 where backward() is called under autocast.

    The backward of a convolution stays so by itself.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            return grad @ weight, grad.reshape(-1, grad.shape[-1]).T @ x.reshape(-1, x.shape[-1])


def _above_zero(eps: float) -> float:
    if not eps > 0:
        raise ValueError(f"eps={eps}: expected a number above 0, since patches of zeros have no direction")
    return eps


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _as_expected(cosine: Tensor, input: Tensor) -> Tensor:
    """Float32 under autocast: eight bits would be all that is left of a bfloat16 cosine. Elsewhere the input's type."""
    return cosine if torch.is_autocast_enabled(input.device.type) else cosine.to(input.dtype)
