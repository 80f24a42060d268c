"""The model that looks at the images of a set, and what it gives for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from onsphere.cli.factory import is_dotted, made
from onsphere.cli.mistakes import Mistake, or_mistake, words
from onsphere.cli.verify.sets import image_size
from onsphere.data.decoding import Encoded, decode_some, grey
from onsphere.diagnostics import WeightFileError, open_weights
from onsphere.verification.extraction import extract

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Look:
    """How images come before a model.

    Args:
        mean: taken from every pixel, one number or one a channel.
        std: what pixels are then divided by.
        size: height and width; None where all images of a set have one already.
        colours: "rgb", "bgr" or "grey".
        flip: whether the mirror images are looked at.
        batch: images at a time.
    """

    mean: Sequence[float]
    std: Sequence[float]
    size: tuple[int, int] | None
    colours: str
    flip: bool = True
    batch: int = 64

    @property
    def channels(self) -> int:
        return 1 if self.colours == "grey" else 3


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
        return grey(images) if self.colours == "grey" else images


def loaded(what: str, weights: Path | None) -> nn.Module:
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
    return model


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


@dataclass(frozen=True)
class Eye:
    """A model, and how images come before it."""

    model: nn.Module
    look: Look

    def features(
        self, encoded: Encoded, progress: Callable[[int], None]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """What the model gives for all images, and for their mirror images.

        Raises:
            Mistake: an image cannot be decoded, or the model does not take such images or gives no features.
        """
        look = self.look
        size = look.size or or_mistake(lambda: image_size(encoded))
        try:
            return extract(
                self.model,
                Pixels(encoded, size, look.colours),
                mean=look.mean,
                std=look.std,
                flip=look.flip,
                batch=look.batch,
                progress=progress,
            )
        except ValueError as error:
            raise Mistake(str(error)) from error
        except RuntimeError as error:  # the shape of an image, mostly
            shape = f"{look.channels} x {size[0]} x {size[1]}"
            said = str(error).splitlines()[0]
            raise Mistake(f"the model fails on images of {shape} ({said}); see --size and --colours") from error
