"""The rows of chapter 3: an operator of the hidden layers and a loss, such as ``sigmoid-0.3+ga-softmax``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product

from torch import nn

from onsphere.angular import Angular, Cosine, Linear, Sigmoid
from onsphere.losses import AngularSoftmax
from onsphere.magnitude import Magnitude, Sphere
from onsphere.margins import SphereFace
from onsphere.recipes.margins.objectives import Annealing


@dataclass(frozen=True)
class Operator:
    """What a hidden layer computes.

    Args:
        label: the name that tables and reports print.
        angular: g of a SphereConv; None for the ordinary inner product.
    """

    label: str
    angular: Angular | None = None

    @property
    def magnitude(self) -> Magnitude | None:
        """h of a SphereConv, which is 1; None for the ordinary inner product."""
        return None if self.angular is None else Sphere()


@dataclass(frozen=True)
class Loss:
    """What stands behind the features.

    Args:
        label: the name that tables and reports print.
        angular: g of equation 3.10 or 3.11; None for the ordinary softmax loss.
        m: of the margin; 1 for none.
    """

    label: str
    angular: Angular | None = None
    m: int = 1

    def head(self, features: int, classes: int, annealing: Annealing) -> Callable[[], nn.Module] | None:
        """What makes the last layer and the loss in one; None where they are the ordinary ones."""
        return None if self.angular is None else partial(_head, features, classes, self.angular, self.m, annealing)


def _head(features: int, classes: int, angular: Angular, m: int, annealing: Annealing) -> AngularSoftmax:
    margin = None if m == 1 else annealing(SphereFace(m))
    head = AngularSoftmax(features, classes, margin, scale="feature_norm", angular=angular)
    # As the authors' published code. A step of Adam is equally long for all weights, so that the small ones that a head
    # starts with turn by several degrees a step, and two classes fell together in 250 steps of A- and GA-Softmax.
    nn.init.kaiming_normal_(head.weight)
    return head


CURVATURES = (0.1, 0.3, 0.7)
START = 0.5  # of all k that are learned (3.4.3)

OPERATORS: Mapping[str, Operator] = {
    "conv": Operator("conv"),
    **{f"sigmoid-{k}": Operator(f"sigmoid k={k}", Sigmoid(k)) for k in CURVATURES},
    "linear": Operator("linear", Linear()),
    "cosine": Operator("cosine", Cosine()),
    "sigmoid-learned": Operator("sigmoid, k learned", Sigmoid(START, learnable=True)),
    "sigmoid-learned-layer": Operator("sigmoid, k of layer learned", Sigmoid(START, learnable=True, shared="layer")),
    "sigmoid-learned-network": Operator(
        "sigmoid, k of network learned", Sigmoid(START, learnable=True, shared="network")
    ),
}

LOSSES: Mapping[str, Loss] = {
    "softmax": Loss("softmax"),
    **{f"w-sigmoid-{k}": Loss(f"sigmoid k={k} W-Softmax", Sigmoid(k)) for k in CURVATURES},
    "w-linear": Loss("linear W-Softmax", Linear()),
    "w-cosine": Loss("cosine W-Softmax", Cosine()),
    "a-softmax": Loss("A-Softmax m=4", Cosine(), 4),
    # Equation 3.11 leaves g open; "our proposed large-margin loss (linear GA-Softmax)" is what the text says of it.
    "ga-softmax": Loss("GA-Softmax m=4", Linear(), 4),
}

_FIXED = tuple(name for name in OPERATORS if "learned" not in name)
EVERY = tuple(f"{operator}+{loss}" for operator, loss in product(_FIXED, LOSSES))  # of Table 3.1
EVERY_OPERATOR = ("conv+softmax", *(f"{name}+w-cosine" for name in _FIXED if name != "conv"))  # of Table 3.2
LEARNED = tuple(f"{name}+w-cosine" for name in ("sigmoid-0.3", *(name for name in OPERATORS if "learned" in name)))


def parts(row: str) -> tuple[Operator, Loss]:
    """The operator and the loss of a row.

    Args:
        row: OPERATOR+LOSS.

    Raises:
        ValueError: for another name.

    >>> operator, loss = parts("sigmoid-0.3+ga-softmax")
    >>> operator.label, loss.label
    ('sigmoid k=0.3', 'GA-Softmax m=4')
    """
    first, _, second = row.partition("+")
    if first not in OPERATORS or second not in LOSSES:
        raise ValueError(f"row={row!r}: expected one of {', '.join(OPERATORS)}, then + and one of {', '.join(LOSSES)}")
    return OPERATORS[first], LOSSES[second]
