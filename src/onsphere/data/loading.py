"""One door to a data set: a folder in a layout that is known, or a name on the hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from onsphere.data.decoding import Fit
from onsphere.data.folders import image_folder
from onsphere.data.hub import from_hub
from onsphere.data.idx import mnist
from onsphere.data.images import Data
from onsphere.data.parquet_files import has_parquet, parquet


def load(
    source: str | Path,
    *,
    name: str | None = None,
    image: str | None = None,
    label: str | None = None,
    config: str | None = None,
    test_split: str | None = None,
    image_size: int | None = None,
    fit: Fit = "crop",
    in_memory: bool | None = None,
) -> Data:
    """A data set from a folder, whatever its layout is, or by its name on the Hugging Face hub.

    Args:
        source: a folder with MNIST's IDX files (``mnist``), with parquet files (``parquet``) or with image files
            (``image_folder``, TinyImageNet and ImageNet among them), or else a name such as "uoft-cs/cifar100"
            (``from_hub``).
        name: as it shall stand in tables; by default the last part of source.
        image: the column of images, for the hub.
        label: the column of labels, for parquet files and the hub.
        config: the configuration, for the hub.
        test_split: the split to test on; by default the first of test, validation, val and valid with labels.
        image_size: resize every image to this size.
        fit: how to resize: "crop" resizes the shorter side and crops the middle, "squash" resizes both sides.
        in_memory: decode everything once into memory, or each batch as it is taken; by default in memory while the
            pixels stay below 6 GiB.

    Raises:
        FileNotFoundError: if source is neither a folder nor a name on the hub, or a file is missing.
        ConnectionError: if source is no folder and the hub cannot be reached.
        ModuleNotFoundError: if a package is missing.
        ValueError: if a file is damaged, a label is out of range, or an argument has no meaning for this source.

    >>> load("./no/such/folder")
    Traceback (most recent call last):
        ...
    FileNotFoundError: no folder './no/such/folder': expected one, or a name on the hub such as 'uoft-cs/cifar100'
    """
    folder = Path(source).expanduser()
    columns: dict[str, object] = {"image": image, "label": label, "config": config}
    resizing: dict[str, object] = {"test_split": test_split, "image_size": image_size, "in_memory": in_memory}
    resizing["fit"] = None if fit == "crop" else fit
    if not folder.is_dir():
        if folder.exists():
            raise ValueError(f"{str(source)!r} is a file: expected a folder, or a name on the hub")
        if not isinstance(source, str) or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", source):
            raise FileNotFoundError(
                f"no folder {str(source)!r}: expected one, or a name on the hub such as 'uoft-cs/cifar100'"
            )
        return from_hub(
            source,
            config=config,
            image=image,
            label=label,
            name=name,
            test_split=test_split,
            image_size=image_size,
            fit=fit,
            in_memory=in_memory,
        )
    if any(folder.glob("*-idx?-ubyte*")):
        _refuse(folder, "IDX files", columns | resizing)
        return mnist(folder, name=name)
    if has_parquet(folder):
        _refuse(folder, "parquet files", {"image": image, "config": config})
        return parquet(
            folder, label=label, name=name, test_split=test_split, image_size=image_size, fit=fit, in_memory=in_memory
        )
    if (folder / "train").is_dir():
        _refuse(folder, "image files", columns)
        return image_folder(
            folder, name=name, test_split=test_split, image_size=image_size, fit=fit, in_memory=in_memory
        )
    raise FileNotFoundError(
        f"no data set in {str(source)!r}: expected train-images-idx3-ubyte.gz and three more, train-*.parquet and "
        "test-*.parquet, or folders train/CLASS and test/CLASS"
    )


def _refuse(folder: Path, kind: str, arguments: Mapping[str, object]) -> None:
    """Raise a ValueError if an argument is given that the source cannot follow."""
    for argument, value in arguments.items():
        if value is not None:
            raise ValueError(f"{argument}={value!r} has no meaning for the {kind} in {str(folder)!r}")
