"""What labelled sets of any kind have in common, and what the two of a data set must agree on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Labelled(Protocol):
    """A labelled set of examples of one shape."""

    @property
    def labels(self) -> Tensor: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...


def check_labels(labels: Tensor, count: int) -> None:
    """Raise a ValueError unless these are labels of so many examples: (count,), int64."""
    if labels.dtype != torch.int64 or labels.shape != (count,):
        raise ValueError(
            f"labels of shape {tuple(labels.shape)} and type {labels.dtype}: expected ({count},), torch.int64"
        )


def check_sets(
    name: str, train: Labelled, test: Labelled, num_classes: int, classes: Sequence[str], example: str
) -> None:
    """Raise a ValueError if a set is empty, a label is out of range, or the examples' sizes differ.

    Args:
        name: of the data set.
        train, test: its two sets.
        num_classes: labels are 0 ... num_classes - 1.
        classes: as many names.
        example: what one is called.
    """
    if len(classes) != num_classes:
        raise ValueError(f"{name}: {len(classes)} class names for num_classes={num_classes}")
    for split, examples in (("train", train), ("test", test)):
        if len(examples) == 0:
            raise ValueError(f"{name}: the {split} set has no {example}s")
        wrong = (examples.labels < 0) | (examples.labels >= num_classes)
        if wrong.any():
            row = int(wrong.nonzero()[0])
            raise ValueError(
                f"{name}: the {split} set's {example} {row} has label {int(examples.labels[row])}: "
                f"expected 0 to {num_classes - 1}"
            )
    if train.shape != test.shape:
        raise ValueError(f"{name}: train is {train} but test is {test}: expected the same size")
