"""CIFAR-100: the MMA paper's Tables 2 to 5, Figures 3 to 6 and the supplement's angles of every layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Literal

import torch
from torch import Tensor

from onsphere import data
from onsphere.recipes.image_sets import CIFAR100
from onsphere.recipes.mma.networks import NETWORKS
from onsphere.recipes.mma.rows import ROWS, RowName, coefficient_of
from onsphere.recipes.observations import first_layer_cosines, minimum_angles
from onsphere.recipes.regularization import Layers, regularization
from onsphere.recipes.settings import check_positive
from onsphere.train import Recipe

# Top-1 and top-5 accuracy in percent: Table 5, without and with MMA.
_TABLE_5: Mapping[str, Mapping[RowName, tuple[float, float]]] = {
    "resnet56": {"none": (70.39, 91.12), "mma": (70.90, 91.25)},
    "wrn_16_8": {"none": (78.97, 94.84), "mma": (79.34, 95.05)},
    "densenet_40_12": {"none": (73.98, 92.74), "mma": (74.61, 92.77)},
}
_TABLE_2_HIDDEN = {"top1": 73.45, "top5": 90.91}


def cifar100(
    dataset: str = "uoft-cs/cifar100",
    row: RowName = "mma",
    coefficient: float | None = None,
    layers: Layers = "everywhere",
    model: Literal["vgg19_bn", "resnet20", "resnet56", "wrn_16_8", "densenet_40_12"] = "vgg19_bn",
    width: float = 1.0,
    mhe_batch: float | None = 0.3,
    train_images: int | None = None,
    test_images: int | None = None,
    augment: bool = True,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float | None = None,
    milestones: tuple[int, ...] | None = None,
) -> Recipe:
    """A network on CIFAR-100 with one of the regularizers of the MMA paper's Table 3; hours on a GPU.

    The paper gives batch 128 (64 for DenseNet), SGD with momentum 0.9 and a learning rate of 0.1 "decayed by specific
    schedules", and refers to the papers of the models. Epochs, milestones and weight decay here are, for VGG, those of
    the widely used PyTorch CIFAR code by W. Yang (bearpaw/pytorch-classification, TRAINING.md), which has the same
    VGG19-BN and reports 71.95 % where the paper's baseline has 72.08 %; for ResNets those of He et al. 2016 (64k
    steps); for WRN those of Zagoruyko and Komodakis 2016 (divided by 5, Nesterov); for DenseNet those of Huang et al.
    2017 (divided by 10, Nesterov). Images are padded by 4 pixels, cropped and flipped at random, and normalised per
    channel. Observed are the minimum angles of every layer after every epoch, and Figure 1's cosines at the end.

    Args:
        dataset: CIFAR-100 as a folder (parquet files in Hugging Face layout: train-*.parquet, test-*.parquet) or a
            name on the hub; `noise` for random images, to try the steps.
        row: which regularization: none, orthogonal (eq. 14), mhe-s2 and mhe-s0, mma (eq. 6).
        coefficient: weight of the regularization; null for the paper's: orthogonal 1e-4, MHE 1.0, MMA 0.07 (0.03 for
            the models with skip connections, which are all but vgg19_bn).
        layers: where it applies (Table 2): everywhere, the hidden layers, or the output layer.
        model: the network.
        width: factor on the channels of every layer.
        mhe_batch: share of each layer's neurons that MHE takes at random in every step; null for all.
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        augment: random crops and flips of the training images.
        epochs: passes over the training images; null for the model's: 164 (VGG, ResNet), 200 (WRN), 300 (DenseNet).
        batch_size: images a step, over all processes; null for the model's: 128, DenseNet 64.
        learning_rate: of SGD, before the first milestone.
        momentum: of SGD.
        weight_decay: of SGD, on every parameter; null for the model's: 5e-4 (VGG, WRN), 1e-4 (ResNet, DenseNet).
        milestones: epochs after which the learning rate is divided by 10 (WRN: by 5); null for the model's at the same
            shares of the epochs: 81, 122 of 164 (VGG, ResNet), 60, 120, 160 of 200 (WRN), 150, 225 of 300 (DenseNet).

    Raises:
        ValueError: for a value out of its range, and for a coefficient that row none would ignore.

    >>> recipe = cifar100("cifar100", "mma", model="resnet20")
    >>> recipe.row, recipe.settings["coefficient"], recipe.settings["weight_decay"]
    ('MMA', 0.03, 0.0001)
    """
    settings = dict(locals())
    network = NETWORKS[model]
    settings |= network.training.resolve(epochs, batch_size, learning_rate, momentum, weight_decay, milestones)
    settings["coefficient"] = weight = coefficient_of(row, coefficient, skip_connections=network.skips)
    check_positive(width=width, train_images=train_images, test_images=test_images)
    as_published = (
        width == 1.0
        and train_images is None
        and test_images is None
        and weight == coefficient_of(row, None, skip_connections=network.skips)
    )
    return Recipe(
        name="cifar100",
        row=ROWS[row].label,
        source=f"MMA paper, section 5, {network.title} on CIFAR-100",
        model=partial(network.build, num_classes=100, width=width),
        data=partial(CIFAR100.load, dataset, train_images, test_images),
        augment=data.augment if augment else None,
        regularizer=regularization(*ROWS[row].terms(weight, layers, mhe_batch)),
        observe=minimum_angles,
        final=first_layer_cosines,
        paper=_paper(model, row, layers) if as_published else {},
        settings=settings,
        **network.training.builders(settings),
    )


def _paper(model: str, row: RowName, layers: Layers) -> Mapping[str, float]:
    if layers != "everywhere" and row != "none":
        return _TABLE_2_HIDDEN if (model, row, layers) == ("vgg19_bn", "mma", "hidden") else {}
    if model == "vgg19_bn":
        return ROWS[row].paper
    return dict(zip(("top1", "top5"), _TABLE_5.get(model, {}).get(row, ()), strict=False))


def wrn_cifar100(
    dataset: str = "uoft-cs/cifar100",
    row: Literal["none", "autoaugment", "autoaugment-mma"] = "autoaugment-mma",
    coefficient: float | None = None,
    width: float = 1.0,
    cutout: int = 16,
    train_images: int | None = None,
    test_images: int | None = None,
    epochs: int = 200,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    milestones: tuple[int, ...] | None = None,
) -> Recipe:
    """Table 4 of the MMA paper: WRN-28-10 on CIFAR-100 with AutoAugment, and with MMA besides; a day on a GPU.

    All rows are trained as Zagoruyko and Komodakis 2016 did, by SGD with Nesterov's momentum. AutoAugment is as in
    its paper (Cubuk et al. 2019): random crop and flip, the policy found on CIFAR-10, Cutout. That paper's cosine
    schedule is not taken, so that the rows differ in nothing else; the MMA paper does not say what it did.

    Args:
        dataset: CIFAR-100 as a folder (parquet files in Hugging Face layout) or a name on the hub; `noise` for random
            images, to try the steps.
        row: none (crops and flips), autoaugment, autoaugment-mma.
        coefficient: weight of MMA; null for the paper's for models with skip connections: 0.03.
        width: factor on the channels of every layer.
        cutout: side of the square that the rows with AutoAugment blank out, in pixels.
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        epochs: passes over the training images.
        batch_size: images a step, over all processes.
        learning_rate: of SGD, before the first milestone.
        momentum: of SGD.
        weight_decay: of SGD, on every parameter.
        milestones: epochs after which the learning rate is divided by 5; null for 60, 120 and 160 of 200, at the same
            shares of the epochs.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that a row without MMA would ignore.

    >>> wrn_cifar100("cifar100").paper
    {'top1': 83.11}
    """
    settings = dict(locals())
    labels = {"none": "none", "autoaugment": "AutoAugment", "autoaugment-mma": "AutoAugment, MMA"}
    accuracies = {"none": 80.65, "autoaugment": 82.65, "autoaugment-mma": 83.11}
    if row not in labels:
        raise ValueError(f"row={row!r} is none of {', '.join(labels)}")
    network = NETWORKS["wrn_28_10"]
    settings |= network.training.resolve(epochs, batch_size, learning_rate, momentum, weight_decay, milestones)
    if coefficient and row != "autoaugment-mma":
        raise ValueError(f"coefficient={coefficient} has no effect on row {row!r}, which has no MMA")
    method: RowName = "mma" if row == "autoaugment-mma" else "none"
    settings["coefficient"] = weight = coefficient_of(method, coefficient, skip_connections=True)
    check_positive(width=width, cutout=cutout, train_images=train_images, test_images=test_images)
    usual = coefficient_of(method, None, skip_connections=True)
    as_published = width == 1.0 and train_images is None and test_images is None and weight == usual
    augment = data.augment if row == "none" else partial(_auto_augment, cutout=cutout)
    return Recipe(
        name="table4-cifar100",
        row=labels[row],
        source="MMA paper, Table 4",
        model=partial(network.build, num_classes=100, width=width),
        data=partial(CIFAR100.load, dataset, train_images, test_images),
        augment=augment,
        regularizer=regularization(*ROWS[method].terms(weight)),
        observe=minimum_angles,
        final=first_layer_cosines,
        paper={"top1": accuracies[row]} if as_published else {},
        settings=settings,
        **network.training.builders(settings),
    )


@lru_cache(maxsize=1)
def _policy(cutout: int) -> Callable[[Tensor, torch.Generator], Tensor]:
    return data.then(data.augment, data.auto_augment("cifar10"), data.cutout(cutout))


def _auto_augment(images: Tensor, generator: torch.Generator, cutout: int) -> Tensor:
    """As ``_policy``, whose packages are needed once there are images and not to list the recipe."""
    return _policy(cutout)(images, generator)
