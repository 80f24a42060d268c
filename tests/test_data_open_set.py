"""Open sets from the layouts they come in: disjoint identities, held-out images, sizes and channels."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("pyarrow")
pytest.importorskip("PIL")
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from onsphere import data
from onsphere.data import Files, Images, OpenSet, open_set, open_set_noise


def png(value: int, size: tuple[int, int] = (6, 8), colour: bool = False) -> bytes:
    """An image of one grey value, (height, width) pixels."""
    pixels = np.full((*size, 3) if colour else size, value, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def shard(path: Path, labels: list[int], names: int = 0, **image: object) -> None:
    """A parquet file with an image a label, whose grey value is 10 * label + its place among its class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = [10 * label + labels[:row].count(label) for row, label in enumerate(labels)]
    cells = [{"bytes": png(value, **image), "path": None} for value in values]  # type: ignore[arg-type]
    table = pa.table({"image": cells, "label": labels, "drawer": [0] * len(labels)})
    if names:
        features = {"image": {"_type": "Image"}, "drawer": {"_type": "Value", "dtype": "int64"}}
        features["label"] = {"_type": "ClassLabel", "names": [f"class {number}" for number in range(names)]}  # type: ignore[dict-item]
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)


def values(images: Images | Files) -> list[int]:
    return images.take(torch.arange(len(images)))[:, 0, 0, 0].tolist()


@pytest.fixture
def two_splits(tmp_path: Path) -> Path:
    shard(tmp_path / "characters" / "data" / "train-0.parquet", [1, 1, 0, 0, 0, 1], names=5)
    shard(tmp_path / "characters" / "data" / "test-0.parquet", [4, 3, 4, 3], names=5)
    return tmp_path / "characters"


