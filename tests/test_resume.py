"""A training that is stopped, by whatever and whenever, and resumed: the same numbers as one that was left alone."""

from __future__ import annotations

import csv
import errno
import json
import os
import pickle
import resource
import signal
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from launching import forked

pytest.importorskip("lightning")
from safetensors.torch import load_file

from onsphere.data import augment, digits
from onsphere.models import mlp
from onsphere.train import CheckpointError, Interrupted, NonFiniteLoss, Recipe, Result, run

DATA = digits(110)


class RandomPenalty(nn.Module):
    """A regularizer with a state that draws random numbers; both must survive."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.weights = list(model.parameters())
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self) -> Tensor:
        self.calls += 1
        drawn = [(weight.square() * torch.rand(weight.shape)).sum() for weight in self.weights]
        return 1e-3 * (1 + int(self.calls) % 3) * torch.stack(drawn).sum()


def model() -> nn.Module:
    return nn.Sequential(*mlp(64, 10, hidden=(16,))[:2], nn.Dropout(0.2), *mlp(64, 10, hidden=(16,))[3:])


def sgd(parameters: Iterable[nn.Parameter]) -> Optimizer:
    return SGD(parameters, lr=0.05, momentum=0.9)


def recipe(**changes: Any) -> Recipe:
    settings: dict[str, Any] = {
        "name": "test",
        "row": "none",
        "source": "-",
        "model": model,
        "data": lambda: DATA,
        "optimizer": sgd,
        "epochs": 3,
        "batch_size": 30,
        "augment": augment,
        "regularizer": RandomPenalty,
    }
    return Recipe(**{**settings, **changes})


def quick(recipes: Any, folder: Path | None = None, **settings: Any) -> Result:
    defaults = {"seeds": [123], "accelerator": "cpu", "measure": False, "threads": 1, "checkpoint_seconds": 1e9}
    return run(recipes, folder=folder, **{**defaults, **settings})


def stop_at(step: int, number: int = signal.SIGTERM) -> Callable[[nn.Module, int], None]:
    """A hook that asks the process to stop after a step, once."""
    asked: list[int] = []

    def hook(model: nn.Module, done: int) -> None:
        if done == step and not asked:
            asked.append(done)
            os.kill(os.getpid(), number)

    return hook


def numbers(folder: Path) -> Any:
    """All that a run's folder holds but for the time that it took."""
    content = json.loads((folder / "result.json").read_text())
    for name in ("started", "seconds"):
        del content[name]
    for row in content["rows"]:
        del row["cost"]
        for seed in row["seeds"]:
            del seed["seconds"]
    weights = {path.name: path.read_bytes() for path in sorted((folder / "weights").iterdir())}
    logs = {path.name: path.read_text() for path in sorted((folder / "logs").glob("*.csv"))}
    return content, weights, logs


# the same numbers

VARIANTS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adamw, cosine by step": {
        "optimizer": lambda parameters: AdamW(parameters, lr=1e-3),
        "schedule": lambda optimizer: CosineAnnealingLR(optimizer, 12),
        "schedule_every": "step",
    },
    "plateau, clipped": {
        "schedule": lambda optimizer: ReduceLROnPlateau(optimizer, patience=0, threshold=0.5),
        "clip": 0.5,
    },
    "averaged weights, a limit of steps": {"ema": 0.9, "max_steps": 10},
    "observed": {"observe": lambda model: {"norm": {"first": next(model.parameters()).norm().item()}}},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_a_stop_after_any_step_and_resume_give_the_undisturbed_numbers(tmp_path: Path, changes: dict[str, Any]) -> None:
    quick(recipe(**changes), tmp_path / "undisturbed")
    for step in range(1, 12):
        folder = tmp_path / str(step)
        total = changes.get("max_steps", 12)
        if step < total:
            with pytest.raises(Interrupted) as caught:
                quick(recipe(**changes, after_step=(stop_at(step),)), folder)
            assert caught.value.signal == signal.SIGTERM
            assert (folder / "checkpoints" / "none-123.pt").exists()
        quick(recipe(**changes), folder, resume=True)
        assert numbers(folder) == numbers(tmp_path / "undisturbed")
        assert not list((folder / "checkpoints").glob("*"))


def test_without_random_states_the_numbers_would_be_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onsphere.train import checkpoint

    quick(recipe(), tmp_path / "undisturbed")
    with pytest.raises(Interrupted):
        quick(recipe(after_step=(stop_at(5),)), tmp_path / "stopped")
    monkeypatch.setattr(checkpoint, "_set_random_states", lambda states: None)
    quick(recipe(), tmp_path / "stopped", resume=True)
    assert numbers(tmp_path / "stopped") != numbers(tmp_path / "undisturbed")


