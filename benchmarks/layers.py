"""Time and memory of decoupled layers against ordinary convolutions, literal code and the way of the published code.

    python benchmarks/layers.py

Forward and backward of 3 x 3 convolutions of (batch, channels, height, width) to as many filters, float32, one thread;
otherwise as diversity.py. "Kept" is what autograd holds for backward, the input included, in outputs of the layer.
Writes results/benchmarks/layers.json.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import onsphere as osp
from measuring import Row, Step, arguments, compare, medians, run
from onsphere import angular, magnitude
from onsphere.models import decoupled_resnet32
from onsphere.train.cost import peak_bytes

SHAPES = ((32, 64, 32, 32), (32, 128, 16, 16), (32, 256, 8, 8))
ANGULARS: tuple[tuple[str, Any, float], ...] = (
    ("cosine", angular.Cosine(), 1.3),
    ("linear", angular.Linear(), 1.6),
    ("sigmoid", angular.Sigmoid(0.3), 1.6),
    ("square cosine", angular.SquareCosine(), 1.6),
)
Layer = Callable[[Tensor], Tensor]


def step_of(layer: Layer, shape: tuple[int, ...], parameters: list[Tensor]) -> Step:
    x = torch.randn(shape).relu().requires_grad_()
    direction = torch.randn(shape)

    def step() -> None:
        for tensor in (x, *parameters):
            tensor.grad = None
        layer(x).backward(direction)

    return step


def plain(shape: tuple[int, ...]) -> Step:
    """What every other ratio is to: an ordinary convolution with its bias."""
    layer = nn.Conv2d(shape[1], shape[1], 3, padding=1)
    return step_of(layer, shape, list(layer.parameters()))


def made(shape: tuple[int, ...], h: Any, g: Any) -> nn.Module:
    return osp.DecoupledConv2d(shape[1], shape[1], 3, padding=1, magnitude=h, angular=g)


def ours(shape: tuple[int, ...], h: Any, g: Any) -> Step:
    layer = made(shape, h, g)
    return step_of(layer, shape, list(layer.parameters()))


def published(weight: Tensor) -> Layer:
    """Cosine SphereConv with lengths of patches from a convolution with ones, as wy1iu/SphereNet has them."""

    def layer(x: Tensor) -> Tensor:
        unit = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-4).sqrt()
        norm = (F.conv2d(x.square(), torch.ones_like(weight[:1]), padding=1) + 1e-4).sqrt()
        return F.conv2d(x, unit, padding=1) / norm

    return layer


def unfolded(weight: Tensor, g: Layer) -> Layer:
    """Patches cut out, normalised and multiplied."""

    def layer(x: Tensor) -> Tensor:
        patches = F.unfold(x, 3, padding=1)
        cosine = F.normalize(weight.flatten(1)) @ (patches / (patches.square().sum(1, keepdim=True) + 1e-4).sqrt())
        return g(cosine).view(x.shape)

    return layer


def literal_linear(cosine: Tensor) -> Tensor:
    return 1 - (2 / math.pi) * torch.acos(cosine.clamp(-1 + 1e-5, 1 - 1e-5))


def layers(rounds: int, shape: tuple[int, ...]) -> list[Row]:
    """All taken in turn, three times as often as a pair is, since magnitudes are compared with each other."""
    cosine, sigmoid = angular.Cosine(), angular.Sigmoid(0.3)
    made_of: list[tuple[str, Any, Any]] = [(f"SphereConv, {name}", magnitude.Sphere(), g) for name, g, _ in ANGULARS]
    made_of += [(f"{name}, cosine", h(), cosine) for name, h in magnitude.MAGNITUDE.items() if name != "sphere"]
    made_of.append(("tanh, sigmoid", magnitude.Tanh(), sigmoid))
    made_of.append(("SphereConv, learned sigmoid", magnitude.Sphere(), angular.Sigmoid(0.3, learnable=True)))
    steps = [plain(shape), *(ours(shape, h, g) for _, h, g in made_of)]
    theirs_ms, *taken = medians(steps, 3 * rounds)
    cpu = torch.device("cpu")
    theirs_bytes = peak_bytes(cpu, steps[0])
    targets: dict[str, float] = {f"SphereConv, {name}": target for name, _, target in ANGULARS}
    rows: list[Row] = []
    for (what, _, g), step, ours_ms in zip(made_of, steps[1:], taken, strict=True):
        ratio, ours_bytes = ours_ms / theirs_ms, peak_bytes(cpu, step)
        if what not in targets and g is cosine:
            targets[what] = round(taken[0] / theirs_ms + 0.15, 4)  # sphere's and 0.15
        row: Row = {
            "what": f"{what}, {shape}",
            "peer": "F.conv2d + bias",
            "ours_ms": round(ours_ms, 3),
            "theirs_ms": round(theirs_ms, 3),
            "ratio": round(ratio, 4),
            "target": targets.get(what),
            "ours_bytes": ours_bytes,
            "theirs_bytes": theirs_bytes,
            "memory_ratio": round(ours_bytes / theirs_bytes, 4),
            "memory_target": None,
        }
        print(f"{row['what']!s:58s} {ours_ms:10.2f} ms  {row['ratio']} (target {row['target']})", flush=True)
        rows.append(row)
    return rows


def peers(rounds: int, shape: tuple[int, ...]) -> list[Row]:
    weight = nn.Parameter(torch.randn(shape[1], shape[1], 3, 3) / 24)
    rows = []
    for name, layer in (
        ("published way, cosine", published(weight)),
        ("unfold, cosine", unfolded(weight, lambda cosine: cosine)),
        ("unfold, linear", unfolded(weight, literal_linear)),
    ):
        step = step_of(layer, shape, [weight])
        rows.append(compare(f"({name}, {shape})", step, plain(shape), "F.conv2d + bias", rounds))
    return rows


def kept(layer: Layer, shape: tuple[int, ...]) -> tuple[int, int]:
    """Bytes that autograd holds after a forward pass, and those of the output."""
    x = torch.randn(shape, requires_grad=True)
    held: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = layer(x)
    return sum(held.values()), output.numel() * output.element_size()


def memory(rounds: int, shape: tuple[int, ...]) -> list[Row]:
    weight = nn.Parameter(torch.randn(shape[1], shape[1], 3, 3) / 24)
    layers: list[tuple[str, Layer, float | None]] = [
        (f"SphereConv, {name}, kept", made(shape, magnitude.Sphere(), g), 3.0) for name, g, _ in ANGULARS
    ]
    layers.append(("tanh, sigmoid, kept", made(shape, magnitude.Tanh(), angular.Sigmoid(0.3)), 3.0))
    learned = angular.Sigmoid(0.3, learnable=True)
    layers.append(("SphereConv, learned sigmoid, kept", made(shape, magnitude.Sphere(), learned), 3.0))
    layers.append(("(unfold, linear, kept)", unfolded(weight, literal_linear), None))
    rows: list[Row] = []
    for what, layer, target in layers:
        held, output = kept(layer, shape)
        ratio = round(held / output, 4)
        print(f"{what:58s} {ratio} outputs (target {target})", flush=True)
        rows.append(
            {
                "what": f"{what}, {shape}",
                "peer": "its output",
                "ours_ms": None,
                "theirs_ms": None,
                "ratio": None,
                "target": None,
                "ours_bytes": held,
                "theirs_bytes": output,
                "memory_ratio": ratio,
                "memory_target": target,
            }
        )
    return rows


def network(rounds: int, g: Any, batch: int) -> list[Row]:
    """A training step of SphereResNet-32 with the filters of section 3.4.2 against one of ResNet-32."""

    def step_of_network(h: Any) -> Step:
        operator = {} if h is None else {"angular": g}
        model = decoupled_resnet32(magnitude=h, widths=(64, 96, 128), num_classes=10, **operator)
        optimizer = torch.optim.Adam(model.parameters())
        images, labels = torch.randn(batch, 3, 32, 32), torch.randint(10, (batch,))

        def step() -> None:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()

        return step

    what = f"training step of SphereResNet-32, {type(g).__name__.lower()}, batch {batch}"
    return [compare(what, step_of_network(magnitude.Sphere()), step_of_network(None), "ResNet-32", rounds, 1.35)]


def main() -> None:
    given = arguments(__doc__, "layers").parse_args()
    groups: list[Any] = []
    for shape in SHAPES:
        groups += [(layers, (shape,)), (peers, (shape,))]
    groups.append((memory, (SHAPES[0],)))
    groups += [(network, (g, 16)) for g in (angular.Cosine(), angular.Sigmoid(0.3))]
    run(groups, given.rounds, given.out)


if __name__ == "__main__":
    main()
