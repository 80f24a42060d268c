"""How decoupled networks are trained: how orthogonal their filters are kept, and what is done to their norms."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from onsphere.layers import project_weights
from onsphere.recipes.settings import check_positive

# Of the authors' published code (wy1iu/DCNets), on CIFAR; the thesis has no numbers.
ORTHOGONALITY = 1e-5
WEIGHT_DECAY = 5e-4
PROJECT_EVERY = 100


def orthogonality(row: str, coefficient: float | None) -> float:
    """The weight of the orthogonal constraint that was given, or else the published one; 0 for the baseline.

    Raises:
        ValueError: for a coefficient that would have no effect.

    >>> orthogonality("tanh-cosine", None), orthogonality("baseline", None)
    (1e-05, 0.0)
    """
    if row != "baseline":
        return ORTHOGONALITY if coefficient is None else coefficient
    if coefficient:
        raise ValueError(f"coefficient={coefficient} has no effect on row 'baseline', which has no decoupled layers")
    return 0.0


def projection(row: str, every: int | None) -> tuple[Callable[[nn.Module, int], None], ...]:
    """For a Recipe's ``after_step``: weight projection (section 4.4.1) after every so many steps.

    Args:
        row: of the table; the baseline has nothing to project.
        every: the number of steps; None for never.

    Raises:
        ValueError: if ``every`` is not above 0.

    >>> projection("baseline", 100)
    ()
    """
    check_positive(project_every=every)
    return () if every is None or row == "baseline" else (partial(_projected, every=every),)


def _projected(model: nn.Module, step: int, every: int) -> None:
    if step % every == 0:
        project_weights(model)
