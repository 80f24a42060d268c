"""What torch's learning rate schedules lack; step, cosine and plateau are torch's own."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ChainedScheduler, LRScheduler, ReduceLROnPlateau

__all__ = ["warm_up"]


def warm_up(
    steps: int, schedule: Callable[[Optimizer], LRScheduler] | None = None
) -> Callable[[Optimizer], LRScheduler]:
    r"""A schedule that climbs linearly to the learning rate first.

    .. math:: \eta_t = \min(1, (t + 1) / n) \, \eta^{schedule}_t

    Args:
        steps: n, how often it is stepped until the full rate is reached: epochs, or optimizer steps with
            ``schedule_every="step"``.
        schedule: builds what is followed, counted from the start and not from the end of the climb; it must be one that
            multiplies the current rate (MultiStepLR, CosineAnnealingLR to zero, ...). None for a constant rate.

    Raises:
        ValueError: if steps is below 1, or, on building, the schedule is ReduceLROnPlateau.

    Source: Goyal et al. 2017, *Accurate, Large Minibatch SGD*, section 2.2 (gradual warm-up).

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    >>> schedule = warm_up(4)(optimizer)
    >>> rates = []
    >>> for _ in range(5):
    ...     rates.append(round(optimizer.param_groups[0]["lr"], 3))
    ...     optimizer.step()
    ...     schedule.step()
    >>> rates
    [0.1, 0.2, 0.3, 0.4, 0.4]
    """
    if steps < 1:
        raise ValueError(f"steps={steps!r}: expected at least 1")

    def build(optimizer: Optimizer) -> LRScheduler:
        followed = None if schedule is None else schedule(optimizer)
        if isinstance(followed, ReduceLROnPlateau):
            raise ValueError("warm_up cannot follow ReduceLROnPlateau, which sets rates of its own")
        climb = _Climb(optimizer, steps)
        return climb if followed is None else ChainedScheduler([climb, followed], optimizer)

    return build


class _Climb(LRScheduler):
    """Multiplies the current rate, so that another schedule may change it at the same time."""

    def __init__(self, optimizer: Optimizer, steps: int) -> None:
        self.steps = steps
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        done = self.last_epoch
        factor = 1 / self.steps if done == 0 else min(1, (done + 1) / self.steps) / min(1, done / self.steps)
        return [group["lr"] * factor for group in self.optimizer.param_groups]
