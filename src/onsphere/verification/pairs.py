"""Pairs of images to compare, in folds: given ones, or drawn at random as for LFW's View 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Which images are compared with which, whether they show one identity, and the fold that each pair belongs to.

    Args:
        first: (n,) integers, the row of the first image in the features.
        second: (n,) integers, that of the second one.
        same: (n,) bool, whether both show the same identity.
        fold: (n,) integers, the number of the fold.

    Raises:
        ValueError: they differ in length, are of another type, empty, or a row is negative or paired with itself.

    Example:
        >>> pairs = Pairs([0, 0], [1, 2], [True, False], [0, 0])
        >>> len(pairs), pairs.second
        (2, array([1, 2]))
    """

    first: Ints
    second: Ints
    same: Bools
    fold: Ints

    def __post_init__(self) -> None:
        for name in ("first", "second", "fold"):
            object.__setattr__(self, name, integers(getattr(self, name), name))
        object.__setattr__(self, "same", booleans(self.same, "same"))
        lengths = {name: len(getattr(self, name)) for name in ("first", "second", "same", "fold")}
        if len(set(lengths.values())) > 1 or not len(self.first):
            said = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise ValueError(f"expected arrays of one length, at least 1; {said}")
        for name in ("first", "second"):
            if getattr(self, name).min() < 0:
                raise ValueError(f"{name} holds {getattr(self, name).min()}: expected rows, which are 0 or more")
        if (itself := np.flatnonzero(self.first == self.second)).size:
            raise ValueError(f"pair {itself[0]} compares image {self.first[itself[0]]} with itself")

    def __len__(self) -> int:
        return len(self.first)

    def __repr__(self) -> str:
        return f"Pairs({len(self)}: {self.same.sum()} same, {(~self.same).sum()} different, {self.folds} folds)"

    @property
    def folds(self) -> int:
        """How many folds there are."""
        return len(np.unique(self.fold))


def consecutive_folds(same: ArrayLike, folds: int = 10) -> Ints:
    """Cut pairs into folds in the order that they come, the pairs of each kind separately.

    Where every fold of a file has as many pairs of each kind as the next one, as in LFW's, CFP-FP's and AgeDB-30's
    ``.bin`` sets, these are its own folds, and those of an unshuffled ten-fold split.

    Args:
        same: (n,) bool, the kinds of the pairs.
        folds: how many; where a kind's number is no multiple, the first folds get one pair more.

    Returns:
        (n,) fold numbers from 0.

    Raises:
        ValueError: fewer than one fold, or a kind has fewer pairs than there are folds.

    Example:
        >>> consecutive_folds([True, False, True, False], folds=2)
        array([0, 0, 1, 1])
    """
    kinds = booleans(same, "same")
    if folds < 1:
        raise ValueError(f"folds={folds}: expected at least 1")
    found = np.empty(len(kinds), dtype=np.int64)
    for kind, words in ((True, "same"), (False, "different")):
        places = np.flatnonzero(kinds == kind)
        if len(places) < folds:
            raise ValueError(f"{len(places)} pairs of {words} identities cannot be cut into {folds} folds")
        for number, part in enumerate(np.array_split(places, folds)):
            found[part] = number
    return found


