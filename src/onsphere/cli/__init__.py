"""The command `onsphere`: comparisons and single runs of the recipes.

Heavy modules are imported by the command that needs them, so that a mistyped command is answered at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from onsphere.cli.mistakes import Mistake, pick

HELP = """\
usage: onsphere COMMAND ...

Deep learning on the hypersphere.

commands:
  compare [SETTING]  train every row of a comparison and print it as a table (settings: digits, cifar100)
  train RECIPE       train one row of a recipe
  recipes            list the recipes
  inspect FILE       look at every layer of a file of weights or of a model: how correlated its neurons are

options:
  -h, --help         show this text; after a command: all its options with their defaults
  --version          show the version

examples:
  onsphere compare
  onsphere compare cifar100 --data_dir PATH
  onsphere train table3-digits --row mma --coefficient 0.1 --epochs 10
  onsphere inspect model.safetensors
"""


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


def compare(argv: Sequence[str]) -> int:
    """`onsphere compare [SETTING] ...`."""
    setting, argv = ("digits", argv) if not argv or argv[0].startswith("-") else (argv[0], argv[1:])
    from onsphere import recipes
    from onsphere.cli import options
    from onsphere.cli.training import train_and_show

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
    chosen, settings = options.parse(f"compare {setting}", comparison.recipe, argv, extra, skip)
    return train_and_show(lambda: recipes.compare(comparison, **settings), chosen)


def train(argv: Sequence[str]) -> int:
    """`onsphere train RECIPE ...`."""
    from onsphere import recipes
    from onsphere.cli import options
    from onsphere.cli.training import train_and_show

    names = ", ".join(recipes.RECIPES)
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: onsphere train RECIPE ...\n\nrecipes: {names}\nsettings: onsphere train RECIPE --help")
        return 0 if argv else 2
    recipe = pick("recipe", argv[0], recipes.RECIPES)
    chosen, settings = options.parse(f"train {argv[0]}", argv[0], argv[1:])
    return train_and_show(lambda: [recipe(**settings)], chosen)


def list_recipes(argv: Sequence[str]) -> int:
    """`onsphere recipes`."""
    if argv and argv[0] not in ("-h", "--help"):
        raise Mistake(f"`onsphere recipes` takes no arguments; given: {' '.join(argv)}")
    from onsphere.recipes import RECIPES

    for name, recipe in RECIPES.items():
        print(f"{name:18} {(recipe.__doc__ or '').splitlines()[0]}")
    return 0


def inspect_model(argv: Sequence[str]) -> int:
    """`onsphere inspect FILE ...`."""
    from onsphere.cli.inspect import inspect

    return inspect(argv)


COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "compare": compare,
    "train": train,
    "recipes": list_recipes,
    "inspect": inspect_model,
}
