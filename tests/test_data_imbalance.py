"""Imbalanced training sets have the thesis's numbers, and the seed alone decides which images they keep."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onsphere.data import Data, Files, Images, imbalanced, linear_imbalance, one_class_imbalance

# Of the 60,000 training images of MNIST, Yann LeCun's page.
MNIST = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)


def labelled(sizes: Sequence[int], seed: int = 0) -> Data:
    """A data set of these class sizes in mixed order, of images of one pixel, which is their row modulo 256."""
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    images = (torch.arange(len(labels)) % 256).to(torch.uint8).view(-1, 1, 1, 1)
    test = Images(torch.zeros(len(sizes), 1, 1, 1, dtype=torch.uint8), torch.arange(len(sizes)))
    names = tuple(map(str, range(len(sizes))))
    return Data("numbers", Images(images, labels), test, len(sizes), names, (0.0,), (1.0,))


def sizes(data: Data) -> list[int]:
    return torch.bincount(data.train.labels, minlength=data.num_classes).tolist()


def test_cifar10_single_has_a_tenth_of_class_0() -> None:
    full = labelled([5000] * 10)
    few = imbalanced(full, one_class_imbalance(full))
    assert sizes(few) == [500] + [5000] * 9
    assert len(few.train) == 45500


def test_cifar10_multiple_has_500_more_with_every_class() -> None:
    full = labelled([5000] * 10)
    few = imbalanced(full, linear_imbalance(full))
    assert sizes(few) == [500, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 4500, 5000]
    assert len(few.train) == 27500


def test_cifar100_single_has_a_tenth_of_ten_classes() -> None:
    full = labelled([500] * 100)
    few = imbalanced(full, one_class_imbalance(full, classes=range(10)))
    assert sizes(few) == [50] * 10 + [500] * 90


def test_cifar100_multiple_has_5_more_with_every_class() -> None:
    full = labelled([500] * 100)
    few = imbalanced(full, linear_imbalance(full))
    assert sizes(few) == [5 * (label + 1) for label in range(100)]
    assert len(few.train) == 25250


def test_mnist_keeps_100_zeros_or_two_per_cent() -> None:
    full = labelled(MNIST)
    assert sizes(imbalanced(full, one_class_imbalance(full, images=100))) == [100, *MNIST[1:]]
    assert one_class_imbalance(full, share=0.02) == (118, *MNIST[1:])


def test_the_test_set_stays_and_the_order_too() -> None:
    full = labelled([40, 60])
    few = imbalanced(full, [20, 60])
    assert few.test is full.test
    assert (few.name, few.classes) == (full.name, full.classes)
    kept = few.train.images.flatten().tolist()
    assert kept == sorted(kept)
    assert all(full.train.labels[row] == label for row, label in zip(kept, few.train.labels, strict=True))


def test_mean_and_std_are_those_of_the_images_left() -> None:
    few = imbalanced(labelled([40, 60]), [3, 50])
    pixels = few.train.images.double() / 255
    assert few.mean == pytest.approx([pixels.mean().item()], abs=1e-12)
    assert few.std == pytest.approx([pixels.std(correction=0).item()], abs=1e-12)


@given(
    counts=st.lists(st.integers(0, 30), min_size=2, max_size=5).filter(any),
    seed=st.integers(0, 2**63 - 1),
    state=st.integers(0, 9),
)
def test_the_seed_alone_decides_and_fewer_are_a_part_of_more(counts: list[int], seed: int, state: int) -> None:
    full = labelled([30] * len(counts), seed=state)
    torch.manual_seed(state)
    few, again = imbalanced(full, counts, seed), imbalanced(full, counts, seed)
    assert sizes(few) == counts
    assert torch.equal(few.train.images, again.train.images)
    more = imbalanced(full, [min(count + 1, 30) for count in counts], seed)
    assert set(few.train.images.flatten().tolist()) <= set(more.train.images.flatten().tolist())


def test_other_seeds_keep_other_images() -> None:
    full = labelled([50, 50])
    first, second = (imbalanced(full, [10, 50], seed).train.images for seed in (0, 1))
    assert not torch.equal(first, second)


class Grey:
    """Encoded images, each a square of one brightness: its row."""

    def __len__(self) -> int:
        return 20

    def read(self, index: int) -> bytes:
        return b"P5 2 2 255 " + bytes([index]) * 4

    def where(self, index: int) -> str:
        return f"row {index}"


def test_files_are_chosen_without_decoding_all() -> None:
    pytest.importorskip("PIL")
    files = Files(Grey(), torch.arange(20) % 2, size=2)
    full = Data("grey", files, files, 2, ("even", "odd"), (0.0,) * 3, (1.0,) * 3)
    few = imbalanced(full, [3, 10])
    assert sizes(few) == [3, 10]
    rows = few.train.take(torch.arange(13))[:, 0, 0, 0]
    assert torch.equal(rows.long() % 2, few.train.labels)
    assert few.mean == pytest.approx([rows.double().mean().item() / 255] * 3, abs=1e-12)


def test_wrong_counts_are_named() -> None:
    full = labelled([5, 6])
    with pytest.raises(ValueError, match="3 counts for the 2 classes of numbers"):
        imbalanced(full, [1, 2, 3])
    for count in (6, -1):
        with pytest.raises(ValueError, match=f"{count} images of class 0 of numbers: expected 0 to 5"):
            imbalanced(full, [count, 1])
    with pytest.raises(ValueError, match=r"share=0\.5 and images=3: expected one of them"):
        one_class_imbalance(full, share=0.5, images=3)
    with pytest.raises(ValueError, match=r"share=1\.5: expected 0 to 1"):
        one_class_imbalance(full, share=1.5)
    with pytest.raises(ValueError, match="class 2 of numbers: expected 0 to 1"):
        one_class_imbalance(full, classes=[2])
    with pytest.raises(ValueError, match="step=0 for the 2 classes of numbers: expected at least 1"):
        linear_imbalance(full, step=0)
