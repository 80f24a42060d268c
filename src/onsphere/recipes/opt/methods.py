"""The rows of chapter 7: how a row changes the model, its optimizer and its loss, and what a row is called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from onsphere import orthogonal, where
from onsphere.diversity import MHE
from onsphere.recipes.mhe import methods as mhe
from onsphere.recipes.regularization import regularization
from onsphere.recipes.settings import check_positive
from onsphere.regularizers import Regularizer

Start = Literal["identity", "random", "normal"]
Build = Callable[[Iterable[nn.Parameter]], Optimizer]
Loss = Callable[[nn.Module], Callable[..., Tensor]]

LABELS: Mapping[str, str] = {
    "none": "baseline",
    "hs-mhe": "HS-MHE",
    "upt": "UPT",
    "gs": "OPT (GS)",
    "hr": "OPT (HR)",
    "ls": "OPT (LS)",
    "cp": "OPT (CP)",
    "exp": "OPT (exponential)",
    "ogd": "OPT (OGD)",
    "or": "OPT (OR)",
}
PLAIN = ("none", "hs-mhe")  # rows that learn the neurons themselves

# F.3 draws the rotation matrix from N(0, 1). Gram-Schmidt, Householder and Loewdin make any matrix orthogonal, and their
# gradients become smaller as its entries become larger; the other methods need an orthogonal matrix to start from, or
# (Cayley, exponential) would have to make one from a skew-symmetric matrix that is far too large.
STARTS: Mapping[str, Start] = {
    "upt": "identity",
    "gs": "normal",
    "hr": "normal",
    "ls": "normal",
    "cp": "identity",
    "exp": "identity",
    "ogd": "identity",
    "or": "identity",
}
# The thesis has no value for these.
ROTATION_RATE = 0.1
BETA = 1.0


def prepare(
    row: str,
    *,
    blocks: int = 1,
    share_blocks: bool = False,
    normalize: bool = False,
    refine: nn.Module | None = None,
    start: Start | None = None,
    train_weights: bool = False,
) -> Callable[[nn.Module], None] | None:
    """For a Recipe's ``prepare``: the hidden layers' neurons become those of orthogonal over-parameterized training.

    Args:
        row: one of LABELS.
        blocks, share_blocks, normalize, refine, train_weights: as ``onsphere.overparametrize`` takes them.
        start: what the learned matrices start from; None for the row's of STARTS.

    Returns:
        None for rows that learn the neurons themselves.

    Raises:
        ValueError: for an unknown row, and for a setting that would have no effect on it.

    >>> prepare("none") is None
    True
    """
    _check(row)
    if row in PLAIN:
        given = {
            "blocks": blocks != 1,
            "share_blocks": share_blocks,
            "normalize": normalize,
            "refine": refine is not None,
            "start": start is not None,
            "train_weights": train_weights,
        }
        for name in (name for name, set_here in given.items() if set_here):
            raise ValueError(f"{name} has no effect on row {row!r}, which learns the neurons themselves")
        return None
    method = orthogonal.Relaxed(beta=1.0) if row == "or" else orthogonal.METHODS[row]()
    return partial(
        _overparametrized,
        method=method,
        blocks=blocks,
        share_blocks=share_blocks,
        normalize=normalize,
        refine=refine,
        start=STARTS[row] if start is None else start,
        train_weights=train_weights,
    )


def optimizer(row: str, build: Build, rotation_rate: float | None = None) -> Build:
    """For a Recipe's ``optimizer``: the ordinary one, and for row ``ogd`` another for the orthogonal matrices.

    Args:
        row: one of LABELS.
        build: makes the ordinary optimizer.
        rotation_rate: learning rate of the orthogonal matrices of row ``ogd`` (eq. 7.5); None for ROTATION_RATE.

    Raises:
        ValueError: for an unknown row, a rate not above 0, or one that would have no effect.

    >>> from torch.optim import SGD
    >>> optimizer("gs", SGD) is SGD
    True
    """
    _check(row)
    check_positive(rotation_rate=rotation_rate)
    if row != "ogd":
        if rotation_rate is not None:
            raise ValueError(f"rotation_rate={rotation_rate} has no effect on row {row!r}: only on 'ogd'")
        return build
    return partial(_pair, build=build, rotation_rate=ROTATION_RATE if rotation_rate is None else rotation_rate)


def regularizer(row: str, beta: float | None = None) -> Loss | None:
    """For a Recipe's ``regularizer``: the penalty of row ``or`` (eq. 7.7), the half-space energy of row ``hs-mhe``.

    Args:
        row: one of LABELS.
        beta: its weight. None for BETA of ``or``; for ``hs-mhe`` for chapter 5's: half-space MHE with weight 1 on the
            hidden layers, MHE with weight 1 on the output layer (D.1).

    Raises:
        ValueError: for an unknown row, or a weight that would have no effect.

    >>> regularizer("gs") is None
    True
    """
    _check(row)
    check_positive(beta=beta)
    if row == "or":
        return partial(_Relaxation, beta=BETA if beta is None else beta)
    if row == "hs-mhe":
        return regularization(*mhe.terms("half-mhe-s2", mhe.weights("half-mhe-s2", "everywhere", beta, None)))
    if beta is not None:
        raise ValueError(f"beta={beta} has no effect on row {row!r}: only on 'or' and 'hs-mhe'")
    return None


def energies(model: nn.Module) -> dict[str, dict[str, float]]:
    """For a Recipe's ``observe``: the hyperspherical energy of every hidden layer (Figures 7.3 and F.2).

    It is the mean over ordered pairs of 1 / ||w_i - w_j|| of unit neurons, eq. 7.2 divided by n(n - 1).

    >>> layer = nn.Linear(2, 2, bias=False)
    >>> _ = nn.init.eye_(layer.weight)
    >>> energies(nn.Sequential(layer, nn.Linear(2, 2)))
    {'hyperspherical_energy': {'0': 0.707107}}
    """
    values = Regularizer(model, MHE(s=1.0), 1.0, where.hidden).per_layer()
    return {"hyperspherical_energy": {layer: round(value.item(), 6) for layer, value in values.items()}}


class _Relaxation(nn.Module):
    """beta times the penalty of a model whose own beta is 1."""

    def __init__(self, model: nn.Module, beta: float) -> None:
        super().__init__()
        self.penalty, self.beta = orthogonal.Penalty(model), beta

    def forward(self) -> Tensor:
        total: Tensor = self.beta * self.penalty()
        return total


def _overparametrized(model: nn.Module, *, method: orthogonal.Method, **arguments: object) -> None:
    orthogonal.overparametrize(model, method, where.hidden, **arguments)


def _pair(parameters: Iterable[nn.Parameter], *, build: Build, rotation_rate: float) -> Optimizer:
    matrices, others = orthogonal.split(parameters)
    return orthogonal.Pair(orthogonal.OrthogonalSGD(matrices, lr=rotation_rate), build(others))


def _check(row: str) -> None:
    if row not in LABELS:
        raise ValueError(f"row={row!r} is none of {', '.join(LABELS)}")
