"""The angular head for many classes: every process has some of the class weights, and sees all features."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from onsphere.angular import Angular, Cosine
from onsphere.losses import kernel
from onsphere.losses.angular_softmax import (
    WEIGHT_STD,
    Scale,
    check_batch,
    check_form,
    check_labels,
    check_sizes,
    check_vectors,
    count_step,
    described,
    form_of,
    plain_logits,
    reduced,
)
from onsphere.margins import Margin

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ["ShardedAngularSoftmax"]

_ROWS_AT_ONCE = 4096


class ShardedAngularSoftmax(nn.Module):
    r"""``AngularSoftmax`` whose classes are shared out over processes, as many as fit into all their memories together.

    .. math:: L = \frac{1}{B} \sum_i -\log\frac{e^{z_{y_i}}}{\sum_j e^{z_j}}

    with i over the examples of all processes and j over the classes of all of them. Process r of R has the rows
    r ceil(C/R) to (r+1) ceil(C/R) of the weights. A call gathers the features of all processes, which may have
    different numbers of them, none included; all processes must call together, and get the same value: the loss of the
    whole batch, equal to that of ``AngularSoftmax``.

    The gradient of a process's features is R times the loss's derivative, which is what the mean of gradients over
    processes of ``DistributedDataParallel`` needs; those of the weights are the loss's derivatives. Wrap the network in
    DDP, and leave the head outside; give it a parameter group of its own, and clip its gradients by themselves.

    Over several processes ``weight`` is a DTensor of the logical shape (C, D), so that ``torch.distributed.checkpoint``
    saves one tensor whatever the number of processes is, and loads it into any other number; the state of an optimizer
    follows. Without a process group, or with one process, it is a plain tensor. Fresh weights do not depend on the
    number of processes as long as all of them are seeded alike.

    Args:
        in_features: D.
        num_classes: C, at least 2.
        margin: psi, see :mod:`onsphere.margins`; None for no margin.
        process_group: that shares the classes; None for all processes.
        sample_rate: in (0, 1]: share of a process's classes that a training step looks at. All classes of the batch
            are among them, the others are drawn at random; 1 is exact. Evaluation is always exact.
        scale, normalize_weight, angular, bias: as in ``AngularSoftmax``.
        reduction: "mean" or "sum", over the examples of all processes.
        label_smoothing: as in ``AngularSoftmax``; 0 where classes are sampled.
        class_weight: (C,), of all classes; a buffer outside the state dict.
        device: of the weights.
        dtype: of the weights.

    Raises:
        ValueError: as ``AngularSoftmax`` does; a label is checked against all C classes. sample_rate is out of its
            range, or it meets label smoothing.

    Source: as ``AngularSoftmax``; sharding and sampling of classes as in An et al. 2022, *Killing Two Birds with One
    Stone: Partial FC*.

    >>> from onsphere.margins import CosFace
    >>> head = ShardedAngularSoftmax(8, 1000, CosFace(0.4), sample_rate=0.1)
    >>> head(torch.randn(3, 8), torch.tensor([0, 999, 2])).shape
    torch.Size([])
    """

    class_weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        margin: Margin | None = None,
        *,
        process_group: ProcessGroup | None = None,
        sample_rate: float = 1.0,
        scale: Scale = 64.0,
        normalize_weight: bool = True,
        angular: Angular = Cosine(),
        bias: bool = False,
        reduction: Literal["mean", "sum"] = "mean",
        label_smoothing: float = 0.0,
        class_weight: Tensor | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        check_sizes(in_features, num_classes)
        check_form(margin, scale, normalize_weight, angular, reduction, label_smoothing)
        check_vectors(num_classes, class_weight=class_weight)
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction={reduction!r}: expected 'mean' or 'sum'; no process has the losses of all")
        if not 0 < sample_rate <= 1:
            raise ValueError(f"sample_rate={sample_rate!r}: expected a number in (0, 1]")
        if sample_rate < 1 and label_smoothing:
            raise ValueError(
                f"label_smoothing={label_smoothing} with sample_rate={sample_rate}: expected one of them only, "
                "smoothing is over all classes"
            )
        self.in_features, self.num_classes = in_features, num_classes
        self.margin, self.scale, self.normalize_weight, self.angular = margin, scale, normalize_weight, angular
        self.reduction, self.label_smoothing, self.sample_rate = reduction, label_smoothing, sample_rate
        group = _shared_by(process_group)
        self.rank, self.processes = (0, 1) if group is None else (group.rank(), group.size())
        self.share = math.ceil(num_classes / self.processes)
        self.first, self.last = (min(place * self.share, num_classes) for place in (self.rank, self.rank + 1))
        local = torch.empty(self.last - self.first, in_features, device=device, dtype=dtype)
        self.weight = nn.Parameter(_logical(local, (num_classes, in_features), group))
        self.bias = None
        if bias:
            zeros = torch.zeros(self.last - self.first, device=device, dtype=dtype)
            self.bias = nn.Parameter(_logical(zeros, (num_classes,), group))
        self.register_buffer("class_weight", class_weight, persistent=False)
        self.reset_parameters()

    @property
    def group(self) -> ProcessGroup | None:
        """The processes that share the classes; None where there is one. The weight knows it: no copy is in the way of
        copying the head."""
        mesh = getattr(self.weight, "device_mesh", None)
        return None if mesh is None else mesh.get_group()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the weights anew, the same ones whatever the number of processes is."""
        weight = _local(self.weight)
        for begin in range(0, self.num_classes, _ROWS_AT_ONCE):
            end = min(begin + _ROWS_AT_ONCE, self.num_classes)
            drawn = torch.empty(end - begin, self.in_features, device=weight.device, dtype=weight.dtype)
            nn.init.normal_(drawn, std=WEIGHT_STD)
            low, high = max(begin, self.first), min(end, self.last)
            if low < high:
                weight[low - self.first : high - self.first] = drawn[low - begin : high - begin]
        if self.bias is not None:
            _local(self.bias).zero_()

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            uncompiled: Tensor = torch.compiler.disable(self._loss)(features, labels)  # type: ignore[no-untyped-call]
            return uncompiled
        return self._loss(features, labels)

    def _loss(self, features: Tensor, labels: Tensor) -> Tensor:
        weight = _local(self.weight)
        bias = None if self.bias is None else _local(self.bias)
        check_batch(features, labels, weight, empty=self.group is not None)
        dtype = torch.promote_types(torch.promote_types(features.dtype, weight.dtype), torch.float32)
        features = features.to(dtype)
        if self.group is not None:
            sizes = _sizes(features, self.group)
            features, labels = _gather(features, sizes, self.group), _gathered(labels, sizes, self.group)
            if not len(labels):
                raise ValueError("the batches of all processes are empty: expected at least one example")
        check_labels(labels, self.num_classes)
        class_weight = None if self.class_weight is None else self.class_weight.to(weight.device, dtype)
        sample_weight = None if class_weight is None else class_weight[labels]

        rows = torch.where((labels >= self.first) & (labels < self.last), labels - self.first, -1)
        chosen: Tensor | slice = slice(self.first, self.last)
        if self.sample_rate < 1 and self.training:
            sample = self._sample(rows, weight)
            rows = torch.where(rows >= 0, torch.searchsorted(sample, rows.clamp_min(0)), -1)
            weight = _rows(weight, sample)
            bias = None if bias is None else _rows(bias, sample)
            chosen = sample + self.first
        bias = None if bias is None else bias.to(dtype)
        losses = kernel.losses(
            features, weight.to(dtype), bias, rows, class_weight, form_of(self), rows=chosen, group=self.group
        )
        count_step(self)
        return reduced(losses, self.reduction, sample_weight)

    def _sample(self, rows: Tensor, weight: Tensor) -> Tensor:
        """Rows of this process's weights in order: those of the batch, and random ones up to the sample's size."""
        present = torch.unique(rows[rows >= 0])
        # As many numbers on every process: their generators, if seeded alike, stay alike for what draws after this.
        lot = torch.rand(self.share, device=weight.device)[: len(weight)]
        lot[present] = 2.0
        size = min(len(weight), max(math.ceil(self.sample_rate * len(weight)), len(present)))
        return lot.topk(size, sorted=False).indices.sort().values

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """Scores of all classes for this process's features (B, D), (B, C), without the margin and without a gradient.

        All processes must call together.
        """
        weight = _local(self.weight)
        bias = None if self.bias is None else _local(self.bias)
        settings = (self.scale, self.normalize_weight, self.angular)
        if self.group is None:
            return plain_logits(features, weight, bias, *settings)
        sizes = _sizes(features, self.group)
        own = plain_logits(_gathered(features, sizes, self.group), weight, bias, *settings)
        ends = [min(place * self.share, self.num_classes) for place in range(self.processes + 1)]
        columns = [end - begin for begin, end in itertools.pairwise(ends)]
        whole = _gathered(own.T.contiguous(), columns, self.group).T
        begin = sum(sizes[: self.rank])
        return whole[begin : begin + sizes[self.rank]]

    def extra_repr(self) -> str:
        text = described(self)
        text += f", sample_rate={self.sample_rate}" if self.sample_rate < 1 else ""
        return f"{text}, rows {self.first} to {self.last}" if self.processes > 1 else text


