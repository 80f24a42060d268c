"""What a run must have in common with what is in its folder to go on with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from onsphere.data import Data, TensorData
from onsphere.train.checkpoint import CheckpointError
from onsphere.train.recipe import Recipe
from onsphere.train.result import Result, Row, SeedResult, plain


def with_training(result: Result, row: int, outcome: SeedResult, seeds: Sequence[int], seconds: float) -> Result:
    """A result with one more training."""
    rows = list(result.rows)
    rows[row] = replace(rows[row], seeds=(*rows[row].seeds, outcome))
    return replace(result, rows=tuple(rows), complete=_complete(rows, seeds), seconds=seconds)


def continued(path: Path, fresh: Result, seeds: Sequence[int]) -> Result:
    """The result in a file, once it is clear that it is of the same run."""
    try:
        old = Result.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged or is no result: {error}") from error
    for name in ("name", "metric", "precision", "data"):
        there, here = plain(getattr(old, name)), plain(getattr(fresh, name))
        if there != here:
            raise CheckpointError(f"{path} is of another run: {name} is {there!r} there and {here!r} here")
    there, here = [row.row for row in old.rows], [row.row for row in fresh.rows]
    if there != here:
        raise CheckpointError(f"{path} is of another run: its rows are {there}, and here {here}")
    for row, new in zip(old.rows, fresh.rows, strict=True):
        # Files of older versions do not say how the rows were trained.
        a, b = (plain({**(each.training if row.training else {}), **each.settings}) for each in (row, new))
        for name in sorted({*a, *b}):
            if a.get(name) != b.get(name):
                differing = f"{name} of row {row.row!r} is {a.get(name)!r} there and {b.get(name)!r} here"
                raise CheckpointError(f"{path} is of another run: {differing}")
    more = sorted({done.seed for row in old.rows for done in row.seeds} - set(seeds))
    if more:
        raise CheckpointError(f"{path} has results of the seeds {more} too: expected seeds={list(seeds)} to have them")
    return replace(old, complete=_complete(old.rows, seeds))


def _complete(rows: Sequence[Row], seeds: Sequence[int]) -> bool:
    return all({done.seed for done in row.seeds} >= set(seeds) for row in rows)


def training(recipe: Recipe) -> dict[str, Any]:
    """The numbers that a recipe is trained by, whatever settings it was made with."""
    names = ("epochs", "batch_size", "max_steps", "schedule_every", "clip", "ema")
    return {name: getattr(recipe, name) for name in names}


def identity(recipe: Recipe, seed: int, source: Data | TensorData, precision: str) -> dict[str, Any]:
    """What two trainings must have in common for one to continue the other."""
    made = {"name": recipe.name, "row": recipe.row, "settings": recipe.settings, **training(recipe)}
    return {**made, "seed": seed, "precision": precision, "data": summary(source), "torch": torch.__version__}


def summary(data: Data | TensorData) -> dict[str, Any]:
    return {"name": data.name, "train": len(data.train), "test": len(data.test), "classes": data.num_classes}
