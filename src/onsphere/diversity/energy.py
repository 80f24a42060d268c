"""Hyperspherical energies: the MHE family of the thesis, called Riesz-Fisher and logarithmic loss in the MMA paper."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from onsphere import sphere
from onsphere.diversity.energy_tiles import RieszKernel, pair_sum

Distance = Literal["euclidean", "angular"]


def mhe(
    weight: Tensor,
    s: float = 2.0,
    *,
    distance: Distance = "euclidean",
    half_space: bool = False,
    weights: Tensor | None = None,
    batch: float | int | None = None,
    labels: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Mean over ordered pairs of neurons of their hyperspherical energy (MHE, minimise hyperspherical energy).

    .. math::
        E_s = \frac{1}{N(N-1)} \sum_{i \ne j} f_s(\rho_{ij}), \qquad
        f_s(z) = z^{-s} \; (s > 0), \quad f_0(z) = \log z^{-1}

    with rho_ij = ||w_i/||w_i|| - w_j/||w_j|| || (the distance, not its square) or the angle between them.

    Args:
        weight: W, (N, d), one neuron a row. Zero rows are left out and get a zero gradient.
        s: the power, >= 0. Default 2: the thesis's choice (5.5.1).
        distance: "euclidean" (5.1) or "angular", radians (5.5).
        half_space: the energy of the 2N vectors {w, -w}: all ordered pairs / (2N(2N-1)), the N constant antipodal pairs
            included (5.3.4). Code that averages f(rho_ij) + f(rho of w_i and -w_j) over the ordered pairs i != j alone
            gives M where this gives ((N-1) M + f(rho of w and -w)) / (2N-1). For hidden layers only.
        weights: beta, (N,), positive: neuron i stands at beta_i w_i/||w_i|| (D.10). Euclidean distance only.
        batch: use this many neurons (int, at least 2), or this fraction of them (float in (0, 1]), drawn at random for
            this call (5.3.6).
        labels: y, (m,) class indices of a mini-batch: the data-dependent form for an output layer,
            1/(m(N-1)) sum_i sum_{j != y_i} f_s(rho_{y_i j}) (5.3.6). Full space only.
        generator: where ``batch`` draws from; default torch's own.

    Returns:
        A scalar; 0 for fewer than two neurons. float32, or float64 where the weight is. Directions closer than 1e-6
        count as 1e-6 apart and do not push each other.

    Raises:
        ValueError: an argument is out of its range; the message repeats it.
        NonFiniteWeightError: the weight holds NaN or an infinity.

    Source: thesis eqs. 5.1, 5.5, D.10, sections 5.3.4 and 5.3.6; equal to MMA paper eqs. 9 and 11.

    Example:
        >>> round(mhe(torch.eye(3), s=2.0).item(), 4)
        0.5
    """
    _check(s, distance, half_space, weights, batch)
    if labels is not None:
        if half_space:
            raise ValueError("labels= is for an output layer, where half_space=True must not be used (thesis 5.3.4)")
        if batch is not None:
            raise ValueError(f"give batch or labels, not both: got batch={batch} and labels {tuple(labels.shape)}")
        labels = _checked_labels(labels, weight)
    if weights is not None and weights.shape != weight.shape[:1]:
        raise ValueError(
            f"weights must hold one number a neuron: got shape {tuple(weights.shape)} for weight {tuple(weight.shape)}"
        )
    if batch is not None:
        chosen = _draw(weight.shape[0], batch, generator).to(weight.device)
        weight = weight[chosen]
        weights = None if weights is None else weights[chosen.to(weights.device)]
    beta = None if weights is None else weights.detach().to(weight.device).to(sphere.finest(weight.device))
    return pair_sum(weight, RieszKernel(float(s), distance == "angular", half_space), beta, labels)


def _check(s: float, distance: str, half_space: bool, weights: Tensor | None, batch: float | int | None) -> None:
    if not s >= 0 or s == float("inf"):
        raise ValueError(f"s must be a number >= 0, got {s}")
    if distance not in ("euclidean", "angular"):
        raise ValueError(f"distance must be 'euclidean' or 'angular', got {distance!r}")
    if weights is not None:
        if distance == "angular":
            raise ValueError("weights= changes lengths, which distance='angular' does not see: use 'euclidean'")
        if weights.ndim != 1 or not bool(((weights > 0) & weights.isfinite()).all()):
            raise ValueError(f"weights must be a vector of positive finite numbers, got {weights}")
    if batch is not None:
        fraction = isinstance(batch, float)
        if (fraction and not 0 < batch <= 1) or (not fraction and batch < 2):
            raise ValueError(f"batch must be a fraction in (0, 1] or a count of at least 2, got {batch!r}")


def _checked_labels(labels: Tensor, weight: Tensor) -> Tensor:
    if labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be a vector of class indices, got {labels.dtype} {tuple(labels.shape)}")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < weight.shape[0]:
        raise ValueError(
            f"labels must lie in 0..{weight.shape[0] - 1}, one class a row of weight; "
            f"got {int(labels.min())}..{int(labels.max())}"
        )
    return labels.to(weight.device, torch.int64)


def _draw(n: int, batch: float | int, generator: torch.Generator | None) -> Tensor:
    count = max(2, round(batch * n)) if isinstance(batch, float) else batch
    device = generator.device if generator is not None else None
    return torch.randperm(n, generator=generator, device=device)[: min(count, n)]


