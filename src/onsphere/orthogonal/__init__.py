"""Orthogonal over-parameterized training: fixed neurons and one learned orthogonal matrix a layer (thesis, chapter 7).

``overparametrize`` a model with a method, train it, ``fold`` it: a plain model again.
"""

from collections.abc import Callable, Mapping

from onsphere.orthogonal.bases import gram_schmidt, householder, lowdin
from onsphere.orthogonal.initialization import initialize_with_mean, refined
from onsphere.orthogonal.methods import (
    Cayley,
    Exponential,
    GramSchmidt,
    Householder,
    Lowdin,
    Method,
    OrthogonalGD,
    Relaxed,
    Unconstrained,
    cayley,
    exponential,
)
from onsphere.orthogonal.optimizer import OrthogonalParameter, OrthogonalSGD, Pair, split
from onsphere.orthogonal.parametrization import fold, overparametrize
from onsphere.orthogonal.penalty import Penalty
from onsphere.orthogonal.reading import deviations, matrices
from onsphere.orthogonal.structured import Banded, Hessenberg, PositiveDefinite, Skew, Symmetric, Triangular
from onsphere.orthogonal.switching import switch, tasks

__all__ = [
    "METHODS",
    "Banded",
    "Cayley",
    "Exponential",
    "GramSchmidt",
    "Hessenberg",
    "Householder",
    "Lowdin",
    "Method",
    "OrthogonalGD",
    "OrthogonalParameter",
    "OrthogonalSGD",
    "Pair",
    "Penalty",
    "PositiveDefinite",
    "Relaxed",
    "Skew",
    "Symmetric",
    "Triangular",
    "Unconstrained",
    "cayley",
    "deviations",
    "exponential",
    "fold",
    "gram_schmidt",
    "householder",
    "initialize_with_mean",
    "lowdin",
    "matrices",
    "overparametrize",
    "refined",
    "split",
    "switch",
    "tasks",
]

# The names of the thesis's tables first, then those of F.6.
METHODS: Mapping[str, Callable[..., Method]] = {
    "gs": GramSchmidt,
    "hr": Householder,
    "ls": Lowdin,
    "cp": Cayley,
    "exp": Exponential,
    "ogd": OrthogonalGD,
    "or": Relaxed,
    "upt": Unconstrained,
    "positive-definite": PositiveDefinite,
    "triangular": Triangular,
    "banded": Banded,
    "symmetric": Symmetric,
    "skew": Skew,
    "hessenberg": Hessenberg,
}
