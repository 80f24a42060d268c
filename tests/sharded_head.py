"""Run by test_losses_sharded.py in a process of its own: heads over several gloo processes, compared with one."""

from __future__ import annotations

import copy
import json
import os
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from onsphere import MHE, MMA, Regularizer, functional
from onsphere.losses import AngularSoftmax, Plus, ShardedAngularSoftmax
from onsphere.margins import Annealed, ArcFace, CosFace, SphereFace

CLASSES, DIM = 11, 6
FEW = (2, 5)  # on four processes some have no class
# Different numbers of examples on every process, none on one of four.
SPLITS = {1: [9], 2: [6, 3], 4: [4, 0, 3, 2]}
CASES = {
    "arcface": {"margin": lambda: ArcFace(0.5), "scale": 16.0},
    "sphereface": {"margin": lambda: Annealed(SphereFace(3)), "scale": "feature_norm", "bias": True},
    "weighted": {"margin": lambda: CosFace(), "scale": 8.0, "label_smoothing": 0.1, "class_weight": True},
    "softmax": {"margin": lambda: None, "scale": "feature_norm", "normalize_weight": False, "reduction": "sum"},
}


def batch(classes: int = CLASSES) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(9, DIM, dtype=torch.float64, generator=generator)
    return features, torch.randint(classes, (9,), generator=generator)


def settings(case: dict[str, object], classes: int) -> dict[str, object]:
    made = {name: value for name, value in case.items() if name != "margin"}
    if made.get("class_weight"):
        made["class_weight"] = torch.linspace(0.5, 2, classes, dtype=torch.float64)
    return {**made, "dtype": torch.float64}


def own(tensor: Tensor, rank: int, processes: int) -> Tensor:
    begin = sum(SPLITS[processes][:rank])
    return tensor[begin : begin + SPLITS[processes][rank]]


def whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


@torch.no_grad()
def give_biases(head: ShardedAngularSoftmax, single: AngularSoftmax) -> None:
    """The same ones to both, all different."""
    biases = torch.linspace(-1, 1, head.num_classes, dtype=torch.float64)
    single.bias.copy_(biases)
    local = head.bias.to_local() if hasattr(head.bias, "to_local") else head.bias
    local.copy_(biases[head.first : head.last])


def compare(rank: int, processes: int, classes: int = CLASSES) -> float:
    """The largest difference from the head that is not shared out, in value and gradients."""
    features, labels = batch(classes)
    worst = 0.0
    for case in CASES.values():
        torch.manual_seed(0)
        head = ShardedAngularSoftmax(DIM, classes, case["margin"](), **settings(case, classes))
        single = AngularSoftmax(DIM, classes, case["margin"](), **settings(case, classes))
        single.weight.data = whole(head.weight.detach()).clone()
        if single.bias is not None:
            give_biases(head, single)
        mine = own(features, rank, processes).clone().requires_grad_()
        loss = head(mine, own(labels, rank, processes))
        loss.backward()
        all_features = features.clone().requires_grad_()
        expected = single(all_features, labels)
        expected.backward()
        pairs = [
            (loss, expected),
            (mine.grad / processes, own(all_features.grad, rank, processes)),
            (whole(head.weight.grad), single.weight.grad),
            (head.logits(mine), own(single.logits(features), rank, processes)),
        ]
        if single.bias is not None:
            pairs.append((whole(head.bias.grad), single.bias.grad))
        differences = [worst, *((a - b).abs().max().item() for a, b in pairs if a.numel())]
        worst = torch.tensor(differences, dtype=torch.float64).max().item()  # NaN stays NaN
    return worst


