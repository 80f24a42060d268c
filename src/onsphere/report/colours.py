"""One colour, dash and marker a row, the same in every figure, told apart by colour-blind readers and in grey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """How a row is drawn: colour as #rrggbb, plotly's names of a dash and of a marker."""

    colour: str
    dash: str
    marker: str

    def faint(self, alpha: float) -> str:
        """The colour as CSS rgba()."""
        red, green, blue = (int(self.colour[i : i + 2], 16) for i in (1, 3, 5))
        return f"rgba({red},{green},{blue},{alpha})"


# Okabe and Ito's palette, in the tones of it that keep a contrast of 3:1 on white and on near-black alike.
LOOKS = {
    "none": Look("#808080", "solid", "circle"),
    "orthogonal": Look("#009E73", "dash", "square"),
    "mhes2": Look("#2A7FB8", "dot", "diamond"),
    "mhes0": Look("#9A6FD0", "dashdot", "triangle-up"),
    "mma": Look("#D55E00", "solid", "star"),
}
OTHERS = (
    Look("#C98500", "longdash", "cross"),
    Look("#CC5599", "longdashdot", "x"),
    Look("#8C6D46", "dash", "pentagon"),
    Look("#3E8E9E", "dot", "hexagon"),
)


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for every row: the comparison's own rows always the same one, others in the order that they come."""
    found = {}
    others = 0
    for name in names:
        key = "".join(letter for letter in name.lower() if letter.isalnum())
        if key in LOOKS:
            found[name] = LOOKS[key]
        else:
            found[name] = OTHERS[others % len(OTHERS)]
            others += 1
    return found
