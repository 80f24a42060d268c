"""The model of a run's folder: its recipe made again from the result's settings, and the weights that it left."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from onsphere.cli.mistakes import Mistake, closest, or_mistake
from onsphere.cli.verify.model import Look, load
from onsphere.train.keeping import file_name

if TYPE_CHECKING:
    from onsphere.train import Recipe

# Of the regularizer, which leaves no trace in a network; some rows refuse to be told theirs.
NOT_OF_THE_MODEL = {"coefficient", "output_coefficient"}


def trained(folder: Path, row: str | None, seed: int | None) -> tuple[nn.Module, Look]:
    """The model of one training, and how images came before it.

    Args:
        folder: of the run; the data that it was trained on must be where it was, for its classes and its mean.
        row: as in the table or on the command line; None where there is only one.
        seed: of the training; None for the first one.

    Raises:
        Mistake: there is no such run, row or seed, its weights were not kept, or the model gives no features.
    """
    from onsphere import report
    from onsphere.recipes import RECIPES

    result = or_mistake(lambda: report.load(folder))
    name = str(result["name"])
    if name not in RECIPES:
        raise Mistake(f"{folder} is a run of {name!r}, which is no recipe{closest(name, RECIPES)}")
    found = _row(folder, result, row)
    seeds = [each["seed"] for each in found["seeds"]]
    if seed is not None and seed not in seeds:
        raise Mistake(f"{folder} has no seed {seed} of {found['row']}; there are: {', '.join(map(str, seeds))}")
    if not seeds:
        raise Mistake(f"{folder} has no finished training of {found['row']}")
    build = RECIPES[name].build
    known = inspect.signature(build).parameters
    settings: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in found["settings"].items()
        if key in known and key not in NOT_OF_THE_MODEL
    }
    recipe = or_mistake(lambda: build(**settings))
    data = or_mistake(recipe.data)
    model = or_mistake(recipe.model)
    if recipe.prepare is not None:
        recipe.prepare(model)
    weights = file_name({"row": found["row"], "seed": seeds[0] if seed is None else seed})
    load(model, folder / "weights" / f"{weights}.safetensors")
    channels, height, width = _shape(recipe, data.train.shape)
    look = Look(
        mean=[255 * value for value in data.mean],
        std=[max(255 * value, 1.0) for value in data.std],  # as in training
        size=(height, width),
        colours="grey" if channels == 1 else "rgb",
    )
    return _with_features(model, name), look


def _row(folder: Path, result: Mapping[str, Any], wanted: str | None) -> Mapping[str, Any]:
    rows: list[Mapping[str, Any]] = list(result["rows"])
    names = [str(each["settings"].get("row", each["row"])) for each in rows]
    if wanted is None and len(rows) == 1:
        return rows[0]
    for each, name in zip(rows, names, strict=True):
        if wanted is not None and wanted in (name, each["row"]):
            return each
    if wanted is None:
        raise Mistake(f"{folder} has several rows: give --row, one of {', '.join(names)}")
    hint = closest(wanted, names) or f"; there are: {', '.join(names)}"
    raise Mistake(f"{folder} has no row {wanted!r}{hint}")


def _shape(recipe: Recipe, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Channels, height and width of the images that the model is tested on."""
    if recipe.test_transform is None:
        return shape
    channels, height, width = recipe.test_transform(torch.zeros(1, *shape, dtype=torch.uint8)).shape[1:]
    return channels, height, width


def _with_features(model: nn.Module, name: str) -> nn.Module:
    if inspect.ismethod(getattr(model, "features", None)):
        return model
    if isinstance(model, nn.Sequential):  # the classifier is the last of its layers
        return model[:-1]
    raise Mistake(f"the models of {name} tell classes apart and give no features: expected a recogniser's run")
