"""Codes in files: ``.npy`` for NumPy, ``.csv`` for everything, ``.xyz`` for viewers of molecules (d = 3)."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def save(points: Points, path: str | os.PathLike[str]) -> None:
    """Write points to a file; the suffix of the name says how.

    Reading the file back with :func:`load` gives the same float64 numbers, bit for bit, from each of the three:

    - ``.npy``: NumPy's own format.
    - ``.csv``: a header ``x1,...,xd``, then one point a line.
    - ``.xyz``: for d = 3; the number of points, a comment, then lines ``C x y z`` (viewers want a chemical element).

    The file is written under a temporary name and moved, so it is whole or not there.

    Args:
        points: (n, d), finite.
        path: where to; its folder must exist.

    Raises:
        ValueError: points are no such matrix, another suffix, or ``.xyz`` with d other than 3.
        FileNotFoundError: the folder does not exist.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(np.eye(3), f"{folder}/code.csv")
        ...     load(f"{folder}/code.csv")
        array([[1., 0., 0.],
               [0., 1., 0.],
               [0., 0., 1.]])
    """
    path = Path(path)
    points = _checked(np.asarray(points, dtype=np.float64), "points to save")
    check_destination(path, points.shape[1])
    write, _ = _form(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(points, draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> Points:
    """Read points (n, d), float64, from a file that :func:`save`, or another program, wrote.

    Raises:
        ValueError: another suffix, or contents that are no matrix of finite numbers; the message says where.
        FileNotFoundError: there is no such file.

    Example:
        >>> load("code.txt")
        Traceback (most recent call last):
        ValueError: expected a file name that ends in .npy, .csv or .xyz, got code.txt
    """
    path = Path(path)
    _, read = _form(path)
    return _checked(read(path), str(path))


def check_destination(path: str | os.PathLike[str], d: int) -> None:
    """Raise what :func:`save` would raise for this name and dimension: worth knowing before a long search.

    Example:
        >>> check_destination("code.xyz", 4)
        Traceback (most recent call last):
        ValueError: an .xyz file holds points of d = 3, got d = 4; use .npy or .csv in place of code.xyz
    """
    path = Path(path)
    _form(path)
    if path.suffix.lower() == ".xyz" and d != 3:
        raise ValueError(f"an .xyz file holds points of d = 3, got d = {d}; use .npy or .csv in place of {path}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")


def _checked(points: Points, what: str) -> Points:
    if points.ndim != 2 or 0 in points.shape:
        raise ValueError(f"{what}: expected a matrix (n, d), got shape {points.shape}")
    bad = np.flatnonzero(~np.isfinite(points).all(1))
    if len(bad):
        raise ValueError(f"{what}: expected finite coordinates, got {points[bad[0]]} in row {bad[0]}")
    return points


def _write_npy(points: Points, path: Path) -> None:
    with path.open("wb") as file:  # np.save adds a suffix to a name without one
        np.save(file, np.ascontiguousarray(points), allow_pickle=False)


def _read_npy(path: Path) -> Points:
    try:
        points = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} is no .npy file of numbers: {error}") from error
    if not isinstance(points, np.ndarray) or points.dtype.kind not in "fiu":
        raise ValueError(f"{path}: expected an array of numbers, got {getattr(points, 'dtype', type(points).__name__)}")
    return points.astype(np.float64)


def _write_csv(points: Points, path: Path) -> None:
    header = ",".join(f"x{k + 1}" for k in range(points.shape[1]))
    _write_lines(path, [header, *(",".join(map(repr, row)) for row in points.tolist())])


def _read_csv(path: Path) -> Points:
    lines = list(enumerate(csv.reader(_text(path).splitlines()), 1))
    header = lines[0][1] if lines else []
    if header != [f"x{k + 1}" for k in range(len(header))] or not header:
        raise ValueError(f"{path}: expected the header x1,...,xd in line 1, got {','.join(header)!r}")
    return _matrix(path, [(number, cells) for number, cells in lines[1:] if cells], len(header))


def _write_xyz(points: Points, path: Path) -> None:
    head = [str(len(points)), "points on the unit sphere"]
    _write_lines(path, [*head, *("C " + " ".join(map(repr, row)) for row in points.tolist())])


def _read_xyz(path: Path) -> Points:
    lines = _text(path).splitlines()
    count = lines[0].strip() if lines else ""
    atoms = [(number, line.split()) for number, line in enumerate(lines[2:], 3) if line.strip()]
    if not count.isdecimal() or int(count) != len(atoms):
        raise ValueError(f"{path}: expected the number of points in line 1, got {count!r} and {len(atoms)} points")
    return _matrix(path, [(number, cells[1:]) for number, cells in atoms], 3)


def _matrix(path: Path, rows: list[tuple[int, list[str]]], d: int) -> Points:
    """Numbers from the cells of numbered lines."""
    for number, cells in rows:
        if len(cells) != d:
            raise ValueError(f"{path}: expected {d} coordinates in line {number}, got {len(cells)}")
    points = np.empty((len(rows), d))
    for k, (number, cells) in enumerate(rows):
        try:
            points[k] = [float(cell) for cell in cells]
        except ValueError as error:
            raise ValueError(f"{path}: expected numbers in line {number}: {error}") from error
    return points


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file: {error}") from error


_FORMS: dict[str, tuple[Callable[[Points, Path], None], Callable[[Path], Points]]] = {
    ".npy": (_write_npy, _read_npy),
    ".csv": (_write_csv, _read_csv),
    ".xyz": (_write_xyz, _read_xyz),
}


def _form(path: Path) -> tuple[Callable[[Points, Path], None], Callable[[Path], Points]]:
    if path.suffix.lower() not in _FORMS:
        raise ValueError(f"expected a file name that ends in .npy, .csv or .xyz, got {path}")
    return _FORMS[path.suffix.lower()]
