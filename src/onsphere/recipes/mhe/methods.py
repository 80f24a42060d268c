"""The rows of the thesis's tables: MHE and its variants, and the regularizers that it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from onsphere.diversity import MHE, Orthogonal, Orthonormal
from onsphere.recipes.regularization import Layers, Term


@dataclass(frozen=True)
class Method:
    """A regularization of hidden layers and output layer.

    Args:
        label: the name that tables and reports print.
        hidden: makes the measure of the hidden layers; None for no regularization.
        output: makes the measure of the output layer.
        coefficient: of the hidden layers, lambda_h (thesis D.1).
        output_coefficient: of the output layer, lambda_o (thesis D.1).
        half_space: the measure of the hidden layers is that of the half space, which the output layer cannot have.
    """

    label: str
    hidden: Callable[[], nn.Module] | None = None
    output: Callable[[], nn.Module] | None = None
    coefficient: float = 0.0
    output_coefficient: float = 0.0
    half_space: bool = False


def _mhe(s: int, angular: bool, half_space: bool) -> Method:
    """In full space 10 for the hidden layers, in half space 1; the output layer always has full space and 1."""
    distance: Literal["euclidean", "angular"] = "angular" if angular else "euclidean"
    return Method(
        label=f"{'half-space ' if half_space else ''}{'A-' if angular else ''}MHE s={s}",
        hidden=partial(MHE, s=float(s), distance=distance, half_space=half_space),
        output=partial(MHE, s=float(s), distance=distance),
        coefficient=1.0 if half_space else 10.0,
        output_coefficient=1.0,
        half_space=half_space,
    )


# The variants of MHE in the order of Table 5.1: prefix, angular, half space.
_KINDS = (("mhe", False, False), ("half-mhe", False, True), ("a-mhe", True, False), ("half-a-mhe", True, True))
VARIANTS = tuple(f"{prefix}-s{s}" for prefix, _, _ in _KINDS for s in (2, 1, 0))

# D.1 gives 1e-5 for the orthonormal regularization and nothing for the orthogonal one of Rodriguez et al. 2017, which
# is here as the MMA paper writes it (eq. 14), with that paper's coefficient.
METHODS: Mapping[str, Method] = {
    "none": Method("none"),
    "orthogonal": Method("orthogonal", Orthogonal, Orthogonal, 1e-4, 1e-4),
    "orthonormal": Method("orthonormal", Orthonormal, Orthonormal, 1e-5, 1e-5),
    **{f"{prefix}-s{s}": _mhe(s, angular, half) for prefix, angular, half in _KINDS for s in (2, 1, 0)},
}


@dataclass(frozen=True)
class Weights:
    """The coefficients of a row on its hidden layers and on its output layer; None where it has no regularization."""

    coefficient: float | None
    output_coefficient: float | None


def weights(row: str, layers: Layers, coefficient: float | None, output_coefficient: float | None) -> Weights:
    """The coefficients that were given, or the thesis's.

    Args:
        row: one of METHODS.
        layers: where the regularization applies.
        coefficient: of the hidden layers; of the output layer where ``layers`` is ``output``.
        output_coefficient: of the output layer where ``layers`` is ``everywhere``.

    Raises:
        ValueError: for an unknown row, a coefficient that would be ignored, or half space on the output layer.

    >>> weights("half-mhe-s2", "everywhere", None, None)
    Weights(coefficient=1.0, output_coefficient=1.0)
    """
    if row not in METHODS:
        raise ValueError(f"row={row!r} is none of {', '.join(METHODS)}")
    method = METHODS[row]
    if row == "none":
        for name, given in (("coefficient", coefficient), ("output_coefficient", output_coefficient)):
            if given:
                raise ValueError(f"{name}={given} has no effect on row 'none', which has no regularization")
        return Weights(None, None)
    if layers != "everywhere" and output_coefficient is not None:
        raise ValueError(
            f"output_coefficient={output_coefficient} has no effect with layers={layers!r}, where there is only one "
            "coefficient: give that"
        )
    if layers == "output":
        if method.half_space:
            raise ValueError(f"row={row!r} cannot be on the output layer alone: half space is for hidden layers")
        return Weights(None, method.output_coefficient if coefficient is None else coefficient)
    hidden = method.coefficient if coefficient is None else coefficient
    if layers == "hidden":
        return Weights(hidden, None)
    return Weights(hidden, method.output_coefficient if output_coefficient is None else output_coefficient)


def terms(row: str, given: Weights) -> list[Term]:
    """A row's regularization with these coefficients."""
    method = METHODS[row]
    found = []
    if method.hidden is not None and given.coefficient is not None:
        found.append(Term(method.hidden, given.coefficient, "hidden"))
    if method.output is not None and given.output_coefficient is not None:
        found.append(Term(method.output, given.output_coefficient, "output"))
    return found
