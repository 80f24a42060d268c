"""A folder of any layout or a name on the hub: the right images with the right labels, or one clear error."""

from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onsphere import data
from onsphere.data import Files, Images, load
from onsphere.data import memory as choice

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("pyarrow")
datasets = pytest.importorskip("datasets")

FASHION = Path("/usr/share/datasets/fashion-mnist")


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def write(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Hugging Face's layout: train/cat, train/dog, test/cat, test/dog, with 3 + 2 and 1 + 1 images of 6 x 5."""
    for split, counts in (("train", {"dog": 2, "cat": 3}), ("test", {"dog": 1, "cat": 1})):
        for name, count in counts.items():
            for number in range(count):
                write(tmp_path / "pets" / split / name / f"{number}.png", pixels(6, 5, 3, seed=len(split) + number))
    return tmp_path / "pets"


def test_image_folder_gives_classes_in_order_of_the_alphabet(pets: Path) -> None:
    (pets / "train" / "cat" / "notes.txt").write_text("no image")
    (pets / "train" / ".hidden").mkdir()
    got = load(pets)
    assert (got.name, got.classes, got.num_classes) == ("pets", ("cat", "dog"), 2)
    assert got.train.labels.tolist() == [0, 0, 0, 1, 1]
    assert isinstance(got.train, Images)
    expected = [pixels(6, 5, 3, seed=5 + number) for number in (0, 1, 2, 0, 1)]
    assert torch.equal(got.train.images, torch.from_numpy(np.stack(expected)).permute(0, 3, 1, 2))
    assert got.test.labels.tolist() == [0, 1]


@pytest.mark.parametrize("split", ["validation", "val", "valid"])
def test_image_folder_tests_on_the_validation_set_where_test_has_no_labels(pets: Path, split: str) -> None:
    (pets / "test").rename(pets / split)
    write(pets / "test" / "images" / "0.png", pixels(6, 5, 3))
    assert len(load(pets).test) == 2


def test_image_folder_takes_the_split_that_is_named(pets: Path) -> None:
    write(pets / "dev" / "dog" / "0.png", pixels(6, 5, 3))
    assert load(pets, test_split="dev").test.labels.tolist() == [1]
    with pytest.raises(FileNotFoundError, match=r"no folder 'other' with the classes of the training set in .*pets'"):
        load(pets, test_split="other")


def test_colour_wins_over_grey_and_other_modes(tmp_path: Path) -> None:
    grey = pixels(4, 4)
    write(tmp_path / "train" / "a" / "0.png", grey)
    write(tmp_path / "test" / "a" / "0.png", grey)
    deep = Image.fromarray(np.array([[0, 255], [256, 65535]], dtype=np.uint16))
    assert data.image_folder(tmp_path).train.shape == (1, 4, 4)
    write(tmp_path / "train" / "a" / "1.png", colour := pixels(4, 4, 3))
    write(tmp_path / "train" / "a" / "2.png", pixels(4, 4, 4))  # with transparency
    both = data.image_folder(tmp_path)
    assert isinstance(both.train, Images)
    assert both.train.shape == both.test.shape == (3, 4, 4)
    assert torch.equal(both.train.images[0], torch.from_numpy(grey).expand(3, 4, 4))
    assert torch.equal(both.train.images[1], torch.from_numpy(colour).permute(2, 0, 1))
    for split in ("train", "test"):
        deep.save(tmp_path / split / "a" / "deep.png")
        for other in ("0.png", "1.png", "2.png"):
            (tmp_path / split / "a" / other).unlink(missing_ok=True)
    of_sixteen_bits = data.image_folder(tmp_path).train
    assert isinstance(of_sixteen_bits, Images)
    assert of_sixteen_bits.images.flatten().tolist() == [0, 0, 1, 255]


def test_other_sizes_need_image_size(pets: Path) -> None:
    odd = write(pets / "train" / "dog" / "0.png", pixels(8, 5, 3))
    with pytest.raises(ValueError, match=r"dog/0\.png': the image is 8 x 5 x 3, but the first one is 6 x 5 x 3: give"):
        load(pets)
    got = load(pets, image_size=4)
    assert isinstance(got.train, Images)
    assert got.train.shape == got.test.shape == (3, 4, 4)
    with Image.open(odd) as image:
        middle = image.resize((4, 4), Image.Resampling.BILINEAR, box=(0, 1.5, 5, 6.5))
        whole = image.resize((4, 4), Image.Resampling.BILINEAR)
    squashed = load(pets, image_size=4, fit="squash").train
    assert isinstance(squashed, Images)
    for images, expected in ((got.train, middle), (squashed, whole)):
        assert torch.equal(images.images[3], torch.from_numpy(np.array(expected)).permute(2, 0, 1))


def test_images_decoded_by_several_threads_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onsphere.data.decoding.CHUNK", 4)
    arrays = [pixels(50, 50, 3, seed=number) for number in range(11)]
    for number, array in enumerate(arrays):
        write(tmp_path / "train" / "a" / f"{number:02}.png", array)
    write(tmp_path / "test" / "a" / "0.png", arrays[0])
    got = load(tmp_path).train
    assert isinstance(got, Images)
    assert torch.equal(got.images, torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2))


