"""The attacks on the rows of a run, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from onsphere import attacks
from onsphere.attacks.evaluation import Attack, chosen
from onsphere.cli.mistakes import Mistake, or_mistake
from onsphere.cli.verify.trained import Trained
from onsphere.data import Images

NORMS: tuple[Literal["l2", "linf"], ...] = ("l2", "linf")
TITLES = {"none": "none", "fgsm": "FGSM", "bim": "BIM", "l2": "DeepFool ℓ₂", "linf": "DeepFool ℓ∞"}
PIXEL = 255
# Forward and backward passes of DeepFool for one image, about: some three steps for ten classes.
PASSES = 66


@dataclass
class Found:
    """What the attacks on one row found.

    Args:
        trained: the row.
        accuracy: by the name of the attack, in per cent.
        strengths: of DeepFool, by the norm that was small.
    """

    trained: Trained
    accuracy: dict[str, float] = field(default_factory=dict)
    strengths: dict[str, attacks.Strengths] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What is done to every row.

    Args:
        images: test images, uint8, on the device.
        source: the attacker's network, for pixels from 0 to 1; None in a white box.
        parts: what is measured, in this order: "none", "fgsm", "bim", "l2", "linf", the last two being DeepFool.
        calls: what "fgsm" and "bim" are.
        steps: of BIM.
        batch: images at a time.
    """

    images: Images
    source: nn.Module | None
    parts: Sequence[str]
    calls: Mapping[str, Attack]
    steps: int
    batch: int

    def costs(self) -> dict[str, int]:
        """Passes through a network for one image, about, by the parts."""
        known: dict[str, int] = {"none": 1, "fgsm": 3, "bim": 2 * self.steps + 1, "l2": PASSES, "linf": PASSES}
        return {part: known[part] for part in self.parts}

    def do(self, trained: Trained, told: Callable[[str, int], None]) -> Found:
        """Attack one row.

        Args:
            trained: the row.
            told: hears the part and the number of images done.

        Raises:
            Mistake: the network cannot be attacked.
        """
        found, model = Found(trained), in_pixels(trained, self.images.images.device)
        try:
            for part in self.parts:
                progress = partial(told, part)
                if part in NORMS:
                    found.strengths[part] = attacks.strengths(
                        model,
                        self.images,
                        partial(attacks.deepfool, norm=part),
                        batch_size=self.batch,
                        progress=progress,
                    )
                else:
                    found.accuracy[part] = attacks.robustness(
                        model, self.images, self.calls.get(part), self.source, batch_size=self.batch, progress=progress
                    )
        except (RuntimeError, ValueError) as error:
            raise Mistake(f"{trained.row}: {str(error).splitlines()[0]}") from error
        return found


def attack_rows(rows: Sequence[Trained], work: Work, found: list[Found], told: Callable[[float, str], None]) -> None:
    """Attack every row; those that are finished are in ``found``, also where it is interrupted.

    Args:
        rows: to attack.
        work: what is done.
        found: is added to.
        told: hears the share of all work that is done, and what is being done.
    """
    costs, count = work.costs(), len(work.images)
    of_a_row = sum(costs.values())
    for number, trained in enumerate(rows):

        def heard(part: str, done: int, number: int = number, row: str = trained.row) -> None:
            earlier = sum(costs[each] for each in work.parts[: work.parts.index(part)])
            share = (number * of_a_row + earlier + costs[part] * done / count) / (len(rows) * of_a_row)
            told(share, f"{row}, {TITLES[part]}: {done:,} images")

        found.append(work.do(trained, heard))


def in_pixels(trained: Trained, device: torch.device) -> nn.Module:
    """The network of a training for pixels from 0 to 1."""
    return attacks.Normalized(trained.model, trained.data.mean, trained.data.std).to(device).eval()


def attacked_images(trained: Trained, limit: int | None) -> Images:
    """Test images as the network is tested on them, all or a random choice that is always the same."""
    test = trained.data.test
    indices = chosen(len(test), limit)
    images = or_mistake(lambda: test.take(indices))  # of files: one may be damaged
    if trained.recipe.test_transform is not None:
        images = trained.recipe.test_transform(images)
    return Images(images, test.labels[indices.to(test.labels.device)])


def check_source(source: Trained, folder: Path, target: Trained, run: Path) -> None:
    """Raise a Mistake where the images of one network mean nothing to the other."""
    kinds = [(each.data.num_classes, each.shape) for each in (source, target)]
    if kinds[0] != kinds[1]:
        theirs, ours = (f"{count} classes of {' x '.join(map(str, shape))} images" for count, shape in kinds)
        raise Mistake(
            f"--source {folder} knows {theirs}, but {run} {ours}: the attacker's network must have learned the same "
            "classes from images of the same size"
        )
