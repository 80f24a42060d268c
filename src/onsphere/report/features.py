"""Features of two or three numbers with the classes' directions, as in Figures 2.2, 2.10, 5.4 and A.5 of the thesis."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from onsphere.report import feature_panels as panels
from onsphere.report.drawing import SOFT, drawn, kind_of, style, write_bytes
from onsphere.report.metrics import metric_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SETS = {"train": "training images", "test": "test images"}
FEW = 2  # rows up to which both sets of images are drawn
ACROSS = 5  # panels of features side by side at most where there is one a row
WIDE = 4  # the same of panels with axes

Part = Literal["train", "test", "both"]


def recorded(result: Mapping[str, Any], what: str = "features") -> list[tuple[str, Mapping[str, Any]]]:
    """Every row that recorded something at the end of training, with its first seed that did.

    Args:
        result: as `load` returns it.
        what: a key of the seeds' `end`: "features", "angles", "confusion" or "weight_norms".

    >>> recorded({"rows": [{"row": "none", "seeds": [{"seed": 1, "end": {}}]}]})
    []
    """
    found = []
    for row in result["rows"]:
        seeds = [seed for seed in row["seeds"] if (seed.get("end") or {}).get(what)]
        if seeds:
            found.append((row["row"], seeds[0]))
    return found


def write_features(result: Mapping[str, Any], path: str | os.PathLike[str], part: Part | None = None) -> None:
    """Draw the features of every row that has them, in the plane or projected on the unit sphere.

    Each colour is a class; the arrows are the classes' directions: the normalised neurons of the classifier, all of one
    length. Below a sphere stand the angles of positive and negative pairs where they were recorded.

    Args:
        result: as `load` returns it.
        path: where to write; the suffix chooses the format (.svg or .png). Equal results give equal bytes.
        part: "train" or "test" draws a panel a row, "both" a line a row with training images on the left and test
            images on the right. None means "both" for up to two rows of features in the plane, else "test".

    Raises:
        ValueError: no row has features of two or three numbers.
    """
    write_bytes(features_picture(result, kind_of(path), part=part), path)


def features_picture(
    result: Mapping[str, Any], kind: str, *, transparent: bool = False, part: Part | None = None
) -> bytes:
    """What `write_features` writes.

    Args:
        result: as `load` returns it.
        kind: ``svg`` or ``png``.
        transparent: leave the ground to the page.
        part: as for `write_features`.
    """
    rows = recorded(result)
    if not rows:
        raise ValueError(f"{result['name']} holds no features in the plane or on the sphere: there is nothing to draw")
    if part not in (None, "both", *SETS):
        raise ValueError(f"part is {part!r}: expected 'train', 'test', 'both' or None")
    if part is None:
        part = "both" if len(rows) <= FEW and not any(on_sphere(seed) for _, seed in rows) else "test"
    lacking = [
        name for name, seed in rows for one in SETS if part in ("both", one) and not seed["end"]["features"].get(one)
    ]
    if lacking:
        raise ValueError(f"{result['name']}: row {lacking[0]} lacks features for part {part!r}")
    with style(transparent=transparent):
        return drawn(_both(rows) if part == "both" else _compact(rows, part), kind, transparent=transparent)


def _both(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Figure:
    from matplotlib import pyplot

    figure, lines = pyplot.subplots(
        len(rows), len(SETS), figsize=(8, 3.9 * len(rows) + 0.2), layout="constrained", squeeze=False
    )
    for (name, seed), line in zip(rows, lines, strict=True):
        for (part, title), axes in zip(SETS.items(), line, strict=True):
            _panel(axes, seed, part)
            axes.set_title(f"{name}: {title}{_accuracy(seed) if part == 'test' else ''}", fontsize=9, color=SOFT)
    return figure


def _compact(rows: Sequence[tuple[str, Mapping[str, Any]]], part: str) -> Figure:
    """A panel a row, and below a sphere the angles of its pairs."""
    from matplotlib import pyplot

    down = -(-len(rows) // ACROSS)
    across = -(-len(rows) // down)
    below = any(on_sphere(seed) and seed["end"].get("angles") for _, seed in rows)
    heights = [2.55, *([1.25] if below else [])]
    figure, grid = pyplot.subplots(
        down * len(heights),
        across,
        figsize=(2.5 * across, down * sum(heights) + 0.3),
        layout="constrained",
        squeeze=False,
        gridspec_kw={"height_ratios": heights * down},
    )
    for i, (name, seed) in enumerate(rows):
        line, column = divmod(i, across)
        axes = grid[line * len(heights), column]
        _panel(axes, seed, part, behind=True)
        axes.set_title(f"{name}{_facts(seed)}", fontsize=9, color=SOFT)
        if below:
            axes = grid[line * len(heights) + 1, column]
            if seed["end"].get("angles"):
                panels.angles(axes, seed["end"]["angles"], legend=i == 0)
            else:
                axes.axis("off")
    for i in range(len(rows), across * down):
        line, column = divmod(i, across)
        for axes in grid[line * len(heights) : (line + 1) * len(heights), column]:
            axes.axis("off")
    figure.suptitle(f"features of {SETS[part]}", fontsize=9, color=SOFT)
    return figure


def on_sphere(seed: Mapping[str, Any]) -> bool:
    features = seed["end"]["features"]
    return any("z" in one for part in SETS for one in features.get(part) or ())


def _panel(axes: Axes, seed: Mapping[str, Any], part: str, *, behind: bool = False) -> None:
    features = seed["end"]["features"]
    if on_sphere(seed):
        panels.sphere(axes, features[part], features["neurons"])
    else:
        panels.plane(axes, features[part], features["neurons"], behind=behind)


def _facts(seed: Mapping[str, Any], *, accuracy: bool = True) -> str:
    """The angular Fisher score and the accuracy, in a second line."""
    words = []
    afs = seed["final"].get("afs")
    if afs is not None:
        words.append(f"AFS {afs:.{metric_of('afs').digits}f}")
    top1 = (seed.get("last") or {}).get("top1")
    if top1 is not None and accuracy:
        words.append(f"{top1:.1f} %")
    return f"\n{', '.join(words)}" if words else ""


def _accuracy(seed: Mapping[str, Any]) -> str:
    """The accuracy on all test images, and on those of the class that does worst."""
    found = (seed.get("last") or {}).get("top1")
    by_class: Sequence[float] = seed["end"].get("class_top1") or ()
    words = [] if found is None else [f"{found:.1f} %"]
    if by_class:
        worst = min(range(len(by_class)), key=lambda label: by_class[label])
        words.append(f"class {worst} {by_class[worst]:.1f} %")
    return f" ({', '.join(words)})" if words else ""


def write_angles(result: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw the angles of positive and negative pairs, a panel a row, as the second row of Figure 2.10 of the thesis.

    Args:
        result: as `load` returns it.
        path: where to write; the suffix chooses the format (.svg or .png). Equal results give equal bytes.

    Raises:
        ValueError: no row has them.
    """
    write_bytes(angles_picture(result, kind_of(path)), path)


