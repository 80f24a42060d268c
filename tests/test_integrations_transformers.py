"""The Trainer's callback against a compute_loss that adds the regularizer."""

import copy
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import onsphere as osp

os.environ.setdefault("HF_HUB_OFFLINE", "1")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

    from onsphere.integrations.transformers import RegularizerCallback

pytestmark = pytest.mark.filterwarnings("ignore")


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 5), nn.ReLU(), nn.Linear(5, 3))

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.net(x)
        return {"loss": 3 * nn.functional.cross_entropy(logits.float(), labels), "logits": logits}


class ByHand(Trainer):
    """Adds the regularizer to the loss; ``parts`` where the Trainer does not divide the loss by the micro-batches."""

    regularizer: nn.Module
    parts = 1

    def compute_loss(self, *args: Any, **options: Any) -> Any:
        loss = super().compute_loss(*args, **options)
        return loss + self.regularizer() / self.parts if self.model.training else loss


def images(count: int = 32) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    return [{"x": torch.randn(6, generator=generator), "labels": k % 3} for k in range(count)]


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    quiet: dict[str, Any] = {
        "output_dir": str(folder),
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "learning_rate": 0.01,
        "logging_steps": 1,
        "seed": 3,
    }
    return TrainingArguments(**quiet | options)


def regularize(model: nn.Module) -> nn.Module:
    return osp.Regularizer(model, osp.MMA(), 0.7) + osp.Regularizer(model, osp.MHE(batch=3), 0.2)


def only_angles(model: nn.Module) -> nn.Module:
    return osp.Regularizer(model, osp.MMA(), 0.7)


def fit(
    folder: Path, *, by_hand: bool, regularizer: Callable[[nn.Module], nn.Module] = only_angles, **options: Any
) -> Trainer:
    model = Classifier()
    made = regularizer(model)
    kind, callbacks = (ByHand, []) if by_hand else (Trainer, [RegularizerCallback(made)])
    trainer = kind(model, arguments(folder, **options), train_dataset=images(), callbacks=callbacks)
    trainer.regularizer = made
    trainer.train()
    return trainer


def assert_same(first: nn.Module, second: nn.Module) -> None:
    for name, value in first.state_dict().items():
        torch.testing.assert_close(value, second.state_dict()[name], rtol=1e-6, atol=1e-6, msg=name)


CASES: dict[str, dict[str, Any]] = {
    "clipped by default": {},
    "SGD unclipped": {"optim": "sgd", "max_grad_norm": 0.0},
    "accumulated, with a rest": {"gradient_accumulation_steps": 3},
    "bfloat16": {"bf16": True},
}


