"""The neurons that training starts from: with less energy, or with more."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from onsphere import sphere
from onsphere.where import Selector, hidden, layers

__all__ = ["initialize_with_mean", "refined"]


def refined(weight: Tensor, measure: Callable[[Tensor], Tensor], steps: int = 5000) -> Tensor:
    r"""The neurons after a descent of a measure of their directions; their norms stay.

    .. math:: \hat v \leftarrow \frac{\hat v - \eta \nabla_{\hat v} E}{\|\hat v - \eta \nabla_{\hat v} E\|}

    Gradient descent on the sphere with the step lengths of Barzilai and Borwein, halved where the measure would grow
    beyond the largest of the last ten values. It ends early where nothing is left to gain.

    Args:
        weight: V, (n, d), one neuron a row.
        measure: of (n, d), smaller is better, such as ``MHE(half_space=True)``.
        steps: of the descent. Default 5000 (section 7.5.3).

    Returns:
        New neurons, of the shape, type and norms of ``weight``: the best that were met.

    Raises:
        ValueError: if steps is below 0.

    Source: thesis, section 7.3.7.

    >>> from onsphere.diversity import MHE
    >>> refined(torch.tensor([[1.0, 0.0], [2.0, 0.1]]), MHE()).round(decimals=2).abs()[:, 0] < 1.5
    tensor([True, True])
    """
    if steps < 0:
        raise ValueError(f"steps={steps!r}: expected at least 0")
    norms = torch.linalg.vector_norm(weight.detach().double(), dim=1, keepdim=True)
    points = sphere.normalize(weight.detach().to(sphere.finest(weight.device)))
    value, slope = _tangent(points, measure)
    best, best_value, recent = points, value, [value]
    length = 0.1 / max(float(slope.norm(dim=1).max()), 1e-30)  # the first step turns no neuron by more than 0.1
    for _ in range(steps):
        squared = float(slope.square().sum())
        if squared * length < 1e-12 * max(abs(value), 1e-30):
            break
        for _ in range(40):
            tried = sphere.normalize(points - length * slope)
            tried_value, tried_slope = _tangent(tried, measure)
            if tried_value <= max(recent) - 1e-4 * length * squared:
                break
            length /= 2
        else:
            break
        moved, turned = tried - points, tried_slope - slope
        along = float((moved * turned).sum())
        length = float(moved.square().sum()) / along if along > 0 else 2 * length
        points, value, slope = tried, tried_value, tried_slope
        recent = [*recent[-9:], value]
        if value < best_value:
            best, best_value = points, value
    found: Tensor = (best * norms.to(best.dtype)).to(weight.dtype)
    return found


def _tangent(points: Tensor, measure: Callable[[Tensor], Tensor]) -> tuple[float, Tensor]:
    """The measure and its gradient along the sphere."""
    with torch.enable_grad():
        leaf = points.detach().requires_grad_()
        value = measure(leaf)
        (slope,) = torch.autograd.grad(value, leaf)
    return float(value.detach()), slope - (slope * points).sum(1, keepdim=True) * points


def initialize_with_mean(model: nn.Module, mean: float, where: Selector = hidden) -> nn.Module:
    """Add a number to every weight of some layers, in place: initial neurons that lean to one side (Table 7.2).

    A random initialization of this mean has a higher hyperspherical energy than one of mean zero.

    Args:
        model: newly initialised, with weights of mean zero.
        mean: that is added.
        where: chooses the layers; by default every layer but the last.

    Returns:
        The model.

    Raises:
        ValueError: if no layer is chosen, or a weight is no parameter: over-parametrize afterwards.

    Source: thesis, section 7.5.1, Table 7.2.

    >>> layer = nn.Linear(2, 2)
    >>> _ = nn.init.eye_(layer.weight)
    >>> initialize_with_mean(nn.Sequential(layer, nn.Linear(2, 2)), 0.5)[0].weight
    Parameter containing:
    tensor([[1.5000, 0.5000],
            [0.5000, 1.5000]], requires_grad=True)
    """
    chosen = where(layers(model))
    if not chosen:
        raise ValueError(f"no layer of {type(model).__name__} is chosen: expected one at least")
    for layer in chosen:
        if layer.module._parameters.get(layer.attribute) is None:
            raise ValueError(f"{layer.parameter} is parametrized: expected the model before it is over-parametrized")
    with torch.no_grad():
        for layer in chosen:
            getattr(layer.module, layer.attribute).add_(mean)
    return model