def angles_picture(result: Mapping[str, Any], kind: str, *, transparent: bool = False) -> bytes:
    """What `write_angles` writes."""

    def draw(axes: Axes, name: str, seed: Mapping[str, Any]) -> None:
        panels.angles(axes, seed["end"]["angles"], legend=axes is axes.figure.axes[0])
        axes.set_title(f"{name}{_facts(seed, accuracy=False)}", fontsize=9, color=SOFT)

    return _panels(result, "angles", "angles between features", draw, (2.9, 1.9), kind, transparent)


def _panels(
    result: Mapping[str, Any],
    what: str,
    words: str,
    draw: Callable[[Axes, str, Mapping[str, Any]], Any],
    size: tuple[float, float],
    kind: str,
    transparent: bool,
    scale: str | None = None,
) -> bytes:
    """A picture with a panel for every row that recorded something.

    Args:
        result: as `load` returns it.
        what: the record's name in a seed's ``end``.
        words: what it is, for the error.
        draw: draws a row's panel from its name and the seed; gives the image that a colour scale belongs to, if any.
        size: of a panel, inches.
        kind: ``svg`` or ``png``.
        transparent: leave the ground to the page.
        scale: what the colour scale that all panels share says; None for no scale.
    """
    from matplotlib import pyplot

    rows = recorded(result, what)
    if not rows:
        raise ValueError(f"{result['name']} holds no {words}: there is nothing to draw")
    down, across = _grid(len(rows))
    beside = (0.6, 0.2) if scale else (0.0, 0.0)
    with style(transparent=transparent):
        figure, grid = pyplot.subplots(
            down,
            across,
            figsize=(size[0] * across + beside[0], size[1] * down + beside[1]),
            layout="constrained",
            squeeze=False,
        )
        for axes in grid.flat[len(rows) :]:
            axes.axis("off")
        for (name, seed), axes in zip(rows, grid.flat, strict=False):
            image = draw(axes, name, seed)
        if scale:
            figure.colorbar(image, ax=grid, label=scale, shrink=0.8)
        return drawn(figure, kind, transparent=transparent)