@pytest.mark.parametrize("case", CASES)
def test_weights_are_those_of_the_loss_by_hand(tmp_path: Path, case: str) -> None:
    by_hand, called = (fit(tmp_path, by_hand=way, **CASES[case]) for way in (True, False))
    assert_same(by_hand.model, called.model)
    norms = [[row["grad_norm"] for row in each.state.log_history if "loss" in row] for each in (by_hand, called)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    assert max(norms[0]) > 1  # so it was clipped


def test_without_the_callback_the_weights_are_others(tmp_path: Path) -> None:
    free, called = Classifier(), fit(tmp_path, by_hand=False)
    Trainer(free, arguments(tmp_path), train_dataset=images()).train()
    assert not torch.allclose(free.net[2].weight, called.model.net[2].weight, rtol=1e-3)


def test_a_transformer_whose_loss_is_averaged_over_all_micro_batches(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = BertConfig(
        vocab_size=20,
        max_position_embeddings=8,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=3,
        **sizes,
    )
    texts = [{"input_ids": [k % 20, (3 * k) % 20, 5], "labels": k % 3} for k in range(16)]
    models = []
    for kind in (ByHand, Trainer):
        torch.manual_seed(0)
        model = BertForSequenceClassification(config)
        regularizer = osp.Regularizer(model, osp.MMA(), 0.07, osp.where.named("*.query", "*.dense", "classifier"))
        callbacks = [] if kind is ByHand else [RegularizerCallback(regularizer)]
        options = arguments(tmp_path, gradient_accumulation_steps=2, per_device_train_batch_size=4, optim="sgd")
        trainer = kind(model, options, train_dataset=texts, callbacks=callbacks)
        trainer.regularizer = regularizer
        if kind is ByHand:
            trainer.parts = 2 if trainer.model_accepts_loss_kwargs else 1
        trainer.train()
        models.append(model)
    assert_same(*models)
    assert "minimum_angle_deg/bert.encoder.layer.0.attention.self.query" in trainer.state.log_history[0]


def test_a_resumed_training_ends_where_an_undisturbed_one_does(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", by_hand=False, regularizer=regularize, max_steps=6)
    fit(tmp_path / "half", by_hand=False, regularizer=regularize, max_steps=6, save_strategy="steps", save_steps=2)
    model = Classifier()
    callback = RegularizerCallback(regularize)  # made from the model at the start
    rest = Trainer(model, arguments(tmp_path / "rest", max_steps=6), train_dataset=images(), callbacks=[callback])
    rest.train(resume_from_checkpoint=str(tmp_path / "half" / "checkpoint-2"))
    assert_same(whole.model, model)
    assert int(callback.regularizer.terms[1].measure.calls) == 6 * 3  # three layers a step


class Reporter(TrainerCallback):
    """Sees what TensorBoard's callback sees."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        self.seen.append(dict(logs or {}))


def test_value_and_curve_are_logged_with_the_loss(tmp_path: Path) -> None:
    model, reporter = Classifier(), Reporter()
    regularizer = only_angles(model)
    first = regularizer().item()
    options = arguments(tmp_path, max_steps=4, logging_steps=2, logging_first_step=True, eval_strategy="epoch")
    trainer = Trainer(model, options, train_dataset=images(), eval_dataset=images(8), callbacks=[reporter])
    callback = RegularizerCallback(regularizer).add_to(trainer)
    trainer.train()
    names = osp.integrations.curve(regularizer)
    for history in (trainer.state.log_history, reporter.seen):
        training = [row for row in history if "loss" in row]
        assert len(training) == 3
        assert training[0]["regularizer"] == pytest.approx(first)
        assert {name: training[-1][name] for name in names} == pytest.approx(names)
        others = [row for row in history if "loss" not in row]
        assert others  # the evaluation and the summary
        assert not any("regularizer" in row for row in others)
    trainer.remove_callback(callback)

    quiet = RegularizerCallback(regularizer, log_curve=False)
    again = Trainer(model, arguments(tmp_path, max_steps=1), train_dataset=images(), callbacks=[quiet])
    again.train()
    assert "regularizer" in again.state.log_history[0]
    assert not names.keys() & again.state.log_history[0].keys()


def test_it_is_scaled_as_a_gradscaler_scales_the_task() -> None:
    """The Trainer has no float16 on CPUs, so its hooks are called as it would."""
    ways = []
    for called in (True, False):
        model = Classifier()
        regularizer = only_angles(model)
        scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        callback, wrapped = (
            RegularizerCallback(regularizer),
            SimpleNamespace(scaler=scaler, optimizer=optimizer, param_groups=optimizer.param_groups),
        )
        state = SimpleNamespace(stateful_callbacks={})
        callback.on_train_begin(None, state, None, optimizer=wrapped, model=model)
        for start in (0, 8):
            if called:
                callback.on_step_begin(None, state, None, optimizer=wrapped)
            rows = images()[start : start + 8]
            loss = model(torch.stack([row["x"] for row in rows]), torch.tensor([row["labels"] for row in rows]))["loss"]
            scaler.scale(loss if called else loss + regularizer()).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        ways.append(model)
    assert_same(*ways)


def refused(folder: Path, regularizer: Any, **options: Any) -> str:
    model = Classifier()
    before = copy.deepcopy(model)
    callback = RegularizerCallback(regularizer)
    trainer = Trainer(model, arguments(folder), train_dataset=images(), callbacks=[callback], **options)
    with pytest.raises((ValueError, TypeError)) as error:
        trainer.train()
    assert_same(model, before)
    return str(error.value)


def test_what_would_be_wrong_is_refused_before_the_first_step(tmp_path: Path) -> None:
    assert "does not hold net.0.weight, net.2.weight" in refused(tmp_path, only_angles(Classifier()))
    for other in (3, osp.MMA()):
        with pytest.raises(TypeError, match=re.escape(f"a function that makes it from the model, got {other!r}")):
            RegularizerCallback(other)  # type: ignore[arg-type]
    assert "got MMA" in refused(tmp_path, lambda model: osp.MMA())
    labels = lambda model: osp.Regularizer(model, osp.MHE(data_dependent=True), 1.0)  # noqa: E731
    assert "needs the labels" in refused(tmp_path, labels)

    model = Classifier()
    parameters = torch.optim.LBFGS(model.parameters())
    callback = RegularizerCallback(only_angles(model))
    with pytest.raises(ValueError, match="LBFGS evaluates the loss again"):
        Trainer(
            model, arguments(tmp_path), train_dataset=images(), callbacks=[callback], optimizers=(parameters, None)
        ).train()

    class DeepSpeedOptimizerWrapper:
        param_groups = torch.optim.SGD(model.parameters()).param_groups

    with pytest.raises(ValueError, match="DeepSpeed keeps the gradients to itself"):
        callback.on_train_begin(None, None, None, optimizer=DeepSpeedOptimizerWrapper(), model=model)
