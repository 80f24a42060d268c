"""The rows of chapter 4: a magnitude function with an angular activation, or the ordinary convolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from onsphere.angular import Angular, Cosine, Linear, SquareCosine
from onsphere.magnitude import MAGNITUDE, Magnitude

OperatorRow = Literal[
    "baseline",
    "sphere-linear",
    "sphere-cosine",
    "sphere-square-cosine",
    "ball-linear",
    "ball-cosine",
    "ball-square-cosine",
    "tanh-linear",
    "tanh-cosine",
    "tanh-square-cosine",
    "linear-linear",
    "linear-cosine",
    "linear-square-cosine",
    "seg-linear",
    "seg-cosine",
    "seg-square-cosine",
    "log-linear",
    "log-cosine",
    "log-square-cosine",
    "mix-linear",
    "mix-cosine",
    "mix-square-cosine",
]

# Name, and how a label has it.
ANGULAR: Mapping[str, tuple[Angular, str]] = {
    "linear": (Linear(), "linear"),
    "cosine": (Cosine(), "cosine"),
    "square-cosine": (SquareCosine(), "square cosine"),
}


@dataclass(frozen=True)
class Operator:
    """What stands in place of the convolutions.

    Args:
        label: the name that tables and reports print.
        magnitude: h, with the parameters of section C.2, which are the classes' defaults; None for the convolution.
        angular: g.
    """

    label: str
    magnitude: Magnitude | None = None
    angular: Angular = Cosine()

    @property
    def arguments(self) -> dict[str, Any]:
        """What a network's builder takes."""
        return {"magnitude": self.magnitude, "angular": self.angular}


def operator(row: str) -> Operator:
    """The operator of a row's name.

    Args:
        row: ``baseline``, one of ``onsphere.magnitude.MAGNITUDE`` such as ``tanh`` (with the cosine), or one with an
            angular activation such as ``tanh-square-cosine``.

    Raises:
        ValueError: for another name.

    >>> operator("tanh-square-cosine").label, operator("ball").label, operator("baseline").magnitude
    ('TanhConv, square cosine', 'BallConv', None)
    """
    if row == "baseline":
        return Operator("baseline")
    magnitude, _, angular = row.partition("-")
    if magnitude not in MAGNITUDE or (angular and angular not in ANGULAR):
        raise ValueError(
            f"row={row!r} is none of baseline, {', '.join(MAGNITUDE)}, or one of these with -{', -'.join(ANGULAR)}"
        )
    label = f"{magnitude.capitalize()}Conv"
    if not angular:
        return Operator(label, MAGNITUDE[magnitude]())
    activation, words = ANGULAR[angular]
    return Operator(f"{label}, {words}", MAGNITUDE[magnitude](), activation)


def rows(*angular: str, magnitudes: tuple[str, ...] = tuple(MAGNITUDE)) -> tuple[str, ...]:
    """The baseline and all magnitudes with these angular activations.

    >>> rows("cosine", magnitudes=("sphere", "ball"))
    ('baseline', 'sphere-cosine', 'ball-cosine')
    """
    return ("baseline", *(f"{magnitude}-{name}" for magnitude in magnitudes for name in angular))
