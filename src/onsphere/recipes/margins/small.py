"""Open sets that a CPU trains in a minute a row: Omniglot's characters and the faces of ORL. These are our own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from torch import Generator, Tensor

from onsphere import data, models
from onsphere.recipes.image_sets import OMNIGLOT, ORL, open_set
from onsphere.recipes.margins.objectives import Annealing, OpenSetRow, Tuning, objective
from onsphere.recipes.margins.protocols import UnseenPairs
from onsphere.recipes.margins.recognition import known, recogniser_of
from onsphere.recipes.mhe.training import by_steps
from onsphere.recipes.observations import classifier_angle
from onsphere.recipes.regularization import regularization
from onsphere.recipes.settings import check_positive, milestones_or
from onsphere.train import Recipe

Depth = Literal[4, 10, 20, 36, 64]


def omniglot(
    dataset: str = "omniglot",
    row: OpenSetRow = "sphereface-m4",
    coefficient: float | None = None,
    depth: Depth = 4,
    width: float = 0.25,
    features: int = 128,
    image_size: int = 32,
    shift: int = 2,
    scale: float = 32.0,
    cosface: float = 0.35,
    arcface: float = 0.5,
    pair_weight: float | None = None,
    annealing_minimum: float = 5.0,
    annealed_after: float = 2 / 3,
    pairs: int = 6000,
    folds: int = 10,
    steps: int = 1500,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    weight_decay: float = 5e-4,
    milestones: tuple[int, ...] | None = None,
    clip: float | None = 5.0,
) -> Recipe:
    """Open-set recognition of characters: trained on 964 of Omniglot, verified on pairs of 659 others; minutes a row.

    The background set's characters are trained on, 19 drawings of each (the twentieth, drawn at random, is for the
    accuracy among them), and pairs of drawings of the evaluation set's characters, which come from other alphabets, are
    judged by the cosine of their features: 10 folds, whose characters are disjoint, as for faces. Training, network
    and rows are like those of SphereFace in small: SphereFace-4 with a quarter of the filters, batch normalization, on
    32 x 32 pixels, shifted at random by up to two pixels, never mirrored. What the papers do not give is chosen so that
    all rows train stably, and is the same for all.

    Args:
        dataset: Omniglot as a folder: parquet files (train-*, test-*) with disjoint labels, or train/CHARACTER and
            test/CHARACTER with images; `noise` for random images, to try the steps.
        row: the objective: softmax, sphereface-m1 (W-Softmax) to -m4, l-softmax-m2 to -m4, cosface, arcface; with -mhe
            or -mma behind it the "+" form; softmax-contrastive, triplet, softmax-centre.
        coefficient: weight of MHE or MMA on the class weights; null for the papers': MHE 1, MMA 0.03.
        depth: of the SphereFace network.
        width: factor on its filters.
        features: numbers that stand for an image.
        image_size: to which the images (105 x 105) are brought.
        shift: the most that training images are moved, in pixels.
        scale: s of CosFace and ArcFace; smaller than for faces (64), as there are fewer classes.
        cosface: margin of CosFace.
        arcface: margin of ArcFace, radians.
        pair_weight: weight of the contrastive (null: 1), triplet (1) or centre loss (0.003).
        annealing_minimum: lambda at the end, of SphereFace and L-Softmax (thesis A.7); smaller is more margin.
        annealed_after: the share of the steps after which lambda has come down to it.
        pairs: of unseen images, half of one character.
        folds: of the verification.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of SGD with momentum 0.9, before the first milestone.
        weight_decay: of SGD, on every parameter.
        milestones: steps after which the learning rate is divided by 10; null for 16k and 24k of 28k, at the same
            shares of the steps.
        clip: the most that the norm of all gradients may be; null to leave it.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that would be ignored.

    >>> omniglot("folder", "arcface-mma").row
    'ArcFace + MMA'
    """
    return _recipe(
        "omniglot-open-set",
        dict(locals()),
        partial(open_set, OMNIGLOT, dataset, image_size),
        UnseenPairs(pairs, folds),
        data.shift(shift) if shift else None,
    )


def orl(
    dataset: str = "orl_faces",
    row: OpenSetRow = "sphereface-m4",
    coefficient: float | None = None,
    depth: Depth = 4,
    width: float = 0.5,
    features: int = 64,
    image_size: int = 64,
    people: int = 30,
    shift: int = 3,
    scale: float = 16.0,
    cosface: float = 0.35,
    arcface: float = 0.5,
    pair_weight: float | None = None,
    annealing_minimum: float = 5.0,
    annealed_after: float = 2 / 3,
    pairs: int = 800,
    folds: int = 10,
    steps: int = 300,
    batch_size: int = 54,
    learning_rate: float = 0.05,
    weight_decay: float = 5e-4,
    milestones: tuple[int, ...] | None = None,
    clip: float | None = 5.0,
) -> Recipe:
    """Open-set recognition of faces in little: trained on 30 people of ORL, verified on pairs of the 10 others.

    Each of the 40 people has ten grey images; one of each of the 30 is left for the accuracy among them. With ten
    unseen people 450 pairs show the same one, so the folds share people, unlike LFW's, and one result says little: look
    at the spread over seeds. Network and training are those of `omniglot-open-set`.

    Args:
        dataset: the ORL faces as a folder: train-*.parquet, or a folder a person; `noise` for random images.
        row: the objective, as for `omniglot-open-set`.
        coefficient: weight of MHE or MMA on the class weights; null for the papers': MHE 1, MMA 0.03.
        depth: of the SphereFace network.
        width: factor on its filters.
        features: numbers that stand for an image.
        image_size: to which the middle of the images (112 x 92) is brought.
        people: trained on, the first ones; the others are unseen.
        shift: the most that training images are moved, in pixels.
        scale: s of CosFace and ArcFace; smaller than for faces (64), as there are few classes.
        cosface: margin of CosFace.
        arcface: margin of ArcFace, radians.
        pair_weight: weight of the contrastive (null: 1), triplet (1) or centre loss (0.003).
        annealing_minimum: lambda at the end, of SphereFace and L-Softmax (thesis A.7); smaller is more margin.
        annealed_after: the share of the steps after which lambda has come down to it.
        pairs: of unseen images, half of one person.
        folds: of the verification.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of SGD with momentum 0.9, before the first milestone.
        weight_decay: of SGD, on every parameter.
        milestones: steps after which the learning rate is divided by 10; null for 16k and 24k of 28k, at the same
            shares of the steps.
        clip: the most that the norm of all gradients may be; null to leave it.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that would be ignored.

    >>> orl("folder").metric
    'verification'
    """
    return _recipe(
        "orl-open-set",
        dict(locals()),
        partial(open_set, ORL, dataset, image_size, people),
        UnseenPairs(pairs, folds, disjoint=False, mirrored="concatenate"),
        data.then(data.flip, data.shift(shift)),
    )


def _recipe(
    name: str,
    given: dict[str, Any],
    load: Callable[[], data.OpenSet],
    protocol: UnseenPairs,
    augment: Callable[[Tensor, Generator], Tensor] | None,
) -> Recipe:
    """What the two sets have in common; ``given`` are the settings."""
    steps, features, milestones = given["steps"], given["features"], given["milestones"]
    chosen = objective(given["row"], given["coefficient"])
    milestones = milestones_or(milestones, (16, 24), of=28, to=steps)
    settings = {**given, "coefficient": chosen.coefficient, "milestones": milestones}
    check_positive(**{key: given[key] for key in ("width", "features", "scale", "annealed_after", "steps")})
    annealing = Annealing.over(given["annealed_after"] * steps, given["annealing_minimum"])
    tuning = Tuning(annealing, given["scale"], given["cosface"], given["arcface"], given["pair_weight"])
    body = partial(
        models.sphereface,
        given["depth"],
        features=features,
        in_channels=1,
        image_size=given["image_size"],
        width=given["width"],
        batch_norm=True,
    )
    return Recipe(
        name=name,
        row=chosen.label,
        source="our own, after thesis, Table 5.8",
        model=partial(recogniser_of, body, features, chosen, tuning, load),
        data=partial(known, load),
        objective=None,
        augment=augment,
        regularizer=regularization(*chosen.terms),
        clip=given["clip"],
        observe=classifier_angle,
        evaluate=partial(protocol.metrics, load=load),
        metric="verification",
        final=partial(protocol.record, load=load),
        settings=settings,
        **by_steps(steps, given["batch_size"], given["learning_rate"], given["weight_decay"], milestones),
    )
