"""Labelled image sets held in memory: scikit-learn's digits, MNIST's IDX files, parquet files; and augmentation."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Data", "Images", "augment", "digits", "mnist", "parquet"]


@dataclass(frozen=True)
class Images:
    """A labelled image set held in memory.

    Args:
        images: (N, C, H, W), uint8.
        labels: (N,), int64.

    Raises:
        ValueError: if shapes or types are others, or if the numbers of images and labels differ.

    >>> Images(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 1]))
    Images(3 of 1 x 8 x 8)
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.dim() != 4:
            raise ValueError(
                f"images of shape {tuple(self.images.shape)} and type {self.images.dtype}: "
                "expected (N, C, H, W), torch.uint8"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            shape = tuple(self.labels.shape)
            raise ValueError(
                f"labels of shape {shape} and type {self.labels.dtype}: expected ({len(self.images)},), torch.int64"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Images({len(self)} of {' x '.join(map(str, self.images.shape[1:]))})"


@dataclass(frozen=True)
class Data:
    """A data set: training and test images, class names, and the training pixels' mean and deviation per channel.

    Args:
        name: as it shall stand in tables.
        train: images to learn from.
        test: images to measure accuracy on.
        num_classes: labels are 0 ... num_classes - 1.
        classes: the classes' names.
        mean: per channel, of the training pixels scaled to [0, 1].
        std: likewise, the standard deviation.

    Raises:
        ValueError: if a set is empty, a label is out of range, or the images' sizes differ.

    >>> data = digits(200)
    >>> data.train, data.test, data.num_classes
    (Images(200 of 1 x 8 x 8), Images(797 of 1 x 8 x 8), 10)
    """

    name: str
    train: Images
    test: Images
    num_classes: int
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.classes) != self.num_classes:
            raise ValueError(f"{self.name}: {len(self.classes)} class names for num_classes={self.num_classes}")
        for split, images in (("train", self.train), ("test", self.test)):
            if len(images) == 0:
                raise ValueError(f"{self.name}: the {split} set has no images")
            wrong = (images.labels < 0) | (images.labels >= self.num_classes)
            if wrong.any():
                row = int(wrong.nonzero()[0])
                raise ValueError(
                    f"{self.name}: the {split} set's image {row} has label {int(images.labels[row])}: "
                    f"expected 0 to {self.num_classes - 1}"
                )
        if self.train.images.shape[1:] != self.test.images.shape[1:]:
            raise ValueError(f"{self.name}: train is {self.train} but test is {self.test}: expected the same size")


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
    return _data(
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


def mnist(folder: str | Path) -> Data:
    """MNIST, or Fashion-MNIST, which has the same format: 60,000 + 10,000 grey images of 28 x 28 pixels.

    Args:
        folder: holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
            t10k-labels-idx1-ubyte, each as it is or with .gz.

    Raises:
        FileNotFoundError: if the folder or a file is missing.
        ValueError: if a file is not IDX, is cut short, or if labels are out of range.

    Source: http://yann.lecun.com/exdb/mnist (format); Debian's package dataset-fashion-mnist has the other one.

    >>> mnist("no/such/folder")
    Traceback (most recent call last):
        ...
    FileNotFoundError: no folder 'no/such/folder': expected one with train-images-idx3-ubyte.gz and three more
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {str(folder)!r}: expected one with train-images-idx3-ubyte.gz and three more"
        )
    train, test = (
        Images(
            _idx(folder, f"{split}-images-idx3-ubyte", 3).unsqueeze(1),
            _idx(folder, f"{split}-labels-idx1-ubyte", 1).long(),
        )
        for split in ("train", "t10k")
    )
    classes = int(train.labels.max()) + 1
    return _data(folder.resolve().name, train, test, tuple(str(label) for label in range(classes)))


def _idx(folder: Path, name: str, dimensions: int) -> Tensor:
    """The bytes of an IDX file: magic number 0x00000800 + dimensions, big-endian sizes, then one byte an entry."""
    path = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"no file {name} or {name}.gz in {str(folder)!r}")
    raw = path.read_bytes()
    if path.suffix == ".gz":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{str(path)!r} is damaged or not gzip: {error}") from error
    start = 4 + 4 * dimensions
    magic = raw[:4].hex()
    if magic != f"0000080{dimensions}":
        raise ValueError(f"{str(path)!r} starts with 0x{magic}: expected 0x0000080{dimensions}, IDX of unsigned bytes")
    shape = [int.from_bytes(raw[i : i + 4], "big") for i in range(4, start, 4)]
    expected = start + int(np.prod(shape, dtype=object))
    if len(raw) != expected:
        raise ValueError(f"{str(path)!r} has {len(raw)} bytes: expected {expected} for {' x '.join(map(str, shape))}")
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8, offset=start).reshape(shape)


def parquet(folder: str | Path, *, label: str | None = None, name: str | None = None) -> Data:
    """A data set in Hugging Face's parquet layout, decoded once into memory; CIFAR-100 takes a few seconds.

    Args:
        folder: holds train-*.parquet and test-*.parquet, itself or in a subfolder ``data``.
        label: the column of labels; by default ``label``, or ``fine_label`` where there is none.
        name: as it shall stand in tables; by default the folder's name.

    Raises:
        FileNotFoundError: if the folder or its parquet files are missing.
        ValueError: if a column is missing, an image cannot be decoded or has another size, or a label is out of range.

    Column ``image`` is a struct with the encoded file in ``bytes``. Grey images give one channel, others are read as
    RGB. Class names come from the schema's metadata, else the labels' numbers are taken. Needs pyarrow and Pillow.

    >>> parquet("no/such/folder")
    Traceback (most recent call last):
        ...
    FileNotFoundError: no folder 'no/such/folder': expected one with train-*.parquet and test-*.parquet
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {str(folder)!r}: expected one with train-*.parquet and test-*.parquet")
    train, names = _parquet_split(folder, "train", label)
    test, _ = _parquet_split(folder, "test", label)
    if names is None:
        names = tuple(str(label) for label in range(int(train.labels.max()) + 1))
    return _data(name or folder.resolve().name, train, test, names)


def _parquet_split(folder: Path, split: str, label: str | None) -> tuple[Images, tuple[str, ...] | None]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    where = folder / "data" if (folder / "data").is_dir() else folder
    paths = sorted(where.glob(f"{split}-*.parquet"))
    if not paths:
        raise FileNotFoundError(f"no file {split}-*.parquet in {str(where)!r}")
    images: list[Any] = []
    labels: list[int] = []
    names: tuple[str, ...] | None = None
    for path in paths:
        try:
            schema = pq.read_schema(path)
            column = label or ("label" if "label" in schema.names else "fine_label")
            missing = [wanted for wanted in ("image", column) if wanted not in schema.names]
            if missing:
                raise ValueError(f"{str(path)!r} has no column {missing[0]!r}: it has {', '.join(schema.names)}")
            table = pq.read_table(path, columns=["image", column])
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{str(path)!r} is damaged or not parquet: {error}") from error
        names = names or _class_names(schema.metadata, column)
        # One thread: on images this small Pillow holds the interpreter lock so often that more are slower.
        for row, cell in enumerate(table["image"].to_pylist()):
            pixels = _decode(cell, f"{str(path)!r}, row {row}")
            if images and pixels.shape != images[0].shape:
                raise ValueError(
                    f"{str(path)!r}, row {row}: the image is {_size(pixels)}, but the first one is {_size(images[0])}"
                )
            images.append(pixels)
        for row, value in enumerate(table[column].to_pylist()):
            if not isinstance(value, int):
                raise ValueError(f"{str(path)!r}, row {row}: {column} is {value!r}: expected a number")
            labels.append(value)
    if not images:
        raise ValueError(f"{str(where)!r}: the {split} set has no images")
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return Images(stacked, torch.tensor(labels, dtype=torch.int64)), names


def _decode(cell: Any, where: str) -> Any:
    """(H, W, C) uint8 of an encoded image."""
    from PIL import Image

    encoded = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(encoded, bytes):
        raise ValueError(f"{where}: the image column holds no bytes: expected a struct image{{bytes, path}}")
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            grey = image.mode in ("L", "1", "I;16")
            wanted = "L" if grey else "RGB"
            pixels = np.asarray(image if image.mode == wanted else image.convert(wanted))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{where}: the image cannot be decoded: {error}") from error
    return pixels[:, :, None] if grey else pixels


def _size(pixels: Any) -> str:
    return " x ".join(map(str, pixels.shape))


def _class_names(metadata: dict[bytes, bytes] | None, column: str) -> tuple[str, ...] | None:
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[column]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def _data(name: str, train: Images, test: Images, classes: Sequence[str]) -> Data:
    # From the 256 counts: exact, and no float copy of the data set.
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in train.images.unbind(1)])
    levels = torch.arange(256, dtype=torch.float64) / 255
    share = counts / counts.sum(1, keepdim=True).to(torch.float64)
    mean = (share * levels).sum(1)
    std = (share * (levels - mean[:, None]).square()).sum(1).sqrt()
    return Data(name, train, test, len(classes), tuple(classes), tuple(mean.tolist()), tuple(std.tolist()))


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pad four black pixels on every side, crop at random to the old size, mirror half of the images left to right.

    Args:
        images: (N, C, H, W), of any type and on any device.
        generator: the source of the offsets and flips, on the same device.

    Source: Lee et al. 2015, *Deeply-Supervised Nets*, which the MMA paper follows (section 5.1).

    >>> augment(torch.ones(2, 3, 32, 32), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 32, 32])
    """
    count, _, height, width = images.shape
    top, left = torch.randint(0, 9, (2, count), generator=generator, device=images.device)
    mirrored = torch.rand(count, generator=generator, device=images.device) < 0.5
    # Every possible crop is a view of the padded batch, so that one indexing copies each image once.
    crops = F.pad(images, (4, 4, 4, 4)).unfold(2, height, 1).unfold(3, width, 1)
    cropped = crops[torch.arange(count, device=images.device), :, top, left]
    return torch.where(mirrored[:, None, None, None], cropped.flip(3), cropped)
