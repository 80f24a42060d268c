"""ArcFace and ArcFace+: Table 7 of the MMA paper."""

from __future__ import annotations

from typing import Literal

from onsphere import models
from onsphere.recipes.margins import paper
from onsphere.recipes.margins.faces import FaceNetwork, face_recipe
from onsphere.recipes.margins.objectives import Tuning, objective
from onsphere.recipes.margins.protocols import Faces
from onsphere.recipes.mhe.training import by_steps
from onsphere.recipes.settings import check_positive, milestones_or
from onsphere.train import Recipe


def arcface(
    dataset: str = "casia-webface",
    row: Literal["arcface", "arcface-mma"] = "arcface-mma",
    coefficient: float | None = None,
    width: float = 1.0,
    features: int = 512,
    image_size: tuple[int, int] = (112, 112),
    lfw: str = "lfw.bin",
    cfp_fp: str = "cfp_fp.bin",
    agedb_30: str = "agedb_30.bin",
    scale: float = 64.0,
    arcface: float = 0.5,
    steps: int = 38_000,
    batch_size: int = 440,
    learning_rate: float = 0.1,
    weight_decay: float = 5e-4,
    milestones: tuple[int, ...] | None = None,
    clip: float | None = None,
) -> Recipe:
    """Table 7 of the MMA paper: ArcFace and ArcFace+ on LFW, CFP-FP and AgeDB-30; days on a GPU.

    ResNet-50, margin 0.5, coefficient 0.03, batch 440, 38k steps, the learning rate divided by 10 at 23750 and 33250
    (supplement C). What else the paper takes from ArcFace's: scale 64, learning rate 0.1, momentum 0.9, weight decay
    5e-4, faces of 112 x 112 pixels, (p - 127.5) / 128, mirrored at random; features of a face and its mirror image are
    added, as in its published code. One image of every person is left for the accuracy among them.

    Args:
        dataset: CASIA-WebFace as a folder with a folder for each person, or parquet files; `noise` for random images.
        row: arcface, or arcface-mma, which is ArcFace+.
        coefficient: weight of MMA on the class weights; null for the paper's 0.03.
        width: factor on the filters.
        features: numbers that stand for a face.
        image_size: height and width that faces are brought to.
        lfw: LFW's 6000 pairs as a `.bin` file.
        cfp_fp: CFP-FP's 7000 pairs, frontal and in profile, likewise.
        agedb_30: AgeDB-30's 6000 pairs, thirty years apart, likewise.
        scale: s of ArcFace.
        arcface: margin, radians.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of SGD with momentum 0.9, before the first milestone.
        weight_decay: of SGD, on every parameter.
        milestones: steps after which the learning rate is divided by 10; null for 23750 and 33250 of 38000, at the same
            shares of the steps.
        clip: the most that the norm of all gradients may be; null to leave it.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that would be ignored.

    >>> recipe = arcface("faces", "arcface-mma")
    >>> recipe.paper, recipe.settings["coefficient"], recipe.settings["milestones"]
    ({'lfw': 99.45, 'cfp_fp': 95.59, 'agedb_30': 95.15}, 0.03, (23750, 33250))
    """
    settings = dict(locals())
    if row not in ("arcface", "arcface-mma"):
        raise ValueError(f"row={row!r} is none of arcface, arcface-mma")
    chosen = objective(row, coefficient)
    settings["coefficient"] = chosen.coefficient
    settings["milestones"] = milestones_or(milestones, (23_750, 33_250), of=38_000, to=steps)
    check_positive(scale=scale)
    as_published = (width, chosen.coefficient, arcface) == (1.0, objective(row).coefficient, 0.5)
    bins = (("lfw", lfw), ("cfp_fp", cfp_fp), ("agedb_30", agedb_30))
    return face_recipe(
        "table7-faces",
        "MMA paper, Table 7",
        FaceNetwork(models.arcface_resnet50, width, features, image_size),
        chosen,
        Tuning(scale=scale, arcface=arcface),
        Faces(bins, image_size, mirrored="sum"),
        "lfw",
        paper.MMA_TABLE_7[row] if as_published else {},
        settings,
        by_steps(steps, batch_size, learning_rate, weight_decay, settings["milestones"]),
    )
