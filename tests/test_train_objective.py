"""A model that gives its own loss, metrics beyond top-1 after the last epoch, and what the result file says of them."""

from __future__ import annotations

import json
import math
import runpy
import signal
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD

from launching import forked

pytest.importorskip("lightning")

from safetensors.torch import load_file

from onsphere import where
from onsphere.data import digits
from onsphere.diversity import MHE
from onsphere.losses import AngularSoftmax
from onsphere.margins import Annealed, SphereFace
from onsphere.models import Recogniser
from onsphere.regularizers import Regularizer
from onsphere.train import CheckpointError, Interrupted, Recipe, Result, measure_cost, run

DATA = digits(110)


class Head(nn.Module):
    """A loss with a weight and a count of its calls: what an annealed margin is to the loop."""

    def __init__(self, anneals: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(10, 16).normal_(std=0.1))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.anneals = anneals

    def logits(self, features: Tensor) -> Tensor:
        return F.linear(features, self.weight)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        logits = self.logits(features)
        if self.anneals and self.training:
            self.count += 1
            logits = logits - F.one_hot(labels, 10) / (1 + 0.2 * self.count)
        return F.cross_entropy(logits, labels)


class Model(nn.Module):
    def __init__(self, anneals: bool = True) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU())
        self.head = Head(anneals)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        features = self.body(images)
        return self.head.logits(features) if labels is None else self.head(features, labels)


def recipe(**changes: Any) -> Recipe:
    settings: dict[str, Any] = {
        "name": "test",
        "row": "none",
        "source": "-",
        "model": Model,
        "data": lambda: DATA,
        "optimizer": lambda parameters: SGD(parameters, lr=0.05, momentum=0.9),
        "objective": None,
        "epochs": 3,
        "batch_size": 30,
    }
    return Recipe(**{**settings, **changes})


def quick(recipes: Any, folder: Path | None = None, **settings: Any) -> Result:
    defaults = {"seeds": [123], "accelerator": "cpu", "measure": False, "threads": 1, "checkpoint_seconds": 1e9}
    return run(recipes, folder=folder, **{**defaults, **settings})


# ------------------------------------------------------------------------------------- the loss comes from the model


def test_a_model_that_gives_the_cross_entropy_trains_as_with_that_objective() -> None:
    for changes in ({}, {"ema": 0.5}, {"clip": 0.1}, {"max_steps": 5}):
        own, outside = (
            quick(recipe(model=lambda: Model(anneals=False), objective=objective, **changes)).rows[0].seeds[0].curve
            for objective in (None, F.cross_entropy)
        )
        assert own == outside
        assert len(set(own["test_loss"])) > 1


def test_the_loss_of_the_model_is_what_is_minimised() -> None:
    plain, harder = (
        quick(recipe(model=lambda anneals=anneals: Model(anneals))).rows[0].seeds[0].curve for anneals in (False, True)
    )
    assert harder["objective"][0] > plain["objective"][0] + 0.2  # the margin makes the training loss larger,
    assert abs(harder["test_loss"][0] - plain["test_loss"][0]) < 0.2  # and evaluation knows no margin


def test_a_regularizer_that_wants_labels_gets_them_beside_a_model_that_wants_them() -> None:
    class Norms(nn.Module):
        wants_labels = True

        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.weights = [model.head.weight]  # type: ignore[union-attr]

        def forward(self, labels: Tensor) -> Tensor:
            assert isinstance(self.weights[0], Tensor)
            return self.weights[0][labels].square().sum(1).mean()

    curve = quick(recipe(regularizer=Norms)).rows[0].seeds[0].curve
    assert all(value > 0 for value in curve["regularizer"])
    assert curve["train_loss"][0] == pytest.approx(curve["objective"][0] + curve["regularizer"][0])


def test_the_cost_of_a_step_is_measured() -> None:
    plain, own = measure_cost(
        [recipe(row="a", objective=F.cross_entropy), recipe(row="b")], batches=5, accelerator="cpu", threads=1
    )
    assert own.peak_bytes > plain.peak_bytes > 0  # the one-hot labels


def test_a_stop_after_any_step_and_resume_give_the_undisturbed_numbers(tmp_path: Path) -> None:
    quick(recipe(), tmp_path / "undisturbed")
    whole = numbers(tmp_path / "undisturbed")
    for step in (1, 4, 6, 11):
        folder, asked = tmp_path / str(step), [True]

        def stop(model: nn.Module, done: int, step: int = step, asked: list[bool] = asked) -> None:
            if done == step and asked and asked.pop():
                signal.raise_signal(signal.SIGTERM)

        with pytest.raises(Interrupted):
            quick(recipe(after_step=(stop,)), folder)
        quick(recipe(), folder, resume=True)
        assert numbers(folder) == whole


