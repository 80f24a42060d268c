"""The state of a training in a file: saved between two steps, and restored to the last bit."""

from __future__ import annotations

import io
import json
import pickle
import random
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from onsphere.train.files import replace_file
from onsphere.train.result import plain

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from onsphere.train.loop import Trainee

__all__ = ["CheckpointError"]

FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint is damaged, or belongs to another training; the message says which file and what differs."""


@dataclass
class SoFar:
    """What a training has come to: all that a later one needs to go on, but for the states of its parts.

    Args:
        step: optimizer steps done.
        losses: (steps of the epoch, 2), objective and regularizer; the first rows are filled in.
        curve: as in SeedResult.
        observed: what Recipe.observe gave, one an epoch.
        seconds: of training before this process.
    """

    step: int = 0
    losses: Tensor | None = None
    curve: dict[str, list[float]] = field(default_factory=dict)
    observed: list[Mapping[str, object]] = field(default_factory=list)
    seconds: float = 0.0


def save(path: Path, fabric: Fabric, trainee: Trainee, so_far: SoFar, identity: Mapping[str, Any]) -> None:
    """Write a checkpoint; every process calls it, the first one writes.

    Raises:
        OSError: it cannot be written; an older one stays as it is.
    """
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    content = {
        "format": FORMAT,
        "identity": json.dumps(plain(identity), sort_keys=True),
        "model": whole(trainee.model.state_dict()),
        "optimizer": whole(trainee.optimizer.optimizer.state_dict()),
        "schedule": None if trainee.schedule is None else trainee.schedule.state_dict(),
        "regularizer": trainee.regularizer.state_dict() if isinstance(trainee.regularizer, nn.Module) else None,
        "average": None if trainee.average is None else trainee.average.state_dict(),
        "scaler": None if scaler is None else scaler.state_dict(),
        "random": _random_states(),
        "step": so_far.step,
        "losses": None if so_far.losses is None else so_far.losses.cpu(),
        "curve": so_far.curve,
        "observed": json.dumps(plain(so_far.observed)),
        "seconds": so_far.seconds,
    }
    if fabric.is_global_zero:
        buffer = io.BytesIO()  # torch's own writer turns a full disk into an error that does not say so
        torch.save(content, buffer)
        replace_file(path, buffer.getbuffer())


def restore(path: Path, fabric: Fabric, trainee: Trainee, identity: Mapping[str, Any]) -> SoFar:
    """Put a fresh trainee into a checkpoint's state, random generators included.

    Raises:
        CheckpointError: the file is damaged, or was written by another training.
    """
    content = read(path)
    check_identity(path, content, identity)
    try:
        trainee.model.load_state_dict(_shared_out(content["model"], trainee.model.state_dict()))
        optimizer = trainee.optimizer.optimizer
        optimizer.load_state_dict(_optimizer_shared_out(content["optimizer"], optimizer))
        if trainee.schedule is not None:
            trainee.schedule.load_state_dict(content["schedule"])
        if isinstance(trainee.regularizer, nn.Module):
            trainee.regularizer.load_state_dict(content["regularizer"])
        if trainee.average is not None:
            trainee.average.load_state_dict(content["average"])
        scaler = getattr(fabric.strategy.precision, "scaler", None)
        if scaler is not None and content["scaler"]:
            scaler.load_state_dict(content["scaler"])
        so_far = SoFar(
            content["step"],
            None if content["losses"] is None else content["losses"].to(fabric.device),
            content["curve"],
            json.loads(content["observed"]),
            content["seconds"],
        )
        _set_random_states(content["random"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"the checkpoint {path} does not fit this version's training: {reason}") from error
    return so_far


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint; nothing but tensors and plain values is ever unpickled."""
    remedy = "remove it to start this training anew"
    raw = io.BytesIO(path.read_bytes())  # now an OSError below is about the content and not about the disk
    try:
        with warnings.catch_warnings(action="ignore"):  # of foreign pickles: the error below says it
            content = torch.load(raw, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"the checkpoint {path} is damaged or is none of onsphere's; {remedy}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"the checkpoint {path} is damaged, perhaps cut short; {remedy}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"the checkpoint {path} is none of onsphere's, or of another version of it; {remedy}")
    return content


def check_identity(path: Path, content: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Raise CheckpointError where a checkpoint's content is of another training."""
    there, here = (
        {**each, **each["settings"], "settings": None} for each in (json.loads(content["identity"]), plain(identity))
    )
    differing = [
        f"{name} is {there.get(name)!r} there and {here.get(name)!r} here"
        for name in sorted({*there, *here})
        if there.get(name) != here.get(name)
    ]
    if differing:
        raise CheckpointError(f"the checkpoint {path} is of another training: {'; '.join(differing)}")


def _random_states() -> dict[str, Any]:
    name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002 - a recipe's hooks may use it
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random_states(states: Mapping[str, Any]) -> None:
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    # On another number of devices the sequence cannot be continued; each starts from its seed there.
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


def whole(state: Any) -> Any:
    """A state dict with every sharded tensor gathered; all processes must call it."""
    if isinstance(state, Tensor):
        return state.full_tensor() if hasattr(state, "full_tensor") else state
    if isinstance(state, Mapping):
        return {name: whole(value) for name, value in state.items()}
    return [whole(value) for value in state] if isinstance(state, list) else state


def _shared_out(state: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of whole: tensors are sharded where those of the same name are."""
    return {name: _sharded(value, like.get(name)) for name, value in state.items()}


def _optimizer_shared_out(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    of = dict(zip(numbers, parameters, strict=True))
    values = {
        number: {name: _sharded(value, of[number]) for name, value in entry.items()}
        for number, entry in state["state"].items()
    }
    return {**state, "state": values}


def _sharded(value: Any, like: Any) -> Any:
    if not (hasattr(like, "full_tensor") and isinstance(value, Tensor) and value.shape == like.shape):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
