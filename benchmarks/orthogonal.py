"""Time and memory of orthogonal over-parameterized training against torch's and geotorch's parametrizations and QR.

    python benchmarks/orthogonal.py                    # the times; a few minutes
    python benchmarks/orthogonal.py --orthogonality    # how orthogonal R stays in 1000 steps of training

Forward and backward of weight = V R^T for n neurons of d numbers, float32, one thread; otherwise as diversity.py. The
unit is one product of two (d, d) matrices. R is a little away from the identity, as in training. Both parts write
results/benchmarks/orthogonal.json and leave in it what the other has written.

What would take minutes is left out: at d = 2304 torch's matrix_exp and householder, geotorch's expm, our exponential
and our loops over columns; everywhere but at d = 576 the unrolled loop of Algorithm 1. geotorch has no Householder and
no QR map.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import geotorch
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

import onsphere as osp
from measuring import Group, Row, Step, arguments, compare, measured, medians, write
from onsphere.models import plain_cnn
from onsphere.orthogonal import (
    Cayley,
    Exponential,
    GramSchmidt,
    Householder,
    Lowdin,
    OrthogonalGD,
    Penalty,
    Relaxed,
    Unconstrained,
    deviations,
    matrices,
)
from onsphere.train.cost import peak_bytes

SIZES = ((576, 64, 3), (1152, 128, 1), (2304, 256, 0.5))  # d, n, factor on the rounds
UNIT = "one d x d product"
AWAY = 0.5  # the spectral norm, about, of what R's parameter differs by from its start
METHODS: tuple[tuple[str, Any, float | None], ...] = (
    ("Cayley", Cayley(), 2.0),
    ("Gram-Schmidt", GramSchmidt(), 5.0),
    ("modified Gram-Schmidt", GramSchmidt(modified=True), None),
    ("Gram-Schmidt, 2 iterations", GramSchmidt(iterations=2), None),
    ("Householder", Householder(), None),
    ("Löwdin", Lowdin(), 20.0),
    ("exponential", Exponential(), None),
    ("OGD", OrthogonalGD(), None),
    ("relaxed, with its penalty", Relaxed(), None),
)
SLOW = ("modified Gram-Schmidt", "Gram-Schmidt, 2 iterations", "exponential")
NORMAL = ("Cayley", "Gram-Schmidt", "Householder", "Löwdin", "exponential")
PAIRS = (("Cayley", "torch's Cayley", 0.35), ("Householder", "torch's Householder", 0.2))


def layer(method: Any, d: int, n: int, start: str = "identity") -> tuple[nn.Module, nn.Linear, nn.Parameter]:
    """A model of one over-parameterized linear layer, that layer, and the parameter of its matrix."""
    linear = nn.Linear(d, n, bias=False)
    model = osp.overparametrize(nn.Sequential(linear), method, osp.where.everywhere, start=start)
    (matrix,) = (p for p in model.parameters() if p.requires_grad)
    return model, linear, matrix


def ours(method: Any, d: int, n: int, start: str = "identity") -> Step:
    model, linear, matrix = layer(method, d, n, "random" if isinstance(method, OrthogonalGD) else start)
    if start == "identity" and not isinstance(method, OrthogonalGD):
        with torch.no_grad():
            matrix.add_(torch.randn(d, d), alpha=AWAY / d**0.5)
    penalty = Penalty(model) if isinstance(method, Relaxed) else None
    direction = torch.randn(n, d)

    def step() -> None:
        matrix.grad = None
        loss = (linear.weight * direction).sum()
        (loss if penalty is None else loss + penalty()).backward()

    return step


def rotated(made: Callable[[], Tensor], parameters: list[nn.Parameter], d: int, n: int) -> Step:
    """Forward and backward of V R^T for an R that somebody else makes."""
    neurons, direction = torch.randn(n, d), torch.randn(n, d)

    def step() -> None:
        for parameter in parameters:
            parameter.grad = None
        (neurons @ made().T).backward(direction)

    return step


def parametrized(register: Callable[[nn.Linear], object], d: int, n: int) -> Step:
    """A square layer that torch or geotorch keeps orthogonal, its parameter as far away from its start as ours."""
    square = nn.Linear(d, d, bias=False)
    register(square)
    (parameter,) = square.parameters()
    with torch.no_grad():  # the diagonal of torch's Householder holds signs
        parameter.add_(torch.randn(d, d).tril(-1), alpha=AWAY / d**0.5)
    return rotated(lambda: square.weight, [parameter], d, n)


def near_identity(d: int) -> nn.Parameter:
    return nn.Parameter(torch.eye(d) + AWAY / d**0.5 * torch.randn(d, d))


def by_qr(d: int, n: int) -> Step:
    u = near_identity(d)

    def made() -> Tensor:
        q, r = torch.linalg.qr(u)
        return q * r.diagonal().sign()

    return rotated(made, [u], d, n)


def by_loop(d: int, n: int) -> Step:
    """Algorithm 1 as it is written, unrolled."""
    u = near_identity(d)

    def made() -> Tensor:
        basis = u[:, :0]
        for column in u.T:
            rest = column - basis @ (basis.T @ column)
            basis = torch.cat([basis, (rest / rest.norm()).unsqueeze(1)], 1)
        return basis

    return rotated(made, [u], d, n)


def product(d: int) -> Step:
    left, right = torch.randn(d, d), torch.randn(d, d)
    return lambda: left @ right


def row(
    what: str, peer: str, times: tuple[float, float], steps: tuple[Step, Step], target: float | None, memory: bool
) -> Row:
    ours_ms, theirs_ms = times
    cpu = torch.device("cpu")
    ours_bytes, theirs_bytes = (peak_bytes(cpu, step) if memory else None for step in steps)
    ratio = ours_ms / theirs_ms
    print(f"{what:58s} {ours_ms:10.2f} ms {theirs_ms:10.2f} ms  {ratio:.3f} (target {target})", flush=True)
    return {
        "what": what,
        "peer": peer,
        "ours_ms": round(ours_ms, 3),
        "theirs_ms": round(theirs_ms, 3),
        "ratio": round(ratio, 4),
        "target": target,
        "ours_bytes": ours_bytes,
        "theirs_bytes": theirs_bytes,
        "memory_ratio": round(ours_bytes / theirs_bytes, 4) if ours_bytes and theirs_bytes else None,
        "memory_target": None,
    }


def methods(rounds: int, d: int, n: int, factor: float) -> list[Row]:
    """Ours and the peers in turn with the unit, the slow peers in fewer rounds."""
    size = f"d = {d}, n = {n}"
    steps: dict[str, Step] = {name: ours(m, d, n) for name, m, _ in METHODS if d < 2304 or name not in SLOW}
    if d == 576:
        steps |= {f"{name}, normal start": ours(m, d, n, "normal") for name, m, _ in METHODS if name in NORMAL}
    steps["torch's Cayley"] = parametrized(partial(orthogonal, orthogonal_map="cayley"), d, n)
    steps["geotorch's Cayley"] = parametrized(partial(geotorch.orthogonal, triv="cayley"), d, n)
    steps["torch.linalg.qr, autograd"] = by_qr(d, n)
    slow: dict[str, Step] = {}
    if d < 2304:
        slow["torch's Householder"] = parametrized(partial(orthogonal, orthogonal_map="householder"), d, n)
        slow["torch's matrix_exp"] = parametrized(partial(orthogonal, orthogonal_map="matrix_exp"), d, n)
        slow["geotorch's expm"] = parametrized(partial(geotorch.orthogonal, triv="expm"), d, n)
    if d == 576:
        slow["loop of Algorithm 1, autograd"] = by_loop(d, n)
    unit = product(d)
    unit_ms, *taken = medians([unit, *steps.values()], max(2, round(factor * rounds)))
    times = dict(zip(steps, taken, strict=True)) | dict(zip(slow, medians([*slow.values()], 2), strict=True))
    steps |= slow
    targets = {name: target for name, _, target in METHODS}
    rows = []
    for name in steps:
        of_a_peer = name not in targets and "normal" not in name
        what = f"({name}), {size}" if of_a_peer else f"{name}, {size}"
        given = (times[name], unit_ms), (steps[name], unit)
        rows.append(row(what, UNIT, *given, targets.get(name), memory=name not in slow))
    for name, peer, target in PAIRS:
        if peer in steps:
            given = (times[name], times[peer]), (steps[name], steps[peer])
            rows.append(row(f"{name}, {size}", peer, *given, target, memory=False))
    return rows


def ogd(rounds: int, d: int, factor: float) -> list[Row]:
    """All of optimizer.step() for one matrix, but for the polishing, two products in every tenth step."""
    unit = product(d)
    steps: dict[str, Step] = {}
    for what, options in (
        ("closed form", {}),
        ("closed form, momentum", {"momentum": 0.9}),
        ("2 iterations", {"iterations": 2}),
    ):
        _, _, matrix = layer(OrthogonalGD(), d, 2, "random")
        matrix.grad = torch.randn(d, d) / d**0.5
        steps[what] = osp.OrthogonalSGD([matrix], lr=0.1, **options).step
    unit_ms, *taken = medians([unit, *steps.values()], max(3, round(factor * rounds)))
    return [
        row(f"OrthogonalSGD.step, {what}, d = {d}", UNIT, (ms, unit_ms), (step, unit), 4.5, memory=True)
        for (what, step), ms in zip(steps.items(), taken, strict=True)
    ]


def network(rounds: int, batch: int) -> list[Row]:
    """A training step of CNN-6 of Table F.1 with OPT(CP) against the plain one."""

    def step_of(change: Callable[[nn.Module], object]) -> Step:
        model = plain_cnn(6, widths=(64, 64, 64), num_classes=100)
        change(model)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
        images, labels = torch.randn(batch, 3, 32, 32), torch.randint(100, (batch,))

        def step() -> None:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()

        return step

    def whole(model: nn.Module) -> None:
        osp.overparametrize(model, Cayley())

    def of_72(model: nn.Module) -> None:
        osp.overparametrize(model, Cayley(), osp.where.named("conv1_1"))  # 27 numbers a filter
        osp.overparametrize(model, Cayley(), osp.where.named("conv1_2", "conv2_*", "conv3_*"), blocks=8)
        osp.overparametrize(model, Cayley(), osp.where.named("fc"), blocks=16)  # of 64

    rows = []
    for what, change, target in (("OPT(CP)", whole, 1.6), ("OPT(CP), blocks of 72", of_72, 1.2)):
        what = f"training step of CNN-6, {what}, batch {batch}"
        rows.append(compare(what, step_of(change), step_of(lambda model: None), "CNN-6", rounds, target))
    return rows


def trained(name: str, method: Any, steps: int, d: int, n: int) -> dict[str, float | str | None]:
    """How far R^T R is from I, and the energy of the neurons from what it was, after training to other neurons."""
    model, linear, matrix = layer(method, d, n)
    inputs = torch.randn(2 * n, d)
    targets = inputs @ nn.Linear(d, n, bias=False).weight.detach().T
    penalty = Penalty(model) if isinstance(method, Relaxed) else lambda: 0
    if isinstance(method, OrthogonalGD):
        optimizer: torch.optim.Optimizer = osp.OrthogonalSGD([matrix], lr=0.5)
    else:
        optimizer = torch.optim.Adam([matrix])

    def energy() -> float:
        return float(osp.functional.mhe(linear.weight.detach().double(), 1.0))

    before, losses, lately = energy(), [], []
    for done in range(1, steps + 1):
        optimizer.zero_grad()
        loss = F.mse_loss(model(inputs), targets)
        losses.append(loss.item())
        (loss + penalty()).backward()
        optimizer.step()
        if done > steps - 100:  # OrthogonalSGD polishes in some steps only: how it is before that counts, too
            lately += deviations(model).values()
    (r,) = (each.double() for each in matrices(model).values())
    gram = r.T @ r - torch.eye(d, dtype=torch.float64)
    found: dict[str, float | str | None] = {
        "method": name,
        "optimizer": type(optimizer).__name__,
        "steps": steps,
        "loss_before": losses[0],
        "loss": losses[-1],
        "frobenius": lately[-1],
        "frobenius_lately": max(lately),
        "spectral": float(torch.linalg.matrix_norm(gram, 2)),
        "energy_change": energy() / before - 1,
        "target": None if isinstance(method, Relaxed | Unconstrained) else 1e-5,
    }
    print(", ".join(f"{k} {v:.2e}" if isinstance(v, float) else str(v) for k, v in found.items()), flush=True)
    return found


def orthogonality(_: int, steps: int, d: int, n: int) -> list[dict[str, float | str | None]]:
    chosen = [each for each in METHODS if "Schmidt" not in each[0] or each[0] == "Gram-Schmidt"]
    return [trained(name.split(",")[0], method, steps, d, n) for name, method, _ in chosen] + [
        trained("unconstrained", Unconstrained(), steps, d, n)
    ]


def main() -> None:
    parser = arguments(__doc__, "orthogonal")
    parser.add_argument("--orthogonality", action="store_true", help="R after training, in place of the times")
    parser.add_argument("--steps", type=int, default=1000, help="of that training (default 1000)")
    given = parser.parse_args()
    recorded = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {"rows": []}
    if given.orthogonality:
        found = measured([(orthogonality, (given.steps, 576, 64))], given.rounds)
        write({**recorded, "orthogonality": found}, given.out)
        return
    groups: list[Group] = []
    for d, n, factor in SIZES:
        groups += [(methods, (d, n, factor)), (ogd, (d, factor))]
    times = measured([*groups, (network, (128,))], given.rounds)
    write({**times, **{part: recorded[part] for part in ("orthogonality",) if part in recorded}}, given.out)


if __name__ == "__main__":
    main()
