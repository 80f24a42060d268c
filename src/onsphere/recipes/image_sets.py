"""The papers' image sets: where they are to be had, and what a recipe must know before they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from onsphere import data

NOISE = "noise"  # as a data set: random images of the right size, so that every step can be tried without data


@dataclass(frozen=True)
class ImageSet:
    """A public image set.

    Args:
        title: as the papers write it.
        hub: its name on the Hugging Face hub; None where it ships with a dependency, or must be a folder.
        classes: number of them, in an open set of those to train on.
        size: height and width of the images, in pixels.
        channels: of the images.
        train: number of training images.
        resized: the images have many sizes and are brought to this one.

    >>> CIFAR100.load("noise").train.shape
    (3, 32, 32)
    """

    title: str
    hub: str | None
    classes: int
    size: int
    channels: int
    train: int
    resized: bool = False

    def load(self, dataset: str, train_images: int | None = None, test_images: int | None = None) -> data.Data:
        """Read the set once: the rows of a comparison get the same object.

        Args:
            dataset: a folder, a name on the hub, or ``noise`` for random images.
            train_images: training images kept, the first ones; None for all (of noise: 256).
            test_images: test images kept, the first ones; None for all (of noise: 64).

        Raises:
            ValueError: if what is there has other images or classes, or fewer images than asked for.
            FileNotFoundError: if there is nothing.
        """
        return _load(self, dataset, train_images, test_images)


DIGITS = ImageSet("digits", None, classes=10, size=8, channels=1, train=1000)
MNIST = ImageSet("MNIST", "ylecun/mnist", classes=10, size=28, channels=1, train=60_000)
CIFAR10 = ImageSet("CIFAR-10", "uoft-cs/cifar10", classes=10, size=32, channels=3, train=50_000)
CIFAR100 = ImageSet("CIFAR-100", "uoft-cs/cifar100", classes=100, size=32, channels=3, train=50_000)
CIFAR: Mapping[int, ImageSet] = {each.classes: each for each in (CIFAR10, CIFAR100)}
TINY_IMAGENET = ImageSet("TinyImageNet", "zh-plus/tiny-imagenet", classes=200, size=64, channels=3, train=100_000)
IMAGENET = ImageSet("ImageNet", "ILSVRC/imagenet-1k", 1000, 256, 3, train=1_281_167, resized=True)
# Open sets; the numbers are those of the images trained on, when one of each identity is held out (CASIA: all).
OMNIGLOT = ImageSet("Omniglot", None, classes=964, size=32, channels=1, train=18_316, resized=True)
ORL = ImageSet("ORL faces", None, classes=30, size=64, channels=1, train=270, resized=True)
MINI_IMAGENET = ImageSet("mini-ImageNet", None, classes=64, size=84, channels=3, train=38_336, resized=True)
CASIA = ImageSet("CASIA-WebFace", None, classes=10_575, size=112, channels=3, train=494_414, resized=True)


# One is kept: the rows of a comparison share it, and the next comparison has another.
@lru_cache(maxsize=1)
def _load(images: ImageSet, dataset: str, train_images: int | None, test_images: int | None) -> data.Data:
    if dataset == NOISE:
        counts = {"train_images": train_images or 256, "test_images": test_images or 64}
        return data.noise(images.classes, images.size, images.channels, **counts)
    full = data.load(dataset, image_size=images.size if images.resized else None)
    shape = (images.channels, images.size, images.size)
    if full.train.shape != shape:
        given, expected = (" x ".join(map(str, sizes)) for sizes in (full.train.shape, shape))
        raise ValueError(f"dataset={dataset!r} has images of {given}: expected the {expected} of {images.title}")
    if full.num_classes != images.classes:
        raise ValueError(
            f"dataset={dataset!r} has {full.num_classes} classes: expected the {images.classes} of {images.title}"
        )
    return replace(full, train=_first(full.train, train_images), test=_first(full.test, test_images))


def _first(images: data.Images | data.Files, count: int | None) -> data.Images | data.Files:
    if count is None:
        return images
    if count > len(images):
        raise ValueError(f"{count} images were asked for, but there are {len(images)}")
    return images.select(torch.arange(count))


# One is kept: the rows of a comparison share it.
@lru_cache(maxsize=1)
def open_set(images: ImageSet, dataset: str, image_size: int, train_classes: int | None = None) -> data.OpenSet:
    """Identities to train on, as many as the set has, and images of others.

    Args:
        images: of an open set.
        dataset: a folder, or ``noise`` for random images of six identities and of four others.
        image_size: height and width that images are brought to.
        train_classes: of a set without a test set; None for one that has it.

    Raises:
        ValueError: if what is there has other numbers of identities.
        FileNotFoundError: if there is nothing.

    >>> open_set(OMNIGLOT, "noise", 16).unseen
    Images(16 of 1 x 16 x 16)
    """
    if dataset == NOISE:
        return data.open_set_noise(6, 4, image_size, channels=images.channels)
    made = data.open_set(dataset, image_size=image_size, channels=images.channels, train_classes=train_classes)
    classes = train_classes or images.classes
    if made.data.num_classes != classes or made.unseen is None:
        raise ValueError(
            f"dataset={dataset!r} has {made.data.num_classes} classes to train on and "
            f"{'none' if made.unseen is None else 'others'} unseen: expected the {classes} of {images.title}, "
            "and unseen ones"
        )
    return replace(made, data=replace(made.data, name=images.title))


@dataclass(frozen=True)
class FewOf:
    """Numbers of images a class where some classes have few: ``images`` of each, or a tenth of what they had.

    >>> FewOf((0,), images=5)(CIFAR10.load("noise"))[:2]
    (5, 26)
    """

    classes: tuple[int, ...]
    images: int | None = None

    def __call__(self, full: data.Data) -> tuple[int, ...]:
        return data.one_class_imbalance(full, classes=self.classes, images=self.images)


@lru_cache(maxsize=1)
def imbalanced(
    images: ImageSet,
    dataset: str,
    counts: Callable[[data.Data], tuple[int, ...]],
    train_images: int | None,
    test_images: int | None,
) -> data.Data:
    """The set with fewer training images of some classes, chosen at random and always the same.

    Args:
        images, dataset, train_images, test_images: as in ``ImageSet.load``.
        counts: gives the number of images of every class that are kept; equal ones give the same object.

    >>> imbalanced(CIFAR10, "noise", data.linear_imbalance, 100, None).train
    Images(55 of 3 x 32 x 32)
    """
    full = images.load(dataset, train_images, test_images)
    return data.imbalanced(full, counts(full))
