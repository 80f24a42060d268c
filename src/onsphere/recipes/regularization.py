"""A row's regularization as data: measures with their coefficients and the layers that they are for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor, nn

from onsphere import where
from onsphere.regularizers import Regularizer

Layers = Literal["everywhere", "hidden", "output"]

WHERE: Mapping[Layers, where.Selector] = {
    "everywhere": where.everywhere,
    "hidden": where.hidden,
    "output": where.output,
}


@dataclass(frozen=True)
class Term:
    """One measure on some layers.

    Args:
        measure: makes the measure.
        coefficient: its weight in the loss.
        layers: which layers it is for.
    """

    measure: Callable[[], nn.Module]
    coefficient: float
    layers: Layers = "everywhere"


def regularization(*terms: Term) -> Callable[[nn.Module], Callable[..., Tensor]] | None:
    """What a Recipe's ``regularizer`` takes: the sum of the terms; None for no terms.

    >>> from onsphere.diversity import MHE, MMA
    >>> model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 2))
    >>> build = regularization(Term(MMA, 0.07, "hidden"), Term(MHE, 1.0, "output"))
    >>> list(build(model).per_layer())
    ['MMA 0', 'MMA 1', 'MHE 2']
    """
    return partial(_sum, terms=terms) if terms else None


def _sum(model: nn.Module, terms: tuple[Term, ...]) -> Callable[..., Tensor]:
    first, *others = (Regularizer(model, term.measure(), term.coefficient, WHERE[term.layers]) for term in terms)
    if not others:
        return first
    total = first + others[0]
    for other in others[1:]:
        total = total + other
    return total
