"""Equations as MathML: browsers draw it themselves, so that the pages need no script, no font and no network.

The Markdown extension arithmatex finds the LaTeX in pages and docstrings; this hook turns what it found into MathML.
"""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

_FOUND = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
_ABOVE = re.compile(r"\\(min|max|sup|inf)(?=_)")
_SPACE = '<mspace width="0.167em" />'
_NAMES = "<mi>(?:log|exp|sin|cos|tan|arccos|arcsin|coth|tanh)</mi>"
_BEFORE = re.compile(rf"(</m(?:i|n|sub|sup|subsup|frac)>)(?={_NAMES})")
_POWER = rf"<msu[bp]>{_NAMES}<m[ni]>[^<]*</m[ni]></msu[bp]>"  # cos², and logarithms to a base
_AFTER = re.compile(rf"{_POWER}|(?<!<msu[bp]>){_NAMES}(?!<mo stretchy)")
_BAR = re.compile(r"<mo([^>]*)>(&#x02016;|&#x0007C;|\|)</mo>")


def on_page_content(content: str, **_: Any) -> str:
    """The hook: a page's HTML with its equations as MathML."""
    return _FOUND.sub(lambda found: mathml(html.unescape(found[2]), block=found[1] == "div"), content)


def mathml(latex: str, *, block: bool) -> str:
    r"""LaTeX as a MathML element.

    Raises:
        ValueError: the LaTeX has a command that is not known, or is broken.

    >>> mathml(r"\hat w", block=False).endswith("</math>")
    True
    >>> "<msup><mi>cos</mi><mn>2</mn></msup><mspace" in mathml(r"\cos^2\theta", block=False)
    True
    """
    # LaTeX sets the index of an operator in a line of its own below it; the converter wants to be told so.
    source = _ABOVE.sub(r"\\\1\\limits", latex) if block else latex
    try:
        made = convert(source, display="block" if block else "inline")
    except Exception as error:
        raise ValueError(f"this equation cannot be read ({type(error).__name__}: {error}): {latex}") from error
    if "\\" in made or "<mi>&</mi>" in made:
        raise ValueError(f"this equation has a command that is not known: {latex}")
    # As LaTeX has it, a small space stands around the name of a function, though not before an opening bracket.
    made = _AFTER.sub(rf"\g<0>{_SPACE}", _BEFORE.sub(rf"\1{_SPACE}", made))
    # The bars of a norm stand close to what they enclose; by itself a browser takes them for operators between things.
    return _BAR.sub(r'<mo\1 lspace="0" rspace="0">\2</mo>', made)
