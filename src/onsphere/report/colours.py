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
    "softmax": Look("#808080", "solid", "circle"),
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


DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "star", "cross", "x", "pentagon", "hexagon")


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for every row: the comparison's own rows always the same one, others in the order that they come.

    Where there are more rows than colours, colours come again with another dash and another marker.

    >>> len(set(looks([str(i) for i in range(24)]).values()))
    24
    """
    keys = {name: "".join(letter for letter in name.lower() if letter.isalnum()) for name in names}
    own = {name: LOOKS[key] for name, key in keys.items() if key in LOOKS}
    free = [*OTHERS, *dict.fromkeys(look for look in LOOKS.values() if look not in own.values())]
    others = [name for name in keys if name not in own]
    placed = {name: _again(free[i % len(free)], i // len(free)) for i, name in enumerate(others)}
    return {name: own[name] if name in own else placed[name] for name in names}


def _again(look: Look, time: int) -> Look:
    """The colour of a look with the dash and the marker that come so many places later."""
    dash = DASHES[(DASHES.index(look.dash) + time) % len(DASHES)]
    marker = MARKERS[(MARKERS.index(look.marker) + 2 * time) % len(MARKERS)]
    return Look(look.colour, dash, marker)
