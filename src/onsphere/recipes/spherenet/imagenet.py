"""ImageNet: the thesis's Figure 3.6."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from onsphere import data, models
from onsphere.diversity import Orthonormal
from onsphere.magnitude import Sphere
from onsphere.models.sizes import scaled
from onsphere.recipes.decoupled import classified, penalties
from onsphere.recipes.image_sets import IMAGENET
from onsphere.recipes.margins.objectives import Annealing
from onsphere.recipes.mhe.training import by_steps
from onsphere.recipes.settings import check_positive, milestones_or
from onsphere.recipes.spherenet.cifar import ORTHONORMAL, WEIGHT_DECAY, angles, given_or
from onsphere.recipes.spherenet.rows import LOSSES
from onsphere.train import Recipe

WIDTHS = (256, 512, 768, 1024)  # Table B.2


@dataclass(frozen=True)
class Kind:
    """One of the three networks.

    Args:
        label: the name that tables and reports print.
        sphere: its layers are cosine SphereConvs.
        shortcuts: its 1 x 1 shortcut convolutions, too.
        loss: one of LOSSES.
    """

    label: str
    sphere: bool
    shortcuts: bool
    loss: str


KINDS: Mapping[str, Kind] = {
    "resnet-18": Kind("ResNet-18", sphere=False, shortcuts=False, loss="softmax"),
    "sphere-v1": Kind("SphereResNet-18-v1", sphere=True, shortcuts=True, loss="w-cosine"),
    "sphere-v2": Kind("SphereResNet-18-v2", sphere=True, shortcuts=False, loss="softmax"),
}


def imagenet(
    dataset: str = "ILSVRC/imagenet-1k",
    row: Literal["resnet-18", "sphere-v1", "sphere-v2"] = "sphere-v2",
    coefficient: float | None = None,
    width: float = 1.0,
    image_size: int = 224,
    train_images: int | None = None,
    test_images: int | None = None,
    steps: int = 550_000,
    batch_size: int = 40,
    learning_rate: float = 0.1,
    weight_decay: float = WEIGHT_DECAY,
    milestones: tuple[int, ...] | None = None,
) -> Recipe:
    """Figure 3.6 of the thesis: a wide ResNet-18 and two SphereResNet-18 on ImageNet; a week on one GPU.

    Both have cosine SphereConvs: v1 also in the 1 x 1 shortcuts, and the cosine W-Softmax loss; v2 has ordinary
    shortcuts and the softmax loss (3.4.6, B.2). Training images are 256 x 256 (the shorter side is resized, the centre
    kept), randomly cropped and mirrored; the test is on the centre crop. SGD with momentum 0.9, batch 40. The thesis
    has curves and no numbers: both SphereNets are faster, v1 the fastest and v2 the best. Weight decay and orthonormal
    regularization are those of the recipes on CIFAR, since it gives none here.

    Args:
        dataset: ImageNet-2012 as a folder of image files or parquet files in Hugging Face layout, or a name on the hub,
            which asks for its licence to be accepted; `noise` for random images, to try the steps.
        row: which network.
        coefficient: of the orthonormal regularization of the SphereConvs; null for 1e-4. The ordinary network has none.
        width: factor on the 256, 512, 768 and 1024 filters.
        image_size: height and width of the crops, in pixels.
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of SGD, before the first milestone.
        weight_decay: of ordinary convolutions and linear layers, the last one among them; SphereConvs have none.
        milestones: steps after which the learning rate is divided by 10; null for 200k and 375k of 550k, at the same
            shares of the steps.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that would be ignored.

    >>> imagenet("imagenet", "sphere-v1").row
    'SphereResNet-18-v1'
    """
    settings = dict(locals())
    kind = KINDS[row]
    check_positive(width=width, image_size=image_size, train_images=train_images, test_images=test_images)
    settings["coefficient"] = given_or(coefficient, ORTHONORMAL if kind.sphere else 0.0, row)
    settings["milestones"] = milestones_or(milestones, (200_000, 375_000), of=550_000, to=steps)
    features = scaled(WIDTHS, width)[-1]
    return Recipe(
        name="thesis-figure3.6-imagenet",
        row=kind.label,
        source="thesis, Figure 3.6",
        data=partial(IMAGENET.load, dataset, train_images, test_images),
        augment=data.crop_flip(image_size),
        test_transform=data.centre_crop(image_size),
        regularizer=penalties(Orthonormal, settings["coefficient"], weight_decay),
        observe=angles,
        settings=settings,
        **classified(
            partial(
                models.decoupled_resnet18,
                magnitude=Sphere() if kind.sphere else None,
                shortcuts=kind.shortcuts,
                widths=WIDTHS,
                width=width,
            ),
            IMAGENET.classes,
            LOSSES[kind.loss].head(features, IMAGENET.classes, Annealing()),
        ),
        **by_steps(steps, batch_size, learning_rate, 0.0, settings["milestones"]),
    )
