"""Options made from the signatures of a recipe and of run(), and answers to wrong ones."""

from __future__ import annotations

import argparse
import inspect
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from onsphere.cli.mistakes import Mistake, closest

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

OURS = {"recipes", "folder", "progress"}  # arguments of run() that come from here and not from an option

EXAMPLES = {
    "compare digits": """
  onsphere compare                   (the setting digits)
  onsphere compare cifar100 --help   (the other one)
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


def parse(
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
        return f"unknown option {dashes}{key}{closest(key, names, dashes)} (all of them: {parser.prog} --help)"
    wrong = re.search(r'key "([^"]+)":.*?(?:[Gg]iven|[Gg]ot) value: (.*)', message, re.DOTALL)
    if wrong and wrong[1] in hints:
        name, given = wrong[1], wrong[2].strip()
        choices = get_args(hints[name]) if get_origin(hints[name]) is Literal else ()
        near = closest(given, choices) if choices else f" is not {_words(hints[name])}"
        return f"--{name}: {given!r}{near}"
    missing = re.search(r"arguments are required: (\w+)", message)
    if missing:
        return f"--{missing[1]} is required: {_words(hints[missing[1]])} (see {parser.prog} --help)"
    return " ".join(re.sub(r'Parser key "(\w+)"', r"--\1", message).split())


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