def _shared_by(group: ProcessGroup | None) -> ProcessGroup | None:
    """The processes that share the classes; None where there is one."""
    if group is None and torch.distributed.is_available() and torch.distributed.is_initialized():
        group = torch.distributed.group.WORLD
    return None if group is None or group.size() == 1 else group


def _logical(local: Tensor, shape: tuple[int, ...], group: ProcessGroup | None) -> Tensor:
    """This process's rows as a part of the whole."""
    if group is None:
        return local
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor, Shard

    mesh = DeviceMesh.from_group(group, local.device.type)
    stride = (shape[1], 1) if len(shape) == 2 else (1,)
    return DTensor.from_local(local, mesh, [Shard(0)], run_check=False, shape=torch.Size(shape), stride=stride)


def _local(parameter: Tensor) -> Tensor:
    return parameter.to_local() if hasattr(parameter, "to_local") else parameter


def _sizes(batch: Tensor, group: ProcessGroup) -> list[int]:
    """How many examples every process has."""
    own = torch.tensor([len(batch)], device=batch.device)
    all_of_them = [torch.zeros_like(own) for _ in range(group.size())]
    torch.distributed.all_gather(all_of_them, own, group)
    return [int(size) for size in torch.cat(all_of_them).tolist()]


def _gathered(batch: Tensor, sizes: list[int], group: ProcessGroup) -> Tensor:
    """The rows of all processes one below the other; no process has more than it says in sizes."""
    longest = max(sizes)
    padded = batch.new_zeros(longest, *batch.shape[1:])
    padded[: len(batch)] = batch
    parts = [torch.empty_like(padded) for _ in sizes]
    torch.distributed.all_gather(parts, padded, group)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


