"""A labelled image set too big for memory: encoded files, decoded when they are taken."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from onsphere.data.decoding import Encoded, Fit, Size, decode_some, height_and_width
from onsphere.data.labelled import check_labels


@dataclass(frozen=True, eq=False)
class Files:
    """A labelled set of encoded images; ``take`` decodes some of them, with the face of ``Images``.

    Args:
        encoded: the image files, whatever holds them.
        labels: (N,), int64.
        size: images come as (3, size, size), or as (3, height, width) where it is two numbers.
        fit: "crop" resizes the shorter side to ``size`` and crops the middle; "squash" resizes both sides.
        device: where images go; the files stay where they are.
        rows: (N,), int64, which of the files belong to the set; None is all of them, in order.

    Raises:
        ValueError: if the numbers of images and labels differ, labels are not int64, or size is below 1.

    Several threads decode a batch. Every image comes out in colour. Evaluation and training see the same ``size``;
    crops are for the augmentation.

    Source: thesis B.2 ("we first resize the images to 256×256 resolution and then randomly crop patches of size
    224×224"), which D.1 follows. Read to the letter that is "squash"; "crop" keeps the proportions.
    """

    encoded: Encoded = field(repr=False)
    labels: Tensor
    size: Size = 256
    fit: Fit = "crop"
    device: torch.device | str = "cpu"
    rows: Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.encoded) if self.rows is None else len(self.rows)
        check_labels(self.labels, count)
        if min(height_and_width(self.size)) < 1:
            raise ValueError(f"size={self.size}: expected at least 1 pixel")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Files({len(self)} of {' x '.join(map(str, self.shape))})"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        return 3, *height_and_width(self.size)

    def take(self, indices: Tensor) -> Tensor:
        """The images of these indices, (len(indices), 3, height, width), uint8, on the set's device.

        Raises:
            ValueError: if one of them cannot be decoded; it names the file.
        """
        indices = indices.cpu()
        rows = indices if self.rows is None else self.rows[indices]
        return decode_some(self.encoded, rows.tolist(), self.size, self.fit).to(self.device, non_blocking=True)

    def select(self, indices: Tensor) -> Files:
        """The labelled images of these indices, as a set of their own; nothing is decoded."""
        rows = indices.cpu() if self.rows is None else self.rows[indices.cpu()]
        return replace(self, labels=self.labels[indices.to(self.labels.device)], rows=rows)

    def to(self, device: torch.device | str) -> Files:
        """The same files with their labels, and every image that is taken, on a device."""
        return replace(self, labels=self.labels.to(device), device=device)

    def sample(self, count: int) -> Tensor:
        """At most count images at equal distances through the set."""
        return self.take(torch.from_numpy(np.linspace(0, len(self) - 1, min(count, len(self))).round().astype("int64")))
