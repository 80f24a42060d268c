"""Over-parameterized layers: fixed neurons V and a learned matrix R that moves all of them; and back."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from onsphere import sphere
from onsphere.orthogonal.initialization import refined
from onsphere.orthogonal.methods import Method, OrthogonalGD, beyond
from onsphere.orthogonal.modules import (
    EachGroup,
    Overparametrized,
    Rotation,
    Start,
    check_not_distributed,
    overparametrized_layers,
    parametrizations,
)
from onsphere.orthogonal.optimizer import TOLERANCE
from onsphere.where import Layer, Selector, hidden, layers

__all__ = ["fold", "overparametrize"]


def overparametrize(
    model: nn.Module,
    method: Method | nn.Module,
    where: Selector = hidden,
    *,
    blocks: int = 1,
    share_blocks: bool = False,
    normalize: bool = False,
    refine: Callable[[Tensor], Tensor] | None = None,
    refine_steps: int = 5000,
    start: Start = "identity",
    train_weights: bool = False,
) -> nn.Module:
    r"""Fix the neurons of some layers and learn one matrix per layer that moves all of them, in place.

    .. math:: w_i = R v_i, \qquad R^\top R = I

    The weight, rows w_i, becomes V R^T. V is what the weight was; it is a buffer, ``parametrizations.weight.original``.
    R is learned; with the identity to start with, the model computes what it did. With an orthogonal R the
    hyperspherical energy of the layer stays what it is (eq. 7.2). Build the optimizer afterwards. A weight is worked
    out whenever the layer reads it: ``fold`` the model when it is trained.

    Args:
        model: any module. A grouped convolution has one R a group, attention's packed weight one each for queries, keys
            and values.
        method: how R is kept orthogonal, such as ``orthogonal.Cayley()``, or another structure (F.6); a module is a
            nonlinear map of the neurons, (n, d) to (n, d), and every layer gets a copy.
        where: chooses the layers; by default every layer but the last, the classifier (section 7.3.1).
        blocks: R is block diagonal with so many blocks, each for as many input channels (F.5).
        share_blocks: all blocks are the same matrix, R_s (F.33), rather than one each, R_u (F.34).
        normalize: scale V's neurons to norm 1 (section 7.3.7).
        refine: a measure whose value for V is made smaller first, such as ``MHE(half_space=True)`` (section 7.3.7).
        refine_steps: of gradient descent for that; 5000 in the thesis (section 7.5.3).
        start: R at the beginning: "identity"; "random", an orthogonal matrix drawn uniformly; "normal", where the
            parameter has N(0, 1) entries (F.3); or a matrix of R's (block's) size.
        train_weights: learn V, too (Table 7.1's control).

    Returns:
        The model.

    Raises:
        ValueError: if no layer is chosen, blocks do not divide a layer's input channels, a weight is shared with
            another module or parametrized already, the method has not this start, a map changes the shape, or the
            model is wrapped by DistributedDataParallel, which would not make the matrices equal on all processes.

    Source: thesis, section 7.3.1 and eq. 7.1; generalised, eq. F.35.

    >>> import onsphere as osp
    >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> x = torch.ones(1, 3)
    >>> before = model(x)
    >>> torch.allclose(osp.overparametrize(model, osp.orthogonal.Cayley())(x), before, atol=1e-6)
    True
    >>> [name for name, _ in model.named_parameters()]
    ['0.bias', '0.parametrizations.weight.0.maps.default.matrix', '2.weight', '2.bias']
    """
    if isinstance(method, type):
        raise TypeError(f"method must be an instance: {method.__name__}(), not {method.__name__}")
    if blocks < 1:
        raise ValueError(f"blocks={blocks!r}: expected at least 1")
    if isinstance(method, nn.Module) and (blocks != 1 or share_blocks or not _is(start, "identity")):
        raise ValueError("blocks, share_blocks and start are for methods with a matrix; given: a module")
    check_not_distributed(model)
    candidates = layers(model)
    chosen = tuple(where(candidates))
    if not chosen:
        names = ", ".join(layer.name for layer in candidates) or "none with at least two neurons"
        raise ValueError(f"no layer to over-parametrize is left in {type(model).__name__}; its layers are: {names}")
    _check(model, chosen, blocks)
    made = []
    for layer in chosen:  # whatever can be wrong is, before anything is changed
        with torch.no_grad():
            rows = layer.neurons()
        build = _builder(method, layer, rows, blocks, share_blocks)
        first = build(start).to(layer.device)
        if refine is not None:
            rows = torch.stack([refined(each, refine, refine_steps) for each in rows])
        if normalize:
            rows = sphere.normalize(rows)
        made.append((layer, rows, build, first))
    for layer, rows, build, first in made:
        _register(layer, rows, build, first, train_weights)
    return model


def _check(model: nn.Module, chosen: tuple[Layer, ...], blocks: int) -> None:
    owners = Counter(id(p) for module in model.modules() for p in module._parameters.values() if p is not None)
    for layer in chosen:
        own = layer.module._parameters.get(layer.attribute)
        if own is None:
            raise ValueError(f"{layer.parameter} is parametrized already, or no parameter: fold or remove that first")
        if owners[id(own)] > 1:
            raise ValueError(f"{layer.parameter} is shared with another module, which would keep the old weight")
        channels = _input_channels(layer)
        if channels % blocks:
            raise ValueError(
                f"layer {layer.name!r} has {channels} input channels: blocks={blocks} do not divide them; choose the "
                "layers that they divide (where=...), and over-parametrize the others in a call of their own"
            )


def _input_channels(layer: Layer) -> int:
    channels = getattr(layer.module, "in_channels", None)
    if channels is None:
        return int(getattr(layer.module, layer.attribute).shape[-1])
    return int(channels) // layer.groups


def _builder(
    method: Method | nn.Module, layer: Layer, rows: Tensor, blocks: int, share_blocks: bool
) -> Callable[[Start], nn.Module]:
    groups, _, dimension = rows.shape
    if not isinstance(method, nn.Module):
        dtype = torch.promote_types(rows.dtype, torch.float32)
        return partial(_rotation, method, groups, dimension, blocks, share_blocks, dtype)
    with torch.no_grad():
        try:
            moved = method(rows[0].to(torch.promote_types(rows.dtype, torch.float32)))
        except RuntimeError as error:
            raise ValueError(
                f"layer {layer.name!r}: the map fails on neurons {tuple(rows[0].shape)}: {error}"
            ) from error
    if moved.shape != rows[0].shape:
        raise ValueError(
            f"layer {layer.name!r}: the map makes {tuple(moved.shape)} out of neurons {tuple(rows[0].shape)}: expected "
            "the same shape"
        )
    return partial(_copied, method)


def _rotation(
    method: Method, groups: int, dimension: int, blocks: int, share_blocks: bool, dtype: torch.dtype, start: Start
) -> nn.Module:
    size = dimension // blocks
    leading = (groups,) if share_blocks else (groups, blocks)
    several = math.prod(leading) > 1
    parameter = _started(method, (*leading, size, size) if several else (size, size), start)
    return Rotation(method, parameter.to("cpu", dtype).contiguous(), blocks, share_blocks)


def _copied(inner: nn.Module, start: Start) -> nn.Module:
    return EachGroup(copy.deepcopy(inner))


def _started(method: Method, shape: tuple[int, ...], start: Start) -> Tensor:
    if isinstance(start, Tensor):
        try:
            expanded = start.detach().expand(shape)
        except RuntimeError:
            raise ValueError(f"start is {tuple(start.shape)}: expected a matrix that fits {shape}") from None
        return method.parameter(expanded)
    if start == "normal":
        if isinstance(method, OrthogonalGD):
            raise ValueError(f"{method} cannot start at 'normal' entries: expected an orthogonal matrix")
        return torch.randn(shape)
    identity = torch.eye(shape[-1]).expand(shape)
    if start == "identity":
        return method.parameter(identity)
    if start != "random":
        raise ValueError(f"start={start!r}: expected 'identity', 'random', 'normal' or a matrix")
    drawn = [_random(method, shape[-1]) for _ in range(torch.Size(shape[:-2]).numel())]
    return torch.stack(drawn).view(shape)


def _random(method: Method, size: int) -> Tensor:
    drawn = nn.init.orthogonal_(torch.empty(size, size))
    try:
        return method.parameter(drawn)
    except ValueError:  # some methods reach one half of the orthogonal group only
        drawn[:, -1].neg_()
        return method.parameter(drawn)


def _register(
    layer: Layer, rows: Tensor, build: Callable[[Start], nn.Module], first: nn.Module, train_weights: bool
) -> None:
    module, attribute = layer.module, layer.attribute
    place = list(module._parameters).index(attribute)
    weight = module._parameters[attribute]
    assert weight is not None
    with torch.no_grad():
        weight.copy_(layer.form.write(rows, weight.shape))
        if not train_weights:
            del module._parameters[attribute]
            module.register_buffer(attribute, weight.detach().clone())
    parametrization = Overparametrized(layer.form, layer.groups, build, place, weight.requires_grad, first)
    parametrize.register_parametrization(module, attribute, parametrization, unsafe=True)


def fold(model: nn.Module) -> nn.Module:
    """Multiply every R into its neurons, in place: the plain model again, which computes the same.

    Classes, parameters, their order and the state dict's keys are those of the model before ``overparametrize``. The
    weights are new parameters: build an optimizer anew. What is folded can be over-parametrized again, from where it is
    (progressive training, section F.8).

    Args:
        model: with over-parametrized layers.

    Returns:
        The model.

    Raises:
        ValueError: if no layer is over-parametrized, another parametrization stands on the same weight, or a matrix of
            ``OrthogonalGD`` is not orthogonal any more, since another optimizer trained it.

    Source: thesis, section 7.1 (no extra cost in inference).

    >>> import onsphere as osp
    >>> model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    >>> list(osp.fold(osp.overparametrize(model, osp.orthogonal.Cayley())).state_dict())
    ['0.weight', '0.bias', '1.weight', '1.bias']
    """
    found = list(overparametrized_layers(model))
    for layer, own in found:
        if len(parametrizations(layer)) > 1:
            raise ValueError(f"{layer.parameter} has another parametrization, too: remove that first")
        _check_still_orthogonal(layer, own)
    for module in {id(layer.module): layer.module for layer, _ in found}.values():
        _fold(module)
    return model


def _fold(module: nn.Module) -> None:
    every = module.parametrizations
    assert isinstance(every, nn.ModuleDict)
    for attribute in reversed(list(every)):  # the last that was taken out goes in first, so that places are right
        stack = every[attribute]
        own = stack[0]  # type: ignore[index]
        if not isinstance(own, Overparametrized):
            continue
        fixed = stack.original
        assert isinstance(fixed, Tensor)
        with torch.no_grad():
            weight = torch.empty_like(fixed).copy_(getattr(module, attribute))
        parametrize.remove_parametrizations(module, attribute, leave_parametrized=False)
        module._buffers.pop(attribute, None)
        parameters = [(name, each) for name, each in module._parameters.items() if name != attribute]
        parameters.insert(own.place, (attribute, nn.Parameter(weight, own.trainable)))
        module._parameters.clear()
        module._parameters.update(parameters)


def _check_still_orthogonal(layer: Layer, own: Overparametrized) -> None:
    rotation = own.maps[own.task]
    if isinstance(rotation, Rotation) and isinstance(rotation.method, OrthogonalGD):
        worst = beyond(rotation.matrix, TOLERANCE)
        if worst is not None:
            raise ValueError(
                f"layer {layer.name!r}: ||R^T R - I|| = {worst:.3g}: an OrthogonalGD matrix must be trained by "
                "onsphere.OrthogonalSGD (see onsphere.orthogonal.split), and cannot be averaged"
            )


def _is(start: Start, name: str) -> bool:
    return isinstance(start, str) and start == name