def random_pairs(
    labels: ArrayLike, count: int = 6000, folds: int = 10, seed: int = 0, *, disjoint: bool = True
) -> Pairs:
    """Draw pairs of images, half of the same and half of different identities, none of them twice.

    Each fold holds count / (2 folds) pairs of each kind, those of the same identity first. Within a fold every pair of
    its kind is equally likely, so identities with more images come up more often.

    Args:
        labels: (N,) integers, the identity of each image.
        count: number of pairs; default 6000, as LFW's View 2.
        folds: default 10, as there.
        seed: equal seeds give equal pairs.
        disjoint: every identity belongs to one fold only, as in View 2, so that a threshold is never chosen on people
            that it is tested on. False draws from all identities for every fold: needed where there are few of them.

    Raises:
        ValueError: count is no multiple of 2 folds, or there are too few images or identities for so many pairs.

    Source: thesis 2.3.6 and 5.5.2, "6,000 face pairs from LFW"; the form of LFW's View 2 (Huang et al. 2007).

    Example:
        >>> labels = np.repeat(np.arange(40), 20)
        >>> random_pairs(labels, count=2000)
        Pairs(2000: 1000 same, 1000 different, 10 folds)
    """
    identities = integers(labels, "labels")
    if folds < 1 or count < 1 or count % (2 * folds):
        raise ValueError(
            f"count={count} and folds={folds}: expected a positive multiple of {2 * max(folds, 1)} pairs, "
            "half of each kind in every fold"
        )
    rng = np.random.default_rng(seed)
    each = count // (2 * folds)
    _, compact = np.unique(identities, return_inverse=True)
    number = int(compact.max()) + 1 if len(compact) else 0
    if number < 2:
        raise ValueError(f"labels hold {number} identities: pairs of different ones need at least 2")
    if not disjoint:
        everything = np.arange(len(compact))
        same, different = _draw(everything, compact, each * folds, rng, "all images")
        parts = [slice(i * each, (i + 1) * each) for i in range(folds)]
        return _assembled([(same[part], different[part]) for part in parts])
    if number < 2 * folds:
        raise ValueError(
            f"labels hold {number} identities: {folds} folds of disjoint ones need at least {2 * folds}; "
            "ask for fewer folds, or for disjoint=False"
        )
    fold_of = np.empty(number, dtype=np.int64)
    for i, part in enumerate(np.array_split(rng.permutation(number), folds)):
        fold_of[part] = i
    chosen = [
        _draw(np.flatnonzero(fold_of[compact] == i), compact, each, rng, f"fold {i}, whose identities are its own,")
        for i in range(folds)
    ]
    return _assembled(chosen)


def _assembled(folds: Sequence[tuple[Ints, Ints]]) -> Pairs:
    """Pairs from the (each, 2) rows of each kind in every fold."""
    each = len(folds[0][0])
    rows = np.concatenate([kind for both in folds for kind in both])
    kinds = np.tile(np.repeat([True, False], each), len(folds))
    return Pairs(rows[:, 0], rows[:, 1], kinds, np.repeat(np.arange(len(folds)), 2 * each))


def _draw(rows: Ints, labels: Ints, each: int, rng: np.random.Generator, where: str) -> tuple[Ints, Ints]:
    """So many pairs of each kind, (each, 2), among some rows: all pairs are numbered, and numbers drawn."""
    rows = rows[np.argsort(labels[rows], kind="stable")]
    sizes = np.unique(labels[rows], return_counts=True)[1]
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)  # of the identity that the i-th row belongs to
    places = np.arange(len(rows))
    # The i-th row pairs with the rows of its own identity before it, or with all rows of the identities before.
    found = []
    for begin, partners, words in (
        (starts, places - starts, "the same identity"),
        (np.zeros_like(starts), starts, "different identities"),
    ):
        ends = np.cumsum(partners)
        total = int(ends[-1]) if len(ends) else 0
        if total < each:
            raise ValueError(f"{where} has {total} pairs of {words}, and {each} are wanted: lower count")
        drawn = rng.choice(total, size=each, replace=False)
        later = np.searchsorted(ends, drawn, side="right")
        earlier = begin[later] + drawn - (ends - partners)[later]
        found.append(np.stack([rows[earlier], rows[later]], axis=1))
    return found[0], found[1]


def integers(given: ArrayLike, name: str) -> Ints:
    """A one-dimensional array of integers.

    Raises:
        ValueError: it is none.
    """
    array = np.asarray(given)
    if array.ndim != 1 or not (np.issubdtype(array.dtype, np.integer) or array.size == 0):
        raise ValueError(f"{name} of shape {array.shape} and type {array.dtype}: expected one row of integers")
    return array.astype(np.int64)


def booleans(given: ArrayLike, name: str) -> Bools:
    """A one-dimensional array of bool.

    Raises:
        ValueError: it is none.
    """
    array = np.asarray(given)
    if array.ndim != 1 or not (array.dtype == np.bool_ or array.size == 0):
        raise ValueError(f"{name} of shape {array.shape} and type {array.dtype}: expected one row of bool")
    return array.astype(np.bool_)


def numbers(given: ArrayLike, name: str) -> Floats:
    """A one-dimensional array of finite float64.

    Raises:
        ValueError: it is none; the message says where.
    """
    array = np.asarray(given)
    if array.ndim != 1 or array.dtype.kind not in "fiu":
        raise ValueError(f"{name} of shape {array.shape} and type {array.dtype}: expected one row of real numbers")
    array = array.astype(np.float64)
    if (bad := np.flatnonzero(~np.isfinite(array))).size:
        raise ValueError(f"{name}[{bad[0]}] is {array[bad[0]]}: expected finite numbers")
    return array
