"""Hugging Face's parquet layout: a row an image, encoded, with its label."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onsphere.data.images import Data, Images, measured


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
    return measured(name or folder.resolve().name, train, test, names)


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
