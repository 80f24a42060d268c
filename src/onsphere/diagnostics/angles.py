"""Angles and cosines between the neurons of a layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onsphere import sphere
from onsphere.where import layers


def minimum_angle(weight: Tensor) -> float:
    """Smallest angle between two different neurons, ``min_{i != j} theta_ij``.

    Args:
        weight: (n, d), one neuron a row. Zero rows are left out.

    Returns:
        Radians in [0, pi]; NaN where fewer than two neurons have a direction.

    Raises:
        ValueError: the weight is not a floating-point matrix.
        NonFiniteWeightError: the weight holds NaN or an infinity.

    Source: MMA paper, tables 1 and 3.

    Example:
        >>> import math
        >>> math.degrees(minimum_angle(torch.eye(3)))
        90.0
    """
    rows = sphere.directions(weight)
    if rows.n < 2:
        return float("nan")
    with sphere.full_precision(weight.device):
        index, cosine = sphere.nearest(rows)
    closest = (cosine >= cosine.max() - 1e-6).nonzero().squeeze(1)  # all that rounding may have put first
    return float(sphere.pairs(rows, closest[:4096], index[closest[:4096]]).angle.min())


def minimum_angles(model: nn.Module) -> dict[str, float]:
    """Smallest angle between two neurons of every layer, in radians, by the layer's name.

    Grouped convolutions are compared within their groups. Layers with fewer than two neurons do not appear.

    Example:
        >>> list(minimum_angles(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))))
        ['0', '2']
    """
    with torch.no_grad():
        return {layer.name: min(minimum_angle(group) for group in layer.neurons().unbind(0)) for layer in layers(model)}


def cosines(model: nn.Module, layer: str) -> Tensor:
    """Cosines of all pairs of neurons of one layer, as in Figure 1 of the MMA paper.

    Args:
        model: the network.
        layer: the layer's name, as :func:`minimum_angles` gives it.

    Returns:
        (pairs,) float64, each pair once: n (n - 1) / 2 of them, within groups for a grouped convolution.

    Raises:
        ValueError: there is no such layer; the message lists those there are.

    Example:
        >>> cosines(nn.Sequential(nn.Linear(3, 4)), "0").shape
        torch.Size([6])
    """
    found = {each.name: each for each in layers(model)}
    if layer not in found:
        raise ValueError(f"no layer is called {layer!r}; the layers are: {', '.join(found) or 'none'}")
    values = []
    with torch.no_grad():
        for group in found[layer].neurons().unbind(0):
            rows = sphere.directions(group)
            units = rows.unit(slice(None))
            above = torch.triu_indices(rows.n, rows.n, 1, device=units.device)
            values.append((units @ units.T)[above[0], above[1]])
    return torch.cat(values)
