"""Several sets of matrices on one set of neurons (thesis, section F.8)."""

from __future__ import annotations

from torch import nn

from onsphere.orthogonal.modules import Start, check_not_distributed, overparametrized_layers

__all__ = ["switch", "tasks"]


def switch(model: nn.Module, task: str, start: Start = "identity") -> nn.Module:
    """Turn every over-parametrized layer to a task's own R; the neurons V are one for all tasks (multi-task training).

    A task that is new gets new matrices; tell the optimizer (``add_param_group``), or switch to every task once before
    it is built. What ``overparametrize`` made is the task "default". The state dict has the matrices of all tasks, and
    a model that loads it gets those that it has not; which task is switched to is not in it. Under
    DistributedDataParallel switch to all tasks before the model is wrapped, with ``find_unused_parameters=True``.

    Args:
        model: with over-parametrized layers.
        task: its name.
        start: R of a new task, as in ``overparametrize``; copies of a nonlinear map start as the map was given.

    Returns:
        The model.

    Raises:
        ValueError: if no layer is over-parametrized, the name is empty, has a dot, or is one that torch has taken, or
            the task is new and the model wrapped by DistributedDataParallel.

    Source: thesis, section F.8.

    >>> import onsphere as osp
    >>> model = osp.overparametrize(nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2)), osp.orthogonal.Cayley())
    >>> tasks(switch(model, "second"))
    ('default', 'second')
    """
    if not task or "." in task or hasattr(nn.ModuleDict(), task):
        raise ValueError(f"task={task!r}: expected a name without a dot that is no attribute of nn.ModuleDict")
    found = list(overparametrized_layers(model))
    if any(task not in own.maps for _, own in found):
        check_not_distributed(model)
    for layer, own in found:
        if task not in own.maps:
            own.maps[task] = own.build(start).to(layer.device)
        own.task = task
    return model


def tasks(model: nn.Module) -> tuple[str, ...]:
    """The tasks that a model's over-parametrized layers have matrices for, in the order in which they came.

    Args:
        model: with over-parametrized layers.

    Raises:
        ValueError: if no layer is over-parametrized.

    >>> import onsphere as osp
    >>> tasks(osp.overparametrize(nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2)), osp.orthogonal.Cayley()))
    ('default',)
    """
    return tuple(dict.fromkeys(name for _, own in overparametrized_layers(model) for name in own.maps))
