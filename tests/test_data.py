"""Data sets: what is read is what was written, and damaged files say what is wrong with them."""

from __future__ import annotations

import gzip
import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from onsphere.data import Data, Images, digits, mnist, noise, parquet

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
Image = pytest.importorskip("PIL.Image")


# digits


def test_digits_keep_their_test_set_and_balance_the_rest() -> None:
    full, few, others = digits(), digits(103), digits(103, seed=1)
    assert (len(full.train), len(full.test)) == (1000, 797)
    assert torch.equal(full.test.images, few.test.images)
    assert torch.equal(few.test.images, others.test.images)
    assert sorted(torch.bincount(few.train.labels).tolist()) == [10] * 7 + [11] * 3
    assert torch.equal(few.train.images, digits(103).train.images)
    assert not torch.equal(few.train.images, others.train.images)


def test_digits_do_not_share_images_between_train_and_test() -> None:
    data = digits()
    train, test = ({bytes(image.numpy().tobytes()) for image in split.images} for split in (data.train, data.test))
    assert len(train | test) == 1797
    assert data.train.images.max() == 255


def test_mean_and_std_are_the_training_pixels() -> None:
    data = digits(50)
    pixels = data.train.images.double() / 255
    assert data.mean == pytest.approx([pixels.mean().item()], abs=1e-12)
    assert data.std == pytest.approx([pixels.std(correction=0).item()], abs=1e-12)


@pytest.mark.parametrize("count", [9, 1001, -1])
def test_digits_name_a_wrong_count(count: int) -> None:
    with pytest.raises(ValueError, match=f"train_images={count}: expected 10 to 1000"):
        digits(count)


# IDX


