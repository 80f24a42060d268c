"""The protocols of verification and identification, literally: one pair, one threshold and one image at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    dot = math.fsum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(math.fsum(a * a for a in one)) / math.sqrt(math.fsum(b * b for b in other))


def above(score: float, other: float) -> bool:
    """Whether a cosine is higher than another by more than rounding."""
    return score - other > 1e-12


def rates(scores: Sequence[float], same: Sequence[bool], threshold: float) -> tuple[float, float]:
    """False and true accept rate at a threshold."""
    false = sum(1 for score, kind in zip(scores, same, strict=True) if score >= threshold and not kind)
    true = sum(1 for score, kind in zip(scores, same, strict=True) if score >= threshold and kind)
    return false / sum(not kind for kind in same), true / sum(same)


def tar_at_far(scores: Sequence[float], same: Sequence[bool], far: float) -> float:
    """True accept rate at the smallest threshold whose false accept rate does not exceed far."""
    allowed = [t for t in [*scores, math.inf] if rates(scores, same, t)[0] <= far]
    return rates(scores, same, min(allowed))[1]


def equal_error_rate(scores: Sequence[float], same: Sequence[bool]) -> float:
    """Where the polygon of (FAR, 1 - TAR) meets the diagonal, by bisection along each of its edges."""
    points = [rates(scores, same, t) for t in sorted({*scores, math.inf}, reverse=True)]
    for (far, tar), (next_far, next_tar) in itertools.pairwise(points):
        if next_far >= 1 - next_tar:
            low, high = 0.0, 1.0
            for _ in range(100):
                middle = (low + high) / 2
                below = far + middle * (next_far - far) < 1 - tar - middle * (next_tar - tar)
                low, high = (middle, high) if below else (low, middle)
            return far + high * (next_far - far)
    raise AssertionError("the last point accepts everything")


def auc(scores: Sequence[float], same: Sequence[bool]) -> float:
    """How often a pair of the same identity scores above one of different ones; ties count half."""
    wins = total = 0.0
    for score, kind in zip(scores, same, strict=True):
        for other, other_kind in zip(scores, same, strict=True):
            if kind and not other_kind:
                total += 1
                wins += 1.0 if score > other else 0.5 if score == other else 0.0
    return wins / total


def right(scores: Sequence[float], same: Sequence[bool], threshold: float) -> int:
    return sum((score >= threshold) == kind for score, kind in zip(scores, same, strict=True))


def best_threshold(scores: Sequence[float], same: Sequence[bool]) -> float:
    """Try a threshold in every gap, below all scores and above them."""
    levels = sorted(set(scores))
    gaps = [((low + high) / 2, high - low) for low, high in itertools.pairwise(levels)]
    ends = [(levels[0], -1.0), (math.nextafter(levels[-1], math.inf), -2.0)]
    best = max(right(scores, same, t) for t, _ in gaps + ends)
    tied = [(width, -t, t) for t, width in gaps + ends if right(scores, same, t) == best]
    return max(tied)[2]


def accuracies(scores: Sequence[float], same: Sequence[bool], fold: Sequence[int]) -> list[float]:
    """Of each fold, with the threshold of the others."""
    found = []
    for number in sorted(set(fold)):
        others = [i for i in range(len(fold)) if fold[i] != number]
        inside = [i for i in range(len(fold)) if fold[i] == number]
        t = best_threshold([scores[i] for i in others], [same[i] for i in others])
        found.append(right([scores[i] for i in inside], [same[i] for i in inside], t) / len(inside))
    return found


def megaface(
    probes: Sequence[Sequence[float]],
    probe_labels: Sequence[int],
    gallery: Sequence[Sequence[float]] | None,
    gallery_labels: Sequence[int] | None,
    distractors: Sequence[Sequence[float]],
) -> float:
    """Every probe with every mate in turn, hidden among the distractors."""
    success = trials = 0
    others, names = (probes, probe_labels) if gallery is None or gallery_labels is None else (gallery, gallery_labels)
    for i, (probe, label) in enumerate(zip(probes, probe_labels, strict=True)):
        for j, (mate, name) in enumerate(zip(others, names, strict=True)):
            if name == label and not (gallery is None and i == j):
                trials += 1
                success += all(above(cosine(probe, mate), cosine(probe, other)) for other in distractors)
    return success / trials


def nearest(
    probes: Sequence[Sequence[float]],
    probe_labels: Sequence[int],
    gallery: Sequence[Sequence[float]] | None,
    gallery_labels: Sequence[int] | None,
    distractors: Sequence[Sequence[float]],
) -> float:
    """Every probe once, in the whole gallery and all distractors."""
    success = 0
    others, names = (probes, probe_labels) if gallery is None or gallery_labels is None else (gallery, gallery_labels)
    for i, (probe, label) in enumerate(zip(probes, probe_labels, strict=True)):
        entries = [(cosine(probe, other), names[j] == label) for j, other in enumerate(others)
                   if not (gallery is None and i == j)]  # fmt: skip
        entries += [(cosine(probe, other), False) for other in distractors]
        best_right = max(score for score, own in entries if own)
        success += all(above(best_right, score) for score, own in entries if not own)
    return success / len(probes)
