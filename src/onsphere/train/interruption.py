"""Ctrl-C and SIGTERM while a model trains: the step is finished, and what was reached is kept."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from lightning.fabric import Fabric

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STEPS_BETWEEN_AGREEMENTS = 20  # of several processes; to ask each other at every step would slow them down


class StopRequest:
    """While active, the first signal is only noted, and a second one raises KeyboardInterrupt at once.

    Outside training (``training`` False) there is nothing to finish, and the first one raises, too.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.training = False
        self.saved = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # no other thread may set handlers
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        first, self.signal = self.signal is None, number
        if not (first and self.training):
            raise KeyboardInterrupt

    def agreed(self, fabric: Fabric, step: int, save: bool) -> tuple[bool, bool]:
        """Whether to stop and whether to save after this step, the same answer on every process.

        Args:
            fabric: of the run.
            step: number of steps done.
            save: whether the first process would save now.
        """
        stop = self.signal is not None
        if fabric.world_size == 1:
            return stop, stop or save
        if step % STEPS_BETWEEN_AGREEMENTS:
            return False, False
        wishes = torch.tensor([float(stop), float(save and fabric.is_global_zero)], device=fabric.device)
        total = fabric.all_reduce(wishes, reduce_op="sum")
        assert isinstance(total, torch.Tensor)
        anyone_stops, first_saves = (total > 0).tolist()
        return anyone_stops, anyone_stops or first_saves
