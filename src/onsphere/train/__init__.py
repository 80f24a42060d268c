"""The training loop, and nothing else: a Recipe goes in, a Result comes out. It knows no method by name."""

from onsphere.train.checkpoint import CheckpointError
from onsphere.train.comparison import Interrupted, measure_cost, run
from onsphere.train.loop import NonFiniteLoss
from onsphere.train.recipe import Progress, Recipe
from onsphere.train.result import Cost, Result, Row, SeedResult
from onsphere.train.schedules import warm_up

__all__ = [
    "CheckpointError",
    "Cost",
    "Interrupted",
    "NonFiniteLoss",
    "Progress",
    "Recipe",
    "Result",
    "Row",
    "SeedResult",
    "measure_cost",
    "run",
    "warm_up",
]
