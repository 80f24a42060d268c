"""How well a model does under attack: accuracy, and how large the changes are that fool it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from onsphere.attacks.inputs import check_whole
from onsphere.attacks.least import deepfool
from onsphere.verification.extraction import Source, evaluated

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]
Progress = Callable[[int], None]
BATCH = 256


@runtime_checkable
class Labelled(Source, Protocol):
    """Images with their classes, such as ``onsphere.data.Images`` and ``onsphere.data.Files``."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64."""


Examples = Labelled | tuple[Tensor, Tensor] | Iterable[tuple[Tensor, Tensor]]


def robustness(
    model: nn.Module,
    data: Examples,
    attack: Attack | None,
    source: nn.Module | None = None,
    *,
    batch_size: int | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> float:
    r"""The accuracy of a model under attack, in per cent.

    .. math:: \frac{100}{N} \sum_i \big[\operatorname{arg\,max}_k f_k(\tilde{x}_i) = y_i\big], \qquad
        \tilde{x}_i = \text{attack}(\text{source}, x_i, y_i)

    Without a source the attacker has the model itself (white box). With one the adversarial images are made on that
    model, which the attacker has, and shown to this one, which he has not (black box, by transfer). Images whose logits
    are NaN count as not recognised. The model stays where it is and in the mode that it was in.

    Args:
        model: takes images in the units of the attack, such as :class:`Normalized` around a trained network.
        data: a labelled set such as ``onsphere.data.Images``; a pair of tensors, images (N, ...) and labels (N,); or
            batches of such pairs, such as a DataLoader. Images of uint8 are divided by 255.
        attack: called with a model, images and labels: :func:`fgsm`, ``partial(bim, steps=10)``, :func:`deepfool`. None
            for the accuracy without attack.
        source: the model that the adversarial images are made on; None for the model itself.
        batch_size: images at a time; None for 256. Batches that come as they are cannot be given another.
        limit: how many images; None for all. Of a set a random choice, always the same, of batches the first ones.
        progress: called after every batch with the number of images done.

    Raises:
        ValueError: there is no image, or a number is out of range; whatever the attack finds wrong.

    Source: thesis, section 4.6.2 and C.1.3; Tramèr et al. 2018, *Ensemble adversarial training*.

    >>> from onsphere.attacks import fgsm
    >>> model = nn.Linear(2, 2)
    >>> _ = model.load_state_dict({"weight": torch.eye(2), "bias": torch.zeros(2)})
    >>> data = (torch.tensor([[0.51, 0.5], [0.1, 0.9]]), torch.tensor([0, 1]))
    >>> robustness(model, data, None), robustness(model, data, fgsm)
    (100.0, 50.0)
    """
    right = done = 0
    for images, labels in _batches(model, data, batch_size, limit):
        if attack is not None:
            images = attack(model if source is None else source, images, labels)
        right += int((predicted(model, images) == labels).sum())
        done += len(labels)
        if progress is not None:
            progress(done)
    return 100 * right / _some(done)


@dataclass(frozen=True, eq=False)
class Strengths:
    """How far every image was changed.

    Args:
        l2: (N,) Euclidean lengths of the changes, float64, in the units of the images.
        linf: (N,) the changes of the pixels that changed most.
        fooled: (N,) whether the model then gave another class.

    >>> found = Strengths(torch.tensor([3.0, 1.0]), torch.tensor([2.0, 1.0]), torch.tensor([True, False]))
    >>> found.sorted("l2")
    tensor([3., inf])
    """

    l2: Tensor
    linf: Tensor
    fooled: Tensor

    def sorted(self, norm: Literal["l2", "linf"]) -> Tensor:
        """The curve of Figure C.1: strengths in rising order, infinite for images that were not fooled."""
        if norm not in ("l2", "linf"):
            raise ValueError(f"norm={norm!r}: expected 'l2' or 'linf'")
        values = self.l2 if norm == "l2" else self.linf
        return torch.where(self.fooled, values, torch.inf).sort().values

    def median(self, norm: Literal["l2", "linf"]) -> float:
        """What fools half of the images: the middle of :meth:`sorted`, of two middle ones the smaller."""
        return float(self.sorted(norm).median())


def strengths(
    model: nn.Module,
    data: Examples,
    attack: Attack = deepfool,
    *,
    batch_size: int | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Strengths:
    r"""How strong a change must be to fool a model: what an attack changes of every image to get it out of its class.

    .. math:: \|\tilde{x}_i - x_i\|_2, \qquad \|\tilde{x}_i - x_i\|_\infty

    The class is the one that the model itself gives, right or wrong.

    Args:
        model, data, batch_size, limit, progress: as in :func:`robustness`.
        attack: called with the model, images and classes; :func:`deepfool` looks for the smallest Euclidean change,
            ``partial(deepfool, norm="linf")`` for the smallest one of the pixel that changes most.

    Returns:
        the strengths, on the CPU.

    Raises:
        ValueError: as :func:`robustness`.

    Source: thesis, C.3 and Figure C.1.

    >>> model = nn.Linear(2, 2)
    >>> _ = model.load_state_dict({"weight": torch.eye(2), "bias": torch.zeros(2)})
    >>> found = strengths(model, (torch.tensor([[0.5, 0.2], [0.5, 0.4]]), torch.tensor([0, 0])))
    >>> found.sorted("l2").round(decimals=2).tolist(), found.fooled.all().item()
    ([0.07, 0.22], True)
    """
    lengths: list[Tensor] = []
    for images, _ in _batches(model, data, batch_size, limit):
        classes = predicted(model, images)
        changed = attack(model, images, classes)
        change = (changed - images).flatten(1).cpu().double()
        both = [torch.linalg.vector_norm(change, order, dim=1) for order in (2, torch.inf)]
        lengths.append(torch.stack([*both, (predicted(model, changed) != classes).cpu().double()]))
        if progress is not None:
            progress(sum(part.shape[1] for part in lengths))
    _some(len(lengths))
    l2, linf, fooled = torch.cat(lengths, 1)
    return Strengths(l2, linf, fooled.bool())


def predicted(model: nn.Module, images: Tensor) -> Tensor:
    """The class of every image, (N,); -1 where the model gives NaN, which is no class.

    Args:
        model: gives logits (N, C); it is in evaluation mode for it, and afterwards in the mode that it was in.
        images: (N, ...).
    """
    with evaluated(model), torch.no_grad():
        logits: Tensor = model(images)
    return torch.where(logits.isnan().any(1), -1, logits.argmax(1))


def _some(count: int) -> int:
    if not count:
        raise ValueError("there are no images")
    return count


def _batches(
    model: nn.Module, data: Examples, batch_size: int | None, limit: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and labels on the model's device; images of uint8 as pixels from 0 to 1 of the model's type."""
    for name, value in (("batch_size", batch_size), ("limit", limit)):
        if value is not None:
            check_whole(name, value, 1)
    weight = next((parameter for parameter in model.parameters() if parameter.is_floating_point()), None)
    for images, labels in _taken(data, batch_size, limit):
        if weight is not None:
            images, labels = images.to(weight.device), labels.to(weight.device)
        if images.dtype == torch.uint8:
            images = images.to(torch.float32 if weight is None else weight.dtype) / 255
        yield images, labels


def _taken(data: Examples, batch_size: int | None, limit: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    if isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], Tensor) and isinstance(data[1], Tensor):
        pixels, labels = data
        if len(pixels) != len(labels):
            raise ValueError(f"{len(pixels)} images and {len(labels)} labels: expected one an image")
        yield from _of_set(lambda indices: pixels[indices.to(pixels.device)], labels, batch_size, limit)
    elif isinstance(data, Labelled):
        yield from _of_set(data.take, data.labels, batch_size, limit)
    else:
        if batch_size is not None:
            raise ValueError(f"batch_size={batch_size} for data that come in batches: expected None")
        left = limit
        for images, labels in data:
            yield images[:left], labels[:left]
            left = None if left is None else left - len(labels)
            if left is not None and left <= 0:
                break


def _of_set(
    take: Callable[[Tensor], Tensor], labels: Tensor, batch_size: int | None, limit: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    count = len(labels)
    wanted = chosen(count, limit)
    for indices in torch.split(wanted, batch_size or BATCH) if count else ():
        yield take(indices), labels[indices.to(labels.device)]


def chosen(count: int, limit: int | None) -> Tensor:
    """Which of so many images are looked at: all, or as many as the limit says, at random, though always the same.

    Sets on disk are often sorted by class, or go through the classes in turn, so that neither the first ones nor every
    so many-th would do.

    >>> chosen(3, None).tolist(), len(chosen(1000, 10).unique())
    ([0, 1, 2], 10)
    """
    if limit is None or limit >= count:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:limit].sort().values
