"""A labelled set in memory of examples that are no images: point clouds, or nodes of a graph."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from onsphere.data.labelled import check_labels, check_sets


@dataclass(frozen=True)
class Tensors:
    """A labelled set of tensors of any shape, which the network gets as they are, with the face of ``Images``.

    Args:
        values: (N, ...), floating point, or int64 for examples that are numbers of something, such as a graph's nodes.
        labels: (N,), int64.

    Raises:
        ValueError: if types are others, or if the numbers of values and labels differ.

    >>> Tensors(torch.zeros(4, 3, 1024), torch.tensor([0, 1, 1, 2]))
    Tensors(4 of 3 x 1024)
    """

    values: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.values.dim() == 0 or not (self.values.is_floating_point() or self.values.dtype == torch.int64):
            raise ValueError(
                f"values of shape {tuple(self.values.shape)} and type {self.values.dtype}: "
                "expected (N, ...), floating point or torch.int64"
            )
        check_labels(self.labels, len(self.values))

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"Tensors({len(self)} of {' x '.join(map(str, self.shape)) or 'one number'})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of every example."""
        return tuple(self.values.shape[1:])

    def take(self, indices: Tensor) -> Tensor:
        """The examples of these indices, (len(indices), ...), on the set's device."""
        return self.values[indices.to(self.values.device)]

    def select(self, indices: Tensor) -> Tensors:
        """The labelled examples of these indices, as a set of their own."""
        indices = indices.to(self.values.device)
        return Tensors(self.values[indices], self.labels[indices])

    def to(self, device: torch.device | str) -> Tensors:
        """The set on a device."""
        return Tensors(self.values.to(device), self.labels.to(device))


@dataclass(frozen=True)
class TensorData:
    """A data set of examples that are no images: ``Data`` without the pixels' mean and deviation.

    Args:
        name: as it shall stand in tables.
        train: examples to learn from.
        test: examples to measure accuracy on.
        num_classes: labels are 0 ... num_classes - 1.
        classes: the classes' names.

    Raises:
        ValueError: if a set is empty, a label is out of range, or the examples' sizes differ.

    >>> half = Tensors(torch.zeros(4, 3, 1024), torch.tensor([0, 1, 1, 2]))
    >>> TensorData("clouds", half, half, 3, ("cone", "cube", "sphere")).test
    Tensors(4 of 3 x 1024)
    """

    name: str
    train: Tensors
    test: Tensors
    num_classes: int
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        check_sets(self.name, self.train, self.test, self.num_classes, self.classes, "example")
