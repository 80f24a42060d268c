"""What a threshold trades: true accepts against false accepts, and the numbers that sum it up.

A pair is accepted, that is called the same identity, where its score is at or above the threshold. Nothing here changes
when all scores go through an increasing function.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from onsphere.verification.pairs import Bools, Floats, booleans, numbers


@dataclass(frozen=True, eq=False)
class Roc:
    """The receiver operating characteristic: the rates at every threshold that makes a difference.

    Attributes:
        threshold: (k,), falling: infinity, which accepts nothing, then every score that occurs.
        far: (k,), false accept rate at each, from 0 to 1: the share of pairs of different identities that is accepted.
        tar: (k,), true accept rate at each, from 0 to 1: the share of pairs of the same identity that is accepted.
    """

    threshold: Floats
    far: Floats
    tar: Floats


def roc(scores: ArrayLike, same: ArrayLike) -> Roc:
    r"""The points of the receiver operating characteristic.

    .. math::
        \mathrm{FAR}(t) = \frac{|\{i \in D : s_i \ge t\}|}{|D|}, \qquad
        \mathrm{TAR}(t) = \frac{|\{i \in S : s_i \ge t\}|}{|S|}

    Args:
        scores: (n,), s.
        same: (n,) bool; S are the pairs of the same identity, D the others.

    Raises:
        ValueError: they differ in length, a score is not finite, or one kind of pair is missing.

    Example:
        >>> curve = roc([0.9, 0.8, 0.3, 0.1], [True, False, True, False])
        >>> curve.far, curve.tar
        (array([0. , 0. , 0.5, 0.5, 1. ]), array([0. , 0.5, 0.5, 1. , 1. ]))
    """
    values, kinds = checked(scores, same)
    order = np.argsort(-values, kind="stable")
    values, kinds = values[order], kinds[order]
    ends = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)  # equal scores are accepted together
    true = np.cumsum(kinds)[ends]
    false = ends + 1 - true
    return Roc(
        np.concatenate([[np.inf], values[ends]]),
        np.concatenate([[0.0], false / false[-1]]),
        np.concatenate([[0.0], true / true[-1]]),
    )


def tar_at_far(curve: Roc, far: float) -> float:
    """The true accept rate at the smallest threshold whose false accept rate does not exceed ``far``.

    Nothing is interpolated. With n pairs of different identities a rate is a multiple of 1/n: for a ``far`` below 1/n
    this is the share of pairs of the same identity that score above all others.

    Args:
        curve: from :func:`roc`.
        far: above 0, at most 1.

    Raises:
        ValueError: far is no such rate.

    Source: "TAR and FAR denote True Accept Rate and False Accept Rate", thesis Table 2.10.

    Example:
        >>> tar_at_far(roc([0.9, 0.8, 0.3, 0.1], [True, False, True, False]), 0.5)
        1.0
    """
    if not 0 < far <= 1:
        raise ValueError(f"far={far!r}: expected a rate above 0, at most 1, such as 0.001")
    # A rate that was computed, as 0.3 - 0.2, may be a hair below the k/n that is meant: that is no excess.
    return float(curve.tar[np.searchsorted(curve.far, far * (1 + 1e-12), side="right") - 1])


def equal_error_rate(curve: Roc) -> float:
    r"""The rate at which as many pairs are falsely accepted as falsely rejected.

    .. math::
        \mathrm{EER} = \mathrm{FAR} = 1 - \mathrm{TAR}

    on the straight lines between neighbouring points of the curve.

    Args:
        curve: from :func:`roc`.

    Returns:
        A rate from 0 to 1.

    Example:
        >>> equal_error_rate(roc([0.9, 0.8, 0.3, 0.1], [True, False, True, False]))
        0.5
    """
    excess = curve.far - (1 - curve.tar)  # rises from -1 to 1
    after = int(np.argmax(excess >= 0))
    before = after - 1
    share = -excess[before] / (excess[after] - excess[before])
    return float(curve.far[before] + share * (curve.far[after] - curve.far[before]))


def auc(curve: Roc) -> float:
    """The area under the curve: how often a pair of the same identity scores above one of different ones, ties half.

    Args:
        curve: from :func:`roc`.

    Example:
        >>> auc(roc([0.9, 0.8, 0.3, 0.1], [True, False, True, False]))
        0.75
    """
    return float(np.sum(np.diff(curve.far) * (curve.tar[1:] + curve.tar[:-1]) / 2))


def checked(scores: ArrayLike, same: ArrayLike) -> tuple[Floats, Bools]:
    """Scores and kinds that fit each other, both kinds among them.

    Raises:
        ValueError: they do not.
    """
    values, kinds = numbers(scores, "scores"), booleans(same, "same")
    if len(values) != len(kinds):
        raise ValueError(f"{len(values)} scores and {len(kinds)} pairs: expected one score a pair")
    if not kinds.any() or kinds.all():
        missing = "different identities" if len(kinds) and kinds.all() else "the same identity"
        raise ValueError(f"there is no pair of {missing} among {len(kinds)}: both kinds are needed")
    return values, kinds
