"""What the user can put right, and how to say it."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class Mistake(Exception):
    """Something that the user can put right: printed as one line, exit code 2."""


def pick(kind: str, name: str, table: Mapping[str, T]) -> T:
    """The entry of a table, or a Mistake with the names that are close."""
    if name not in table:
        raise Mistake(f"unknown {kind} {name!r}{closest(name, table) or f'; see `onsphere {kind}s`'}")
    return table[name]


def closest(given: str, known: Iterable[str], prefix: str = "") -> str:
    known = [str(name) for name in known]
    near = difflib.get_close_matches(given, known, n=2, cutoff=0.6)
    if near:
        return f"; did you mean {' or '.join(prefix + name for name in near)}?" + (
            "" if len(known) > 8 else f" (there are: {', '.join(known)})"
        )
    return "" if len(known) > 8 else f"; there are: {', '.join(known)}"
