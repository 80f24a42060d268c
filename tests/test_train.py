"""The loop: what it computes, that it repeats, that two processes are one, and what is left when it stops early."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import runpy
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from launching import forked

pytest.importorskip("lightning")

from onsphere.data import Data, Images, augment, digits, image_folder
from onsphere.models import mlp, plain_cnn
from onsphere.orthogonal import OrthogonalGD, overparametrize
from onsphere.train import Interrupted, NonFiniteLoss, Progress, Recipe, Result, measure_cost, run, warm_up

DATA = digits(110)


def sgd(parameters: Iterable[nn.Parameter]) -> Optimizer:
    return SGD(parameters, lr=0.1, momentum=0.9)


def small_mlp() -> nn.Module:
    return mlp(64, 10, hidden=(16,))


def recipe(**changes: Any) -> Recipe:
    settings: dict[str, Any] = {
        "name": "test",
        "row": "none",
        "source": "-",
        "model": small_mlp,
        "data": lambda: DATA,
        "optimizer": sgd,
        "epochs": 2,
        "batch_size": 40,
    }
    return Recipe(**{**settings, **changes})


def quick(recipes: Any, **settings: Any) -> Result:
    return run(recipes, **{"seeds": [123], "accelerator": "cpu", "measure": False, "threads": 1, **settings})


def decay(coefficient: float) -> Callable[[nn.Module], Callable[[], Tensor]]:
    def build(model: nn.Module) -> Callable[[], Tensor]:
        return lambda: coefficient * sum((p.square().sum() for p in model.parameters()), torch.zeros(()))

    return build


# what it computes


def test_an_epoch_is_every_image_once_in_batches_as_equal_as_can_be() -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def objective(outputs: Tensor, labels: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            seen.append((outputs.detach().clone(), labels.clone()))
        return F.cross_entropy(outputs, labels)

    curve = quick(recipe(objective=objective, regularizer=decay(0.01))).rows[0].seeds[0].curve
    assert [len(labels) for _, labels in seen] == [37, 37, 36] * 2
    for epoch in range(2):
        batches = seen[3 * epoch : 3 * epoch + 3]
        assert torch.equal(torch.cat([labels for _, labels in batches]).bincount(), DATA.train.labels.bincount())
        losses = [F.cross_entropy(*batch).item() for batch in batches]
        assert curve["objective"][epoch] == pytest.approx(sum(losses) / 3, rel=1e-5)
        assert curve["train_loss"][epoch] == pytest.approx(curve["objective"][epoch] + curve["regularizer"][epoch])
    assert not torch.equal(seen[0][1], seen[3][1])  # another order in the second epoch


def test_one_full_batch_step_is_gradient_descent() -> None:
    models: list[nn.Module] = []

    def keep(model: nn.Module) -> dict[str, object]:
        models.append(model)
        return {}

    one = recipe(epochs=1, batch_size=1000, regularizer=decay(0.02), final=keep, optimizer=lambda p: SGD(p, lr=0.3))
    outcome = quick(one).rows[0].seeds[0]
    torch.manual_seed(123)
    model = small_mlp()
    mean, std = DATA.mean[0], DATA.std[0]
    inputs = (DATA.train.images / 255 - mean) / std
    loss = F.cross_entropy(model(inputs), DATA.train.labels) + decay(0.02)(model)()
    assert outcome.curve["train_loss"][0] == pytest.approx(loss.item(), rel=1e-5)
    loss.backward()
    for ours, theirs in zip(model.parameters(), models[0].parameters(), strict=True):
        assert ours.grad is not None
        torch.testing.assert_close(theirs, ours - 0.3 * ours.grad, rtol=1e-4, atol=1e-6)

    outputs = models[0]((DATA.test.images / 255 - mean) / std).detach()
    right = (outputs.topk(5).indices == DATA.test.labels[:, None]).float()
    assert outcome.last["top1"] == pytest.approx(100 * right[:, 0].mean().item(), rel=1e-5)
    assert outcome.last["top5"] == pytest.approx(100 * right.sum(1).mean().item(), rel=1e-5)
    assert outcome.last["test_loss"] == pytest.approx(F.cross_entropy(outputs, DATA.test.labels).item(), rel=1e-4)


def test_hooks_are_called_when_they_should_be() -> None:
    calls: list[Any] = []
    one = recipe(
        prepare=lambda model: calls.append("prepare"),
        regularizer=lambda model: calls.append("regularizer") or decay(0.0)(model),  # type: ignore[func-returns-value]
        optimizer=lambda parameters: calls.append("optimizer") or sgd(parameters),  # type: ignore[func-returns-value]
        after_step=(lambda model, step: calls.append(step),),
        observe=lambda model: {"angle": {"hidden1": len(calls)}, "calls": len(calls)},
        final=lambda model: {"training": model.training, "grad": torch.is_grad_enabled()},
    )
    outcome = quick(one).rows[0].seeds[0]
    assert calls == ["prepare", "regularizer", "optimizer", 1, 2, 3, 4, 5, 6]
    assert outcome.steps == 6
    assert outcome.observations == {"angle": {"hidden1": [6, 9]}, "calls": [6, 9]}
    assert outcome.end == {"training": False, "grad": False}


def test_the_schedule_is_stepped_once_an_epoch() -> None:
    one = recipe(epochs=4, schedule=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.1))
    assert quick(one).rows[0].seeds[0].curve["lr"] == pytest.approx([0.1, 0.1, 0.01, 0.01])


def test_the_schedule_may_be_stepped_after_every_step() -> None:
    rates: list[float] = []

    def build(optimizer: Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4], gamma=0.1)
        rates.append(optimizer.param_groups[0]["lr"])
        return schedule

    result = quick(recipe(epochs=2, schedule=build, schedule_every="step", max_steps=5))
    assert rates == [0.1]
    assert result.rows[0].seeds[0].curve["lr"] == pytest.approx([0.01, 0.001])  # of steps 3 and 5


def test_a_plateau_goes_by_the_training_loss() -> None:
    def build(optimizer: Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.9)

    result = quick(recipe(epochs=3, schedule=build))  # no epoch makes the loss ten times smaller
    assert result.rows[0].seeds[0].curve["lr"] == pytest.approx([0.1, 0.1, 0.01])
    with pytest.raises(ValueError, match="schedule_every='step' with ReduceLROnPlateau"):
        quick(recipe(schedule=build, schedule_every="step"))


def test_warm_up_multiplies_another_schedule() -> None:
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = warm_up(4, lambda each: torch.optim.lr_scheduler.MultiStepLR(each, [2, 6], gamma=0.5))(optimizer)
    rates = []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.25, 0.5, 0.375, 0.5, 0.5, 0.5, 0.25, 0.25])
    for wrong in (lambda: warm_up(0), lambda: warm_up(2, torch.optim.lr_scheduler.ReduceLROnPlateau)(optimizer)):
        with pytest.raises(ValueError, match=r"steps=0: expected at least 1|cannot follow ReduceLROnPlateau"):
            wrong()


def test_training_stops_within_an_epoch() -> None:
    seen: list[int] = []
    result = quick(recipe(epochs=9, max_steps=4, after_step=(lambda model, step: seen.append(step),)))
    assert seen == [1, 2, 3, 4]  # three steps an epoch
    seed = result.rows[0].seeds[0]
    assert (seed.steps, seed.curve["epoch"]) == (4, [1, 2])
    first = quick(recipe(epochs=1)).rows[0].seeds[0]
    assert seed.curve["train_loss"][0] == first.curve["train_loss"][0]


def test_clipping_bounds_the_step() -> None:
    before: list[Tensor] = []
    moved: list[float] = []

    def remember(model: nn.Module) -> None:
        before.append(nn.utils.parameters_to_vector(model.parameters()).detach().clone())

    def measure(model: nn.Module, step: int) -> None:
        now = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        moved.append((now - before[-1]).norm().item())
        before.append(now)

    plain = {"optimizer": lambda parameters: SGD(parameters, lr=1.0), "prepare": remember, "after_step": (measure,)}
    quick(recipe(epochs=1, clip=0.01, regularizer=decay(1.0), **plain))
    assert moved == pytest.approx([0.01] * 3, rel=1e-4)  # the regularizer's gradient is clipped with the rest


def test_averaged_weights_are_what_is_evaluated() -> None:
    seen: list[Tensor] = []
    averages: list[Tensor] = []

    def watch(model: nn.Module, step: int) -> None:
        seen.append(nn.utils.parameters_to_vector(model.parameters()).detach().clone())

    def observe(model: nn.Module) -> dict[str, float]:
        averages.append(nn.utils.parameters_to_vector(model.parameters()).detach().clone())
        return {}

    quick(recipe(epochs=1, ema=0.75, after_step=(watch,), observe=observe))
    expected = seen[0]
    for weights in seen[1:]:
        expected = 0.75 * expected + 0.25 * weights
    assert torch.allclose(averages[0], expected, atol=1e-6)
    assert not torch.allclose(averages[0], seen[-1], atol=1e-4)


def test_parameters_that_cannot_be_averaged_are_not() -> None:
    def prepare(model: nn.Module) -> None:
        overparametrize(model, OrthogonalGD())

    with pytest.raises(ValueError, match=r"ema=0\.75.*orthogonal"):
        quick(recipe(epochs=1, ema=0.75, prepare=prepare))


def test_a_regularizer_that_wants_labels_gets_those_of_the_batch() -> None:
    given: list[Tensor] = []

    class Labelled:
        wants_labels = True

        def __call__(self, labels: Tensor) -> Tensor:
            given.append(labels)
            return torch.zeros((), requires_grad=True)

    quick(recipe(epochs=1, regularizer=lambda model: Labelled()))
    assert torch.equal(torch.cat(given).sort().values, DATA.train.labels.sort().values)


def test_test_images_are_transformed_before_they_are_normalised() -> None:
    def crop(images: Tensor, *_: object) -> Tensor:
        assert images.dtype == torch.uint8
        return images[:, :, 2:6, 2:6]

    small = recipe(epochs=1, model=lambda: mlp(16, 10, hidden=()), augment=crop, test_transform=crop)
    assert quick(small).rows[0].seeds[0].last["top1"] > 10
    with pytest.raises(RuntimeError, match="shapes"):
        quick(dataclasses.replace(small, test_transform=None))


def test_images_too_many_for_memory_are_trained_on_as_any_others(tmp_path: Path) -> None:
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 14), ("test", 6)):
        for number in range(count):
            file = tmp_path / split / "ab"[number % 2] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = torch.randint(0, 256, (8, 8, 3), generator=generator, dtype=torch.uint8).numpy()
            Image.fromarray(pixels).save(file)
    outcomes = []
    for in_memory in (True, False):
        data = image_folder(tmp_path, in_memory=in_memory, image_size=8)
        assert isinstance(data.train, Images) == in_memory
        # The statistics of files that are not in memory are estimated: given here, so that the runs are the same.
        data = dataclasses.replace(data, mean=(0.5,) * 3, std=(0.25,) * 3)
        trained = recipe(
            data=lambda data=data: data, model=lambda: mlp(192, 2, hidden=(8,)), batch_size=4, augment=augment
        )
        outcomes.append(stable(quick(trained)))
    assert outcomes[0] == outcomes[1]


def test_final_is_the_mean_of_the_last_five_epochs() -> None:
    outcome = quick(recipe(epochs=7)).rows[0].seeds[0]
    for name in ("top1", "top5", "test_loss"):
        assert outcome.final[name] == pytest.approx(sum(outcome.curve[name][2:]) / 5)
        assert outcome.last[name] == outcome.curve[name][6]
    assert list(outcome.curve["epoch"]) == [1, 2, 3, 4, 5, 6, 7]


def test_it_learns() -> None:
    assert quick(recipe(epochs=12, data=digits)).rows[0].seeds[0].last["top1"] > 90


def test_augment_gets_bytes_and_its_own_generator() -> None:
    types = []

    def look(images: Tensor, generator: torch.Generator) -> Tensor:
        types.append(images.dtype)
        return augment(images, generator)

    with_, without = quick(recipe(augment=look)), quick(recipe())
    assert set(types) == {torch.uint8}
    assert with_.rows[0].seeds[0].curve["objective"] != without.rows[0].seeds[0].curve["objective"]


# that it repeats


def stable(result: Result) -> Any:
    return [
        [dataclasses.replace(outcome, seconds=0.0) for outcome in row.seeds] for row in result.rows
    ]  # everything but the clock


def random_penalty(model: nn.Module) -> Callable[[], Tensor]:
    return lambda: 0.1 * sum((p * torch.rand(())).square().sum() for p in model.parameters())  # type: ignore[return-value]


def test_two_runs_give_the_same_numbers() -> None:
    cnn = recipe(
        model=lambda: nn.Sequential(
            plain_cnn(3, widths=(4, 4, 8), in_channels=1, image_size=8, fc=16), nn.Dropout(0.2)
        ),
        augment=augment,
        regularizer=random_penalty,
    )
    first, second = quick(cnn, seeds=[1, 2]), quick(cnn, seeds=[1, 2])
    assert stable(first) == stable(second)
    assert stable(first)[0][0].curve["objective"] != stable(first)[0][1].curve["objective"]


def test_a_seed_does_not_depend_on_what_ran_before_it() -> None:
    rows = [recipe(row="a"), recipe(row="b", regularizer=random_penalty)]
    together = quick(rows, seeds=[1, 2], measure=True)
    alone = quick(rows[1], seeds=[2])
    assert stable(together)[1][1] == stable(alone)[0][0]


def test_observing_does_not_change_the_training() -> None:
    watched = recipe(regularizer=random_penalty, observe=lambda model: {"noise": torch.rand(()).item()})
    blind = recipe(regularizer=random_penalty)
    assert quick(watched).rows[0].seeds[0].curve == quick(blind).rows[0].seeds[0].curve


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    inside: list[int] = []
    quick(recipe(epochs=1, prepare=lambda model: inside.append(torch.get_num_threads())), threads=before + 1)
    assert inside == [before + 1]
    assert torch.get_num_threads() == before


# that two processes are one

SCRIPT = textwrap.dedent(
    """
    import sys, torch
    from pathlib import Path
    from torch import nn
    from onsphere.data import Data, Images, augment
    from onsphere.models import plain_cnn
    from onsphere.train import Recipe, comparison, run

    measure_rows = comparison.measure_rows  # a few batches, since their time is not looked at
    comparison.measure_rows = lambda fabric, rows, data, batches, *rest: measure_rows(fabric, rows, data, 5, *rest)

    g = torch.Generator().manual_seed(0)
    def images(n):
        labels = torch.randint(0, 3, (n,), generator=g)
        pixels = torch.randint(0, 128, (n, 1, 8, 8), generator=g) + 40 * labels[:, None, None, None]
        return Images(pixels.to(torch.uint8), labels)
    data = Data("made", images(31), images(515), 3, ("a", "b", "c"), (0.4,), (0.2,))  # 515: a last batch of 3

    def row(name, **more):
        return Recipe(
            name="ddp", row=name, source="-",
            model=lambda: plain_cnn(3, widths=(4, 4, 8), in_channels=1, num_classes=3, image_size=8),
            data=lambda: data, epochs=3, batch_size=8, augment=augment,
            optimizer=lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9), **more)

    def penalty(model):  # draws at random, and must draw the same everywhere
        whole = lambda p: p.full_tensor() if hasattr(p, "full_tensor") else p
        return lambda: 0.01 * sum((whole(p).square() * torch.rand(p.shape)).sum() for p in model.parameters())

    def say(line):  # in one piece, since two processes write to one pipe
        print(line + chr(10), end="", flush=True)

    devices, strategy = sys.argv[2:]
    result = run([row("none"), row("penalty", regularizer=penalty)], seeds=[1, 2], folder=Path(sys.argv[1]),
                 devices=devices if devices == "auto" else int(devices), strategy=strategy,
                 accelerator="cpu", threads=1, measure=devices != "1",
                 progress=lambda p: say(f"progress {p.phase} {p.done}"))
    say(f"done {result.complete}")
    if devices != "1":  # gloo's destructor can wait for a thread that waits for the GIL it holds
        import os
        os._exit(0)
    """
)


def outcome_of(folder: Path, name: str, processes: int | None) -> tuple[dict[str, Any], str]:
    devices = {"torchrun": ("auto", "auto"), "fsdp": ("auto", "fsdp"), "ddp": ("2", "ddp")}[name]
    output = forked(folder / "script.py", str(folder / name), *devices, processes=processes)
    return json.loads((folder / name / "result.json").read_text()), output


def test_two_processes_give_the_curve_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "one"), "1", "auto"])
    runpy.run_path(str(script), run_name="__main__")
    one = json.loads((tmp_path / "one" / "result.json").read_text())

    for name, processes in (("torchrun", 2), ("fsdp", 2), ("ddp", None)):  # the last starts its second one itself
        two, output = outcome_of(tmp_path, name, processes)
        assert (one["machine"]["processes"], two["machine"]["processes"]) == (1, 2)
        assert output.count("done True") == 2
        assert output.count("progress train 48\n") == 1  # the first process alone reports
        for row_one, row_two in zip(one["rows"], two["rows"], strict=True):
            assert row_two["cost"]["seconds_per_batch"] > 0
            for seed_one, seed_two in zip(row_one["seeds"], row_two["seeds"], strict=True):
                for quantity, values in seed_one["curve"].items():
                    assert seed_two["curve"][quantity] == pytest.approx(values, rel=1e-5, abs=1e-5), quantity


# what is left when it stops early


def test_ctrl_c_keeps_what_was_finished(tmp_path: Path) -> None:
    def stop(at: Progress) -> None:
        if at.seed == 2 and at.row == "b":
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        quick([recipe(row="a"), recipe(row="b")], seeds=[1, 2], folder=tmp_path, progress=stop)
    assert caught.value.path == tmp_path / "result.json"
    written = json.loads(caught.value.path.read_text())
    assert written["complete"] is False
    assert [[seed["seed"] for seed in row["seeds"]] for row in written["rows"]] == [[1, 2], [1]]
    assert [[seed.seed for seed in row.seeds] for row in caught.value.result.rows] == [[1, 2], [1]]
    assert {path.name for path in tmp_path.iterdir()} == {"result.json", "weights", "logs"}
    assert str(tmp_path / "result.json") in str(caught.value)


def test_ctrl_c_before_the_first_seed_writes_nothing(tmp_path: Path) -> None:
    def stop(at: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        quick(recipe(), folder=tmp_path, progress=stop)
    assert caught.value.path is None
    assert not list(tmp_path.iterdir())
    assert caught.value.result.to_json()["rows"][0]["seeds"] == []


def test_a_loss_that_is_not_finite_says_where(tmp_path: Path) -> None:
    steps = iter(range(100))

    def explode(model: nn.Module) -> Callable[[], Tensor]:
        return lambda: next(model.parameters()).sum() * (math.inf if next(steps) == 7 else 0.0)

    message = (
        r"row 'bad', seed 5, epoch 3, step 2: the loss is not finite \(objective [0-9.]+, regularizer -?(inf|nan)\)"
    )
    with pytest.raises(NonFiniteLoss, match=message):
        quick(
            [recipe(row="good", epochs=4), recipe(row="bad", epochs=4, regularizer=explode)], seeds=[5], folder=tmp_path
        )
    assert [len(row.seeds) for row in Result.from_json(json.loads((tmp_path / "result.json").read_text())).rows] == [
        1,
        0,
    ]


# what it writes and says


def test_result_goes_through_json(tmp_path: Path) -> None:
    one = recipe(
        settings={"coefficient": 0.07, "widths": (4, 8), "where": Path("a") / "b", "nothing": None},
        paper={"top1": 72.08},
        observe=lambda model: {"angle": {"a": float("nan"), "b": torch.tensor(2.0)}},
        final=lambda model: {"counts": torch.tensor([1, 2]), "inf": math.inf},
    )
    result = quick(one, folder=tmp_path, measure=True, seeds=[3, 4])
    text = (tmp_path / "result.json").read_text()
    written = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert written == result.to_json() | {"seconds": written["seconds"]}
    assert written["schema"] == 1
    assert written["complete"] is True
    assert written["data"] == {"name": "digits", "train": 110, "test": 797, "classes": 10}
    assert written["rows"][0]["settings"] == {
        "coefficient": 0.07,
        "widths": [4, 8],
        "where": str(Path("a") / "b"),
        "nothing": None,
    }
    seed = written["rows"][0]["seeds"][1]
    assert seed["observations"] == {"angle": {"a": [None, None], "b": [2.0, 2.0]}}
    assert seed["end"] == {"counts": [1, 2], "inf": None}
    assert set(seed["curve"]) == {
        "epoch", "train_loss", "objective", "regularizer", "top1", "top5", "test_loss", "lr"
    }  # fmt: skip
    assert Result.from_json(written).to_json() == written
    with pytest.raises(ValueError, match="schema 2: expected 1"):
        Result.from_json({**written, "schema": 2})


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = quick(recipe(epochs=1))
    result.write(tmp_path / "result.json")
    before = (tmp_path / "result.json").read_text()

    def fail(*arguments: Any, **settings: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        dataclasses.replace(result, name="other").write(tmp_path / "result.json")
    assert (tmp_path / "result.json").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_progress_counts_to_the_end() -> None:
    heard: list[Progress] = []
    quick([recipe(row="a"), recipe(row="b", epochs=3)], seeds=[1, 2], measure=True, progress=heard.append)
    training = [at for at in heard if at.phase == "train"]
    done = [at.done for at in training]
    assert heard[0].phase == "measure"
    assert done == sorted(done)
    assert (training[-1].done, training[-1].total) == (30, 30)
    assert (training[-1].row, training[-1].seed, training[-1].epoch, training[-1].epochs) == ("b", 2, 3, 3)
    assert set(training[-1].metrics) == {"top1", "top5", "test_loss"}


# cost


def test_measure_cost_counts_the_bytes_of_a_known_step() -> None:
    """A linear layer of a million weights: weights, gradient and momentum, plus what the regularizer holds."""
    big = Images(torch.zeros(20, 1, 100, 100, dtype=torch.uint8), torch.arange(20) % 2)
    data = Data("big", big, big, 2, ("a", "b"), (0.0,), (1.0,))

    def copies(count: int) -> Callable[[nn.Module], Callable[[], Tensor]]:
        def build(model: nn.Module) -> Callable[[], Tensor]:
            weight = next(model.parameters())
            return lambda: sum(held.sum() for held in [weight.detach() + i for i in range(count)])  # type: ignore[return-value]

        return build

    def row(name: str, **changes: Any) -> Recipe:
        return recipe(row=name, data=lambda: data, model=lambda: mlp(10_000, 2, hidden=(100,)), batch_size=5, **changes)

    rows = [row("none"), row("three", regularizer=copies(3)), row("plain", optimizer=lambda p: SGD(p, lr=0.1))]
    none, three, plain = measure_cost(rows, batches=5, accelerator="cpu", threads=1)
    million = 4 * 1_000_000
    assert none.peak_bytes == pytest.approx(3 * million, rel=0.12)
    assert plain.peak_bytes == pytest.approx(2 * million, rel=0.15)
    assert three.peak_bytes - none.peak_bytes == pytest.approx(2 * million, rel=0.05)  # before the gradient is there
    assert none.memory_ratio == none.time_ratio == 1.0
    assert three.memory_ratio == pytest.approx(three.peak_bytes / none.peak_bytes)
    assert three.time_ratio == pytest.approx(three.seconds_per_batch / none.seconds_per_batch)
    assert none.batches == 5


def test_measure_cost_takes_turns() -> None:
    order: list[str] = []

    def note(name: str) -> tuple[Callable[[nn.Module, int], None], ...]:
        return (lambda model, step: order.append(name),)

    measure_cost(
        [recipe(row=name, after_step=note(name)) for name in "abc"], batches=6, warmup=2, accelerator="cpu", threads=1
    )
    timed = order[6:24]
    assert all(set(timed[i : i + 3]) == set("abc") for i in range(0, 18, 3))
    assert {timed[i] for i in range(0, 18, 3)} == set("abc")  # none always comes first


def test_measure_cost_stops_at_its_time() -> None:
    (cost,) = measure_cost(recipe(), batches=40, max_seconds=1e-9, accelerator="cpu", threads=1)
    assert cost.batches == 5


# bad input


@pytest.mark.parametrize(
    ("recipes", "settings", "message"),
    [
        ([], {}, "recipes is empty"),
        ([recipe(), recipe()], {}, r"rows \['none', 'none'\]: expected no row twice"),
        ([recipe(), recipe(row="b", name="other")], {}, r"recipes of \['other', 'test'\]"),
        ([recipe()], {"seeds": []}, r"seeds=\[\]: expected at least one"),
        ([recipe()], {"seeds": [1, 1]}, r"seeds=\[1, 1\]"),
        ([recipe()], {"threads": 0}, "threads=0: expected at least 1"),
        ([recipe(), recipe(row="b", data=lambda: digits(50))], {}, "row 'b' has other data"),
    ],
)
def test_wrong_input_is_named(recipes: list[Recipe], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quick(recipes, **settings)


def test_rows_have_files_of_their_own() -> None:
    with pytest.raises(ValueError, match="two would have the same file names"):
        quick([recipe(row="MMA s=1"), recipe(row="mma s 1")])
    with pytest.raises(ValueError, match=r"seeds=1: expected a list of them, such as \[1\]"):
        quick(recipe(), seeds=1)


def test_wrong_recipes_are_named() -> None:
    with pytest.raises(ValueError, match="epochs=0: expected at least 1"):
        recipe(epochs=0)
    with pytest.raises(ValueError, match="batch_size=-1: expected at least 1"):
        recipe(batch_size=-1)
    with pytest.raises(ValueError, match="warmup=0: expected at least 1"):
        measure_cost(recipe(), warmup=0)


def test_equal_data_of_another_object_are_the_same_data() -> None:
    assert quick([recipe(epochs=1), recipe(row="b", epochs=1, data=lambda: digits(110))]).complete