def test_finished_trainings_are_not_done_again(tmp_path: Path) -> None:
    rows = [recipe(row="a"), recipe(row="b")]
    quick(rows, tmp_path / "undisturbed", seeds=[1, 2])
    stopped = [rows[0], recipe(row="b", after_step=(stop_at(7, signal.SIGINT),))]
    with pytest.raises(Interrupted) as caught:
        quick(stopped, tmp_path / "stopped", seeds=[1, 2])
    assert caught.value.signal == signal.SIGINT
    before = json.loads((tmp_path / "stopped" / "result.json").read_text())
    assert [len(row["seeds"]) for row in before["rows"]] == [1, 0]
    steps: list[int] = []
    result = quick(
        [recipe(row="a", after_step=(lambda model, step: steps.append(step),)), rows[1]],
        tmp_path / "stopped",
        seeds=[1, 2],
        resume=True,
    )
    assert result.complete
    assert steps == list(range(1, 13))  # seed 2 alone
    assert numbers(tmp_path / "stopped") == numbers(tmp_path / "undisturbed")
    after = json.loads((tmp_path / "stopped" / "result.json").read_text())
    assert after["started"] == before["started"]
    assert after["seconds"] > before["seconds"]


def test_more_seeds_may_be_added_to_a_finished_run(tmp_path: Path) -> None:
    quick(recipe(), tmp_path, seeds=[1])
    result = quick(recipe(), tmp_path, seeds=[1, 2], resume=True)
    assert [seed.seed for seed in result.rows[0].seeds] == [1, 2]
    assert quick(recipe(), tmp_path, seeds=[1, 2], resume=True) == result


def test_resume_in_an_empty_folder_starts(tmp_path: Path) -> None:
    assert quick(recipe(), tmp_path / "new", resume=True).complete


KILLED = textwrap.dedent(
    """
    import os, random, signal, sys, time
    from pathlib import Path

    import torch

    sys.path.insert(0, sys.argv[2])
    from test_resume import quick, recipe  # once, before the children are made

    torch.set_num_threads(1)  # no thread that a child would miss
    rows = [recipe(row=name) for name in ("a", "b")]

    def child(name):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                folder = Path(sys.argv[1]) / name
                code = 0 if quick(rows, folder, seeds=[1, 2], checkpoint_seconds=0.0, resume=True).complete else 2
            finally:
                os._exit(code)
        return child

    begin = time.monotonic()
    _, status = os.waitpid(child("undisturbed"), 0)
    assert status == 0
    usual = time.monotonic() - begin

    kills, moments = 0, random.Random(0)
    while kills < 20:
        name = f"killed-{kills}"
        finished = False
        while not finished:
            number = child(name)
            time.sleep(moments.uniform(0.0, usual / 2))
            os.kill(number, signal.SIGKILL)  # after the end it is a zombie, which this does not disturb
            _, status = os.waitpid(number, 0)
            finished = not os.WIFSIGNALED(status)
            kills += not finished
            assert not finished or os.WEXITSTATUS(status) == 0
        print(name, flush=True)
    """
)


