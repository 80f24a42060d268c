"""CIFAR-10 and CIFAR-100: the thesis's Tables 5.1 to 5.5 and D.3, and Figure 5.3."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from onsphere import data, models
from onsphere.recipes.image_sets import CIFAR, ImageSet
from onsphere.recipes.mhe.methods import METHODS, terms, weights
from onsphere.recipes.mhe.paper import TABLE_5_1, TABLE_5_2, TABLE_5_3, TABLE_5_4, TABLE_5_5, TABLE_D_3
from onsphere.recipes.mhe.training import by_steps, cifar_milestones, top1
from onsphere.recipes.observations import first_layer_cosines, minimum_angles
from onsphere.recipes.regularization import Layers, regularization
from onsphere.recipes.settings import check_positive
from onsphere.train import Recipe

RowName = Literal[
    "none",
    "orthonormal",
    "mhe-s2",
    "mhe-s1",
    "mhe-s0",
    "half-mhe-s2",
    "half-mhe-s1",
    "half-mhe-s0",
    "a-mhe-s2",
    "a-mhe-s1",
    "a-mhe-s0",
    "half-a-mhe-s2",
    "half-a-mhe-s1",
    "half-a-mhe-s0",
]
Classes = Literal[10, 100]


def plain_network(
    dataset: str | None = None,
    row: RowName = "half-mhe-s2",
    classes: Classes = 100,
    coefficient: float | None = None,
    output_coefficient: float | None = None,
    layers: Layers = "everywhere",
    depth: int = 9,
    widths: tuple[int, int, int] = (64, 128, 256),
    train_images: int | None = None,
    test_images: int | None = None,
    steps: int = 42_500,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    weight_decay: float = 1e-4,
    milestones: tuple[int, ...] | None = None,
    table: Literal["5.1", "5.2", "5.3", "5.4"] = "5.1",
) -> Recipe:
    """Tables 5.1 to 5.4 and Figure 5.3 of the thesis: a plain CNN on CIFAR with minimum hyperspherical energy.

    Network and training are those of D.1: CNN-9 if not said otherwise, batch 128, SGD with momentum 0.9. Full-space MHE
    is on the output layer of every MHE row, with the row's s and distance; the rows differ in the hidden layers. The
    augmentation is padding by 4 pixels, random crops and flips. The thesis has different numbers for one and the same
    setting: MHE with s=2 and CNN-9 on CIFAR-100 is 27.15 in Table 5.1, 26.75 in 5.2 and 5.3, and 26.16 (there the
    number of s=0) in 5.4.

    Args:
        dataset: CIFAR-10 or CIFAR-100 as a folder (parquet files in Hugging Face layout) or a name on the hub; `noise`
            for random images, to try the steps; null for the hub's uoft-cs/cifar10 or uoft-cs/cifar100.
        row: which regularization: none; mhe (eq. 5.4), half-mhe (half space, 5.3.4), a-mhe (angular, eq. 5.5),
            half-a-mhe, each with a power s; orthonormal (5.3.7).
        classes: 10 for CIFAR-10, 100 for CIFAR-100.
        coefficient: weight on the hidden layers; null for the thesis's: full space 10, half space 1, orthonormal 1e-5.
            With layers=output it is that of the output layer.
        output_coefficient: weight on the output layer; null for the thesis's: MHE 1, orthonormal 1e-5.
        layers: where the regularization applies (Table 5.4's H and O): everywhere, the hidden layers, the output layer.
        depth: convolutions, a multiple of three (Table 5.3).
        widths: channels of the three stages (Table 5.2).
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of SGD, before the first milestone.
        weight_decay: of SGD, on every parameter.
        milestones: steps after which the learning rate is divided by 10; null for 20k, 30k and 37.5k of 42.5k, at the
            same shares of the steps.
        table: whose number stands beside the result.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that would be ignored.

    >>> recipe = plain_network("cifar100", "half-mhe-s2")
    >>> recipe.row, recipe.settings["coefficient"], recipe.paper
    ('half-space MHE s=2', 1.0, {'top1': 74.39})
    """
    settings = dict(locals())
    settings["milestones"] = cifar_milestones(milestones, steps)
    numbers = {
        "5.1": TABLE_5_1[classes] if (depth, widths, layers) == (9, (64, 128, 256), "everywhere") else {},
        "5.2": TABLE_5_2.get(widths, {}) if (classes, depth, layers) == (100, 9, "everywhere") else {},
        "5.3": TABLE_5_3.get(depth, {}) if (classes, widths, layers) == (100, (64, 128, 256), "everywhere") else {},
        "5.4": TABLE_5_4[layers] if (classes, depth, widths) == (100, 9, (64, 128, 256)) else {},
    }
    network = partial(models.plain_cnn, depth, widths=widths, num_classes=classes, image_size=32)
    source = f"thesis, Table {table}, CNN-{depth} on {CIFAR[classes].title}"
    return _on_cifar(f"thesis-table{table}-cifar{classes}", source, network, numbers[table], layers, settings)


def spherenet(
    dataset: str | None = None,
    row: RowName = "mhe-s2",
    classes: Classes = 100,
    coefficient: float | None = None,
    output_coefficient: float | None = None,
    widths: tuple[int, int, int] = (64, 128, 256),
    train_images: int | None = None,
    test_images: int | None = None,
    steps: int = 42_500,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    weight_decay: float = 1e-4,
    milestones: tuple[int, ...] | None = None,
) -> Recipe:
    """Table D.3 of the thesis: SphereNet, CNN-9 with cosine SphereConv, on CIFAR with minimum hyperspherical energy.

    Trained as CNN-9 (D.5). A SphereConv looks at the angle between filter and patch only, so that weight decay does not
    regularize it.

    Args:
        dataset: CIFAR-10 or CIFAR-100 as a folder (parquet files in Hugging Face layout) or a name on the hub; `noise`
            for random images, to try the steps; null for the hub's uoft-cs/cifar10 or uoft-cs/cifar100.
        row: which regularization: none; mhe (eq. 5.4), half-mhe (half space, 5.3.4), a-mhe (angular, eq. 5.5),
            half-a-mhe, each with a power s; orthonormal (5.3.7).
        classes: 10 for CIFAR-10, 100 for CIFAR-100.
        coefficient: weight on the hidden layers; null for the thesis's: full space 10, half space 1, orthonormal 1e-5.
        output_coefficient: weight on the output layer; null for the thesis's: MHE 1, orthonormal 1e-5.
        widths: channels of the three stages.
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of SGD, before the first milestone.
        weight_decay: of SGD, on every parameter.
        milestones: steps after which the learning rate is divided by 10; null for 20k, 30k and 37.5k of 42.5k, at the
            same shares of the steps.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that would be ignored.

    >>> spherenet("cifar10", "mhe-s2", classes=10).paper
    {'top1': 94.29}
    """
    settings = dict(locals())
    settings["milestones"] = cifar_milestones(milestones, steps)
    numbers = TABLE_D_3[classes] if widths == (64, 128, 256) else {}
    network = partial(models.spherenet_cnn, widths=widths, num_classes=classes, image_size=32)
    source = f"thesis, Table D.3, SphereNet on {CIFAR[classes].title}"
    return _on_cifar(f"thesis-tableD.3-cifar{classes}", source, network, numbers, "everywhere", settings)


def wide_resnet(
    dataset: str | None = None,
    row: Literal["none", "mhe-s2", "half-mhe-s2"] = "half-mhe-s2",
    classes: Classes = 100,
    coefficient: float | None = None,
    output_coefficient: float | None = None,
    widths: tuple[int, int, int] = (64, 128, 256),
    train_images: int | None = None,
    test_images: int | None = None,
    steps: int = 42_500,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    weight_decay: float = 1e-4,
    milestones: tuple[int, ...] | None = None,
) -> Recipe:
    """Table 5.5 of the thesis: ResNet-32, four times as wide as usual, on CIFAR with minimum hyperspherical energy.

    Args:
        dataset: CIFAR-10 or CIFAR-100 as a folder (parquet files in Hugging Face layout) or a name on the hub; `noise`
            for random images, to try the steps; null for the hub's uoft-cs/cifar10 or uoft-cs/cifar100.
        row: which regularization: none, mhe-s2 (eq. 5.4), half-mhe-s2 (half space, 5.3.4).
        classes: 10 for CIFAR-10, 100 for CIFAR-100.
        coefficient: weight on the hidden layers; null for the thesis's: full space 10, half space 1.
        output_coefficient: weight on the output layer; null for the thesis's: 1.
        widths: channels of the three stages.
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of SGD, before the first milestone.
        weight_decay: of SGD, on every parameter.
        milestones: steps after which the learning rate is divided by 10; null for 20k, 30k and 37.5k of 42.5k, at the
            same shares of the steps.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that would be ignored.

    >>> wide_resnet("cifar10", "none", classes=10).paper
    {'top1': 94.81}
    """
    settings = dict(locals())
    settings["milestones"] = cifar_milestones(milestones, steps)
    numbers = TABLE_5_5[classes] if widths == (64, 128, 256) else {}
    network = partial(models.wide_resnet32, widths=widths, num_classes=classes)
    source = f"thesis, Table 5.5, ResNet-32 on {CIFAR[classes].title}"
    return _on_cifar(f"thesis-table5.5-cifar{classes}", source, network, numbers, "everywhere", settings)


def _on_cifar(
    name: str,
    source: str,
    network: partial[Any],
    numbers: Mapping[str, float],
    layers: Layers,
    settings: dict[str, Any],
) -> Recipe:
    images: ImageSet = CIFAR[settings["classes"]]
    row, kept = settings["row"], (settings["train_images"], settings["test_images"])
    check_positive(train_images=kept[0], test_images=kept[1])
    given = weights(row, layers, settings["coefficient"], settings["output_coefficient"])
    as_published = kept == (None, None) and given == weights(row, layers, None, None)
    settings |= {
        "dataset": settings["dataset"] or images.hub,
        "coefficient": given.output_coefficient if layers == "output" else given.coefficient,
        "output_coefficient": given.output_coefficient if layers == "everywhere" else None,
    }
    training = ("steps", "batch_size", "learning_rate", "weight_decay", "milestones")
    return Recipe(
        name=name,
        row=METHODS[row].label,
        source=source,
        model=network,
        data=partial(images.load, settings["dataset"], *kept),
        augment=data.augment,
        regularizer=regularization(*terms(row, given)),
        observe=minimum_angles,
        final=first_layer_cosines,
        paper=top1(numbers.get(row)) if as_published else {},
        settings=settings,
        **by_steps(**{name: settings[name] for name in training}),
    )
