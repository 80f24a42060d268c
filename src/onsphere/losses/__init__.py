"""Objectives on the sphere: angular heads (cosines, margin, scale, cross-entropy), also shared out over processes."""

from onsphere.losses.angular_softmax import AngularSoftmax, angular_softmax
from onsphere.losses.plus import ArcFacePlus, CosFacePlus, Plus, SphereFacePlus
from onsphere.losses.sharded import ShardedAngularSoftmax

__all__ = [
    "AngularSoftmax",
    "ArcFacePlus",
    "CosFacePlus",
    "Plus",
    "ShardedAngularSoftmax",
    "SphereFacePlus",
    "angular_softmax",
]
