"""A callback for transformers' Trainer that regularizes a model and logs how spread its neurons are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, cast, final

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from onsphere.integrations.curves import curve
from onsphere.integrations.gradients import AnyRegularizer, add_gradients, check, check_given, made

# Where the regularizer's buffers stand in trainer_state.json. Not the callback's name: the Trainer would take it for
# arguments to make the callback anew.
_STATE = "onsphere.regularizer"


@final
class RegularizerCallback(TrainerCallback):
    r"""Train with a regularizer in transformers' Trainer, without a change in the model or in ``compute_loss``.

    .. math:: g \leftarrow \nabla_W \lambda \sum_i l(W_i), \quad \text{then} \; g \leftarrow g + \nabla_W L_b
        \; \text{for each micro-batch} \; b

    The Trainer calls no callback between the last backward pass and the clipping of gradients, and it does clip by
    default (``max_grad_norm=1.0``). But it clears the gradients after each step and says when the next one begins.
    There this callback lays down the regularizer's gradient, scaled as a GradScaler will scale the task's, and the
    backward passes add theirs. So the weights become those of ``loss + regularizer()``, with clipping, accumulation,
    mixed precision and DDP. The logged ``loss`` stays the task's own; ``grad_norm`` is that of the sum.

    Logged with the training loss are ``regularizer``, its value at the last step, and the minimal angles and energies
    of its layers (see :func:`onsphere.integrations.curve`). They reach ``state.log_history`` and all callbacks that
    come later. The Trainer puts those that report, such as TensorBoard's, before the ones it is given: use
    :meth:`add_to` with these. Buffers of the regularizer, such as the count of ``MHE(batch=...)``, are saved in the
    checkpoint's ``trainer_state.json`` and restored from it.

    Args:
        regularizer: an :class:`onsphere.Regularizer` or a sum of them; or a function that makes it from the model at
            the start of training, for a Trainer with ``model_init``.
        log_curve: log the angles and energies as well.

    Raises:
        TypeError: for anything else than a regularizer, a sum or a function.
        ValueError: at the start of training, where the result would be wrong: DeepSpeed, FSDP1, LBFGS, a data-dependent
            MHE, or an optimizer that does not hold the regularizer's weights.

    Example:
        >>> import onsphere as osp
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> callback = RegularizerCallback(osp.Regularizer(model, osp.MMA(), coefficient=0.07))
        >>> arguments = {"callbacks": [callback]}  # Trainer(model, ..., callbacks=[callback])
    """

    regularizer: AnyRegularizer  # from the start of training

    def __init__(
        self, regularizer: AnyRegularizer | Callable[[nn.Module], AnyRegularizer], *, log_curve: bool = True
    ) -> None:
        self.log_curve = log_curve
        check_given(regularizer)
        self._given = regularizer
        self._value: Tensor | None = None

    def add_to(self, trainer: Trainer) -> Self:
        """Put this in front of the Trainer's callbacks, so that all of them see what it logs."""
        trainer.callback_handler.callbacks.insert(0, self)
        return self

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        optimizer = kwargs["optimizer"]
        if "DeepSpeed" in type(optimizer).__name__:
            raise ValueError("DeepSpeed keeps the gradients to itself: add regularizer() to the loss in compute_loss")
        self.regularizer = made(self._given, kwargs["model"])
        check(optimizer, self.regularizer)
        saved = cast(dict[str, Any], state.stateful_callbacks).get(_STATE)
        if saved:
            self.regularizer.load_state_dict(
                {name: torch.tensor(values, dtype=torch.float64) for name, values in saved.items()}
            )

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        scaler = getattr(kwargs["optimizer"], "scaler", None)
        self._value = add_gradients(self.regularizer, scale=1.0 if scaler is None else scaler.get_scale())

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        buffers = self.regularizer.state_dict()
        if buffers:
            states = cast(dict[str, Any], state.stateful_callbacks)
            states[_STATE] = {name: buffer.tolist() for name, buffer in buffers.items()}

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs is None or "loss" not in logs or self._value is None:  # evaluations and summaries are logged, too
            return
        values = {"regularizer": self._value.item()} | (curve(self.regularizer) if self.log_curve else {})
        logs.update(values)
        state.log_history[-1].update(values)  # the Trainer has put its copy there already
