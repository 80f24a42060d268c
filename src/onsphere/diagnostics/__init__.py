"""Read-only measurements of a model."""

from onsphere.diagnostics.angles import cosines, minimum_angle, minimum_angles

__all__ = ["cosines", "minimum_angle", "minimum_angles"]
