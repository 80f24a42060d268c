"""Train recipes with a bar, and show what came out."""

from __future__ import annotations

import contextlib
import inspect
import os
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from onsphere.cli import folders
from onsphere.cli.mistakes import Mistake
from onsphere.cli.options import OURS, usual_folder
from onsphere.cli.screen import Screen

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from onsphere.recipes import Entry
    from onsphere.train import Recipe

T = TypeVar("T")
FOLDER = "ONSPHERE_FOLDER"  # tells the processes that Fabric starts which folder the first one chose


def train_and_show(
    command: str, name: str, entry: Entry, build: Callable[[], Sequence[Recipe]], options: Namespace
) -> int:
    """Train what ``build`` makes and print its table.

    Args:
        command: such as ``train``.
        name: of the recipe, as it was given.
        entry: the recipe.
        build: makes the rows.
        options: of the command line.

    Returns:
        The exit code: 0; 1 where training failed; 128 and the signal's number where it was stopped.
    """
    from rich.console import Console

    from onsphere import report  # noqa: F401 - what it needs had better be missing now than after the training
    from onsphere.train import run

    recipes = or_mistake(build)
    with Console(stderr=True).status("reading the data"):
        or_mistake(recipes[0].data)
    folder = claim(command, entry, options)
    before = _stamp(folder)
    screen = Screen(Console(stderr=True, quiet=not is_first()))
    end = Ending(f"onsphere {command} {name} --folder {shlex.quote(str(folder))} --resume")
    try:
        with end.caught(screen), screen:
            run(recipes, folder=folder, progress=screen, resume=options.resume, **settings_of_run(options))
    finally:
        leave(command, folder, options, began=bool(screen.phase))
    if is_first():
        end.say()
        if _stamp(folder) is None or (_stamp(folder) == before and not options.resume):
            print("no seed was finished, so there is no result")
        else:
            if _stamp(folder) == before and not end.code:
                print(f"{folder} was finished: nothing was left to do")
            return max(end.code, shown(lambda: _show(folder)))
    return end.code


class Ending:
    """How a training came to its end, for the exit code and the last line.

    Args:
        again: the command that goes on with it.
    """

    def __init__(self, again: str) -> None:
        self.again, self.code, self.said = again, 0, ""

    def say(self) -> None:
        """Print the last line, if there is one."""
        if self.said:
            print(f"onsphere: {self.said}", file=sys.stderr)

    @contextlib.contextmanager
    def caught(self, screen: Screen) -> Iterator[None]:
        """Take the errors of run() that a user can do something about.

        Raises:
            Mistake: for those that are about an argument or a file.
        """
        from onsphere.train import CheckpointError, Interrupted, NonFiniteLoss

        try:
            yield
        except Interrupted as stop:
            self.code = 128 + stop.signal
            self.said = f"interrupted; everything up to the last step is kept. To go on: {self.again}"
        except KeyboardInterrupt:
            self.code, self.said = 130, f"interrupted. To go on: {self.again}"
        except NonFiniteLoss as error:
            self.code, self.said = 1, f"{error}"
        except OSError as error:
            self.code, self.said = 1, f"{_words(error)}. To go on: {self.again}"
        except CheckpointError as error:
            raise Mistake(str(error)) from error
        except (ValueError, TypeError, RuntimeError) as error:
            # Before the first step a ValueError is about an argument, and Lightning has more kinds of them. Later it
            # may be about an image that is read when it is wanted.
            origin, early = _origin(error), not screen.phase
            of_images = origin.startswith("onsphere.data.")
            about_input = isinstance(error, ValueError) and (early or of_images)
            if not about_input and not (early and origin.startswith("lightning.")):
                raise
            raise Mistake(str(error)) from error


def is_first() -> bool:
    """Under torchrun, and in the processes that Fabric starts, only the first one draws and writes."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


def is_single(devices: int | str) -> bool:
    """Whether one process trains on one device."""
    return str(devices) in ("auto", "1") and int(os.environ.get("WORLD_SIZE", "1")) == 1


def claim(command: str, entry: Entry, options: Namespace) -> Path:
    """The folder of the run, with the options in it that a resumed run takes up.

    Raises:
        Mistake: there is something in the folder already, or several processes cannot agree on one.
    """
    if options.resume:
        return Path(options.folder)
    if not is_first() and FOLDER in os.environ:  # of the process that started this one
        return Path(os.environ[FOLDER])
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and options.folder is None:
        raise Mistake("processes that start at the same time need a --folder to agree on")
    if not is_first():
        return Path(options.folder)
    folder = folders.chosen(usual_folder(command, entry, options.smoke), options)
    or_mistake(lambda: _save_options(command, folder, options))
    os.environ[FOLDER] = str(folder)
    return folder


def leave(command: str, folder: Path, options: Namespace, began: bool) -> None:
    """Leave no empty folder behind, and in a resumed one the options that it was resumed with.

    Args:
        command: such as ``train``.
        folder: of the run.
        options: of the command line.
        began: whether it came to a step, so that its options were good ones.
    """
    if not is_first():
        return
    os.environ.pop(FOLDER, None)
    if options.resume and began:
        with contextlib.suppress(OSError):  # on a full disk, which has been said
            _save_options(command, folder, options)
    worthless = {folder / f"{command}.yaml", *([] if began else [folder / "sweep.db"])}
    if not options.resume and {path for path in folder.rglob("*") if path.is_file()} <= worthless:
        shutil.rmtree(folder)


def _save_options(command: str, folder: Path, options: Namespace) -> None:
    from onsphere.train.files import replace_file

    replace_file(folder / f"{command}.yaml", options.saved.encode())


def settings_of_run(options: Namespace) -> dict[str, Any]:
    """The options that run() takes."""
    from onsphere.train import run

    return {name: options[name] for name in inspect.signature(run).parameters if name not in OURS}


def or_mistake(make: Callable[[], T]) -> T:
    """What a function returns; its complaint about an argument or a file becomes a Mistake."""
    try:
        return make()
    except (ValueError, OSError) as error:
        raise Mistake(str(error)) from error


def shown(show: Callable[[], None]) -> int:
    """Show what there is; the exit code, 1 where its files could not be written."""
    try:
        show()
    except OSError as error:
        print(f"onsphere: {_words(error)}", file=sys.stderr)
        return 1
    return 0


def _words(error: OSError) -> str:
    """What went wrong with which file, without the error's number."""
    if not error.strerror:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"


def _origin(error: BaseException) -> str:
    """Name of the module that raised an error."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals["__name__"])


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
