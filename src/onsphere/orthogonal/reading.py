"""The matrices of a model, and how far they are from orthogonal."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onsphere.orthogonal.methods import deviation
from onsphere.orthogonal.modules import Rotation, overparametrized_layers

__all__ = ["deviations", "matrices"]


def matrices(model: nn.Module) -> dict[str, Tensor]:
    """R of every over-parametrized layer by name, (d, d), or (groups, d, d) where a layer has several groups.

    Layers with a nonlinear map have none and are left out.

    Args:
        model: with over-parametrized layers.

    Raises:
        ValueError: if no layer is over-parametrized.

    >>> import onsphere as osp
    >>> model = osp.overparametrize(nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2)), osp.orthogonal.Cayley())
    >>> matrices(model)
    {'0': tensor([[1., 0.],
            [0., 1.]])}
    """
    found = {}
    for layer, own in overparametrized_layers(model):
        rotation = own.maps[own.task]
        if isinstance(rotation, Rotation):
            with torch.no_grad():
                found[layer.name] = rotation.full()
    return found


def deviations(model: nn.Module) -> dict[str, float]:
    r"""How far every over-parametrized layer's R is from an orthogonal matrix, by the layer's name.

    .. math:: \|R^\top R - I\|_F

    Worked out in float64. It is the largest of a layer's groups.

    Args:
        model: with over-parametrized layers.

    Raises:
        ValueError: if no layer is over-parametrized.

    >>> import onsphere as osp
    >>> model = osp.overparametrize(nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2)), osp.orthogonal.Cayley())
    >>> deviations(model)
    {'0': 0.0}
    """
    return {name: float(deviation(matrix).max()) for name, matrix in matrices(model).items()}
