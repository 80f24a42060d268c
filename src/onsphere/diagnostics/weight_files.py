"""Weights in files, as mappings that read a tensor when it is asked for, and never run code from the file."""

from __future__ import annotations

import json
import os
import pickle
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from onsphere.diagnostics.layer_weights import state_of

# A mapped file counts as memory as far as it was read, so it is mapped anew after this many bytes.
_REOPEN = 64 << 20
_ENDINGS = (".safetensors", ".safetensors.index.json", ".pt", ".pth", ".bin", ".ckpt")
_INSTEAD = "if you trust its source, load it and save model.state_dict() alone, or give dotted.module:factory"


class WeightFileError(ValueError):
    """A file that holds no weights that can be read safely; the message says why and what to do."""


def open_weights(path: str | os.PathLike[str]) -> Mapping[str, Tensor]:
    """Open a file of weights as a mapping from names to tensors that are read one at a time.

    It takes a ``.safetensors`` file, the ``.safetensors.index.json`` of a sharded one, and what ``torch.save`` made of
    a state dict or of a checkpoint that keeps one or more under keys such as "model". Files of ``torch.save`` are
    read with ``weights_only=True`` and mapped into memory; only those from before torch 1.6 are loaded whole.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is no such file.
        WeightFileError: it is damaged, of another kind, or would have to be unpickled.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"fc.weight": torch.eye(2)}, f"{folder}/model.pt")
        ...     list(open_weights(f"{folder}/model.pt"))
        ['fc.weight']
    """
    path = Path(path)
    if path.is_dir():
        inside = sorted(each for each in path.iterdir() if each.name.endswith(_ENDINGS))
        index = [each for each in inside if each.name.endswith(".json")]  # the whole of it, where there are shards
        hint = f": give a file in it, such as {(index or inside)[0]}" if inside else ""
        raise WeightFileError(f"{path} is a folder, not a file of weights{hint}")
    with path.open("rb") as file:
        start = file.read(9)
    if path.name.endswith(".json"):
        return _Sharded(path)
    if path.suffix == ".safetensors" or start[8:] == b"{":
        return _Reopened(lambda: _safetensors(path))
    if start.startswith(b"PK\x03\x04"):
        return _Reopened(lambda: _saved_by_torch(path, mmap=True))
    if start.startswith(b"\x80"):  # a pickle, as torch.save wrote them before 1.6
        return _saved_by_torch(path, mmap=False)
    raise WeightFileError(f"{path} is neither a safetensors file nor one made by torch.save")


class _Reopened(Mapping[str, Tensor]):
    """A mapped file, mapped anew every now and then so that what was read is let go."""

    def __init__(self, open_: Callable[[], Mapping[str, Tensor]]) -> None:
        self._open, self._read = open_, 0
        self._tensors = open_()
        self._names = list(self._tensors)

    def __getitem__(self, name: str) -> Tensor:
        if self._read > _REOPEN:
            self._read, self._tensors = 0, self._open()
        tensor = self._tensors[name]
        self._read += tensor.nbytes
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Safetensors(Mapping[str, Tensor]):
    """An open safetensors file."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._names = sorted(handle.keys(), key=_natural)

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self._handle.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Sharded(Mapping[str, Tensor]):
    """Several safetensors files and the index that says which tensor is where."""

    def __init__(self, index: Path) -> None:
        try:
            places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            self._places = {str(name): str(places[name]) for name in sorted(places, key=_natural)}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WeightFileError(f"{index} is not the index of a sharded safetensors file") from error
        files = sorted(set(self._places.values()))
        for name in files:
            if not (index.parent / name).is_file():
                raise WeightFileError(f"{index} names {name}, which is not beside it")
        self._shards = {name: open_weights(index.parent / name) for name in files}
        for name, file in self._places.items():
            if name not in self._shards[file]:
                raise WeightFileError(f"{index} says that {name} is in {file}, and it is not")

    def __getitem__(self, name: str) -> Tensor:
        return self._shards[self._places[name]][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts layer 2 before layer 10; safetensors keeps no order of its own."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _safetensors(path: Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        return _Safetensors(safe_open(path, "pt"))
    except SafetensorError as error:
        raise WeightFileError(f"{path} is truncated or no safetensors file: {error}") from error


def _saved_by_torch(path: Path, *, mmap: bool) -> Mapping[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on pickles of other protocols, which fail below
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" (it asks for {asked[1]})" if asked else ""
        refusal = f"{path} is refused: it holds more than tensors, and reading that can run code from the file{what}"
        raise WeightFileError(f"{refusal}; {_INSTEAD}") from error
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        if "TorchScript" in str(error):
            raise WeightFileError(f"{path} is refused: a TorchScript archive holds code; {_INSTEAD}") from error
        said = " ".join(str(error).split()).split(". ")[0].rstrip(".")
        raise WeightFileError(f"{path} is truncated or damaged: {said or type(error).__name__}") from error
    if not isinstance(checkpoint, Mapping):
        raise WeightFileError(f"{path} holds a {type(checkpoint).__name__} and not a state dict (name -> tensor)")
    return state_of(checkpoint)
