"""The model that looks at the images of a set, and what it gives for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from onsphere.cli.factory import is_dotted, made
from onsphere.cli.mistakes import Mistake, words
from onsphere.data.decoding import Encoded, decode_some
from onsphere.diagnostics import WeightFileError, open_weights
from onsphere.verification.extraction import extract

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's grey


@dataclass(frozen=True)
class Look:
    """How images come before a model.

    Args:
        mean: taken from every pixel, one number or one a channel.
        std: what pixels are then divided by.
        colours: "rgb", "bgr" or "grey".
        flip: whether the mirror images are looked at.
        batch: images at a time.
    """

    mean: Sequence[float]
    std: Sequence[float]
    colours: str
    flip: bool
    batch: int


@dataclass(frozen=True)
class Pixels:
    """Encoded images, decoded when they are taken."""

    encoded: Encoded
    size: tuple[int, int]
    colours: str

    def __len__(self) -> int:
        return len(self.encoded)

    def take(self, indices: Tensor) -> Tensor:
        images = decode_some(self.encoded, indices.tolist(), self.size, "crop")
        if self.colours == "bgr":
            return images.flip(1)
        if self.colours == "grey":
            weight = torch.tensor(LUMINANCE).reshape(1, 3, 1, 1)
            return (images.float() * weight).sum(1, keepdim=True).round().to(torch.uint8)
        return images


def loaded(what: str, weights: Path | None, device: str | None) -> nn.Module:
    """The model that a dotted name stands for, with the weights of a file.

    Raises:
        Mistake: there is none, it is no module, or the weights do not fit it.
    """
    if not is_dotted(what):
        raise Mistake(f"--model {what}: expected MODULE:FACTORY, such as my_package.models:build")
    model = made(what)
    if not isinstance(model, nn.Module):
        raise Mistake(f"--model {what} gives weights alone: expected a torch.nn.Module, or a function that makes one")
    if weights is not None:
        load(model, weights)
    return model if device is None else model.to(device)


def load(model: nn.Module, weights: Path) -> None:
    """Put the weights of a file into a model.

    Raises:
        Mistake: they cannot be read, or do not fit it.
    """
    try:
        state = dict(open_weights(weights))
        model.load_state_dict(state)
    except FileNotFoundError as error:
        raise Mistake(f"there is no file {weights}") from error
    except WeightFileError as error:
        raise Mistake(str(error)) from error
    except OSError as error:
        raise Mistake(words(error)) from error
    except RuntimeError as error:
        said = [line.strip() for line in str(error).splitlines()]
        raise Mistake(f"{weights} does not fit the model: {' '.join(said[1:3])[:300]}") from error


def features(
    model: nn.Module, encoded: Encoded, size: tuple[int, int], look: Look, progress: Callable[[int], None]
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """What the model gives for all images, and for their mirror images.

    Raises:
        Mistake: an image cannot be decoded, or the model does not take such images or gives no features.
    """
    mean: Any = look.mean if len(look.mean) > 1 else look.mean[0]
    std: Any = look.std if len(look.std) > 1 else look.std[0]
    try:
        return extract(
            model,
            Pixels(encoded, size, look.colours),
            mean=mean,
            std=std,
            flip=look.flip,
            batch=look.batch,
            progress=progress,
        )
    except ValueError as error:
        raise Mistake(str(error)) from error
    except RuntimeError as error:  # the shape of an image, mostly
        shape = f"{1 if look.colours == 'grey' else 3} x {size[0]} x {size[1]}"
        raise Mistake(f"the model fails on images of {shape} ({str(error).splitlines()[0]}); see --size and --colours"
                      ) from error  # fmt: skip
