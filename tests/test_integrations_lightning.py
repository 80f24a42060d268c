"""The Lightning callback against a training_step that returns loss + regularizer()."""

import csv
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import onsphere as osp

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.loggers import CSVLogger
    from lightning.pytorch.plugins.precision import MixedPrecision
    from lightning.pytorch.strategies import SingleDeviceStrategy

    from onsphere.integrations.lightning import RegularizerCallback

pytestmark = pytest.mark.filterwarnings("ignore")


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-3)


def adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=0.01)


class Classifier(LightningModule):
    """A small network; ``by_hand`` adds the regularizer to the loss, ``skip`` are batches without one."""

    def __init__(
        self, *, by_hand: bool = False, make: Callable[..., Any] = sgd, skip: tuple[int, ...] = (), batch: bool = False
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 5), nn.ReLU(), nn.Linear(5, 3))
        self.by_hand, self.make, self.skip = by_hand, make, skip
        self.penalty = [regularize(self, batch)]  # in a list: no submodule

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor | None:
        if batch_idx in self.skip:
            return None
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("task", loss)
        return loss + self.penalty[0]() if self.by_hand else loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make(self.parameters())


def regularize(module: LightningModule, batch: bool = False) -> nn.Module:
    first = osp.Regularizer(module, osp.MMA(), 0.7)
    return first + osp.Regularizer(module, osp.MHE(batch=3), 0.2) if batch else first


def data(batches: int = 4) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8 * batches, 6, generator=generator)
    labels = torch.randint(3, (8 * batches,), generator=generator)
    return DataLoader(TensorDataset(images, labels), batch_size=8)


def trainer(*callbacks: Callback, **options: Any) -> Trainer:
    quiet: dict[str, Any] = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(callbacks=list(callbacks), **quiet | options)


def assert_same(first: nn.Module, second: nn.Module, tolerance: float = 1e-6) -> None:
    for name, value in first.state_dict().items():
        torch.testing.assert_close(value, second.state_dict()[name], rtol=tolerance, atol=tolerance, msg=name)


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulated": {"accumulate_grad_batches": 2},
    "clipped by norm": {"gradient_clip_val": 0.05},
    "clipped by value": {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
    "accumulated and clipped": {"accumulate_grad_batches": 2, "gradient_clip_val": 0.05},
    "bfloat16": {"precision": "bf16-mixed", "gradient_clip_val": 0.05},
    "double": {"precision": "64-true"},
}


@pytest.mark.parametrize("make", [sgd, adamw])
@pytest.mark.parametrize("case", CASES)
def test_weights_are_those_of_the_loss_by_hand(case: str, make: Callable[..., Any]) -> None:
    modules = [Classifier(by_hand=by_hand, make=make, batch=case == "plain") for by_hand in (True, False)]
    trainer(**CASES[case]).fit(modules[0], data())
    trainer(RegularizerCallback(modules[1].penalty[0]), **CASES[case]).fit(modules[1], data())
    assert_same(*modules, tolerance=1e-12 if case == "double" else 1e-6)


def test_without_the_callback_the_weights_are_others() -> None:
    free, called = Classifier(), Classifier()
    trainer().fit(free, data())
    trainer(RegularizerCallback(called.penalty[0])).fit(called, data())
    assert not torch.allclose(free.net[2].weight, called.net[2].weight, rtol=1e-3)


def scaled(make: Callable[..., Any]) -> tuple[Classifier, Classifier]:
    modules = []
    for by_hand in (True, False):
        module = Classifier(by_hand=by_hand, make=make)
        plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**18))
        callbacks = [] if by_hand else [RegularizerCallback(module.penalty[0])]
        trainer(*callbacks, plugins=[plugin], gradient_clip_val=0.05).fit(module, data())
        modules.append(module)
    return modules[0], modules[1]


def test_float16_gradients_are_unscaled_before() -> None:
    assert_same(*scaled(sgd))


def test_batches_without_a_loss_are_skipped() -> None:
    modules = [Classifier(by_hand=by_hand, skip=(1, 2)) for by_hand in (True, False)]
    trainer().fit(modules[0], data())
    trainer(RegularizerCallback(modules[1].penalty[0])).fit(modules[1], data())
    assert_same(*modules)


def test_the_other_name_of_lightning_and_a_model_built_late() -> None:
    import pytorch_lightning

    class Late(pytorch_lightning.LightningModule):
        def configure_model(self) -> None:
            if not hasattr(self, "net"):
                self.net = Classifier().net

        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return sgd(self.parameters())

    late, by_hand = Late(), Classifier(by_hand=True)
    callback = RegularizerCallback(lambda module: osp.Regularizer(module.net, osp.MMA(), 0.7))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    pytorch_lightning.Trainer(
        max_epochs=2, accelerator="cpu", enable_model_summary=False, callbacks=[callback], **quiet
    ).fit(late, data())
    trainer().fit(by_hand, data())
    assert_same(late, by_hand)
    assert [layer.name for layer in callback.regularizer.layers] == ["0", "2", "4"]


