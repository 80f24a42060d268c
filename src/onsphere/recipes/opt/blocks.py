"""Parameter-efficient OPT on CIFAR-100: Tables F.4 and F.5 of the thesis."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

from onsphere.recipes.mhe.training import top1
from onsphere.recipes.opt.methods import LABELS, WITHOUT_MATRICES, Start, prepare
from onsphere.recipes.opt.paper import BLOCKS, TABLE_F_4, TABLE_F_5
from onsphere.recipes.opt.training import WEIGHT_DECAY, in_turn, network, on_cifar100
from onsphere.recipes.settings import check_positive
from onsphere.train import Recipe
from onsphere.where import Layer


def parameter_efficient(
    dataset: str = "uoft-cs/cifar100",
    row: Literal["none", "fixed", "cp", "gs", "hr", "ls", "ogd"] = "cp",
    blocks: int = 2,
    share_blocks: bool = False,
    coefficient: float | None = None,
    rotation_rate: float | None = None,
    start: Start | None = None,
    widths: tuple[int, int, int] = (64, 64, 64),
    train_images: int | None = None,
    test_images: int | None = None,
    steps: int = 42_500,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    weight_decay: float = WEIGHT_DECAY,
    milestones: tuple[int, ...] | None = None,
) -> Recipe:
    """Tables F.4 and F.5 of the thesis: PE-OPT of CNN-6 on CIFAR-100, block-diagonal matrices of k blocks.

    A filter of 3 x 3 x 64 is split along its 64 channels into k parts, each with its own matrix (F.34, Table F.5) or
    all with the same (F.33, Table F.4): 331.7K parameters a layer at k=1, down to 0.1K at k=64 with shared blocks. The
    hidden layer, whose inputs are the 16 pixels of each of 64 channels, is split between channels, too. The first
    convolution has three channels and cannot be split into 2 or 64 parts: its matrix stays whole in every row, 27 x 27,
    the size of a thousandth of the parameters. Two rows learn no matrix and are the same for every k: the baseline, and
    "fixed random neurons", where only the classifier, the batch normalization and the hidden layer's biases learn.

    Training is that of ``thesis-table7.4-cifar100``.

    Args:
        dataset: CIFAR-100 as a folder (parquet files in Hugging Face layout) or a name on the hub; `noise` for random
            images, to try the steps.
        row: the baseline, fixed random neurons, or OPT with Cayley, Gram-Schmidt, Householder, Loewdin or OGD.
        blocks: k, a divisor of every stage's channels; the tables go from 1 to 64.
        share_blocks: all blocks of a layer are one matrix.
        coefficient: no row has one.
        rotation_rate: learning rate of the matrices of OGD, lambda in eq. 7.5, of which the thesis has no value.
        start: what the matrices start from: the identity, a random orthogonal matrix, or N(0, 1) entries of what the
            matrix is made from; null for the row's.
        widths: channels of the three stages.
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of SGD, before the first milestone.
        weight_decay: of SGD, on every parameter, the matrices included, but not on those of OGD.
        milestones: steps after which the learning rate is divided by 10; null for 20k, 30k and 37.5k of 42.5k, at the
            same shares of the steps.

    Raises:
        ValueError: for a value out of its range, and for a coefficient; when the model is prepared, if blocks do not
            divide its channels.

    >>> recipe = parameter_efficient("cifar100", "ls", blocks=8, share_blocks=True)
    >>> recipe.row, recipe.paper
    ('PE-OPT (LS)', {'top1': 54.38})
    """
    settings = dict(locals())
    check_positive(blocks=blocks)
    table, numbers = ("F.4", TABLE_F_4) if share_blocks else ("F.5", TABLE_F_5)
    error = numbers[blocks].get(row) if blocks in BLOCKS and widths == (64, 64, 64) else None
    learns = row not in WITHOUT_MATRICES
    split = partial(prepare, row, start=start)
    return on_cifar100(
        f"thesis-table{table}-cifar100",
        f"thesis, Table {table}, CNN-6 on CIFAR-100",
        row,
        partial(network, 6, widths),
        top1(error),
        settings,
        label=f"PE-{LABELS[row]}" if learns else None,
        # The others first: where blocks do not divide their channels, nothing is changed.
        prepared=in_turn(split(where=_others, blocks=blocks, share_blocks=share_blocks), split(where=_first))
        if learns
        else None,
    )


def _first(candidates: Sequence[Layer]) -> Sequence[Layer]:
    return candidates[:1]


def _others(candidates: Sequence[Layer]) -> Sequence[Layer]:
    return candidates[1:-1]
