"""The ``.bin`` sets of face verification: pickles of encoded images, read without running what a pickle can run.

A set is a pair of lists: 2n encoded images, of which 2i and 2i + 1 are compared, and n times whether they show one
person. As a pickle can call any function, only the few instructions that such lists need are let through, and what they
call are stand-ins made here: neither numpy's nor any other code gets to see what the file says of an array but its
bytes.
"""

from __future__ import annotations

import math
import mmap
import os
import pickle
import pickletools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import ArrayLike

from onsphere.verification.pairs import Bools, Pairs, booleans, consecutive_folds

# Everything that protocols 0 to 5 need for lists, tuples, bytes, bools, ints and numpy's arrays, and nothing else.
_NEEDED = """
    PROTO FRAME MARK STOP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 STRING BINSTRING
    SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE SHORT_BINUNICODE LIST EMPTY_LIST
    APPEND APPENDS TUPLE EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3 GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE GLOBAL
    STACK_GLOBAL REDUCE BUILD"""
OPCODES = frozenset(_NEEDED.split())
CODES = {opcode.code: opcode for opcode in pickletools.opcodes}
MEMOS = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "GET", "BINGET", "LONG_BINGET"})


class BinSetError(ValueError):
    """A file that is no set of this kind, or one that asks for more than data; the message says what."""


@dataclass(frozen=True, eq=False)
class BinSet:
    """Encoded images and which of them show one person.

    Attributes:
        images: 2n image files, as bytes; 2i and 2i + 1 are compared.
        same: (n,) bool, whether they show the same person.
        source: where they come from, for messages.
    """

    images: Sequence[bytes] = field(repr=False)
    same: Bools
    source: str = "set"

    def __repr__(self) -> str:
        return f"BinSet({self.source}: {len(self.same)} pairs, {self.same.sum()} same)"

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> bytes:
        """The bytes of one image file; nothing is decoded before it is wanted."""
        return self.images[index]

    def where(self, index: int) -> str:
        """The file, and the image in it, for messages."""
        return f"{self.source}, image {index}"

    def pairs(self, folds: int = 10) -> Pairs:
        """Which images are compared, in consecutive folds.

        Args:
            folds: how many; the file does not say. See :func:`consecutive_folds`.

        Raises:
            ValueError: a kind has fewer pairs than there are folds.
        """
        first = np.arange(0, len(self.images), 2)
        return Pairs(first, first + 1, self.same, consecutive_folds(self.same, folds))


