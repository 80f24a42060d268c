"""The rows of the tables about angular margins: a head, and for "+" a measure of its class weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from onsphere.diversity import MHE, MMA
from onsphere.losses import AngularSoftmax
from onsphere.margins import Annealed, ArcFace, CosFace, LSoftmax, Margin, SphereFace
from onsphere.recipes.margins.pairwise import SoftmaxAnd, centre, contrastive, triplet
from onsphere.recipes.regularization import Term
from onsphere.recipes.settings import check_positive

OpenSetRow = Literal[
    "softmax",
    "softmax-mhe",
    "softmax-mma",
    "sphereface-m1",
    "sphereface-m1-mhe",
    "sphereface-m1-mma",
    "sphereface-m2",
    "sphereface-m2-mhe",
    "sphereface-m2-mma",
    "sphereface-m3",
    "sphereface-m3-mhe",
    "sphereface-m3-mma",
    "sphereface-m4",
    "sphereface-m4-mhe",
    "sphereface-m4-mma",
    "cosface",
    "cosface-mhe",
    "cosface-mma",
    "arcface",
    "arcface-mhe",
    "arcface-mma",
    "l-softmax-m2",
    "l-softmax-m3",
    "l-softmax-m4",
    "softmax-contrastive",
    "triplet",
    "softmax-centre",
]


@dataclass(frozen=True)
class Annealing:
    r"""How a multiplicative margin comes in: from lambda = 1000 on, lambda = 1000 / (1 + gamma t), down to a minimum.

    Args:
        gamma: how fast lambda falls.
        minimum: where it stays.

    Source: thesis, sections 2.2.7 and A.7.
    """

    gamma: float = 0.12
    minimum: float = 5.0

    @staticmethod
    def over(steps: float, minimum: float) -> Annealing:
        """The one that has come to its minimum after so many steps.

        Raises:
            ValueError: if the minimum is not above 0.

        >>> Annealing.over(1990, 5.0)
        Annealing(gamma=0.1, minimum=5.0)
        """
        check_positive(annealing_minimum=minimum)
        return Annealing((1000 / minimum - 1) / steps, minimum)

    def __call__(self, margin: Margin) -> Annealed:
        return Annealed(margin, base=1000.0, gamma=self.gamma, minimum=self.minimum)


@dataclass(frozen=True)
class Tuning:
    """What the heads of a recipe have in common.

    Args:
        annealing: of the multiplicative margins.
        scale: s of CosFace and ArcFace.
        cosface: margin of CosFace.
        arcface: margin of ArcFace, radians.
        pair_weight: of the loss of pairs or centres beside softmax; None for each one's own.
    """

    annealing: Annealing = Annealing()
    scale: float = 64.0
    cosface: float = 0.35
    arcface: float = 0.5
    pair_weight: float | None = None


Head = Callable[[int, int, Tuning], nn.Module]


def _softmax(features: int, classes: int, _: Tuning) -> nn.Module:
    return AngularSoftmax(features, classes, scale="feature_norm", normalize_weight=False, bias=True)


def _sphereface(features: int, classes: int, tuning: Tuning, m: int) -> nn.Module:
    margin = None if m == 1 else tuning.annealing(SphereFace(m))
    return AngularSoftmax(features, classes, margin, scale="feature_norm")


def _lsoftmax(features: int, classes: int, tuning: Tuning, m: int) -> nn.Module:
    margin = tuning.annealing(LSoftmax(m))
    return AngularSoftmax(features, classes, margin, scale="feature_norm", normalize_weight=False)


def _cosface(features: int, classes: int, tuning: Tuning) -> nn.Module:
    return AngularSoftmax(features, classes, CosFace(tuning.cosface), scale=tuning.scale)


def _arcface(features: int, classes: int, tuning: Tuning) -> nn.Module:
    return AngularSoftmax(features, classes, ArcFace(tuning.arcface), scale=tuning.scale)


def _beside_softmax(
    features: int, classes: int, tuning: Tuning, loss: Callable[..., nn.Module], weight: float, probe: bool = False
) -> nn.Module:
    chosen = weight if tuning.pair_weight is None else tuning.pair_weight
    return SoftmaxAnd(_softmax(features, classes, tuning), loss(features, classes), chosen, probe=probe)


HEADS: Mapping[str, tuple[str, Head]] = {
    "softmax": ("softmax", _softmax),
    "sphereface-m1": ("W-Softmax (SphereFace m=1)", partial(_sphereface, m=1)),
    **{f"sphereface-m{m}": (f"SphereFace m={m}", partial(_sphereface, m=m)) for m in (2, 3, 4)},
    **{f"l-softmax-m{m}": (f"L-Softmax m={m}", partial(_lsoftmax, m=m)) for m in (2, 3, 4)},
    "cosface": ("CosFace", _cosface),
    "arcface": ("ArcFace", _arcface),
    # The thesis chose these weights by cross-validation and does not tell them (2.3.6). That of the centre loss is
    # the one of its own paper, section 4.2.
    "softmax-contrastive": ("softmax + contrastive", partial(_beside_softmax, loss=contrastive, weight=1.0)),
    "triplet": ("triplet", partial(_beside_softmax, loss=triplet, weight=1.0, probe=True)),
    "softmax-centre": ("softmax + centre", partial(_beside_softmax, loss=centre, weight=0.003)),
}

# Thesis D.1: full space, s=2, of the output layer, weight 1; eq. 5.8: between the classes of the batch and all others.
# MMA paper, supplement C: 0.03.
MEASURES: Mapping[str, tuple[str, Callable[[], nn.Module], float]] = {
    "mhe": (" + MHE", partial(MHE, s=2.0, data_dependent=True), 1.0),
    "mma": (" + MMA", MMA, 0.03),
}


@dataclass(frozen=True)
class Objective:
    """A row: what its classifier is made by, and what keeps its class weights apart.

    Args:
        label: the name that tables and reports print.
        head: makes the classifier from the numbers of features and classes.
        measure: of the class weights, for "+"; None for none.
        coefficient: weight of the measure, lambda.
    """

    label: str
    head: Head
    measure: Callable[[], nn.Module] | None
    coefficient: float

    @property
    def terms(self) -> list[Term]:
        """The regularization, for ``recipes.regularization``."""
        return [] if self.measure is None else [Term(self.measure, self.coefficient, "output")]


def objective(row: str, coefficient: float | None = None) -> Objective:
    """The row of this name: a head of HEADS, and behind it -mhe or -mma for a measure of MEASURES.

    Args:
        row: such as ``sphereface-m4-mhe``.
        coefficient: of the measure; None for the paper's.

    Raises:
        ValueError: for another name, and for a coefficient that would have no effect.

    >>> objective("sphereface-m4-mhe").label, objective("arcface-mma").coefficient
    ('SphereFace m=4 + MHE', 0.03)
    """
    name, _, ending = row.rpartition("-")
    if ending in MEASURES and name in HEADS:
        label, head = HEADS[name]
        words, measure, usual = MEASURES[ending]
        return Objective(label + words, head, measure, usual if coefficient is None else coefficient)
    if row not in HEADS:
        raise ValueError(f"row={row!r} is none of {', '.join(HEADS)}, or one of them with -{' or -'.join(MEASURES)}")
    if coefficient:
        raise ValueError(f"coefficient={coefficient} has no effect on row {row!r}, which regularizes nothing")
    label, head = HEADS[row]
    return Objective(label, head, None, 0.0)