def test_damaged_images_are_named(pets: Path) -> None:
    path = pets / "train" / "dog" / "1.png"
    whole = path.read_bytes()
    for content, reason in ((whole[:60], ""), (b"no image", "it is none of PNG, JPEG"), (b"", "it is none of")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"train/dog/1\.png': the image cannot be decoded: {reason}"):
            load(pets)


def test_folders_that_are_no_data_set_say_what_is_missing(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no data set in .*empty': expected train-images-idx3-ubyte\.gz"):
        load(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"0\.png' is a file: expected a folder"):
        load(pets / "test" / "cat" / "0.png")
    (pets / "test" / "cat").rename(pets / "test" / "cow")
    with pytest.raises(ValueError, match=r"test/cow': class 'cow' has no folder in the training set"):
        load(pets)
    (pets / "train" / "ant").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no image in .*train/ant'"):
        load(pets)
    (pets / "train" / "ant").rmdir()
    (pets / "test").rename(pets / "else")
    with pytest.raises(
        FileNotFoundError, match="no folder 'test' or 'validation' or 'val' or 'valid' with the classes"
    ):
        load(pets)
    (pets / "train").rename(pets / "test")
    (pets / "train").mkdir()
    with pytest.raises(FileNotFoundError, match="no folder of a class in"):
        load(pets)


def test_arguments_without_a_meaning_are_refused(pets: Path) -> None:
    with pytest.raises(ValueError, match=r"label='fine' has no meaning for the image files in .*pets'"):
        load(pets, label="fine")


# TinyImageNet


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    root = tmp_path / "tiny-imagenet-200"
    for number, name in enumerate(("n02", "n01")):
        for image in range(3):
            write(root / "train" / name / "images" / f"{name}_{image}.JPEG", pixels(8, 8, 3, seed=10 * number + image))
        (root / "train" / name / f"{name}_boxes.txt").write_text("n01_0.JPEG\t0\t62\t0\t62\n")
    lines = []
    for image, name in enumerate(("n02", "n01", "n01", "n02")):
        write(root / "val" / "images" / f"val_{image}.JPEG", pixels(8, 8, 3, seed=image))
        lines.append(f"val_{image}.JPEG\t{name}\t0\t32\t44\t62")
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    write(root / "test" / "images" / "test_0.JPEG", pixels(8, 8, 3))
    (root / "wnids.txt").write_text("n02\nn01\n")
    (root / "words.txt").write_text("n00\tthing\nn01\tgoldfish, Carassius auratus\nn02\tbullfrog\n")
    return root


def test_tiny_imagenet_is_tested_on_its_validation_set(tiny: Path) -> None:
    got = load(tiny)
    assert got.classes == ("goldfish, Carassius auratus", "bullfrog")
    assert got.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert got.test.labels.tolist() == [1, 0, 0, 1]
    assert isinstance(got.test, Images)
    with Image.open(tiny / "val" / "images" / "val_1.JPEG") as image:
        assert torch.equal(got.test.images[1], torch.from_numpy(np.array(image)).permute(2, 0, 1))


def test_tiny_imagenet_names_the_line_that_is_wrong(tiny: Path) -> None:
    listing = tiny / "val" / "val_annotations.txt"
    good = listing.read_text()
    for line, error, message in (
        ("val_9.JPEG\tn01\t0\t0\t0\t0", FileNotFoundError, r"no file .*val_9\.JPEG', which .* names in line 5"),
        ("val_0.JPEG\tn09\t0\t0\t0\t0", ValueError, "line 5: class 'n09' has no folder"),
        ("val_0.JPEG n01", ValueError, "line 5: 'val_0.JPEG n01': expected a file, a tab and its class"),
    ):
        listing.write_text(f"{good}{line}\n")
        with pytest.raises(error, match=message):
            load(tiny)


# Files


def test_files_decode_resize_and_select(pets: Path) -> None:
    got = load(pets, in_memory=False, image_size=4)
    train = got.train
    assert isinstance(train, Files)
    assert (repr(train), train.shape, len(train)) == ("Files(5 of 3 x 4 x 4)", (3, 4, 4), 5)
    kept = load(pets, in_memory=True, image_size=4)
    order = torch.tensor([4, 0, 3, 0])
    assert torch.equal(train.take(order), kept.train.take(order))
    few = train.select(torch.tensor([3, 1])).select(torch.tensor([1]))
    assert few.labels.tolist() == [0]
    assert torch.equal(few.take(torch.tensor([0])), kept.train.take(torch.tensor([1])))
    assert (got.mean, got.std) == (pytest.approx(kept.mean), pytest.approx(kept.std))
    moved = train.to("meta")
    assert (moved.labels.device.type, moved.take(order).device.type) == ("meta", "meta")
    assert train.take(order[:0]).shape == (0, 3, 4, 4)


def test_files_are_chosen_where_the_pixels_are_too_many(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = (5 + 2) * 6 * 5 * 3
    monkeypatch.setattr(choice, "LIMIT", small)
    assert isinstance(load(pets).train, Images)
    monkeypatch.setattr(choice, "LIMIT", small - 1)
    big = load(pets)
    assert isinstance(big.train, Files)
    assert big.train.shape == big.test.shape == (3, 256, 256)
    assert isinstance(load(pets, in_memory=True).train, Images)
    assert isinstance(load(pets, image_size=3).train, Images)  # resized, they are few


def test_files_name_what_is_damaged_or_gone_when_it_is_taken(pets: Path) -> None:
    train = load(pets, in_memory=False).train
    (pets / "train" / "dog" / "0.png").write_bytes(b"no image")
    (pets / "train" / "cat" / "0.png").unlink()
    with pytest.raises(ValueError, match=r"dog/0\.png': the image cannot be decoded"):
        train.take(torch.tensor([1, 3]))
    with pytest.raises(FileNotFoundError, match=r"no file .*cat/0\.png', which was there"):
        train.take(torch.tensor([0]))


def test_files_name_wrong_arguments(pets: Path) -> None:
    train = load(pets, in_memory=False).train
    assert isinstance(train, Files)
    with pytest.raises(ValueError, match=r"labels of shape \(4,\) and type torch\.int64: expected \(5,\)"):
        Files(train.encoded, train.labels[1:])
    with pytest.raises(ValueError, match="size=0: expected at least 1 pixel"):
        Files(train.encoded, train.labels, size=0)


# IDX through load


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes())


def test_idx_files_are_found(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("t10k", 2)):
        (tmp_path / f"{split}-images-idx3-ubyte.gz").write_bytes(idx(pixels(count, 3, 3)))
        (tmp_path / f"{split}-labels-idx1-ubyte.gz").write_bytes(idx(np.arange(count) % 2))
    got = load(tmp_path, name="digits")
    assert (got.name, got.train.labels.tolist()) == ("digits", [0, 1, 0, 1])
    with pytest.raises(ValueError, match="image_size=8 has no meaning for the IDX files in"):
        load(tmp_path, image_size=8)
    with pytest.raises(ValueError, match="fit='squash' has no meaning"):
        load(tmp_path, fit="squash")


@pytest.mark.skipif(not FASHION.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_debians_fashion_mnist() -> None:
    got = load(FASHION)
    assert (len(got.train), len(got.test), got.train.shape) == (60000, 10000, (1, 28, 28))
    assert torch.bincount(got.train.labels).tolist() == [6000] * 10
    assert got.mean == pytest.approx([0.2860], abs=1e-4)


# Hub


def split(count: int, *, labels: list[int] | None = None, columns: dict[str, str] | None = None) -> Any:
    """A split in memory whose images are encoded, as those of the hub are."""
    names = {"image": "image", "label": "label"} | (columns or {})
    features = datasets.Features(
        {names["image"]: datasets.Image(), names["label"]: datasets.ClassLabel(names=["cat", "dog"])}
    )
    encoded = []
    for number in range(count):
        file = io.BytesIO()
        Image.fromarray(pixels(6, 5, 3, seed=number)).save(file, format="PNG")
        encoded.append({"bytes": file.getvalue(), "path": None})
    values = labels or [number % 2 for number in range(count)]
    return datasets.Dataset.from_dict({names["image"]: encoded, names["label"]: values}, features=features)


Serve = Callable[[dict[str, Any]], list[tuple[Any, ...]]]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Let the hub have these splits; the list is of what it was asked for."""

    def start(splits: dict[str, Any]) -> list[tuple[Any, ...]]:
        asked: list[tuple[Any, ...]] = []

        def load_dataset(path: str, name: str | None = None, *, split: list[str] | None = None) -> Any:
            asked.append((path, name, split))
            return datasets.DatasetDict(splits) if split is None else [splits[one] for one in split]

        monkeypatch.setattr("onsphere.data.hub._reachable", lambda repository: True)
        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        return asked

    return start


@pytest.mark.parametrize("in_memory", [True, False])
def test_hub_names_give_images_labels_and_classes(serve: Serve, in_memory: bool) -> None:
    asked = serve({"train": split(5), "test": split(2)})
    got = load("someone/pets", in_memory=in_memory, image_size=None if in_memory else 6)
    assert asked == [("someone/pets", None, None)]
    assert (got.name, got.classes) == ("pets", ("cat", "dog"))
    assert got.train.labels.tolist() == [0, 1, 0, 1, 0]
    assert isinstance(got.train, Images if in_memory else Files)
    if in_memory:
        expected = torch.from_numpy(np.stack([pixels(6, 5, 3, seed=number) for number in (4, 1)])).permute(0, 3, 1, 2)
        assert torch.equal(got.train.take(torch.tensor([4, 1])), expected)
    else:
        assert got.train.take(torch.tensor([4, 1])).shape == (2, 3, 6, 6)


def test_hub_tests_on_a_split_with_labels(serve: Serve) -> None:
    asked = serve({"train": split(4), "test": split(2, labels=[-1, -1]), "valid": split(3)})
    assert len(load("pets").test) == 3
    assert len(load("pets", test_split="valid", config="small").test) == 3
    assert asked[1] == ("pets", "small", ["train", "valid"])
    with pytest.raises(ValueError, match="'pets' has no split test with labels: it has train, test"):
        load("pets", test_split="test")


def test_hub_columns_of_other_names(serve: Serve) -> None:
    cifar = {"image": "img", "label": "fine_label"}
    both = {name: split(count, columns=cifar) for name, count in (("train", 4), ("test", 2))}
    both = {name: one.add_column("coarse_label", [0] * len(one)) for name, one in both.items()}
    serve(both)
    assert load("uoft-cs/cifar100").train.labels.tolist() == [0, 1, 0, 1]
    coarse = load("uoft-cs/cifar100", label="coarse_label")
    assert (coarse.train.labels.tolist(), coarse.classes) == ([0, 0, 0, 0], ("0",))
    with pytest.raises(ValueError, match="has no column 'label': it has img, fine_label, coarse_label"):
        load("uoft-cs/cifar100", label="label")
    with pytest.raises(ValueError, match="has no column 'image': it has img, fine_label, coarse_label"):
        load("uoft-cs/cifar100", image="image")


def test_hub_columns_that_cannot_be_told_apart(serve: Serve) -> None:
    animals = {name: split(2, columns={"label": "animal"}) for name in ("train", "test")}
    serve(animals)
    assert len(load("pets").train) == 2
    other = split(2, columns={"image": "other", "label": "age"}).cast_column("age", datasets.Value("int64"))
    more = {name: datasets.concatenate_datasets([one, other], axis=1) for name, one in animals.items()}
    serve(more)
    with pytest.raises(ValueError, match="2 image columns among image, animal, other, age: expected one"):
        load("pets")
    serve({name: one.remove_columns("animal") for name, one in more.items()})
    with pytest.raises(ValueError, match="0 label columns among image, other, age: expected one"):
        load("pets", image="image")


def test_hub_splits_and_rows_that_are_wrong(serve: Serve) -> None:
    serve({"train": split(2).select([]), "test": split(2)})
    with pytest.raises(ValueError, match=r"'pets \(train\)' has no rows"):
        load("pets")
    serve({"all": split(2)})
    with pytest.raises(ValueError, match="'pets' has no split 'train': it has all"):
        load("pets")
    serve({"train": split(2), "test": split(2, labels=[1, 0]).cast_column("label", datasets.Value("string"))})
    with pytest.raises(ValueError, match=r"'pets \(test\)', row 0: label is '1': expected a number"):
        load("pets")
    numbers = split(3).remove_columns("label").add_column("label", [0, 1, 7])
    serve({"train": split(2), "test": numbers})
    with pytest.raises(ValueError, match=r"'pets \(test\)', row 2: label 7 in the test set: expected 0 to 1"):
        load("pets")
    bad = datasets.Dataset.from_dict(
        {"image": [{"bytes": b"no image", "path": None}], "label": [0]}, features=split(1).features
    )
    serve({"train": split(2), "test": bad})
    with pytest.raises(ValueError, match=r"'pets \(test\)', row 0: the image cannot be decoded"):
        load("pets")


def test_the_hub_is_reachable_if_it_answers_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    from onsphere.data.hub import _reachable

    # Made without its response, whose class depends on the HTTP package that is installed.
    missing = huggingface_hub.errors.RepositoryNotFoundError.__new__(huggingface_hub.errors.RepositoryNotFoundError)
    for raised, expected in (
        (missing, True),
        (OSError("no route to host"), False),
        (huggingface_hub.errors.OfflineModeIsEnabled("offline"), False),
    ):

        def dataset_info(*_: Any, raised: Exception = raised, **__: Any) -> None:
            raise raised

        monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
        assert _reachable("a/b") is expected


def test_no_connection_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real package, without a network: its own error, quickly."""
    monkeypatch.setattr("onsphere.data.hub._reachable", lambda repository: False)
    before = datasets.config.HF_HUB_OFFLINE
    with pytest.raises(
        ConnectionError, match="'no-one/never-downloaded' is no folder, and the hub cannot be reached"
    ) as caught:
        load("no-one/never-downloaded")
    assert "\n" not in str(caught.value)
    assert before == datasets.config.HF_HUB_OFFLINE


@pytest.mark.parametrize(
    ("raised", "expected", "message"),
    [
        (
            datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub\nor cannot be accessed."),
            FileNotFoundError,
            r"'a/b' is neither a folder nor a data set that the hub shows: .* Hub or cannot be accessed\.",
        ),
        (ValueError("Config name is missing.\nPick one"), ValueError, "'a/b' cannot be loaded.*missing. Pick one"),
        (ConnectionError("timed out"), ConnectionError, "the hub cannot be reached: timed out"),
    ],
)
def test_what_the_hub_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: type[Exception], message: str
) -> None:
    def load_dataset(*_: Any, **__: Any) -> Any:
        raise raised

    monkeypatch.setattr("onsphere.data.hub._reachable", lambda repository: True)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(expected, match=message):
        load("a/b")


def test_without_the_package_there_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"'a/b' needs the package 'datasets': pip install 'onsphere\[vision"):
        load("a/b")


@pytest.mark.parametrize(
    "source", ["./pets", "/no/such", "a/b/c", "~/no-such-folder", "../no-such-folder", Path("pets")]
)
def test_paths_are_not_looked_up_on_the_hub(source: str | Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*: expected one, or a name on the hub"):
        load(source)


# Parquet through load


def test_parquet_files_are_found_and_may_stay_encoded(tmp_path: Path) -> None:
    for name, count in (("train", 5), ("validation", 2)):
        path = tmp_path / "data" / f"{name}-00000-of-00001.parquet"
        path.parent.mkdir(exist_ok=True)
        split(count, columns={"image": "img"}).to_parquet(path)
    got = load(tmp_path)
    assert (got.classes, got.train.labels.tolist(), len(got.test)) == (("cat", "dog"), [0, 1, 0, 1, 0], 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        files = load(tmp_path, in_memory=False, image_size=5)
    assert isinstance(files.train, Files)
    order = torch.tensor([4, 0])
    assert torch.equal(files.train.take(order), load(tmp_path, image_size=5).train.take(order))
    with pytest.raises(ValueError, match="config='small' has no meaning for the parquet files in"):
        load(tmp_path, config="small")
