"""ImageNet: Table 7.9 of the thesis."""

from __future__ import annotations

from functools import partial
from typing import Literal

from onsphere import data, models, where
from onsphere.recipes.image_sets import IMAGENET
from onsphere.recipes.mhe.training import by_steps
from onsphere.recipes.opt.methods import LABELS, Start, prepare
from onsphere.recipes.opt.paper import TABLE_7_9
from onsphere.recipes.opt.training import WEIGHT_DECAY, as_published, cosines, in_turn, observations, trained_as
from onsphere.recipes.settings import check_positive, milestones_or
from onsphere.train import Recipe

STEPS = 700_000
FC_BLOCKS = 64


def imagenet(
    dataset: str = "ILSVRC/imagenet-1k",
    row: Literal["none", "cp"] = "cp",
    fc_blocks: int = FC_BLOCKS,
    coefficient: float | None = None,
    start: Start | None = None,
    width: float = 1.0,
    image_size: int = 224,
    train_images: int | None = None,
    test_images: int | None = None,
    steps: int = STEPS,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    weight_decay: float = WEIGHT_DECAY,
    milestones: tuple[int, ...] | None = None,
) -> Recipe:
    """Table 7.9 of the thesis: OPT (CP) of the plain CNN-10 on ImageNet; days on a GPU.

    The network is that of Table F.1. The thesis calls this OPT (CP) "GPU memory-efficient" and does not say in which
    way. Here the matrices of the convolutions are whole, the largest of them 2304 x 2304; that of the hidden layer,
    which reads 7 x 7 pixels of 256 channels, would have 12544 x 12544 entries and has 64 blocks of four channels (F.34)
    instead. F.3 has SGD with momentum 0.9, batch 128, a learning rate of 0.1, 700k steps and weight decay 5e-4; the
    rate is "divided by 10 when the performance is saturated", here after 200k, 375k and 550k steps. Training images are
    256 x 256 (the shorter side is resized, the centre kept), randomly cropped and flipped.

    Args:
        dataset: ImageNet-2012 as a folder of image files or parquet files in Hugging Face layout, or a name on the hub,
            which asks for its licence to be accepted; `noise` for random images, to try the steps.
        row: the baseline, or OPT with Cayley.
        fc_blocks: blocks of the hidden layer's matrix, a divisor of its inputs.
        coefficient: no row has one.
        start: what the matrices start from: the identity, a random orthogonal matrix, or N(0, 1) entries of what the
            matrix is made from; null for the identity.
        width: factor on the channels of every layer.
        image_size: height and width of the crops, in pixels.
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of SGD, before the first milestone.
        weight_decay: of SGD, on every parameter.
        milestones: steps after which the learning rate is divided by 10; null for 200k, 375k and 550k of 700k, at the
            same shares of the steps.

    Raises:
        ValueError: for a value out of its range, and for a coefficient; when the model is prepared, if fc_blocks do not
            divide the hidden layer's inputs.

    >>> imagenet("imagenet", "cp").paper
    {'top1': 56.33, 'top5': 79.74}
    """
    settings = dict(locals())
    check_positive(width=width, image_size=image_size, train_images=train_images, test_images=test_images)
    check_positive(fc_blocks=fc_blocks)
    settings["milestones"] = milestones_or(milestones, (200_000, 375_000, 550_000), of=STEPS, to=steps)
    full = (width, image_size, train_images, test_images) == (1.0, 224, None, None)
    same = as_published(row, settings) and (fc_blocks == FC_BLOCKS or row == "none")
    errors = dict(zip(("top1", "top5"), TABLE_7_9.get(row, ()), strict=False)) if full and same else {}
    split = partial(prepare, row, start=start)
    training = by_steps(steps, batch_size, learning_rate, weight_decay, settings["milestones"])
    return Recipe(
        name="thesis-table7.9-imagenet",
        row=LABELS[row],
        source="thesis, Table 7.9",
        model=partial(models.plain_cnn10, 1000, width=width, image_size=image_size),
        data=partial(IMAGENET.load, dataset, train_images, test_images),
        augment=data.crop_flip(image_size),
        test_transform=data.centre_crop(image_size),
        # The hidden layer first: where blocks do not divide its inputs, nothing is changed.
        prepare=None
        if row == "none"
        else in_turn(split(where=where.named("fc"), blocks=fc_blocks), split(where=where.named("conv*"))),
        observe=observations(row),
        final=cosines,
        paper={metric: round(100 - error, 2) for metric, error in errors.items()},
        settings=settings,
        **trained_as(row, settings, training),
    )
