"""What all recipes of faces share: the images, the network's sizes, and the Recipe that is made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from torch import nn

from onsphere import data
from onsphere.recipes.image_sets import NOISE
from onsphere.recipes.margins.objectives import Objective, Tuning
from onsphere.recipes.margins.protocols import Faces
from onsphere.recipes.margins.recognition import Load, later, recogniser_of
from onsphere.recipes.observations import classifier_angle
from onsphere.recipes.regularization import regularization
from onsphere.recipes.settings import check_positive
from onsphere.train import Recipe

# Pixels to (p - 127.5) / 128 (2.3.6), whatever the training images' own mean is.
MEAN, DEVIATION = 0.5, 128 / 255


@dataclass(frozen=True)
class FaceNetwork:
    """A body and its sizes."""

    build: Callable[..., nn.Module]
    width: float
    features: int
    image_size: tuple[int, int]

    def __call__(self) -> nn.Module:
        return self.build(features=self.features, image_size=self.image_size, width=self.width)


def face_recipe(
    name: str,
    source: str,
    network: FaceNetwork,
    chosen: Objective,
    tuning: Tuning,
    benchmarks: Faces,
    metric: str,
    numbers: Mapping[str, float],
    settings: Mapping[str, Any],
    training: Mapping[str, Any],
) -> Recipe:
    check_positive(width=network.width, features=network.features)
    load = partial(_faces, settings["dataset"], tuple(network.image_size))
    build = regularization(*chosen.terms)
    after = settings.get("regularized_after", 0)
    return Recipe(
        name=name,
        row=chosen.label,
        source=source,
        model=partial(recogniser_of, network, network.features, chosen, tuning, load),
        data=partial(checked, load, benchmarks),
        objective=None,
        augment=data.flip,
        regularizer=partial(later, build=build, steps=after) if build is not None and after else build,
        clip=settings["clip"],
        observe=classifier_angle,
        evaluate=partial(benchmarks.metrics, load=load),
        metric=metric,
        paper=numbers,
        settings=settings,
        **training,
    )


def checked(load: Load, benchmarks: Faces) -> data.Data:
    """The faces to train on, once it is clear that there is what they are measured on."""
    source = load()
    if source.data.name != NOISE:
        benchmarks.check()
    return source.data


@lru_cache(maxsize=1)
def _faces(dataset: str, image_size: tuple[int, int]) -> data.OpenSet:
    if dataset == NOISE:
        return data.open_set_noise(6, 4, image_size)
    made = data.open_set(dataset, image_size=image_size, channels=3)
    return replace(made, data=replace(made.data, mean=(MEAN,) * 3, std=(DEVIATION,) * 3))
