"""What the user can put right, and how to say it."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class Mistake(Exception):
    """Something that the user can put right: printed as one line, exit code 2."""


def pick(kind: str, name: str, table: Mapping[str, T]) -> T:
    """The entry of a table, or a Mistake with the names that are close."""
    if name not in table:
        raise Mistake(f"unknown {kind} {name!r}{closest(name, table) or f'; see `onsphere {kind}s`'}")
    return table[name]


def or_mistake(make: Callable[[], T]) -> T:
    """What a function returns; its complaint about an argument or a file becomes a Mistake."""
    try:
        return make()
    except OSError as error:
        raise Mistake(words(error)) from error
    except ValueError as error:
        raise Mistake(str(error)) from error


def words(error: OSError) -> str:
    """What went wrong with which file, without the error's number.

    >>> words(FileExistsError(17, "File exists", "runs"))
    'runs: File exists'
    """
    if not error.strerror:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"


def closest(given: str, known: Iterable[str], prefix: str = "") -> str:
    known = [str(name) for name in known]
    near = difflib.get_close_matches(given, known, n=2, cutoff=0.6)
    if near:
        return f"; did you mean {' or '.join(prefix + name for name in near)}?" + (
            "" if len(known) > 8 else f" (there are: {', '.join(known)})"
        )
    return "" if len(known) > 8 else f"; there are: {', '.join(known)}"