def read_bin(path: str | os.PathLike[str]) -> BinSet:
    """Read a ``.bin`` set as insightface packs LFW, CFP-FP, AgeDB-30 and others; Python 2 may have written it.

    Nothing in the file is executed: only lists, tuples, bytes, bools, ints and numpy arrays of bytes and bools are let
    through, and anything else is refused and named. Images stay encoded.

    Args:
        path: of the file.

    Raises:
        BinSetError: it is damaged, of another form, or asks for anything else.
        OSError: there is no such file, and the like.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_bin(f"{folder}/tiny.bin", [b"one", b"two", b"three", b"four"], [True, False])
        ...     found = read_bin(f"{folder}/tiny.bin")
        >>> found.images, found.same
        ((b'one', b'two', b'three', b'four'), array([ True, False]))
    """
    path = Path(path)
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise BinSetError(f"{path} is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _checked(path, _unpickled(path, content))


def write_bin(path: str | os.PathLike[str], images: Sequence[bytes], same: ArrayLike) -> None:
    """Write a ``.bin`` set that :func:`read_bin` and other programs read.

    The file is written under a temporary name and moved, so it is whole or not there.

    Args:
        path: of the file; its folder must exist.
        images: 2n encoded images; 2i and 2i + 1 are compared.
        same: (n,) bool.

    Raises:
        ValueError: the numbers do not fit, or an image is empty or not bytes.
    """
    path = Path(path)
    kinds = booleans(same, "same")
    _images(str(path), list(images), len(kinds))
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            pickle.dump(([bytes(image) for image in images], kinds.tolist()), file, protocol=2)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(draft, 0o666 & ~umask)  # temporary files are for their owner's eyes only
        os.replace(draft, path)
    finally:
        Path(draft).unlink(missing_ok=True)


def _unpickled(path: Path, content: mmap.mmap) -> Any:
    try:
        _screen(content)
        content.seek(0)
        return _Reader(content, encoding="bytes").load()
    except _RefusedError as error:
        raise BinSetError(
            f"{path} is refused: it {error}, and only lists, tuples, bytes, bools, ints and numpy arrays are read"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        said = " ".join(str(error).split()) or type(error).__name__
        raise BinSetError(f"{path} is damaged, or no pickle of a set of pairs: {said[:200]}") from error


def _screen(content: mmap.mmap) -> None:
    """Look at every instruction before one is followed.

    Raises:
        _RefusedError: one is not needed for data, or numbers a memo so high that it could only be meant to fill memory.
    """
    count = 0
    name = ""
    while name != "STOP":
        position = content.tell()
        code = content.read(1).decode("latin1")
        if code not in CODES:
            raise ValueError(f"no instruction of a pickle at byte {position}")
        opcode = CODES[code]
        name = opcode.name
        if name not in OPCODES:
            raise _RefusedError(f"has the instruction {name} at byte {position}")
        argument: Any = None
        if name == "STRING":  # of Python 2; what reads it below would allow ASCII only
            content.readline()
        elif opcode.arg is not None:
            argument = opcode.arg.reader(cast(IO[bytes], content))
        if name in MEMOS and not 0 <= int(argument) <= count:
            raise _RefusedError(f"numbers an object {argument} at byte {position}, after {count} instructions")
        if name == "GLOBAL":  # the same as find_class, but before anything was done
            _stand_in(*argument.split(" ", 1))
        count += 1


class _RefusedError(Exception):
    """What the file does that it may not."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _stand_in(module, name)

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError(f"asks for the object {pid!r} from elsewhere")


def _stand_in(module: Any, name: Any) -> _Call:
    """What is called in the place of a function or class that a file names."""
    place = f"{_text(module)}.{_text(name)}"
    made = STAND_INS.get(place.replace("numpy.core.", "numpy._core.", 1))
    if made is None:
        raise _RefusedError(f"asks for {place}")
    return _Call(place, made)


class _Call:
    """A function that a pickle may call, and do nothing else with."""

    __slots__ = ("_function", "_name")
    _function: Callable[..., Any]
    _name: str

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self._function(*arguments)
        except (TypeError, ValueError) as error:
            raise _RefusedError(f"calls {self._name} with what it does not take ({error})") from error

    def __setstate__(self, state: Any) -> None:
        raise _RefusedError(f"changes {self._name}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise _RefusedError(f"changes {self._name}")

    @property
    def is_ndarray(self) -> bool:
        return self._name == "numpy.ndarray"


class _Dtype:
    """Bytes or bools; every other type of array is refused."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        known = {"u1": np.uint8, "b1": np.bool_, "?": np.bool_, "B": np.uint8, "uint8": np.uint8, "bool": np.bool_}
        word = _text(code).lstrip("|")
        if word not in known:
            raise _RefusedError(f"holds a numpy array of type {_text(code)!r}")
        self.dtype = np.dtype(known[word])

    def __setstate__(self, state: Any) -> None:
        # Version, byte order, then what only structured types have, then size, alignment and flags.
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise _RefusedError("holds a structured numpy type")
        if any(type(part) is not int for part in state[5:8]) or len(state) > 8:
            raise _RefusedError("holds a numpy type with metadata")


class _Array:
    """An array whose content comes in a second step."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: Any = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise _RefusedError("holds a numpy array of unknown make")
        _, shape, dtype, _, raw = state
        self.value = _array(shape, dtype, raw)


def _array(shape: Any, dtype: Any, raw: Any) -> Any:
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes | bytearray):
        raise _RefusedError("holds a numpy array of something other than bytes")
    if not isinstance(shape, tuple) or len(shape) > 3 or any(type(n) is not int or n < 0 for n in shape):
        raise _RefusedError("holds a numpy array of a shape that is none")
    if math.prod(shape) * dtype.dtype.itemsize != len(raw):
        raise _RefusedError(f"holds a numpy array of shape {shape} in {len(raw)} bytes")
    return np.frombuffer(raw, dtype.dtype).reshape(shape)


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    if not isinstance(kind, _Call) or not kind.is_ndarray:
        raise _RefusedError("makes an array of another class than numpy's")
    return _Array()


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    found = _Array()
    found.value = _array(shape, dtype, raw)
    return found


def _scalar(dtype: Any, raw: Any) -> bool | int:
    value: bool | int = _array((), dtype, raw).item()
    return value


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or _text(encoding) not in ("latin1", "latin-1"):
        raise _RefusedError(f"encodes text as {encoding!r}")
    return text.encode("latin1")


def _never(*arguments: Any) -> Any:
    raise _RefusedError("calls numpy.ndarray")


STAND_INS: dict[str, Callable[..., Any]] = {
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "numpy.ndarray": _never,
    "numpy.dtype": _Dtype,
    "_codecs.encode": _encode,
}


def _text(word: Any) -> str:
    """A name; files of Python 2 have them as bytes."""
    return word.decode("latin1") if isinstance(word, bytes) else str(word)


def _checked(path: Path, found: Any) -> BinSet:
    """The set that an unpickled object is.

    Raises:
        BinSetError: it is none.
    """
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise BinSetError(f"{path} holds {_kind(found)}: expected a pair (list of images, list of bool)")
    images, same = (part.value if isinstance(part, _Array) else part for part in found)
    if isinstance(same, np.ndarray) and same.ndim == 1:
        same = same.tolist()
    if not isinstance(same, list | tuple):
        raise BinSetError(f"{path} holds {_kind(same)} where a list of bool was expected")
    for index, value in enumerate(same):
        if type(value) not in (bool, int) or value not in (0, 1):
            raise BinSetError(
                f"{path}: whether pair {index} shows one person is {_kind(value)}: expected True or False"
            )
    if not isinstance(images, list | tuple):
        raise BinSetError(f"{path} holds {_kind(images)} where a list of images was expected")
    if not same:
        raise BinSetError(f"{path} holds no pair")
    try:
        encoded = _images(str(path), images, len(same))
    except ValueError as error:
        raise BinSetError(str(error)) from error
    return BinSet(encoded, np.array(same, dtype=np.bool_), str(path))


def _images(path: str, images: Sequence[Any], pairs: int) -> tuple[bytes, ...]:
    if len(images) != 2 * pairs:
        raise ValueError(f"{path}: {len(images)} images and {pairs} pairs: expected two images a pair")
    known: dict[int, bytes] = {}  # a file may name one array any number of times: it is copied once
    found = []
    for index, image in enumerate(images):
        if id(image) not in known:
            known[id(image)] = _encoded(image, f"{path}: image {index}")
        found.append(known[id(image)])
    return tuple(found)


def _encoded(image: Any, where: str) -> bytes:
    value = image.value if isinstance(image, _Array) else image
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 1:
        value = value.tobytes()
    if not isinstance(value, bytes | bytearray) or not value:
        raise ValueError(f"{where} is {_kind(value)}: expected the bytes of an encoded image")
    return bytes(value)


def _kind(value: Any) -> str:
    if isinstance(value, _Array | np.ndarray):
        array = value.value if isinstance(value, _Array) else value
        return "an unfinished numpy array" if array is None else f"a numpy array of {array.dtype}, shape {array.shape}"
    if isinstance(value, bytes | bytearray | list | tuple):
        return f"{type(value).__name__} of length {len(value)}"
    if isinstance(value, int) and value.bit_length() > 64:  # Python refuses to write out very long ones
        return f"an int of {value.bit_length()} bits"
    return repr(value)[:60] if isinstance(value, bool | int | str) or value is None else f"a {type(value).__name__}"
