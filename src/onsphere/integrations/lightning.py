"""A Lightning callback that regularizes a module and logs how spread its neurons are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, final

from torch import Tensor
from torch.optim import Optimizer

from onsphere.integrations.curves import curve
from onsphere.integrations.gradients import AnyRegularizer, add_gradients, check, check_given, made

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError:  # its other name; either callback works in either trainer
    from pytorch_lightning import Callback, LightningModule, Trainer  # type: ignore[assignment]


@final
class RegularizerCallback(Callback):
    r"""Train with a regularizer without a change in the LightningModule.

    .. math:: g \leftarrow g + \nabla_W \lambda \sum_i l(W_i)

    The gradient is added once an optimizer step: after Lightning has accumulated, averaged over ranks and unscaled the
    gradients, and before it clips them. So the weights become those of a ``training_step`` that returns ``loss +
    regularizer()``, while the logged loss stays the task's own. A batch for which ``training_step`` returns None is
    skipped. Where an epoch ends within an accumulation, Lightning divides the few losses by the full number, and the
    regularizer still enters in full.

    Logged are ``regularizer``, its value at each step, and the minimal angles and energies of its layers (see
    :func:`onsphere.integrations.curve`). Buffers of the regularizer, such as the count of ``MHE(batch=...)``, are saved
    in the trainer's checkpoints and restored from them.

    Args:
        regularizer: an :class:`onsphere.Regularizer` or a sum of them; or a function that makes it from the
            LightningModule at the start of ``fit``, for models that ``configure_model`` builds.
        every: log the angles and energies at the end of each "epoch", at each "step" that the trainer logs
            (``Trainer(log_every_n_steps=...)``), or never: None.

    Raises:
        TypeError: for anything else than a regularizer, a sum or a function.
        ValueError: at the start of ``fit``, where the result would be wrong: manual optimization, LBFGS, a fused
            optimizer under a GradScaler, DeepSpeed, FSDP1, a data-dependent MHE, or an optimizer that does not hold the
            regularizer's weights.

    Example:
        >>> import onsphere as osp
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> module = BoringModel()
        >>> callback = RegularizerCallback(osp.Regularizer(module, osp.MMA(), coefficient=0.07))
        >>> trainer = Trainer(callbacks=[callback], accelerator="cpu", logger=False, enable_checkpointing=False)
    """

    regularizer: AnyRegularizer  # from the start of fit

    def __init__(
        self,
        regularizer: AnyRegularizer | Callable[[LightningModule], AnyRegularizer],
        *,
        every: Literal["epoch", "step"] | None = "epoch",
    ) -> None:
        super().__init__()
        if every not in ("epoch", "step", None):
            raise ValueError(f"every must be 'epoch', 'step' or None, got {every!r}")
        self.every = every
        check_given(regularizer)
        self._given = regularizer
        self._restored: dict[str, Any] = {}
        self._went_backward = False
        self._value: Tensor | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not pl_module.automatic_optimization:
            raise ValueError(
                "with automatic_optimization=False only training_step knows when the gradients are complete: call "
                "onsphere.integrations.add_gradients(regularizer) in it, before the optimizer's step and any clipping"
            )
        if trainer.strategy.handles_gradient_accumulation:
            raise ValueError(
                f"{type(trainer.strategy).__name__} keeps the gradients to itself: add regularizer() to the loss that "
                "training_step returns"
            )
        saved = self.state_dict()  # of a checkpoint, or of an earlier fit
        self.regularizer = made(self._given, pl_module)
        if saved:
            self.regularizer.load_state_dict(saved)
        for buffer in self.regularizer.buffers():
            buffer.data = buffer.clone()  # ranks started by spawn share memory, and Lightning parts the module's only
        for optimizer in trainer.optimizers:
            check(optimizer, self.regularizer)
            scales = getattr(trainer.precision_plugin, "scaler", None) is not None
            if scales and getattr(optimizer, "_step_supports_amp_scaling", False):
                raise ValueError(
                    f"{type(optimizer).__name__}(fused=True) unscales 16-bit gradients within its step, after the "
                    "regularizer's is added: take fused=False, or precision='bf16-mixed'"
                )

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._went_backward = True

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if self._went_backward:
            self._value = add_gradients(self.regularizer)
        self._went_backward = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._value is None:  # no step, only an accumulation
            return
        pl_module.log("regularizer", self._value)
        self._value = None
        interval: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self.every == "step" and interval and trainer.global_step % interval == 0:
            pl_module.log_dict(curve(self.regularizer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.every == "epoch":
            pl_module.log_dict(curve(self.regularizer), sync_dist=True)  # the same on all ranks: their mean

    def state_dict(self) -> dict[str, Any]:
        return dict(self.regularizer.state_dict()) if hasattr(self, "regularizer") else self._restored

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict
        if hasattr(self, "regularizer"):
            self.regularizer.load_state_dict(state_dict)
