"""Hyperspherical networks: chapter 3 of the thesis."""

from onsphere.recipes.entry import Entry

ENTRIES: tuple[Entry, ...] = ()
