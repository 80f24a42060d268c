"""A data set on the device, and its batches: the same ones whatever the number of processes is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from onsphere.data import Data, Files
from onsphere.train.recipe import Recipe

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from onsphere.data import Images, TensorData, Tensors


@dataclass(frozen=True)
class Loaded:
    """A data set on the device, with what is applied to every batch of it; only images have a scale."""

    train: Images | Files | Tensors
    test: Images | Files | Tensors
    scale: Tensor | None
    shift: Tensor | None
    top1: Any
    top5: Any

    def normalize(self, images: Tensor) -> Tensor:
        if self.scale is None or self.shift is None:
            return images
        return torch.addcmul(self.shift, images.to(self.scale.dtype), self.scale)


class Batch(NamedTuple):
    """This process's part of a batch.

    Args:
        images: normalised; other examples as they are.
        labels: of these images.
        share: the mean over processes of share * (mean over the part) is the mean over the batch.
        all_labels: of the whole batch, the same on every process.
    """

    images: Tensor
    labels: Tensor
    share: float
    all_labels: Tensor


def load(data: Data | TensorData, device: torch.device) -> Loaded:
    from torchmetrics.classification import MulticlassAccuracy

    top1, top5 = (
        MulticlassAccuracy(data.num_classes, top_k=min(k, data.num_classes), average="micro", validate_args=False)
        for k in (1, 5)
    )
    train, test = data.train.to(device), data.test.to(device)
    scale = shift = None
    if isinstance(data, Data):
        mean, std = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (data.mean, data.std))
        std = std.clamp_min(1 / 255)  # a channel of one value only
        scale, shift = 1 / (255 * std), -mean / std
    return Loaded(train, test, scale, shift, top1.to(device), top5.to(device))


def batches(fabric: Fabric, recipe: Recipe, data: Loaded, seed: int, epoch: int, first: int = 0) -> Iterator[Batch]:
    """This process's part of every batch of an epoch.

    Order depends on seed and epoch only, and augmentation on these and the batch's number, so that every process draws
    the same batches, whatever their number is, and so that an epoch can be entered at any batch.

    Args:
        fabric: of the run.
        recipe: its batch size and augmentation are used.
        data: to draw from.
        seed: of the training.
        epoch: from 1.
        first: number of batches to leave out.
    """
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(_word(seed, epoch)))
    generator = torch.Generator(fabric.device)
    parts = order.to(fabric.device).tensor_split(steps_per_epoch(recipe, data))[first:]

    def prepare(indices: Tensor) -> Tensor:
        # Augmentation sees the whole batch, so that each image is changed as with one process.
        wanted = indices if recipe.augment is not None else _own(fabric, indices)
        return data.train.take(wanted)

    for number, (indices, images) in enumerate(_ahead(prepare, parts, data.train), start=first):
        if recipe.augment is not None:
            images = _own(fabric, recipe.augment(images, generator.manual_seed(_word(seed, epoch, number))))
        mine = _own(fabric, indices)
        share = len(mine) * fabric.world_size / len(indices)
        labels = data.train.labels
        yield Batch(data.normalize(images), labels[mine], share, labels[indices])


def steps_per_epoch(recipe: Recipe, data: Loaded) -> int:
    return math.ceil(len(data.train) / recipe.batch_size)


def total_steps(recipe: Recipe, data: Loaded) -> int:
    steps = recipe.epochs * steps_per_epoch(recipe, data)
    return steps if recipe.max_steps is None else min(steps, recipe.max_steps)


def _own(fabric: Fabric, batch: Tensor) -> Tensor:
    return batch.tensor_split(fabric.world_size)[fabric.global_rank]


def _ahead(
    prepare: Callable[[Tensor], Tensor], parts: Sequence[Tensor], split: Images | Files | Tensors
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every part with its images; those that must be decoded are while the batch before is trained on."""
    if not isinstance(split, Files):
        yield from ((part, prepare(part)) for part in parts)
        return
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(prepare, parts[0]) if parts else None
        for part, following in itertools.zip_longest(parts, parts[1:]):
            assert waiting is not None
            images = waiting.result()
            waiting = None if following is None else pool.submit(prepare, following)
            yield part, images


def _word(seed: int, *numbers: int) -> int:
    """A seed for a generator of torch's from several numbers."""
    return int(np.random.SeedSequence((seed % 2**32, *numbers)).generate_state(1, np.uint64)[0] >> np.uint64(1))