def energy(model: nn.Module) -> Callable[..., Tensor]:
    """It wants the labels of the batch."""
    return Regularizer(model, MHE(data_dependent=True), 0.1, where.output)


def test_an_annealed_head_with_mhe_resumes_to_the_last_bit(tmp_path: Path) -> None:
    def model() -> nn.Module:
        body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU())
        margin = Annealed(SphereFace(4), gamma=20.0, minimum=0.1)
        return Recogniser(body, AngularSoftmax(16, 10, margin, scale="feature_norm"))

    changes: dict[str, Any] = {"model": model, "regularizer": energy}
    quick(recipe(**changes), tmp_path / "undisturbed")
    whole = numbers(tmp_path / "undisturbed")
    asked = [True]

    def stop(model: nn.Module, done: int) -> None:
        if done == 5 and asked and asked.pop():
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        quick(recipe(**changes, after_step=(stop,)), tmp_path / "stopped")
    quick(recipe(**changes), tmp_path / "stopped", resume=True)
    assert numbers(tmp_path / "stopped") == whole
    state = load_file(tmp_path / "stopped" / "weights" / "none-123.safetensors")
    assert state["classifier.margin.iteration"].item() == 12


def numbers(folder: Path) -> Any:
    content = json.loads((folder / "result.json").read_text())
    return content["rows"][0]["seeds"][0]["curve"], (folder / "weights" / "none-123.safetensors").read_bytes()


SCRIPT = textwrap.dedent(
    """
    import sys, torch
    from pathlib import Path
    from test_train_objective import energy, recipe
    from onsphere.train import run

    def look(model):
        state = model.head.weight
        whole = state.full_tensor() if hasattr(state, "full_tensor") else state
        return {"norm": whole.norm().item(), "count": model.head.count.item()}

    devices, *strategies = sys.argv[2:]
    number = 1 if devices == "1" else "auto"
    more = {"evaluate": look, "metric": "norm"}
    rows = [recipe(**more), recipe(row="few", batch_size=3, epochs=1, **more),
            recipe(row="energy", batch_size=7, epochs=1, regularizer=energy, **more)]
    for strategy in strategies:
        run(rows, seeds=[1], folder=Path(sys.argv[1]) / strategy, devices=number,
            strategy=strategy, accelerator="cpu", threads=1, measure=False)
    if devices != "1":  # gloo's destructor can wait for a thread that waits for the GIL it holds
        import os
        os._exit(0)
    """
)


def test_two_processes_give_the_curve_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{SCRIPT}")
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "one"), "1", "auto"])
    runpy.run_path(str(script), run_name="__main__")
    one = json.loads((tmp_path / "one" / "auto" / "result.json").read_text())
    forked(script, str(tmp_path / "two"), "auto", "auto", "fsdp", processes=2)
    for strategy in ("auto", "fsdp"):
        two = json.loads((tmp_path / "two" / strategy / "result.json").read_text())
        assert two["machine"]["processes"] == 2
        for row_one, row_two in zip(one["rows"], two["rows"], strict=True):
            (a,), (b,) = row_one["seeds"], row_two["seeds"]
            assert b["last"]["count"] == a["last"]["count"] == a["steps"]
            for quantity, values in {**a["curve"], "norm": a["last"]["norm"]}.items():
                there = {**b["curve"], "norm": b["last"]["norm"]}[quantity]
                assert there == pytest.approx(values, rel=1e-5, abs=1e-5), quantity


# ---------------------------------------------------------------------------------------------- further metrics


def evaluation(**values: Any) -> Callable[[nn.Module], Mapping[str, float]]:
    return lambda model: values


def test_further_metrics_stand_beside_top1_and_are_taken_once(tmp_path: Path) -> None:
    seen: list[tuple[bool, bool]] = []

    def evaluate(model: nn.Module) -> Mapping[str, float]:
        torch.rand(3)
        seen.append((model.training, torch.is_grad_enabled()))
        return {"verification": torch.tensor(91.5), "rank1": 70, "eer": math.nan}  # type: ignore[dict-item]

    result = quick(recipe(evaluate=evaluate, metric="verification"), tmp_path)
    assert seen == [(False, False)]
    (seed,) = result.rows[0].seeds
    assert (seed.final["verification"], seed.last["verification"], seed.final["rank1"]) == (91.5, 91.5, 70.0)
    assert seed.final["top1"] == pytest.approx(sum(seed.curve["top1"]) / 3)
    assert "verification" not in seed.curve
    assert seed.curve == quick(recipe()).rows[0].seeds[0].curve  # what it drew changed nothing
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["metric"] == "verification"
    assert written["rows"][0]["seeds"][0]["final"]["eer"] is None
    again = Result.from_json(written)
    assert math.isnan(again.rows[0].seeds[0].final["eer"])
    assert again.metric == "verification"


