"""What a training leaves in its folder: the checkpoint to go on from, the weights, the logs."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from onsphere.train import checkpoint
from onsphere.train.checkpoint import CheckpointError, SoFar, whole
from onsphere.train.files import replace_file, slug, temporary_name
from onsphere.train.logs import KINDS, Log
from onsphere.train.result import version

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from onsphere.train.loop import Trainee


@dataclass(frozen=True)
class Keep:
    """What is kept; see run.

    Raises:
        ValueError: for an unknown kind of log, a negative number of seconds, or keep_every below 1.
    """

    checkpoint_seconds: float = 60.0
    save_weights: bool = True
    keep_best: bool = False
    keep_every: int | None = None
    logs: Sequence[str] = ("csv",)

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.logs if kind not in KINDS]
        if unknown or isinstance(self.logs, str):
            raise ValueError(f"logs={self.logs!r}: expected a list of {', '.join(KINDS)}")
        if not self.checkpoint_seconds >= 0:
            raise ValueError(f"checkpoint_seconds={self.checkpoint_seconds!r}: expected 0 or more")
        if self.keep_every is not None and self.keep_every < 1:
            raise ValueError(f"keep_every={self.keep_every!r}: expected at least 1, or None")


class Keeper:
    """The files of one training, one row with one seed.

    Args:
        fabric: of the run; its first process writes.
        folder: of the run; None keeps nothing.
        keep: what is kept.
        identity: what a checkpoint must agree in to be continued.
        steps: optimizer steps of an epoch.
        last: number of the last step.
    """

    def __init__(
        self, fabric: Fabric, folder: Path | None, keep: Keep, identity: Mapping[str, Any], steps: int, last: int
    ) -> None:
        self.fabric, self.keep, self.identity = fabric, keep, identity
        self.folder = folder
        self.name = file_name(identity)
        self.log = Log(folder / "logs" / self.name, keep.logs, steps, last) if self._writes and folder else None
        self.saved = time.monotonic()
        self.best = -math.inf

    @property
    def _writes(self) -> bool:
        return self.folder is not None and self.fabric.is_global_zero

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is old enough for a new one."""
        return self.folder is not None and time.monotonic() - self.saved >= self.keep.checkpoint_seconds

    def start(self, trainee: Trainee) -> SoFar:
        """Where training starts: at its checkpoint if there is one."""
        so_far = SoFar()
        if self.folder is not None and checkpoint_file(self.folder, self.name).exists():
            so_far = checkpoint.restore(checkpoint_file(self.folder, self.name), self.fabric, trainee, self.identity)
        self.best = max(_scores(so_far.curve), default=-math.inf)
        if self.log is not None:
            self.log.write(so_far.curve, so_far.observed)
        self.saved = time.monotonic()
        return so_far

    def save(self, trainee: Trainee, so_far: SoFar) -> None:
        """Write the checkpoint; every process calls it."""
        if self.folder is not None:
            checkpoint.save(checkpoint_file(self.folder, self.name), self.fabric, trainee, so_far, self.identity)
            self.saved = time.monotonic()

    def after_epoch(self, trainee: Trainee, so_far: SoFar) -> None:
        """Write the logs and the weights that are kept of this epoch."""
        epoch, score = len(so_far.curve["epoch"]), _scores(so_far.curve)[-1]
        if self.log is not None:
            self.log.write(so_far.curve, so_far.observed)
        if self.keep.keep_best and score > self.best:
            self._save_weights(trainee.evaluated, ".best")
        if self.keep.keep_every is not None and epoch % self.keep.keep_every == 0:
            self._save_weights(trainee.evaluated, f".epoch-{epoch}")
        self.best = max(self.best, score)

    def finish(self, trainee: Trainee) -> None:
        """Write the final weights."""
        if self.log is not None:
            self.log.close()
        if self.keep.save_weights:
            self._save_weights(trainee.evaluated, "")

    def forget(self) -> None:
        """Remove the checkpoint, once the result of the finished training is in the result file."""
        if self.folder is not None and self._writes:
            path = checkpoint_file(self.folder, self.name)
            for leftover in (path, temporary_name(path)):
                leftover.unlink(missing_ok=True)

    def _save_weights(self, model: nn.Module, ending: str) -> None:
        if self.folder is None:
            return
        from safetensors.torch import save

        # Copies, since safetensors refuses tensors that share memory; in the usual memory format.
        state = {name: value.detach().cpu().contiguous().clone() for name, value in whole(model.state_dict()).items()}
        if self.fabric.is_global_zero:
            made = {"version": version(), **{name: self.identity[name] for name in ("name", "row", "seed")}}
            content = save(state, metadata={"onsphere": json.dumps(made)})  # one entry: their order is random
            replace_file(self.folder / "weights" / f"{self.name}{ending}.safetensors", content)


def _scores(curve: Mapping[str, Sequence[float]]) -> list[float]:
    """What the best epoch is best in: top-1, or the test loss of what classifies nothing; larger is better."""
    return [*curve["top1"]] if "top1" in curve else [-loss for loss in curve.get("test_loss", ())]


def file_name(identity: Mapping[str, Any]) -> str:
    """The name of a training's files, without an ending."""
    return f"{slug(identity['row'])}-{identity['seed']}"


def checkpoint_file(folder: Path, name: str) -> Path:
    return folder / "checkpoints" / f"{name}.pt"


def check_fresh(folder: Path) -> None:
    """Raise CheckpointError where a new run would leave the checkpoint of an unfinished one behind."""
    old = _checkpoints(folder)
    if old:
        raise CheckpointError(
            f"{folder} has the checkpoint of an unfinished training ({old[0].name}): continue it with resume, or "
            f"remove {folder / 'checkpoints'} to start anew"
        )


def check_checkpoints(folder: Path, identities: Sequence[Mapping[str, Any]]) -> None:
    """Raise CheckpointError where a folder has the checkpoint of a training that is none of these."""
    of = {checkpoint_file(folder, file_name(identity)): identity for identity in identities}
    for path in _checkpoints(folder):
        if path not in of:
            raise CheckpointError(
                f"{path} is the checkpoint of a training that is not among those to go on with: "
                f"{', '.join(sorted(file_name(identity) for identity in identities))}"
            )
        checkpoint.check_identity(path, checkpoint.read(path), of[path])


def _checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").glob("*.pt"))


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder; a lock of the system, which ends with the process however it ends.

    Raises:
        CheckpointError: another process is at work there.
    """
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows has no such locks
        yield
        return
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CheckpointError(
                f"another run is going on in {folder}: wait for its end, or choose another"
            ) from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            if made:
                with contextlib.suppress(OSError):  # not empty
                    folder.rmdir()
