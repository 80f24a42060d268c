"""Time and memory of the diversity measures against the published way of computing them.

    python benchmarks/diversity.py

Forward and backward, float32, one thread, a new process for every group of rows. Ours and theirs alternate within one
run; the numbers are medians of CPU time, which a noisy machine disturbs least, and the ratio is between those medians.
Memory is the most that torch's allocator has handed out at any moment above its level before (the weight and its
gradient exist already and are not counted).
Writes results/benchmarks/diversity.json.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import onsphere as osp
from measuring import Row, Step, arguments, compare, run
from onsphere.models import vgg19_bn
from onsphere.train.cost import peak_bytes

# --- the peers ------------------------------------------------------------------------------------------------------


def published_mma(weight: Tensor) -> Tensor:
    """As the MMA paper's code computes it: all of the normalised Gram matrix, differentiated by autograd."""
    unit = F.normalize(weight.flatten(1))
    gram = unit @ unit.T
    gram = gram - 2.0 * gram.diagonal().diag()
    return -gram.max(1).values.clamp(-0.99999, 0.99999).acos().mean()


def gram_mhe(weight: Tensor, s: float = 2.0) -> Tensor:
    """A fair autograd version: distances from the Gram matrix, not from n^2 differences."""
    unit = F.normalize(weight.flatten(1))
    n = len(unit)
    squared = 2 - 2 * (unit @ unit.T)
    energy = -0.5 * squared.clamp_min(1e-12).log() if s == 0 else squared.clamp_min(1e-12).pow(-s / 2)
    return energy.masked_fill(torch.eye(n, dtype=torch.bool), 0.0).sum() / (n * (n - 1))


def gram_orthogonal(weight: Tensor) -> Tensor:
    """Eq. 14 as it stands."""
    unit = F.normalize(weight.flatten(1))
    return (unit @ unit.T - torch.eye(len(unit))).square().sum() / 2


# --- measuring ------------------------------------------------------------------------------------------------------


def forward_backward(measure: Callable[[Tensor], Tensor], *weights: Tensor) -> Step:
    """Sum over the weights as a regularizer does it, one backward pass for all."""

    def step() -> None:
        total = sum((measure(weight.flatten(1)) for weight in weights), torch.zeros(()))
        total.backward()

    return step


def parameter(n: int, d: int) -> Tensor:
    weight = torch.randn(n, d, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weight.grad = torch.zeros_like(weight)
    return weight


def training_step(model: nn.Module) -> Step:
    images, labels = torch.randn(128, 3, 32, 32), torch.randint(0, 100, (128,))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def vgg(rounds: int) -> list[Row]:
    model = vgg19_bn(100)
    weights = [layer.module.weight for layer in osp.where.layers(model)]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    regularizer = osp.Regularizer(model, osp.MMA(), 0.07)

    def regularize() -> None:
        regularizer().backward()

    literal = forward_backward(published_mma, *weights)
    step = training_step(model)
    rows = [
        compare("MMA, all VGG19-BN layers", regularize, literal, "published code", 3 * rounds, 0.25, memory_target=0.5),
        compare("MMA, of a VGG19-BN step (batch 128)", regularize, step, "the step", rounds, 0.08, False),
        compare("(published MMA code, of the same step)", literal, step, "the step", rounds, None, False),
    ]
    for name, measure, peer in (
        ("orthogonal", osp.Orthogonal(), gram_orthogonal),
        ("MHE s=2", osp.MHE(2.0), gram_mhe),
    ):
        ours = forward_backward(measure, *weights)
        theirs = forward_backward(peer, *weights)
        rows.append(compare(f"{name}, all VGG19-BN layers", ours, theirs, "Gram autograd", rounds))
    return rows


def many_rows(rounds: int) -> list[Row]:
    weight = parameter(10575, 512)
    ours, theirs = forward_backward(osp.functional.mma, weight), forward_backward(published_mma, weight)
    rounds = max(2, rounds // 2)
    return [compare("MMA, n = 10575, d = 512", ours, theirs, "published code", rounds, 0.15, memory_target=0.1)]


def energies(rounds: int, n: int, d: int, target: float, memory_target: float | None) -> list[Row]:
    weight = parameter(n, d)
    rounds = 3 * rounds if n < 1000 else rounds
    rows = []
    for s in (2.0, 0.0):
        ours = forward_backward(lambda w, s=s: osp.functional.mhe(w, s), weight)  # type: ignore[misc]
        theirs = forward_backward(lambda w, s=s: gram_mhe(w, s), weight)  # type: ignore[misc]
        what = f"MHE s={s:g}, n = {n}, d = {d}"
        rows.append(compare(what, ours, theirs, "Gram autograd", rounds, target, True, memory_target))
    full = forward_backward(osp.functional.mhe, weight)
    half = forward_backward(lambda w: osp.functional.mhe(w, half_space=True), weight)
    rows.append(compare(f"MHE s=2 half space, n = {n}, d = {d}", half, full, "full space", rounds, 1.2))
    return rows


def energies_after_training(rounds: int) -> list[Row]:
    """A process that has trained holds freed memory, which spares the peer the page faults of its n^2 arrays."""
    training_step(vgg19_bn(100))()
    weight = parameter(4096, 512)
    ours, theirs = forward_backward(osp.functional.mhe, weight), forward_backward(gram_mhe, weight)
    return [compare("(MHE s=2, n = 4096, after a VGG19-BN step)", ours, theirs, "Gram autograd", rounds, 0.35)]


def largest(rounds: int) -> list[Row]:
    """Once: it takes a minute and is about memory."""
    weight = parameter(85742, 512)
    step = forward_backward(osp.functional.mma, weight)
    start = time.process_time()
    used = peak_bytes(torch.device("cpu"), step)
    milliseconds = 1e3 * (time.process_time() - start)
    print(f"MMA, n = 85742, d = 512: {milliseconds / 1e3:.0f} s, {used / 2**20:.0f} MiB extra", flush=True)
    row: Row = {
        "what": "MMA, n = 85742, d = 512 (once)",
        "peer": "1 GiB of memory",
        "ours_ms": round(milliseconds, 1),
        "theirs_ms": None,
        "ratio": None,
        "target": None,
        "ours_bytes": used,
        "theirs_bytes": 2**30,
        "memory_ratio": round(used / 2**30, 4),
        "memory_target": 1.0,
    }
    return [row]


GROUPS: tuple[tuple[Callable[..., list[Row]], tuple[object, ...]], ...] = (
    (vgg, ()),
    (many_rows, ()),
    (energies, (512, 4608, 0.7, None)),
    (energies, (512, 512, 0.7, None)),
    (energies, (4096, 512, 0.35, 0.15)),
    (energies_after_training, ()),
    (largest, ()),
)


def main() -> None:
    parser = arguments(__doc__, "diversity")
    parser.add_argument("--skip-largest", action="store_true", help="leave out n = 85742, which takes minutes")
    given = parser.parse_args()
    groups = [(group, options) for group, options in GROUPS if group is not largest or not given.skip_largest]
    run(groups, given.rounds, given.out)


if __name__ == "__main__":
    main()