def test_a_file_that_names_no_metric_is_about_top1(tmp_path: Path) -> None:
    quick(recipe(), tmp_path, seeds=[1])
    path = tmp_path / "result.json"
    content = json.loads(path.read_text())
    assert content.pop("metric") == "top1"
    assert Result.from_json(content).metric == "top1"
    path.write_text(json.dumps(content))
    assert len(quick(recipe(), tmp_path, seeds=[1, 2], resume=True).rows[0].seeds) == 2
    with pytest.raises(CheckpointError, match="metric is 'top1' there and 'norm' here"):
        quick(recipe(evaluate=evaluation(norm=1.0), metric="norm"), tmp_path, seeds=[1, 2], resume=True)


def test_wrong_metrics_are_named() -> None:
    with pytest.raises(ValueError, match="metric='rank1': expected top1, top5 or test_loss, or evaluate to give it"):
        recipe(metric="rank1")
    with pytest.raises(ValueError, match="row 'none': metric='rank1' is none of top1, top5, test_loss, norm"):
        quick(recipe(evaluate=evaluation(norm=1.0), metric="rank1", epochs=1))
    with pytest.raises(ValueError, match="row 'none': evaluate gave top1: expected other names"):
        quick(recipe(evaluate=evaluation(top1=1.0), epochs=1))
    with pytest.raises(ValueError, match=r"metrics \['top1', 'top5'\]: expected rows of one comparison"):
        quick([recipe(), recipe(row="b", metric="top5")])


# ------------------------------------------------------------------------------------ a model that classifies nothing


class Rebuilder(nn.Module):
    """Its loss is how far what it rebuilds is from the images; it has no logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 64))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return F.mse_loss(self.layers(images), images.flatten(1))


def rebuilding(**changes: Any) -> Recipe:
    return recipe(**{"model": Rebuilder, "classifies": False, "metric": "test_loss", **changes})


@pytest.mark.parametrize("ema", [None, 0.5])
def test_what_is_no_classifier_has_a_test_loss_and_no_accuracy(
    ema: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onsphere.train.loop.EVALUATION_BATCH", 100)  # batches of unequal sizes
    found = []

    def over_the_test_set(model: nn.Module) -> Mapping[str, float]:
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (DATA.mean, DATA.std))
        images = DATA.test.take(torch.arange(len(DATA.test)))
        found.append(model((images / 255 - mean) / std, DATA.test.labels).item())
        return {}

    assert len(DATA.test) % 100
    (seed,) = quick(rebuilding(evaluate=over_the_test_set, ema=ema)).rows[0].seeds
    assert {*seed.curve} == {"epoch", "train_loss", "objective", "regularizer", "test_loss", "lr"}
    assert {*seed.final} == {*seed.last} == {"test_loss"}
    assert found == pytest.approx([seed.last["test_loss"]], rel=1e-5)
    assert seed.curve["test_loss"][-1] < seed.curve["test_loss"][0]


def test_the_best_weights_of_what_is_no_classifier_are_those_of_the_smallest_loss(tmp_path: Path) -> None:
    def worse(model: nn.Module, step: int) -> None:
        if step > 8:  # in the last of three epochs of four steps
            with torch.no_grad():
                model.layers[1].weight.mul_(3)  # type: ignore[index, union-attr]

    quick(rebuilding(after_step=(worse,)), tmp_path / "worse", keep_best=True)
    quick(rebuilding(max_steps=8), tmp_path / "until", keep_best=True)
    curve = numbers(tmp_path / "worse")[0]["test_loss"]
    assert curve[1] == min(curve)
    best = [(tmp_path / name / "weights" / "none-123.best.safetensors").read_bytes() for name in ("worse", "until")]
    assert best[0] == best[1]


def test_what_is_no_classifier_resumes_to_the_last_bit(tmp_path: Path) -> None:
    quick(rebuilding(), tmp_path / "undisturbed", keep_best=True)
    asked = [True]

    def stop(model: nn.Module, done: int) -> None:
        if done == 6 and asked and asked.pop():
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        quick(rebuilding(after_step=(stop,)), tmp_path / "stopped", keep_best=True)
    quick(rebuilding(), tmp_path / "stopped", keep_best=True, resume=True)
    assert numbers(tmp_path / "stopped") == numbers(tmp_path / "undisturbed")


def test_what_only_a_classifier_has_is_refused() -> None:
    with pytest.raises(ValueError, match="classifies=False: expected objective=None"):
        rebuilding(objective=F.cross_entropy)
    with pytest.raises(ValueError, match="metric='top1': expected test_loss, or evaluate to give it"):
        rebuilding(metric="top1")
    with pytest.raises(ValueError, match="row 'none': metric='top1' is none of test_loss, norm"):
        quick(rebuilding(metric="top1", evaluate=evaluation(norm=1.0), epochs=1))
