"""The thesis's tables of SphereFace and SphereFace+: 2.8 to 2.10, 5.8 to 5.10, A.1, A.2, D.7, D.8 and section D.6."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from torch import nn

from onsphere import models
from onsphere.losses import AngularSoftmax
from onsphere.margins import SphereFace
from onsphere.recipes.margins import paper
from onsphere.recipes.margins.faces import FaceNetwork, face_recipe
from onsphere.recipes.margins.objectives import Annealing, Objective, OpenSetRow, Tuning, objective
from onsphere.recipes.margins.protocols import Faces
from onsphere.recipes.mhe.training import by_steps
from onsphere.recipes.settings import check_positive, milestones_or, scaled
from onsphere.train import Recipe

Depth = Literal[4, 10, 20, 36, 64]
Table = Literal["2.8", "2.9", "2.10", "5.8", "5.9", "5.10", "A.2", "D.6", "D.7", "D.8"]
TrainedOn = Literal["casia", "imdb-face", "ms-celeb"]
FOLDERS: Mapping[str, str] = {"casia": "casia-webface", "imdb-face": "imdb-face", "ms-celeb": "ms-celeb"}
DEPTHS: Mapping[str, Depth] = {
    **dict.fromkeys(("2.8", "2.9", "2.10", "5.9", "5.10"), 64),
    **dict.fromkeys(("5.8", "D.6", "D.7", "D.8"), 20),
}
METRICS: Mapping[str, str] = {"2.10": "rank1", "A.2": "rank1", "D.7": "tar_at_far_1e-06"}  # the others: lfw
NUMBERS: Mapping[str, paper.Numbers] = {
    "2.8": paper.TABLE_2_8,
    "2.9": paper.TABLE_2_9,
    "2.10": paper.TABLE_2_10,
    "5.8": paper.TABLE_5_8,
    "5.9": paper.TABLE_5_9,
    "5.10": paper.TABLE_5_10,
    "D.6": paper.SECTION_D_6,
    "D.7": paper.TABLE_D_7,
}


def sphereface(
    dataset: str | None = None,
    row: OpenSetRow = "sphereface-m4-mhe",
    table: Table = "5.8",
    coefficient: float | None = None,
    depth: Depth | None = None,
    trained_on: TrainedOn = "casia",
    width: float = 1.0,
    features: int = 512,
    image_size: tuple[int, int] = (112, 96),
    lfw: str = "lfw.bin",
    probes: str | None = None,
    distractors: str | None = None,
    scale: float = 30.0,
    cosface: float = 0.35,
    arcface: float = 0.5,
    pair_weight: float | None = None,
    annealing_gamma: float = 0.12,
    annealing_minimum: float = 5.0,
    regularized_after: int | None = None,
    steps: int = 28_000,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    weight_decay: float = 5e-4,
    milestones: tuple[int, ...] | None = None,
    clip: float | None = None,
) -> Recipe:
    """SphereFace, SphereFace+ and what they are compared with, on faces: a day on a GPU and more.

    Tables 2.8 to 2.10, 5.8 to 5.10, A.2, D.7 and D.8 of the thesis and section D.6. Batch 128, learning rate 0.1
    divided by 10 at 16k and 24k of 28k steps, faces aligned (MTCNN) and mirrored at random, pixels (p - 127.5) / 128,
    features of the face and of its mirror image one behind the other, cosine score (2.3.6). Momentum 0.9, weight decay
    5e-4 and the annealing are those of the authors' published training. SphereFace+ adds MHE (s = 2, full space,
    data-dependent mini-batch, eq. 5.8) to a SphereFace that is trained already (D.1). How long either took the thesis
    does not tell: here MHE joins when the learning rate falls for the first time. One image of every person is left for
    the accuracy among them. CosineFace's numbers in Table 5.10 are its own paper's.

    Args:
        dataset: the faces to train on as a folder with a folder for each person, or parquet files; `noise` for random
            images, to try the steps; null for casia-webface, imdb-face or ms-celeb in the working directory.
        row: the objective, as for `omniglot-open-set`.
        table: whose depth, metric and numbers are taken.
        coefficient: weight of MHE or MMA on the class weights; null for the papers': MHE 1, MMA 0.03.
        depth: convolutions of the network; null for the table's.
        trained_on: which set of faces (Table D.8).
        width: factor on the filters.
        features: numbers that stand for a face.
        image_size: height and width that faces are brought to; of larger ones the middle is taken.
        lfw: LFW's 6000 pairs as a `.bin` file.
        probes: MegaFace's probes (FaceScrub) as a folder with a folder for each person; null for facescrub in the
            working directory where the table is about MegaFace, and for none elsewhere.
        distractors: MegaFace's million faces as a folder of folders; null for megaface likewise.
        scale: s of CosFace and ArcFace; 30 is AM-Softmax's own (D.6).
        cosface: margin of CosFace.
        arcface: margin of ArcFace, radians.
        pair_weight: weight of the contrastive (null: 1), triplet (1) or centre loss (0.003).
        annealing_gamma: how fast lambda falls from 1000, as 1 / (1 + gamma t).
        annealing_minimum: where lambda stays (A.7).
        regularized_after: steps after which MHE or MMA joins; null for 16k of 28k (SphereFace+) and for 0 (others).
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of SGD with momentum 0.9, before the first milestone.
        weight_decay: of SGD, on every parameter.
        milestones: steps after which the learning rate is divided by 10; null for 16k and 24k of 28k, at the same
            shares of the steps.
        clip: the most that the norm of all gradients may be; null to leave it.

    Raises:
        ValueError: for a value out of its range, and for a setting that would be ignored.

    >>> recipe = sphereface("faces", "sphereface-m4-mhe", table="5.8")
    >>> recipe.paper, recipe.metric, recipe.settings["depth"], recipe.settings["regularized_after"]
    ({'lfw': 99.32, 'rank1': 71.3}, 'lfw', 20, 16000)
    """
    settings = dict(locals())
    chosen = objective(row, coefficient)
    usual = depth or DEPTHS.get(table, 64)
    metric = METRICS.get(table, "lfw")
    if metric != "lfw":
        probes, distractors = probes or "facescrub", distractors or "megaface"
    if regularized_after is None:
        regularized_after = scaled((16,), of=28, to=steps)[0] if row.startswith("sphereface") and chosen.terms else 0
    elif regularized_after and not chosen.terms:
        raise ValueError(f"regularized_after={regularized_after} has no effect on row {row!r}")
    settings |= {
        "dataset": dataset or FOLDERS[trained_on],
        "coefficient": chosen.coefficient,
        "depth": usual,
        "probes": probes,
        "distractors": distractors,
        "regularized_after": regularized_after,
        "milestones": milestones_or(milestones, (16, 24), of=28, to=steps),
    }
    check_positive(scale=scale, annealing_minimum=annealing_minimum)
    numbers = NUMBERS.get(table, {})
    if table == "A.2":
        numbers = paper.TABLE_A_2[usual]
    if table == "D.8":
        numbers = paper.TABLE_D_8[trained_on]
    as_in_table = (table == "A.2" or usual == DEPTHS[table]) and (table == "D.8" or trained_on == "casia")
    as_published = as_in_table and width == 1.0 and chosen.coefficient == objective(row).coefficient
    return face_recipe(
        f"thesis-{'section' if table == 'D.6' else 'table'}{table}",
        f"thesis, {'section' if table == 'D.6' else 'Table'} {table}",
        FaceNetwork(partial(models.sphereface, usual), width, features, image_size),
        chosen,
        Tuning(Annealing(annealing_gamma, annealing_minimum), scale, cosface, arcface, pair_weight),
        Faces((("lfw", lfw),), image_size, probes, distractors),
        metric,
        numbers.get(row, {}) if as_published else {},
        settings,
        by_steps(steps, batch_size, learning_rate, weight_decay, settings["milestones"]),
    )


def ablation(
    dataset: str = "casia-webface",
    row: Literal["A", "B", "C", "D", "E", "F", "G"] = "G",
    coefficient: float | None = None,
    depth: Depth = 4,
    width: float = 1.0,
    features: int = 512,
    image_size: tuple[int, int] = (112, 96),
    lfw: str = "lfw.bin",
    annealing_gamma: float = 0.12,
    annealing_minimum: float = 5.0,
    steps: int = 28_000,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    weight_decay: float = 5e-4,
    milestones: tuple[int, ...] | None = None,
    clip: float | None = None,
) -> Recipe:
    """Table A.1 of the thesis: what SphereFace is made of, one step after the other, on LFW.

    A: softmax with biases, on features that a ReLU has made positive. B: without that ReLU. C: without biases. D: with
    normalised class weights. E, F, G: with A-Softmax, m = 2, 3, 4. Trained as `thesis-table5.8`; ``afs`` is the angular
    Fisher score, here of the held-out images of those who were trained on (LFW's pairs do not say who is who).

    Args:
        dataset: CASIA-WebFace as a folder with a folder for each person, or parquet files; `noise` for random images.
        row: A to G.
        coefficient: only null: these rows regularize nothing.
        depth: convolutions of the network.
        width: factor on the filters.
        features: numbers that stand for a face.
        image_size: height and width that faces are brought to; of larger ones the middle is taken.
        lfw: LFW's 6000 pairs as a `.bin` file.
        annealing_gamma: how fast lambda falls from 1000, as 1 / (1 + gamma t).
        annealing_minimum: where lambda stays (A.7).
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of SGD with momentum 0.9, before the first milestone.
        weight_decay: of SGD, on every parameter.
        milestones: steps after which the learning rate is divided by 10; null for 16k and 24k of 28k, at the same
            shares of the steps.
        clip: the most that the norm of all gradients may be; null to leave it.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that would be ignored.

    >>> ablation("faces", "G").paper
    {'lfw': 98.2, 'afs': 0.1709}
    """
    settings = dict(locals())
    if row not in _ABLATION:
        raise ValueError(f"row={row!r} is none of {', '.join(_ABLATION)}")
    if coefficient:
        raise ValueError(f"coefficient={coefficient} has no effect: no row regularizes anything")
    settings["coefficient"] = 0.0
    settings["milestones"] = milestones_or(milestones, (16, 24), of=28, to=steps)
    label, head = _ABLATION[row]
    body = partial(models.sphereface, depth)
    return face_recipe(
        "thesis-tableA.1",
        "thesis, Table A.1",
        FaceNetwork(partial(_rectified, body) if row == "A" else body, width, features, image_size),
        Objective(f"{row}: {label}", head, None, 0.0),
        Tuning(Annealing(annealing_gamma, annealing_minimum)),
        Faces((("lfw", lfw),), image_size),
        "lfw",
        paper.TABLE_A_1[row] if (depth, width) == (4, 1.0) else {},
        settings,
        by_steps(steps, batch_size, learning_rate, weight_decay, settings["milestones"]),
    )


def _rectified(body: Callable[..., nn.Module], **sizes: Any) -> nn.Module:
    return nn.Sequential(body(**sizes), nn.ReLU())


def _plain(features: int, classes: int, tuning: Tuning, bias: bool = False, normalize: bool = False) -> nn.Module:
    return AngularSoftmax(features, classes, scale="feature_norm", normalize_weight=normalize, bias=bias)


def _annealed(features: int, classes: int, tuning: Tuning, m: int) -> nn.Module:
    return AngularSoftmax(features, classes, tuning.annealing(SphereFace(m)), scale="feature_norm")


_ABLATION: Mapping[str, tuple[str, Callable[[int, int, Tuning], nn.Module]]] = {
    "A": ("softmax behind a ReLU", partial(_plain, bias=True)),
    "B": ("no last ReLU", partial(_plain, bias=True)),
    "C": ("no biases", _plain),
    "D": ("normalised weights", partial(_plain, normalize=True)),
    "E": ("A-Softmax m=2", partial(_annealed, m=2)),
    "F": ("A-Softmax m=3", partial(_annealed, m=3)),
    "G": ("A-Softmax m=4", partial(_annealed, m=4)),
}
