"""The citation graphs Cora, CiteSeer and PubMed with their public split, from files or by name."""

from __future__ import annotations

import copyreg
import importlib
import os
import pickle
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from onsphere.data.graphs import Graph, both_directions

PlanetoidName = Literal["cora", "citeseer", "pubmed"]
CLASSES: Mapping[str, int] = {"cora": 7, "citeseer": 6, "pubmed": 3}
PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
ARRAYS = ("x_data", "x_indices", "x_indptr", "x_shape", "y", "edges", "train_idx", "val_idx", "test_idx")
VALIDATION = 500


def planetoid(name: PlanetoidName, folder: str | Path | None = None) -> Graph:
    """A citation graph with the public split: 20 nodes of every class to learn from, 500 for validation, 1000 to test.

    Args:
        name: cora (2708 papers, 1433 words, 7 classes), citeseer (3327, 3703, 6) or pubmed (19717, 500, 3).
        folder: holds NAME.npz, or the files ind.NAME.x and so on as they were published, maybe in NAME/raw or raw as
            torch_geometric lays them out. None downloads those into torch_geometric's cache, unless they are there.

    Raises:
        FileNotFoundError: if the folder has neither.
        ModuleNotFoundError: if they are to be downloaded and torch_geometric is missing.
        ConnectionError: if they cannot be downloaded.
        ValueError: if the name is another, or a file is damaged.

    NAME.npz holds the features as a compressed sparse row matrix (x_data, x_indices, x_indptr, x_shape), y, edges
    (E, 2) and the nodes of the split (train_idx, val_idx, test_idx). The published files are pickles; nothing but
    arrays, sparse matrices, lists and dictionaries is taken from them. Papers of CiteSeer that the files leave out have
    neither words nor edges.

    Source: Yang, Cohen and Salakhutdinov 2016, Revisiting semi-supervised learning with graph embeddings.

    >>> planetoid("cora", "no/such/folder")
    Traceback (most recent call last):
        ...
    FileNotFoundError: no cora.npz and no ind.cora.x in 'no/such/folder'
    """
    if name not in CLASSES:
        raise ValueError(f"name={name!r}: expected {', '.join(CLASSES)}")
    where = _downloaded(name) if folder is None else Path(folder).expanduser()
    archive = where / f"{name}.npz"
    if archive.is_file():
        return _from_arrays(name, archive)
    inner = [each for each in where.glob("*/raw") if each.parent.name.lower() == name]
    for raw in (where, where / "raw", *inner):
        if (raw / f"ind.{name}.x").is_file():
            return _from_pickles(name, raw)
    raise FileNotFoundError(f"no {archive.name} and no ind.{name}.x in {str(where)!r}")


def _from_arrays(name: str, path: Path) -> Graph:
    try:
        with np.load(path) as file:
            arrays = {key: file[key] for key in ARRAYS}
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{str(path)!r}: expected a file of {', '.join(ARRAYS)}: {error}") from error
    try:
        features = _dense(*(arrays[f"x_{part}"] for part in ("data", "indices", "indptr", "shape")))
        split = [_int64(arrays[f"{part}_idx"]) for part in ("train", "val", "test")]
        return _graph(name, features, _int64(arrays["edges"]).T, _int64(arrays["y"]), *split)
    except (ValueError, IndexError) as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from error


