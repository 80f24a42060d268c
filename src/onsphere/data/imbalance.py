"""Training sets with few images of some classes, as the thesis makes them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from onsphere.data.images import Data
from onsphere.data.memory import measured


def imbalanced(data: Data, counts: Sequence[int], seed: int = 0) -> Data:
    """Keep counts[c] training images of class c, chosen at random; the test set stays as it is.

    Args:
        data: the full data set.
        counts: one number a class.
        seed: of the choice, which depends on nothing else; keeping fewer of a class keeps a part of the same images.

    Raises:
        ValueError: if counts has another length than data has classes, is negative, or asks for more than there are.

    ``mean`` and ``std`` are those of the images that are left: a learner has not seen the others.

    >>> from onsphere.data import digits
    >>> few = imbalanced(digits(), [10] + [90] * 9)
    >>> torch.bincount(few.train.labels).tolist()
    [10, 90, 90, 90, 90, 90, 90, 90, 90, 90]
    """
    if len(counts) != data.num_classes:
        raise ValueError(
            f"{len(counts)} counts for the {data.num_classes} classes of {data.name}: expected one a class"
        )
    labels = data.train.labels.cpu()
    generator = torch.Generator().manual_seed(seed)
    kept = []
    for label, count in enumerate(counts):
        members = (labels == label).nonzero().flatten()
        if not 0 <= count <= len(members):
            raise ValueError(f"{count} images of class {label} of {data.name}: expected 0 to {len(members)}")
        kept.append(members[torch.randperm(len(members), generator=generator)[:count]])
    return measured(data.name, data.train.select(torch.cat(kept).sort().values), data.test, data.classes)


def one_class_imbalance(
    data: Data, *, classes: Sequence[int] = (0,), share: float | None = None, images: int | None = None
) -> tuple[int, ...]:
    """Numbers of images a class where a few classes have few of them: a share of what they had, or so many images.

    Args:
        data: the full data set.
        classes: which ones have few.
        share: what is kept of them, rounded to whole images; 0.1 where ``images`` is not given.
        images: how many images are kept of each of them.

    Raises:
        ValueError: if both share and images are given, share is outside 0 to 1, or a class is unknown.

    Source: thesis D.1 for CIFAR-10 (a tenth of class 0: 45,500 images are left), D.8 for CIFAR-100 (a tenth of the
    classes 0 to 9), 5.5.1 for MNIST (digit 0): "throw away 98% training data for digit 0 in MNIST (only 100 samples
    are preserved for digit 0)". 2 % of the 5923 zeros would be 118; ``images=100`` is the number that the text gives.

    >>> from onsphere.data import noise
    >>> one_class_imbalance(noise(4, train_images=80))
    (2, 20, 20, 20)
    """
    if share is not None and images is not None:
        raise ValueError(f"share={share} and images={images}: expected one of them")
    share = 0.1 if share is None else share
    if not 0 <= share <= 1:
        raise ValueError(f"share={share}: expected 0 to 1")
    counts = _class_sizes(data)
    for label in classes:
        if not 0 <= label < data.num_classes:
            raise ValueError(f"class {label} of {data.name}: expected 0 to {data.num_classes - 1}")
        counts[label] = round(share * counts[label]) if images is None else images
    return tuple(counts)


def linear_imbalance(data: Data, *, step: int | None = None) -> tuple[int, ...]:
    """Numbers of images a class that grow with the class: step * (c + 1) of class c.

    Args:
        data: the full data set.
        step: images of class 0; by default the largest one with which the last class has enough images.

    Raises:
        ValueError: if step is below 1.

    Source: thesis D.1 for CIFAR-10, 500 (c + 1), which leaves 27,500 images; D.8 for CIFAR-100, 5 (c + 1).

    >>> from onsphere.data import noise
    >>> linear_imbalance(noise(4, train_images=80))
    (5, 10, 15, 20)
    """
    if step is None:
        step = min(size // (label + 1) for label, size in enumerate(_class_sizes(data)))
    if step < 1:
        raise ValueError(f"step={step} for the {data.num_classes} classes of {data.name}: expected at least 1")
    return tuple(step * (label + 1) for label in range(data.num_classes))


def _class_sizes(data: Data) -> list[int]:
    return torch.bincount(data.train.labels, minlength=data.num_classes).tolist()
