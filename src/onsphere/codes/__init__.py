"""Points on a sphere: spherical codes, the Tammes problem and minimal energies."""

from onsphere.codes.search import solve

__all__ = ["solve"]
