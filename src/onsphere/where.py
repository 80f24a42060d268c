"""Which weights of a model: its layers as matrices of neurons, and the selectors that choose among them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import UninitializedParameter

from onsphere.losses import AngularSoftmax, ShardedAngularSoftmax


@dataclass(frozen=True)
class Form:
    """How a kind of layer keeps its neurons.

    Attributes:
        read: (weight, groups of the convolution) to neurons (groups, n, d).
        write: (neurons, shape of the weight) to the weight; the inverse.
    """

    read: Callable[[Tensor, int], Tensor]
    write: Callable[[Tensor, torch.Size], Tensor]


def _linear(weight: Tensor, groups: int) -> Tensor:
    return weight.unsqueeze(0)


def _packed_attention(weight: Tensor, groups: int) -> Tensor:
    return torch.unflatten(weight, 0, (3, -1))  # queries, keys and values are three layers in one tensor


def _convolution(weight: Tensor, groups: int) -> Tensor:
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def _in_order(neurons: Tensor, shape: torch.Size) -> Tensor:
    return neurons.reshape(shape)


def _transposed_convolution(weight: Tensor, groups: int) -> Tensor:
    inputs, outputs = weight.shape[:2]
    kernels = weight.reshape(groups, inputs // groups, outputs, -1)
    return kernels.transpose(1, 2).reshape(groups, outputs, -1)


def _swapped(neurons: Tensor, shape: torch.Size) -> Tensor:
    groups, outputs = neurons.shape[:2]
    return neurons.reshape(groups, outputs, shape[0] // groups, -1).transpose(1, 2).reshape(shape)


_LINEAR, _ATTENTION = Form(_linear, _in_order), Form(_packed_attention, _in_order)
_CONVOLUTION, _TRANSPOSED = Form(_convolution, _in_order), Form(_transposed_convolution, _swapped)

# Module type, attribute that holds the weight, and how it holds the neurons.
_KINDS: tuple[tuple[type[nn.Module], str, Form], ...] = (
    (nn.Linear, "weight", _LINEAR),
    (AngularSoftmax, "weight", _LINEAR),
    (ShardedAngularSoftmax, "weight", _LINEAR),
    (nn.Conv1d, "weight", _CONVOLUTION),
    (nn.Conv2d, "weight", _CONVOLUTION),
    (nn.Conv3d, "weight", _CONVOLUTION),
    (nn.ConvTranspose1d, "weight", _TRANSPOSED),
    (nn.ConvTranspose2d, "weight", _TRANSPOSED),
    (nn.ConvTranspose3d, "weight", _TRANSPOSED),
    (nn.MultiheadAttention, "in_proj_weight", _ATTENTION),
    (nn.MultiheadAttention, "q_proj_weight", _LINEAR),
    (nn.MultiheadAttention, "k_proj_weight", _LINEAR),
    (nn.MultiheadAttention, "v_proj_weight", _LINEAR),
)

# Attributes under which wrappers keep the model; they are not part of a layer's name.
_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")


@dataclass(frozen=True, eq=False)
class Layer:
    """One weight of a model, read as neurons at the time of the call.

    It holds the module, not the tensor, so it follows a model that is moved, cast, wrapped or parametrized.

    Attributes:
        name: the module's name in the model, without the names of wrappers.
        module: the module.
        attribute: the weight's name in the module.
        form: how the weight holds the neurons.
        depthwise: a convolution with one filter a group, whose filters are compared with each other all the same.
    """

    name: str
    module: nn.Module
    attribute: str
    form: Form
    depthwise: bool = False

    @property
    def parameter(self) -> str:
        """The weight's full name, as in the model's state dict."""
        own = self.name.removesuffix(self.attribute)
        return f"{own.rstrip('.')}.{self.attribute}".lstrip(".")

    @property
    def device(self) -> torch.device:
        """Where the weight is now."""
        return next(itertools.chain(self.module.parameters(), self.module.buffers())).device

    @property
    def groups(self) -> int:
        """Groups of a convolution, 1 for other layers."""
        return int(getattr(self.module, "groups", 1))

    def neurons(self) -> Tensor:
        """The weight as (groups, n, d): Linear (1, out, in), convolution (groups, out/groups, in/groups * kernel)."""
        weight = getattr(self.module, self.attribute)
        if hasattr(weight, "full_tensor"):  # sharded over ranks; differentiable
            weight = weight.full_tensor()
        neurons = self.form.read(weight, self.groups)
        return neurons.flatten(0, 1).unsqueeze(0) if self.depthwise else neurons


Selector = Callable[[Sequence[Layer]], Sequence[Layer]]


def layers(model: nn.Module, *, depthwise: bool = False, single: bool = False) -> tuple[Layer, ...]:
    """List the weights of a model that hold at least two comparable neurons, in order of registration.

    Args:
        model: any module; DDP, FSDP, torch.compile and Fabric wrappers are looked through.
        depthwise: compare the filters of depthwise convolutions (one filter a group) with each other; by default such
            layers are skipped.
        single: list layers of one neuron, too, which has none to be compared with.

    Returns:
        Linear, (transposed) convolution and attention layers and angular heads. A weight that several modules share is
        listed once.

    Raises:
        ValueError: a lazy layer has no weight yet.

    Example:
        >>> [layer.name for layer in layers(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))]
        ['0', '2']
    """
    found, seen = [], set()
    for name, module in _modules(model, ""):
        for kind, attribute, form in _KINDS:
            if not isinstance(module, kind) or getattr(module, attribute, None) is None:
                continue
            own = module._parameters.get(attribute)
            if isinstance(own, UninitializedParameter):
                raise ValueError(f"{name}.{attribute} is not initialised yet: pass a batch through the model first")
            key = id(own) if own is not None else (id(module), attribute)
            if key in seen:
                continue
            seen.add(key)
            layer = Layer(name, module, attribute, form)
            if attribute != "weight":
                layer = Layer(f"{name}.{attribute}" if name else attribute, module, attribute, form)
            with torch.no_grad():
                groups, n, _ = layer.neurons().shape
            if n < 2 and groups > 1 and depthwise:
                layer, n = Layer(name, module, attribute, form, depthwise=True), groups
            if n >= 2 or single:
                found.append(layer)
    return tuple(found)


def _modules(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    yield name, module
    for child_name, child in module.named_children():
        if child_name == "parametrizations":  # its layers make a weight, they are not the model's
            continue
        transparent = child_name in _WRAPPERS or isinstance(module, DataParallel | DistributedDataParallel)
        yield from _modules(child, name if transparent else f"{name}.{child_name}" if name else child_name)


def everywhere(candidates: Sequence[Layer]) -> Sequence[Layer]:
    """Every layer (MMA paper eq. 13: convolutional and fully connected layers)."""
    return candidates


def hidden(candidates: Sequence[Layer]) -> Sequence[Layer]:
    """Every layer but the output layer."""
    return candidates[:-1]


def output(candidates: Sequence[Layer]) -> Sequence[Layer]:
    """The output layer: the last one that the model registers. Where that is not the classifier use :func:`named`."""
    return candidates[-1:]


def named(*patterns: str) -> Selector:
    """The layers whose names match one of the shell patterns, for example ``named("features.*", "head")``.

    Raises:
        ValueError: when applied, a pattern matches no layer; the message lists the names there are.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        >>> [layer.name for layer in named("1")(layers(model))]
        ['1']
    """
    if not patterns:
        raise ValueError("named() needs at least one pattern, such as 'features.*'")

    def select(candidates: Sequence[Layer]) -> Sequence[Layer]:
        for pattern in patterns:
            if not any(fnmatchcase(layer.name, pattern) for layer in candidates):
                names = ", ".join(layer.name for layer in candidates) or "none"
                raise ValueError(f"no layer matches {pattern!r}; the layers are: {names}")
        return [layer for layer in candidates if any(fnmatchcase(layer.name, pattern) for pattern in patterns)]

    return select
