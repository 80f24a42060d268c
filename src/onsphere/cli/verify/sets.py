"""The sets of pairs of one call: files of features, files of encoded images, and folders of images."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onsphere.cli.mistakes import Mistake, words
from onsphere.data.decoding import Encoded, header
from onsphere.data.folders import Paths
from onsphere.data.memory import TEST
from onsphere.data.parquet_files import has_parquet, read_split
from onsphere.verification import NamedPairs, Pairs, consecutive_folds, random_pairs, read_bin, read_pairs
from onsphere.verification.pairs_file import SUFFIXES

FOLDS = 10


@dataclass(frozen=True)
class Choice:
    """How pairs are found where a set does not say it.

    Args:
        pairs: a file of pairs.
        names: a file with the name of each row of features, one a line.
        folds: None takes those of the set, or ten.
        count: of the pairs that are drawn where only identities are known.
        seed: of the drawing.
        shared: whether every fold is drawn from all identities.
    """

    pairs: Path | None = None
    names: Path | None = None
    folds: int | None = None
    count: int = 6000
    seed: int = 0
    shared: bool = False

    def drawn(self, labels: Any) -> Pairs:
        try:
            return random_pairs(labels, self.count, self.folds or FOLDS, self.seed, disjoint=not self.shared)
        except ValueError as error:  # in the words of the command line
            raise ValueError(str(error).replace("disjoint=False", "--shared")) from error

    def cut(self, pairs: Pairs) -> Pairs:
        """The pairs in as many folds as asked for."""
        return pairs if self.folds is None else replace(pairs, fold=consecutive_folds(pairs.same, self.folds))


@dataclass(frozen=True, eq=False)
class Set:
    """Pairs, and the features or the images that they compare.

    Args:
        name: as it stands in the table.
        source: the file or folder.
        pairs: rows to compare.
        features: (N, D); None where a model is needed.
        flipped: (N, D), of the mirror images, if there are any.
        encoded: the images, where there are no features.
        drawn: whether the pairs were drawn at random.
    """

    name: str
    source: Path
    pairs: Pairs
    features: NDArray[Any] | None = None
    flipped: NDArray[Any] | None = None
    encoded: Encoded | None = None
    drawn: bool = False


def named_apart(sets: Sequence[Set]) -> list[Set]:
    """The sets under names of which none is another's: the files' names, or whole paths where these are the same."""
    names = [one.name for one in sets]
    return [replace(one, name=str(one.source)) if names.count(one.name) > 1 else one for one in sets]


def opened(path: Path, choice: Choice) -> Set:
    """A set from a file or folder.

    Raises:
        Mistake: there is none, or it holds no such thing.
    """
    try:
        if path.is_dir():
            return _folder(path, choice)
        if not path.exists():
            raise Mistake(f"there is no file or folder {path}")
        if path.suffix == ".npz":
            return _features(path, choice)
        if path.suffix == ".npy":
            return _rows(path, choice)
        if path.suffix == ".bin":
            found = read_bin(path)
            if choice.pairs is not None:
                raise Mistake(f"--pairs {choice.pairs}: {path} has its own pairs")
            return Set(path.stem, path, found.pairs(choice.folds or FOLDS), encoded=found)
    except OSError as error:
        raise Mistake(words(error)) from error
    except ValueError as error:
        said = str(error)
        raise Mistake(said if said.startswith(str(path)) else f"{path}: {said}") from error
    raise Mistake(f"{path}: expected a set of images .bin, features .npz or .npy, or a folder of images")


def image_size(encoded: Encoded) -> tuple[int, int]:
    """Height and width that all images have.

    Raises:
        ValueError: they differ.
    """
    width, height = header(encoded, 0)
    for index in range(1, len(encoded)):
        other = header(encoded, index)
        if other != (width, height):
            raise ValueError(
                f"{encoded.where(index)} is {other[1]} x {other[0]} pixels and the first image {height} x {width}: "
                "give --size to resize them all"
            )
    return height, width


def _folder(path: Path, choice: Choice) -> Set:
    name = path.resolve().name
    if choice.pairs is not None:
        named = read_pairs(choice.pairs)
        return Set(name, path, choice.cut(named.pairs), encoded=_paths(named.files(path)))
    if has_parquet(path):
        shards, numbers, _ = read_split(path, TEST, None)
        return Set(name, path, choice.drawn(numbers.numpy()), encoded=shards, drawn=True)
    files, labels = [], []
    for number, folder in enumerate(sorted(each for each in path.iterdir() if each.is_dir())):
        inside = sorted(each for each in folder.rglob("*") if each.suffix.lower() in SUFFIXES)
        files += inside
        labels += [number] * len(inside)
    if not files:
        raise ValueError("there are no images in folders, one an identity, nor test-*.parquet; or give --pairs")
    return Set(name, path, choice.drawn(np.array(labels)), encoded=_paths(files), drawn=True)


def _paths(files: Sequence[Path]) -> Paths:
    return Paths(tuple(map(str, files)))


def _rows(path: Path, choice: Choice) -> Set:
    """A single array: which row is which image, a file of pairs and one of names say."""
    try:
        features = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"it is no array that NumPy saved: {error}") from error
    if choice.pairs is None:
        raise ValueError("an array does not say which rows are compared: give --pairs, or an .npz file with labels")
    return Set(path.stem, path, choice.cut(_named(read_pairs(choice.pairs), features, _names(choice))), features)


def _names(choice: Choice) -> Sequence[str] | None:
    if choice.names is None:
        return None
    lines = choice.names.read_text(encoding="utf-8-sig").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _named(named: NamedPairs, features: NDArray[Any], names: Sequence[str] | None) -> Pairs:
    """The rows that a file of pairs means, by their names or by their number."""
    rows = len(features) if features.ndim else 0
    if names is not None:
        if len(names) != rows:
            raise ValueError(f"there are {len(names)} names for {rows} rows of features")
        return named.rows(names)
    if rows == len(named.images):
        return named.pairs
    if rows == 2 * len(named.pairs):
        return _two_by_two(named.pairs.same, named.pairs.fold)
    raise ValueError(
        f"{rows} rows of features and no names: expected {len(named.images)}, an image each in the order in which the "
        f"file of pairs first names them, or {2 * len(named.pairs)}, the two of each pair one after the other"
    )


def _features(path: Path, choice: Choice) -> Set:
    """An archive with "features", perhaps "flipped", and what says which rows are compared."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"it is no archive of arrays that can be read without running code: {error}") from error
    if "features" not in found:
        raise ValueError(f'expected an array "features"; there are: {", ".join(found) or "none"}')
    features = found["features"]
    rows = len(features) if features.ndim else 0
    if choice.pairs is not None:
        if ways := [name for name in ("labels", "same") if name in found]:
            raise ValueError(f'--pairs {choice.pairs} and its own "{ways[0]}": which one is meant?')
        names = _names(choice)
        if names is None and "names" in found:
            names = [str(name) for name in found["names"]]
        pairs = choice.cut(_named(read_pairs(choice.pairs), features, names))
    elif "same" in found:
        if "labels" in found:
            raise ValueError('expected either "labels", to draw pairs, or "same", for given ones; there are both')
        pairs = _given(found, rows, choice)
    elif "labels" in found:
        if len(found["labels"]) != rows:
            raise ValueError(f'{rows} rows of features and {len(found["labels"])} of "labels": expected as many')
        pairs = choice.drawn(found["labels"])
    else:
        raise ValueError('it does not say which rows are compared: expected "labels", or "same", or give --pairs')
    drawn = choice.pairs is None and "labels" in found
    return Set(path.stem, path, pairs, features, found.get("flipped"), drawn=drawn)


def _given(found: dict[str, NDArray[Any]], rows: int, choice: Choice) -> Pairs:
    same = found["same"]
    fold = found.get("fold")
    if fold is None or choice.folds is not None:
        fold = consecutive_folds(same, choice.folds or FOLDS)
    if ("first" in found) != ("second" in found):
        raise ValueError('expected "first" and "second" together, or neither')
    if "first" in found:
        return Pairs(found["first"], found["second"], same, fold)
    if rows != 2 * len(same):
        raise ValueError(f'{rows} rows of features and {len(same)} of "same": expected two rows a pair, or "first" and '
                         '"second"')  # fmt: skip
    return _two_by_two(same, fold)


def _two_by_two(same: NDArray[Any], fold: NDArray[Any]) -> Pairs:
    first = np.arange(0, 2 * len(same), 2)
    return Pairs(first, first + 1, same, fold)
