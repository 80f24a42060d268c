"""Decoupled networks: chapter 4 and appendix C of the thesis."""

from onsphere.recipes.entry import Entry

ENTRIES: tuple[Entry, ...] = ()
