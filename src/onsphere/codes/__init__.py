"""Points on a sphere: spherical codes, the Tammes problem and minimal energies."""
