"""The penalty that keeps a relaxed R near the orthogonal matrices."""

from __future__ import annotations

from torch import Tensor, nn

from onsphere.diversity.orthogonality import orthonormal
from onsphere.orthogonal.methods import Relaxed
from onsphere.orthogonal.modules import Overparametrized, Rotation

__all__ = ["Penalty"]


class Penalty(nn.Module):
    r"""What is added to the loss for the layers that are over-parametrized by ``Relaxed(beta)``.

    .. math:: \sum_{\text{layers}} \beta \|R^\top R - I\|_F^2

    Args:
        model: over-parametrized so, in some layers at least.

    Raises:
        ValueError: if no layer is.

    Source: thesis, section 7.3.6, eq. 7.7.

    >>> import onsphere as osp
    >>> model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    >>> model = osp.overparametrize(model, osp.orthogonal.Relaxed(beta=0.1))
    >>> Penalty(model)()
    tensor(0., grad_fn=<...>)
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        found = [module for module in model.modules() if isinstance(module, Overparametrized) and _relaxed(module)]
        if not found:
            raise ValueError(f"{type(model).__name__} has no layer that is over-parametrized by Relaxed")
        # A plain tuple: registering them would put the model's parameters into this module's state dict.
        self.layers = tuple(found)

    def forward(self) -> Tensor:
        """The penalty of the matrices of the task at hand."""
        total = None
        for layer in self.layers:
            rotation = layer.maps[layer.task]
            assert isinstance(rotation, Rotation)
            assert isinstance(rotation.method, Relaxed)
            for matrix in rotation.matrix.reshape(-1, *rotation.matrix.shape[-2:]):
                value = rotation.method.beta * orthonormal(matrix)  # of rows: R R^T - I has the same norm
                total = value if total is None else total + value.to(total.device)
        assert total is not None
        return total


def _relaxed(module: Overparametrized) -> bool:
    rotation = module.maps[module.task]
    return isinstance(rotation, Rotation) and isinstance(rotation.method, Relaxed)
