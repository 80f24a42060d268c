"""What stands in an over-parametrized layer: the matrix as a module, and the parametrization that applies it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrize

from onsphere import sphere
from onsphere.orthogonal import bases
from onsphere.orthogonal.methods import Method, OrthogonalGD
from onsphere.orthogonal.optimizer import OrthogonalParameter
from onsphere.where import Form, Layer, layers

__all__ = ["EachGroup", "Overparametrized", "Rotation", "Start", "overparametrized_layers", "parametrizations"]

Start = Literal["identity", "random", "normal"] | Tensor
DEFAULT = "default"


class Rotation(nn.Module):
    """R as a module: a method and its parameter, for one layer.

    Args:
        method: how R comes out of the parameter.
        parameter: (m, m), or where there are several (groups, m, m) of shared blocks, else (groups, blocks, m, m).
        blocks: on the diagonal of R.
        share_blocks: all blocks are one and the same.
    """

    def __init__(self, method: Method, parameter: Tensor, blocks: int, share_blocks: bool) -> None:
        super().__init__()
        self.method, self.blocks, self.share_blocks = method, blocks, share_blocks
        self.matrix = nn.Parameter(parameter)
        self._keep_kind()

    def _keep_kind(self) -> None:
        if isinstance(self.matrix, OrthogonalParameter) or not isinstance(self.method, OrthogonalGD):
            return
        self.matrix = OrthogonalParameter(self.matrix.data, self.matrix.requires_grad)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._keep_kind()  # torch puts a plain parameter there, for one that goes to or comes from the meta device
        return self

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._keep_kind()  # likewise with assign=True

    def forward(self, rows: Tensor) -> Tensor:
        """R v for all neurons v of all groups, (groups, n, d)."""
        groups, n, _ = rows.shape
        _, matrix = bases.fine(rows, self.matrix)  # the model may have been cast
        parts = torch.unflatten(rows, -1, (self.blocks, -1))  # (groups, n, blocks, m)
        if matrix.dim() == 2:  # one matrix for all parts of all neurons
            return self.method.rotate(parts.flatten(0, 2), matrix).reshape(rows.shape)
        if self.share_blocks:
            return self.method.rotate(parts.flatten(1, 2), matrix).reshape(rows.shape)
        rotated = self.method.rotate(parts.transpose(1, 2), matrix)  # (groups, blocks, n, m)
        return rotated.transpose(1, 2).reshape(groups, n, -1)

    def full(self) -> Tensor:
        """R itself, (d, d), or (groups, d, d) where there are several groups."""
        parts = self.method.matrix(self.matrix)
        size = parts.shape[-1]
        by_group = parts.reshape(-1, 1 if self.share_blocks else self.blocks, size, size)
        by_group = by_group.expand(-1, self.blocks, size, size)
        return torch.stack([torch.block_diag(*each) for each in by_group]).squeeze(0)  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        blocks = f", blocks={self.blocks}, share_blocks={self.share_blocks}" if self.blocks > 1 else ""
        return f"{self.method}, matrix={'x'.join(map(str, self.matrix.shape))}{blocks}"


class Overparametrized(nn.Module):
    """The parametrization of a weight: reads V's neurons, moves them by the map of the task at hand.

    Args:
        form: how the layer keeps its neurons.
        groups: of the layer.
        build: makes a map of the neurons, (groups, n, d), for a new task.
        place: of the weight among the layer's parameters, to be put back there.
        trainable: whether the weight was to be trained, for when it is put back.
        first: the map to begin with.
    """

    def __init__(
        self,
        form: Form,
        groups: int,
        build: Callable[[Start], nn.Module],
        place: int,
        trainable: bool,
        first: nn.Module,
    ) -> None:
        super().__init__()
        self.form, self.groups, self.build = form, groups, build
        self.place, self.trainable = place, trainable
        self.task = DEFAULT
        self.maps = nn.ModuleDict({DEFAULT: first})

    def forward(self, weight: Tensor) -> Tensor:
        rows = self.form.read(weight, self.groups)
        with sphere.full_precision(weight.device):
            moved = self.maps[self.task](*bases.fine(rows))
        return self.form.write(moved.to(weight.dtype), weight.shape)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *others: Any) -> None:
        for key in state_dict:
            name = key.removeprefix(f"{prefix}maps.").split(".")[0]
            if key.startswith(f"{prefix}maps.") and name not in self.maps:
                self.maps[name] = copy.deepcopy(self.maps[self.task])
        super()._load_from_state_dict(state_dict, prefix, *others)

    def extra_repr(self) -> str:
        return "" if len(self.maps) == 1 else f"task={self.task!r}"


class EachGroup(nn.Module):
    """A user's map of (n, d), for the groups one after the other."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, rows: Tensor) -> Tensor:
        return torch.stack([self.inner(each) for each in rows])


def parametrizations(layer: Layer) -> parametrize.ParametrizationList:
    """The parametrizations of a layer's weight."""
    every = layer.module.parametrizations
    assert isinstance(every, nn.ModuleDict)
    found = every[layer.attribute]
    assert isinstance(found, parametrize.ParametrizationList)
    return found


def overparametrized_layers(model: nn.Module) -> Iterator[tuple[Layer, Overparametrized]]:
    """Every over-parametrized layer of the model; a ValueError if there is none."""
    none = True
    for layer in layers(model, single=True):
        if not parametrize.is_parametrized(layer.module, layer.attribute):
            continue
        for each in parametrizations(layer):
            if isinstance(each, Overparametrized):
                none = False
                yield layer, each
    if none:
        raise ValueError(f"{type(model).__name__} has no over-parametrized layer: see onsphere.overparametrize")


def check_not_distributed(model: nn.Module) -> None:
    if any(isinstance(module, DistributedDataParallel) for module in model.modules()):
        raise ValueError(
            "the model is wrapped by DistributedDataParallel, which would leave new matrices different on every "
            "process: expected the model before it is wrapped"
        )
