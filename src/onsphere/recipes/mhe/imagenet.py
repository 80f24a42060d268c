"""ImageNet: the thesis's Table 5.6."""

from __future__ import annotations

from functools import partial
from typing import Literal

from onsphere import data, models
from onsphere.recipes.image_sets import IMAGENET
from onsphere.recipes.mhe.methods import METHODS, terms, weights
from onsphere.recipes.mhe.paper import TABLE_5_6
from onsphere.recipes.mhe.training import by_steps, imagenet_milestones, top1
from onsphere.recipes.observations import first_layer_cosines, minimum_angles
from onsphere.recipes.regularization import regularization
from onsphere.recipes.settings import check_positive
from onsphere.train import Recipe


def imagenet(
    dataset: str = "ILSVRC/imagenet-1k",
    row: Literal["none", "orthogonal", "orthonormal", "mhe-s2", "half-mhe-s2"] = "half-mhe-s2",
    coefficient: float | None = None,
    output_coefficient: float | None = None,
    model: Literal["resnet18", "resnet34"] = "resnet18",
    width: float = 1.0,
    image_size: int = 224,
    train_images: int | None = None,
    test_images: int | None = None,
    steps: int = 500_000,
    batch_size: int = 64,
    learning_rate: float = 0.1,
    weight_decay: float = 1e-4,
    milestones: tuple[int, ...] | None = None,
) -> Recipe:
    """Table 5.6 of the thesis: ResNet-18 or ResNet-34 on ImageNet with minimum hyperspherical energy; days on a GPU.

    Training images are 256 x 256 (the shorter side is resized, the centre kept), randomly cropped and flipped; the
    top-1 error is that of the centre crop. D.1 gives the coefficients of MHE and of the orthonormal regularization;
    that of the orthogonal one of Rodriguez et al. 2017 is not given, and is the MMA paper's here.

    Args:
        dataset: ImageNet-2012 as a folder of image files or parquet files in Hugging Face layout, or a name on the hub,
            which asks for its licence to be accepted; `noise` for random images, to try the steps.
        row: which regularization: none, orthogonal (MMA paper, eq. 14), orthonormal (5.3.7), mhe-s2 (eq. 5.4),
            half-mhe-s2 (half space, 5.3.4).
        coefficient: weight on the hidden layers; null for the thesis's: full space 10, half space 1, orthonormal 1e-5,
            and 1e-4 for orthogonal.
        output_coefficient: weight on the output layer; null for the thesis's: MHE 1, orthonormal 1e-5, orthogonal 1e-4.
        model: the network.
        width: factor on the channels of every layer.
        image_size: height and width of the crops, in pixels.
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of SGD, before the first milestone.
        weight_decay: of SGD, on every parameter.
        milestones: steps after which the learning rate is divided by 10; null for 150k, 300k and 400k of 500k, at the
            same shares of the steps.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that would be ignored.

    >>> imagenet("imagenet", "mhe-s2", model="resnet34").paper
    {'top1': 70.4}
    """
    settings = dict(locals())
    settings["milestones"] = imagenet_milestones(milestones, steps)
    check_positive(width=width, image_size=image_size, train_images=train_images, test_images=test_images)
    given = weights(row, "everywhere", coefficient, output_coefficient)
    settings |= {"coefficient": given.coefficient, "output_coefficient": given.output_coefficient}
    full = (width, image_size, train_images, test_images) == (1.0, 224, None, None)
    as_published = full and given == weights(row, "everywhere", None, None)
    network = {"resnet18": models.resnet18, "resnet34": models.resnet34}[model]
    return Recipe(
        name="thesis-table5.6-imagenet",
        row=METHODS[row].label,
        source=f"thesis, Table 5.6, {'ResNet-18' if model == 'resnet18' else 'ResNet-34'}",
        model=partial(network, num_classes=1000, width=width),
        data=partial(IMAGENET.load, dataset, train_images, test_images),
        augment=data.crop_flip(image_size),
        test_transform=data.centre_crop(image_size),
        regularizer=regularization(*terms(row, given)),
        observe=minimum_angles,
        final=first_layer_cosines,
        paper=top1(TABLE_5_6[model][row]) if as_published else {},
        settings=settings,
        **by_steps(steps, batch_size, learning_rate, weight_decay, settings["milestones"]),
    )