def train(rank: int, processes: int, folder: Path, load: bool, save: bool) -> list[float]:
    """Losses of three steps of a network in DDP and a head beside it; the weights may come from a checkpoint."""
    features, labels = batch()
    torch.manual_seed(1)
    body = nn.Linear(DIM, DIM, dtype=torch.float64)
    head = ShardedAngularSoftmax(DIM, CLASSES, Annealed(SphereFace(2)), scale="feature_norm", dtype=torch.float64)
    regularizer = Regularizer(head, MHE(), 0.1)
    wrapped = DistributedDataParallel(body) if processes > 1 else body
    optimizer = torch.optim.SGD([{"params": body.parameters()}, {"params": head.parameters()}], lr=0.5, momentum=0.9)
    if load:
        optimizer.zero_grad()
        (head(wrapped(own(features, rank, processes)), own(labels, rank, processes)) * 0).backward()
        optimizer.step()  # so that there is momentum to load into
        state = stateful(body, head, optimizer)
        dcp.load(state, checkpoint_id=folder)
        put_back(body, head, optimizer, state)
    found = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = head(wrapped(own(features, rank, processes)), own(labels, rank, processes)) + regularizer()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    if save:
        dcp.save(stateful(body, head, optimizer), checkpoint_id=folder)
    return found


def stateful(body: nn.Module, head: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, object]:
    momentum = {
        str(number): optimizer.state[parameter]["momentum_buffer"]
        for number, parameter in enumerate([*body.parameters(), *head.parameters()])
    }
    return {"body": body.state_dict(), "head": head.state_dict(), "momentum": momentum}


def put_back(body: nn.Module, head: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, object]) -> None:
    body.load_state_dict(state["body"])
    head.load_state_dict(state["head"])


def compare_sampled(rank: int, processes: int) -> float:
    """The largest difference of a sampled step from a head that has the classes of all samples and no others."""
    features, labels = batch()
    everywhere = torch.tensor(sorted({*labels.tolist(), 0, CLASSES - 1}))
    case = {"scale": 8.0, "bias": True, "class_weight": torch.linspace(0.5, 2, CLASSES, dtype=torch.float64)}
    torch.manual_seed(0)
    head = ShardedAngularSoftmax(DIM, CLASSES, CosFace(), sample_rate=0.5, dtype=torch.float64, **case)
    here = everywhere[(everywhere >= head.first) & (everywhere < head.last)] - head.first
    head._sample = lambda rows, weight: here
    case["class_weight"] = case["class_weight"][everywhere]
    single = AngularSoftmax(DIM, len(everywhere), CosFace(), dtype=torch.float64, **case)
    single.weight.data = whole(head.weight.detach())[everywhere]
    mine = own(features, rank, processes).clone().requires_grad_()
    loss = head(mine, own(labels, rank, processes))
    expected = single(features, torch.searchsorted(everywhere, labels))
    loss.backward()
    expected.backward()
    grads = [
        (whole(head.weight.grad)[everywhere], single.weight.grad),
        (whole(head.bias.grad)[everywhere], single.bias.grad),
    ]
    return max((a - b).abs().max().item() for a, b in [(loss, expected), *grads])


def of_all(worst: float, processes: int) -> float:
    """The largest of what the processes found; only one of them reports."""
    found = [torch.empty(1, dtype=torch.float64) for _ in range(processes)]
    torch.distributed.all_gather(found, torch.tensor([worst], dtype=torch.float64))
    return torch.cat(found).max().item()


def check_errors(rank: int, processes: int) -> list[str]:
    """Every process says the same about a label that one of them has."""
    features, labels = batch()
    labels[0] = CLASSES
    head = ShardedAngularSoftmax(DIM, CLASSES, dtype=torch.float64)
    try:
        head(own(features, rank, processes), own(labels, rank, processes))
    except ValueError as error:
        said = [str(error)]
    try:
        functional.mma(head.weight)
    except ValueError as error:
        said.append(str(error))
    return said


def check_sample(rank: int, processes: int) -> list[int]:
    """Rows with a gradient: all classes of the batch, and as many as the rate says."""
    features, labels = batch()
    head = ShardedAngularSoftmax(DIM, 400, CosFace(), sample_rate=0.1, dtype=torch.float64)
    labels = labels + 40 * torch.arange(len(labels))  # 0 to 330
    head(own(features, rank, processes), own(labels, rank, processes)).backward()
    touched = (whole(head.weight.grad).abs().sum(1) > 0).nonzero().flatten().tolist()
    assert {*labels.tolist()} <= {*touched}
    return touched