def test_kill_9_at_random_moments(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(KILLED)
    names = forked(tmp_path / "script.py", str(tmp_path), str(Path(__file__).parent)).split()
    assert names
    for name in names:
        assert numbers(tmp_path / name) == numbers(tmp_path / "undisturbed")


TWO = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path

    sys.path.insert(0, sys.argv[2])
    from test_resume import quick, recipe
    from onsphere.train import Interrupted

    def hook(model, step):  # one process alone is asked to stop
        if sys.argv[3] == "stop" and step == 25 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)

    code = 0
    try:
        quick(recipe(epochs=16, after_step=(hook,)), Path(sys.argv[1]), resume=True, strategy=sys.argv[4])
    except Interrupted:
        code = 0 if sys.argv[3] == "stop" else 3
    # gloo's destructor can wait for a thread that waits for the GIL it holds
    torch = sys.modules["torch"]
    torch.distributed.barrier()
    os._exit(code)
    """
)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_stop_together_and_go_on(tmp_path: Path, strategy: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(TWO)
    folder = tmp_path / "run"
    for what in ("stop", "go on"):
        forked(script, str(folder), str(Path(__file__).parent), what, strategy, processes=2)
        assert (folder / "checkpoints" / "none-123.pt").exists() == (what == "stop")
    undisturbed = quick(recipe(epochs=16), tmp_path / "one")
    two = json.loads((folder / "result.json").read_text())
    for quantity, values in undisturbed.rows[0].seeds[0].curve.items():
        # Dropout draws for a part of the batch in each process: the same law, other numbers.
        expected = values if quantity in ("epoch", "lr") else pytest.approx(values, rel=0.5, abs=20)
        assert two["rows"][0]["seeds"][0]["curve"][quantity] == expected, quantity


# what is in the folder besides


def test_logs_have_no_gap_and_no_line_twice(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logged = recipe(epochs=4, observe=VARIANTS["observed"]["observe"])
    logs = {"logs": ["csv", "tensorboard"]}
    with pytest.raises(Interrupted):
        quick(recipe(epochs=4, observe=logged.observe, after_step=(stop_at(10),)), tmp_path, **logs)
    for name in ("none-123.csv", "none-123"):  # as a killed process may leave them: ahead of the checkpoint
        assert (tmp_path / "logs" / name).exists()
    with (tmp_path / "logs" / "none-123.csv").open("a") as file:
        file.write("3,12,9,9,9,9,9,9,9,9\n")
    result = quick(logged, tmp_path, resume=True, **logs)

    curve = result.rows[0].seeds[0].curve
    with (tmp_path / "logs" / "none-123.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["epoch"], line["step"]) for line in lines] == [("1", "4"), ("2", "8"), ("3", "12"), ("4", "16")]
    assert [float(line["test_loss"]) for line in lines] == curve["test_loss"]
    assert all(float(line["norm/first"]) > 0 for line in lines)
    events = EventAccumulator(str(tmp_path / "logs" / "none-123")).Reload()
    assert [event.step for event in events.Scalars("top1")] == [4, 8, 12, 16]
    assert [event.value for event in events.Scalars("norm/first")] == pytest.approx(
        [float(line["norm/first"]) for line in lines], rel=1e-6
    )


def test_weights_are_those_that_were_evaluated(tmp_path: Path) -> None:
    kept: list[nn.Module] = []

    def build() -> nn.Module:
        kept.append(model())
        return kept[-1]

    result = quick(recipe(model=build), tmp_path, keep_every=2)
    final = load_file(tmp_path / "weights" / "none-123.safetensors")
    assert final.keys() == kept[-1].state_dict().keys()
    assert all(torch.equal(final[name], value) for name, value in kept[-1].state_dict().items())
    assert {path.name for path in (tmp_path / "weights").iterdir()} == {
        "none-123.safetensors",
        "none-123.epoch-2.safetensors",
    }
    again = model()
    again.load_state_dict(final)
    images = (DATA.test.images / 255 - DATA.mean[0]) / DATA.std[0]
    right = (again.eval()(images).argmax(1) == DATA.test.labels).double().mean()
    assert 100 * right.item() == pytest.approx(result.rows[0].seeds[0].last["top1"])


def test_the_best_weights_are_kept_also_across_a_stop(tmp_path: Path) -> None:
    # The learning rate explodes after the second epoch, so that the best is an early one.
    def rising(optimizer: Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.MultiStepLR(optimizer, [2], gamma=400.0)

    changes: dict[str, Any] = {"epochs": 4, "schedule": rising, "regularizer": None}
    quick(recipe(**changes), tmp_path / "undisturbed", keep_best=True)
    with pytest.raises(Interrupted):
        quick(recipe(**changes, after_step=(stop_at(13),)), tmp_path / "stopped", keep_best=True)
    quick(recipe(**changes), tmp_path / "stopped", keep_best=True, resume=True)
    assert numbers(tmp_path / "stopped") == numbers(tmp_path / "undisturbed")
    best, last = (
        load_file(tmp_path / "stopped" / "weights" / f"none-123{ending}.safetensors") for ending in (".best", "")
    )
    assert not torch.equal(best["1.weight"], last["1.weight"])


# what cannot be resumed


def stopped(folder: Path, **changes: Any) -> Path:
    with pytest.raises(Interrupted):
        quick(recipe(**changes, after_step=(stop_at(5),)), folder)
    return folder / "checkpoints" / "none-123.pt"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Bomb:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch exploded",)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[: len(content) // 2], "damaged, perhaps cut short"),
        (lambda content: b"", "damaged"),
        (lambda content: b"no checkpoint at all", "damaged"),
        (lambda content: pickle.dumps(Bomb()), "damaged or is none of onsphere's"),
        (lambda content: content[:3000] + bytes(200) + content[3200:], "damaged"),
    ],
    ids=["cut short", "empty", "text", "a pickle that runs code", "zeros inside"],
)
def test_a_damaged_checkpoint_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = stopped(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    before = contents(tmp_path)
    with pytest.raises(CheckpointError, match=message) as caught:
        quick(recipe(), tmp_path, resume=True)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"epochs": 7}, {}, "epochs is 3 there and 7 here"),
        ({"settings": {"coefficient": 0.1}}, {}, "training: coefficient is None there and 0.1 here"),
        ({"name": "other"}, {}, "name is 'test' there and 'other' here"),
        ({}, {"precision": "bf16-true"}, "precision is '32-true' there and 'bf16-true' here"),
        ({"data": lambda: digits(120)}, {}, "data is .*110.* there and .*120.* here"),
        ({"model": lambda: mlp(64, 10, hidden=(8,))}, {}, "does not fit"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(
    tmp_path: Path, changes: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    stopped(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        quick(recipe(**changes), tmp_path, resume=True, **settings)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ({"name": "other"}, {}, "name is 'test' there and 'other' here"),
        ({"row": "other"}, {}, r"rows are \['none'\], and here \['other'\]"),
        ({"settings": {"coefficient": 0.1}}, {}, "coefficient of row 'none' is None there and 0.1 here"),
        ({}, {"seeds": [2]}, r"results of the seeds \[1\] too"),
    ],
)
def test_a_result_of_another_run_is_refused(
    tmp_path: Path, rows: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    quick(recipe(), tmp_path, seeds=[1])
    before = contents(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        quick(recipe(**rows), tmp_path, resume=True, **{"seeds": [1], **settings})
    assert contents(tmp_path) == before


def test_a_damaged_result_is_refused(tmp_path: Path) -> None:
    quick(recipe(), tmp_path)
    (tmp_path / "result.json").write_text((tmp_path / "result.json").read_text()[:500])
    with pytest.raises(CheckpointError, match=r"result\.json is damaged"):
        quick(recipe(), tmp_path, resume=True)


def test_an_unfinished_run_is_not_overwritten(tmp_path: Path) -> None:
    stopped(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(CheckpointError, match=r"unfinished training \(none-123.pt\): continue it with resume"):
        quick(recipe(), tmp_path)
    assert contents(tmp_path) == before
    with pytest.raises(ValueError, match="resume=True needs the folder"):
        quick(recipe(), resume=True)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stopped(tmp_path)
    before = contents(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            OSError, match=r"cannot write .*none-123\.pt: No space left on device; what was there before"
        ):
            quick(recipe(), tmp_path, resume=True, checkpoint_seconds=0.0)
    assert contents(tmp_path) == before
    assert path.exists()
    assert quick(recipe(), tmp_path, resume=True).complete


def test_a_file_size_limit_is_reported_as_such(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
        with pytest.raises(OSError, match=r"cannot write .*none-123\.pt: File too large"):
            quick(recipe(), tmp_path, checkpoint_seconds=0.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not contents(tmp_path)


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    def hook(model: nn.Module, step: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second one was not noticed")

    with pytest.raises(Interrupted):
        quick(recipe(after_step=(hook,)), tmp_path)
    assert not contents(tmp_path)


def test_handlers_are_given_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    quick(recipe())

    def explode(model: nn.Module) -> Callable[[], Tensor]:
        return lambda: next(model.parameters()).sum() * torch.inf

    with pytest.raises(NonFiniteLoss):
        quick(recipe(regularizer=explode))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"logs": ["wandb"]}, r"logs=\['wandb'\]: expected a list of csv, tensorboard"),
        ({"checkpoint_seconds": -1.0}, "checkpoint_seconds=-1.0: expected 0 or more"),
        ({"keep_every": 0}, "keep_every=0: expected at least 1, or None"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quick(recipe(), **settings)


def test_resume_with_another_row_does_not_orphan_a_checkpoint(tmp_path: Path) -> None:
    stopped(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"none-123\.pt is the checkpoint of a training that is not among .* other-123"
    ):
        quick(recipe(row="other"), tmp_path, resume=True)
    with pytest.raises(CheckpointError, match="epochs is 3 there and 9 here"):  # before the first row is trained anew
        quick([recipe(row="first"), recipe(epochs=9)], tmp_path, resume=True)
    assert contents(tmp_path) == before


def test_a_finished_result_of_other_epochs_is_not_continued(tmp_path: Path) -> None:
    quick(recipe(epochs=1), tmp_path)
    with pytest.raises(CheckpointError, match="epochs of row 'none' is 1 there and 3 here"):
        quick(recipe(), tmp_path, resume=True)


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    def second(model: nn.Module) -> None:
        if not (tmp_path / "tried").exists():
            (tmp_path / "tried").touch()
            with pytest.raises(CheckpointError, match=f"another run is going on in {tmp_path}"):
                quick(recipe(), tmp_path, resume=True)

    assert quick(recipe(prepare=second), tmp_path).complete
    assert not (tmp_path / ".lock").exists()
    assert quick(recipe(), tmp_path, resume=True).complete


def test_whether_the_last_step_was_saved_is_said(tmp_path: Path) -> None:
    with pytest.raises(Interrupted) as caught:
        quick(recipe(after_step=(stop_at(5),)), tmp_path)
    assert caught.value.saved

    def twice(model: nn.Module, step: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted) as caught:
        quick(recipe(after_step=(twice,)), tmp_path / "other")
    assert not caught.value.saved
