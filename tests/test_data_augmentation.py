"""Augmentation: what it does to a pixel, that every image has its own, and that the generator alone decides."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onsphere.data import augment, auto_augment, centre_crop, crop_flip, cutout, flip, shift, then, trivial_augment
from onsphere.data.policies import AUTO, NAMES, OPERATIONS, WIDE, Space

Image = pytest.importorskip("PIL.Image")
ImageEnhance = pytest.importorskip("PIL.ImageEnhance")
ImageOps = pytest.importorskip("PIL.ImageOps")
pytest.importorskip("kornia")


def literal_augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    count, _, height, width = images.shape
    top, left = torch.randint(0, 9, (2, count), generator=generator).tolist()
    mirrored = (torch.rand(count, generator=generator) < 0.5).tolist()
    out = torch.zeros_like(images)
    for n in range(count):
        for y in range(height):
            for x in range(width):
                source_x = (width - 1 - x if mirrored[n] else x) + left[n] - 4
                source_y = y + top[n] - 4
                if 0 <= source_y < height and 0 <= source_x < width:
                    out[n, :, y, x] = images[n, :, source_y, source_x]
    return out


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_augment_is_pad_crop_and_flip(dtype: torch.dtype) -> None:
    images = torch.randint(1, 256, (16, 2, 7, 5)).to(dtype)
    fast = augment(images, torch.Generator().manual_seed(3))
    assert fast.dtype == dtype
    assert torch.equal(fast, literal_augment(images, torch.Generator().manual_seed(3)))


def test_augment_reaches_every_offset_and_leaves_its_input() -> None:
    images = torch.zeros(4000, 1, 9, 9, dtype=torch.uint8)
    images[:, :, 4, 4] = 255
    before = images.clone()
    moved = augment(images, torch.Generator().manual_seed(0))
    assert torch.equal(images, before)
    assert (moved.sum(0) > 0).all()  # the dot, 4 from every edge, comes to every pixel


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
        lambda image: st.tuples(st.just(image), st.integers(1, min(image)))
    ),
    seed=st.integers(0, 99),
)
def test_crop_flip_cuts_a_window_and_mirrors_it(size: tuple[tuple[int, int], int], seed: int) -> None:
    (height, width), crop = size
    images = torch.arange(3 * height * width).reshape(3, 1, height, width).to(torch.uint8)
    cropped = crop_flip(crop)(images, torch.Generator().manual_seed(seed))
    assert cropped.shape == (3, 1, crop, crop)
    for before, after in zip(images[:, 0], cropped[:, 0], strict=True):
        windows = [
            before[top : top + crop, left : left + crop]
            for top in range(height - crop + 1)
            for left in range(width - crop + 1)
        ]
        assert any(torch.equal(after, window) or torch.equal(after, window.flip(1)) for window in windows)


def test_crop_flip_reaches_every_window_and_both_ways() -> None:
    images = torch.arange(16).reshape(1, 1, 4, 4).to(torch.uint8).expand(2000, -1, -1, -1)
    cropped = crop_flip(3)(images, torch.Generator().manual_seed(0))
    assert len({bytes(image.numpy().tobytes()) for image in cropped}) == 2 * 2 * 2


def test_centre_crop_is_the_middle_and_crops_fit() -> None:
    images = torch.arange(6 * 8).reshape(1, 1, 6, 8)
    assert torch.equal(centre_crop(4)(images), images[:, :, 1:5, 2:6])
    for crop in (centre_crop(7), lambda batch: crop_flip(7)(batch, torch.Generator())):
        with pytest.raises(ValueError, match="crops of 7 x 7 from images of 6 x 8"):
            crop(images)


def test_then_applies_in_order_with_one_generator() -> None:
    images = torch.randint(0, 256, (8, 3, 12, 12), dtype=torch.uint8)
    generator = torch.Generator().manual_seed(5)
    by_hand = cutout(4)(augment(images, generator), generator)
    assert torch.equal(then(augment, cutout(4))(images, torch.Generator().manual_seed(5)), by_hand)
    assert torch.equal(then()(images, generator), images)


def test_cutout_paints_one_square_anywhere() -> None:
    images = torch.full((3000, 3, 6, 7), 9, dtype=torch.uint8)
    holes = cutout(3, fill=0)(images, torch.Generator().manual_seed(0)) == 0
    assert torch.equal(holes[:, 0], holes[:, 2])
    rows, columns = holes[:, 0].any(2), holes[:, 0].any(1)
    assert torch.equal(holes[:, 0], rows[:, :, None] & columns[:, None, :])  # a rectangle
    assert {tuple(sorted(set(count.tolist()))) for count in (rows.sum(1), columns.sum(1))} == {(2, 3)}
    assert holes[:, 0].float().mean(0).min() > 0


# AutoAugment, TrivialAugment

STRENGTHS = (0.0, 0.3, 0.7, 0.9, 1.0)
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def pillow(name: str, strength: float, space: Space) -> Callable[[Image.Image], Image.Image]:
    """The published operations, which are Pillow's."""
    way = -1 if strength < 0 else 1
    fill = (space.fill,) * 3

    def whole(most: float) -> int:
        return int(round(abs(strength) * 10) * most / 10)

    def affine(place: int, value: float) -> Callable[[Image.Image], Image.Image]:
        matrix = tuple(value if i == place else entry for i, entry in enumerate(IDENTITY))
        return lambda image: image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=fill)

    low, high = space.factors
    factor = low + (high - low) * abs(strength)
    return {
        "identity": lambda image: image,
        "invert": ImageOps.invert,
        "auto_contrast": ImageOps.autocontrast,
        "equalize": ImageOps.equalize,
        "solarize": lambda image: ImageOps.solarize(image, 256 - whole(256)),
        "posterize": lambda image: ImageOps.posterize(image, 8 - whole(8 - space.bits)),
        "shear_x": affine(1, space.shear * strength),
        "shear_y": affine(3, space.shear * strength),
        "translate_x": affine(2, way * whole(space.translate)),
        "translate_y": affine(5, way * whole(space.translate)),
        "rotate": lambda image: image.rotate(way * whole(space.rotate), fillcolor=fill),
        "brightness": lambda image: ImageEnhance.Brightness(image).enhance(factor),
        "color": lambda image: ImageEnhance.Color(image).enhance(factor),
        "contrast": lambda image: ImageEnhance.Contrast(image).enhance(factor),
        "sharpness": lambda image: ImageEnhance.Sharpness(image).enhance(factor),
    }[name]


