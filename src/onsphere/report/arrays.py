"""Pictures from plain arrays, for whoever has features and no result file."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onsphere.report import feature_panels as panels
from onsphere.report.drawing import SOFT, drawn, kind_of, style, write_bytes
from onsphere.report.features import correlation_words, inside_outside
from onsphere.report.margin_curves import figure_2_3

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Path = str | os.PathLike[str]
Floats = NDArray[np.float64]
Curve = tuple[Floats, Floats]


def draw_features(features: ArrayLike, labels: ArrayLike, path: Path, directions: ArrayLike | None = None) -> None:
    """Draw features of two numbers in the plane, or of three projected on the unit sphere, a colour a class.

    As Figures 2.2, 2.10, A.1, A.4 and A.5. On the sphere the far side is fainter, and a feature of norm zero, which has
    no direction, is left out. In the plane two of a hundred points may lie outside, so that a few far ones do not press
    all others together.

    Args:
        features: (n, 2) or (n, 3).
        labels: (n,) whole numbers from 0 on.
        path: where to write; the suffix chooses the format (.svg or .png). Equal arrays give equal bytes.
        directions: (C, 2) or (C, 3), one vector a class (rows of the classifier's weights); they are drawn with one
            length. None draws none.

    Raises:
        ValueError: of sizes that do not fit, of labels that are no classes, or of numbers that are not finite.

    Source: Liu, Deep Representation Learning on Hypersphere, Figures 2.2 and 2.10.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_features([[1.0, 0.0], [0.0, 2.0]], [0, 1], f"{folder}/plane.svg", directions=[[1, 0], [0, 1]])
    """
    kind, points = kind_of(path), _finite("features", features)
    if points.ndim != 2 or points.shape[1] not in (2, 3) or not len(points):
        raise ValueError(f"features have the shape {points.shape}: expected (n, 2) or (n, 3) with n at least 1")
    classes = _labels(labels, len(points))
    count = int(classes.max()) + 1
    arrows: Floats = np.empty((0, points.shape[1]))
    if directions is not None:
        arrows = _finite("directions", directions)
        if arrows.ndim != 2 or arrows.shape[1] != points.shape[1] or len(arrows) < count:
            raise ValueError(
                f"directions have the shape {arrows.shape}: expected ({count} or more, {points.shape[1]}), since the "
                f"largest label is {count - 1} and features have the shape {points.shape}"
            )
        lengths = np.linalg.norm(arrows, axis=1, keepdims=True)
        if not lengths.all():
            raise ValueError(f"row {int(np.argmin(lengths))} of directions is zero: it has no direction")
        arrows = arrows / lengths
    parts = [
        {axis: points[classes == label, i].tolist() for i, axis in enumerate("xyz"[: points.shape[1]])}
        for label in range(max(count, len(arrows)))
    ]

    def panel(axes: Axes) -> None:
        if points.shape[1] == 3:
            panels.sphere(axes, parts, arrows.tolist())
        else:
            panels.plane(axes, parts, arrows.tolist(), behind=True)

    _write(panel, (4.2, 4.2), kind, path)


def draw_angles(edges: ArrayLike, intra: ArrayLike, inter: ArrayLike, path: Path) -> None:
    """Draw how large the angles of positive and of negative pairs are, as the second row of Figure 2.10.

    Each histogram has area one, since there are many more negative pairs; the share that both have in common is said.

    Args:
        edges: (k + 1,) bounds of the bins, radians in [0, π], increasing.
        intra: (k,) pairs of features of one class in every bin.
        inter: (k,) pairs of features of two classes in every bin.
        path: where to write; the suffix chooses the format (.svg or .png). Equal arrays give equal bytes.

    Raises:
        ValueError: of sizes that do not fit, bounds that do not increase or are no radians, or negative counts.

    Source: Liu, Deep Representation Learning on Hypersphere, Figure 2.10.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_angles([0.0, 1.0, 2.0, 3.0], [9, 1, 0], [0, 5, 2], f"{folder}/angles.svg")
    """
    kind, bounds = kind_of(path), _finite("edges", edges)
    if bounds.ndim != 1 or len(bounds) < 2 or (np.diff(bounds) <= 0).any():
        raise ValueError(f"edges have the shape {bounds.shape}: expected (k + 1,) increasing numbers")
    if bounds[0] < 0 or bounds[-1] > math.pi + 1e-6:
        raise ValueError(f"edges go from {bounds[0]:g} to {bounds[-1]:g}: expected radians from 0 to π, not degrees")
    counted = {}
    for name, given in (("intra", intra), ("inter", inter)):
        counts = _finite(name, given)
        if counts.shape != (len(bounds) - 1,) or (counts < 0).any():
            raise ValueError(
                f"{name} has the shape {counts.shape} and the least number {counts.min(initial=0):g}: expected "
                f"({len(bounds) - 1},) counts, one a bin"
            )
        counted[name] = counts.tolist()
    _write(lambda axes: panels.angles(axes, {"edges": bounds.tolist(), **counted}), (4.6, 2.4), kind, path)


def draw_confusion(matrix: ArrayLike, path: Path, names: Sequence[str] = ()) -> None:
    """Draw the mean cosine of the features of every pair of classes, as Figure 2.5.

    The scale goes from -1 (blue) to 1 (red), so that pictures can be compared. Up to twelve classes every cell says its
    number.

    Args:
        matrix: (C, C) cosines.
        path: where to write; the suffix chooses the format (.svg or .png). Equal arrays give equal bytes.
        names: of the classes; their numbers where it is empty.

    Raises:
        ValueError: the matrix is not square, holds other numbers than cosines, or has another number of names.

    Source: Liu, Deep Representation Learning on Hypersphere, Figure 2.5.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_confusion([[0.9, 0.1], [0.1, 0.8]], f"{folder}/cosines.svg", names=("cat", "dog"))
    """
    kind, cosines = kind_of(path), _finite("matrix", matrix)
    if cosines.ndim != 2 or cosines.shape[0] != cosines.shape[1] or not len(cosines):
        raise ValueError(f"matrix has the shape {cosines.shape}: expected (C, C) with C at least 1")
    if np.abs(cosines).max() > 1 + 1e-6:
        raise ValueError(f"matrix goes from {cosines.min():g} to {cosines.max():g}: expected cosines, from -1 to 1")
    if len(names) not in (0, len(cosines)):
        raise ValueError(f"{len(names)} names for {len(cosines)} classes: expected one a class, or none")

    def panel(axes: Axes) -> None:
        image = panels.cosines(axes, cosines, names)
        axes.set_title(inside_outside(cosines).strip(), fontsize=9, color=SOFT)
        axes.figure.colorbar(image, ax=axes, label="cosine", shrink=0.8)

    _write(panel, (5.0, 4.2), kind, path)


def draw_weight_norms(norms: ArrayLike, counts: ArrayLike, path: Path) -> None:
    """Draw the norm of every class's weights over the number of its training images, as Figure A.2.

    The title gives Spearman's rank correlation.

    Args:
        norms: (C,) norms of the rows of the classifier's weights.
        counts: (C,) training images of each class.
        path: where to write; the suffix chooses the format (.svg or .png). Equal arrays give equal bytes.

    Raises:
        ValueError: of sizes that do not fit, or of numbers below zero.

    Source: Liu, Deep Representation Learning on Hypersphere, Figure A.2.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_weight_norms([1.2, 1.0, 0.7], [900, 500, 100], f"{folder}/norms.svg")
    """
    kind, lengths, sizes = kind_of(path), _finite("norms", norms), _finite("counts", counts)
    if lengths.ndim != 1 or lengths.shape != sizes.shape or not len(lengths):
        raise ValueError(f"norms have the shape {lengths.shape} and counts {sizes.shape}: expected (C,) twice")
    if min(lengths.min(), sizes.min()) < 0:
        raise ValueError(f"the least norm is {lengths.min():g}, the least count {sizes.min():g}: expected none below 0")

    def panel(axes: Axes) -> None:
        panels.norms(axes, lengths.tolist(), sizes.tolist())
        axes.set_title(correlation_words(lengths.tolist(), sizes.tolist()).strip(), fontsize=9, color=SOFT)

    _write(panel, (4.4, 3.2), kind, path)


def draw_margins(path: Path, curves: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None) -> None:
    """Draw what margins make of the cosine to the own class: ψ(θ), as Figure 2.3.

    Args:
        path: where to write; the suffix chooses the format (.svg or .png). Equal arrays give equal bytes.
        curves: name -> (θ in radians, ψ(θ)), drawn in this order. None draws softmax, L-Softmax and A-Softmax with
            m = 2, 3, 4 (eq. 2.6), CosFace with 0.35 and ArcFace with 0.5.

    Raises:
        ValueError: there is no curve, or one whose two arrays have different sizes.

    Source: Liu, Deep Representation Learning on Hypersphere, Figure 2.3 and eq. 2.6.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_margins(f"{folder}/margins.svg")
    ...     draw_margins(f"{folder}/mine.svg", {"softmax": ([0.0, 1.0], [1.0, 0.54])})
    """
    kind = kind_of(path)
    found = checked_curves(figure_2_3() if curves is None else curves, "θ", "ψ")

    def panel(axes: Axes) -> None:
        plot_curves(axes, found)
        degrees(axes)
        axes.set_xlabel("θ, angle to the own class")
        axes.set_ylabel("ψ(θ)")

    _write(panel, (6.2, 4.0), kind, path)


def checked_curves(curves: Mapping[str, tuple[ArrayLike, ArrayLike]], x: str, y: str) -> dict[str, Curve]:
    """Curves by their names as arrays; x and y are what errors call their numbers.

    >>> checked_curves({"line": ([0, 1], [0, 2])}, "θ", "ψ")["line"][1].tolist()
    [0.0, 2.0]
    """
    found = {}
    for name, (across, up) in curves.items():
        first, second = _finite(f"{x} of {name}", across), _finite(f"{y} of {name}", up)
        if first.ndim != 1 or first.shape != second.shape or not len(first):
            raise ValueError(f"{name}: {x} has the shape {first.shape} and {y} {second.shape}: expected (k,) twice")
        found[name] = (first, second)
    if not found:
        raise ValueError(f"no curve was given: expected a name with {x} and {y}({x}), or None")
    return found


def plot_curves(axes: Axes, curves: Mapping[str, Curve], dashes: Mapping[str, str] | None = None) -> None:
    """Lines with a legend, each with a colour of its own.

    Args:
        axes: from matplotlib.
        curves: name -> (x, y).
        dashes: name -> ``--``, ``-.`` or ``:`` for lines that lie on others and are to let them be seen.
    """
    from matplotlib import colormaps

    colours, kinds = colormaps["tab10"], ("-", "--", "-.", ":")
    for i, (name, (x, y)) in enumerate(curves.items()):
        dash = (dashes or {}).get(name, kinds[i // 10 % 4])
        above = 2 + kinds.index(dash)
        axes.plot(x, y, label=name, color=colours(i % 10), linestyle=dash, linewidth=1.6, zorder=above)
    axes.grid(color="#dfe5ea", linewidth=0.6)
    axes.legend(frameon=False, fontsize=8)


def degrees(axes: Axes) -> None:
    """An axis across of angles from 0 to π, labelled in degrees."""
    axes.set_xlim(0, math.pi)
    axes.set_xticks([i * math.pi / 6 for i in range(7)], ["0°", "30°", "60°", "90°", "120°", "150°", "180°"])


def _write(panel: object, size: tuple[float, float], kind: str, path: Path) -> None:
    from matplotlib import pyplot

    assert callable(panel)
    with style():
        figure, axes = pyplot.subplots(figsize=size, layout="constrained")
        panel(axes)
        write_bytes(drawn(figure, kind), path)


def _finite(name: str, given: ArrayLike) -> Floats:
    try:
        array = np.asarray(given, float)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} cannot be read as numbers ({error}): expected an array of numbers") from error
    bad = int(np.count_nonzero(~np.isfinite(array)))
    if bad:
        raise ValueError(f"{name} holds {bad} numbers that are not finite, of {array.size}")
    return array


def _labels(given: ArrayLike, count: int) -> NDArray[np.int64]:
    labels = np.asarray(given)
    if labels.shape != (count,):
        raise ValueError(f"labels have the shape {labels.shape}: expected ({count},), one a feature")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels are {labels.dtype}: expected whole numbers")
    if labels.min() < 0:
        raise ValueError(f"the least label is {labels.min()}: expected numbers from 0 on")
    return labels.astype(np.int64)
