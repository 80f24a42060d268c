"""What is accepted as features, labels and class weights, and how they are read in pieces."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from onsphere import sphere


def checked(features: Tensor, labels: Tensor, num_classes: int | None = None) -> Tensor:
    """Refuse features and labels that do not fit together; the labels as int64 on the features' device."""
    count = rows_of("features", features, "image")
    if labels.shape != (count,):
        raise ValueError(f"labels have shape {tuple(labels.shape)}: expected ({count},), one for each feature")
    return checked_labels(labels, num_classes).to(features.device)


def checked_labels(labels: Tensor, num_classes: int | None) -> Tensor:
    """Refuse labels that are not integers (n,) from 0 to num_classes - 1; the labels as int64."""
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels are {labels.dtype} {tuple(labels.shape)}: expected integers (n,)")
    labels = labels.long()
    if labels.numel():
        smallest, largest = int(labels.min()), int(labels.max())
        if smallest < 0 or (num_classes is not None and largest >= num_classes):
            expected = "0 on" if num_classes is None else f"0 to {num_classes - 1}"
            raise ValueError(f"labels are from {smallest} to {largest}: expected numbers from {expected}")
    return labels


def rows_of(name: str, x: Tensor, row: str) -> int:
    """The number of rows of a finite matrix that has any."""
    if x.ndim != 2 or not x.is_floating_point() or x.numel() == 0:
        expected = f"a floating-point matrix with one {row} a row"
        raise ValueError(f"{name}: expected {expected}, got {x.dtype} {tuple(x.shape)}")
    finite(name, x)
    return x.shape[0]


def finite(name: str, x: Tensor) -> None:
    """Refuse NaN and infinities, with their number."""
    bad = int((~torch.isfinite(x)).sum())
    if bad:
        raise ValueError(f"{name}: {bad} of {x.numel()} numbers are NaN or infinite")


def classes_of(features: Tensor, weight: Tensor) -> int:
    """The number of classes of a last layer (C, D), which must be as wide as the features."""
    count = rows_of("weight", weight, "class")
    if features.ndim == 2 and weight.shape[1] != features.shape[1]:
        raise ValueError(f"weight has {weight.shape[1]} columns: expected {features.shape[1]}, as the features have")
    return count


def pieces(features: Tensor, wide: int = 1) -> Iterator[tuple[slice, Tensor]]:
    """Some rows at a time in float64, so few that as many rows of ``wide`` numbers are no burden either."""
    n, d = features.shape
    step = sphere.rows_at_once(max(d, wide))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        yield rows, features[rows].to(sphere.finest(features.device))
