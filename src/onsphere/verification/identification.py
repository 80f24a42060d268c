"""Who is it? Rank-1 identification among any number of distractors, which are read in tiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onsphere.verification.pairs import Floats, Ints, integers
from onsphere.verification.similarity import matrix, unit

Protocol = Literal["megaface", "gallery"]

TIE = 1e-12  # cosines nearer than this differ by rounding only


def rank1(
    probes: ArrayLike,
    probe_labels: ArrayLike,
    gallery: ArrayLike | None = None,
    gallery_labels: ArrayLike | None = None,
    distractors: ArrayLike | Iterable[ArrayLike] | None = None,
    *,
    protocol: Protocol | None = None,
    tile: int = 4096,
) -> float:
    """The share of searches whose most similar image, by the cosine, shows the right identity.

    - "megaface": every probe is searched for with every gallery image of its identity (its mate) in turn, hidden among
      all distractors. The search succeeds where the mate scores higher than every distractor. Other gallery images play
      no part.
    - "gallery": every probe is searched for once, in the whole gallery and all distractors. The search succeeds where
      some image of its identity scores higher than every other one.

    A tie is no success.

    Args:
        probes: (P, D) features.
        probe_labels: (P,) integers, their identities.
        gallery: (G, D) features; None takes the probes themselves, each compared with all but itself.
        gallery_labels: (G,) integers; None where the gallery is.
        distractors: (N, D) features of other identities; or something that gives such arrays one after the other, as a
            generator does that reads files. An array may be mapped from a file (``numpy.load(..., mmap_mode="r")``).
        protocol: None is "megaface" with distractors and "gallery" without.
        tile: how many rows are compared at a time, with one matrix product; memory is that of tile * (P + D) float64.

    Returns:
        A share from 0 to 1.

    Raises:
        ValueError: shapes that do not fit, features that are zero or not finite, a probe without an image of its
            identity in the gallery, "megaface" without distractors, or gallery_labels that are given without a gallery.

    Source: "rank-1 identification accuracy with 1M distractors", thesis Tables 2.10 and 5.10, the protocol of MegaFace
        (Kemelmacher-Shlizerman et al. 2016).

    Example:
        >>> faces = [[1.0, 0.0], [1.0, 0.2], [0.0, 1.0], [0.3, 1.0]]
        >>> rank1(faces, [0, 0, 1, 1])
        1.0
        >>> rank1(faces, [0, 0, 1, 1], distractors=[[0.2, 1.0]])  # nearer to both images of 1 than these to each other
        0.5
    """
    if protocol not in (None, "megaface", "gallery"):
        raise ValueError(f"protocol={protocol!r}: expected 'megaface' or 'gallery'")
    if tile < 1:
        raise ValueError(f"tile={tile}: expected at least 1")
    protocol = protocol or ("gallery" if distractors is None else "megaface")
    if protocol == "megaface" and distractors is None:
        raise ValueError("protocol='megaface' compares mates with distractors, and there are none")
    rows, names = _labelled(probes, probe_labels, "probe")
    if gallery is None and gallery_labels is not None:
        raise ValueError("gallery_labels were given without a gallery")
    alone = gallery is None
    if gallery is None or gallery_labels is None:
        if not alone:
            raise ValueError("a gallery was given without gallery_labels")
        others, other_names = rows, names
    else:
        others, other_names = _labelled(gallery, gallery_labels, "gallery")
    if others.shape[1] != rows.shape[1]:
        raise ValueError(f"probes have {rows.shape[1]} features and the gallery {others.shape[1]}: expected as many")
    mates = _Mates(names, other_names, alone)
    found = unit(rows, "probe")
    rival = np.full(len(found), -np.inf)  # the highest cosine with an image of another identity
    for part in _tiles(distractors, tile, rows.shape[1]):
        np.maximum(rival, (part @ found.T).max(axis=0), out=rival)
    if distractors is not None and np.isneginf(rival[0]):
        raise ValueError("distractors hold no feature: expected at least one, or None")
    if protocol == "megaface":
        return mates.share_above(found, unit(others, "gallery image"), rival)
    best = np.full(len(found), -np.inf)
    for start in range(0, len(others), tile):
        block = slice(start, start + tile)
        near = unit(others[block], "gallery image", range(len(others))[block]) @ found.T
        own = other_names[block, None] == names
        if alone:
            inside = np.arange(len(near))
            near[inside, inside + start] = -np.inf
        np.maximum(best, np.where(own, near, -np.inf).max(axis=0), out=best)
        np.maximum(rival, np.where(own, -np.inf, near).max(axis=0), out=rival)
    return float(np.mean(best - rival > TIE))


class _Mates:
    """Which gallery images show whom a probe shows; every probe must have one."""

    def __init__(self, probes: Ints, gallery: Ints, alone: bool) -> None:
        self.probes, self.alone = probes, alone
        self.order = np.argsort(gallery, kind="stable")
        ordered = gallery[self.order]
        self.start, self.end = np.searchsorted(ordered, probes, "left"), np.searchsorted(ordered, probes, "right")
        missing = np.flatnonzero(self.end - self.start <= int(alone))
        if missing.size:
            where = "among the other probes" if alone else "in the gallery"
            raise ValueError(
                f"probe {missing[0]} of identity {probes[missing[0]]} has no image of its identity {where} "
                f"({missing.size} of {len(probes)} probes have none)"
            )

    def share_above(self, probes: Floats, gallery: Floats, rival: Floats) -> float:
        """The share of all pairs of a probe and a mate whose cosine is above the probe's rival."""
        above = total = 0
        order = np.argsort(self.probes, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(self.probes[order])) + 1):
            mates = self.order[self.start[group[0]] : self.end[group[0]]]
            success = probes[group] @ gallery[mates].T - rival[group, None] > TIE
            trials = group[:, None] != mates if self.alone else np.ones_like(success)
            above += int((success & trials).sum())
            total += int(trials.sum())
        return above / total


def _labelled(features: ArrayLike, labels: ArrayLike, name: str) -> tuple[NDArray[Any], Ints]:
    rows, names = matrix(features, f"{name} features"), integers(labels, f"{name}_labels")
    if len(rows) != len(names):
        raise ValueError(f"{len(rows)} {name} features and {len(names)} {name}_labels: expected one label a feature")
    return rows, names


def _tiles(distractors: ArrayLike | Iterable[ArrayLike] | None, tile: int, width: int) -> Iterator[Floats]:
    """Unit distractors, at most ``tile`` at a time."""
    if distractors is None:
        return
    given_as: Any = distractors
    chunks: Iterable[Any] = given_as if _one_by_one(given_as) else [given_as]
    before = 0
    for given in chunks:
        chunk = matrix(given, "distractors")
        if chunk.shape[1] != width:
            raise ValueError(f"probes have {width} features and distractors {chunk.shape[1]}: expected as many")
        for start in range(0, len(chunk), tile):
            block = chunk[start : start + tile]
            yield unit(block, "distractor", np.arange(before + start, before + start + len(block)))
        before += len(chunk)


def _one_by_one(distractors: Any) -> bool:
    """Whether these are several arrays, and not the rows of one."""
    if isinstance(distractors, np.ndarray):
        return False
    if isinstance(distractors, list | tuple):
        return bool(distractors) and np.ndim(distractors[0]) == 2
    return isinstance(distractors, Iterable) and not hasattr(distractors, "__array__")
