"""Folders of image files: a folder a class, and TinyImageNet's list of validation labels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from onsphere.data.decoding import Fit
from onsphere.data.images import Data
from onsphere.data.memory import TEST, Split, fits, kept

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class Paths:
    """Image files."""

    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> bytes:
        try:
            return Path(self.paths[index]).read_bytes()
        except FileNotFoundError as error:
            raise FileNotFoundError(f"no file {self.paths[index]!r}, which was there when it was listed") from error

    def where(self, index: int) -> str:
        return repr(self.paths[index])


def image_folder(
    folder: str | Path,
    *,
    name: str | None = None,
    test_split: str | None = None,
    image_size: int | None = None,
    fit: Fit = "crop",
    in_memory: bool | None = None,
) -> Data:
    """A data set from image files in folders named after their classes, as Hugging Face and ImageNet lay them out.

    Args:
        folder: holds train/CLASS/... and test/CLASS/... (or validation, val, valid); or TinyImageNet's train/,
            val/images and val/val_annotations.txt. Below CLASS, images may lie in folders.
        name: as it shall stand in tables; by default the folder's name.
        test_split: the folder to test on; by default the first of test, validation, val and valid with labels.
        image_size: resize every image to this size; needed where sizes differ and the set is kept in memory.
        fit: how to resize, see ``Files``.
        in_memory: decode everything once (True) or each batch as it is taken (False, 256 pixels unless image_size is
            given); by default in memory while the pixels stay below 6 GiB.

    Raises:
        FileNotFoundError: if the folder, a split or a listed file is missing.
        ValueError: if an image cannot be decoded or has another size, or a class is unknown.

    Classes are numbered in alphabetical order. Where words.txt translates them (WordNet numbers), their names are its
    words.

    >>> image_folder("no/such/folder")
    Traceback (most recent call last):
        ...
    FileNotFoundError: no folder 'no/such/folder': expected one with train/CLASS and test/CLASS
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {str(folder)!r}: expected one with train/CLASS and test/CLASS")
    where = folder / "train"
    if not where.is_dir():
        raise FileNotFoundError(f"no folder 'train' in {str(folder)!r}")
    classes = subfolders(where)
    if not classes:
        raise FileNotFoundError(f"no folder of a class in {str(where)!r}")
    train = by_class(where, classes)
    if missing := set(range(len(classes))) - set(train[1].tolist()):
        raise FileNotFoundError(f"no image in {str(where / classes[min(missing)])!r}")
    test = _test_split(folder, classes, test_split)
    if in_memory is None:
        in_memory = fits([train[0], test[0]], image_size)
    return kept(
        name or folder.resolve().name,
        train,
        test,
        _words(folder, classes),
        in_memory=in_memory,
        image_size=image_size,
        fit=fit,
    )


def subfolders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."))


def by_class(folder: Path, classes: tuple[str, ...]) -> Split:
    paths: list[str] = []
    labels: list[int] = []
    for name in subfolders(folder):
        if name not in classes:
            raise ValueError(f"{str(folder / name)!r}: class {name!r} has no folder in the training set")
    for label, name in enumerate(classes):
        found = sorted(
            os.path.join(parent, file)
            for parent, _, files in os.walk(folder / name)
            for file in files
            if os.path.splitext(file)[1].lower() in SUFFIXES and file[0] != "."
        )
        paths += found
        labels += [label] * len(found)
    if not paths:
        raise FileNotFoundError(f"no image in the class folders of {str(folder)!r}")
    return Paths(tuple(paths)), torch.tensor(labels, dtype=torch.int64)


def _test_split(folder: Path, classes: tuple[str, ...], wanted: str | None) -> Split:
    names = TEST if wanted is None else (wanted,)
    for split in names:
        where = folder / split
        if (where / "val_annotations.txt").is_file():
            return _annotated(where, classes)
        # A folder without any class, as TinyImageNet's test/images, has no labels.
        if where.is_dir() and (wanted is not None or set(subfolders(where)) & set(classes)):
            return by_class(where, classes)
    raise FileNotFoundError(
        f"no folder {' or '.join(map(repr, names))} with the classes of the training set in {str(folder)!r}"
    )


def _annotated(folder: Path, classes: tuple[str, ...]) -> Split:
    """TinyImageNet's validation set: a line an image, its file and class first, separated by tabs."""
    listing = folder / "val_annotations.txt"
    numbers = {name: label for label, name in enumerate(classes)}
    paths: list[str] = []
    labels: list[int] = []
    for row, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), start=1):
        file, *rest = line.split("\t")
        if not rest:
            raise ValueError(f"{str(listing)!r}, line {row}: {line!r}: expected a file, a tab and its class")
        if rest[0] not in numbers:
            raise ValueError(f"{str(listing)!r}, line {row}: class {rest[0]!r} has no folder in the training set")
        path = folder / "images" / file
        if not path.is_file():
            raise FileNotFoundError(f"no file {str(path)!r}, which {str(listing)!r} names in line {row}")
        paths.append(str(path))
        labels.append(numbers[rest[0]])
    return Paths(tuple(paths)), torch.tensor(labels, dtype=torch.int64)


def _words(folder: Path, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The classes' names, translated by words.txt where there is one."""
    listing = folder / "words.txt"
    if not listing.is_file():
        return classes
    pairs = (line.split("\t", 1) for line in listing.read_text(encoding="utf-8").splitlines())
    words = {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}
    return tuple(words.get(name, name) for name in classes)
