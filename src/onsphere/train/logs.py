"""Logs of a training, one line an epoch: a CSV file, and TensorBoard's event files if wanted.

Both are made from the training's state, not beside it: after an interruption they are written anew from the checkpoint
that training goes on from, so that they have no gap and no line twice.
"""

from __future__ import annotations

import csv
import io
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onsphere.train.files import replace_file

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

KINDS = ("csv", "tensorboard")


class Log:
    """The log files of one training.

    Args:
        base: where they go, without an ending: ``base.csv``, and the folder ``base`` for TensorBoard.
        kinds: of KINDS.
        steps: optimizer steps of an epoch, for the axis.
        last: number of the last step.
    """

    def __init__(self, base: Path, kinds: Sequence[str], steps: int, last: int) -> None:
        self.base, self.kinds, self.steps, self.last = base, kinds, steps, last
        self.events: SummaryWriter | None = None

    def write(self, curve: Mapping[str, Sequence[float]], observed: Sequence[Mapping[str, object]]) -> None:
        """Bring the files up to a state of the training."""
        lines = [self._line(epoch, curve, observed) for epoch in range(len(curve.get("epoch", ())))]
        if "csv" in self.kinds and lines:
            columns = list(dict.fromkeys(name for line in lines for name in line))
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
            # Not worth waiting for the disk: resuming writes it anew.
            replace_file(self.base.with_name(f"{self.base.name}.csv"), text.getvalue().encode(), lasting=False)
        if "tensorboard" in self.kinds:
            new = lines[-1:] if self.events is not None else lines
            self.events = self.events or self._fresh_events()
            for line in new:
                for name, value in line.items():
                    if name not in ("epoch", "step") and math.isfinite(value):
                        self.events.add_scalar(name, value, line["step"])
            self.events.flush()

    def close(self) -> None:
        if self.events is not None:
            self.events.close()

    def _line(
        self, epoch: int, curve: Mapping[str, Sequence[float]], observed: Sequence[Mapping[str, object]]
    ) -> dict[str, float]:
        line = {"epoch": curve["epoch"][epoch], "step": min((epoch + 1) * self.steps, self.last)}
        line |= {name: values[epoch] for name, values in curve.items()}
        return line | (_flat(observed[epoch]) if observed else {})

    def _fresh_events(self) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(self.base, ignore_errors=True)
        return SummaryWriter(str(self.base))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """{name: {layer: value}} to {name/layer: value}; what is no number is left out.

    >>> _flat({"angle": {"conv1": 80.0, "fc": 85.0}, "note": "x"})
    {'angle/conv1': 80.0, 'angle/fc': 85.0}
    """
    flat: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            flat[f"{prefix}{name}"] = value
    return flat
