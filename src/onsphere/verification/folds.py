"""Accuracy over folds, the threshold of each chosen on the others, and all that is said of a set of pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from onsphere.verification.curves import Roc, auc, checked, equal_error_rate, roc, tar_at_far
from onsphere.verification.pairs import Bools, Floats, Ints, Pairs, consecutive_folds, integers

FAR = (1e-1, 1e-2, 1e-3)


@dataclass(frozen=True, eq=False)
class Verification:
    """How well scores tell pairs of the same identity from pairs of different ones; all rates from 0 to 1.

    Attributes:
        accuracy: mean over the folds.
        accuracy_std: standard deviation over the folds (n - 1 in the denominator).
        fold_accuracy: (folds,), of each fold.
        thresholds: (folds,), what was chosen for each fold on all the others.
        eer: equal error rate, of all pairs together.
        auc: area under the ROC, of all pairs together.
        tar_at_far: false accept rate -> true accept rate, of all pairs together.
        roc: the curve.
        same: number of pairs of the same identity.
        different: number of pairs of different identities.
    """

    accuracy: float
    accuracy_std: float
    fold_accuracy: Floats = field(repr=False)
    thresholds: Floats = field(repr=False)
    eer: float
    auc: float
    tar_at_far: Mapping[float, float]
    roc: Roc = field(repr=False)
    same: int
    different: int

    @property
    def standard_error(self) -> float:
        """Of the mean accuracy, as LFW's results are quoted: the standard deviation over the root of the folds."""
        return self.accuracy_std / math.sqrt(len(self.thresholds))

    def percent(self) -> dict[str, float]:
        """The numbers in per cent by the names that result files use.

        Example:
            >>> found = verify([0.9, 0.1, 0.8, 0.2], np.array([True, False, True, False]), [0, 0, 1, 1], far=[0.5])
            >>> found.percent()
            {'verification': 100.0, 'verification_sd': 0.0, 'eer': 0.0, 'auc': 100.0, 'tar_at_far_0.5': 100.0}
        """
        return {
            "verification": _percent(self.accuracy),
            "verification_sd": _percent(self.accuracy_std),
            "eer": _percent(self.eer),
            "auc": _percent(self.auc),
            **{f"tar_at_far_{far:g}": _percent(tar) for far, tar in self.tar_at_far.items()},
        }


def verify(
    scores: ArrayLike, pairs: Pairs | ArrayLike, fold: ArrayLike | None = None, *, far: Sequence[float] = FAR
) -> Verification:
    """Accuracy with the threshold of every fold chosen on the other folds, and the measures of the ROC.

    A pair is called the same identity where its score is at or above the threshold. The accuracy of a fold is the share
    of its pairs that is called right with the threshold that :func:`best_threshold` finds on all pairs of the other
    folds. The measures of the ROC need no threshold and take all pairs together.

    Args:
        scores: (n,), one a pair, larger for the more similar.
        pairs: the pairs; or (n,) bool alone, whether each is of the same identity.
        fold: (n,) integers; None takes those of the pairs or, where there is only an array of bool, ten consecutive
            ones.
        far: the false accept rates to give the true accept rate at.

    Raises:
        ValueError: lengths that differ, scores that are not finite, fewer than two folds, a fold without pairs of both
            kinds, a rate outside of (0, 1], or folds given twice.

    Source: LFW's View 2 and "unrestricted with labeled outside data", the protocol of thesis 2.3.6 and 5.5.2.

    Example:
        >>> found = verify([0.9, 0.1, 0.8, 0.2], np.array([True, False, True, False]), [0, 0, 1, 1])
        >>> found.accuracy, found.thresholds
        (1.0, array([0.5, 0.5]))
    """
    if isinstance(pairs, Pairs):
        if fold is not None:
            raise ValueError("folds were given twice: Pairs have theirs")
        values, same = checked(scores, pairs.same)
        numbers = pairs.fold
    else:
        values, same = checked(scores, pairs)
        numbers = consecutive_folds(same) if fold is None else integers(fold, "fold")
    if len(numbers) != len(values):
        raise ValueError(f"{len(values)} scores and {len(numbers)} fold numbers: expected one a pair")
    accuracies, thresholds = _over_folds(values, same, numbers)
    curve = roc(values, same)
    return Verification(
        accuracy=float(accuracies.mean()),
        accuracy_std=float(accuracies.std(ddof=1)),
        fold_accuracy=accuracies,
        thresholds=thresholds,
        eer=equal_error_rate(curve),
        auc=auc(curve),
        tar_at_far={float(rate): tar_at_far(curve, rate) for rate in far},
        roc=curve,
        same=int(same.sum()),
        different=int((~same).sum()),
    )


def _over_folds(values: Floats, same: Bools, fold: Ints) -> tuple[Floats, Floats]:
    folds = np.unique(fold)
    if len(folds) < 2:
        raise ValueError(
            f"all pairs are in fold {folds[0]}: its threshold is chosen on other folds, so give at least 2"
        )
    for number in folds:
        inside = same[fold == number]
        if inside.all() or not inside.any():
            words = "different identities" if inside.all() else "the same identity"
            raise ValueError(f"fold {number} has no pair of {words}: every fold needs both kinds")
    accuracies, thresholds = np.empty(len(folds)), np.empty(len(folds))
    for i, number in enumerate(folds):
        test = fold == number
        thresholds[i] = best_threshold(values[~test], same[~test])
        accuracies[i] = np.mean((values[test] >= thresholds[i]) == same[test])
    return accuracies, thresholds


def best_threshold(scores: ArrayLike, same: ArrayLike) -> float:
    """The threshold with which most pairs are called right, exactly, without a grid.

    Every threshold between two neighbouring scores does the same, and the middle between the two is taken. Where
    several gaps do equally well, it is the widest one, and of equally wide ones the lowest. Accepting everything or
    nothing is chosen only where it is better than every gap; the threshold is then the lowest score, or just above the
    highest.

    Args:
        scores: (n,).
        same: (n,) bool.

    Raises:
        ValueError: they differ in length, a score is not finite, or one kind of pair is missing.

    Example:
        >>> best_threshold([0.9, 0.7, 0.3, 0.1], [True, True, False, False])
        0.5
    """
    values, kinds = checked(scores, same)
    order = np.argsort(values, kind="stable")
    values, kinds = values[order], kinds[order]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1])  # of each run of equal scores
    levels = values[starts]
    rejected = np.concatenate([[0], np.cumsum(~kinds)])  # rightly, below each place
    accepted = kinds.sum() - np.concatenate([[0], np.cumsum(kinds)])  # rightly, from each place on
    right = (rejected + accepted)[np.append(starts, len(values))]
    best = right.max()
    inner = np.flatnonzero(right[1:-1] == best)
    if not inner.size:
        return float(levels[0] if right[0] == best else np.nextafter(levels[-1], np.inf))
    below, above = levels[inner], levels[inner + 1]
    widest = int(np.argmax(above - below))
    low, high = below[widest], above[widest]
    middle = low + (high - low) / 2
    return float(middle if middle > low else high)  # neighbouring floats have no middle


def _percent(share: float) -> float:
    """Without the digits that rounding leaves: 0.29 is 29.0, not 28.999999999999996."""
    return round(100 * share, 9)
