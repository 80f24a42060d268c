"""Where a run's files go: a new folder, a named one, or the one of a run to go on with."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onsphere.cli.mistakes import Mistake, words

if TYPE_CHECKING:
    from jsonargparse import Namespace


COMMANDS = ("train", "compare", "sweep")  # each leaves its options in the folder
RESULTS = ("result.json", "sweep.json")
SUBFOLDERS = ("checkpoints", "logs", "points", "weights")


@dataclass(frozen=True)
class Place:
    """Where a run's files go, and what was there before it.

    Args:
        path: of the folder.
        made: whether the folder was made for this run.
        subfolders: those of SUBFOLDERS that were there.
        stamps: of the results that were there, see :func:`stamp`.
    """

    path: Path
    made: bool = False
    subfolders: frozenset[str] = frozenset()
    stamps: tuple[int | None, ...] = ()

    @staticmethod
    def of(path: Path, made: bool = False) -> Place:
        """A folder as it is now."""
        there = frozenset(name for name in SUBFOLDERS if os.path.exists(path / name))
        return Place(path, made, there, tuple(stamp(path / name) for name in RESULTS))

    def tidy(self, written: tuple[str, ...]) -> bool:
        """Take away what a run that came to nothing has left, and nothing that was there before.

        Args:
            written: files of the run that are worth nothing without a checkpoint or a result.

        Returns:
            Whether something of the run is worth being kept, so that nothing was taken away.
        """
        if tuple(stamp(self.path / name) for name in RESULTS) != self.stamps:
            return True
        new = {*SUBFOLDERS} - self.subfolders
        for name in {"checkpoints", *new}:
            if any(files for _, _, files in os.walk(self.path / name)):
                return True
        for name in written:
            with contextlib.suppress(OSError):
                (self.path / name).unlink()
        for name in new:
            for folder, _, _ in os.walk(self.path / name, topdown=False):
                _remove_empty(Path(folder))
        if self.made:
            _remove_empty(self.path)
        return False


def stamp(path: Path) -> int | None:
    """Changes when a file is written; None where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # there is something in it
        folder.rmdir()


def chosen(usual: Path, options: Namespace) -> Place:
    """Make the folder of a run that starts now; a run that is there, finished or not, is replaced only if asked for.

    Args:
        usual: where it goes if nobody says otherwise.
        options: with ``folder`` and ``overwrite``.

    Raises:
        Mistake: there is a run in the folder already, or it cannot be made.
    """
    if options.folder is not None or options.overwrite:
        folder = Path(options.folder or usual)
        made = not os.path.exists(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if options.overwrite:
                _make_way(folder)
        except OSError as error:
            raise _unusable(folder, error) from error
        if used(folder) and not options.overwrite:
            raise Mistake(f"{folder} has a run already: give another --folder, --resume, or --overwrite to replace it")
        return Place.of(folder, made)
    for number in itertools.count(1):
        folder = usual if number == 1 else usual.with_name(f"{usual.name}-{number}")
        try:
            folder.mkdir(parents=True)  # which keeps out another run that starts at the same time
            return Place.of(folder, made=True)
        except OSError as error:
            if not os.path.lexists(folder):
                raise _unusable(folder, error) from error
    raise AssertionError


def _unusable(folder: Path, error: OSError) -> Mistake:
    if os.path.exists(folder) and not os.path.isdir(folder):
        return Mistake(f"{folder} is a file: expected a folder, or the name of one to make")
    return Mistake(f"the folder {folder} cannot be used: {words(error)}")


def _make_way(folder: Path) -> None:
    """Remove what would be gone on with; results stay until there are new ones."""
    for name in ("checkpoints", "points"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("sweep.db", *(f"{command}.yaml" for command in COMMANDS)):
        (folder / name).unlink(missing_ok=True)


def resumable(command: str, name: str, usual: Path, options: Namespace) -> Path:
    """The folder of the run to go on with: the given one, or the command's newest unfinished one, or its newest.

    Args:
        command: such as ``train``.
        name: of the recipe.
        usual: the first folder that the command uses; the others have a number behind it.
        options: with ``folder`` and ``overwrite``.

    Raises:
        Mistake: there is none, or it was started by another command.
    """
    if options.overwrite:
        raise Mistake("--resume goes on with a run and --overwrite replaces it: give one of them")
    if options.folder is not None:
        folder = Path(options.folder)
        if not used(folder):
            raise Mistake(f"{folder} has no run to resume")
    else:
        numbered = (path for path in usual.parent.glob(f"{usual.name}-*") if path.name[len(usual.name) + 1 :].isdigit())
        found = [path for path in (usual, *numbered) if used(path)]
        if not found:
            raise Mistake(f"there is no run in {usual} to resume: start one with onsphere {command} {name}")
        own = [path for path in found if _maker(path, command) == command]
        folder = max(own or found, key=lambda path: (not finished(path), _changed(path)))
    maker = _maker(folder, command)
    if maker != command:
        raise Mistake(f"{folder} was made by onsphere {maker} and not by onsphere {command}: go on with that")
    return folder


def _maker(folder: Path, command: str) -> str:
    """The command that made a folder; the given one where there is no trace of another."""
    return next((other for other in COMMANDS if other != command and os.path.exists(folder / f"{other}.yaml")), command)


def used(folder: Path) -> bool:
    """Whether a run was started in a folder."""
    return any(_traces(folder))


def finished(folder: Path) -> bool:
    """Whether the run in a folder is complete."""
    for name in ("result.json", "sweep.json"):
        try:
            return bool(json.loads((folder / name).read_text(encoding="utf-8")).get("complete"))
        except (OSError, ValueError, AttributeError):
            continue
    return False


def _traces(folder: Path) -> list[Path]:
    files = ("result.json", "sweep.json", "sweep.db", "checkpoints/*.pt", *(f"{command}.yaml" for command in COMMANDS))
    return [path for pattern in files for path in folder.glob(pattern)]


def _changed(folder: Path) -> float:
    return max(path.stat().st_mtime for path in _traces(folder))
