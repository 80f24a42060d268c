"""Layers whose output is a function of the angle between a weight and what it reads, and of their lengths apart."""

from onsphere.layers.conversion import convert, plain, plain_state_dict
from onsphere.layers.convolution import DecoupledConv1d, DecoupledConv2d, DecoupledConv3d, DecoupledLinear
from onsphere.layers.decoupled import Decoupled, Weighting
from onsphere.layers.named import (
    BallConv2d,
    LinearConv2d,
    LogConv2d,
    MixConv2d,
    SegConv2d,
    SphereConv2d,
    SphereLinear,
    SphereNormConv2d,
    TanhConv2d,
)
from onsphere.layers.optimization import WeightProjection, project_weights, weighted_gradients

__all__ = [
    "BallConv2d",
    "Decoupled",
    "DecoupledConv1d",
    "DecoupledConv2d",
    "DecoupledConv3d",
    "DecoupledLinear",
    "LinearConv2d",
    "LogConv2d",
    "MixConv2d",
    "SegConv2d",
    "SphereConv2d",
    "SphereLinear",
    "SphereNormConv2d",
    "TanhConv2d",
    "WeightProjection",
    "Weighting",
    "convert",
    "plain",
    "plain_state_dict",
    "project_weights",
    "weighted_gradients",
]
