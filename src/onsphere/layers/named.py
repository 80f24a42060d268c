"""The operators of the thesis under their own names, and SphereNorm."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.common_types import _size_2_t

from onsphere import magnitude
from onsphere.layers.convolution import DecoupledConv2d, DecoupledLinear, PaddingMode
from onsphere.layers.decoupled import EPS

__all__ = [
    "BallConv2d",
    "LinearConv2d",
    "LogConv2d",
    "MixConv2d",
    "SegConv2d",
    "SphereConv2d",
    "SphereLinear",
    "SphereNormConv2d",
    "TanhConv2d",
]


class SphereConv2d(DecoupledConv2d):
    r"""Hyperspherical convolution: the angle between filter and patch alone; :class:`DecoupledConv2d` with its h.

    .. math:: f = g(\theta_{(w, x)}) + b, \qquad \text{for example} \quad
        \cos\theta_{(w, x)} = \frac{\langle w, x \rangle}{\|w\| \sqrt{\langle x, x \rangle + \epsilon}}

    The output is in [-1, 1] and depends neither on the lengths of the filters nor on those of the patches, as long as
    these are well above sqrt(eps).

    Source: thesis, eq. 3.1 to 3.4 and 4.4.

    >>> layer = SphereConv2d(3, 8, 3, padding=1)
    >>> image = torch.rand(1, 3, 5, 5) + 1
    >>> torch.allclose(layer(image), layer(1000 * image), atol=1e-4)
    True
    """


class SphereLinear(DecoupledLinear):
    r"""The angle between neuron and input alone: :class:`SphereConv2d` for a fully connected layer.

    .. math:: f = g(\theta_{(w, x)}) + b

    Source: thesis, eq. 3.1 and section 3.2.4 (extension to fully connected layers).

    >>> layer = SphereLinear(2, 1)
    >>> with torch.no_grad():
    ...     _ = layer.weight.copy_(torch.tensor([[3.0, 4.0]]))
    >>> layer(torch.tensor([[30.0, 40.0], [-4.0, 3.0]])).abs().round(decimals=4).tolist()
    [[1.0], [0.0]]
    """


class BallConv2d(DecoupledConv2d):
    r"""Hyperball convolution: :class:`DecoupledConv2d` with ``magnitude.Ball()``.

    .. math:: f = \alpha \, \frac{\min(\|x\|, \rho E\|x\|)}{\rho E\|x\|} \, g(\theta_{(w, x)}) + b

    Source: thesis, eq. 4.5 and C.2.

    >>> BallConv2d(3, 8, 3).magnitude
    Ball(alpha=1.0, radius='filter')
    """

    default_magnitude = magnitude.Ball()


class TanhConv2d(DecoupledConv2d):
    r"""Hyperbolic tangent convolution: :class:`DecoupledConv2d` with ``magnitude.Tanh()``.

    .. math:: f = \alpha \tanh\frac{\|x\|}{\rho E\|x\|} \, g(\theta_{(w, x)}) + b

    Source: thesis, eq. 4.6 and C.1.

    >>> TanhConv2d(3, 8, 3).magnitude
    Tanh(alpha=1.0, radius='filter')
    """

    default_magnitude = magnitude.Tanh()


class LinearConv2d(DecoupledConv2d):
    r"""Linear convolution: :class:`DecoupledConv2d` with ``magnitude.Linear()``.

    .. math:: f = \alpha \|x\| \, g(\theta_{(w, x)}) + b

    Source: thesis, eq. 4.7.

    >>> LinearConv2d(3, 8, 3).magnitude
    Linear(alpha=1.0)
    """

    default_magnitude = magnitude.Linear()


class SegConv2d(DecoupledConv2d):
    r"""Segmented convolution: :class:`DecoupledConv2d` with ``magnitude.Seg()``.

    .. math:: f = (\alpha \min(\|x\|, \rho E\|x\|) + \beta \max(\|x\| - \rho E\|x\|, 0)) \, g(\theta_{(w, x)}) + b

    Source: thesis, eq. 4.8 and C.3.

    >>> SegConv2d(3, 8, 3).magnitude
    Seg(alpha=1.0, beta=0.5, radius='filter')
    """

    default_magnitude = magnitude.Seg()


class LogConv2d(DecoupledConv2d):
    r"""Logarithm convolution: :class:`DecoupledConv2d` with ``magnitude.Log()``.

    .. math:: f = \alpha \log(1 + \|x\|) \, g(\theta_{(w, x)}) + b

    Source: thesis, eq. 4.9.

    >>> LogConv2d(3, 8, 3).magnitude
    Log(alpha=1.0)
    """

    default_magnitude = magnitude.Log()


class MixConv2d(DecoupledConv2d):
    r"""Mixed convolution: :class:`DecoupledConv2d` with ``magnitude.Mix()``.

    .. math:: f = (\alpha \|x\| + \beta \log(1 + \|x\|)) \, g(\theta_{(w, x)}) + b

    Source: thesis, eq. 4.10.

    >>> MixConv2d(3, 8, 3).magnitude
    Mix(alpha=1.0, beta=1.0)
    """

    default_magnitude = magnitude.Mix()


class SphereNormConv2d(DecoupledConv2d):
    r"""SphereNorm: a cosine SphereConv that is rescaled, as a normalization beside or instead of batch normalization.

    .. math:: f = \beta \cos\theta_{(w, x)} + \gamma

    Args:
        in_channels: channels of the input (N, in_channels, H, W) or (in_channels, H, W).
        out_channels: filters.
        kernel_size: height and width of a patch, or one number for both.
        stride: step between patches.
        padding: zeros around the image, also ``"same"`` or ``"valid"``; they are part of the patches.
        dilation: step between the pixels of a patch.
        groups: a filter reads the in_channels / groups channels of its group.
        padding_mode: what to pad with instead of zeros, as in ``torch.nn.Conv2d``.
        beta: scale, of every filter at the start; default 1.
        gamma: shift, of every filter at the start; default 0.
        learned: beta and gamma are parameters, one a filter; False keeps them as they are ("either learned or
            pre-fixed").
        eps: added to the squared length of a patch.
        device: of the weights.
        dtype: of the weights.

    Raises:
        ValueError: for an eps that is not above 0, and where ``torch.nn.Conv2d`` does.

    Source: thesis, section 3.2.5.

    >>> layer = SphereNormConv2d(3, 8, 3, beta=2.0)
    >>> [name for name, _ in layer.named_parameters()]
    ['weight', 'beta', 'gamma']
    """

    beta: Tensor
    gamma: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _size_2_t,
        stride: _size_2_t = 1,
        padding: str | _size_2_t = 0,
        dilation: _size_2_t = 1,
        groups: int = 1,
        padding_mode: PaddingMode = "zeros",
        *,
        beta: float = 1.0,
        gamma: float = 0.0,
        learned: bool = True,
        eps: float = EPS,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        shape = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, False, padding_mode)
        super().__init__(*shape, eps=eps, device=device, dtype=dtype)
        self._start = {"beta": float(beta), "gamma": float(gamma)}
        for name, start in self._start.items():
            values = torch.full((out_channels,), start, device=device, dtype=dtype)
            if learned:
                self.register_parameter(name, nn.Parameter(values))
            else:
                self.register_buffer(name, values)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        with torch.no_grad():
            for name, start in getattr(self, "_start", {}).items():
                getattr(self, name).fill_(start)

    def forward(self, input: Tensor) -> Tensor:
        cosine = super().forward(input)
        beta, gamma = (values.to(cosine.dtype).view(-1, 1, 1) for values in (self.beta, self.gamma))
        return torch.addcmul(gamma, beta, cosine)
