"""Gradient descent that keeps matrices orthogonal (OGD), and how it goes together with any other optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from onsphere import sphere
from onsphere.orthogonal import bases
from onsphere.orthogonal.methods import beyond

__all__ = ["OrthogonalParameter", "OrthogonalSGD", "Pair", "split"]


# What training and the types of lower precision may leave; what is further off was trained by another optimizer.
TOLERANCE = 1e-2


class OrthogonalParameter(nn.Parameter):
    """A parameter that is an orthogonal matrix (..., m, m), for :class:`OrthogonalSGD`; see :func:`split`.

    >>> OrthogonalParameter(torch.eye(2)).shape
    torch.Size([2, 2])
    """

    averageable = False  # the mean of orthogonal matrices is not one: a training refuses to average its weights


def split(parameters: Iterable[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The orthogonal matrices among a model's parameters, and the others.

    Args:
        parameters: of a model.

    Returns:
        Those that :class:`OrthogonalSGD` must train, and those for any other optimizer.

    >>> import onsphere as osp
    >>> model = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2))
    >>> model = osp.overparametrize(model, osp.orthogonal.OrthogonalGD())
    >>> orthogonal, others = split(model.parameters())
    >>> len(orthogonal), len(others)
    (1, 3)
    """
    orthogonal: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in parameters:
        (orthogonal if isinstance(parameter, OrthogonalParameter) else others).append(parameter)
    return orthogonal, others


