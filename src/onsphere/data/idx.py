"""MNIST's file format."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from onsphere.data.images import Data, Images
from onsphere.data.memory import measured


def mnist(folder: str | Path, *, name: str | None = None) -> Data:
    """MNIST, or Fashion-MNIST, which has the same format: 60,000 + 10,000 grey images of 28 x 28 pixels.

    Args:
        folder: holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
            t10k-labels-idx1-ubyte, each as it is or with .gz.
        name: as it shall stand in tables; by default the folder's name.

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
    train, test = _split(folder, "train"), _split(folder, "t10k")
    classes = int(train.labels.max()) + 1
    if int(test.labels.max()) >= classes:
        row = int((test.labels >= classes).nonzero()[0])
        raise ValueError(
            f"{str(_find(folder, 't10k-labels-idx1-ubyte'))!r}, row {row}: label {int(test.labels[row])}: "
            f"expected 0 to {classes - 1}, as in the training set"
        )
    return measured(name or folder.resolve().name, train, test, tuple(str(label) for label in range(classes)))


def _split(folder: Path, split: str) -> Images:
    files = [_find(folder, f"{split}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
    images, labels = _idx(files[0], 3), _idx(files[1], 1)
    if len(images) != len(labels):
        raise ValueError(
            f"{str(files[1])!r} has {len(labels)} labels: expected {len(images)}, one for each image of {files[0].name}"
        )
    if len(images) == 0:
        raise ValueError(f"{str(files[0])!r} has no images")
    return Images(images.unsqueeze(1), labels.long())


def _find(folder: Path, name: str) -> Path:
    path = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"no file {name} or {name}.gz in {str(folder)!r}")
    return path


def _idx(path: Path, dimensions: int) -> Tensor:
    """The bytes of an IDX file: magic number 0x00000800 + dimensions, big-endian sizes, then one byte an entry."""
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
