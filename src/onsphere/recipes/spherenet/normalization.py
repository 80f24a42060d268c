"""SphereNorm beside BatchNorm, CIFAR-10: the thesis's Figure 3.5 (small batches) and the second panel of Figure 3.3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from onsphere import data, models
from onsphere.diversity import Orthonormal
from onsphere.layers import SphereNormConv2d
from onsphere.magnitude import Sphere
from onsphere.models.sizes import scaled
from onsphere.recipes.decoupled import adam_by_steps, classified, penalties
from onsphere.recipes.image_sets import CIFAR10
from onsphere.recipes.observations import minimum_angles
from onsphere.recipes.settings import check_positive
from onsphere.recipes.spherenet.cifar import HIDDEN, ORTHONORMAL, STEPS, WEIGHT_DECAY, cifar_milestones, given_or
from onsphere.train import Recipe

RowName = Literal[
    "batch-norm",
    "sphere-norm",
    "sphere-norm-orthonormal",
    "sphere-norm-rescaled",
    "batch-norm-sphere-norm",
    "batch-norm-sphere-norm-orthonormal",
]


@dataclass(frozen=True)
class Norm:
    """What normalizes the layers of CNN-9.

    Args:
        label: the name that tables and reports print.
        batch: there is BatchNorm.
        sphere: convolutions and hidden layer are cosine SphereConvs.
        rescaled: their outputs are rescaled by learned numbers (3.2.5).
        orthonormal: their weights are regularized.
    """

    label: str
    batch: bool
    sphere: bool
    rescaled: bool = False
    orthonormal: bool = False


NORMS: Mapping[str, Norm] = {
    "batch-norm": Norm("BatchNorm", batch=True, sphere=False),
    "sphere-norm": Norm("SphereNorm", batch=False, sphere=True),
    "sphere-norm-orthonormal": Norm("SphereNorm, orthonormal", batch=False, sphere=True, orthonormal=True),
    "sphere-norm-rescaled": Norm("rescaled SphereNorm", batch=False, sphere=True, rescaled=True),
    "batch-norm-sphere-norm": Norm("BatchNorm + SphereNorm", batch=True, sphere=True),
    "batch-norm-sphere-norm-orthonormal": Norm(
        "BatchNorm + SphereNorm, orthonormal", batch=True, sphere=True, orthonormal=True
    ),
}


def normalization(
    dataset: str = "uoft-cs/cifar10",
    row: RowName = "batch-norm-sphere-norm",
    coefficient: float | None = None,
    width: float = 1.0,
    train_images: int | None = None,
    test_images: int | None = None,
    steps: int = STEPS,
    batch_size: int = 128,
    learning_rate: float = 0.001,
    weight_decay: float = WEIGHT_DECAY,
    milestones: tuple[int, ...] | None = None,
) -> Recipe:
    """Figures 3.5 and 3.3 (b) of the thesis: CNN-9 on CIFAR-10 with BatchNorm, SphereNorm or both, small batches too.

    SphereNorm is the cosine SphereConv (3.4.4). Everything but the normalization is that of the other recipes of
    chapter 3: softmax, Adam, mirrored images. The thesis has curves and no numbers: SphereNorm ends near BatchNorm and
    is faster, both together are the fastest and the best, the orthonormal constraint helps a little, rescaling does
    not. A row costs what one of Table 3.1 costs times its batch over 128, less than an hour on a CPU for batches of 4.
    Rescaled are the convolutions, with a factor, from 1, and a summand, from 0, for each filter, as BatchNorm has them.

    Args:
        dataset: CIFAR-10 as a folder (parquet files in Hugging Face layout) or a name on the hub; `noise` for random
            images, to try the steps.
        row: which normalization; -orthonormal with the regularization of 3.2.4, -rescaled with that of 3.2.5.
        coefficient: of the orthonormal regularization; null for 1e-4.
        width: factor on the 64, 96 and 128 filters and on the 256 neurons of the hidden layer.
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of Adam, before the first milestone.
        weight_decay: of ordinary convolutions and linear layers, the last one among them; SphereConvs have none.
        milestones: steps after which the learning rate is divided by 10; null for 34k and 54k of 64k, at the same
            shares of the steps.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that would be ignored.

    >>> normalization("cifar10", "sphere-norm-rescaled").row
    'rescaled SphereNorm'
    """
    settings = dict(locals())
    norm = NORMS[row]
    check_positive(width=width, train_images=train_images, test_images=test_images)
    settings["coefficient"] = given_or(coefficient, ORTHONORMAL if norm.orthonormal else 0.0, row)
    settings["milestones"] = cifar_milestones(milestones, steps)
    return Recipe(
        name="thesis-figure3.5-cifar10",
        row=norm.label,
        source="thesis, Figure 3.5",
        data=partial(CIFAR10.load, dataset, train_images, test_images),
        augment=data.flip,
        regularizer=penalties(Orthonormal, settings["coefficient"], weight_decay),
        observe=minimum_angles,
        settings=settings,
        **classified(partial(_network, norm, width), CIFAR10.classes),
        **adam_by_steps(steps, batch_size, learning_rate, settings["milestones"]),
    )


def _network(norm: Norm, width: float, num_classes: int) -> nn.Module:
    first, second, third, hidden = scaled((64, 96, 128, HIDDEN), width)
    model = models.decoupled_cnn(
        9,
        magnitude=Sphere() if norm.sphere else None,
        widths=(first, second, third),
        fc=hidden,
        batch_norm=norm.batch,
        num_classes=num_classes,
    )
    if norm.rescaled:
        for name, layer in [*model.named_children()]:
            if isinstance(layer, nn.Conv2d):
                rescaled = SphereNormConv2d(layer.in_channels, layer.out_channels, 3, padding=1)
                rescaled.weight = nn.Parameter(layer.weight.detach())
                setattr(model, name, rescaled)
    return model
