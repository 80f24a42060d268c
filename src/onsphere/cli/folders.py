"""Where a run's files go: a new folder, a named one, or the one of a run to go on with."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from onsphere.cli.mistakes import Mistake

if TYPE_CHECKING:
    from jsonargparse import Namespace


COMMANDS = ("train", "compare", "sweep")  # each leaves its options in the folder


def chosen(usual: Path, options: Namespace) -> Path:
    """Make the folder of a run that starts now; one that is there, finished or not, is replaced only if asked for.

    Args:
        usual: where it goes if nobody says otherwise.
        options: with ``folder`` and ``overwrite``.

    Raises:
        Mistake: there is something in the folder already.
    """
    if options.folder is not None or options.overwrite:
        folder = options.folder or usual
        if options.overwrite:
            _make_way(folder)
        if used(folder) and not options.overwrite:
            raise Mistake(f"{folder} has a run already: give another --folder, --resume, or --overwrite to replace it")
        folder.mkdir(parents=True, exist_ok=True)
        return Path(folder)
    for number in itertools.count(1):
        folder = usual if number == 1 else usual.with_name(f"{usual.name}-{number}")
        try:
            folder.mkdir(parents=True)  # which keeps out another run that starts at the same time
            return folder
        except FileExistsError:
            continue
    raise AssertionError


def _make_way(folder: Path) -> None:
    """Remove what would be gone on with; results stay until there are new ones."""
    for name in ("checkpoints", "points"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("sweep.db", *(f"{command}.yaml" for command in COMMANDS)):
        (folder / name).unlink(missing_ok=True)


def resumable(command: str, name: str, usual: Path, options: Namespace) -> Path:
    """The folder of the run to go on with: the given one, or the newest that is not finished, or the newest.

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
        folder = max(found, key=lambda path: (not finished(path), _changed(path)))
    for other in COMMANDS:
        if other != command and (folder / f"{other}.yaml").exists():
            raise Mistake(f"{folder} was made by onsphere {other} and not by onsphere {command}: go on with that")
    return folder


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