def riesz(weight: Tensor, s: float = 1.0) -> Tensor:
    r"""The Riesz-Fisher loss, the mean over ordered pairs of an inverse power of their distance.

    .. math:: l_{RF} = \frac{1}{n(n-1)} \sum_{i \ne j} \|\hat w_i - \hat w_j\|^{-s}, \quad s > 0

    Args:
        weight: W, (n, d), one neuron a row.
        s: the power, > 0; default 1 as in the paper's Figure 2.

    Returns:
        A scalar, the same as ``mhe(weight, s)``.

    Raises:
        ValueError: s is not positive.

    Source: MMA paper, eq. 9.

    Example:
        >>> round(riesz(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), s=1.0).item(), 4)
        0.5
    """
    if not s > 0:
        raise ValueError(f"s must be positive, got {s}; for s = 0 use logarithmic()")
    return mhe(weight, s)


def logarithmic(weight: Tensor) -> Tensor:
    r"""The logarithmic loss, minus the mean over ordered pairs of the log distance.

    .. math:: l_{log} = -\frac{1}{n(n-1)} \sum_{i \ne j} \log \|\hat w_i - \hat w_j\|

    Args:
        weight: W, (n, d), one neuron a row.

    Returns:
        A scalar, the same as ``mhe(weight, 0)``.

    Source: MMA paper, eq. 11.

    Example:
        >>> round(logarithmic(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item(), 4)
        -0.6931
    """
    return mhe(weight, 0.0)


class MHE(nn.Module):
    """Minimise the hyperspherical energy: :func:`onsphere.functional.mhe` as a module (thesis 5.1, 5.5, 5.3.4, 5.3.6).

    With ``batch`` each call with gradients on draws other neurons: the draw depends on ``seed`` and on a count of calls
    (a buffer), so that it is the same on every rank and a resumed run continues it.

    Args:
        s, distance, half_space, weights, batch: as in :func:`onsphere.functional.mhe`.
        data_dependent: take the labels of the mini-batch, for an output layer: ``measure(weight, labels)``.
        seed: of the draws of ``batch``.

    Raises:
        ValueError: an argument is out of its range, or labels are missing or not wanted.

    Example:
        >>> MHE(s=0.0, half_space=True)
        MHE(s=0.0, distance='euclidean', half_space=True)
    """

    over_groups = "mean"
    weights: Tensor | None
    calls: Tensor

    def __init__(
        self,
        s: float = 2.0,
        distance: Distance = "euclidean",
        half_space: bool = False,
        weights: Tensor | None = None,
        batch: float | int | None = None,
        data_dependent: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check(s, distance, half_space, weights, batch)
        if data_dependent and (half_space or batch is not None):
            raise ValueError(
                "data_dependent=True is the mini-batch form for an output layer: it goes with half_space=False and "
                f"batch=None, got half_space={half_space} and batch={batch}"
            )
        self.data_dependent = data_dependent
        self.s, self.distance, self.half_space, self.batch, self.seed = float(s), distance, half_space, batch, seed
        self.register_buffer("weights", weights)
        if batch is not None:
            self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, weight: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.data_dependent != (labels is not None):
            given = "none were given" if labels is None else f"labels of shape {tuple(labels.shape)} were given"
            raise ValueError(
                f"MHE takes labels where data_dependent=True only; it is {self.data_dependent}, and {given}"
            )
        generator = None
        if self.batch is not None:
            generator = torch.Generator().manual_seed(1_000_003 * self.seed + int(self.calls))
            if torch.is_grad_enabled():
                self.calls += 1
        return mhe(
            weight,
            self.s,
            distance=self.distance,
            half_space=self.half_space,
            weights=self.weights,
            batch=self.batch,
            labels=labels,
            generator=generator,
        )

    def extra_repr(self) -> str:
        text = f"s={self.s}, distance={self.distance!r}, half_space={self.half_space}"
        if self.weights is not None:
            text += f", weights=<{len(self.weights)}>"
        if self.data_dependent:
            text += ", data_dependent=True"
        return text if self.batch is None else f"{text}, batch={self.batch}, seed={self.seed}"


class Riesz(nn.Module):
    """The Riesz-Fisher loss: :func:`onsphere.functional.riesz` as a module (MMA paper, eq. 9).

    Example:
        >>> Riesz(s=2.0)(torch.eye(3))
        tensor(0.5000)
    """

    over_groups = "mean"

    def __init__(self, s: float = 1.0) -> None:
        super().__init__()
        if not s > 0:
            raise ValueError(f"s must be positive, got {s}; for s = 0 use Logarithmic()")
        self.s = float(s)

    def forward(self, weight: Tensor) -> Tensor:
        return riesz(weight, self.s)

    def extra_repr(self) -> str:
        return f"s={self.s}"


class Logarithmic(nn.Module):
    """The logarithmic loss: :func:`onsphere.functional.logarithmic` as a module (MMA paper, eq. 11).

    Example:
        >>> Logarithmic()(torch.eye(3))
        tensor(-0.3466)
    """

    over_groups = "mean"

    def forward(self, weight: Tensor) -> Tensor:
        return logarithmic(weight)