def write_idx(path: Path, array: np.ndarray, *, magic: int | None = None, cut: int = 0) -> None:
    head = struct.pack(">I", 0x800 + array.ndim if magic is None else magic) + struct.pack(
        f">{array.ndim}I", *array.shape
    )
    content = head + array.astype(np.uint8).tobytes()
    content = content[: len(content) - cut]
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def idx(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for split, count, suffix in (("train", 12, ".gz"), ("t10k", 6, "")):
        write_idx(tmp_path / f"{split}-images-idx3-ubyte{suffix}", random.integers(0, 256, (count, 5, 4)))
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte{suffix}", np.arange(count) % 3)
    return tmp_path


def test_mnist_reads_idx_with_and_without_gzip(idx: Path) -> None:
    data = mnist(idx)
    expected = np.random.default_rng(0).integers(0, 256, (12, 5, 4))
    assert torch.equal(data.train.images[:, 0], torch.from_numpy(expected.astype(np.uint8)))
    assert data.test.images.shape == (6, 1, 5, 4)
    assert data.test.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert (data.num_classes, data.classes) == (3, ("0", "1", "2"))


def test_mnist_names_what_is_missing(idx: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder '.*nowhere'"):
        mnist(idx / "nowhere")
    (idx / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"no file t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte\.gz"):
        mnist(idx)


def test_mnist_names_a_wrong_magic_number(idx: Path) -> None:
    write_idx(idx / "t10k-images-idx3-ubyte", np.zeros((6, 5, 4)), magic=0x00000D03)
    with pytest.raises(ValueError, match="starts with 0x00000d03: expected 0x00000803"):
        mnist(idx)


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte"])
def test_mnist_names_a_file_cut_short(idx: Path, name: str) -> None:
    write_idx(idx / name, np.zeros((12, 5, 4)), cut=7)
    with pytest.raises(ValueError, match=f"{name}' has 249 bytes: expected 256 for 12 x 5 x 4"):
        mnist(idx)


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08damaged", b"plain"])
def test_mnist_names_damaged_gzip(idx: Path, content: bytes) -> None:
    (idx / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz' (is damaged|starts with)"):
        mnist(idx)


def test_mnist_names_labels_beyond_the_training_classes(idx: Path) -> None:
    write_idx(idx / "t10k-labels-idx1-ubyte", np.array([0, 1, 7, 0, 1, 2]))
    with pytest.raises(
        ValueError, match=r"t10k-labels-idx1-ubyte', row 2: label 7: expected 0 to 2, as in the training set"
    ):
        mnist(idx)


def test_mnist_names_different_numbers_of_images_and_labels(idx: Path) -> None:
    write_idx(idx / "t10k-labels-idx1-ubyte", np.zeros(5))
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte' has 5 labels: expected 6"):
        mnist(idx)


# parquet


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def write_parquet(
    path: Path,
    images: list[bytes | None],
    labels: list[int | None],
    *,
    names: list[str] | None = None,
    label: str = "label",
) -> None:
    table = pa.table({"image": [{"bytes": image, "path": None} for image in images], label: labels})
    if names is not None:
        features = {"image": {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def pixels(count: int, *shape: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(np.uint8))


def test_parquet_reads_shards_in_order_and_class_names(tmp_path: Path) -> None:
    arrays = pixels(8, 6, 5, 3)
    images = [png(array) for array in arrays]
    names = ["cat", "dog"]
    write_parquet(tmp_path / "data" / "train-00000-of-00002.parquet", images[:4], [0, 1, 0, 1], names=names)
    write_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", images[4:6], [1, 1], names=names)
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", images[6:], [1, 0], names=names)
    data = parquet(tmp_path, name="pets")
    assert (data.name, data.classes) == ("pets", ("cat", "dog"))
    assert torch.equal(data.train.images, torch.from_numpy(np.stack(arrays[:6])).permute(0, 3, 1, 2))
    assert data.train.labels.tolist() == [0, 1, 0, 1, 1, 1]
    assert data.test.labels.tolist() == [1, 0]


def test_parquet_reads_grey_images_fine_labels_and_a_flat_folder(tmp_path: Path) -> None:
    arrays = pixels(4, 6, 5)
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}-0.parquet", [png(a) for a in arrays], [0, 2, 1, 0], label="fine_label")
    data = parquet(tmp_path)
    assert torch.equal(data.train.images, torch.from_numpy(np.stack(arrays)).unsqueeze(1))
    assert (data.num_classes, data.classes, data.name) == (3, ("0", "1", "2"), tmp_path.name)


def broken(folder: Path, images: list[bytes | None], labels: list[int | None]) -> None:
    good = [png(array) for array in pixels(3, 6, 5, 3)]
    write_parquet(folder / "train-0.parquet", images or good, labels, names=["a", "b"])  # type: ignore[arg-type]
    write_parquet(folder / "test-0.parquet", good, [0, 1, 0], names=["a", "b"])  # type: ignore[arg-type]


def test_parquet_names_the_row_of_a_damaged_image(tmp_path: Path) -> None:
    good = png(pixels(1, 6, 5, 3)[0])
    for bad in (b"not an image", good[:40]):
        broken(tmp_path, [good, bad, good], [0, 1, 0])
        with pytest.raises(ValueError, match=r"train-0\.parquet', row 1: the image cannot be decoded"):
            parquet(tmp_path)
    broken(tmp_path, [good, good, None], [0, 1, 0])
    with pytest.raises(ValueError, match=r"train-0\.parquet', row 2: the image column holds no bytes"):
        parquet(tmp_path)


def test_parquet_names_the_row_of_another_size(tmp_path: Path) -> None:
    broken(tmp_path, [png(pixels(1, 6, 5, 3)[0]), png(pixels(1, 5, 5, 3)[0])], [0, 1])
    with pytest.raises(ValueError, match=r"row 1: the image is 5 x 5 x 3, but the first one is 6 x 5 x 3"):
        parquet(tmp_path)


def test_parquet_names_labels_out_of_range_or_missing(tmp_path: Path) -> None:
    broken(tmp_path, [], [0, 1, 2])
    with pytest.raises(ValueError, match=r"train-0\.parquet', row 2: label 2 in the train set: expected 0 to 1"):
        parquet(tmp_path)
    broken(tmp_path, [], [0, None, 1])
    with pytest.raises(ValueError, match="row 1: label is None: expected a number"):
        parquet(tmp_path)


def test_parquet_names_a_file_without_rows(tmp_path: Path) -> None:
    broken(tmp_path, [], [0, 1, 0])
    pq.write_table(pq.read_table(tmp_path / "train-0.parquet").slice(0, 0), tmp_path / "train-0.parquet")
    with pytest.raises(ValueError, match=r"train-0\.parquet' has no rows"):
        parquet(tmp_path)


def test_parquet_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder '.*nowhere'"):
        parquet(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no file train-\*\.parquet"):
        parquet(tmp_path)
    broken(tmp_path, [], [0, 1, 0])
    with pytest.raises(ValueError, match="has no column 'class': it has image, label"):
        parquet(tmp_path, label="class")
    (tmp_path / "train-0.parquet").write_bytes(b"PAR1 damaged")
    with pytest.raises(ValueError, match=r"train-0\.parquet' is damaged or not parquet"):
        parquet(tmp_path)


# Data, Images


def test_images_and_data_name_wrong_shapes_types_and_counts() -> None:
    images, labels = torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"images of shape \(2, 1, 4, 4\) and type torch.float32"):
        Images(images.float(), labels)
    with pytest.raises(ValueError, match=r"labels of shape \(2,\) and type torch.int32"):
        Images(images, labels.int())
    good = Images(images, labels)
    with pytest.raises(ValueError, match="3 class names for num_classes=2"):
        Data("x", good, good, 2, ("a", "b", "c"), (0.0,), (1.0,))
    with pytest.raises(ValueError, match="the test set has no images"):
        Data("x", good, Images(images[:0], labels[:0]), 2, ("a", "b"), (0.0,), (1.0,))
    with pytest.raises(ValueError, match="expected the same size"):
        Data("x", good, Images(images[:, :, 1:], labels), 2, ("a", "b"), (0.0,), (1.0,))


def test_a_set_gives_and_selects_images_by_their_indices() -> None:
    images = torch.arange(5 * 2 * 3 * 4).reshape(5, 2, 3, 4).to(torch.uint8)
    full = Images(images, torch.arange(5))
    assert full.shape == (2, 3, 4)
    assert torch.equal(full.take(torch.tensor([4, 0, 4])), images[[4, 0, 4]])
    few = full.select(torch.tensor([3, 1]))
    assert (len(few), few.labels.tolist()) == (2, [3, 1])
    assert torch.equal(few.images, images[[3, 1]])


def test_a_set_takes_indices_of_another_device() -> None:
    """The meta device stands for an accelerator: what is taken is where the set is."""
    moved = noise(3).train.to("meta")
    assert (moved.images.device.type, moved.labels.device.type) == ("meta", "meta")
    assert moved.take(torch.tensor([1, 2])).device.type == "meta"
    assert repr(moved) == "Images(256 of 3 x 32 x 32)"


def test_noise_is_drawn_from_its_seed_alone() -> None:
    data = noise(7, image_size=9, channels=1, train_images=20, test_images=5, seed=3)
    assert (data.train.shape, len(data.train), len(data.test)) == ((1, 9, 9), 20, 5)
    assert data.train.labels.tolist() == [i % 7 for i in range(20)]
    torch.rand(1)
    same = noise(7, image_size=9, channels=1, train_images=20, test_images=5, seed=3)
    other = noise(7, image_size=9, channels=1, train_images=20, test_images=5, seed=4)
    assert torch.equal(data.train.images, same.train.images)
    assert not torch.equal(data.train.images, other.train.images)
    with pytest.raises(ValueError, match="test_images=0: expected at least 1"):
        noise(7, test_images=0)


def test_mean_and_std_are_exact_over_several_thousand_images() -> None:
    data = noise(2, image_size=3, train_images=5000)
    pixels = data.train.images.double() / 255
    assert data.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert data.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=1e-12)
