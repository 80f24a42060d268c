"""What stands in the table of recipes: a function, what it is called, and which rows and variants the paper has."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, get_args, get_type_hints

from onsphere.recipes import cost
from onsphere.recipes.image_sets import NOISE
from onsphere.train import Recipe


class Examples(Protocol):
    """What is trained on: an ``ImageSet``, or something else with a title and a number of training examples."""

    @property
    def title(self) -> str: ...

    @property
    def train(self) -> int: ...


@dataclass(frozen=True)
class Entry:
    """A table or figure of a paper that can be trained, row by row: calling it makes the recipe of one row.

    Args:
        name: on the command line, and of the results.
        build: the function of the recipe; its parameters are the settings, ``row`` among them.
        source: the table.
        images: what is trained on.
        megamacs: millions of multiply-adds of the network for one image, in convolutions and linear layers; where they
            differ, by the value of the first of ``variants``.
        smoke: settings that leave a step or two of any row, quick ones that need no data.
        fixed: settings that make the table out of a function that has several.
        some_rows: the rows that the table has, where the function knows more.
        variants: settings by which the table goes on to other rows, with their values.
        threads: on a CPU, where torch's own choice is a bad one: on tiny tensors two threads are no faster than one,
            ten times slower when another program runs, and they make numbers depend on the machine.
        sweep: the range of coefficients of a figure that is made by a sweep.
    """

    name: str
    build: Callable[..., Recipe]
    source: str
    images: Examples
    megamacs: float | Mapping[Any, float]
    smoke: Mapping[str, Any]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    some_rows: tuple[str, ...] = ()
    variants: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    threads: int | None = None
    sweep: tuple[float, float] | None = None

    def __call__(self, **settings: Any) -> Recipe:
        """One row.

        Raises:
            ValueError: for a row that the table does not have, and whatever the function finds wrong.
        """
        settings = {**self.defaults, **settings}
        if settings["row"] not in self.rows:
            raise ValueError(f"row {settings['row']!r} is none of {', '.join(self.rows)}")
        recipe = self.build(**self.fixed, **settings)
        varied = [f"{name}={_plain(recipe.settings[name])}" for name in self.variants]
        other = recipe.settings.get("dataset") == NOISE or self._is_shorter(recipe, settings)
        paper = {} if other else recipe.paper
        return replace(recipe, name=self.name, source=", ".join([self.source, *varied]), paper=paper)

    def _is_shorter(self, recipe: Recipe, given: Mapping[str, Any]) -> bool:
        """Whether a row trains for fewer epochs or steps than it does where nobody says how many."""
        lengths = [name for name in ("epochs", "steps") if given.get(name) is not None]
        if not lengths:
            return False
        here: Mapping[str, Any] = recipe.settings
        usual: Mapping[str, Any] = self.build(**self.fixed, **{name: given[name] for name in self.defaults}).settings
        return any(here[name] < usual[name] for name in lengths)

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of the rows, the one that costs and accuracies are compared with first."""
        return self.some_rows or get_args(get_type_hints(self.build)["row"])

    @property
    def defaults(self) -> dict[str, Any]:
        """Row and variant that are trained where none is named: the function's, or the last ones of the table."""
        parameters = inspect.signature(self.build).parameters
        choices = {"row": self.rows, **self.variants}
        usual = {name: parameters[name].default for name in choices}
        return {name: usual[name] if usual[name] in values else values[-1] for name, values in choices.items()}

    def every_row(self) -> Iterator[Recipe]:
        """All rows of all variants, as the paper has them."""
        for values in itertools.product(*self.variants.values()):
            for row in self.rows:
                settings = dict(zip(self.variants, values, strict=True))
                try:
                    yield self(row=row, **settings)
                except ValueError:  # a combination that cannot be: half-space energy on the output layer
                    continue

    def hours(self, **settings: Any) -> cost.Hours:
        """Estimated hours of one row with one seed."""
        recipe = self(**settings)
        work = self.megamacs
        if isinstance(work, Mapping):
            work = work[recipe.settings[next(iter(self.variants))]]
        return cost.hours(recipe, 1e6 * work, self.images.train)


def _plain(value: Any) -> str:
    return "/".join(map(str, value)) if isinstance(value, tuple) else str(value)


def compare(
    entry: Entry,
    rows: Sequence[str] | None = None,
    coefficients: Mapping[str, float] | None = None,
    **settings: object,
) -> list[Recipe]:
    """One recipe a row, all with the same settings.

    Args:
        entry: one of RECIPES.
        rows: names of the rows; None for all of them.
        coefficients: row to coefficient, where it is not the paper's.
        settings: handed to the recipe of every row.

    Raises:
        ValueError: for a row that the comparison does not have, or one named twice.
    """
    rows = entry.rows if rows is None else rows
    coefficients = coefficients or {}
    for name, known in [*((row, entry.rows) for row in rows), *((row, rows) for row in coefficients)]:
        if name not in known:
            raise ValueError(f"row {name!r} is none of {', '.join(known)}")
    if len(set(rows)) < len(rows) or not rows:
        raise ValueError(f"rows must be different ones of {', '.join(entry.rows)}; given: {', '.join(rows)}")
    return [entry(row=row, coefficient=coefficients.get(row), **settings) for row in rows]
