"""Images rebuilt from inner products, from angles and from norms, as in Figure 1.1 of the thesis."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onsphere.report.drawing import SOFT, drawn, kind_of, style, write_bytes
from onsphere.report.features import recorded

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDE, LETTER = 0.62, 0.078  # inches of an image and of a letter beside it


def write_reconstructions(result: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw test images, a column an image, and below each what an autoencoder rebuilds of it, as Figure 1.1.

    Args:
        result: as `load` returns it; of every row the first seed that has them is drawn.
        path: where to write; the suffix chooses the format (.svg or .png). Equal results give equal bytes.

    Raises:
        ValueError: no row has them, or their record is damaged.
    """
    write_bytes(reconstructions_picture(result, kind_of(path)), path)


def reconstructions_picture(result: Mapping[str, Any], kind: str, *, transparent: bool = False) -> bytes:
    """What `write_reconstructions` writes.

    Args:
        result: as `load` returns it.
        kind: ``svg`` or ``png``.
        transparent: leave the ground to the page.
    """
    from matplotlib import pyplot

    rows = recorded(result, "reconstructions")
    if not rows:
        raise ValueError(f"{result['name']} holds no rebuilt images: there is nothing to draw")
    lines = []
    for name, seed in rows:
        for kind_of_image, images in images_of(seed["end"]["reconstructions"]).items():
            title = f"{name}: {kind_of_image}" if len(rows) > 1 else kind_of_image
            lines.append((f"{title}{_correlation(seed, kind_of_image)}", images))
    across = max(len(images) for _, images in lines)
    with style(transparent=transparent):
        words = LETTER * max(len(line) for title, _ in lines for line in title.splitlines())
        size = (SIDE * across + words, (SIDE + 0.06) * len(lines))
        figure, grid = pyplot.subplots(len(lines), 1, figsize=size, layout="constrained", squeeze=False)
        for (title, images), axes in zip(lines, grid[:, 0], strict=True):
            _line(axes, images, title)
        return drawn(figure, kind, transparent=transparent)


def images_of(record: Mapping[str, Any]) -> dict[str, NDArray[np.uint8]]:
    """The images of a record, by what they were rebuilt from: (n, height, width) or (n, height, width, 3).

    Raises:
        ValueError: the record's bytes are not as many as its shape says.

    >>> record = {"shape": [1, 1, 1, 2], "images": {"original": "AP8="}}
    >>> images_of(record)["original"].tolist()
    [[[0, 255]]]
    """
    shape, found = tuple(record["shape"]), {}
    for name, text in record["images"].items():
        try:
            pixels = np.frombuffer(base64.b64decode(text, validate=True), np.uint8).reshape(shape)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"the record of images {name!r} is damaged: {error}") from error
        found[name] = pixels[:, 0] if shape[1] == 1 else np.moveaxis(pixels, 1, -1)
    return found


def _line(axes: Axes, images: NDArray[np.uint8], title: str) -> None:
    gap = np.full((images.shape[1], 1, *images.shape[3:]), 128, np.uint8)
    parts = [part for image in images for part in (image, gap)][:-1]
    axes.imshow(np.concatenate(parts, axis=1), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_anchor("E")  # what is left of the width is for the words
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_ylabel(title, rotation=0, ha="right", va="center", fontsize=9, color=SOFT)


def _correlation(seed: Mapping[str, Any], name: str) -> str:
    """The mean correlation with the original over all test images, in a second line."""
    found = (seed.get("final") or {}).get(f"correlation_{name.replace(' ', '_')}")
    return "" if found is None else f"\ncorrelation {found:.3f}"
