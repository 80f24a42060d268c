"""Attacks on CIFAR-10: Tables 4.7 and 4.8 and Figure C.1 of the thesis."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Literal

import torch
from torch import nn

from onsphere import attacks, data, models
from onsphere.data import Data, Files, Images
from onsphere.diversity import OrthogonalDiagonal
from onsphere.models.sizes import scaled
from onsphere.recipes.dcnet.paper import TABLE_4_7, TABLE_4_8
from onsphere.recipes.dcnet.rows import operator
from onsphere.recipes.dcnet.training import WEIGHT_DECAY, orthogonality
from onsphere.recipes.dcnet.weights import load_weights, weights_file
from onsphere.recipes.decoupled import adam_by_steps, classified, penalties
from onsphere.recipes.image_sets import CIFAR10
from onsphere.recipes.mhe.training import cifar_milestones
from onsphere.recipes.observations import minimum_angles
from onsphere.recipes.settings import check_positive
from onsphere.train import Recipe, run

TrainingName = Literal["natural", "adversarial"]
Load = Callable[[], Data]

# What the network of a black-box attacker is trained with: the settings of its targets.
OF_THE_SOURCE = (
    *("dataset", "training", "epsilon", "width", "train_images", "test_images"),
    *("steps", "batch_size", "learning_rate", "weight_decay", "milestones"),
)


def attacked(
    dataset: str = "uoft-cs/cifar10",
    row: Literal["baseline", "sphere", "ball", "tanh"] = "tanh",
    training: TrainingName = "natural",
    transferred: bool = False,
    source: str | None = None,
    source_seed: int = 7,
    coefficient: float | None = None,
    epsilon: float = 8.0,
    step: float = 2.0,
    iterations: int = 20,
    attacked_images: int | None = None,
    deepfool_images: int = 0,
    width: float = 1.0,
    train_images: int | None = None,
    test_images: int | None = None,
    steps: int = 42_500,
    batch_size: int = 128,
    learning_rate: float = 0.001,
    weight_decay: float = WEIGHT_DECAY,
    milestones: tuple[int, ...] | None = None,
) -> Recipe:
    """Tables 4.7 and 4.8 and Figure C.1 of the thesis: CNN-9 on CIFAR-10 under attack, in a white box or a black one.

    The network is Table C.1's for attacks, without batch normalization; the operators have the cosine activation, which
    the thesis does not say, ordinary gradients and no optimization trick. Adam, learning rate and what else the thesis
    does not say are as in ``thesis-table4.4-cifar100``. Accuracies in percent: ``top1`` without attack, ``fgsm`` and
    ``bim`` under attack (C.1.2). In a black box (C.1.3) the images are made on an ordinary network of the same
    architecture: one that is trained with the same settings from a seed of its own, after the first row that needs it
    and once for all rows, or one that you give. A row takes half an hour on a GPU, three times that with adversarial
    training; BIM on all test images then takes a minute there, but an hour on a CPU.

    Args:
        dataset: CIFAR-10 as a folder (parquet files in Hugging Face layout) or a name on the hub; `noise` for random
            images, to try the steps.
        row: the ordinary convolution, or a magnitude function (eqs. 4.4 to 4.6).
        training: natural, or adversarial: half of the objective is on images of the fast gradient sign method.
        transferred: attack by images that were made on another network, the black box of Table 4.8.
        source: that network: a file of weights, or the folder of a run of this recipe with its baseline; null to train
            one, of which nothing is to be seen before the row is done.
        source_seed: from which it is trained; not that of a row, whose baseline would be attacked in a white box.
        coefficient: weight of the orthogonal constraint on the filters of decoupled layers; null for none.
        epsilon: the most that a pixel may change, of 255.
        step: how far BIM goes in one step, tau, of 255.
        iterations: steps of BIM.
        attacked_images: test images attacked, a random choice that is always the same; null for all.
        deepfool_images: test images for which the strength of DeepFool is recorded (Figure C.1), in both norms.
        width: factor on the channels of every layer.
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of Adam, before the first milestone.
        weight_decay: on linear and convolution layers that are not decoupled; all of the baseline's.
        milestones: steps after which the learning rate is divided by 10; null for 20k, 30k and 37.5k of 42.5k, at the
            same shares of the steps.

    Raises:
        ValueError: for a value out of its range, and for a setting that would be ignored; before a training in several
            processes that would need to train the attacker's network.
        FileNotFoundError: there is no such source.

    >>> recipe = attacked("cifar10", "ball", training="adversarial")
    >>> recipe.metric, recipe.paper
    ('fgsm', {'top1': 87.47, 'fgsm': 82.2, 'bim': 17.38})
    """
    settings = dict(locals())
    chosen = operator(row)
    check_positive(width=width, epsilon=epsilon, step=step, iterations=iterations, attacked_images=attacked_images)
    check_positive(train_images=train_images, test_images=test_images)
    for name, value in (("epsilon", epsilon), ("step", step)):
        if value > 255:  # now, and not after the training
            raise ValueError(f"{name}={value}: expected at most 255, the range of a pixel")
    if deepfool_images < 0:
        raise ValueError(f"deepfool_images={deepfool_images} must not be below 0")
    if source is not None:
        if not transferred:
            raise ValueError(f"source={source!r} has no effect with transferred=False, where the target is attacked")
        weights_file(source)  # now, and not after the training
    weight = orthogonality(row, coefficient or 0.0)
    settings["coefficient"], settings["milestones"] = weight, cifar_milestones(milestones, steps)
    load = partial(CIFAR10.load, dataset, train_images, test_images)
    first, second, third, hidden = scaled((32, 64, 128, 256), width)
    network = partial(
        models.decoupled_cnn, 9, widths=(first, second, third), fc=hidden, batch_norm=False, **chosen.arguments
    )
    attack = Attack(epsilon / 255, step / 255, iterations, attacked_images)
    box = None
    if transferred:
        box = Source(tuple((name, settings[name]) for name in OF_THE_SOURCE), source_seed, source)
    table = TABLE_4_8 if transferred else TABLE_4_7
    as_published = (attack, width, weight) == (Attack(), 1.0, 0.0) and (train_images, test_images) == (None, None)
    return Recipe(
        name=f"thesis-table{'4.8' if transferred else '4.7'}-cifar10",
        row=chosen.label,
        source=f"thesis, Table {'4.8' if transferred else '4.7'}, CNN-9 on CIFAR-10",
        data=load,
        augment=data.augment,
        regularizer=penalties(OrthogonalDiagonal, weight, weight_decay),
        prepare=_alone if transferred and source is None else None,
        observe=minimum_angles,
        evaluate=partial(_accuracies, load=load, attack=attack, box=box),
        metric="fgsm",
        final=partial(_strengths, load=load, images=deepfool_images) if deepfool_images else None,
        paper=table[training][row] if as_published else {},
        settings=settings,
        **trained(network, CIFAR10.classes, training, epsilon, load),
        **adam_by_steps(steps, batch_size, learning_rate, settings["milestones"]),
    )


def trained(
    network: Callable[..., nn.Module], classes: int, training: TrainingName, epsilon: float, load: Load
) -> dict[str, Any]:
    """The part of a Recipe that says what is trained for which objective.

    Args:
        network: builds it from ``num_classes``.
        classes: number of them.
        training: natural or adversarial.
        epsilon: of adversarial training, in pixels of 255.
        load: gives the data, which say what a pixel is in normalised images.
    """
    if training == "natural":
        return classified(network, classes)
    return {"model": partial(_adversarial, network, classes, epsilon / 255, load), "objective": None}


def _adversarial(network: Callable[..., nn.Module], classes: int, eps: float, load: Load) -> nn.Module:
    source = load()
    return attacks.AdversarialTraining(network(num_classes=classes), eps, mean=source.mean, std=source.std)


@dataclass(frozen=True)
class Attack:
    """The attacks of section 4.6.2 with the numbers of C.1.2.

    Args:
        epsilon: the most that a pixel may change, as a share of the range of pixels.
        step: of BIM.
        iterations: of BIM.
        images: test images attacked; None for all.
    """

    epsilon: float = 8 / 255
    step: float = 2 / 255
    iterations: int = 20
    images: int | None = None

    def accuracies(self, target: nn.Module, images: Images | Files, source: nn.Module | None) -> dict[str, float]:
        """Of a model under attack, in percent.

        Args:
            target: takes pixels from 0 to 1.
            images: to attack.
            source: on which the images are made; None for the target itself.
        """
        kinds = {
            "fgsm": partial(attacks.fgsm, eps=self.epsilon),
            "bim": partial(attacks.bim, eps=self.epsilon, step=self.step, steps=self.iterations),
        }
        limit = None if self.images is None else min(self.images, len(images))
        return {name: attacks.robustness(target, images, attack, source, limit=limit) for name, attack in kinds.items()}


@dataclass(frozen=True)
class Source:
    """The network that a black-box attacker has.

    Args:
        settings: of the recipe that it is trained with, names and values.
        seed: that it is trained from.
        weights: a file or a run's folder to take it from instead.
    """

    settings: tuple[tuple[str, Any], ...]
    seed: int
    weights: str | None

    def model(self, device: torch.device) -> nn.Module:
        """It, trained, on the device."""
        if self.weights is None:
            return _trained_source(self.settings, self.seed, device.type).to(device)
        model = attacked(**{**dict(self.settings), "row": "baseline"}).model()
        load_weights(model, self.weights)
        return model.to(device)


@lru_cache(maxsize=1)
def _trained_source(settings: tuple[tuple[str, Any], ...], seed: int, accelerator: str) -> nn.Module:
    """Trained once for all rows and seeds of a process."""
    recipe = attacked(**{**dict(settings), "row": "baseline"})
    alone = replace(recipe, evaluate=None, metric="top1", observe=None)
    with tempfile.TemporaryDirectory() as folder, torch.enable_grad():
        run(
            alone,
            seeds=[seed],
            folder=folder,
            devices=1,
            accelerator=accelerator,
            measure=False,
            checkpoint_seconds=math.inf,
            logs=(),
        )
        model = recipe.model()
        load_weights(model, folder)
    return model


def _alone(model: nn.Module) -> None:
    """Refuse before the training what could not be done after it."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        raise ValueError("source=null: several processes do not train the attacker's network, give one that is trained")


def _accuracies(model: nn.Module, load: Load, attack: Attack, box: Source | None) -> dict[str, float]:
    source = None if box is None else pixels(box.model(next(model.parameters()).device), load())
    return attack.accuracies(pixels(model, load()), load().test, source)


def _strengths(model: nn.Module, load: Load, images: int) -> dict[str, object]:
    """``deepfool``: for each norm the strengths that fooled the network, rising; null where nothing did."""
    target, test = pixels(model, load()), load().test
    found: Mapping[Literal["l2", "linf"], Any] = {
        norm: attacks.strengths(target, test, partial(attacks.deepfool, norm=norm), limit=min(images, len(test)))
        for norm in ("l2", "linf")
    }
    return {
        "deepfool": {norm: [round(value, 5) for value in each.sorted(norm).tolist()] for norm, each in found.items()}
    }


def pixels(model: nn.Module, source: Data) -> nn.Module:
    """A model that takes pixels from 0 to 1, on the device of the one that takes normalised images."""
    return attacks.Normalized(model, source.mean, source.std).to(next(model.parameters()).device)