@pytest.mark.parametrize("given", ["regularizer", "function"])
def test_a_resumed_fit_ends_where_an_undisturbed_one_does(tmp_path: Path, given: str) -> None:
    def callback(module: Classifier) -> RegularizerCallback:
        made = module.penalty[0] if given == "regularizer" else lambda module: regularize(module, batch=True)
        return RegularizerCallback(made)

    whole, half, rest = (Classifier(batch=True) for _ in range(3))
    undisturbed = callback(whole)
    trainer(undisturbed, max_epochs=4).fit(whole, data())
    first = trainer(callback(half), max_epochs=2)
    first.fit(half, data())
    first.save_checkpoint(tmp_path / "half.ckpt")
    resumed = callback(rest)
    trainer(resumed, max_epochs=4).fit(rest, data(), ckpt_path=str(tmp_path / "half.ckpt"))
    assert_same(whole, rest)
    calls = [int(each.regularizer.terms[1].measure.calls) for each in (undisturbed, resumed)]
    assert calls == [16 * 3, 16 * 3]  # three layers a step


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_curve_by_epoch_and_by_step(tmp_path: Path) -> None:
    for every in ("epoch", "step", None):
        module = Classifier()
        logger = CSVLogger(tmp_path, name=str(every), version="")
        callback = RegularizerCallback(module.penalty[0], every=every)
        trainer(callback, logger=logger, log_every_n_steps=2).fit(module, data())
        logged = rows(tmp_path / str(every))
        curve = osp.integrations.curve(module.penalty[0])
        values = [row for row in logged if row["regularizer"]]
        assert [int(row["step"]) for row in values] == [1, 3, 5, 7]
        if every is None:
            assert not any(name in logged[0] for name in curve)
            continue
        with_curve = [row for row in logged if row["minimum_angle_deg/net.2"]]
        assert [int(row["step"]) for row in with_curve] == ([1, 3, 5, 7] if every == "step" else [3, 7])
        last = {name: float(with_curve[-1][name]) for name in curve}
        assert last == pytest.approx(curve, rel=1e-5)
        assert float(with_curve[0]["minimum_angle_deg/net.2"]) < last["minimum_angle_deg/net.2"]


def test_the_value_is_that_of_the_step(tmp_path: Path) -> None:
    """Also with accumulation, where most batches are no step."""
    module = Classifier()
    first = module.penalty[0]().item()
    logger = CSVLogger(tmp_path, name="", version="")
    callback = RegularizerCallback(module.penalty[0], every="step")
    trainer(callback, logger=logger, log_every_n_steps=1, accumulate_grad_batches=2, max_epochs=1).fit(module, data())
    values = [row["regularizer"] for row in rows(tmp_path) if row["regularizer"]]
    assert len(values) == 2
    assert float(values[0]) == pytest.approx(first, rel=1e-6)


def refused(module: LightningModule, regularizer: Any, **options: Any) -> str:
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises((ValueError, TypeError)) as error:
        trainer(RegularizerCallback(regularizer), **options).fit(module, data())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    return str(error.value)


def test_what_would_be_wrong_is_refused_before_the_first_step() -> None:
    manual = Classifier()
    manual.automatic_optimization = False
    assert "with automatic_optimization=False only training_step knows" in refused(manual, manual.penalty[0])

    module = Classifier(make=torch.optim.LBFGS)
    assert "LBFGS evaluates the loss again" in refused(module, module.penalty[0])

    module = Classifier(make=lambda p: torch.optim.AdamW(p, fused=True))
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    assert "AdamW(fused=True) unscales" in refused(module, module.penalty[0], plugins=[plugin])

    class Engine(SingleDeviceStrategy):
        handles_gradient_accumulation = True  # as DeepSpeed's does

    module = Classifier()
    assert "Engine keeps the gradients to itself" in refused(module, module.penalty[0], strategy=Engine())
    assert "SGD does not hold net.0.weight, net.2.weight, net.4.weight" in refused(
        Classifier(), Classifier().penalty[0]
    )
    for other in (3, None, "mma", osp.MMA(), nn.Linear(2, 2)):
        with pytest.raises(TypeError, match=re.escape(f"a function that makes it from the model, got {other!r}")):
            RegularizerCallback(other)  # type: ignore[arg-type]
    assert "got MMA" in refused(Classifier(), lambda module: osp.MMA())
    labels = lambda module: osp.Regularizer(module, osp.MHE(data_dependent=True), 1.0)  # noqa: E731
    assert "needs the labels" in refused(Classifier(), labels)
    with pytest.raises(ValueError, match="every must be 'epoch', 'step' or None, got 5"):
        RegularizerCallback(labels, every=5)


def one_rank(rank: int, folder: str) -> None:
    os.environ["LOCAL_RANK"] = str(rank)  # Lightning starts no processes of its own then
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    module = Classifier(batch=True)
    callback = RegularizerCallback(module.penalty[0])
    trainer(callback, strategy="ddp", devices=2, gradient_clip_val=0.05, max_epochs=4).fit(
        module, DataLoader(data().dataset, batch_size=16)
    )
    torch.save(module.state_dict(), f"{folder}/{rank}.pt")
    dist.barrier()
    os._exit(0)  # gloo's destructor can wait for a thread that waits for the GIL it holds


def test_two_processes_train_like_one(tmp_path: Path) -> None:
    """With all images in each step, since Lightning shuffles them over the ranks."""
    mp.start_processes(one_rank, args=(str(tmp_path),), nprocs=2, start_method="forkserver")
    by_hand = Classifier(batch=True, by_hand=True)
    trainer(gradient_clip_val=0.05, max_epochs=4).fit(by_hand, DataLoader(data().dataset, batch_size=32))
    for rank in (0, 1):
        weights = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, value in by_hand.state_dict().items():
            torch.testing.assert_close(weights[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_buffers_leave_the_memory_that_spawned_ranks_share() -> None:
    module = Classifier(batch=True)
    regularizer = module.penalty[0].share_memory()
    trainer(RegularizerCallback(regularizer)).fit(module, data())
    assert not any(buffer.is_shared() for buffer in regularizer.buffers())
