"""Batch normalization over the batch of all processes together, so that their number does not change a training."""

from __future__ import annotations

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.nn import functional as distributed
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["synchronize"]


def synchronize(model: nn.Module, device: torch.device) -> nn.Module:
    """Put synchronized layers in the place of batch normalization; names, parameters and buffers stay.

    Args:
        model: changed in place.
        device: that it will train on. On a GPU the layer is torch's own, which knows no other device.

    Returns:
        the model, or what stands for it where it is a batch normalization itself.
    """
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, _BatchNorm) and not isinstance(layer, nn.SyncBatchNorm | _Synchronized):
                setattr(parent, name, _Synchronized(layer))
    return _Synchronized(model) if isinstance(model, _BatchNorm) else model


class _Synchronized(_BatchNorm):
    r"""Batch normalization with the mean and variance of all processes' examples.

    .. math:: y = \gamma (x - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta

    Evaluation uses the running statistics, as ever. The sums go over processes forward and, since the gradient passes
    through them, backward.
    """

    def __init__(self, layer: _BatchNorm) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        # The same tensors, so that whoever holds them already still holds this layer's.
        self._parameters, self._buffers = layer._parameters, layer._buffers
        self.train(layer.training)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions, got {input.dim()}")

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        if not self.training and self.running_mean is not None:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        dims = [dim for dim in range(input.dim()) if dim != 1]
        shape = [1, -1] + [1] * (input.dim() - 2)
        with torch.autocast(input.device.type, enabled=False):
            x = input if input.dtype == torch.float64 else input.float()
            count = x.new_tensor([x.numel() // max(x.shape[1], 1)])
            torch.distributed.all_reduce(count)
            mean = _over_processes(x.sum(dims)) / count
            centred = x - mean.view(shape)
            # From the differences: the mean of squares less the squared mean would lose digits.
            variance = _over_processes(centred.square().sum(dims)) / count
            out = centred * torch.rsqrt(variance + self.eps).view(shape)
            if self.affine:
                out = out * self.weight.view(shape) + self.bias.view(shape)
        if self.training and self.running_mean is not None:
            self._remember(mean.detach(), variance.detach() * count / (count - 1).clamp_min(1))
        normalized: Tensor = out.to(input.dtype)
        return normalized

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def _over_processes(values: Tensor) -> Tensor:
    """The sum over processes, through which gradients pass."""
    total: Tensor = distributed.all_reduce(values)  # type: ignore[no-untyped-call]
    return total
