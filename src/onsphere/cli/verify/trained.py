"""The model of a run's folder: its recipe made again from the result's settings, and the weights that it left."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from onsphere.cli.mistakes import Mistake, closest, or_mistake
from onsphere.cli.verify.model import Look, load
from onsphere.data import Data
from onsphere.train.keeping import file_name

if TYPE_CHECKING:
    from onsphere.train import Recipe

# Of the regularizer, which leaves no trace in a network; some rows refuse to be told theirs.
NOT_OF_THE_MODEL = {"coefficient", "output_coefficient"}


@dataclass(frozen=True)
class Trained:
    """What one training of a run's folder left: its recipe and data, and the network with its weights.

    Args:
        row: as in the table.
        seed: of the training.
        recipe: made again from the result's settings.
        data: that it was trained on.
        model: the network, on the CPU.
        threads: on a CPU, where torch's own choice is a bad one.
    """

    row: str
    seed: int
    recipe: Recipe
    data: Data
    model: nn.Module
    threads: int | None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images that the model is tested on."""
        shape = self.data.train.shape
        if self.recipe.test_transform is None:
            return shape
        channels, height, width = self.recipe.test_transform(torch.zeros(1, *shape, dtype=torch.uint8)).shape[1:]
        return channels, height, width


def trained(folder: Path, row: str | None, seed: int | None) -> tuple[nn.Module, Look]:
    """The model of one training as one that gives features, and how images came before it.

    Args:
        folder: of the run; the data that it was trained on must be where it was, for its classes and its mean.
        row: as in the table or on the command line; None where there is only one.
        seed: of the training; None for the first one.

    Raises:
        Mistake: there is no such run, row or seed, its weights were not kept, or the model gives no features.
    """
    found = remade(folder, row, seed)
    channels, height, width = found.shape
    look = Look(
        mean=[255 * value for value in found.data.mean],
        std=[max(255 * value, 1.0) for value in found.data.std],  # as in training
        size=(height, width),
        colours="grey" if channels == 1 else "rgb",
    )
    return _with_features(found.model, found.recipe.name), look


def remade(folder: Path, row: str | None, seed: int | None, option: str = "--row") -> Trained:
    """One training of a run, made again from what its folder holds.

    Args:
        folder, row, seed: as in trained.
        option: by which a row is chosen on the command line.

    Raises:
        Mistake: there is no such run, row or seed, or its weights were not kept.
    """
    from onsphere.recipes import RECIPES

    result = _result(folder)
    name = str(result["name"])
    if name not in RECIPES:
        raise Mistake(f"{folder} is a run of {name!r}, which is no recipe{closest(name, RECIPES)}")
    found = _row(folder, result, row, option)
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
    if not isinstance(data, Data):
        raise Mistake(f"{folder} was trained on {data.train}: expected images")
    model = or_mistake(recipe.model)
    if recipe.prepare is not None:
        recipe.prepare(model)
    chosen = seeds[0] if seed is None else seed
    weights = file_name({"row": found["row"], "seed": chosen})
    load(model, folder / "weights" / f"{weights}.safetensors")
    return Trained(str(found["row"]), chosen, recipe, data, model, RECIPES[name].threads)


def rows_of(folder: Path) -> list[str]:
    """The rows of a run of which a training was finished, by their names on the command line."""
    found = [_name(each) for each in _result(folder)["rows"] if each["seeds"]]
    if not found:
        raise Mistake(f"{folder} has no finished training")
    return found


def _result(folder: Path) -> Mapping[str, Any]:
    from onsphere import report

    return or_mistake(lambda: report.load(folder))


def _name(row: Mapping[str, Any]) -> str:
    return str(row["settings"].get("row", row["row"]))


def _row(folder: Path, result: Mapping[str, Any], wanted: str | None, option: str) -> Mapping[str, Any]:
    rows: list[Mapping[str, Any]] = list(result["rows"])
    names = [_name(each) for each in rows]
    if wanted is None and len(rows) == 1:
        return rows[0]
    for each, name in zip(rows, names, strict=True):
        if wanted is not None and wanted in (name, each["row"]):
            return each
    if wanted is None:
        raise Mistake(f"{folder} has several rows: give {option}, one of {', '.join(names)}")
    hint = closest(wanted, names) or f"; there are: {', '.join(names)}"
    raise Mistake(f"{folder} has no row {wanted!r}{hint}")


def _with_features(model: nn.Module, name: str) -> nn.Module:
    if inspect.ismethod(getattr(model, "features", None)):
        return model
    if isinstance(model, nn.Sequential):  # the classifier is the last of its layers
        return model[:-1]
    raise Mistake(f"the models of {name} tell classes apart and give no features: expected a recogniser's run")
