"""Options made from the signatures of a recipe and of run(), and answers to wrong ones."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
import shutil
import textwrap
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from onsphere.cli.folders import resumable
from onsphere.cli.mistakes import Mistake, closest, or_mistake

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from onsphere.recipes import Entry

OURS = {"recipes", "folder", "resume", "progress"}  # arguments of run() that come from here and not from an option

GROUPS = {  # title -> arguments of run()
    "the run": {"seeds", "threads", "measure"},
    "the machine": {"devices", "accelerator", "precision", "strategy", "num_nodes"},
    "files": {"checkpoint_seconds", "save_weights", "keep_best", "keep_every", "logs"},
}
PLACE = {"config", "folder", "overwrite", "resume", "smoke"}  # options that say where and how, and not what

EXAMPLES = {
    "compare digits": """
  onsphere compare                   (the setting digits)
  onsphere compare cifar100 --help   (another one; `onsphere recipes` lists all)
  onsphere compare digits --rows "[none,mma]" --coefficients.mma 0.2 --seeds "[1,2,3]"
  onsphere compare digits --print_config > digits.yaml    (edit it, then)    onsphere compare --config digits.yaml""",
    "compare cifar100": """
  onsphere compare cifar100 --dataset FOLDER --accelerator gpu
  onsphere compare cifar100 --dataset FOLDER --model resnet20 --rows "[none,mma]"
  onsphere compare cifar100 --dataset FOLDER --width 0.125 --train_images 512 --epochs 1 --seeds "[1,2]"    (a CPU)""",
    "train table3-digits": """
  onsphere train table3-digits --row mma --coefficient 0.1 --epochs 10
  onsphere train table3-digits --row none --train_images 500 --seeds "[1]"
  onsphere train table3-digits --row mhe-s2 --print_config > mhe.yaml""",
    "train table3-cifar100": """
  onsphere train table3-cifar100 --dataset FOLDER --row mma
  onsphere train table3-cifar100 --dataset FOLDER --row mma --layers hidden --epochs 200
  onsphere train table3-cifar100 --smoke    (two steps on noise)
  torchrun --nproc_per_node 2 -m onsphere train table3-cifar100 --dataset FOLDER --folder runs/two""",
    "sweep table3-digits": """
  onsphere sweep table3-digits --coefficient 0.01..1 --seeds "[1,2,3]"
  onsphere sweep table3-digits --coefficient 0.01..1 --row mhe-s2 --points 5
  onsphere sweep table3-digits --coefficient 1e-3..10 --trials 20
  onsphere sweep table3-digits --resume    (go on after an interruption)""",
}


def parse(
    command: str,
    name: str,
    entry: Entry,
    argv: Sequence[str],
    extra: Mapping[str, tuple[Any, Any, str]] = types.MappingProxyType({}),
    skip: Iterable[str] = (),
    defaults: Mapping[str, Any] = types.MappingProxyType({}),
) -> tuple[Namespace, dict[str, Any]]:
    """Parse the arguments after a command and a recipe's name.

    Args:
        command: such as ``train``.
        name: as it was given.
        entry: the recipe.
        argv: what comes after.
        extra: the command's own options: name to type, default and help.
        skip: settings of the recipe that the command does not take.
        defaults: of the command, where they are not those of run().

    Returns:
        All options, and of these the extra ones and those that the recipe takes.
    """
    from jsonargparse import ArgumentError

    prog = f"{command} {name}"
    parser, of_recipe = _parser(prog, entry, extra, {*skip, *entry.fixed})
    parser.set_defaults({**defaults})
    tiny = {"seeds": (123,), "measure": False, **_known(entry.smoke, of_recipe)}
    try:
        if "--smoke" in argv:
            parser.set_defaults(tiny)
        options = parser.parse_args(argv)
        if options.smoke and "--smoke" not in argv:  # it is in a file
            parser.set_defaults(tiny)
            options = parser.parse_args(argv)
        if options.resume:  # with the options that it was started with, unless others are given
            folder = resumable(command, name, usual_folder(command, entry, options.smoke), options)
            saved = folder / f"{command}.yaml"
            options = parser.parse_args([*(["--config", str(saved)] if saved.exists() else []), *argv])
            options.folder = folder
    except ArgumentError as error:
        hints = {name: hint for name, (hint, _, _) in extra.items()} | _with_words().__annotations__
        hints |= {**get_type_hints(entry.build), "row": Literal[entry.rows]}
        raise Mistake(_explain(str(error), parser, hints)) from error
    _check(options)
    options.saved = _as_yaml(options)
    return options, {name: options[name] for name in [*extra, *of_recipe]}


def _check(options: Namespace) -> None:
    """Refuse what run() would refuse when an older run has been replaced already."""
    from onsphere.train.keeping import Keep

    seeds = options.seeds
    if not seeds or len({*seeds}) < len(seeds):
        raise Mistake(f"--seeds: {list(seeds)}: expected at least one, and no seed twice")
    if options.threads is not None and options.threads < 1:
        raise Mistake(f"--threads: {options.threads}: expected at least 1, or null to leave torch's number")
    or_mistake(lambda: Keep(**{field.name: options[field.name] for field in dataclasses.fields(Keep)}))


def usual_folder(command: str, entry: Entry, smoke: bool) -> Path:
    """Where results go if nobody says otherwise."""
    name = f"{'sweep-' if command == 'sweep' else ''}{entry.name}{'-smoke' if smoke else ''}"
    return Path("runs") / name


def _parser(
    prog: str, entry: Entry, extra: Mapping[str, tuple[Any, Any, str]], skip: set[str]
) -> tuple[ArgumentParser, list[str]]:
    from jsonargparse import ArgumentParser, DefaultHelpFormatter

    class Format(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
        def _expand_help(self, action: argparse.Action) -> str:
            text = str(super()._expand_help(action)).replace("``", "")
            return re.sub(r"type: Literal\[[^]]*\], ", "", text)  # the choices stand beside the option

    parser = ArgumentParser(
        prog=f"onsphere {prog}",
        usage="%(prog)s [options]",
        description=_description(entry),
        epilog=f"examples:{EXAMPLES.get(prog) or _examples(prog, entry)}",
        formatter_class=Format,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="YAML file with any of the options below.")
    group = parser.add_argument_group({"compare": "the rows", "sweep": "the sweep"}.get(prog.split()[0], ""))
    for option, (hint, default, text) in extra.items():
        group.add_argument(f"--{option}", type=hint, default=default, help=text)
    group = parser.add_argument_group("settings of the recipe")
    of_recipe = []
    if entry.some_rows and "row" not in skip:  # the function knows more than the table has
        group.add_argument("--row", type=Literal[entry.some_rows], help="which row of the table.")
        of_recipe.append("row")
    of_recipe += group.add_function_arguments(entry.build, as_group=False, skip={*skip, *of_recipe})
    parser.set_defaults(_known(entry.defaults, of_recipe))
    settings_of_run = _with_words()
    everything: set[str | int] = {*inspect.signature(settings_of_run).parameters}
    for title, members in GROUPS.items():
        group = parser.add_argument_group(title)
        group.add_function_arguments(settings_of_run, as_group=False, skip=everything - members)
    parser.set_defaults(threads=entry.threads)
    group.add_argument(
        "--folder",
        type=Path | None,
        help="where result.json, report.html and the rest go; null for the first of runs/NAME, runs/NAME-2, "
        "runs/NAME-3, ... that does not exist yet",
    )
    group.add_argument("--overwrite", action="store_true", help="replace the result in --folder or runs/NAME")
    group.add_argument(
        "--resume",
        action="store_true",
        help="go on with the interrupted run in --folder, or with the newest one that is not finished, with the "
        "options that it was started with",
    )
    group.add_argument(
        "--smoke",
        action="store_true",
        help="two steps with a tiny network on noise, to see that everything runs; options that are given go first",
    )
    return parser, list(of_recipe)


def _description(entry: Entry) -> str:
    """The table, and what the function says before its arguments, in lines as wide as the terminal."""
    width = min(shutil.get_terminal_size().columns, 120) - 2
    said = (inspect.getdoc(entry.build) or "").split("\n\nArgs:")[0]
    return "\n\n".join(textwrap.fill(paragraph, width) for paragraph in [f"{entry.source}.", *said.split("\n\n")])


def _examples(prog: str, entry: Entry) -> str:
    """Commands for a recipe that has none of its own in EXAMPLES."""
    lines = [f"--smoke    ({'a few steps' if prog.startswith('sweep') else 'two steps a row'} on noise: does it run?)"]
    lines.append("--dataset FOLDER --accelerator gpu")
    for variant, values in entry.variants.items():
        value = f'"[{",".join(map(str, values[0]))}]"' if isinstance(values[0], tuple) else values[0]
        lines.append(f"--dataset FOLDER --{variant} {value}")
    if prog.startswith("sweep") and entry.sweep is None:
        lines = [f"--coefficient 0.01..1 {line}" for line in lines]
    lines.append("--resume    (go on after an interruption)")
    return "".join(f"\n  onsphere {prog} {line}" for line in lines)


def _known(settings: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: settings[name] for name in names if name in settings}


def _as_yaml(options: Namespace) -> str:
    """What a resumed run takes up, for --config."""
    import yaml

    kept = {name: value for name, value in options.as_dict().items() if name not in PLACE}
    return yaml.safe_dump(json.loads(json.dumps(kept, default=str)), sort_keys=False)  # tuples become lists


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
        expected = 'a list such as "[csv,tensorboard]"' if name == "logs" else _words(hints[name])
        near = closest(given, choices) if choices else f" is not {expected}"
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
