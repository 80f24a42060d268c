"""Whether a data set is decoded into memory or stays in its files, and its mean and deviation either way."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from onsphere.data.decoding import Encoded, Fit, Size, decode_all, header, height_and_width
from onsphere.data.files import Files
from onsphere.data.images import Data, Images

# Fixed, so that the same folder gives the same pixels on every machine. TinyImageNet is 1.4 GB, and ImageNet of
# 32 x 32 pixels is 4 GB; ImageNet of 64 x 64 pixels and the full one are beyond it.
LIMIT = 6 * 2**30
FILES_SIZE = 256
SAMPLE = 2048
TEST = ("test", "validation", "val", "valid")
"""What the split to test on is called, in the order of preference."""

Split = tuple[Encoded, Tensor]


def fits(splits: Sequence[Encoded], image_size: Size | None) -> bool:
    """Whether the pixels stay below LIMIT, judged from the sizes of the first ones."""
    return sum(_pixels(encoded, image_size) * len(encoded) * 3 for encoded in splits) <= LIMIT


def _pixels(encoded: Encoded, image_size: Size | None) -> float:
    if image_size is not None:
        return math.prod(height_and_width(image_size))
    sizes = [header(encoded, index) for index in range(min(64, len(encoded)))]
    return sum(width * height for width, height in sizes) / len(sizes)


def kept(
    name: str,
    train: Split,
    test: Split,
    classes: Sequence[str],
    *,
    in_memory: bool,
    image_size: Size | None,
    fit: Fit,
) -> Data:
    """A data set of two encoded splits, decoded into memory or left as files."""
    for split, (encoded, labels) in (("train", train), ("test", test)):
        _check_labels(split, encoded, labels, len(classes))
    if not in_memory:
        size = FILES_SIZE if image_size is None else image_size
        return measured(name, Files(*train, size, fit), Files(*test, size, fit), classes)
    images = [decode_all(encoded, image_size, fit) for encoded, _ in (train, test)]
    if {split.shape[1] for split in images} == {1, 3}:  # every image of one split happens to be grey
        images = [split.expand(-1, 3, -1, -1).contiguous() for split in images]
    return measured(name, Images(images[0], train[1]), Images(images[1], test[1]), classes)


def _check_labels(split: str, encoded: Encoded, labels: Tensor, num_classes: int) -> None:
    """Raise a ValueError that names the first file whose label is none, before anything is decoded."""
    wrong = (labels < 0) | (labels >= num_classes)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"{encoded.where(row)}: label {int(labels[row])} in the {split} set: expected 0 to {num_classes - 1}"
        )


def measured(name: str, train: Images | Files, test: Images | Files, classes: Sequence[str]) -> Data:
    """A data set with the mean and standard deviation of its training pixels, of a sample of them for ``Files``."""
    # From the 256 counts: exact, and no float copy of the data set.
    images = train.images if isinstance(train, Images) else train.sample(SAMPLE)
    counts = torch.stack([_histogram(some) for some in torch.split(images, 4096)]).sum(0).cpu()
    levels = torch.arange(256, dtype=torch.float64) / 255
    share = counts / len(images) / (images.shape[2] * images.shape[3])
    mean = (share * levels).sum(1)
    std = (share * (levels - mean[:, None]).square()).sum(1).sqrt()
    return Data(name, train, test, len(classes), tuple(classes), tuple(mean.tolist()), tuple(std.tolist()))


def _histogram(images: Tensor) -> Tensor:
    """How often a channel has each of the 256 values, (C, 256)."""
    counts = [torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)]
    return torch.stack(counts).to(torch.float64)
