"""Linear layers and convolutions that take a function of norms times a function of the angle: decoupled operators."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.common_types import _size_1_t, _size_2_t, _size_3_t

from onsphere import sphere
from onsphere.angular import Cosine
from onsphere.layers.decoupled import EPS, Activation, Decoupled, Weighting
from onsphere.layers.kernel import Convolution, Product, at_least_float32, products_and_squares
from onsphere.magnitude import Magnitude

__all__ = ["DecoupledConv1d", "DecoupledConv2d", "DecoupledConv3d", "DecoupledLinear"]

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


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
        with sphere.without_autocast(input.device):
            x = at_least_float32(input).reshape(-1, input.shape[-1])
            product, energy = products_and_squares(x, self.unit_weight().to(x.dtype), Product())
            output = self.respond(product, energy)
            if self.bias is not None:
                output = output + self.bias
        return _as_expected(output.reshape(*input.shape[:-1], -1), input)


class _DecoupledConv(Decoupled, nn.modules.conv._ConvNd):
    def forward(self, input: Tensor) -> Tensor:
        with sphere.without_autocast(input.device):
            x = at_least_float32(input)
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


def _as_expected(output: Tensor, input: Tensor) -> Tensor:
    """Float32 under autocast: eight bits would be all that is left of a bfloat16 cosine. Elsewhere the input's type."""
    device = input.device.type
    mixed = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return output if mixed else output.to(input.dtype)
