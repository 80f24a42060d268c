"""Time and memory of the angular heads against a linear layer with cross-entropy and against other code.

    python benchmarks/heads.py

Forward and backward with B = 128 and D = 512, float32, one thread; otherwise as diversity.py.
Writes results/benchmarks/heads.json.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import onsphere as osp
from measuring import Row, Step, arguments, compare, run

BATCH, FEATURES = 128, 512


def head_step(loss: Callable[[Tensor, Tensor], Tensor], head: nn.Module, classes: int) -> Step:
    features = torch.randn(BATCH, FEATURES)
    labels = torch.randint(classes, (BATCH,))

    def step() -> None:
        for parameter in head.parameters():
            parameter.grad = None
        loss(features.detach().requires_grad_(), labels).backward()

    return step


def plain(classes: int) -> Step:
    """What every other ratio is to: a linear layer and torch's cross-entropy."""
    linear = nn.Linear(FEATURES, classes, bias=False)
    return head_step(lambda features, labels: F.cross_entropy(linear(features), labels), linear, classes)


def all_logits(classes: int) -> Step:
    """ArcFace as it is often written: margins of all logits, chosen by a one-hot matrix."""
    linear = nn.Linear(FEATURES, classes, bias=False)

    def loss(features: Tensor, labels: Tensor) -> Tensor:
        cosine = F.normalize(features) @ F.normalize(linear.weight).T
        sine = (1 - cosine.square()).clamp_min(0).sqrt()
        shifted = cosine * math.cos(0.5) - sine * math.sin(0.5)
        shifted = torch.where(cosine > math.cos(math.pi - 0.5), shifted, cosine - 0.5 * math.sin(0.5))
        one_hot = F.one_hot(labels, classes).to(cosine.dtype)
        return F.cross_entropy(64 * (one_hot * shifted + (1 - one_hot) * cosine), labels)

    return head_step(loss, linear, classes)


def metric_learning(classes: int) -> Step:
    from pytorch_metric_learning.losses import ArcFaceLoss

    loss = ArcFaceLoss(classes, FEATURES, margin=math.degrees(0.5), scale=64)
    return head_step(loss, loss, classes)


def ours(classes: int, margin: object = None, **settings: object) -> Step:
    head = osp.AngularSoftmax(FEATURES, classes, margin, **settings)  # type: ignore[arg-type]
    return head_step(head, head, classes)


def sampled(classes: int, rate: float) -> Step:
    head = osp.ShardedAngularSoftmax(FEATURES, classes, osp.ArcFace(), sample_rate=rate)
    return head_step(head, head, classes)


def heads(rounds: int, classes: int) -> list[Row]:
    rounds = 3 * rounds if classes < 50_000 else rounds
    size = f"{classes // 1000}k classes"
    linear = "Linear + cross-entropy"
    rows = [
        compare(f"ArcFace, {size}", ours(classes, osp.ArcFace()), plain(classes), linear, rounds, 1.4, True, 1.1),
        compare(f"CosFace, {size}", ours(classes, osp.CosFace()), plain(classes), linear, rounds, 1.4, True, 1.1),
    ]
    sphereface = ours(classes, osp.Annealed(osp.SphereFace(4)), scale="feature_norm")
    rows.append(compare(f"SphereFace, {size}", sphereface, plain(classes), linear, rounds, 1.4, True, 1.1))
    linear_g = ours(classes, osp.SphereFace(4), scale="feature_norm", angular=osp.angular.Linear())
    rows.append(compare(f"(linear GA-Softmax, {size})", linear_g, plain(classes), linear, rounds, None, True))
    for name, peer in (("all-logit code", all_logits), ("pytorch-metric-learning", metric_learning)):
        rows.append(compare(f"ArcFace, {size}", ours(classes, osp.ArcFace()), peer(classes), name, rounds))
        rows.append(compare(f"({name}'s ArcFace, {size})", peer(classes), plain(classes), linear, rounds))
    return rows


def sampling(rounds: int, classes: int) -> list[Row]:
    what = f"ArcFace, a tenth of {classes // 1000}k classes"
    return [compare(what, sampled(classes, 0.1), plain(classes), "Linear + cross-entropy", rounds, 0.2)]


def main() -> None:
    given = arguments(__doc__, "heads").parse_args()
    run([(heads, (10_000,)), (heads, (100_000,)), (sampling, (100_000,))], given.rounds, given.out)


if __name__ == "__main__":
    main()
