"""Weights that an earlier run has left."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from onsphere.diagnostics import open_weights

_KEPT = (".best", ".epoch-")  # in the names of weights that are not those of the end


def weights_file(path: str) -> Path:
    """A file of weights: the one given, or that of the row ``baseline`` in a run's folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the folder has several, of several seeds.
    """
    given = Path(path)
    if given.is_file():
        return given
    if not given.is_dir():
        raise FileNotFoundError(f"no file or folder {path!r}: expected a file of weights, or the folder of a run")
    left = sorted((given / "weights").glob("baseline-*.safetensors"))
    found = [file for file in left if not any(kind in file.name for kind in _KEPT)]
    if not found:
        raise FileNotFoundError(f"{path!r} has no weights/baseline-SEED.safetensors: expected the folder of such a run")
    if len(found) > 1:
        raise ValueError(f"{path!r} has several weights of the baseline: give one of {', '.join(map(str, found))}")
    return found[0]


def load_weights(model: nn.Module, path: str) -> None:
    """Put the weights of a file, or of the baseline of a run's folder, into a model; nothing in the file is executed.

    Raises:
        FileNotFoundError: there is none.
        ValueError: they cannot be read safely, or do not fit.
    """
    file = weights_file(path)
    try:
        model.load_state_dict(dict(open_weights(file)))
    except RuntimeError as error:
        said = " ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise ValueError(f"{file} does not fit {type(model).__name__}: {said[:300]}") from error
