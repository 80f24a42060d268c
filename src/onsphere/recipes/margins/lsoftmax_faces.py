"""L-Softmax on faces: Table 2.5 of the thesis."""

from __future__ import annotations

from functools import partial
from typing import Literal

from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from onsphere import models
from onsphere.recipes.margins import paper
from onsphere.recipes.margins.faces import FaceNetwork, face_recipe
from onsphere.recipes.margins.objectives import Annealing, Tuning, objective
from onsphere.recipes.margins.protocols import Faces
from onsphere.recipes.settings import check_positive
from onsphere.train import Recipe


def lsoftmax_faces(
    dataset: str = "casia-webface",
    row: Literal["softmax", "softmax-contrastive", "l-softmax-m2", "l-softmax-m3", "l-softmax-m4"] = "l-softmax-m4",
    coefficient: float | None = None,
    width: float = 1.0,
    features: int = 512,
    image_size: tuple[int, int] = (112, 96),
    lfw: str = "lfw.bin",
    pair_weight: float | None = None,
    annealing_gamma: float = 0.12,
    annealing_minimum: float = 5.0,
    epochs: int = 30,
    steps: int | None = None,
    batch_size: int = 256,
    learning_rate: float = 0.1,
    patience: int = 2,
    weight_decay: float = 5e-4,
    clip: float | None = None,
) -> Recipe:
    """Table 2.5 of the thesis: L-Softmax trained on CASIA-WebFace and verified on LFW; days on a GPU.

    Table 2.1's network, batch 256, about 30 epochs, learning rates 0.1, 0.01 and 0.001, "switched when the training
    loss plateaus" (2.2.7): here when it has not fallen for some epochs. The thesis names no numbers of the annealing;
    they are those of SphereFace. It does not name the size of the images either.

    Args:
        dataset: CASIA-WebFace as a folder with a folder for each person, or parquet files; `noise` for random images.
        row: the objective.
        coefficient: only null: these rows regularize nothing.
        width: factor on the filters.
        features: numbers that stand for a face.
        image_size: height and width that faces are brought to; of larger ones the middle is taken.
        lfw: LFW's 6000 pairs as a `.bin` file.
        pair_weight: weight of the contrastive loss (null: 1).
        annealing_gamma: how fast lambda falls from 1000, as 1 / (1 + gamma t).
        annealing_minimum: where lambda stays.
        epochs: passes over the training images.
        steps: of the optimizer, after which training stops; null for those of all epochs.
        batch_size: images a step, over all processes.
        learning_rate: of SGD with momentum 0.9, at first.
        patience: epochs without a lower training loss after which the learning rate is divided by 10, twice at most.
        weight_decay: of SGD, on every parameter.
        clip: the most that the norm of all gradients may be; null to leave it.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that would be ignored.

    >>> lsoftmax_faces("faces").paper
    {'lfw': 98.71}
    """
    settings = dict(locals())
    chosen = objective(row, coefficient)
    settings["coefficient"] = chosen.coefficient
    check_positive(epochs=epochs, steps=steps, batch_size=batch_size, learning_rate=learning_rate)
    return face_recipe(
        "thesis-table2.5",
        "thesis, Table 2.5",
        FaceNetwork(partial(models.lsoftmax_cnn, "lfw"), width, features, image_size),
        chosen,
        Tuning(Annealing(annealing_gamma, annealing_minimum), pair_weight=pair_weight),
        Faces((("lfw", lfw),), image_size),
        "lfw",
        paper.TABLE_2_5.get(row, {}) if width == 1.0 else {},
        settings,
        {
            "optimizer": partial(SGD, lr=learning_rate, momentum=0.9, weight_decay=weight_decay),
            "schedule": partial(_plateaus, patience=patience, lowest=learning_rate / 100),
            "epochs": epochs,
            "max_steps": steps,
            "batch_size": batch_size,
        },
    )


def _plateaus(optimizer: Optimizer, patience: int, lowest: float) -> ReduceLROnPlateau:
    return ReduceLROnPlateau(optimizer, factor=0.1, patience=patience, min_lr=lowest)