def pictures() -> np.ndarray:
    """Noise, faint noise, a smooth picture, one colour."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3)).astype(np.uint8))
    return np.stack(
        [
            random.integers(0, 256, (20, 24, 3)).astype(np.uint8),
            random.integers(60, 120, (20, 24, 3)).astype(np.uint8),
            np.asarray(coarse.resize((24, 20), Image.Resampling.BICUBIC)),
            np.full((20, 24, 3), 77, dtype=np.uint8),
        ]
    )


@pytest.mark.parametrize("space", [AUTO, WIDE], ids=["auto", "wide"])
@pytest.mark.parametrize("name", NAMES)
def test_operations_are_pillows(name: str, space: Space) -> None:
    before = pictures()
    images = torch.from_numpy(before).permute(0, 3, 1, 2)
    for strength in (*STRENGTHS, *(-strength for strength in STRENGTHS)):
        after = OPERATIONS[name](images, torch.full((len(images),), strength), space)
        assert after.dtype == torch.uint8
        expected = np.stack([np.asarray(pillow(name, strength, space)(Image.fromarray(image))) for image in before])
        difference = (after.permute(0, 2, 3, 1).int() - torch.from_numpy(expected.astype(np.int32))).abs()
        # One level: Pillow cuts what we round. A place between two pixels goes to either of them.
        share = 0.03 if name in ("rotate", "shear_x", "shear_y") else 0
        assert (difference > 1).float().mean() <= share, (strength, difference.max())


@pytest.mark.parametrize("make", [lambda: auto_augment("cifar10"), trivial_augment])
def test_policies_depend_on_the_generator_alone(make: Callable[[], Callable[..., torch.Tensor]]) -> None:
    images = torch.from_numpy(pictures()).permute(0, 3, 1, 2).repeat(8, 1, 1, 1)
    before = images.clone()
    torch.manual_seed(1)
    first = make()(images, torch.Generator().manual_seed(7))
    state = torch.get_rng_state()
    torch.manual_seed(2)
    again = make()
    again(images[:3], torch.Generator().manual_seed(1))  # nothing is remembered
    assert torch.equal(again(images, torch.Generator().manual_seed(7)), first)
    assert not torch.equal(again(images, torch.Generator().manual_seed(8)), first)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)  # and the global one is not touched
    assert torch.equal(images, before)
    assert first.dtype == torch.uint8


def test_every_image_of_a_batch_has_its_own_operation() -> None:
    images = torch.from_numpy(pictures()[:1]).permute(0, 3, 1, 2).expand(400, -1, -1, -1)
    for augmentation in (auto_augment("cifar10"), trivial_augment()):
        out = augmentation(images, torch.Generator().manual_seed(0))
        assert len({bytes(image.numpy().tobytes()) for image in out}) > 50


def test_trivial_augment_draws_every_operation_but_invert_equally() -> None:
    drawn: list[torch.Tensor] = []

    def record(images: torch.Tensor, operation: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
        drawn.append(torch.stack([operation.double(), strength.double()]))
        return images

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onsphere.data.policies._applied", record)
        trivial_augment()(torch.zeros(14000, 3, 1, 1, dtype=torch.uint8), torch.Generator().manual_seed(0))
    operation, strength = drawn[0]
    counts = torch.bincount(operation.long(), minlength=len(NAMES))
    assert counts[NAMES.index("invert")] == 0
    assert counts[:-1].min() > 850  # of 1000, five standard deviations
    assert len(strength.unique()) == 61
    assert strength.mean().abs() < 0.03


def test_auto_augment_follows_its_table() -> None:
    drawn: list[torch.Tensor] = []

    def record(images: torch.Tensor, operation: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
        drawn.append(torch.stack([operation.double(), strength.double()]))
        return images

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onsphere.data.policies._applied", record)
        auto_augment("cifar10")(torch.zeros(25000, 3, 1, 1, dtype=torch.uint8), torch.Generator().manual_seed(0))
    assert len(drawn) == 2
    # translate_y comes first in three of the 25 pairs: with chance 0.4 at level 3, with 0.9 and 0.7 at level 9.
    operation, strength = drawn[0]
    moved = strength[operation == NAMES.index("translate_y")]
    assert len(moved) == pytest.approx(2000, abs=200)
    assert sorted({round(float(level), 1) for level in moved}) == [-0.9, -0.3, 0.3, 0.9]
    assert (moved.abs() > 0.5).double().mean() == pytest.approx(1.6 / 2.0, abs=0.05)
    assert NAMES.index("invert") in operation


def test_policies_take_grey_images_and_refuse_other_channels() -> None:
    grey = torch.from_numpy(pictures()[:, :, :, :1]).permute(0, 3, 1, 2)
    for augmentation in (auto_augment("cifar10"), trivial_augment()):
        assert augmentation(grey, torch.Generator().manual_seed(0)).shape == grey.shape
        with pytest.raises(ValueError, match=r"images of shape \(2, 4, 5, 5\): expected 1 or 3 channels"):
            augmentation(torch.zeros(2, 4, 5, 5, dtype=torch.uint8), torch.Generator())
    with pytest.raises(ValueError, match="policy='cifar100': expected cifar10, imagenet, svhn"):
        auto_augment("cifar100")  # type: ignore[arg-type]


def test_policies_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "kornia.enhance", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'onsphere\[vision\]'"):
        trivial_augment()


def test_flip_mirrors_about_half_of_the_images() -> None:
    images = torch.randint(256, (400, 2, 3, 5), dtype=torch.uint8)
    out = flip(images, torch.Generator().manual_seed(0))
    same = (out == images).flatten(1).all(1)
    mirrored = (out == images.flip(3)).flatten(1).all(1)
    assert bool((same ^ mirrored).all())
    assert 150 < int(mirrored.sum()) < 250


def test_shift_moves_by_whole_pixels_and_repeats_the_edge() -> None:
    images = torch.randint(256, (300, 2, 6, 7), dtype=torch.uint8)
    out = shift(2)(images, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(images.float(), (2, 2, 2, 2), mode="replicate").to(torch.uint8)
    found = set()
    for before, after in zip(padded, out, strict=True):
        moves = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if torch.equal(before[:, down : down + 6, right : right + 7], after)
        ]
        assert len(moves) == 1
        found.add(moves[0])
    assert len(found) == 25
    assert torch.equal(shift(0)(images, torch.Generator()), images)
    with pytest.raises(ValueError, match="pixels=-1: expected at least 0"):
        shift(-1)
