"""Open sets: identities to train on, and images of others that nobody has seen, to compare with each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from onsphere.data.decoding import Encoded, Fit, Size, decode_all, grey, height_and_width
from onsphere.data.files import Files
from onsphere.data.folders import by_class, subfolders
from onsphere.data.images import Data, Images
from onsphere.data.memory import FILES_SIZE, TEST, fits, measured
from onsphere.data.parquet_files import has_parquet, mapped, read_split

__all__ = ["OpenSet", "identities", "open_set", "open_set_noise"]


@dataclass(frozen=True)
class OpenSet:
    """Identities to train on, and images of identities that are not among them.

    Args:
        data: its ``train`` is what is trained on; its ``test`` are held-out images of the same identities, for the
            accuracy among them (closed set).
        unseen: images of other identities; their labels, 0 ... U - 1, say which are of one identity and are no classes
            of ``data``. None where the set has no others, so that pairs must come from elsewhere.

    Raises:
        ValueError: if the unseen images have another size than the others, or are of one identity only.

    Source: thesis, section 2.3 (open-set protocol: the identities of the test are disjoint from those of the training).

    >>> made = open_set_noise(5, 3, image_size=8)
    >>> made.data.train, made.data.test, made.unseen, made.unseen.labels.unique().tolist()
    (Images(15 of 3 x 8 x 8), Images(5 of 3 x 8 x 8), Images(12 of 3 x 8 x 8), [0, 1, 2])
    """

    data: Data
    unseen: Images | Files | None = None

    def __post_init__(self) -> None:
        if self.unseen is None:
            return
        if self.unseen.shape != self.data.train.shape:
            raise ValueError(
                f"{self.data.name}: the unseen images are {self.unseen} but those to train on are {self.data.train}: "
                "expected the same size"
            )
        if len(_numbers(self.unseen.labels)) < 2:
            raise ValueError(f"{self.data.name}: {len(self.unseen)} unseen images are of one identity: expected two")


def open_set(
    folder: str | Path,
    *,
    train_classes: int | None = None,
    held_out: int = 1,
    label: str | None = None,
    name: str | None = None,
    image_size: Size | None = None,
    channels: int | None = None,
    fit: Fit = "crop",
    in_memory: bool | None = None,
) -> OpenSet:
    """An open set from a folder with one of four layouts.

    ====================================================  ============================================
    In the folder, or in its subfolder ``data``            Unseen
    ====================================================  ============================================
    train-*.parquet and test-*.parquet, disjoint classes   all of the test set (Omniglot)
    train-*.parquet alone                                  the classes behind the first ``train_classes``
    train/IDENTITY/... and test/IDENTITY/..., disjoint     all of the test set
    IDENTITY/..., or train/IDENTITY/... alone              the folders behind the first ``train_classes``
    ====================================================  ============================================

    Instead of test it may be validation, val or valid. Labels of the identities to train on become 0 ... C - 1 in their
    order (folders: alphabetical, with numbers as digits), those of the unseen ones 0 ... U - 1.

    Args:
        folder: see above.
        train_classes: how many identities of a set without a test set are trained on, the first ones; None for all of
            them, and then nothing is unseen.
        held_out: images of every identity to train on that are left for the closed-set test, drawn at random and always
            the same ones; an identity with no more than so many keeps them all for training.
        label: the column of labels of parquet files; by default ``label``, or ``fine_label`` where there is none.
        name: as it shall stand in tables; by default the folder's name.
        image_size: resize every image to this height and width (or one number for both); needed where sizes differ and
            the set is kept in memory.
        channels: 1 makes every image grey, 3 makes it colour; by default grey where all images are.
        fit: how to resize, see ``Files``.
        in_memory: decode everything once (True) or each batch as it is taken (False; in colour, 256 pixels unless
            image_size is given); by default in memory while the pixels stay below 6 GiB.

    Raises:
        FileNotFoundError: if the folder is missing or has none of the layouts.
        ValueError: if the classes of train and test are not disjoint, a number is out of range, an argument has no
            meaning for what is there, or an image cannot be decoded.

    >>> open_set("no/such/folder")
    Traceback (most recent call last):
        ...
    FileNotFoundError: no folder 'no/such/folder': expected one with parquet files or folders of identities
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {str(folder)!r}: expected one with parquet files or folders of identities")
    _check(train_classes, held_out, image_size, channels)
    is_parquet = has_parquet(folder)
    if label is not None and not is_parquet:
        raise ValueError(f"label={label!r} has no meaning for the image files in {str(folder)!r}")
    splits, names = _parquet(folder, label) if is_parquet else _folders(folder)
    rows = _rows(folder, splits, train_classes)
    if in_memory is None:
        in_memory = fits([encoded for encoded, _ in splits], image_size)
    if channels == 1 and not in_memory:
        raise ValueError("channels=1 needs in_memory=True: images that are decoded in batches come in colour")
    whole: list[Images | Files] = []
    for encoded, labels in splits:
        if in_memory:
            whole.append(Images(decode_all(encoded, image_size, fit), labels))
        else:
            size = FILES_SIZE if image_size is None else image_size
            whole.append(Files(mapped(encoded) if is_parquet else encoded, labels, size, fit))  # type: ignore[arg-type]
    sets = _same_channels([whole[split].select(indices) for split, indices in rows], channels)
    known = _numbers(sets[0].labels).tolist()
    train, test = _held_out(_renumbered(sets[0]), held_out)
    classes = tuple(names[number] if names else str(number) for number in known)
    data = measured(name or folder.resolve().name, train, test, classes)
    return OpenSet(data, _renumbered(sets[1]) if len(sets) > 1 else None)


