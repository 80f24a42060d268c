"""A data set on the device, and its batches: the same ones whatever the number of processes is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from onsphere.data import Data, Images
from onsphere.train.recipe import Recipe

if TYPE_CHECKING:
    from lightning.fabric import Fabric


@dataclass(frozen=True)
class Loaded:
    """A data set on the device, with what is applied to every batch of it."""

    train: Images
    test: Images
    scale: Tensor
    shift: Tensor
    top1: Any
    top5: Any

    def normalize(self, images: Tensor) -> Tensor:
        return torch.addcmul(self.shift, images.to(self.scale.dtype), self.scale)


def load(data: Data, device: torch.device) -> Loaded:
    from torchmetrics.classification import MulticlassAccuracy

    mean, std = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (data.mean, data.std))
    std = std.clamp_min(1 / 255)  # a channel of one value only
    top1, top5 = (
        MulticlassAccuracy(data.num_classes, top_k=min(k, data.num_classes), average="micro", validate_args=False)
        for k in (1, 5)
    )
    train, test = (Images(split.images.to(device), split.labels.to(device)) for split in (data.train, data.test))
    return Loaded(train, test, 1 / (255 * std), -mean / std, top1.to(device), top5.to(device))


def batches(
    fabric: Fabric, recipe: Recipe, data: Loaded, seed: int, epoch: int
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """This process's part of every batch of an epoch: normalised images, labels, and its share.

    Order and augmentation depend on seed and epoch only, so that every process draws the same batches, whatever their
    number is. The mean over processes of share * (mean over the part) is the mean over the batch.
    """
    words = np.random.SeedSequence((seed % 2**32, epoch)).generate_state(2, np.uint64) >> np.uint64(1)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(int(words[0])))
    generator = torch.Generator(fabric.device).manual_seed(int(words[1]))
    for indices in order.to(fabric.device).tensor_split(steps_per_epoch(recipe, data)):
        mine = indices.tensor_split(fabric.world_size)[fabric.global_rank]
        if recipe.augment is None:
            images = data.train.images[mine]
        else:  # the whole batch, so that each image is changed as with one process
            images = recipe.augment(data.train.images[indices], generator)
            images = images.tensor_split(fabric.world_size)[fabric.global_rank]
        yield data.normalize(images), data.train.labels[mine], len(mine) * fabric.world_size / len(indices)


def steps_per_epoch(recipe: Recipe, data: Loaded) -> int:
    return math.ceil(len(data.train) / recipe.batch_size)
