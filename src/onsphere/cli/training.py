"""Train recipes with a bar, and show what came out."""

from __future__ import annotations

import contextlib
import inspect
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onsphere.cli import folders
from onsphere.cli.mistakes import Mistake, or_mistake, words
from onsphere.cli.options import OURS, usual_folder
from onsphere.cli.screen import Screen

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from onsphere.recipes import Entry
    from onsphere.train import Recipe

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
    place = claim(command, entry, options)
    folder = place.path
    before = folders.stamp(folder / "result.json")
    screen = Screen(Console(stderr=True, quiet=not is_first()))
    end = Ending(f"onsphere {command} {name} --folder {shlex.quote(str(folder))} --resume")
    try:
        with end.caught(screen), screen:
            run(recipes, folder=folder, progress=screen, resume=options.resume, **settings_of_run(options))
    finally:
        end.keeps = leave(command, place, options, began=bool(screen.phase))
    if is_first():
        end.say()
        now = folders.stamp(folder / "result.json")
        if now is None or (now == before and not options.resume):
            print("no seed was finished, so there is no result")
        else:
            if now == before and not end.code:
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
        self.kept = ""  # what there is to go on with
        self.resumable, self.keeps = False, True

    def say(self) -> None:
        """Print the last line, if there is one."""
        line = self.said
        if self.resumable and self.keeps:
            line = f"{'; '.join(filter(None, [self.said, self.kept]))}. To go on: {self.again}"
        elif self.resumable:
            line = f"{self.said}; nothing was done yet, and nothing is kept"
        if line:
            print(f"onsphere: {line}", file=sys.stderr)

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
            self.code, self.said, self.resumable = 128 + stop.signal, "interrupted", True
            self.kept = f"everything up to the last {'step' if stop.saved else 'checkpoint'} is kept"
        except KeyboardInterrupt:
            self.code, self.said, self.resumable = 130, "interrupted", True
        except NonFiniteLoss as error:
            self.code, self.said = 1, f"{error}"
        except OSError as error:
            self.code, self.said, self.resumable = 1, words(error), True
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


def claim(command: str, entry: Entry, options: Namespace) -> folders.Place:
    """The folder of the run, with the options in it that a resumed run takes up.

    Raises:
        Mistake: there is something in the folder already, it cannot be made or written to, or several processes cannot
            agree on one.
    """
    if options.resume:
        return folders.Place.of(Path(options.folder))
    if not is_first() and FOLDER in os.environ:  # of the process that started this one
        return folders.Place(Path(os.environ[FOLDER]))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and options.folder is None:
        raise Mistake("processes that start at the same time need a --folder to agree on")
    if not is_first():
        return folders.Place(Path(options.folder))
    place = folders.chosen(usual_folder(command, entry, options.smoke), options)
    try:
        or_mistake(lambda: _save_options(command, place.path, options))
    except Mistake:
        place.tidy(())
        raise
    os.environ[FOLDER] = str(place.path)
    return place


def leave(command: str, place: folders.Place, options: Namespace, began: bool) -> bool:
    """Leave nothing behind of a run that came to nothing, and in a resumed one the options that it was resumed with.

    Args:
        command: such as ``train``.
        place: of the run.
        options: of the command line.
        began: whether it came to a step, so that its options were good ones.

    Returns:
        Whether there is something to go on with.
    """
    if not is_first():
        return True
    os.environ.pop(FOLDER, None)
    if not options.resume:
        return place.tidy((f"{command}.yaml", "sweep.db") if command == "sweep" else (f"{command}.yaml",))
    if began:
        with contextlib.suppress(OSError):  # on a full disk, which has been said
            _save_options(command, place.path, options)
    return True


def _save_options(command: str, folder: Path, options: Namespace) -> None:
    from onsphere.train.files import replace_file

    replace_file(folder / f"{command}.yaml", options.saved.encode())


def settings_of_run(options: Namespace) -> dict[str, Any]:
    """The options that run() takes."""
    from onsphere.train import run

    return {name: options[name] for name in inspect.signature(run).parameters if name not in OURS}


def shown(show: Callable[[], bool]) -> int:
    """Show what there is; the exit code, 1 where not all of it could be shown."""
    try:
        return 0 if show() else 1
    except OSError as error:
        print(f"onsphere: {words(error)}", file=sys.stderr)
        return 1


def drawn(path: Path, result: Path, draw: Callable[[Path], None]) -> bool:
    """Draw a result into a file; where that cannot be written, say so in one line.

    Returns:
        Whether the file was written.
    """
    try:
        draw(path)
    except OSError as error:
        reason = error.strerror or error
        print(f"onsphere: {path} could not be written: {reason}. The result in {result} is safe", file=sys.stderr)
        return False
    return True


def _origin(error: BaseException) -> str:
    """Name of the module that raised an error."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals["__name__"])


def _show(folder: Path) -> bool:
    """Print the table of what is in a folder, write the report, and say where both are; whether it was written."""
    from rich.console import Console

    from onsphere import report

    result = report.load(folder)
    file, page = folder / "result.json", folder / "report.html"
    # A file or a pipe has no width of its own; wide enough there for one line a row.
    Console(width=None if sys.stdout.isatty() else 160).print(report.table(result))
    complete = drawn(page, file, lambda path: report.write_html(result, path))
    print(f"{'result' if result['complete'] else 'partial result'}: {file}{f'   report: {page}' if complete else ''}")
    return complete