class OrthogonalSGD(Optimizer):
    r"""Stochastic gradient descent along the orthogonal matrices: each step multiplies with a rotation (OGD).

    .. math:: U \leftarrow U (I + \tfrac{\lambda}{2} W)^{-1} (I - \tfrac{\lambda}{2} W), \qquad
        W = \tfrac{1}{2} (U^\top G - G^\top U)

    G is the gradient. It is the step of eq. 7.5, for which U W U^T is the thesis's W (for square U its projection term
    is -1/2 of the other one); the sign of lambda is that of a descent. Here W is in U's own frame: that saves a copy,
    and a moving sum of it is a momentum that needs no transport.

    Args:
        params: matrices (..., m, m) that are orthogonal, or groups of parameters as in any optimizer of torch. A group
            with ``orthogonal=False`` gets ordinary steps, with its ``lr``, ``momentum`` and ``weight_decay``.
        lr: lambda.
        momentum: factor of the moving sum; 0.
        iterations: None solves for the step (eq. 7.5); a number starts from U - lambda U W and repeats
            Y = U - lambda/2 (U + Y) W so often (eq. 7.6; the thesis takes 2), which keeps U orthogonal to an order of
            lambda^(iterations + 2) only.
        max_step: the most that lambda ||W||_F may be; None for no bound. By default 1, lambda at most 1/||W||.
        polish_every: steps from one Newton-Schulz step, which takes away what rounding has added up, to the next.
            Default 10: a fifth of a matrix product a step, and ||U^T U - I|| stays at some 1e-6 in float32.
        weight_decay: of groups with ``orthogonal=False``; an orthogonal matrix has no other norm.

    Raises:
        ValueError: if a number is out of its range, or a matrix is not square or not orthogonal.

    Source: thesis, section 7.3.5, eq. 7.5 and 7.6.

    >>> u = nn.Parameter(torch.eye(2))
    >>> optimizer = OrthogonalSGD([u], lr=0.5)
    >>> for _ in range(50):
    ...     loss = -u[1, 0]
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     optimizer.step()
    >>> u.detach().abs().round(decimals=2)
    tensor([[0., 1.],
            [1., 0.]])
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.0,
        *,
        iterations: int | None = None,
        max_step: float | None = 1.0,
        polish_every: int = 10,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "iterations": iterations,
            "max_step": max_step,
            "polish_every": polish_every,
            "weight_decay": weight_decay,
            "orthogonal": True,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, as in any optimizer; see the class for what a group may say."""
        super().add_param_group(param_group)
        try:
            _check_group(self.param_groups[-1])
        except ValueError:
            self.param_groups.pop()
            raise

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if group["orthogonal"]:
                    self._rotate(parameter, group)
                else:
                    self._move(parameter, group)
        return loss

    def _rotate(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        assert parameter.grad is not None
        u, gradient = bases.fine(parameter, parameter.grad)
        with sphere.full_precision(u.device):
            w = u.mT @ gradient
            w = (w - w.mT).mul_(0.5)
            if group["momentum"]:
                if "momentum" in state:
                    w = state["momentum"].mul_(group["momentum"]).add_(w)
                state["momentum"] = w
            step: Tensor | float = group["lr"]
            if group["max_step"] is not None:
                norm = torch.linalg.matrix_norm(w)[..., None, None]
                step = (group["max_step"] / norm).clamp_(max=group["lr"])
            u = _solved(u, w, step) if group["iterations"] is None else _iterated(u, w, step, group["iterations"])
            state["steps"] = state.get("steps", 0) + 1
            if state["steps"] % group["polish_every"] == 0:
                u = 1.5 * u - 0.5 * u @ (u.mT @ u)
            parameter.copy_(u)

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient = parameter.grad
        assert gradient is not None
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        if group["momentum"]:
            state = self.state[parameter]
            if "momentum" in state:
                gradient = state["momentum"].mul_(group["momentum"]).add_(gradient)
            else:
                gradient = state["momentum"] = gradient.clone()
        parameter.sub_(gradient, alpha=group["lr"])


def _solved(u: Tensor, w: Tensor, step: Tensor | float) -> Tensor:
    system = w * (step / 2)
    system.diagonal(dim1=-2, dim2=-1).add_(1)
    solved: Tensor = torch.linalg.solve(system, u, left=False)
    return solved.mul_(2).sub_(u)  # (I + A)^-1 (I - A) = 2 (I + A)^-1 - I


def _iterated(u: Tensor, w: Tensor, step: Tensor | float, iterations: int) -> Tensor:
    half = w * (step / 2)
    turned = u @ half
    y = u - 2 * turned
    for _ in range(iterations):
        y = u - turned - y @ half
    return y


def _check_group(group: dict[str, Any]) -> None:
    lr, momentum, iterations, max_step = (group[name] for name in ("lr", "momentum", "iterations", "max_step"))
    if not (math.isfinite(lr) and lr >= 0):
        raise ValueError(f"lr={lr!r}: expected a finite number of at least 0")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum={momentum!r}: expected at least 0 and below 1")
    if iterations is not None and iterations < 0:
        raise ValueError(f"iterations={iterations!r}: expected at least 0, or None for the exact step")
    if max_step is not None and not max_step > 0:
        raise ValueError(f"max_step={max_step!r}: expected a number above 0, or None for no bound")
    if group["polish_every"] < 1:
        raise ValueError(f"polish_every={group['polish_every']!r}: expected at least 1")
    if not group["orthogonal"]:
        return
    if group["weight_decay"]:
        raise ValueError(f"weight_decay={group['weight_decay']!r}: orthogonal matrices have no decay, expected 0")
    for parameter in group["params"]:
        if parameter.dim() < 2 or parameter.shape[-1] != parameter.shape[-2]:
            raise ValueError(
                f"a parameter of shape {tuple(parameter.shape)}: expected square matrices, (..., m, m); others belong "
                "in a group with orthogonal=False, or in another optimizer (see onsphere.orthogonal.split)"
            )
        worst = beyond(parameter, TOLERANCE)
        if worst is not None:
            raise ValueError(f"a matrix with ||U^T U - I|| = {worst:.3g}: expected an orthogonal one")


class Pair(Optimizer):
    """Two optimizers as one: for ``OrthogonalSGD`` on the orthogonal matrices beside any other one on the rest.

    A schedule changes the learning rates of both, and their momentum, if it does so and both have one.

    Args:
        first: an optimizer.
        second: one of other parameters.

    Raises:
        ValueError: if a parameter is in both.

    Source: thesis, section F.3 (GCN: OGD for the rotation, the original optimizer for the other variables).

    >>> import onsphere as osp
    >>> model = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2))
    >>> model = osp.overparametrize(model, osp.orthogonal.OrthogonalGD())
    >>> orthogonal, others = split(model.parameters())
    >>> optimizer = Pair(OrthogonalSGD(orthogonal, lr=0.1), torch.optim.Adam(others, lr=0.001))
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.1, 0.001]
    """

    def __init__(self, first: Optimizer, second: Optimizer) -> None:
        common = {name: value for name, value in first.defaults.items() if name in second.defaults}
        super().__init__([*first.param_groups, *second.param_groups], common)
        self.both = (first, second)
        self._join()

    def _join(self) -> None:
        """The groups are the optimizers' own, so that whoever changes one changes theirs."""
        self.param_groups[:] = [group for each in self.both for group in each.param_groups]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters: orthogonal matrices to the ``OrthogonalSGD`` of the two, others to the other optimizer.

        Raises:
            ValueError: if the group has both kinds of parameters, or not one of the two is an ``OrthogonalSGD``.
        """
        if not hasattr(self, "both"):  # torch's constructor, with the groups that the two have already
            super().add_param_group(param_group)
            return
        given = param_group["params"]
        parameters: list[nn.Parameter] = [given] if isinstance(given, nn.Parameter) else list(given)
        matrices, others = split(parameters)
        rotating = [each for each in self.both if isinstance(each, OrthogonalSGD)]
        if len(rotating) != 1 or (matrices and others):
            raise ValueError(
                f"a group of {len(matrices)} orthogonal matrices and {len(others)} other parameters for {self!r}: "
                "expected one kind only, and one OrthogonalSGD of the two"
            )
        first, second = self.both
        (first if (first is rotating[0]) == bool(matrices) else second).add_param_group(
            {**param_group, "params": parameters}
        )
        self._join()

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for each in self.both:
            each.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Both optimizers' states as that of one: the second's parameters are numbered on from the first's."""
        first, second = (each.state_dict() for each in self.both)
        count = _count(first["param_groups"])
        groups = [{**group, "params": [count + n for n in group["params"]]} for group in second["param_groups"]]
        return {
            "state": {**first["state"], **{count + n: state for n, state in second["state"].items()}},
            "param_groups": [*first["param_groups"], *groups],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` gave.

        Raises:
            ValueError: if it is not of such a pair.
        """
        groups, state = state_dict["param_groups"], state_dict["state"]
        sizes = [[len(group["params"]) for group in given] for given in (groups, self.param_groups)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"a state of groups with {sizes[0]} parameters: expected {sizes[1]}, as this Pair has")
        last = len(self.both[0].param_groups)
        count = _count(groups[:last])
        later = [{**group, "params": [n - count for n in group["params"]]} for group in groups[last:]]
        before = {n: each for n, each in state.items() if n < count}
        after = {n - count: each for n, each in state.items() if n >= count}
        self.both[0].load_state_dict({"state": before, "param_groups": groups[:last]})
        self.both[1].load_state_dict({"state": after, "param_groups": later})
        self._join()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "both": self.both}  # what torch copies and pickles of an optimizer

    def __repr__(self) -> str:
        return f"Pair({self.both[0]!r}, {self.both[1]!r})"


def _count(groups: list[dict[str, Any]]) -> int:
    return sum(len(group["params"]) for group in groups)
