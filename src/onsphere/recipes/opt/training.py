"""What the recipes of chapter 7 on images share: how a row is trained, and what is looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn
from torch.nn.utils.parametrize import cached

from onsphere import data, models
from onsphere.recipes.image_sets import CIFAR100
from onsphere.recipes.mhe.training import by_steps, cifar_milestones
from onsphere.recipes.observations import first_layer_cosines, minimum_angles
from onsphere.recipes.opt.methods import (
    LABELS,
    ROTATION_RATE,
    STARTS,
    WITHOUT_MATRICES,
    coefficient_of,
    deviations,
    energies,
    optimizer,
    prepare,
    regularizer,
)
from onsphere.recipes.settings import check_positive
from onsphere.train import Recipe

WEIGHT_DECAY = 5e-4  # F.3


def network(depth: int, widths: tuple[int, int, int], batch_norm: bool = True) -> nn.Module:
    """A plain CNN of Table F.1 for CIFAR-100.

    The hidden layer has batch normalization, too: without it its ReLUs die in the first steps at a learning rate of
    0.1, and nothing is learned for some hundred steps.

    Args:
        depth: convolutions.
        widths: channels of the three stages.
        batch_norm: of all layers but the last (Table 7.5 has none).
    """
    return models.plain_cnn(
        depth, widths=widths, num_classes=100, image_size=32, batch_norm=batch_norm, fc_batch_norm=batch_norm
    )


def on_cifar100(
    name: str,
    source: str,
    method: str,
    network: Callable[[], nn.Module],
    paper: Mapping[str, float],
    settings: dict[str, Any],
    *,
    label: str | None = None,
    normalize: bool = False,
    prepared: Callable[[nn.Module], None] | None = None,
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    **matrices: Any,
) -> Recipe:
    """A row on CIFAR-100, trained as F.3 says.

    Args:
        name, source: of the Recipe.
        method: one of LABELS.
        network: builds the model.
        paper: the thesis's numbers, if what the caller knows is as there.
        settings: of the recipe; what is null there is filled in.
        label: of the row; None for the method's.
        normalize: divide the neurons by their norms before training.
        prepared: what stands in place of ``prepare`` of the method.
        evaluate: of the Recipe.
        matrices: what ``prepare`` takes besides, for a method that learns matrices.
    """
    kept = (settings["train_images"], settings["test_images"])
    check_positive(train_images=kept[0], test_images=kept[1])
    usual = as_published(method, settings) and kept == (None, None)
    settings["milestones"] = cifar_milestones(settings["milestones"], settings["steps"])
    training = ("steps", "batch_size", "learning_rate", "weight_decay", "milestones")
    trained = trained_as(method, settings, by_steps(**{name: settings[name] for name in training}))
    arguments = {} if method in WITHOUT_MATRICES else {"start": settings["start"], **matrices}
    return Recipe(
        name=name,
        row=label or LABELS[method],
        source=source,
        model=network,
        data=partial(CIFAR100.load, settings["dataset"], *kept),
        augment=data.augment,
        prepare=prepared or prepare(method, normalize=normalize, **arguments),
        observe=observations(method),
        final=cosines,
        evaluate=evaluate,
        paper=paper if usual else {},
        settings=settings,
        **trained,
    )


def as_published(method: str, settings: Mapping[str, Any]) -> bool:
    """Whether the settings that a row alone has are left as they are: its coefficient, start and rotation rate."""
    usual: dict[str, object] = {"coefficient": coefficient_of(method, None)}
    if method not in WITHOUT_MATRICES:
        usual["start"] = STARTS[method]
    if method == "ogd":
        usual["rotation_rate"] = ROTATION_RATE
    return all(settings[name] in (None, value) for name, value in usual.items())


def trained_as(method: str, settings: dict[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a Recipe that says how a row is trained; fills in what is null in the settings.

    Args:
        method: one of LABELS.
        settings: of the recipe, with ``coefficient`` and ``start``, and ``rotation_rate`` if there is a row ``ogd``.
        training: what an ordinary row is trained by, with its ``optimizer``.
    """
    rate = settings.get("rotation_rate")
    check_positive(rotation_rate=rate)
    if method != "ogd":  # the other rows of a comparison get the setting, too
        rate = None
    elif rate is None:
        rate = ROTATION_RATE
    settings |= {
        "coefficient": coefficient_of(method, settings["coefficient"]),
        "start": None if method in WITHOUT_MATRICES else settings["start"] or STARTS[method],
    }
    if "rotation_rate" in settings:
        settings["rotation_rate"] = rate
    return {
        **training,
        "optimizer": optimizer(method, training["optimizer"], rate),
        "regularizer": regularizer(method, settings["coefficient"]),
    }


def observations(method: str) -> Callable[[nn.Module], dict[str, Mapping[str, float]]]:
    """For a Recipe's ``observe``: every layer's minimum angle, energy, and how orthogonal its learned matrix is."""
    return partial(_observed, matrices=method not in WITHOUT_MATRICES)


def _observed(model: nn.Module, *, matrices: bool) -> dict[str, Mapping[str, float]]:
    with cached():  # every weight is worked out once
        return {**minimum_angles(model), **energies(model), **(deviations(model) if matrices else {})}


def cosines(model: nn.Module) -> dict[str, dict[str, object]]:
    """For a Recipe's ``final``: the pairwise cosines of the first layer's filters."""
    with cached():
        return first_layer_cosines(model)


def in_turn(*changes: Callable[[nn.Module], object] | None) -> Callable[[nn.Module], None]:
    """For a Recipe's ``prepare``: several changes, one after the other; None is none."""
    return partial(_in_turn, changes=changes)


def _in_turn(model: nn.Module, *, changes: tuple[Callable[[nn.Module], object] | None, ...]) -> None:
    for change in changes:
        if change is not None:
            change(model)
