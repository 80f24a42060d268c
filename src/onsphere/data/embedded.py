"""Data sets that need no files: scikit-learn's digits, and noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from onsphere.data.images import Data, Images
from onsphere.data.memory import measured


def digits(train_images: int | None = None, *, seed: int = 0) -> Data:
    """scikit-learn's handwritten digits: 1797 grey images of 8 x 8 pixels in 10 classes, written by 13 people.

    A fixed split, the same share of every class: 797 images to test, 1000 to learn from. The test set depends on
    neither argument.

    Args:
        train_images: how many of the 1000 are kept, as many of each class as can be; None keeps all.
        seed: which ones are kept.

    Raises:
        ValueError: if train_images is below 10 or above 1000.

    Pixels 0 ... 16 are scaled to 0 ... 255.

    Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI; ships with scikit-learn.

    >>> torch.bincount(digits(100).train.labels).tolist()
    [10, 10, 10, 10, 10, 10, 10, 10, 10, 10]
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    if train_images is not None and not 10 <= train_images <= 1000:
        raise ValueError(f"train_images={train_images}: expected 10 to 1000, or None for all 1000")
    source = load_digits()
    pixels = torch.from_numpy(np.rint(source.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(source.target.astype(np.int64))
    train, test = train_test_split(np.arange(len(labels)), test_size=797, random_state=0, stratify=source.target)
    if train_images is not None:
        train = _balanced(train, source.target[train], train_images, np.random.default_rng(seed))
    return measured(
        "digits",
        Images(pixels[train], labels[train]),
        Images(pixels[test], labels[test]),
        tuple(str(digit) for digit in range(10)),
    )


def _balanced(candidates: Any, labels: Any, count: int, random: np.random.Generator) -> Any:
    """Choose count candidates, taking one of each class in turn."""
    turn = np.empty(len(candidates), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        turn[members] = random.permutation(len(members))
    return candidates[np.lexsort((labels, turn))[:count]]


def noise(
    num_classes: int,
    image_size: int = 32,
    channels: int = 3,
    train_images: int = 256,
    test_images: int = 64,
    seed: int = 0,
) -> Data:
    """Random pixels with labels in turn: nothing can be learned from them, but every step of a training runs.

    Args:
        num_classes: labels are 0 ... num_classes - 1.
        image_size: height and width.
        channels: 1 is grey, 3 is colour.
        train_images: how many to learn from.
        test_images: how many to test on.
        seed: of the pixels.

    Raises:
        ValueError: if any of the numbers but the seed is below 1.

    >>> noise(10, image_size=8).train
    Images(256 of 3 x 8 x 8)
    """
    sizes = {
        "num_classes": num_classes,
        "image_size": image_size,
        "channels": channels,
        "train_images": train_images,
        "test_images": test_images,
    }
    for argument, value in sizes.items():
        if value < 1:
            raise ValueError(f"{argument}={value}: expected at least 1")
    generator = torch.Generator().manual_seed(seed)
    train, test = (
        Images(
            torch.randint(256, (count, channels, image_size, image_size), generator=generator, dtype=torch.uint8),
            torch.arange(count) % num_classes,
        )
        for count in (train_images, test_images)
    )
    return measured("noise", train, test, tuple(str(label) for label in range(num_classes)))
