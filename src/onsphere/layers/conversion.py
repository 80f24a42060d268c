"""Ordinary layers into decoupled ones and back, in place and with the weights that they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from onsphere import where as selectors
from onsphere.angular import Cosine
from onsphere.layers.convolution import DecoupledConv1d, DecoupledConv2d, DecoupledConv3d, DecoupledLinear
from onsphere.layers.decoupled import EPS, OWN_STATE, Activation, Decoupled, Weighting
from onsphere.magnitude import Magnitude, Sphere

__all__ = ["convert", "plain", "plain_state_dict"]

_DECOUPLED: Mapping[type[nn.Module], type[Decoupled]] = {
    nn.Linear: DecoupledLinear,
    nn.Conv1d: DecoupledConv1d,
    nn.Conv2d: DecoupledConv2d,
    nn.Conv3d: DecoupledConv3d,
}


def convert(
    model: nn.Module,
    *,
    magnitude: Magnitude = Sphere(),
    angular: Activation = Cosine(),
    weighting: Weighting | None = None,
    where: selectors.Selector = selectors.hidden,
    eps: float = EPS,
) -> nn.Module:
    r"""Turn linear layers and convolutions of a model into decoupled ones, in place; weights and biases stay.

    .. math:: \langle w, x \rangle + b \;\to\; h(\|w\|, \|x\|) \, g(\theta_{(w, x)}) + b

    The modules are the same objects before and after, with their names, hooks and parameters, so that an optimizer that
    holds these goes on. An operator radius or a learned curvature are new parameters, which it does not hold: make it
    afterwards. A state dict of the ordinary model can be loaded into the converted one; the other way round take
    :func:`plain_state_dict`. Layers that are decoupled already get the new operator.

    Args:
        model: any module.
        magnitude: h, of ``onsphere.magnitude`` or a function of norms.
        angular: g, of ``onsphere.angular`` or a function of angles in radians.
        weighting: how ||w|| enters: None, ``linear``, ``nonlinear_product`` (eq. 4.15), ``nonlinear_separate`` (4.16).
            With ``linear``, ``magnitude.Linear`` and ``angular.Cosine`` the model computes what it did.
        where: which layers; the default leaves out the last one, the classifier. Of those chosen, attention, transposed
            convolutions and heads stay as they are.
        eps: added to the squared length of a patch.

    Returns:
        The model.

    Raises:
        ValueError: if there is nothing to convert, a layer is parametrized, or a setting is out of its range.
        TypeError: for an h or g that cannot be called.

    Source: thesis, section 4.4.3 (a trained network as initialisation).

    >>> import onsphere as osp
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 10))
    >>> osp.convert(model, magnitude=osp.magnitude.Tanh())[0]  # doctest: +ELLIPSIS
    DecoupledConv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), magnitude=Tanh(...), angular=Cosine(), eps=0.0001)
    """
    candidates = selectors.layers(model, depthwise=True, single=True)
    chosen = [layer for layer in where(candidates) if layer.attribute == "weight"]
    for layer in chosen:
        _refuse_parametrized(layer.name, layer.module)
    weights = {id(layer.module.weight) for layer in chosen}  # which several modules may share
    found = [
        module
        for module in model.modules()
        if (type(module) in _DECOUPLED or isinstance(module, Decoupled)) and id(module.weight) in weights
    ]
    if not found:
        names = ", ".join(f"{layer.name} ({type(layer.module).__name__})" for layer in chosen) or "none"
        raise ValueError(f"no linear layer or convolution to convert; `where` chose: {names}")
    curvature = None
    if getattr(angular, "learnable", False) and angular.shared == "network":  # type: ignore[union-attr]
        weight: Any = found[0].weight
        start = torch.full((1,), angular.k, device=weight.device, dtype=weight.dtype)  # type: ignore[union-attr]
        curvature = nn.Parameter(start.log())
    for module in found:
        _forget(module)
        module.__class__ = next(decoupled for kind, decoupled in _DECOUPLED.items() if isinstance(module, kind))
        assert isinstance(module, Decoupled)
        groups = getattr(module, "groups", 1)
        module.configure(magnitude, angular, weighting, eps, groups, curvature)
    return model


def plain(model: nn.Module) -> nn.Module:
    """Turn the decoupled layers of a model into ordinary ones, in place; weights and biases stay.

    What the operators have learned, radius and curvature, is gone, and the model computes something else, but for
    ``weighting="linear"`` with ``magnitude.Linear`` and ``angular.Cosine``.

    Args:
        model: any module.

    Returns:
        The model.

    Raises:
        ValueError: if a decoupled layer is parametrized.

    >>> import onsphere as osp
    >>> plain(osp.convert(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))))
    Sequential(
      (0): Linear(in_features=2, out_features=3, bias=True)
      (1): Linear(in_features=3, out_features=4, bias=True)
    )
    """
    for name, module in model.named_modules():
        if isinstance(module, Decoupled):
            _refuse_parametrized(name, module)
            ordinary: Any = next(kind for kind in _DECOUPLED if isinstance(module, kind))
            module.__class__ = ordinary
            _forget(module)
            for setting in ("magnitude", "angular", "weighting", "eps", "weighted_gradients"):
                delattr(module, setting)
    return model


def plain_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without what decoupled layers have beside weight and bias, for a model of ordinary layers.

    Args:
        state: of a model with decoupled layers.

    >>> import onsphere as osp
    >>> layer = osp.TanhConv2d(3, 8, 3)
    >>> list(layer.state_dict()), list(plain_state_dict(layer.state_dict()))
    (['weight', 'log_radius', 'mean_norm'], ['weight'])
    """
    return {name: value for name, value in state.items() if name.rpartition(".")[2] not in OWN_STATE}


def _refuse_parametrized(name: str, module: nn.Module) -> None:
    """Raise ValueError where torch has given the module a class of its own."""
    if nn.utils.parametrize.is_parametrized(module):
        raise ValueError(
            f"layer {name!r} is parametrized: its weight has to be an ordinary parameter, as after "
            "torch.nn.utils.parametrize.remove_parametrizations"
        )


def _forget(module: nn.Module) -> None:
    for own in OWN_STATE:
        module._parameters.pop(own, None)
        module._buffers.pop(own, None)
