"""From encoded image files to pixels: one image, some of them, or a whole set at once."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL import Image

Fit = Literal["crop", "squash"]
Size = int | tuple[int, int]
"""Height and width in pixels, or one number for both."""

# In this order they are tried; Pillow's other formats take time to be ruled out.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "PPM", "TIFF")
WORKERS = min(8, os.cpu_count() or 1)
CHUNK = 512


class Encoded(Protocol):
    """A sequence of encoded images, read one at a time and from several threads."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """The bytes of one image file."""

    def where(self, index: int) -> str:
        """The file, and the row in it, for messages."""


def grey(images: Tensor) -> Tensor:
    """Colour images as grey ones, (N, 3, H, W) uint8 to (N, 1, H, W): the luma of ITU-R BT.601, as Pillow's."""
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True).round_().to(torch.uint8)


def height_and_width(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def decode(encoded: Encoded, index: int, image_size: Size | None, fit: Fit) -> Any:
    """One image, (H, W, C) uint8 with C = 1 for grey and 3 for everything else, of its own size or of image_size.

    Raises:
        ValueError: if it cannot be decoded.
    """
    with _opened(encoded, index) as image:
        pixels: Any = np.array(_resized(_plain(image), image_size, fit))  # a copy: torch warns of read-only arrays
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


@contextmanager
def _opened(encoded: Encoded, index: int) -> Iterator[Image.Image]:
    """An image file whose pixels are read when they are used; what is wrong with them then becomes a ValueError."""
    from PIL import Image, UnidentifiedImageError

    content = encoded.read(index)
    where = f"{encoded.where(index)}: the image cannot be decoded"
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            yield image
    except UnidentifiedImageError as error:  # its own text is an address in memory
        raise ValueError(f"{where}: it is none of {', '.join(FORMATS)}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{where}: {error}") from error


def _plain(image: Image.Image) -> Image.Image:
    """Eight bits a channel, and grey or RGB."""
    from PIL import Image

    if image.mode.startswith("I;16"):  # Pillow's own conversion clips instead of scaling
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    wanted = "L" if image.mode in ("L", "1") else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def _resized(image: Image.Image, size: Size | None, fit: Fit) -> Image.Image:
    from PIL import Image

    if size is None:
        return image
    height, width = height_and_width(size)
    if image.size == (width, height):
        return image
    across, down = image.size
    box = (0.0, 0.0, float(across), float(down))
    if fit == "crop":  # the largest middle part of the new shape: for a square, resizing the shorter side and cropping
        tall = across * height <= down * width
        wide, high = (across, across * height / width) if tall else (down * width / height, down)
        left, top = (across - wide) / 2, (down - high) / 2
        box = (left, top, left + wide, top + high)
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box)


def decode_some(encoded: Encoded, indices: Sequence[int], image_size: Size, fit: Fit) -> Tensor:
    """Some images of one size in colour, (len(indices), 3, height, width) uint8, decoded by several threads.

    Raises:
        ValueError: if one of them cannot be decoded.
    """
    images = np.empty((len(indices), 3, *height_and_width(image_size)), dtype=np.uint8)

    def fill(place: int) -> None:
        images[place] = decode(encoded, indices[place], image_size, fit).transpose(2, 0, 1)

    with ThreadPoolExecutor(min(WORKERS, max(1, len(indices)))) as pool:
        for _ in pool.map(fill, range(len(indices))):
            pass
    return torch.from_numpy(images)


def decode_all(encoded: Encoded, image_size: Size | None, fit: Fit) -> Tensor:
    """A whole set in memory, (N, C, H, W) uint8: one channel if every image is grey, else three.

    Raises:
        ValueError: if an image cannot be decoded, or if one is of another size than the first and no image_size is
            given.
    """
    first = decode(encoded, 0, image_size, fit)
    height, width, channels = first.shape
    images = np.empty((len(encoded), channels, height, width), dtype=np.uint8)
    for index, pixels in enumerate(_in_order(partial(decode, encoded, image_size=image_size, fit=fit), encoded, first)):
        if pixels.shape[:2] != first.shape[:2]:
            raise ValueError(
                f"{encoded.where(index)}: the image is {_size(pixels)}, but the first one is "
                f"{_size(first)}: give image_size to resize them all"
            )
        if pixels.shape[2] > images.shape[1]:
            images = np.repeat(images, 3, axis=1)  # all grey so far
        images[index] = pixels.transpose(2, 0, 1)
    return torch.from_numpy(images)


def _in_order(decode_one: Callable[[int], Any], encoded: Encoded, first: Any) -> Iterator[Any]:
    # Pillow holds the interpreter lock for most of the time that a small image takes: more threads are slower then.
    if first.shape[0] * first.shape[1] < 48 * 48:
        yield from map(decode_one, range(len(encoded)))
        return
    with ThreadPoolExecutor(WORKERS) as pool:
        # In chunks, so that a set is not in memory twice, and that an error ends the work.
        for start in range(0, len(encoded), CHUNK):
            yield from pool.map(decode_one, range(start, min(start + CHUNK, len(encoded))))


def header(encoded: Encoded, index: int) -> tuple[int, int]:
    """Width and height of an image, which is not decoded for it."""
    with _opened(encoded, index) as image:
        return image.size


def _size(pixels: Any) -> str:
    return " x ".join(map(str, pixels.shape))