def _check(train_classes: int | None, held_out: int, image_size: Size | None, channels: int | None) -> None:
    for argument, value in (("train_classes", train_classes), ("held_out", held_out)):
        if value is not None and value < 1:
            raise ValueError(f"{argument}={value}: expected at least 1")
    if image_size is not None and min(height_and_width(image_size)) < 1:
        raise ValueError(f"image_size={image_size}: expected at least 1 pixel")
    if channels not in (None, 1, 3):
        raise ValueError(f"channels={channels}: expected 1, 3 or None")


Splits = list[tuple[Encoded, Tensor]]


def _parquet(folder: Path, label: str | None) -> tuple[Splits, tuple[str, ...] | None]:
    """Training split, test split if there is one, and the names of all classes, whose numbers both splits share."""
    train, labels, names = read_split(folder, ("train",), label)
    where = folder / "data" if (folder / "data").is_dir() else folder
    if not any(any(where.glob(f"{split}-*.parquet")) for split in TEST):
        return [(train, labels)], names
    test, test_labels, _ = read_split(folder, TEST, label)
    return [(train, labels), (test, test_labels)], names


def _folders(folder: Path) -> tuple[Splits, tuple[str, ...] | None]:
    test = next((folder / split for split in TEST if (folder / split).is_dir()), None)
    if (folder / "train").is_dir() and test is not None:
        seen, unseen = subfolders(folder / "train"), subfolders(test)
        names = (*seen, *(name for name in unseen if name not in seen))
        encoded, labels = by_class(test, unseen)
        numbers = torch.tensor([names.index(name) for name in unseen])
        return [by_class(folder / "train", seen), (encoded, numbers[labels])], names
    alone = folder / "train" if (folder / "train").is_dir() and subfolders(folder / "train") else folder
    names = subfolders(alone)
    if not names:
        raise FileNotFoundError(f"no parquet file and no folder of an identity in {str(folder)!r}")
    return [by_class(alone, names)], names


def _rows(folder: Path, splits: Splits, train_classes: int | None) -> list[tuple[int, Tensor]]:
    """Which images of which split are trained on, and which are unseen, if any."""
    if len(splits) == 2:
        (_, train), (_, test) = splits
        shared = sorted(set(train.tolist()) & set(test.tolist()))
        if shared:
            raise ValueError(
                f"{str(folder)!r}: {len(shared)} classes are in the training set and in the test set, label "
                f"{shared[0]} first: expected disjoint ones"
            )
        if train_classes is not None:
            raise ValueError(f"train_classes={train_classes} has no meaning for {str(folder)!r}, which has a test set")
        return [(split, torch.arange(len(labels))) for split, (_, labels) in enumerate(splits)]
    ((_, labels),) = splits
    numbers = _numbers(labels)
    if train_classes is None:
        return [(0, torch.arange(len(labels)))]
    if len(numbers) < train_classes + 2:
        raise ValueError(
            f"train_classes={train_classes}: {str(folder)!r} has {len(numbers)} classes: expected at least two more"
        )
    seen = labels < numbers[train_classes]
    return [(0, seen.nonzero().flatten()), (0, (~seen).nonzero().flatten())]


