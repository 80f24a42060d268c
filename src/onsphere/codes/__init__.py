"""Points on a sphere: spherical codes, the Tammes problem and minimal energies."""

from onsphere.codes.asymptotics import (
    energy_integral,
    expected_facets,
    expected_hole_power_sum,
    growth,
    hexagonal_angle,
    minimal_energy,
)
from onsphere.codes.best_known import BestKnown, best_known
from onsphere.codes.certificate import certify
from onsphere.codes.code import Code, Improvement, Progress
from onsphere.codes.energies import Minimum, energy, minimise_energy
from onsphere.codes.files import load, save
from onsphere.codes.geometry import Holes, covering_radius, hole_power_sum, hole_radii, holes, separation
from onsphere.codes.pairs import closest_pairs, min_angle, rattlers
from onsphere.codes.solver import solve

__all__ = [
    "BestKnown",
    "Code",
    "Holes",
    "Improvement",
    "Minimum",
    "Progress",
    "best_known",
    "certify",
    "closest_pairs",
    "covering_radius",
    "energy",
    "energy_integral",
    "expected_facets",
    "expected_hole_power_sum",
    "growth",
    "hexagonal_angle",
    "hole_power_sum",
    "hole_radii",
    "holes",
    "load",
    "min_angle",
    "minimal_energy",
    "minimise_energy",
    "rattlers",
    "save",
    "separation",
    "solve",
]
