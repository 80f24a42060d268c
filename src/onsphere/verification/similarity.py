"""The cosine of two features, and the feature of an image and its mirror image."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onsphere.verification.pairs import Floats, Pairs

Combine = Literal["concatenate", "sum"]

TILE = 4096  # rows that are taken to float64 at a time


def joined(features: ArrayLike, flipped: ArrayLike, combine: Combine = "concatenate") -> Floats:
    """The features of images and of their mirror images as one feature an image.

    .. math::
        z = [x; x'] \\quad\\text{(concatenate)}, \\qquad z = x + x' \\quad\\text{(sum)}

    Args:
        features: (N, D), x.
        flipped: (N, D), x', of the images flipped left to right.
        combine: "concatenate" is the thesis's, "sum" that of ArcFace's code.

    Returns:
        (N, 2D) or (N, D).

    Raises:
        ValueError: they are no matrices of one shape, or combine is neither.

    Source: thesis 2.3.6: "concatenating its original face features and its horizontally flipped features".

    Example:
        >>> joined([[1.0, 0.0]], [[0.0, 1.0]]), joined([[1.0, 0.0]], [[0.0, 1.0]], "sum")
        (array([[1., 0., 0., 1.]]), array([[1., 1.]]))
    """
    x, mirrored = matrix(features, "features"), matrix(flipped, "flipped")
    if x.shape != mirrored.shape:
        raise ValueError(f"features of shape {x.shape} and flipped of shape {mirrored.shape}: expected one shape")
    one: Floats = x.astype(np.float64)
    other: Floats = mirrored.astype(np.float64)
    if combine == "concatenate":
        return np.concatenate([one, other], axis=1)
    if combine == "sum":
        return one + other
    raise ValueError(f"combine={combine!r}: expected 'concatenate' or 'sum'")


def scores(
    features: ArrayLike, pairs: Pairs, flipped: ArrayLike | None = None, combine: Combine = "concatenate"
) -> Floats:
    r"""The score of every pair: the cosine of the angle between its two features.

    .. math::
        s = \frac{z_1 \cdot z_2}{\lVert z_1 \rVert \lVert z_2 \rVert}

    Args:
        features: (N, D), one row an image; any real type, computed in float64.
        pairs: which rows to compare.
        flipped: (N, D), features of the mirrored images; None compares the features alone.
        combine: how the two become one feature; see :func:`joined`.

    Returns:
        (n,), from -1 to 1.

    Raises:
        ValueError: the features are no matrix, a pair names a row that is not there, or a feature that is compared is
            zero or not finite; the message names it.

    Source: thesis 2.3.6: "the score (metric) is computed by the cosine distance of two features".

    Example:
        >>> pairs = Pairs([0, 0], [1, 2], [True, False], [0, 0])
        >>> scores([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]], pairs)
        array([1., 0.])
    """
    rows: Any = matrix(features, "features") if flipped is None else joined(features, flipped, combine)
    last = int(max(pairs.first.max(), pairs.second.max()))
    if last >= len(rows):
        raise ValueError(f"the pairs name row {last}, but there are only {len(rows)} features")
    used = np.union1d(pairs.first, pairs.second)
    place = np.full(last + 1, -1)
    place[used] = np.arange(len(used))
    found = np.empty(len(pairs))
    # All features that are used fit into memory once more in any set of this kind; all pairs' may not.
    directions = np.concatenate(
        [unit(rows[used[i : i + TILE]], "feature", used[i : i + TILE]) for i in range(0, len(used), TILE)]
    )
    for i in range(0, len(pairs), TILE):
        one = directions[place[pairs.first[i : i + TILE]]]
        other = directions[place[pairs.second[i : i + TILE]]]
        found[i : i + TILE] = np.einsum("ij,ij->i", one, other)
    return np.clip(found, -1.0, 1.0)


def matrix(given: ArrayLike, name: str) -> NDArray[Any]:
    """A matrix of real numbers with one feature a row, as it is: a file that is mapped into memory stays there.

    Raises:
        ValueError: it is none.
    """
    array = np.asanyarray(given)
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.size:
        raise ValueError(f"{name} of shape {array.shape} and type {array.dtype}: expected (N, D) real numbers")
    return array


def unit(rows: NDArray[Any], name: str, numbers: ArrayLike | None = None) -> Floats:
    """Rows of length 1 in float64.

    Args:
        rows: (n, D).
        name: of a row, for messages.
        numbers: (n,), of the rows, for messages; None counts from 0.

    Raises:
        ValueError: a row is zero or not finite.
    """
    found = rows.astype(np.float64)
    largest = np.abs(found).max(axis=1, keepdims=True)
    if (bad := np.flatnonzero(~np.isfinite(largest[:, 0]))).size:
        i = bad[0] if numbers is None else np.asarray(numbers)[bad[0]]
        raise ValueError(f"{name} {i} holds NaN or infinity ({bad.size} of {len(rows)} looked at do)")
    if (bad := np.flatnonzero(largest[:, 0] == 0)).size:
        i = bad[0] if numbers is None else np.asarray(numbers)[bad[0]]
        raise ValueError(f"{name} {i} is zero and has no direction ({bad.size} of {len(rows)} looked at are)")
    found /= largest  # so that no square overflows or vanishes
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found
