"""A labelled image set in memory, and a data set: one to learn from and one to test on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from onsphere.data.files import Files
from onsphere.data.labelled import check_labels, check_sets


@dataclass(frozen=True)
class Images:
    """A labelled image set held in memory.

    Args:
        images: (N, C, H, W), uint8.
        labels: (N,), int64.

    Raises:
        ValueError: if shapes or types are others, or if the numbers of images and labels differ.

    >>> Images(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 1]))
    Images(3 of 1 x 8 x 8)
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.dim() != 4:
            raise ValueError(
                f"images of shape {tuple(self.images.shape)} and type {self.images.dtype}: "
                "expected (N, C, H, W), torch.uint8"
            )
        check_labels(self.labels, len(self.images))

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Images({len(self)} of {' x '.join(map(str, self.shape))})"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def take(self, indices: Tensor) -> Tensor:
        """The images of these indices, (len(indices), C, H, W), uint8, on the set's device."""
        return self.images[indices.to(self.images.device)]

    def select(self, indices: Tensor) -> Images:
        """The labelled images of these indices, as a set of their own."""
        indices = indices.to(self.images.device)
        return Images(self.images[indices], self.labels[indices])

    def to(self, device: torch.device | str) -> Images:
        """The set on a device."""
        return Images(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Data:
    """A data set: training and test images, class names, and the training pixels' mean and deviation per channel.

    Args:
        name: as it shall stand in tables.
        train: images to learn from.
        test: images to measure accuracy on.
        num_classes: labels are 0 ... num_classes - 1.
        classes: the classes' names.
        mean: per channel, of the training pixels scaled to [0, 1]; of 2048 images spread over the set for ``Files``.
        std: likewise, the standard deviation.

    Raises:
        ValueError: if a set is empty, a label is out of range, or the images' sizes differ.

    >>> from onsphere.data import digits
    >>> data = digits(200)
    >>> data.train, data.test, data.num_classes
    (Images(200 of 1 x 8 x 8), Images(797 of 1 x 8 x 8), 10)
    """

    name: str
    train: Images | Files
    test: Images | Files
    num_classes: int
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        check_sets(self.name, self.train, self.test, self.num_classes, self.classes, "image")
