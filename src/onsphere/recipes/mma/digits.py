"""The MMA paper's Table 3 in small."""

from __future__ import annotations

from functools import lru_cache, partial

from torch.optim import SGD
from torch.optim.lr_scheduler import MultiStepLR

from onsphere import data, models
from onsphere.recipes.mma.rows import ROWS, RowName, coefficient_of
from onsphere.recipes.observations import first_layer_cosines, minimum_angles
from onsphere.recipes.regularization import Layers, regularization
from onsphere.recipes.settings import check_positive, milestones_or
from onsphere.train import Recipe


def table3_digits(
    row: RowName = "mma",
    coefficient: float | None = None,
    layers: Layers = "everywhere",
    train_images: int = 100,
    depth: int = 6,
    widths: tuple[int, int, int] = (32, 64, 128),
    epochs: int = 40,
    batch_size: int = 25,
    learning_rate: float = 0.02,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    milestones: tuple[int, ...] | None = None,
) -> Recipe:
    """Table 3 of the MMA paper in small: a plain network on scikit-learn's handwritten digits, in about two minutes.

    The network is thesis table D.1's plain CNN, narrow, with batch normalization. It sees ten images (8 x 8) of each
    digit, so that there is something left to learn: it fits them all and errs on one in twelve of the others. The
    learning rate is the best of three for the row without regularization, on other seeds; size, batch and epochs are
    what two minutes allow. The coefficients are the paper's for VGG19-BN on CIFAR-100 and not tuned here, so that a row
    may as well do worse than none. A step on so small a batch is so cheap that the time of the regularizers, which does
    not depend on the batch, looks large.

    Args:
        row: which regularization: none, orthogonal (eq. 14), mhe-s2 and mhe-s0 (MHE over all pairs), mma (eq. 6).
        coefficient: weight of the regularization; null for the paper's: orthogonal 1e-4, MHE 1.0, MMA 0.07.
        layers: where it applies (Table 2): everywhere, the hidden layers, or the output layer.
        train_images: training images kept, the same number of each digit; the test images stay the same.
        depth: convolutions, a multiple of three.
        widths: channels of the three stages.
        epochs: passes over the training images.
        batch_size: images a step, over all processes.
        learning_rate: of SGD, before the first milestone.
        momentum: of SGD.
        weight_decay: of SGD, on every parameter.
        milestones: epochs after which the learning rate is divided by 10; null for one half and three quarters of the
            epochs, as 81 and 122 of 164 in the CIFAR schedule.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that row none would ignore.

    >>> recipe = table3_digits("mma", epochs=1)
    >>> recipe.name, recipe.row, recipe.settings["coefficient"]
    ('table3-digits', 'MMA', 0.07)
    """
    settings = dict(locals())
    settings["coefficient"] = weight = coefficient_of(row, coefficient, skip_connections=False)
    settings["milestones"] = milestones_or(milestones, (2, 3), of=4, to=epochs)
    check_positive(epochs=epochs, batch_size=batch_size, train_images=train_images, learning_rate=learning_rate)
    return Recipe(
        name="table3-digits",
        row=ROWS[row].label,
        source="MMA paper, Table 3 (in small: digits)",
        model=partial(models.plain_cnn, depth, widths=widths, in_channels=1, num_classes=10, image_size=8),
        data=partial(_digits, train_images),
        optimizer=partial(SGD, lr=learning_rate, momentum=momentum, weight_decay=weight_decay),
        schedule=partial(MultiStepLR, milestones=settings["milestones"], gamma=0.1),
        epochs=epochs,
        batch_size=batch_size,
        regularizer=regularization(*ROWS[row].terms(weight, layers)),
        observe=minimum_angles,
        final=first_layer_cosines,
        settings=settings,
    )


# One data set is kept, so that the rows of a comparison share it instead of reading it five times.
@lru_cache(maxsize=1)
def _digits(train_images: int) -> data.Data:
    return data.digits(train_images)
