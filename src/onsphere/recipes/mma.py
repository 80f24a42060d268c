"""Section 5 of the MMA paper: angular regularizers side by side (Table 3, Figure 1).

"MMA Regularization: Decorrelating Weights of Neural Networks by Maximizing the Minimal Angles", NeurIPS 2020.
A recipe is one row of the comparison; everything but the row is the same for all of them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import MultiStepLR

from onsphere import data, diagnostics, models, where
from onsphere.diversity import MHE, MMA, Orthogonal
from onsphere.regularizers import Regularizer
from onsphere.train import Recipe

RowName = Literal["none", "orthogonal", "mhe-s2", "mhe-s0", "mma"]
Layers = Literal["everywhere", "hidden", "output"]


@dataclass(frozen=True)
class Row:
    """A row of Table 3: a diversity measure with the paper's coefficient and numbers.

    Args:
        label: the name that tables and reports print.
        measure: makes the measure from the size of MHE's mini-batch of neurons (the others need none); None for no
            regularization.
        coefficient: the paper's, Section 5.2.
        skip_coefficient: the paper's for models with skip connections; None where it names no other one.
        paper: Table 3's numbers for VGG19-BN on CIFAR-100: accuracies in percent, seconds per batch of 128 and memory
            on a GTX 1080, the two as ratios to the baseline, and the minimum angles in degrees.
    """

    label: str
    measure: Callable[[float | None], nn.Module] | None
    coefficient: float
    skip_coefficient: float | None
    paper: Mapping[str, float]


def _paper(seconds: float, mebibytes: float, top1: float, top5: float, *angles: float) -> Mapping[str, float]:
    layers = ("conv3_3", "conv4_3", "conv5_3", "classifier")  # the paper's L3-3, L4-3, L5-3 and Classify
    return {
        "top1": top1,
        "top5": top5,
        "seconds_per_batch": seconds,
        "memory_mib": mebibytes,
        "time_ratio": round(seconds / 0.070, 3),
        "memory_ratio": round(mebibytes / 1127, 3),
        **{f"minimum_angle_deg.{layer}": angle for layer, angle in zip(layers, angles, strict=True)},
    }


ROWS: Mapping[RowName, Row] = {
    "none": Row("none", None, 0.0, None, _paper(0.070, 1127, 72.08, 90.50, 70.1, 16.0, 30.8, 54.0)),
    "orthogonal": Row(
        "orthogonal", lambda _: Orthogonal(), 1e-4, None, _paper(0.096, 1237, 72.83, 90.98, 79.3, 75.3, 81.2, 63.1)
    ),
    "mhe-s2": Row(
        "MHE s=2", lambda b: MHE(s=2.0, batch=b), 1.0, None, _paper(0.259, 5551, 71.91, 90.76, 74.2, 58.1, 68.5, 71.3)
    ),
    "mhe-s0": Row(
        "MHE s=0", lambda b: MHE(s=0.0, batch=b), 1.0, None, _paper(0.253, 5551, 72.08, 90.72, 69.6, 48.6, 57.8, 63.4)
    ),
    "mma": Row("MMA", lambda _: MMA(), 0.07, 0.03, _paper(0.095, 1229, 73.73, 91.21, 85.7, 84.7, 85.3, 84.9)),
}


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
    settings["coefficient"] = _coefficient(row, coefficient, skip_connections=False)
    settings["milestones"] = _milestones(milestones, epochs)
    _check_positive(epochs=epochs, batch_size=batch_size, train_images=train_images, learning_rate=learning_rate)
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
        regularizer=_build(row, settings["coefficient"], layers, mhe_batch=None),
        observe=minimum_angles,
        final=first_layer_cosines,
        settings=settings,
    )


def table3_cifar100(
    data_dir: Path,
    row: RowName = "mma",
    coefficient: float | None = None,
    layers: Layers = "everywhere",
    model: Literal["vgg19_bn", "resnet20"] = "vgg19_bn",
    width: float = 1.0,
    mhe_batch: float | None = 0.3,
    train_images: int | None = None,
    test_images: int | None = None,
    augment: bool = True,
    epochs: int = 164,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float | None = None,
    milestones: tuple[int, ...] | None = (81, 122),
) -> Recipe:
    """Table 3 of the MMA paper: VGG19-BN (or ResNet-20) on CIFAR-100; hours on a GPU, so try few images first on a CPU.

    The paper gives batch 128, SGD with momentum 0.9 and a learning rate of 0.1 "decayed by specific schedules", and
    refers to the papers of the models. Epochs, milestones and weight decay here are those of the widely used PyTorch
    CIFAR code by W. Yang (bearpaw/pytorch-classification, TRAINING.md), which has the same VGG19-BN and reports 71.95 %
    where the paper's baseline has 72.08 %; for ResNets they agree with He et al. 2016 (64k steps, weight decay 1e-4).
    Images are padded by 4 pixels, cropped and flipped at random, and normalised per channel.

    Args:
        data_dir: folder with CIFAR-100 as parquet files in Hugging Face layout (train-*.parquet, test-*.parquet).
        row: which regularization: none, orthogonal (eq. 14), mhe-s2 and mhe-s0, mma (eq. 6).
        coefficient: weight of the regularization; null for the paper's: orthogonal 1e-4, MHE 1.0, MMA 0.07 (0.03 with
            the skip connections of resnet20).
        layers: where it applies (Table 2): everywhere, the hidden layers, or the output layer.
        model: the network.
        width: factor on the channels of every layer.
        mhe_batch: share of each layer's neurons that MHE takes at random in every step; null for all.
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        augment: random crops and flips of the training images.
        epochs: passes over the training images.
        batch_size: images a step, over all processes.
        learning_rate: of SGD, before the first milestone.
        momentum: of SGD.
        weight_decay: of SGD, on every parameter; null for 5e-4 (vgg19_bn) or 1e-4 (resnet20).
        milestones: epochs after which the learning rate is divided by 10; null for one half and three quarters of the
            epochs.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that row none would ignore.

    >>> recipe = table3_cifar100(Path("cifar100"), "mma", model="resnet20")
    >>> recipe.row, recipe.settings["coefficient"], recipe.settings["weight_decay"]
    ('MMA', 0.03, 0.0001)
    """
    settings = dict(locals(), data_dir=str(data_dir))
    skips = model == "resnet20"
    settings["coefficient"] = _coefficient(row, coefficient, skip_connections=skips)
    settings["milestones"] = _milestones(milestones, epochs)
    settings["weight_decay"] = decay = weight_decay if weight_decay is not None else (1e-4 if skips else 5e-4)
    _check_positive(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, width=width)
    _check_positive(train_images=train_images, test_images=test_images)
    full = width == 1.0 and train_images is None and test_images is None and layers == "everywhere"
    like_the_paper = full and not skips and settings["coefficient"] == ROWS[row].coefficient
    return Recipe(
        name="table3-cifar100",
        row=ROWS[row].label,
        source="MMA paper, Table 3",
        model=partial({"vgg19_bn": models.vgg19_bn, "resnet20": models.resnet20}[model], num_classes=100, width=width),
        data=partial(_cifar100, Path(data_dir), train_images, test_images),
        optimizer=partial(SGD, lr=learning_rate, momentum=momentum, weight_decay=decay),
        schedule=partial(MultiStepLR, milestones=settings["milestones"], gamma=0.1),
        augment=data.augment if augment else None,
        epochs=epochs,
        batch_size=batch_size,
        regularizer=_build(row, settings["coefficient"], layers, mhe_batch),
        observe=minimum_angles,
        final=first_layer_cosines,
        paper=ROWS[row].paper if like_the_paper else {},
        settings=settings,
    )


def minimum_angles(model: nn.Module) -> dict[str, dict[str, float]]:
    """The smallest angle between two neurons of every layer, in degrees (last columns of Table 3).

    >>> layer = nn.Linear(2, 2, bias=False)
    >>> _ = nn.init.eye_(layer.weight)
    >>> minimum_angles(nn.Sequential(layer))
    {'minimum_angle_deg': {'0': 90.0}}
    """
    angles = diagnostics.minimum_angles(model)
    return {"minimum_angle_deg": {layer: round(math.degrees(angle), 4) for layer, angle in angles.items()}}


def first_layer_cosines(model: nn.Module, above: float = 0.2, bins: int = 100) -> dict[str, dict[str, object]]:
    """Histogram of the pairwise cosines of the first layer's filters, and how many exceed a bound (Figure 1).

    Args:
        model: any model with a layer of two neurons or more.
        above: the bound; the paper counts 495 values above 0.2 without regularization and none with MMA.
        bins: equal bins over [-1, 1].

    >>> layer = nn.Linear(2, 3, bias=False)
    >>> layer.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> first_layer_cosines(nn.Sequential(layer), bins=4)["cosines"]["counts"]
    [0, 0, 1, 2]
    """
    layer = next(iter(diagnostics.minimum_angles(model)))
    cosines: Tensor = diagnostics.cosines(model, layer).detach().double().cpu()
    counts = torch.histc(cosines.clamp(-1, 1), bins=bins, min=-1.0, max=1.0)
    return {
        "cosines": {
            "layer": layer,
            "edges": [round(edge, 6) for edge in torch.linspace(-1, 1, bins + 1, dtype=torch.float64).tolist()],
            "counts": [int(count) for count in counts.tolist()],
            "above": above,
            "pairs_above": int((cosines > above).sum()),
            "pairs": cosines.numel(),
        }
    }


# One data set is kept, so that the rows of a comparison share it instead of decoding it five times.
@lru_cache(maxsize=1)
def _digits(train_images: int) -> data.Data:
    return data.digits(train_images)


@lru_cache(maxsize=1)
def _cifar100(folder: Path, train_images: int | None, test_images: int | None) -> data.Data:
    full = data.parquet(folder)
    if full.num_classes != 100:
        raise ValueError(f"data_dir={str(folder)!r} has {full.num_classes} classes: expected the 100 of CIFAR-100")
    return replace(full, train=_first(full.train, train_images), test=_first(full.test, test_images))


def _first(images: data.Images, count: int | None) -> data.Images:
    return data.Images(images.images[:count], images.labels[:count])


def _build(
    row: RowName, coefficient: float, layers: Layers, mhe_batch: float | None
) -> Callable[[nn.Module], Regularizer] | None:
    if ROWS[row].measure is None:
        return None
    return partial(_regularizer, row=row, coefficient=coefficient, layers=layers, mhe_batch=mhe_batch)


def _regularizer(
    model: nn.Module, row: RowName, coefficient: float, layers: Layers, mhe_batch: float | None
) -> Regularizer:
    measure = ROWS[row].measure
    assert measure is not None, "rows without a measure have no regularizer"
    places = {"everywhere": where.everywhere, "hidden": where.hidden, "output": where.output}
    return Regularizer(model, measure(mhe_batch), coefficient=coefficient, where=places[layers])


def _coefficient(row: RowName, coefficient: float | None, *, skip_connections: bool) -> float:
    if row not in ROWS:
        raise ValueError(f"row={row!r} is none of {', '.join(ROWS)}")
    if row == "none" and coefficient:
        raise ValueError(f"coefficient={coefficient} has no effect on row 'none', which has no regularization")
    if coefficient is not None:
        return coefficient
    of_skips = ROWS[row].skip_coefficient
    return of_skips if skip_connections and of_skips is not None else ROWS[row].coefficient


def _milestones(milestones: tuple[int, ...] | None, epochs: int) -> tuple[int, ...]:
    return (epochs // 2, 3 * epochs // 4) if milestones is None else tuple(milestones)


def _check_positive(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name}={value} must be greater than 0")
