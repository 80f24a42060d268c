"""Train recipes with a bar, and show what came out."""

from __future__ import annotations

import inspect
import itertools
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from onsphere.cli.mistakes import Mistake
from onsphere.cli.options import OURS
from onsphere.cli.screen import Screen

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from onsphere.train import Recipe

T = TypeVar("T")


def train_and_show(build: Callable[[], Sequence[Recipe]], options: Namespace) -> int:
    from rich.console import Console

    from onsphere import report  # noqa: F401 - what it needs had better be missing now than after the training
    from onsphere.train import NonFiniteLoss, run

    recipes = _or_mistake(build)
    with Console(stderr=True).status("reading the data"):
        _or_mistake(recipes[0].data)
    settings = {name: options[name] for name in inspect.signature(run).parameters if name not in OURS}
    # Under torchrun, and in the processes that Fabric starts, only the first one draws and writes.
    first = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0
    folder = _folder(Path("runs") / recipes[0].name, options.folder, options.overwrite, claim=first)
    before = _stamp(folder)
    screen = Screen(Console(stderr=True, quiet=not first))
    code, ending = 0, ""
    try:
        with screen:
            run(recipes, folder=folder, progress=screen, **settings)
    except KeyboardInterrupt:
        code, ending = 130, "interrupted; finished seeds are kept"
    except NonFiniteLoss as error:
        code, ending = 1, f"{error}"
    except (ValueError, TypeError, RuntimeError) as error:
        # Before the first step a ValueError is about an argument, and Lightning has more kinds of them.
        if screen.phase or not (isinstance(error, ValueError) or _origin(error).startswith("lightning.")):
            raise
        raise Mistake(str(error)) from error
    finally:
        if first and _stamp(folder) is None and not any(folder.iterdir()):
            folder.rmdir()
    if first:
        if ending:
            print(f"onsphere: {ending}", file=sys.stderr)
        if _stamp(folder) == before:
            print("no seed was finished, so there is no result")
        else:
            _show(folder)
    return code


def _or_mistake(make: Callable[[], T]) -> T:
    """What a function returns; its complaint about an argument or a file becomes a Mistake."""
    try:
        return make()
    except (ValueError, OSError) as error:
        raise Mistake(str(error)) from error


def _origin(error: BaseException) -> str:
    """Name of the module that raised an error."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals["__name__"])


def _folder(usual: Path, given: Path | None, overwrite: bool, claim: bool) -> Path:
    """Where results go: a result that is there, finished or not, is replaced only if that was asked for."""
    if given is not None or overwrite:
        folder = given or usual
        if _stamp(folder) is not None and not overwrite:
            raise Mistake(f"{folder} has a result already: give another --folder, or --overwrite to replace it")
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    for number in itertools.count(1):
        folder = usual if number == 1 else usual.with_name(f"{usual.name}-{number}")
        try:
            if claim:  # making it keeps out another run that starts at the same time
                folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise AssertionError


def _stamp(folder: Path) -> int | None:
    """Changes when a result is written to the folder; None where there is none."""
    path = folder / "result.json"
    return path.stat().st_mtime_ns if path.exists() else None


def _show(folder: Path) -> None:
    """Print the table of what is in a folder, write the report, and say where both are."""
    from rich.console import Console

    from onsphere import report

    result = report.load(folder)
    report.write_html(result, folder / "report.html")
    # A file or a pipe has no width of its own; wide enough there for one line a row.
    Console(width=None if sys.stdout.isatty() else 160).print(report.table(result))
    kind = "result" if result["complete"] else "partial result"
    print(f"{kind}: {folder / 'result.json'}   report: {folder / 'report.html'}")