def _grid(panels: int) -> tuple[int, int]:
    """Lines and columns of so many panels, as even as can be.

    >>> _grid(3), _grid(7), _grid(21)
    ((1, 3), (2, 4), (6, 4))
    """
    down = -(-panels // WIDE)
    return down, -(-panels // down)


def write_confusion(result: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw the mean cosines between the classes' features, a panel a row on one scale, as Figure 2.5 of the thesis.

    Args:
        result: as `load` returns it.
        path: where to write; the suffix chooses the format (.svg or .png). Equal results give equal bytes.

    Raises:
        ValueError: no row has them.
    """
    write_bytes(confusion_picture(result, kind_of(path)), path)


def confusion_picture(result: Mapping[str, Any], kind: str, *, transparent: bool = False) -> bytes:
    """What `write_confusion` writes."""

    def draw(axes: Axes, name: str, seed: Mapping[str, Any]) -> Any:
        matrix = np.asarray(seed["end"]["confusion"], float)
        axes.set_title(f"{name}{inside_outside(matrix)}", fontsize=9, color=SOFT)
        return panels.cosines(axes, matrix)

    return _panels(result, "confusion", "cosines between classes", draw, (3.4, 3.4), kind, transparent, "cosine")


def inside_outside(matrix: np.ndarray[Any, Any]) -> str:
    """The mean cosine within classes and between them."""
    inside = np.eye(len(matrix), dtype=bool)
    words = [
        f"{name} {np.nanmean(values):.2f}"  # a class of one image has no pair
        for name, values in (("within", matrix[inside]), ("between", matrix[~inside]))
        if np.isfinite(values).any()
    ]
    return f"\n{', '.join(words)}" if words else ""


def write_weight_norms(result: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw the norm of every class's weights over the number of its images, as Figure A.2 of the thesis.

    Args:
        result: as `load` returns it.
        path: where to write; the suffix chooses the format (.svg or .png). Equal results give equal bytes.

    Raises:
        ValueError: no row has them.
    """
    write_bytes(weight_norms_picture(result, kind_of(path)), path)


def weight_norms_picture(result: Mapping[str, Any], kind: str, *, transparent: bool = False) -> bytes:
    """What `write_weight_norms` writes."""

    def draw(axes: Axes, name: str, seed: Mapping[str, Any]) -> None:
        found = seed["end"]["weight_norms"]
        panels.norms(axes, found["norms"], found["counts"])
        axes.set_title(f"{name}{correlation_words(found['norms'], found['counts'])}", fontsize=9, color=SOFT)

    return _panels(result, "weight_norms", "norms of class weights", draw, (3.6, 3.0), kind, transparent)


def correlation_words(norms: Sequence[float], counts: Sequence[float]) -> str:
    """The rank correlation, in a second line; nothing where it is not defined."""
    found = panels.rank_correlation(norms, counts)
    return "" if found is None else f"\nrank correlation {found:.2f}"
