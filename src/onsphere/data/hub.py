"""Data sets by their name on the Hugging Face hub, through the package datasets and its cache."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from onsphere.data.decoding import Fit
from onsphere.data.images import Data
from onsphere.data.memory import TEST, Split, fits, kept


@dataclass(frozen=True)
class Rows:
    """A column of encoded images of a data set of the package datasets: on disk, and quick to read in any order."""

    dataset: Any
    column: str
    name: str

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int) -> bytes:
        cell = self.dataset[index][self.column]
        if cell is None or (cell["bytes"] is None and cell["path"] is None):
            raise ValueError(f"{self.where(index)}: the {self.column} column is empty")
        content: bytes = Path(cell["path"]).read_bytes() if cell["bytes"] is None else cell["bytes"]
        return content

    def where(self, index: int) -> str:
        return f"{self.name!r}, row {index}"


def package(source: str) -> Any:
    """The package datasets, or a ModuleNotFoundError that says how to get it."""
    try:
        return importlib.import_module("datasets")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{source!r} needs the package {error.name!r}: pip install 'onsphere[vision]'", name=error.name
        ) from error


def rows(dataset: Any, column: str, name: str) -> Rows:
    """The images of one column, not decoded."""
    only = dataset.select_columns([column]).with_format(None)
    return Rows(only.cast_column(column, package(name).Image(decode=False)), column, name)


def from_hub(
    repository: str,
    *,
    config: str | None = None,
    image: str | None = None,
    label: str | None = None,
    name: str | None = None,
    test_split: str | None = None,
    image_size: int | None = None,
    fit: Fit = "crop",
    in_memory: bool | None = None,
) -> Data:
    """A data set of the Hugging Face hub, downloaded once into the cache of the package datasets.

    Args:
        repository: such as "uoft-cs/cifar100".
        config: which of its configurations, where it has several, such as "cropped_digits".
        image: the column of images; by default the only one.
        label: the column of labels; by default ``label``, else ``fine_label``, else the only one of classes.
        name: as it shall stand in tables; by default the repository's name without its owner.
        test_split: the split to test on; by default the first of test, validation, val and valid with labels.
        image_size: resize every image to this size; needed where sizes differ and the set is kept in memory.
        fit: how to resize, see ``Files``.
        in_memory: decode everything once (True) or each batch as it is taken (False, 256 pixels unless image_size is
            given); by default in memory while the pixels stay below 6 GiB.

    Raises:
        ModuleNotFoundError: if the package datasets is missing.
        FileNotFoundError: if there is no such repository.
        ConnectionError: if the hub cannot be reached and the cache does not have it.
        ValueError: if a split or a column is missing or ambiguous, or an image cannot be decoded.
    """
    splits = _download(repository, config, None if test_split is None else ["train", test_split])
    if "train" not in splits:
        raise ValueError(f"{repository!r} has no split 'train': it has {', '.join(splits)}")
    columns = _columns(repository, splits["train"], image, label)
    tests = [split for split in (TEST if test_split is None else (test_split,)) if split in splits]
    labelled = [split for split in tests if _has_labels(splits[split], columns[1])]
    if not labelled:
        wanted = test_split or " or ".join(TEST)
        raise ValueError(f"{repository!r} has no split {wanted} with labels: it has {', '.join(splits)}")
    train, test = (_split(repository, splits[split], split, *columns) for split in ("train", labelled[0]))
    names = getattr(splits["train"].features[columns[1]], "names", None)
    if names is None:
        names = [str(number) for number in range(int(train[1].max()) + 1)]
    if in_memory is None:
        in_memory = fits([train[0], test[0]], image_size)
    return kept(
        name or repository.rsplit("/", 1)[-1],
        train,
        test,
        names,
        in_memory=in_memory,
        image_size=image_size,
        fit=fit,
    )


def _download(repository: str, config: str | None, splits: list[str] | None) -> dict[str, Any]:
    datasets = package(repository)
    offline = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = offline or not _reachable(repository)
    try:
        loaded = datasets.load_dataset(repository, config, split=splits)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise FileNotFoundError(
            f"{repository!r} is neither a folder nor a data set that the hub shows: {_line(error)}"
        ) from error
    except ConnectionError as error:
        raise ConnectionError(
            f"{repository!r} is no folder, and the hub cannot be reached: {_line(error)}; "
            "expected a folder, a connection, or a data set that was downloaded before"
        ) from error
    except (ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(f"{repository!r} cannot be loaded from the hub: {_line(error)}") from error
    finally:
        datasets.config.HF_HUB_OFFLINE = offline
    return dict(loaded) if splits is None else dict(zip(splits, loaded, strict=True))


def _reachable(repository: str) -> bool:
    """Whether the hub answers at all. One quick question: datasets itself would ask for half a minute."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().dataset_info(repository, timeout=10)
    except HfHubHTTPError:  # an answer, such as that there is no such data set: load_dataset will say so
        return True
    except Exception:  # which class depends on the HTTP package that is installed
        return False
    return True


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _columns(repository: str, split: Any, image: str | None, label: str | None) -> tuple[str, str]:
    features = split.features
    datasets = package(repository)
    among = f"columns among {', '.join(features)}"
    for column in (image, label):
        if column is not None and column not in features:
            raise ValueError(f"{repository!r} has no column {column!r}: it has {', '.join(features)}")
    if image is None:
        images = [column for column, feature in features.items() if isinstance(feature, datasets.Image)]
        if len(images) != 1:
            raise ValueError(f"{repository!r} has {len(images)} image {among}: expected one, or its name in image")
        image = images[0]
    if label is None:
        classes = [column for column, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
        usual = [column for column in ("label", "fine_label") if column in features]
        if not usual and len(classes) != 1:
            raise ValueError(f"{repository!r} has {len(classes)} label {among}: expected one, or its name in label")
        label = (usual or classes)[0]
    return image, label


def _has_labels(split: Any, label: str) -> bool:
    """Whether a split says its labels; those that are kept secret are -1 on the hub."""
    return label in split.features and len(split) > 0 and split.select_columns([label])[0][label] not in (None, -1)


def _split(repository: str, dataset: Any, split: str, image: str, label: str) -> Split:
    name = f"{repository} ({split})"
    if len(dataset) == 0:
        raise ValueError(f"{name!r} has no rows")
    labels = list(dataset.select_columns([label]).with_format(None)[label])
    for row, value in enumerate(labels):
        if not isinstance(value, int):
            raise ValueError(f"{name!r}, row {row}: {label} is {value!r}: expected a number")
    return rows(dataset, image, name), torch.tensor(labels, dtype=torch.int64)
