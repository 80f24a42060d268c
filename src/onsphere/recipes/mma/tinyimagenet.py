"""TinyImageNet: the MMA paper's Table 6."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Literal

from onsphere import data
from onsphere.recipes.image_sets import TINY_IMAGENET
from onsphere.recipes.mma.networks import NETWORKS, TINY_IMAGENET_TRAINING
from onsphere.recipes.mma.rows import ROWS, coefficient_of
from onsphere.recipes.observations import first_layer_cosines, minimum_angles
from onsphere.recipes.regularization import regularization
from onsphere.recipes.settings import check_positive
from onsphere.train import Recipe

_COEFFICIENTS: Mapping[str, float] = {"resnet56": 0.01, "vgg16_bn": 0.07}  # section 5.3
_PAPER: Mapping[str, Mapping[str, tuple[float, float]]] = {  # top-1 and top-5 accuracy in percent
    "resnet56": {"none": (54.80, 78.71), "mma": (55.24, 78.92)},
    "vgg16_bn": {"none": (62.16, 82.41), "mma": (63.37, 82.68)},
}


def tinyimagenet(
    dataset: str = "zh-plus/tiny-imagenet",
    row: Literal["none", "mma"] = "mma",
    coefficient: float | None = None,
    model: Literal["resnet56", "vgg16_bn"] = "vgg16_bn",
    width: float = 1.0,
    train_images: int | None = None,
    test_images: int | None = None,
    epochs: int = 300,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float | None = None,
    milestones: tuple[int, ...] | None = None,
) -> Recipe:
    """Table 6 of the MMA paper: ResNet56 or VGG16-BN on TinyImageNet, with and without MMA; hours on a GPU.

    The paper follows Wang, Zhang and Grosse 2020 (GraSP): 300 epochs of batch 128, learning rate 0.1 divided by 10 at
    one half and three quarters; the weight decay is that of their code (alecwangcq/GraSP). Images of 64 x 64 are padded
    by 4 pixels, cropped and flipped at random; the test is on the validation images (supplement B).

    Args:
        dataset: TinyImageNet as a folder (as published, or parquet files in Hugging Face layout) or a name on the hub;
            `noise` for random images, to try the steps.
        row: which regularization: none, mma (eq. 6).
        coefficient: weight of the regularization; null for the paper's: 0.01 (resnet56), 0.07 (vgg16_bn).
        model: the network.
        width: factor on the channels of every layer.
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        epochs: passes over the training images.
        batch_size: images a step, over all processes.
        learning_rate: of SGD, before the first milestone.
        momentum: of SGD.
        weight_decay: of SGD, on every parameter; null for 1e-4 (resnet56) or 5e-4 (vgg16_bn).
        milestones: epochs after which the learning rate is divided by 10; null for one half and three quarters of the
            epochs.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that row none would ignore.

    >>> recipe = tinyimagenet("tiny-imagenet-200", model="resnet56")
    >>> recipe.settings["coefficient"], recipe.paper
    (0.01, {'top1': 55.24, 'top5': 78.92})
    """
    settings = dict(locals())
    training = TINY_IMAGENET_TRAINING[model]
    settings |= training.resolve(epochs, batch_size, learning_rate, momentum, weight_decay, milestones)
    usual = _COEFFICIENTS[model] if row == "mma" else 0.0
    given = coefficient_of(row, coefficient, skip_connections=False)
    settings["coefficient"] = weight = usual if coefficient is None else given
    check_positive(width=width, train_images=train_images, test_images=test_images)
    as_published = width == 1.0 and train_images is None and test_images is None and weight == usual
    return Recipe(
        name="table6-tinyimagenet",
        row=ROWS[row].label,
        source=f"MMA paper, Table 6, {NETWORKS[model].title}",
        model=partial(NETWORKS[model].build, num_classes=200, width=width),
        data=partial(TINY_IMAGENET.load, dataset, train_images, test_images),
        augment=data.augment,
        regularizer=regularization(*ROWS[row].terms(weight)),
        observe=minimum_angles,
        final=first_layer_cosines,
        paper=dict(zip(("top1", "top5"), _PAPER[model][row], strict=True)) if as_published else {},
        settings=settings,
        **training.builders(settings),
    )
