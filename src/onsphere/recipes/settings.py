"""Checks and defaults of the settings that recipes share."""

from __future__ import annotations

from collections.abc import Sequence


def check_positive(**values: float | None) -> None:
    """Raise a ValueError that names the first value that is not above 0; None passes.

    >>> check_positive(epochs=3, width=0.0)
    Traceback (most recent call last):
        ...
    ValueError: width=0.0 must be greater than 0
    """
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name}={value} must be greater than 0")


def scaled(milestones: Sequence[int], of: int, to: int) -> tuple[int, ...]:
    """The milestones of a training of one length at the same shares of another.

    Args:
        milestones: epochs or steps.
        of: length of the training that they belong to.
        to: length of the other one.

    >>> scaled((81, 122), of=164, to=200)
    (99, 149)
    """
    return tuple(max(1, round(milestone * to / of)) for milestone in milestones)


def milestones_or(milestones: Sequence[int] | None, usual: Sequence[int], of: int, to: int) -> tuple[int, ...]:
    """The milestones that were given, or else the usual ones at the same shares of this training.

    Args:
        milestones: epochs or steps; None for the usual ones.
        usual: those of the paper's training.
        of: its length.
        to: the length of this one.

    >>> milestones_or(None, (16, 24), of=28, to=280), milestones_or([7], (16, 24), of=28, to=280)
    ((160, 240), (7,))
    """
    return scaled(usual, of, to) if milestones is None else tuple(milestones)
