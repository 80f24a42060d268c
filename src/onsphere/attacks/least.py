"""The smallest change that fools a network: DeepFool."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from onsphere.attacks.gradients import attacking, slope, usable, warn_of_nan
from onsphere.attacks.inputs import Amount, check_images, check_labels, check_whole, limits

Norm = Literal["l2", "linf"]
# Added to every distance by the paper's authors' code, so that a step never ends right on the boundary.
BEYOND = 1e-4
TINY = 1e-8  # added to lengths of gradients, which may be zero


def deepfool(
    model: nn.Module,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    steps: int = 50,
    overshoot: float = 0.02,
    candidates: int = 10,
    norm: Norm = "l2",
    bounds: tuple[Amount, Amount] = (0.0, 1.0),
) -> Tensor:
    r"""DeepFool: go to the nearest boundary of the classes as if all were flat, and again, until the class changes.

    .. math::
        w_k = \nabla f_k - \nabla f_{k_0}, \quad f'_k = f_k - f_{k_0}, \quad
        l = \operatorname{arg\,min}_k \frac{|f'_k|}{\|w_k\|_q}, \quad
        r = \frac{|f'_l|}{\|w_l\|_q^q} \, |w_l|^{q - 1} \mathrm{sign}(w_l), \quad
        \tilde{x} = \mathrm{clip}\Big(x + (1 + \eta) \sum r\Big)

    with q = 2 for ``l2`` and q = 1 for ``linf``. An image is left alone as soon as its class has changed. The model's
    mode, parameters and buffers stay as with :func:`fgsm`; what :func:`strengths` measures is the size of the change.

    Args:
        model: takes images and gives logits (N, C) of two classes or more.
        images: x, (N, ...) of a floating type on the model's device, within the bounds.
        labels: (N,) the classes k_0 to get away from: an image that the model puts into another class already is not
            changed. None for the classes that the model itself gives, as in the paper.
        steps: the most steps that are made; the authors' 50.
        overshoot: eta, by how much of its length the change goes beyond the boundary; the paper's 0.02.
        candidates: how many classes are looked at, the most likely ones and k_0 among them; the authors' 10.
        norm: what is to be small: ``l2``, the Euclidean length of the change, or ``linf``, that of the pixel that
            changes most.
        bounds: the least and the largest value of a pixel, as in :func:`fgsm`; 1e-4 of the images' units is added to
            every step, as in the authors' code.

    Returns:
        the changed images, detached; an image that no step could get out of its class is as the last one left it.

    Raises:
        ValueError: for images that are no floating-point numbers or outside the bounds, fewer than two classes or
            candidates, or a number out of its range.

    Source: Moosavi-Dezfooli, Fawzi and Frossard 2016, *DeepFool*, Algorithm 2 and section 3.3; thesis, C.3.

    >>> model = nn.Linear(2, 2)
    >>> _ = model.load_state_dict({"weight": torch.eye(2), "bias": torch.zeros(2)})
    >>> fooled = deepfool(model, torch.tensor([[0.5, 0.25]]))  # 0.125 from the line on which both are equal
    >>> model(fooled).argmax().item(), fooled.round(decimals=2)
    (1, tensor([[0.3700, 0.3800]]))
    """
    check_images(images)
    if labels is not None:
        check_labels(labels, images)
    check_whole("steps", steps, 1)
    check_whole("candidates", candidates, 2)
    if not 0 <= overshoot < float("inf"):
        raise ValueError(f"overshoot={overshoot!r}: expected at least 0")
    if norm not in ("l2", "linf"):
        raise ValueError(f"norm={norm!r}: expected 'l2' or 'linf'")
    low, high = limits(bounds, images)
    start = usable(images)
    if not len(start):
        return start.clone()
    with attacking(model), _eagerly():
        found, nan = _moved(model, start, labels, steps, 1 + overshoot, candidates, norm, low, high)
    warn_of_nan(nan, "deepfool")
    return found


def _eagerly() -> AbstractContextManager[object]:
    """A compiled model gives one gradient of a forward pass, and here one a candidate is wanted."""
    compiler = "torch._dynamo" in sys.modules  # what is not there has compiled nothing, and takes seconds to import
    return torch.compiler.set_stance("force_eager") if compiler else nullcontext()


def _moved(
    model: nn.Module,
    start: Tensor,
    labels: Tensor | None,
    steps: int,
    reach: float,
    candidates: int,
    norm: Norm,
    low: Tensor,
    high: Tensor,
) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        logits = model(start)
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise ValueError(f"the model gives {tuple(logits.shape)}: expected logits (N, C) of two classes or more")
    own = logits.argmax(1, keepdim=True)
    # The class that counts comes first also where another one has an equal logit.
    classes = logits.scatter(1, own, torch.inf).topk(min(candidates, logits.shape[1])).indices
    moved, nan = start.clone(), torch.zeros(len(start), dtype=torch.bool, device=start.device)
    # Only what is still in its class is looked at: most images need two or three steps, a few need many.
    left = torch.arange(len(start), device=start.device)
    if labels is not None:
        left = left[classes[:, 0] == labels]
    way = torch.zeros_like(start[left])
    for _ in range(steps):
        x = moved[left].requires_grad_()
        logits = model(x)
        inside = logits.argmax(1) == classes[left, 0]
        if not bool(inside.any()):
            break
        step, broken = _to_the_nearest(logits, x, classes[left], norm)
        nan[left[inside]] |= broken[inside]
        left, way = left[inside], way[inside] + step[inside]
        moved[left] = (start[left] + reach * way).clamp(low.expand_as(start)[left], high.expand_as(start)[left])
    return moved, nan


def _to_the_nearest(logits: Tensor, x: Tensor, classes: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
    """The way to the nearest boundary between the first of some classes and the others, and where a gradient is NaN.

    Args:
        logits: of x, with their graph.
        x: images.
        classes: (N, candidates).
        norm: that says what is near.
    """
    precise = torch.promote_types(x.dtype, torch.float32)
    others, logits = classes[:, 1:], logits.to(precise)
    gaps = logits.gather(1, others) - logits.gather(1, classes[:, :1])
    nearest = torch.full((len(x),), torch.inf, device=x.device, dtype=precise)
    best = torch.zeros_like(x, dtype=precise)
    nan = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for k in range(others.shape[1]):
        w = slope(gaps[:, k].sum(), x, again=k + 1 < others.shape[1]).to(precise)
        distance = gaps[:, k].detach().abs() / (_length(w, norm) + TINY)
        unusable = ~w.isfinite().flatten(1).all(1) | ~distance.isfinite()
        nan |= unusable
        closer = ~unusable & (distance < nearest)
        nearest = torch.where(closer, distance, nearest)
        best = torch.where(_as(closer, x), w, best)
    nearest = torch.where(nearest.isinf(), 0.0, nearest) + BEYOND
    shortest = best / _as(_length(best, norm) + TINY, x) if norm == "l2" else best.sign()
    return (_as(nearest, x) * shortest).to(x.dtype), nan


def _length(w: Tensor, norm: Norm) -> Tensor:
    """The norm that is dual to the one in which the change is to be small."""
    length: Tensor = torch.linalg.vector_norm(w.flatten(1), 2 if norm == "l2" else 1, dim=1)
    return length


def _as(values: Tensor, images: Tensor) -> Tensor:
    """One value an image, so that it broadcasts over its pixels."""
    return values.view(-1, *(1,) * (images.dim() - 1))
