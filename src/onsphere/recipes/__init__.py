"""Recipes: the papers' experiments, each a function whose parameters are its settings, and the tables of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from onsphere.recipes.mma import ROWS, table3_cifar100, table3_digits
from onsphere.train import Recipe

__all__ = ["COMPARISONS", "RECIPES", "THREADS", "Comparison", "compare", "table3_cifar100", "table3_digits"]


@dataclass(frozen=True)
class Comparison:
    """Rows that `onsphere compare` trains side by side.

    Args:
        recipe: name in RECIPES; the function takes `row`, `coefficient` and its own settings.
        rows: names of the rows in the order of the table, the one that costs are relative to first.
    """

    recipe: str
    rows: tuple[str, ...]


RECIPES: Mapping[str, Callable[..., Recipe]] = {
    "table3-digits": table3_digits,
    "table3-cifar100": table3_cifar100,
}

# Threads on a CPU, where torch's own choice is a bad one: on tiny tensors two threads are no faster than one, ten times
# slower when another program runs, and they make numbers depend on the machine.
THREADS: Mapping[str, int] = {"table3-digits": 1}

COMPARISONS: Mapping[str, Comparison] = {
    "digits": Comparison("table3-digits", tuple(ROWS)),
    "cifar100": Comparison("table3-cifar100", tuple(ROWS)),
}


def compare(
    comparison: Comparison,
    rows: Sequence[str] | None = None,
    coefficients: Mapping[str, float] | None = None,
    **settings: object,
) -> list[Recipe]:
    """The recipes of a comparison: one a row, all with the same settings.

    Args:
        comparison: one of COMPARISONS.
        rows: names of the rows; None for all of them.
        coefficients: row to coefficient, where it is not the paper's.
        settings: handed to the recipe of every row.

    Raises:
        ValueError: for a row that the comparison does not have, or one named twice.

    >>> [r.row for r in compare(COMPARISONS["digits"], rows=["none", "mma"], epochs=1)]
    ['none', 'MMA']
    """
    rows = comparison.rows if rows is None else rows
    coefficients = coefficients or {}
    for name, known in [*((row, comparison.rows) for row in rows), *((row, rows) for row in coefficients)]:
        if name not in known:
            raise ValueError(f"row {name!r} is none of {', '.join(known)}")
    if len(set(rows)) < len(rows) or not rows:
        raise ValueError(f"rows must be different ones of {', '.join(comparison.rows)}; given: {', '.join(rows)}")
    recipe = RECIPES[comparison.recipe]
    return [recipe(row=row, coefficient=coefficients.get(row), **settings) for row in rows]
