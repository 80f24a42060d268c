"""A regularizer attached to an optimizer: its gradient joins the others right before each step."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, final

import torch
from torch import Tensor
from torch.optim import Optimizer

from onsphere.integrations.curves import curve
from onsphere.integrations.gradients import AnyRegularizer, add_gradients, check, parameters

Log = Callable[[int, dict[str, float]], object]


def attach(
    optimizer: Optimizer, regularizer: AnyRegularizer, *, log: Log | None = None, log_every: int = 100
) -> Attachment:
    r"""Add a regularizer's gradient to the weights' gradients right before each step of the optimizer.

    .. math:: g \leftarrow g + \nabla_W \lambda \sum_i l(W_i)

    Nothing else in a training script changes, and the weights become those of ``loss + regularizer()``. That holds for
    every optimizer that reads ``.grad`` once a step, with accumulated gradients (the regularizer enters once a step),
    autocast, GradScaler, DDP and ``fully_shard``. A step that a GradScaler skips is skipped. ``MHE(batch=...)`` draws
    once a step, also where the loss would have asked once a micro-batch.

    It is wrong where gradients are clipped before the step: they are clipped without the regularizer's. A hook cannot
    see that. Call :func:`onsphere.integrations.add_gradients` before the clipping instead of attaching.

    Refused, because the result would be wrong: LBFGS and every ``step(closure)`` (the closure computes the gradients
    anew within the step); a fused optimizer whose gradients a GradScaler has left scaled (call
    ``scaler.unscale_(optimizer)`` first); sparse gradients; ``maximize=True``; a data-dependent MHE. Trainers that pass
    a closure have a callback of their own in ``onsphere.integrations``.

    Copies of the optimizer (``copy.deepcopy``, pickle) come without the hook: attach again.

    Args:
        optimizer: a torch optimizer that holds all trained weights of the regularizer's layers.
        regularizer: an :class:`onsphere.Regularizer` or a sum of them.
        log: called as ``log(step, values)`` before step 0, ``log_every``, ..., counted from 0 here, with the
            ``regularizer`` value and the minimal angles and energies of :func:`onsphere.integrations.curve`.
        log_every: steps from one call of ``log`` to the next.

    Returns:
        The attachment: ``value`` is the regularizer's value at the last step, ``remove()`` detaches it, and it is a
        context manager that does so at its end.

    Raises:
        TypeError: the optimizer is a wrapper or no torch optimizer, or the regularizer is none.
        ValueError: one of the cases above; weights in no parameter group; all weights frozen; attached already.
            Conditions that only a step shows are checked at each step, before anything changes.

    Example:
        >>> import onsphere as osp
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> attached = osp.attach(optimizer, osp.Regularizer(model, osp.MMA(), coefficient=0.07))
        >>> model(torch.randn(5, 3)).square().mean().backward()
        >>> optimizer.step()
        >>> attached.value.shape
        torch.Size([])
    """
    if not isinstance(optimizer, Optimizer) or not hasattr(optimizer, "_optimizer_step_pre_hooks"):
        raise TypeError(
            f"expected a torch.optim.Optimizer itself, got {type(optimizer).__name__}; attach before a trainer wraps it"
        )
    check(optimizer, regularizer)
    if not any(parameter.requires_grad for parameter in parameters(regularizer)):
        raise ValueError(f"all weights are frozen (requires_grad=False): {', '.join(parameters(regularizer).values())}")
    for hook in optimizer._optimizer_step_pre_hooks.values():
        if isinstance(hook, Attachment) and hook.regularizer is regularizer:
            raise ValueError("this regularizer is attached to this optimizer already: its gradient would count twice")
    if log_every < 1:
        raise ValueError(f"log_every must be at least 1, got {log_every}")
    return Attachment(optimizer, regularizer, log, log_every)


@final
class Attachment:
    """A regularizer on an optimizer; made by :func:`onsphere.attach`.

    Attributes:
        regularizer: what is attached.
        value: its value at the last step, a scalar without a gradient; None before the first.
        steps: how many steps it has taken part in.
    """

    def __init__(self, optimizer: Optimizer, regularizer: AnyRegularizer, log: Log | None, log_every: int) -> None:
        self.regularizer = regularizer
        self.value: Tensor | None = None
        self.steps = 0
        self._log, self._log_every = log, log_every
        self._handle = optimizer.register_step_pre_hook(self)

    def __call__(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The hook; torch calls it."""
        if torch.compiler.is_compiling():
            torch.compiler.disable(self._before_step)(optimizer, args, kwargs)  # type: ignore[no-untyped-call]
        else:
            self._before_step(optimizer, args, kwargs)

    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if any(callable(given) for given in (*args[1:], *kwargs.values())):  # args[0] is the optimizer
            raise ValueError(
                "step(closure) computes the gradients anew within the step, without the regularizer that is attached: "
                "add regularizer() to the loss in the closure (in Lightning: onsphere.integrations.lightning)"
            )
        if getattr(optimizer, "grad_scale", None) is not None or "grad_scaler" in kwargs:
            raise ValueError(
                f"the gradients of {type(optimizer).__name__} are still scaled by the GradScaler, as with fused=True: "
                "call scaler.unscale_(optimizer) before scaler.step(optimizer), or take fused=False"
            )
        check(optimizer, self.regularizer)
        self.value = add_gradients(self.regularizer)
        if self._log is not None and self.steps % self._log_every == 0:
            self._log(self.steps, {"regularizer": self.value.item()} | curve(self.regularizer))
        self.steps += 1

    def per_layer(self) -> dict[str, Tensor]:
        """The measure of every layer as it is now, without the coefficient and without a gradient."""
        return self.regularizer.per_layer()

    def remove(self) -> None:
        """Detach it; calling this again does nothing."""
        self._handle.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()
