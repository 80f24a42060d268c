"""The rows of chapter 7: how a row changes the model, its optimizer and its loss, and what a row is called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from onsphere import orthogonal
from onsphere import where as among
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
    "fixed": "fixed neurons",
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
WITHOUT_MATRICES = ("none", "fixed", "hs-mhe")

# F.3 draws the learned matrix from N(0, 1). Gram-Schmidt, Householder and Loewdin make any matrix orthogonal, and UPT
# takes any; OGD needs an orthogonal one, OR one that its penalty does not blow up, and Cayley learns faster from the
# identity: of 80 steps of a small network on digits, 95 per cent instead of 61.
STARTS: Mapping[str, Start] = {
    "upt": "normal",
    "gs": "normal",
    "hr": "normal",
    "ls": "normal",
    "cp": "identity",
    "exp": "identity",
    "ogd": "identity",
    "or": "identity",
}
# The thesis has no value for these two. On the same network OGD learns well with rates from 0.1 to 0.5, and OR with
# weights from 0.1 to 1, at which R stays within 0.1 of orthogonal.
ROTATION_RATE = 0.2
BETA = 1.0
HS_MHE = "half-mhe-s2"  # chapter 5's name of the row


def prepare(
    row: str,
    *,
    blocks: int = 1,
    share_blocks: bool = False,
    normalize: bool = False,
    refine: nn.Module | None = None,
    refine_steps: int = 5000,
    start: Start | None = None,
    train_weights: bool = False,
    where: among.Selector = among.hidden,
) -> Callable[[nn.Module], None] | None:
    """For a Recipe's ``prepare``: the hidden layers' neurons become those of orthogonal over-parameterized training.

    Args:
        row: one of LABELS.
        blocks, share_blocks, refine, refine_steps, train_weights: as ``onsphere.overparametrize`` takes them; of rows
            that learn a matrix.
        normalize: divide every neuron by its norm first, of any row.
        start: what the learned matrices start from; None for the row's of STARTS.
        where: which layers.

    Returns:
        None where there is nothing to do.

    Raises:
        ValueError: for an unknown row, and for a setting that would have no effect on it.

    >>> prepare("none") is None
    True
    """
    _check(row)
    if row not in WITHOUT_MATRICES:
        return partial(
            _overparametrized,
            method=orthogonal.Relaxed(beta=1.0) if row == "or" else orthogonal.METHODS[row](),
            where=where,
            blocks=blocks,
            share_blocks=share_blocks,
            normalize=normalize,
            refine=refine,
            refine_steps=refine_steps,
            start=STARTS[row] if start is None else start,
            train_weights=train_weights,
        )
    given: dict[str, tuple[object, object]] = {
        "blocks": (blocks, 1),
        "share_blocks": (share_blocks, False),
        "refine": (refine, None),
        "start": (start, None),
        "train_weights": (train_weights, False),
    }
    for name, (value, usual) in given.items():
        if value != usual:
            raise ValueError(f"{name}={value!r} has no effect on row {row!r}, which learns no matrix")
    if row == "fixed":
        return partial(_fixed, normalize=normalize, where=where)
    return partial(_normalized, where=where) if normalize else None


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
        beta: its weight on the hidden layers; None for the row's, see ``coefficient_of``. The output layer of
            ``hs-mhe`` has full-space MHE with weight 1, as in chapter 5 (D.1).

    Raises:
        ValueError: for an unknown row, or a weight that would have no effect.

    >>> regularizer("gs") is None
    True
    """
    weight = coefficient_of(row, beta)
    if weight is None:
        return None
    if row == "or":
        return partial(_relaxation, beta=weight)
    return regularization(*mhe.terms(HS_MHE, mhe.weights(HS_MHE, "everywhere", weight, None)))


