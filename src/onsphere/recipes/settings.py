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
