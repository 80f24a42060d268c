"""The docstrings of this project, as the documentation's tools expect them.

They are written to be read in an editor: equations in ``.. math::`` blocks, references as ``:func:`name```, examples
at the end without a heading. This extension of Griffe rewrites them on their way into the pages.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

_MATH = re.compile(r"^( *)\.\. math::(.*)\n((?:\1 +\S.*\n?|\n(?=\1 +\S))*)", re.MULTILINE)
_ROLE = re.compile(r":(?:func|class|meth|mod|attr):`([^`]+)`")
_EXAMPLE = re.compile(r"^(?:Examples?:\n)?((?: *>>> .*\n(?:.*\S.*\n)*\n?)+)", re.MULTILINE)
_RULE = r" *=+(?: +=+)+\n"
_TABLE = re.compile(rf"^({_RULE})((?: *[^=\s].*\n)+)(?:{_RULE}((?: *[^=\s].*\n)+))?{_RULE}", re.MULTILINE)
_SEVERAL = re.compile(r"^( +)(\w+(?:, \w+)+): (.*\n(?:\1 +.*\n)*)", re.MULTILINE)


class HouseStyle(griffe.Extension):
    """Rewrites every docstring as soon as it is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Griffe calls it for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = rewritten(obj.docstring.value)


def rewritten(text: str) -> str:
    r"""A docstring in Markdown with the sections that Griffe knows.

    >>> rewritten("Mean.\n\n.. math:: a = b\n\nSee :func:`onsphere.attach`.\n\n>>> 1 + 1\n2\n").splitlines()[2:5]
    ['$$', 'a = b', '$$']
    """
    text = _MATH.sub(_equation, text + "\n")
    text = _TABLE.sub(_table, text)
    text = _SEVERAL.sub(_one_each, text)
    text = _ROLE.sub(_reference, text)
    text = re.sub(r"^(Source|Returns of a call):", r"**\1:**", text, flags=re.MULTILINE)
    return _EXAMPLE.sub(_section, text).rstrip("\n")


def _equation(found: re.Match[str]) -> str:
    lines = f"{found[2]}\n{found[3]}".split("\n")
    latex = " ".join(line.strip() for line in lines if line.strip())
    return f"{found[1]}$$\n{found[1]}{latex}\n{found[1]}$$\n\n"


def _table(found: re.Match[str]) -> str:
    """A table between rules of equals signs, with a heading or without, as one of Markdown.

    >>> print(_TABLE.sub(_table, "===  ====\\na    long\\n===  ====\\nb    c d\\n===  ====\\n"), end="")
    | a | long |
    | --- | --- |
    | b | c d |
    >>> _TABLE.sub(_table, "===  ===\\na    b\\n===  ===\\n").splitlines()[0]
    '|  |  |'
    """
    columns = [part.span() for part in re.finditer("=+", found[1])]
    bounds = [
        (begin, after[0] if after else None) for (begin, _), after in zip(columns, [*columns[1:], None], strict=True)
    ]
    cells = [
        [[_plain(line[begin:end]) for begin, end in bounds] for line in (part or "").splitlines()]
        for part in found.groups()[1:]
    ]
    head, body = (cells[0], cells[1]) if cells[1] else ([[""] * len(columns)], cells[0])
    return "".join(f"| {' | '.join(row)} |\n" for row in [*head, ["---"] * len(columns), *body])


def _plain(cell: str) -> str:
    """A cell whose asterisks are asterisks, as in train-*.parquet."""
    return cell.strip() if "`" in cell else cell.strip().replace("*", r"\*")


def _one_each(found: re.Match[str]) -> str:
    """`a, b: text` describes two arguments; Griffe knows one a line."""
    return "".join(f"{found[1]}{name}: {found[3]}" for name in found[2].split(", "))


def _reference(found: re.Match[str]) -> str:
    """A link where the pages describe the name, else the name alone."""
    path = found[1].lstrip("~")
    short = f"<code>{path.removeprefix('onsphere.')}</code>"
    return f'<autoref identifier="{path}" optional>{short}</autoref>' if "." in path else short


def _section(found: re.Match[str]) -> str:
    return f"Examples:\n{textwrap.indent(textwrap.dedent(found[1]), '    ')}"