def _same_channels(sets: Sequence[Images | Files], channels: int | None) -> list[Images | Files]:
    found = {images.shape[0] for images in sets}
    wanted = max(found) if channels is None else channels
    return [_recoloured(images, wanted) if isinstance(images, Images) else images for images in sets]


def _recoloured(images: Images, channels: int) -> Images:
    have = images.shape[0]
    if have == channels:
        return images
    if channels == 3:
        return Images(images.images.expand(-1, 3, -1, -1).contiguous(), images.labels)
    parts = [grey(part) for part in torch.split(images.images, 512)]  # the floats between are large
    return Images(torch.cat(parts), images.labels)


def _numbers(labels: Tensor) -> Tensor:
    """The labels that there are, ascending."""
    return labels.bincount().nonzero().flatten()


def _renumbered(images: Images | Files) -> Images | Files:
    """The same images with labels 0, 1, ... in the order of the old ones."""
    labels = torch.searchsorted(_numbers(images.labels), images.labels)
    if isinstance(images, Images):
        return Images(images.images, labels)
    return Files(images.encoded, labels, images.size, images.fit, images.device, images.rows)


def _held_out(images: Images | Files, count: int) -> tuple[Images | Files, Images | Files]:
    """Images to train on, and count images of every class that has more than that."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    by_label = order[images.labels[order].argsort(stable=True)]
    sizes = images.labels.bincount()
    starts = sizes.cumsum(0) - sizes
    labels = images.labels[by_label]
    first = torch.arange(len(images)) - starts[labels] < count
    held = first & (sizes[labels] > count)
    if not held.any():
        raise ValueError(
            f"held_out={count}: no class has more than {int(sizes.max())} images: expected fewer, so that some are left"
        )
    return images.select(by_label[~held].sort().values), images.select(by_label[held].sort().values)


def identities(folder: str | Path, image_size: Size, fit: Fit = "crop") -> Files:
    """Images in a folder of folders, one an identity: to compare with each other, decoded as they are taken.

    Args:
        folder: holds IDENTITY/... with image files, such as FaceScrub, or a part of MegaFace's distractors.
        image_size: to which every image is brought, height and width or one number for both.
        fit: how to resize, see ``Files``.

    Raises:
        FileNotFoundError: if the folder is missing or holds no images in folders.

    >>> identities("no/such/folder", 112)
    Traceback (most recent call last):
        ...
    FileNotFoundError: no folder 'no/such/folder': expected one with folders of identities
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {str(folder)!r}: expected one with folders of identities")
    return Files(*by_class(folder, subfolders(folder)), image_size, fit)


def open_set_noise(
    num_classes: int,
    unseen_classes: int,
    image_size: Size = 32,
    channels: int = 3,
    images_per_class: int = 4,
    seed: int = 0,
) -> OpenSet:
    """Random pixels as an open set: nothing can be learned from them, but every step of a training runs.

    Args:
        num_classes: identities to train on.
        unseen_classes: other identities, at least two.
        image_size: height and width, or one number for both.
        channels: 1 is grey, 3 is colour.
        images_per_class: of every identity, one of which is held out of those to train on; at least two.
        seed: of the pixels.

    Raises:
        ValueError: if a number is too small.

    >>> open_set_noise(4, 2, image_size=(12, 8), channels=1).data
    Data(name='noise', train=Images(12 of 1 x 12 x 8), test=Images(4 of 1 x 12 x 8), num_classes=4, ...
    """
    least = {"num_classes": 1, "unseen_classes": 2, "channels": 1, "images_per_class": 2}
    given = {"num_classes": num_classes, "unseen_classes": unseen_classes}
    for argument, value in (given | {"channels": channels, "images_per_class": images_per_class}).items():
        if value < least[argument]:
            raise ValueError(f"{argument}={value}: expected at least {least[argument]}")
    if min(height_and_width(image_size)) < 1:
        raise ValueError(f"image_size={image_size}: expected at least 1 pixel")
    generator = torch.Generator().manual_seed(seed)
    shape = (channels, *height_and_width(image_size))
    seen, unseen = (
        Images(
            torch.randint(256, (count * images_per_class, *shape), generator=generator, dtype=torch.uint8),
            torch.arange(count).repeat_interleave(images_per_class),
        )
        for count in (num_classes, unseen_classes)
    )
    train, test = _held_out(seen, 1)
    return OpenSet(measured("noise", train, test, tuple(str(label) for label in range(num_classes))), unseen)