def _from_pickles(name: str, folder: Path) -> Graph:
    found = {part: _part(folder / f"ind.{name}.{part}") for part in PARTS[:-1]}
    try:
        listed = _int64(np.loadtxt(folder / f"ind.{name}.test.index", dtype=np.int64, ndmin=1))
        train, known, tested = (_dense(**vars(found[part])) for part in ("x", "allx", "tx"))
        labels, tested_labels = (torch.from_numpy(np.asarray(found[part])).argmax(1) for part in ("ally", "ty"))
        # The rows of tx are in the order of test.index; what it leaves out has no words, and some class.
        nodes = max(len(known), int(listed.max()) + 1)
        features = torch.zeros(nodes, known.shape[1])
        features[: len(known)], features[listed] = known, tested
        y = torch.zeros(nodes, dtype=torch.int64)
        y[: len(labels)], y[listed] = labels, tested_labels
        pairs = [(start, end) for start, ends in found["graph"].items() for end in ends]
        first = len(train)
        split = (torch.arange(first), torch.arange(first, first + VALIDATION), listed.sort().values)
        return _graph(name, features, torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T, y, *split)
    except (AttributeError, IndexError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"the files ind.{name}.* in {str(folder)!r} do not fit together: {error}") from error


def _graph(name: str, features: Tensor, edges: Tensor, labels: Tensor, *split: Tensor) -> Graph:
    train, validation, test = split
    return Graph(
        name=name,
        features=features,
        edges=both_directions(edges),
        labels=labels,
        train=train,
        validation=validation,
        test=test,
        classes=tuple(str(label) for label in range(CLASSES[name])),
    )


def _int64(array: Any) -> Tensor:
    return torch.from_numpy(np.asarray(array).astype(np.int64))


def _dense(data: Any, indices: Any, indptr: Any, shape: Any, **_: object) -> Tensor:
    """A compressed sparse row matrix as an ordinary one."""
    full = np.zeros(tuple(int(size) for size in shape), dtype=np.float32)
    full[np.repeat(np.arange(len(full)), np.diff(indptr)), indices] = data
    return torch.from_numpy(full)


class _Sparse:
    """Takes the place of scipy's matrix in a pickle, whichever version wrote it."""

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        for part in ("data", "indices", "indptr"):
            setattr(self, part, state[part])
        self.shape = state["_shape"]


def _latin1(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into a pickle that Python 2 could read."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r}: expected 'latin1'")
    return text.encode("latin1")


_reconstructor = getattr(copyreg, "_reconstructor")  # noqa: B009 - it is in no type hints
# All that the published files name, in the words of old and new versions.
_NAMES: Mapping[tuple[str, str], object] = {
    ("collections", "defaultdict"): defaultdict,
    **{(module, "list"): list for module in ("__builtin__", "builtins")},
    **{(module, "object"): object for module in ("__builtin__", "builtins")},
    **{(module, "_reconstructor"): _reconstructor for module in ("copy_reg", "copyreg")},
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0] for core in ("core", "_core")},
    **{(f"scipy.sparse.{module}", "csr_matrix"): _Sparse for module in ("csr", "_csr")},
    ("_codecs", "encode"): _latin1,
}


class _Unpickler(pickle.Unpickler):
    """Reads what is made of _NAMES, and runs nothing else."""

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of such a file")
        return _NAMES[module, name]


def _part(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _Unpickler(file, encoding="latin1").load()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no {path.name} in {str(path.parent)!r}") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        raise ValueError(f"{str(path)!r} cannot be read: {error}") from error


def _downloaded(name: str) -> Path:
    """Where the published files are in torch_geometric's cache."""
    try:
        torch_geometric = importlib.import_module("torch_geometric")
        datasets = importlib.import_module("torch_geometric.datasets")
        download_url = importlib.import_module("torch_geometric.data").download_url
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"to download {name!r} needs the package 'torch_geometric': pip install 'onsphere[graph]'",
            name=error.name,
        ) from error
    cache = Path(torch_geometric.get_home_dir()) / "planetoid" / name
    if not (cache / "raw").is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            whole = Path(folder) / "raw"
            try:
                for part in PARTS:
                    download_url(f"{datasets.Planetoid.url}/ind.{name}.{part}", str(whole), log=False)
            except OSError as error:
                raise ConnectionError(
                    f"{name!r} cannot be downloaded: {error}; expected a connection, or the folder of its files"
                ) from error
            if not (cache / "raw").is_dir():  # or another process was faster
                os.replace(whole, cache / "raw")
    return cache
