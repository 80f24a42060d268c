"""The command `onsphere`: comparisons and single runs of the recipes, with options made from their signatures.

Heavy modules are imported by the command that needs them, so that `onsphere --help` and a mistyped command answer
at once.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import itertools
import os
import re
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace
    from rich.console import Console

    from onsphere.train import Progress, Recipe

T = TypeVar("T")

HELP = """\
usage: onsphere COMMAND ...

Deep learning on the hypersphere.

commands:
  compare [SETTING]  train every row of a comparison and print it as a table (settings: digits, cifar100)
  train RECIPE       train one row of a recipe
  recipes            list the recipes

options:
  -h, --help         show this text; after a command: all its options with their defaults
  --version          show the version

examples:
  onsphere compare
  onsphere compare cifar100 --data_dir PATH
  onsphere train table3-digits --row mma --coefficient 0.1 --epochs 10
"""

EXAMPLES = {
    "compare digits": """
  onsphere compare
  onsphere compare digits --rows "[none,mma]" --coefficients.mma 0.2 --seeds "[1,2,3]"
  onsphere compare digits --print_config > digits.yaml    (edit it, then)    onsphere compare --config digits.yaml""",
    "compare cifar100": """
  onsphere compare cifar100 --data_dir PATH --accelerator gpu
  onsphere compare cifar100 --data_dir PATH --model resnet20 --rows "[none,mma]"
  onsphere compare cifar100 --data_dir PATH --width 0.125 --train_images 512 --epochs 1 --seeds "[1,2]"    (a CPU)""",
    "train table3-digits": """
  onsphere train table3-digits --row mma --coefficient 0.1 --epochs 10
  onsphere train table3-digits --row none --train_images 500 --seeds "[1]"
  onsphere train table3-digits --row mhe-s2 --print_config > mhe.yaml""",
    "train table3-cifar100": """
  onsphere train table3-cifar100 --data_dir PATH --row mma
  onsphere train table3-cifar100 --data_dir PATH --row mma --layers hidden
  torchrun --nproc_per_node 2 -m onsphere train table3-cifar100 --data_dir PATH --row mma --devices 2""",
}


class Mistake(Exception):
    """Something that the user can put right: printed as one line, exit code 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None for those of the process.

    Returns:
        the exit code: 0, 1 for training that failed, 2 for a wrong argument, file or missing package, 130 after Ctrl-C.

    >>> main(["--version"])
    onsphere 0.1.0
    0
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    command = argv[0] if argv else "--help"
    try:
        if command in ("-h", "--help"):
            print(HELP, end="")
            return 0
        if command == "--version":
            from onsphere import __version__

            print(f"onsphere {__version__}")
            return 0
        return pick("command", command, COMMANDS)(argv[1:])
    except Mistake as mistake:
        print(f"onsphere: {mistake}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before or after training; during it _train shows what is done
        print("onsphere: interrupted", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        hint = f"needs the package {error.name!r}: pip install 'onsphere[train,vision]'"
        print(f"onsphere: {command} {hint}", file=sys.stderr)
        return 2


def pick(kind: str, name: str, table: Mapping[str, T]) -> T:
    """The entry of a table, or a Mistake with the names that are close."""
    if name not in table:
        raise Mistake(f"unknown {kind} {name!r}{_closest(name, table)}")
    return table[name]


def compare(argv: Sequence[str]) -> int:
    """`onsphere compare [SETTING] ...`."""
    setting, argv = ("digits", argv) if not argv or argv[0].startswith("-") else (argv[0], argv[1:])
    from onsphere import recipes

    comparison = pick("setting", setting, recipes.COMPARISONS)
    extra = {
        "rows": (tuple[str, ...], comparison.rows, "rows to train, in the order of the table"),
        "coefficients": (
            dict[str, float],
            {},
            "coefficients that differ from the paper's: --coefficients.mma 0.1, or row: value in YAML",
        ),
    }
    skip = {"row", "coefficient"}  # instead of these there are rows and coefficients
    options, settings = _options(f"compare {setting}", comparison.recipe, argv, extra, skip)
    return _train(lambda: recipes.compare(comparison, **settings), options)


def train(argv: Sequence[str]) -> int:
    """`onsphere train RECIPE ...`."""
    from onsphere import recipes

    names = ", ".join(recipes.RECIPES)
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: onsphere train RECIPE ...\n\nrecipes: {names}\nsettings: onsphere train RECIPE --help")
        return 0 if argv else 2
    recipe = pick("recipe", argv[0], recipes.RECIPES)
    options, settings = _options(f"train {argv[0]}", argv[0], argv[1:])
    return _train(lambda: [recipe(**settings)], options)


def list_recipes(argv: Sequence[str]) -> int:
    """`onsphere recipes`."""
    if argv and argv[0] not in ("-h", "--help"):
        raise Mistake(f"`onsphere recipes` takes no arguments; given: {' '.join(argv)}")
    from onsphere.recipes import RECIPES

    for name, recipe in RECIPES.items():
        print(f"{name:18} {(recipe.__doc__ or '').splitlines()[0]}")
    return 0


COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {"compare": compare, "train": train, "recipes": list_recipes}
OURS = {"recipes", "folder", "progress"}  # arguments of run() that come from here and not from an option


# ------------------------------------------------------------------------------------------------ options


def _options(
    command: str,
    name: str,
    argv: Sequence[str],
    extra: Mapping[str, tuple[Any, Any, str]] = types.MappingProxyType({}),
    skip: Iterable[str | int] = (),
) -> tuple[Namespace, dict[str, Any]]:
    """Parse argv: all options, and of these the ones that the recipe takes."""
    from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter

    from onsphere.recipes import RECIPES, THREADS

    recipe, settings_of_run = RECIPES[name], _with_words()

    class Format(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
        def _expand_help(self, action: argparse.Action) -> str:
            return str(super()._expand_help(action)).replace("``", "")

    parser = ArgumentParser(
        prog=f"onsphere {command}",
        description=(recipe.__doc__ or "").split("\n    Args:")[0].replace("\n    ", "\n"),
        epilog=f"examples:{EXAMPLES.get(command, '')}",
        formatter_class=Format,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="YAML file with any of the options below.")
    for option, (hint, default, text) in extra.items():
        parser.add_argument(f"--{option}", type=hint, default=default, help=text)
    group = parser.add_argument_group("settings of the recipe")
    of_recipe = group.add_function_arguments(recipe, as_group=False, skip={*skip})
    group = parser.add_argument_group("settings of the run")
    group.add_function_arguments(settings_of_run, as_group=False, skip={*OURS})
    group.add_argument(
        "--folder",
        type=Path | None,
        help="where result.json and report.html go; null for the first of runs/NAME, runs/NAME-2, runs/NAME-3, ... "
        "that does not exist yet",
    )
    group.add_argument("--overwrite", action="store_true", help="replace the result in --folder or runs/NAME")
    parser.set_defaults(threads=THREADS.get(name))
    try:
        options = parser.parse_args(argv)
    except ArgumentError as error:
        hints = {name: hint for name, (hint, _, _) in extra.items()} | settings_of_run.__annotations__
        hints |= get_type_hints(recipe)
        raise Mistake(_explain(str(error), parser, hints)) from error
    return options, {name: options[name] for name in [*extra, *of_recipe]}


def _with_words() -> Callable[..., None]:
    """A function with the signature of run() where Lightning Fabric's objects are given by their names.

    It spares the parser from importing Lightning for the types, which takes longer than all the rest.
    """
    from onsphere.train import run

    def settings(**_: object) -> None: ...

    hints = get_type_hints(run, localns={"Strategy": str}) | {"precision": str, "strategy": str}
    parameters = inspect.signature(run).parameters.values()
    settings.__annotations__ = hints
    settings.__doc__ = run.__doc__
    settings.__signature__ = inspect.Signature([p.replace(annotation=hints[p.name]) for p in parameters])  # type: ignore[attr-defined]
    return settings


def _explain(message: str, parser: ArgumentParser, hints: Mapping[str, Any]) -> str:
    """The parser's complaint in one line: what was wrong and what would be right."""
    names = [name for name in vars(parser.get_defaults()) if name != "config"]
    unknown = re.search(r"[Uu]nrecognized arguments: (\S+)|Option '(\S+)' is not accepted", message)
    if unknown:
        given = unknown[1] or unknown[2]
        dashes = "--" if given.startswith("-") else ""
        if unknown[1] and not dashes:
            return f"{given!r} is not expected here; options start with --, and a setting or recipe comes first"
        key = given.lstrip("-").split("=")[0]
        return f"unknown option {dashes}{key}{_closest(key, names, dashes)} (all of them: {parser.prog} --help)"
    wrong = re.search(r'key "([^"]+)":.*?(?:[Gg]iven|[Gg]ot) value: (.*)', message, re.DOTALL)
    if wrong and wrong[1] in hints:
        name, given = wrong[1], wrong[2].strip()
        choices = get_args(hints[name]) if get_origin(hints[name]) is Literal else ()
        near = _closest(given, choices) if choices else f" is not {_words(hints[name])}"
        return f"--{name}: {given!r}{near}"
    missing = re.search(r"arguments are required: (\w+)", message)
    if missing:
        return f"--{missing[1]} is required: {_words(hints[missing[1]])} (see {parser.prog} --help)"
    return " ".join(re.sub(r'Parser key "(\w+)"', r"--\1", message).split())


def _closest(given: str, known: Iterable[str], prefix: str = "") -> str:
    known = [str(name) for name in known]
    near = difflib.get_close_matches(given, known, n=2, cutoff=0.6)
    if near:
        return f"; did you mean {' or '.join(prefix + name for name in near)}?" + (
            "" if len(known) > 8 else f" (there are: {', '.join(known)})"
        )
    return "" if len(known) > 8 else f"; there are: {', '.join(known)}"


def _words(hint: Any) -> str:
    """A type in words, with an example where the notation is not obvious.

    >>> _words(int | None), _words(tuple[int, ...])
    ('a whole number or null', 'a list such as "[1,2]"')
    """
    plain = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", type(None): "null"}
    if hint in plain:
        return plain[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (Union, types.UnionType):
        return " or ".join(map(_words, inner))
    if origin is dict:
        return 'a mapping such as "{mma: 0.1}"'
    if isinstance(origin, type) and issubclass(origin, Sequence):
        length = 2 if Ellipsis in inner or len(inner) == 1 else len(inner)
        items = ["none", "mma"] if str in inner else [str(number + 1) for number in range(length)]
        return f'a list such as "[{",".join(items[:length])}]"'
    return f"a {getattr(hint, '__name__', hint)}".lower()


# ------------------------------------------------------------------------------------------------ training


def _train(build: Callable[[], Sequence[Recipe]], options: Namespace) -> int:
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


class Screen:
    """Shows training as it goes: one bar for all of it on a terminal, else a line for every twentieth.

    Args:
        console: where to draw.
        patience: seconds after which there is a line in any case.
    """

    def __init__(self, console: Console, patience: float = 300.0) -> None:
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Left

        self.console, self.patience = console, patience
        self.phase, self.since, self.said, self.twentieth = "", 0.0, 0.0, 0
        self.bar = Progress(BarColumn(None), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("left"), Left())
        self.live = Live(self.bar, console=console) if console.is_terminal and sys.stdout.isatty() else None

    def __enter__(self) -> Screen:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def __call__(self, now: Progress) -> None:
        if now.phase != self.phase:
            self.phase, self.since, self.said, self.twentieth = now.phase, time.monotonic(), time.monotonic(), 0
            for task in self.bar.task_ids:
                self.bar.remove_task(task)
            self.bar.add_task(now.phase, total=now.total)
        if self.live:
            from rich.console import Group
            from rich.text import Text

            self.bar.update(self.bar.task_ids[0], completed=now.done, total=now.total)
            self.live.update(Group(self.bar, Text(_status(now))))
            return
        seconds, twentieth = time.monotonic(), 20 * now.done // now.total
        if twentieth > self.twentieth or seconds - self.said > self.patience:
            self.said, self.twentieth = seconds, twentieth
            left = timedelta(seconds=round((seconds - self.since) * (now.total / max(now.done, 1) - 1)))
            line = f"{now.done / now.total:4.0%}  {left} left  {_status(now)}"
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def _status(now: Progress) -> str:
    row = f"{now.row} ({now.row_index + 1}/{now.rows})"
    if now.phase == "measure":
        return f"measuring time and memory of a step: {row}"
    metrics = "".join(f"  {name} {value:.2f}" for name, value in now.metrics.items() if name in ("top1", "top5"))
    seed = f"seed {now.seed} ({now.seed_index + 1}/{now.seeds})"
    return f"{row}  {seed}  epoch {now.epoch}/{now.epochs}  loss {now.loss:.4f}{metrics}"