def coefficient_of(row: str, given: float | None) -> float | None:
    """The weight of a row's regularization: what was given, or BETA of ``or``, chapter 5's 1 of ``hs-mhe``.

    Returns:
        None for rows that have none.

    Raises:
        ValueError: for an unknown row, a weight below 0, or one that would have no effect.

    >>> coefficient_of("hs-mhe", None), coefficient_of("or", 0.5), coefficient_of("gs", None)
    (1.0, 0.5, None)
    """
    _check(row)
    if row not in ("or", "hs-mhe"):
        if given:
            raise ValueError(f"coefficient={given} has no effect on row {row!r}: only on 'or' and 'hs-mhe'")
        return None
    check_positive(coefficient=given)
    if given is not None:
        return given
    return BETA if row == "or" else mhe.METHODS[HS_MHE].coefficient


def energies(model: nn.Module) -> dict[str, dict[str, float]]:
    """For a Recipe's ``observe``: the hyperspherical energy of every hidden layer (Figures 7.3 and F.2).

    It is the mean over ordered pairs of 1 / ||w_i - w_j|| of unit neurons: eq. 7.2 divided by n (n - 1).

    >>> layer = nn.Linear(2, 2, bias=False)
    >>> _ = nn.init.eye_(layer.weight)
    >>> energies(nn.Sequential(layer, nn.Linear(2, 2)))
    {'hyperspherical_energy': {'0': 0.707107}}
    """
    values = Regularizer(model, MHE(s=1.0), 1.0, among.hidden).per_layer()
    return {"hyperspherical_energy": {layer: round(value.item(), 6) for layer, value in values.items()}}


def table_energy(model: nn.Module) -> dict[str, float]:
    """The energy of a whole network as Tables 7.2 and 7.6 have it, for a Recipe's ``evaluate``.

    The thesis defines the energy with 1 / ||w_i - w_j|| (eq. 7.2), where no network of 64 random neurons a layer gives
    its 3.5109. Half-space energy with s = 2, normalised over the ordered pairs of all w and -w (5.3.4) and summed over
    the six convolutions and the hidden layer of CNN-6, gives 3.511 to 3.512, and every other number of both tables.

    >>> layers = nn.Linear(4, 2, bias=False), nn.Linear(2, 2)
    >>> _ = nn.init.eye_(layers[0].weight)
    >>> table_energy(nn.Sequential(*layers))  # (8 pairs at 1/2 and 4 at 1/4) / 12
    {'energy': 0.4167}
    """
    values = Regularizer(model, MHE(s=2.0, half_space=True), 1.0, among.hidden).per_layer()
    return {"energy": round(sum(value.item() for value in values.values()), 4)}


def deviations(model: nn.Module) -> dict[str, dict[str, float]]:
    """For a Recipe's ``observe``, of rows with matrices: how far these are from orthogonal, ||R^T R - I||_F."""
    found = orthogonal.deviations(model)
    return {"orthogonality_deviation": {layer: float(f"{value:.4g}") for layer, value in found.items()}}


def _overparametrized(model: nn.Module, *, method: orthogonal.Method, where: among.Selector, **arguments: Any) -> None:
    orthogonal.overparametrize(model, method, where, **arguments)


@torch.no_grad()
def _normalized(model: nn.Module, *, where: among.Selector) -> None:
    for layer in where(among.layers(model)):
        weight = getattr(layer.module, layer.attribute)
        weight.copy_(layer.form.write(F.normalize(layer.neurons(), dim=-1), weight.shape))


def _fixed(model: nn.Module, *, normalize: bool, where: among.Selector) -> None:
    if normalize:
        _normalized(model, where=where)
    for layer in where(among.layers(model)):
        getattr(layer.module, layer.attribute).requires_grad_(False)


def _pair(parameters: Iterable[nn.Parameter], *, build: Build, rotation_rate: float) -> Optimizer:
    matrices, others = orthogonal.split(parameters)
    return orthogonal.Pair(orthogonal.OrthogonalSGD(matrices, lr=rotation_rate), build(others))


def _relaxation(model: nn.Module, *, beta: float) -> Callable[[], Tensor]:
    penalty = orthogonal.Penalty(model)  # its own beta is 1
    return lambda: beta * penalty()


def _check(row: str) -> None:
    if row not in LABELS:
        raise ValueError(f"row={row!r} is none of {', '.join(LABELS)}")
