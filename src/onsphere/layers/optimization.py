"""Ways to keep the lengths of filters, which do not matter forward, from mattering backward."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from onsphere import sphere
from onsphere.layers.decoupled import Decoupled

__all__ = ["WeightProjection", "project_weights", "weighted_gradients"]


def project_weights(model: nn.Module, norm: float = 1.0) -> None:
    r"""Give every filter of the unweighted decoupled layers the same length, in place; the model computes what it did.

    .. math:: w \leftarrow s \, \frac{w}{\|w\|}

    Filters of zeros stay so. The state of an optimizer stays as it is.

    Args:
        model: with decoupled layers.
        norm: s; the gradients are inversely proportional to it. Default 1 (section 4.4.1).

    Raises:
        ValueError: if norm is not above 0, if no layer is decoupled without weighting, or one of these is parametrized.

    Source: thesis, section 4.4.1.

    >>> import onsphere as osp
    >>> layer = osp.SphereLinear(3, 2)
    >>> project_weights(layer)
    >>> torch.linalg.vector_norm(layer.weight, dim=1).round(decimals=5).tolist()
    [1.0, 1.0]
    """
    if not (math.isfinite(norm) and norm > 0):
        raise ValueError(f"norm={norm!r}: expected a finite number above 0")
    with torch.no_grad():
        for layer in _projected(model):
            rows = layer.weight.flatten(1)
            layer.weight.copy_((norm * sphere.normalize(rows)).view_as(layer.weight))


class WeightProjection:
    r"""Weight projection every so many steps: :func:`project_weights` for a training loop.

    .. math:: w \leftarrow s \, \frac{w}{\|w\|}

    Args:
        model: with decoupled layers, none of them weighted.
        every: steps from one projection to the next. The thesis gives no number; 100 is that of the authors' published
            code (wy1iu/DCNets).
        norm: s; default 1 (section 4.4.1).

    Raises:
        ValueError: if every is below 1 or norm not above 0, and if a decoupled layer is weighted or parametrized or
            there is none.

    Source: thesis, section 4.4.1.

    >>> import onsphere as osp
    >>> model = nn.Sequential(osp.SphereLinear(3, 4), nn.Linear(4, 2))
    >>> projection = WeightProjection(model, every=2)
    >>> for _ in range(2):
    ...     projection.step()  # after optimizer.step()
    >>> torch.linalg.vector_norm(model[0].weight, dim=1).round(decimals=5).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    def __init__(self, model: nn.Module, every: int = 100, norm: float = 1.0) -> None:
        if every < 1:
            raise ValueError(f"every={every!r}: expected at least 1 step")
        if not (math.isfinite(norm) and norm > 0):
            raise ValueError(f"norm={norm!r}: expected a finite number above 0")
        _refuse_weighted(model, "weight projection")
        _projected(model)
        self.model, self.every, self.norm, self.steps = model, every, norm, 0

    def step(self) -> None:
        """Count a step of the optimizer, and project if it is time."""
        self.steps += 1
        if self.steps % self.every == 0:
            project_weights(self.model, self.norm)

    def state_dict(self) -> dict[str, Any]:
        """The number of steps, to go on from."""
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` gave."""
        self.steps = int(state["steps"])

    def __repr__(self) -> str:
        return f"WeightProjection(every={self.every}, norm={self.norm}, steps={self.steps})"


def weighted_gradients(model: nn.Module, enabled: bool = True) -> nn.Module:
    r"""From now on multiply the gradient that a decoupled layer gives a filter by the filter's length.

    .. math:: \Delta w = \|w\| \, \frac{\partial f}{\partial w}, \qquad \text{e.g. }
        \|w\| \frac{\partial}{\partial w} (\hat{w}^\top \hat{x}) = \hat{x} - \hat{w}^\top \hat{x} \, \hat{w}

    Gradients of other terms of the loss, such as a regularizer's, stay as they are.

    Args:
        model: with decoupled layers, none of them weighted.
        enabled: False for the true gradients again.

    Returns:
        The model.

    Raises:
        ValueError: if a decoupled layer is weighted, so that its lengths do matter forward, or if there is none.

    Source: thesis, eq. 4.18.

    >>> import onsphere as osp
    >>> layer = weighted_gradients(osp.SphereLinear(2, 1))
    >>> with torch.no_grad():
    ...     _ = layer.weight.copy_(torch.tensor([[10.0, 0.0]]))
    >>> layer(torch.tensor([[0.0, 5.0]])).sum().backward()
    >>> layer.weight.grad.round(decimals=4).abs().tolist()
    [[0.0, 1.0]]
    """
    _refuse_weighted(model, "weighted gradients")
    for layer in _unweighted(model):
        layer.weighted_gradients = enabled
    return model


def _unweighted(model: nn.Module) -> list[Decoupled]:
    found = [module for module in model.modules() if isinstance(module, Decoupled) and module.weighting is None]
    if not found:
        raise ValueError(f"{type(model).__name__} has no decoupled layer without weighting: see onsphere.convert")
    return found


def _projected(model: nn.Module) -> list[Decoupled]:
    for name, module in model.named_modules():
        if isinstance(module, Decoupled) and module.weighting is None and "weight" not in module._parameters:
            raise ValueError(
                f"layer {name!r} is parametrized or pruned: its weight is worked out of other parameters, and a "
                "projection of it would be lost"
            )
    return _unweighted(model)


def _refuse_weighted(model: nn.Module, trick: str) -> None:
    for name, module in model.named_modules():
        if isinstance(module, Decoupled) and module.weighting is not None:
            raise ValueError(
                f"layer {name!r} has weighting={module.weighting!r}: {trick} would change what it computes, since the "
                "lengths of its filters count"
            )
