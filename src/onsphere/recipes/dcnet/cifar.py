"""CIFAR: Tables 4.1 to 4.5 and C.2 of the thesis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from torch import nn

from onsphere import data, models
from onsphere.diversity import OrthogonalDiagonal
from onsphere.layers import Weighting, weighted_gradients
from onsphere.models.sizes import scaled
from onsphere.recipes.dcnet.paper import TABLE_4_1, TABLE_4_2, TABLE_4_3, TABLE_4_4, TABLE_4_5, TABLE_C_2, Errors
from onsphere.recipes.dcnet.rows import OperatorRow, operator
from onsphere.recipes.dcnet.training import PROJECT_EVERY, WEIGHT_DECAY, orthogonality, projection
from onsphere.recipes.decoupled import adam_by_steps, classified, penalties
from onsphere.recipes.image_sets import CIFAR, CIFAR100, ImageSet
from onsphere.recipes.margins.objectives import Annealing
from onsphere.recipes.mhe.training import by_steps, cifar_milestones, top1
from onsphere.recipes.observations import minimum_angles
from onsphere.recipes.settings import check_positive
from onsphere.recipes.spherenet.rows import LOSSES
from onsphere.train import Recipe

Classes = Literal[10, 100]
OptimizerName = Literal["adam", "sgd"]
LEARNING_RATES: Mapping[str, float] = {"adam": 0.001, "sgd": 0.1}


def operators(
    dataset: str = "uoft-cs/cifar100",
    row: OperatorRow = "tanh-cosine",
    model: Literal["cnn9", "resnet32"] = "resnet32",
    batch_norm: bool = True,
    relu: bool = True,
    optimizer: OptimizerName = "adam",
    coefficient: float | None = None,
    project_every: int | None = PROJECT_EVERY,
    width: float = 1.0,
    train_images: int | None = None,
    test_images: int | None = None,
    steps: int = 42_500,
    batch_size: int = 128,
    learning_rate: float | None = None,
    weight_decay: float = WEIGHT_DECAY,
    milestones: tuple[int, ...] | None = None,
    table: Literal["4.2", "4.3", "4.4", "C.2"] = "4.4",
) -> Recipe:
    """Tables 4.2, 4.3, 4.4 and C.2 of the thesis: decoupled operators on CIFAR-100, in CNN-9 or ResNet-32.

    The networks are Table C.1's; the operators are unweighted, with weight projection. Adam starts at 0.001 and its
    learning rate is "divided by 10 when the error plateaus": here after 20k, 30k and 37.5k of 42.5k steps, as in the
    authors' published code, so that all rows train alike. That code is also where the weight of the orthogonal
    constraint (of section 4.5, on raw filters here; it has half of the square, on normalised ones), the weight decay
    and the 100 steps between projections come from, about which the thesis is silent. For SGD (Table C.2) it has only
    the momentum; the learning rate of 0.1 is that of its ImageNet networks. Images are padded, cropped and flipped.

    A row of ResNet-32 takes an hour or two on a GPU of today and weeks on a CPU, one of CNN-9 a fifth of it; with
    width=0.25 and 2000 steps CNN-9 takes an hour on a CPU. With batch normalization a training needs some hundred steps
    before its test accuracy says anything: outputs of SphereConv vary by a thousandth of the running variance that it
    starts from. Two of Table 4.2's rows could not converge in the thesis (N/C): a run may end there with a loss that is
    not finite.

    Args:
        dataset: CIFAR-100 as a folder (parquet files in Hugging Face layout) or a name on the hub; `noise` for random
            images, to try the steps.
        row: the ordinary convolution, or a magnitude function (eqs. 4.4 to 4.10) and an angular activation (4.11 to
            4.14).
        model: the network.
        batch_norm: batch normalization; Table 4.2 has none.
        relu: ReLU; half of Table 4.3 has none.
        optimizer: Adam, or SGD with momentum 0.9 (Table C.2).
        coefficient: weight of the orthogonal constraint on the filters of decoupled layers; null for 1e-5.
        project_every: steps between two weight projections (4.4.1); null for none.
        width: factor on the channels of every layer.
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: before the first milestone; null for 0.001 of Adam and 0.1 of SGD.
        weight_decay: on linear and convolution layers that are not decoupled; all of the baseline's.
        milestones: steps after which the learning rate is divided by 10; null for 20k, 30k and 37.5k of 42.5k, at the
            same shares of the steps.
        table: whose number stands beside the result.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that would be ignored.

    >>> recipe = operators("cifar100", "seg-square-cosine", model="cnn9", relu=False, table="4.3")
    >>> recipe.row, recipe.paper, recipe.settings["coefficient"]
    ('SegConv, square cosine', {'top1': 75.71}, 1e-05)
    """
    settings = dict(locals())
    chosen = operator(row)
    if model == "cnn9":
        first, second, third, hidden = scaled((64, 128, 256, 512), width)
        network = partial(models.decoupled_cnn, 9, widths=(first, second, third), fc=hidden)
    else:
        network = partial(models.decoupled_resnet32, widths=(96, 192, 384), width=width)
    network = partial(network, **chosen.arguments, batch_norm=batch_norm, relu=relu)
    tables: Mapping[str, tuple[Errors, tuple[object, ...]]] = {
        "4.2": (TABLE_4_2, ("cnn9", False, True, "adam")),
        "4.3": (TABLE_4_3[relu], ("cnn9", True, relu, "adam")),
        "4.4": (TABLE_4_4, ("resnet32", True, True, "adam")),
        "C.2": (TABLE_C_2, ("resnet32", True, True, "sgd")),
    }
    errors, published = tables[table]
    same = (model, batch_norm, relu, optimizer) == published and (project_every is not None or row == "baseline")
    settings["learning_rate"] = LEARNING_RATES[optimizer] if learning_rate is None else learning_rate
    return _on_cifar(
        f"thesis-table{table}-cifar100",
        f"thesis, Table {table}, {'CNN-9' if model == 'cnn9' else 'ResNet-32'} on CIFAR-100",
        chosen.label,
        classified(network, CIFAR100.classes),
        errors.get(row) if same else None,
        settings,
        optimizer=optimizer,
        after_step=projection(row, project_every),
    )


# Row: label, how ||w|| comes in (eqs. 4.15 and 4.16), whether the filters are projected, whether eq. 4.18 holds.
TRICKS: Mapping[str, tuple[str, Weighting | None, bool, bool]] = {
    "linearly-weighted": ("linearly weighted", "linear", False, False),
    "nonlinearly-weighted-product": ("nonlinearly weighted (4.15)", "nonlinear_product", False, False),
    "nonlinearly-weighted-separate": ("nonlinearly weighted (4.16)", "nonlinear_separate", False, False),
    "standard": ("standard gradients", None, False, False),
    "weight-projection": ("weight projection", None, True, False),
    "weighted-gradients": ("weighted gradients", None, False, True),
}


def optimization(
    dataset: str = "uoft-cs/cifar100",
    row: Literal[
        "linearly-weighted",
        "nonlinearly-weighted-product",
        "nonlinearly-weighted-separate",
        "standard",
        "weight-projection",
        "weighted-gradients",
    ] = "weight-projection",
    coefficient: float | None = None,
    project_every: int = PROJECT_EVERY,
    width: float = 1.0,
    train_images: int | None = None,
    test_images: int | None = None,
    steps: int = 42_500,
    batch_size: int = 128,
    learning_rate: float = LEARNING_RATES["adam"],
    weight_decay: float = WEIGHT_DECAY,
    milestones: tuple[int, ...] | None = None,
) -> Recipe:
    """Table 4.1 of the thesis: TanhConv in ResNet-32 on CIFAR-100, with weighted operators and optimization tricks.

    The thesis does not name the network or the angular activation; the error of weight projection is that of TanhConv
    with the cosine in ResNet-32 (Table 4.4). Everything else is as there, see ``thesis-table4.4-cifar100``: an hour or
    two on a GPU a row.

    Args:
        dataset: CIFAR-100 as a folder (parquet files in Hugging Face layout) or a name on the hub; `noise` for random
            images, to try the steps.
        row: the norm of the filter in the magnitude, linearly or as in eq. 4.15 and 4.16; or without it, the ordinary
            gradients, weight projection (4.4.1) or weighted gradients (4.4.2).
        coefficient: weight of the orthogonal constraint on the filters of decoupled layers; null for 1e-5.
        project_every: steps between two weight projections, of that row.
        width: factor on the channels of every layer.
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of Adam, before the first milestone.
        weight_decay: on linear and convolution layers that are not decoupled.
        milestones: steps after which the learning rate is divided by 10; null for 20k, 30k and 37.5k of 42.5k, at the
            same shares of the steps.

    Raises:
        ValueError: for a value out of its range.

    >>> recipe = optimization("cifar100", "weighted-gradients")
    >>> recipe.row, recipe.paper
    ('weighted gradients', {'top1': 78.55})
    """
    settings = dict(locals())
    if row not in TRICKS:
        raise ValueError(f"row={row!r} is none of {', '.join(TRICKS)}")
    label, weighting, projected, weighted = TRICKS[row]
    network = partial(
        models.decoupled_resnet32,
        widths=(96, 192, 384),
        width=width,
        **operator("tanh").arguments,
        weighting=weighting,
    )
    hooks = projection(row, project_every)
    return _on_cifar(
        "thesis-table4.1-cifar100",
        "thesis, Table 4.1, TanhConv in ResNet-32 on CIFAR-100",
        label,
        classified(network, CIFAR100.classes),
        TABLE_4_1[row],
        settings,
        prepare=_weighted if weighted else None,
        after_step=hooks if projected else (),
    )


def dcnet32(
    dataset: str | None = None,
    row: Literal["baseline", "tanh-cosine", "linear-square-cosine"] = "linear-square-cosine",
    classes: Classes = 100,
    coefficient: float | None = None,
    project_every: int | None = PROJECT_EVERY,
    width: float = 1.0,
    train_images: int | None = None,
    test_images: int | None = None,
    steps: int = 42_500,
    batch_size: int = 128,
    learning_rate: float = LEARNING_RATES["sgd"],
    weight_decay: float = WEIGHT_DECAY,
    milestones: tuple[int, ...] | None = None,
) -> Recipe:
    """Table 4.5 of the thesis: DCNet-32 on CIFAR-10 and CIFAR-100 at its best, with W-Softmax and SGD.

    ResNet-32 of Table C.1 with weight projection, the weight-normalized softmax loss (eq. 3.10 with the cosine) and SGD
    with momentum 0.9; the learning rate and what the thesis does not say are as in ``thesis-tableC.2-cifar100``: an
    hour or two on a GPU a row. The table compares with other people's ResNets, such as ResNet-1001 (4.92 and 22.71);
    the ordinary ResNet-32 trained in the same way is here instead, without a published number.

    Args:
        dataset: CIFAR-10 or CIFAR-100 as a folder (parquet files in Hugging Face layout) or a name on the hub; `noise`
            for random images, to try the steps; null for the hub's uoft-cs/cifar10 or uoft-cs/cifar100.
        row: TanhConv with the cosine, LinearConv with the square cosine, or the ordinary convolution.
        classes: 10 for CIFAR-10, 100 for CIFAR-100.
        coefficient: weight of the orthogonal constraint on the filters of decoupled layers; null for 1e-5.
        project_every: steps between two weight projections (4.4.1); null for none.
        width: factor on the channels of every layer.
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of SGD, before the first milestone.
        weight_decay: on linear and convolution layers that are not decoupled; all of the baseline's.
        milestones: steps after which the learning rate is divided by 10; null for 20k, 30k and 37.5k of 42.5k, at the
            same shares of the steps.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that would be ignored.

    >>> dcnet32("cifar10", "tanh-cosine", classes=10).paper
    {'top1': 95.25}
    """
    settings = dict(locals())
    images = CIFAR[classes]
    chosen = operator(row)
    settings["dataset"] = dataset or str(images.hub)
    network = partial(models.decoupled_resnet32, widths=(96, 192, 384), width=width, **chosen.arguments)
    head = LOSSES["w-cosine"].head(scaled((384,), width)[0], classes, Annealing())  # it has no margin to be annealed
    return _on_cifar(
        f"thesis-table4.5-cifar{classes}",
        f"thesis, Table 4.5, DCNet-32 on {images.title}",
        chosen.label,
        classified(network, classes, head),
        None if project_every is None else TABLE_4_5[classes].get(row),
        settings,
        images=images,
        optimizer="sgd",
        after_step=projection(row, project_every),
    )


def _weighted(model: nn.Module) -> None:
    weighted_gradients(model)


def _on_cifar(
    name: str,
    source: str,
    label: str,
    trained: Mapping[str, Any],
    error: float | None,
    settings: dict[str, Any],
    *,
    after_step: tuple[Callable[[nn.Module, int], None], ...],
    images: ImageSet = CIFAR100,
    optimizer: OptimizerName = "adam",
    prepare: Callable[[nn.Module], None] | None = None,
) -> Recipe:
    """A recipe from what its table settles: the network and its objective, the number, the optimizer, the hooks."""
    row, kept = settings["row"], (settings["train_images"], settings["test_images"])
    check_positive(width=settings["width"], train_images=kept[0], test_images=kept[1])
    usual = orthogonality(row, None)
    coefficient = orthogonality(row, settings["coefficient"])
    settings["coefficient"] = coefficient
    settings["milestones"] = cifar_milestones(settings["milestones"], settings["steps"])
    as_published = (settings["width"], coefficient, *kept) == (1.0, usual, None, None)
    training = {name: settings[name] for name in ("steps", "batch_size", "learning_rate", "milestones")}
    return Recipe(
        name=name,
        row=label,
        source=source,
        data=partial(images.load, settings["dataset"], *kept),
        augment=data.augment,
        regularizer=penalties(OrthogonalDiagonal, coefficient, settings["weight_decay"]),
        prepare=prepare,
        after_step=after_step,
        observe=minimum_angles,
        paper=top1(error) if as_published else {},
        settings=settings,
        **trained,
        **(adam_by_steps(**training) if optimizer == "adam" else by_steps(**training, weight_decay=0.0)),
    )
