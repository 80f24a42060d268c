"""The parser of the commands whose options are written by hand: one-line complaints, and no abbreviations."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from onsphere.cli.mistakes import Mistake, closest


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises a Mistake where argparse would print its usage and leave.

    Args:
        prog: such as ``onsphere inspect``.
        description: what the command does.
        examples: printed below the options.
    """

    def __init__(self, prog: str, description: str, examples: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        raise Mistake(f"{message.removeprefix('argument ')} (all options: {self.prog} --help)")

    def options(self) -> list[str]:
        """The names of all options."""
        return [option for action in self._actions for option in action.option_strings]

    def read(self, argv: Sequence[str], *, bare: str | None = None) -> argparse.Namespace:
        """The values of the options.

        Args:
            argv: the words behind the command.
            bare: what to say of a word that is neither an option nor expected where it stands.

        Raises:
            Mistake: for a wrong value, or for what is no option, with those that are close.
        """
        given, unknown = self.parse_known_args(argv)
        if unknown and bare is not None and not unknown[0].startswith("-"):
            raise Mistake(f"unexpected {unknown[0]!r}: {bare}")
        if unknown:
            near = closest(unknown[0], self.options())
            raise Mistake(f"unknown argument {unknown[0]!r}{near} (all: {self.prog} --help)")
        return given