class _Gather(torch.autograd.Function):
    """All processes' features; backward, the sum of the gradients of all of them times their number."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, sizes: list[int], group: ProcessGroup) -> Tensor:
        ctx.sizes, ctx.group = sizes, group
        return _gathered(features, sizes, group)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        total = grad * ctx.group.size()
        torch.distributed.all_reduce(total, group=ctx.group)
        begin = sum(ctx.sizes[: ctx.group.rank()])
        return total[begin : begin + ctx.sizes[ctx.group.rank()]], None, None


def _gather(features: Tensor, sizes: list[int], group: ProcessGroup) -> Tensor:
    found: Tensor = _Gather.apply(features, sizes, group)  # type: ignore[no-untyped-call]
    return found


class _Rows(torch.autograd.Function):
    """Different rows of a parameter; the gradient is written, where indexing would add it up."""

    @staticmethod
    def forward(ctx: Any, parameter: Tensor, index: Tensor) -> Tensor:
        ctx.shape = parameter.shape
        ctx.save_for_backward(index)
        return parameter[index]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return _zeros(ctx.shape, grad).index_copy_(0, index, grad), None


def _zeros(shape: torch.Size, like: Tensor) -> Tensor:
    if like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64):
        # numpy asks the system for pages that are zero when first touched; torch writes zeros to all of them, which
        # for a hundred thousand classes takes longer than the rest of a sampled step.
        return torch.from_numpy(np.zeros(shape, np.float32 if like.dtype == torch.float32 else np.float64))
    return like.new_zeros(shape)


def _rows(parameter: Tensor, index: Tensor) -> Tensor:
    found: Tensor = _Rows.apply(parameter, index)  # type: ignore[no-untyped-call]
    return found
