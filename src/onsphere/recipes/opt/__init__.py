"""Orthogonal over-parameterized training: chapter 7 and appendix F of the thesis."""

from onsphere.recipes.entry import Entry

__all__ = ["ENTRIES"]

ENTRIES: tuple[Entry, ...] = ()
