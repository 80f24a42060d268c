"""The weights to look at, of a model or of tensors by name, and why others are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from onsphere.where import Layer, layers


@dataclass(frozen=True)
class LayerWeight:
    """One weight, read when it is needed.

    Attributes:
        name: of the layer.
        shape: (groups, n, d): neurons are compared within their group.
        read: gives the tensor in that shape.
    """

    name: str
    shape: tuple[int, int, int]
    read: Callable[[], Tensor]

    def cost(self, max_neurons: int | None) -> int:
        """Multiplications that all pairs take, of no more than so many neurons of a group."""
        groups, n, d = self.shape
        n = n if max_neurons is None else min(n, max_neurons)
        return groups * n * (n - 1) // 2 * d


@dataclass(frozen=True)
class Skipped:
    """A tensor with at least two dimensions that was not looked at, and why."""

    name: str
    shape: tuple[int, ...]
    why: str


def find(model: nn.Module | Mapping[str, Any]) -> tuple[list[LayerWeight], list[Skipped]]:
    """The weights of a model as :func:`onsphere.where.layers` reads them, or those of a state dict by their names.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(model, nn.Module):
        return _of_module(model)
    if isinstance(model, Mapping):
        return _of_tensors(state_of(model))
    raise TypeError(f"expected a torch.nn.Module or a state dict (name -> tensor), got {type(model).__name__}")


def _of_module(model: nn.Module) -> tuple[list[LayerWeight], list[Skipped]]:
    found = layers(model)
    with torch.no_grad():
        shapes = [_three(layer.neurons().shape) for layer in found]
    pairs = zip(found, shapes, strict=True)
    weights = [LayerWeight(layer.name or layer.parameter, shape, layer.neurons) for layer, shape in pairs]
    used = {id(parameter) for layer in found for parameter in _behind(layer)}
    why = "not the weight of a linear, convolution or attention layer with two or more neurons to compare"
    skipped = [
        Skipped(name, tuple(parameter.shape), why)
        for name, parameter in model.named_parameters()
        if parameter.ndim >= 2 and id(parameter) not in used
    ]
    return weights, skipped


def _behind(layer: Layer) -> Iterable[nn.Parameter]:
    """The parameter that a layer's weight is, or those that it is computed from."""
    own = layer.module._parameters.get(layer.attribute)
    return layer.module.parameters() if own is None else [own]


def _of_tensors(tensors: Mapping[str, Any]) -> tuple[list[LayerWeight], list[Skipped]]:
    weights, skipped = [], []
    for name in tensors:
        tensor = tensors[name]
        if not isinstance(tensor, Tensor) or tensor.ndim < 2:
            continue  # biases, norms, counters
        last = name.rsplit(".", 1)[-1]
        groups = 3 if last == "in_proj_weight" and tensor.shape[0] % 3 == 0 else 1
        n = tensor.shape[0] // groups
        if not last.endswith("weight"):
            why = "its name does not end in 'weight'"
        elif not tensor.is_floating_point():
            why = f"{tensor.dtype} is not floating point"
        elif n < 2 or tensor.numel() == 0:
            why = "fewer than two neurons to compare"
        else:
            label = name.removesuffix(".weight")
            weights.append(LayerWeight(label, (groups, n, tensor[0].numel()), _reader(tensors, name, groups)))
            continue
        skipped.append(Skipped(name, tuple(tensor.shape), why))
    return weights, skipped


def _reader(tensors: Mapping[str, Any], name: str, groups: int) -> Callable[[], Tensor]:
    def read() -> Tensor:
        tensor: Tensor = tensors[name].detach()
        return tensor.reshape(groups, tensor.shape[0] // groups, -1)

    return read


def state_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The tensors of a checkpoint: itself, or what it keeps under "state_dict", "model" or alike.

    Where it keeps several such mappings all are taken, with their key before each name.
    """
    if _holds_matrices(checkpoint):
        return checkpoint
    parts = {key: part for key, part in checkpoint.items() if isinstance(part, Mapping) and _holds_matrices(part)}
    if len(parts) == 1:
        (only,) = parts.values()
        return only
    return {f"{key}.{name}": tensor for key, part in parts.items() for name, tensor in part.items()}


def _holds_matrices(mapping: Mapping[str, Any]) -> bool:
    return any(isinstance(value, Tensor) and value.ndim >= 2 for value in mapping.values())


def _three(shape: torch.Size) -> tuple[int, int, int]:
    groups, n, d = shape
    return groups, n, d
