"""What a builder accepts as a size, and how the width factor scales it."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["height_and_width", "positive", "scaled"]


def positive(**sizes: int | Sequence[int] | None) -> None:
    """Refuse sizes below 1.

    Args:
        sizes: each argument under its name, a number, several, or None for what a network does without.

    Raises:
        ValueError: if one is below 1; the message repeats name and value.

    >>> positive(depth=9, widths=(64, 128, 256))
    >>> positive(num_classes=0)
    Traceback (most recent call last):
        ...
    ValueError: num_classes=0: expected at least 1
    """
    for name, value in sizes.items():
        if any(size < 1 for size in ((value,) if isinstance(value, int) else value or ())):
            raise ValueError(f"{name}={value!r}: expected at least 1")


def scaled(filters: Sequence[int], width: float) -> tuple[int, ...]:
    """The numbers of filters times ``width``, rounded, at least 1.

    Args:
        filters: of each stage at width 1.
        width: factor above 0.

    Raises:
        ValueError: if ``width`` is not above 0.

    >>> scaled((64, 128), 0.5)
    (32, 64)
    """
    if not width > 0:
        raise ValueError(f"width={width}: expected a factor above 0")
    return tuple(max(1, round(full * width)) for full in filters)


def height_and_width(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width of images in pixels, of which one number may stand for both.

    Args:
        image_size: (height, width), or the side of a square.

    Raises:
        ValueError: if it is not one or two whole numbers of at least 1.

    >>> height_and_width(28), height_and_width((112, 96))
    ((28, 28), (112, 96))
    """
    sizes = image_size if isinstance(image_size, tuple | list) else (image_size, image_size)
    if len(sizes) != 2 or not all(isinstance(size, int) and size >= 1 for size in sizes):
        raise ValueError(f"image_size={image_size!r}: expected a side or (height, width) in pixels, at least 1")
    return sizes[0], sizes[1]
