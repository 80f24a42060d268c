"""Layers whose output is a function of the angle between a weight and what it reads."""

from onsphere.layers.cosine import SphereConv2d, SphereLinear

__all__ = ["SphereConv2d", "SphereLinear"]
