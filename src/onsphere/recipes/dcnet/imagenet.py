"""ImageNet: the thesis's Table 4.6."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from torch import nn

from onsphere import data, models
from onsphere.diversity import OrthogonalDiagonal
from onsphere.recipes.dcnet.paper import TABLE_4_6
from onsphere.recipes.dcnet.rows import Operator, operator
from onsphere.recipes.dcnet.training import PROJECT_EVERY, orthogonality, projection
from onsphere.recipes.dcnet.weights import load_weights, weights_file
from onsphere.recipes.decoupled import classified, penalties
from onsphere.recipes.image_sets import IMAGENET, NOISE
from onsphere.recipes.mhe.training import by_steps
from onsphere.recipes.observations import minimum_angles
from onsphere.recipes.settings import check_positive, milestones_or
from onsphere.train import Recipe

NetworkName = Literal["standard", "modified", "modified-without-bn"]
RANDOM = "random"
STEPS = 700_000


def imagenet(
    dataset: str = "ILSVRC/imagenet-1k",
    row: Literal["baseline", "sphere", "linear", "tanh"] = "tanh",
    network: NetworkName = "modified",
    initial: str | None = None,
    coefficient: float | None = None,
    project_every: int | None = PROJECT_EVERY,
    width: float = 1.0,
    image_size: int = 224,
    train_images: int | None = None,
    test_images: int | None = None,
    steps: int = STEPS,
    batch_size: int = 40,
    learning_rate: float = 0.1,
    weight_decay: float = 1e-4,
    milestones: tuple[int, ...] | None = None,
) -> Recipe:
    """Table 4.6 of the thesis: decoupled ResNet-18 on ImageNet, top-5 accuracy of the centre crop; days on a GPU.

    The networks are Table C.1's; operators have the cosine activation and weight projection. SGD with momentum 0.9,
    batch 40, learning rate from 0.1 on, "divided by 10 when the error plateaus": here after 200k, 375k and 550k of 700k
    steps, as in the authors' published code, which is also where the weight decay, the weight of the orthogonal
    constraint and the 100 steps between projections come from. Images are 256 x 256, cropped and flipped at random.

    Operators of the standard network start from a trained ordinary network (4.4.3, the table's *): first train
    `--row baseline`, then give its folder as `--initial`. The modified networks are trained from scratch. Two of those
    without batch normalization could not converge in the thesis (N/C): a run may end there with a loss that is not
    finite.

    Args:
        dataset: ImageNet-2012 as a folder of image files or parquet files in Hugging Face layout, or a name on the hub,
            which asks for its licence to be accepted; `noise` for random images, to try the steps.
        row: the ordinary convolution, or a magnitude function (eqs. 4.4, 4.6, 4.7).
        network: standard or modified ResNet-18, the latter with or without batch normalization.
        initial: the weights that training starts from, of an ordinary network of the same layers: a file, or the folder
            of a run of this recipe with its baseline; `random` for random ones; null for what the table has, where the
            operators of the standard network must be given some.
        coefficient: weight of the orthogonal constraint on the filters of decoupled layers; null for 1e-5.
        project_every: steps between two weight projections (4.4.1); null for none.
        width: factor on the channels of every layer.
        image_size: height and width of the crops, in pixels.
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of SGD, before the first milestone.
        weight_decay: on linear and convolution layers that are not decoupled; all of the baseline's.
        milestones: steps after which the learning rate is divided by 10; null for 200k, 375k and 550k of 700k, at the
            same shares of the steps.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that would be ignored; when the model is made,
            for weights that do not fit or are missing.
        FileNotFoundError: there are no such weights.

    >>> imagenet("imagenet", "tanh", network="modified-without-bn").paper
    {'top5': 87.21}
    """
    settings = dict(locals())
    chosen = operator(row)
    check_positive(width=width, image_size=image_size, train_images=train_images, test_images=test_images)
    if initial not in (None, RANDOM):
        weights_file(initial)  # now, and not after the images are found
    weight = orthogonality(row, coefficient)
    settings["coefficient"] = weight
    settings["milestones"] = milestones_or(milestones, (200_000, 375_000, 550_000), of=STEPS, to=steps)
    from_trained = network == "standard" and row != "baseline"  # the table's *
    full = (width, image_size, train_images, test_images) == (1.0, 224, None, None)
    usual = weight == orthogonality(row, None) and (project_every is not None or row == "baseline")
    same_start = initial is None or (initial != RANDOM) == from_trained
    as_published = full and usual and same_start
    error = TABLE_4_6[network].get(row) if as_published else None
    return Recipe(
        name="thesis-table4.6-imagenet",
        row=chosen.label,
        source="thesis, Table 4.6",
        data=partial(IMAGENET.load, dataset, train_images, test_images),
        augment=data.crop_flip(image_size),
        test_transform=data.centre_crop(image_size),
        regularizer=penalties(OrthogonalDiagonal, weight, weight_decay),
        after_step=projection(row, project_every),
        observe=minimum_angles,
        metric="top5",
        paper={} if error is None else {"top5": round(100 - error, 2)},
        settings=settings,
        **classified(
            partial(_network, network, chosen, width, initial, from_trained and dataset != NOISE), IMAGENET.classes
        ),
        **by_steps(steps, batch_size, learning_rate, 0.0, settings["milestones"]),
    )


def _network(
    name: NetworkName, chosen: Operator, width: float, initial: str | None, needed: bool, num_classes: int | None
) -> nn.Module:
    """The network with the weights that training starts from.

    Raises:
        ValueError: weights are needed, and neither given nor declined.
    """
    arguments: Any = {**chosen.arguments, "width": width, "num_classes": num_classes}
    if name == "standard":
        model = models.decoupled_resnet18(**arguments)
    else:
        model = models.modified_resnet18(**arguments, batch_norm=name == "modified")
    if initial is None and needed:
        raise ValueError(
            f"initial=null: {chosen.label} in the standard network starts from a trained ordinary one: expected the "
            f"folder of a run of the row baseline, a file of weights, or {RANDOM!r} for random ones"
        )
    if initial not in (None, RANDOM):
        load_weights(model, initial)  # what an operator learns besides stays as it is
    return model