def test_disjoint_splits_are_identities_to_train_on_and_unseen_ones(two_splits: Path) -> None:
    made = open_set(two_splits)
    assert made.data.name == "characters"
    assert made.data.classes == ("class 0", "class 1")
    train, test, unseen = made.data.train, made.data.test, made.unseen
    assert isinstance(unseen, Images)
    assert train.shape == unseen.shape == (1, 6, 8)
    assert unseen.labels.tolist() == [1, 0, 1, 0]  # 4 and 3 of the file
    assert values(unseen) == [40, 30, 41, 31]
    assert sorted(test.labels.tolist()) == [0, 1]  # one image of each
    assert sorted(values(train) + values(test)) == [0, 1, 2, 10, 11, 12]
    for images in (train, test):
        assert [value // 10 for value in values(images)] == images.labels.tolist()
    again = open_set(two_splits)
    assert (values(again.data.train), values(again.data.test)) == (values(train), values(test))
    assert made.data.mean[0] == pytest.approx(np.mean(values(train)) / 255)


@pytest.mark.parametrize(("held_out", "left"), [(1, [2, 2, 1]), (2, [1, 1, 1])])
def test_so_many_images_of_every_class_are_held_out(tmp_path: Path, held_out: int, left: list[int]) -> None:
    shard(tmp_path / "train-0.parquet", [5, 5, 5, 7, 7, 7, 9])  # the class of one image keeps it
    made = open_set(tmp_path, held_out=held_out)
    assert made.unseen is None
    assert made.data.train.labels.bincount().tolist() == left
    assert made.data.test.labels.tolist() == sorted([0, 1] * held_out)
    assert made.data.classes == ("5", "7", "9")
    with pytest.raises(ValueError, match="held_out=3: no class has more than 3 images"):
        open_set(tmp_path, held_out=3)


def test_the_held_out_image_is_drawn_and_not_the_same_place_in_every_class(tmp_path: Path) -> None:
    shard(tmp_path / "train-0.parquet", [label for label in range(12) for _ in range(6)])
    assert len({value % 10 for value in values(open_set(tmp_path).data.test)}) > 2


def test_one_set_is_split_by_classes(tmp_path: Path) -> None:
    shard(tmp_path / "train-0.parquet", [3, 3, 0, 0, 2, 2, 1, 1])
    made = open_set(tmp_path, train_classes=2)
    assert made.unseen is not None
    assert sorted(values(made.data.train) + values(made.data.test)) == [0, 1, 10, 11]
    assert (values(made.unseen), made.unseen.labels.tolist()) == ([30, 31, 20, 21], [1, 1, 0, 0])
    for count in (3, 4):
        with pytest.raises(ValueError, match=rf"train_classes={count}: .* has 4 classes: expected at least two more"):
            open_set(tmp_path, train_classes=count)


def folders(folder: Path, **people: int) -> None:
    """So many images of every person, whose grey value is 50 * (number of the person) + its own number."""
    for number, (person, count) in enumerate(people.items()):
        (folder / person).mkdir(parents=True)
        for image in range(count):
            (folder / person / f"{image:03}.png").write_bytes(png(50 * number + image, colour=True))


@pytest.mark.parametrize("in_memory", [True, False])
def test_folders_of_identities(tmp_path: Path, in_memory: bool) -> None:
    folders(tmp_path / "faces", ann=3, bob=2, cem=2, dan=2)
    (tmp_path / "faces" / "notes.txt").write_text("none of the images")
    made = open_set(tmp_path / "faces", train_classes=2, in_memory=in_memory, image_size=(6, 8))
    assert made.unseen is not None
    assert isinstance(made.unseen, Images if in_memory else Files)
    assert made.data.train.shape == (3, 6, 8)
    assert made.data.classes == ("ann", "bob")
    assert made.data.train.labels.bincount().tolist() == [2, 1]
    assert (values(made.unseen), made.unseen.labels.tolist()) == ([100, 101, 150, 151], [0, 0, 1, 1])
    everybody = open_set(tmp_path / "faces", in_memory=in_memory, image_size=(6, 8))
    assert everybody.unseen is None
    assert everybody.data.num_classes == 4


def test_identities_are_a_folder_each(tmp_path: Path) -> None:
    folders(tmp_path / "faces", ann=1, bob=2)
    found = data.identities(tmp_path / "faces", (6, 8))
    assert (found.shape, found.labels.tolist(), values(found)) == ((3, 6, 8), [0, 1, 1], [0, 50, 51])
    with pytest.raises(FileNotFoundError, match="no image in the class folders of"):
        data.identities(tmp_path / "faces" / "ann", 8)


def test_folders_with_a_test_set_of_others(tmp_path: Path) -> None:
    folders(tmp_path / "train", ann=2, zoe=2)
    folders(tmp_path / "val", bob=1, cem=2)
    made = open_set(tmp_path)
    assert made.unseen is not None
    assert (made.data.classes, made.unseen.labels.tolist()) == (("ann", "zoe"), [0, 1, 1])
    folders(tmp_path / "test", ann=1, cem=2)  # goes first
    with pytest.raises(ValueError, match="1 classes are in the training set and in the test set"):
        open_set(tmp_path)


def test_a_training_set_alone_is_no_identity_of_its_own(tmp_path: Path) -> None:
    folders(tmp_path / "train", ann=2, bob=2, cem=2)
    made = open_set(tmp_path, train_classes=1)
    assert made.data.classes == ("ann",)
    assert made.unseen is not None
    assert made.unseen.labels.tolist() == [0, 0, 1, 1]


def test_files_of_parquet_are_decoded_when_they_are_taken(
    two_splits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    here, there = open_set(two_splits, channels=3), open_set(two_splits, in_memory=False, image_size=(6, 8))
    assert isinstance(there.unseen, Files)
    assert isinstance(there.data.train, Files)
    assert values(here.data.train) == values(there.data.train)
    assert torch.equal(here.data.train.labels, there.data.train.labels)


def test_images_are_brought_to_a_size_and_to_channels(tmp_path: Path) -> None:
    shard(tmp_path / "train-0.parquet", [0, 0, 1, 1], size=(20, 30))
    assert open_set(tmp_path, image_size=10).data.train.shape == (1, 10, 10)
    assert open_set(tmp_path, image_size=(10, 6), channels=3).data.train.shape == (3, 10, 6)
    folders(tmp_path / "colour", ann=2, bob=2)
    path = tmp_path / "colour" / "ann" / "000.png"
    Image.fromarray(np.full((6, 8, 3), (200, 100, 50), dtype=np.uint8)).save(path)
    grey = open_set(tmp_path / "colour", channels=1).data
    with Image.open(path) as image:
        expected = np.asarray(image.convert("L"))[0, 0]
    assert grey.train.shape == (1, 6, 8)
    assert abs(int(expected) - max(values(grey.train) + values(grey.test))) <= 1


def test_a_crop_to_a_rectangle_is_the_largest_middle_part(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for number in range(2):
        pixels = np.zeros((12, 20), dtype=np.uint8)
        pixels[:, 7:13] = 255  # the middle part of 12 x 6
        Image.fromarray(pixels).save(tmp_path / "a" / f"{number}.png")
    made = open_set(tmp_path, image_size=(12, 6)).data.train
    assert int(made.take(torch.tensor([0])).min()) == 255
    squashed = open_set(tmp_path, image_size=(12, 6), fit="squash").data.train
    assert int(squashed.take(torch.tensor([0])).min()) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_classes": 0}, "train_classes=0: expected at least 1"),
        ({"held_out": 0}, "held_out=0: expected at least 1"),
        ({"image_size": (4, 0)}, r"image_size=\(4, 0\): expected at least 1 pixel"),
        ({"channels": 2}, "channels=2: expected 1, 3 or None"),
        ({"train_classes": 1}, "train_classes=1 has no meaning for .* which has a test set"),
        ({"channels": 1, "in_memory": False}, "channels=1 needs in_memory=True"),
        ({"label": "fine"}, "has no column 'fine'"),
    ],
)
def test_wrong_input_is_named(two_splits: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_set(two_splits, **settings)  # type: ignore[arg-type]


def test_folders_that_hold_nothing_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder '.*nothing': expected one with parquet files or folders"):
        open_set(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="no parquet file and no folder of an identity in"):
        open_set(tmp_path)
    folders(tmp_path, ann=2)
    with pytest.raises(ValueError, match="label='x' has no meaning for the image files"):
        open_set(tmp_path, label="x")


def test_an_open_set_needs_images_of_one_size_and_two_others() -> None:
    made = open_set_noise(3, 2, image_size=8)
    other = open_set_noise(3, 2, image_size=6)
    with pytest.raises(ValueError, match=r"the unseen images are Images\(8 of 3 x 6 x 6\) but those to train on"):
        OpenSet(made.data, other.unseen)
    assert isinstance(made.unseen, Images)
    with pytest.raises(ValueError, match="4 unseen images are of one identity: expected two"):
        OpenSet(made.data, made.unseen.select(torch.arange(4)))


def test_noise_has_what_was_asked_for() -> None:
    made = open_set_noise(5, 3, image_size=(9, 7), channels=1, images_per_class=3)
    assert isinstance(made.unseen, Images)
    assert made.data.train.labels.bincount().tolist() == [2] * 5
    assert made.unseen.labels.bincount().tolist() == [3] * 3
    assert made.unseen.shape == (1, 9, 7)
    assert torch.equal(made.unseen.images, open_set_noise(5, 3, (9, 7), 1, 3).unseen.images)  # type: ignore[union-attr]
    for wrong in ({"unseen_classes": 1}, {"images_per_class": 1}, {"num_classes": 0}):
        ((name, value),) = wrong.items()
        with pytest.raises(ValueError, match=f"{name}={value}: expected at least"):
            open_set_noise(**{"num_classes": 5, "unseen_classes": 3, **wrong})
    assert data.open_set is open_set
