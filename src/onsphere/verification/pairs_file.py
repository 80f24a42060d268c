"""Files of pairs in the format of LFW's ``pairs.txt``: names of people and numbers of images."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from onsphere.verification.pairs import Pairs

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif")


class PairsFileError(ValueError):
    """A file of pairs that cannot be understood; the message names the line."""


@dataclass(frozen=True)
class NamedPairs:
    """Pairs of images by the names of people.

    Attributes:
        images: every image that occurs, as the person's name and the image's number, in the order in which the file
            first names it.
        pairs: which of them are compared.
    """

    images: tuple[tuple[str, int], ...] = field(repr=False)
    pairs: Pairs

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The images as LFW names its files, without a folder or suffix, such as ``Abel_Pacheco_0001``."""
        return tuple(f"{name}_{number:04d}" for name, number in self.images)

    def rows(self, names: Sequence[str | os.PathLike[str]]) -> Pairs:
        """The pairs as rows of features that come in another order, or together with others.

        Args:
            names: of the image of each row, with or without folders and a suffix: ``Abel_Pacheco_0001`` and
                ``lfw/Abel_Pacheco/Abel_Pacheco_0001.jpg`` are the same one.

        Raises:
            ValueError: a name occurs twice, or images of the pairs are missing.
        """
        place: dict[str, int] = {}
        for row, name in enumerate(names):
            stem = _stem(os.fspath(name))
            if stem in place:
                raise ValueError(f"rows {place[stem]} and {row} are both named {stem!r}")
            place[stem] = row
        missing = [name for name in self.names if name not in place]
        if missing:
            raise ValueError(_missing(missing, len(self.names), f"among {len(place)} names"))
        found = np.array([place[name] for name in self.names])
        return Pairs(found[self.pairs.first], found[self.pairs.second], self.pairs.same, self.pairs.fold)

    def files(self, folder: str | os.PathLike[str]) -> list[Path]:
        """The file of every image, in the order of ``images``.

        Args:
            folder: holds ``NAME/NAME_0001.jpg``, or ``NAME_0001.jpg`` directly; with any suffix of an image.

        Raises:
            NotADirectoryError: there is no such folder.
            ValueError: files are missing, or one image has two.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder} is not a folder")
        known: dict[Path, dict[str, Path]] = {}
        found, missing = [], []
        for (person, _), name in zip(self.images, self.names, strict=True):
            for place in (folder / person, folder):
                if place not in known:
                    known[place] = _images(place)
                if name in known[place]:
                    found.append(known[place][name])
                    break
            else:
                missing.append(name)
        if missing:
            raise ValueError(_missing(missing, len(self.names), f"in {folder}"))
        return found


def read_pairs(path: str | os.PathLike[str]) -> NamedPairs:
    """Read a file of pairs in LFW's format.

    The first line has the number of folds and of pairs of each kind in a fold, such as ``10 300``; or the latter alone,
    for one fold, as the files of LFW's View 1 do. Then, fold by fold, come the pairs of the same person, ``NAME i j``,
    and those of different ones, ``NAME i OTHER j``, separated by tabs or spaces; with tabs a name may have spaces.

    Args:
        path: of the file.

    Raises:
        PairsFileError: a line is no such pair, there are too many or too few, or a fold has another number of one kind
            than the first line says; the message names the line.
        OSError: there is no such file, and the like.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "pairs.txt").write_text("1\\nAnna\\t1\\t2\\nAnna\\t1\\tBert\\t3\\n")
        ...     found = read_pairs(f"{folder}/pairs.txt")
        >>> found.names, found.pairs
        (('Anna_0001', 'Anna_0002', 'Bert_0003'), Pairs(2: 1 same, 1 different, 1 folds))
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise PairsFileError(f"{path} is no text in UTF-8: {error.reason} at byte {error.start}") from error
    while lines and not lines[-1].strip():
        lines.pop()
    folds, each = _header(path, lines)
    expected = 2 * folds * each
    if len(lines) - 1 != expected:
        raise PairsFileError(
            f"{path}, line 1: {folds} x 2 x {each} = {expected} pairs are announced, and {len(lines) - 1} lines follow"
        )
    places: dict[tuple[str, int], int] = {}
    first, second, same = [], [], []
    for number, line in enumerate(lines[1:], 2):
        one, other = _pair(f"{path}, line {number}", line)
        first.append(places.setdefault(one, len(places)))
        second.append(places.setdefault(other, len(places)))
        same.append(one[0] == other[0])
    for fold in range(folds):
        begin = 2 * each * fold
        count = sum(same[begin : begin + 2 * each])
        if count != each:
            raise PairsFileError(
                f"{path}, lines {begin + 2} to {begin + 2 * each + 1}: fold {fold + 1} has {count} pairs of the same "
                f"person and {2 * each - count} of different ones; line 1 says {each} of each"
            )
    pairs = Pairs(np.array(first), np.array(second), np.array(same), np.repeat(np.arange(folds), 2 * each))
    return NamedPairs(tuple(places), pairs)


def _header(path: str | os.PathLike[str], lines: Sequence[str]) -> tuple[int, int]:
    words = lines[0].split() if lines else []
    if len(words) not in (1, 2) or not all(re.fullmatch(r"[1-9]\d{0,8}", word) for word in words):
        raise PairsFileError(
            f"{path}, line 1: expected the numbers of folds and of pairs of a kind, such as '10 300', or the latter "
            f"alone; got {_shown(lines[0]) if lines else 'an empty file'}"
        )
    numbers = [int(word) for word in words]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (1, numbers[0])


def _pair(where: str, line: str) -> tuple[tuple[str, int], tuple[str, int]]:
    words = [word.strip() for word in line.split("\t")] if "\t" in line.strip() else line.split()
    if len(words) == 3:
        words = [words[0], words[1], words[0], words[2]]
    elif len(words) != 4:
        raise PairsFileError(f"{where}: expected 'NAME i j' or 'NAME i OTHER j', got {_shown(line)}")
    elif words[0] == words[2]:
        raise PairsFileError(f"{where}: {words[0]!r} stands twice; a pair of the same person is 'NAME i j'")
    for name in (words[0], words[2]):
        # They become parts of paths.
        if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
            raise PairsFileError(f"{where}: {name!r} is no name of a person")
    for number in (words[1], words[3]):
        if not re.fullmatch(r"\d{1,9}", number):
            raise PairsFileError(f"{where}: expected the number of an image, got {number!r} in {_shown(line)}")
    one, other = (words[0], int(words[1])), (words[2], int(words[3]))
    if one == other:
        raise PairsFileError(f"{where}: an image is paired with itself: {_shown(line)}")
    return one, other


def _images(folder: Path) -> dict[str, Path]:
    """The image files of a folder by their names without suffix."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in SUFFIXES:
            if path.stem in found:
                raise ValueError(f"{found[path.stem]} and {path.name}: which one is meant?")
            found[path.stem] = path
    return found


def _stem(name: str) -> str:
    base = re.split(r"[/\\]", name)[-1]
    stem, dot, suffix = base.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in SUFFIXES else base


def _missing(names: Sequence[str], of: int, where: str) -> str:
    some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} of the {of} images of the pairs are not {where}: {some}"


def _shown(line: str) -> str:
    return repr(line if len(line) <= 80 else f"{line[:77]}...")
