"""Hugging Face's parquet layout: a row an image, encoded, with its label."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onsphere.data.decoding import Fit
from onsphere.data.hub import Rows, package, rows
from onsphere.data.images import Data
from onsphere.data.memory import TEST, fits, kept


@dataclass(frozen=True)
class Shards:
    """A column of encoded images in parquet files; quick to read in order only."""

    paths: tuple[Path, ...]
    column: str

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, index: int) -> bytes:
        shard, row = self._place(index)
        cell = self._cells(shard)[row].as_py()
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(content, bytes):
            raise ValueError(
                f"{self.where(index)}: the {self.column} column holds no bytes: "
                f"expected a struct {self.column}{{bytes, path}}"
            )
        return content

    def where(self, index: int) -> str:
        shard, row = self._place(index)
        return f"{str(self.paths[shard])!r}, row {row}"

    def _place(self, index: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return shard, index - (int(self._ends[shard - 1]) if shard else 0)

    @cached_property
    def _ends(self) -> Any:
        import pyarrow.parquet as pq

        return np.cumsum([pq.read_metadata(path).num_rows for path in self.paths])

    @cached_property
    def _cells(self) -> Callable[[int], Any]:
        # Threads that read in order are in two files at most.
        return lru_cache(maxsize=2)(lambda shard: _read(self.paths[shard], [self.column])[self.column])


def _read(path: Path, columns: list[str]) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{str(path)!r} is damaged or not parquet: {error}") from error


def parquet(
    folder: str | Path,
    *,
    label: str | None = None,
    name: str | None = None,
    test_split: str | None = None,
    image_size: int | None = None,
    fit: Fit = "crop",
    in_memory: bool | None = None,
) -> Data:
    """A data set in Hugging Face's parquet layout, decoded once into memory; CIFAR-100 takes a few seconds.

    Args:
        folder: holds ``train-*.parquet`` and ``test-*.parquet``, itself or in a subfolder ``data``.
        label: the column of labels; by default ``label``, or ``fine_label`` where there is none.
        name: as it shall stand in tables; by default the folder's name.
        test_split: the split to test on; by default the first of test, validation, val and valid.
        image_size: resize every image to this size; needed where sizes differ and the set is kept in memory.
        fit: how to resize, see ``Files``.
        in_memory: decode everything once (True) or each batch as it is taken (False, 256 pixels unless image_size is
            given, from a copy that the package datasets makes in its cache); by default in memory while the pixels
            stay below 6 GiB.

    Raises:
        FileNotFoundError: if the folder or its parquet files are missing.
        ValueError: if a column is missing, an image cannot be decoded or has another size, or a label is out of range.

    Column ``image`` or ``img`` is a struct with the encoded file in ``bytes``. If every image is grey there is one
    channel, else three. Class names come from the schema's metadata, else the labels' numbers are taken. Needs pyarrow
    and Pillow.

    >>> parquet("no/such/folder")
    Traceback (most recent call last):
        ...
    FileNotFoundError: no folder 'no/such/folder': expected one with train-*.parquet and test-*.parquet
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {str(folder)!r}: expected one with train-*.parquet and test-*.parquet")
    train, train_labels, names = read_split(folder, ("train",), label)
    test, test_labels, _ = read_split(folder, TEST if test_split is None else (test_split,), label)
    if names is None:
        names = tuple(str(label) for label in range(int(train_labels.max()) + 1))
    if in_memory is None:
        in_memory = fits([train, test], image_size)
    return kept(
        name or folder.resolve().name,
        (train if in_memory else mapped(train), train_labels),
        (test if in_memory else mapped(test), test_labels),
        names,
        in_memory=in_memory,
        image_size=image_size,
        fit=fit,
    )


def has_parquet(folder: Path) -> bool:
    """Whether a folder holds parquet files, itself or in a subfolder ``data``."""
    return any(folder.glob("*.parquet")) or any(folder.glob("data/*.parquet"))


def read_split(folder: Path, splits: Sequence[str], label: str | None) -> tuple[Shards, Tensor, tuple[str, ...] | None]:
    """The images and labels of the first of these splits that is there, and the names of its classes."""
    where = folder / "data" if (folder / "data").is_dir() else folder
    paths = next((paths for split in splits if (paths := sorted(where.glob(f"{split}-*.parquet")))), [])
    if not paths:
        raise FileNotFoundError(f"no file {' or '.join(f'{split}-*.parquet' for split in splits)} in {str(where)!r}")
    labels: list[int] = []
    image, label, names = _columns(paths[0], label)
    for path in paths:
        schema = _schema(path)
        missing = [wanted for wanted in (image, label) if wanted not in schema.names]
        if missing:
            raise ValueError(f"{str(path)!r} has no column {missing[0]!r}: it has {', '.join(schema.names)}")
        for row, value in enumerate(_read(path, [label])[label].to_pylist()):
            if not isinstance(value, int):
                raise ValueError(f"{str(path)!r}, row {row}: {label} is {value!r}: expected a number")
            labels.append(value)
    if not labels:
        raise ValueError(f"{str(paths[0])!r} has no rows")
    return Shards(tuple(paths), image), torch.tensor(labels, dtype=torch.int64), names


def _columns(path: Path, label: str | None) -> tuple[str, str, tuple[str, ...] | None]:
    """The names of the columns of images and labels, and of the classes where the schema tells them."""
    schema = _schema(path)
    image = "img" if "img" in schema.names and "image" not in schema.names else "image"
    if label is None:
        label = "label" if "label" in schema.names else "fine_label"
    return image, label, _class_names(schema.metadata, label)


def _schema(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{str(path)!r} is damaged or not parquet: {error}") from error


def _class_names(metadata: dict[bytes, bytes] | None, label: str) -> tuple[str, ...] | None:
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def mapped(shards: Shards) -> Rows:
    """The same rows from a copy that can be read in any order, which datasets keeps in its cache."""
    files = [str(path) for path in shards.paths]
    return rows(package(files[0]).load_dataset("parquet", data_files=files, split="train"), shards.column, files[0])
