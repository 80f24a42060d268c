"""One door to a data set: a folder in a layout that is known."""

from __future__ import annotations

from pathlib import Path

from onsphere.data.idx import mnist
from onsphere.data.images import Data
from onsphere.data.parquet_files import parquet


def load(source: str | Path, *, name: str | None = None, label: str | None = None) -> Data:
    """A data set from a folder, whatever its layout is: IDX files or parquet.

    Args:
        source: the folder.
        name: as it shall stand in tables; by default the folder's name.
        label: the column of labels, where there are several.

    Raises:
        FileNotFoundError: if there is no such folder or nothing in it that is known.
        ValueError: if a file is damaged.

    >>> load("no/such/folder")
    Traceback (most recent call last):
        ...
    FileNotFoundError: no folder 'no/such/folder'
    """
    folder = Path(source)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {str(folder)!r}")
    if any(folder.glob("*-idx3-ubyte*")):
        return mnist(folder, name=name)
    return parquet(folder, label=label, name=name)