def check_generators(rank: int, processes: int) -> bool:
    """Whether the generators of all processes are where they would be alike, after steps of a sampled head."""
    features, labels = batch(5)
    head = ShardedAngularSoftmax(DIM, 5, CosFace(), sample_rate=0.5, dtype=torch.float64)
    head(own(features, rank, processes), own(labels, rank, processes)).backward()
    numbers = torch.rand(1)
    found = [torch.empty(1) for _ in range(processes)]
    torch.distributed.all_gather(found, numbers)
    return bool((torch.cat(found) == numbers).all())


def check_copy(rank: int, processes: int) -> list[float]:
    """The loss of a head and that of its copy after the head has changed."""
    features, labels = (own(part, rank, processes) for part in batch())
    head = ShardedAngularSoftmax(DIM, CLASSES, CosFace(), dtype=torch.float64)
    before, copied = head(features, labels).item(), copy.deepcopy(head)
    torch.nn.init.ones_(head.weight)
    return [before, copied(features, labels).item(), head(features, labels).item()]


def check_plus(rank: int, processes: int) -> tuple[float, str]:
    """The largest difference of a "+" form from that of one process, and what one with labels says."""
    features, labels = batch()
    torch.manual_seed(0)
    head = ShardedAngularSoftmax(DIM, CLASSES, CosFace(), scale=8.0, dtype=torch.float64)
    single = AngularSoftmax(DIM, CLASSES, CosFace(), scale=8.0, dtype=torch.float64)
    single.weight.data = whole(head.weight.detach()).clone()
    loss = Plus(head, MMA(), 2.0)(own(features, rank, processes), own(labels, rank, processes))
    expected = Plus(single, MMA(), 2.0)(features, labels)
    loss.backward()
    expected.backward()
    worst = max((loss - expected).abs().item(), (whole(head.weight.grad) - single.weight.grad).abs().max().item())
    worst = of_all(worst, processes)
    try:
        Plus(head, MHE(data_dependent=True), 1.0)(own(features, rank, processes), own(labels, rank, processes))
    except ValueError as error:
        return worst, str(error)
    return worst, ""


def work(rank: int, processes: int, folder: Path) -> None:
    warnings.simplefilter("ignore")
    store = torch.distributed.FileStore(str(folder / f"store{processes}"), processes)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=processes)
    found = {
        "worst": of_all(max(compare(rank, processes, classes) for classes in (CLASSES, *FEW)), processes),
        "worst sampled": of_all(compare_sampled(rank, processes), processes),
        "alike": check_generators(rank, processes),
        "plus": check_plus(rank, processes),
        "copied": check_copy(rank, processes),
        "errors": check_errors(rank, processes),
        "sampled": len(check_sample(rank, processes)),
        "from scratch": train(rank, processes, folder / f"saved{processes}", load=False, save=True),
    }
    if processes == 4:
        found["continued"] = train(rank, processes, folder / "saved2", load=True, save=False)
    if rank == 0:
        print(json.dumps({processes: found}), flush=True)
    torch.distributed.barrier()
    os._exit(0)  # gloo's destructor may deadlock


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    for processes in (2, 4):
        children = []
        for rank in range(processes):
            child = os.fork()
            if child == 0:
                try:
                    work(rank, processes, folder)
                except BaseException:
                    import traceback

                    traceback.print_exc()
                    os._exit(1)
            children.append(child)
        failed = [child for child in children if os.waitpid(child, 0)[1]]
        if failed:
            sys.exit(1)
    found = {
        "worst": compare(0, 1),
        "from scratch": train(0, 1, folder / "saved1", load=False, save=False),
        "continued": train(0, 1, folder / "saved4", load=True, save=False),
    }
    print(json.dumps({1: found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
