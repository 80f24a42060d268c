"""How open-set recognition is measured on images of identities that training has not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from onsphere import verification
from onsphere.data import Data, Files, Images, OpenSet, identities
from onsphere.diagnostics import angular_fisher_score
from onsphere.models import Recogniser
from onsphere.recipes.image_sets import NOISE
from onsphere.recipes.observations import feature_record, features_of

Joined = Literal["no", "concatenate", "sum"]


@dataclass(frozen=True)
class UnseenPairs:
    """Verification on random pairs of the unseen images, and one-shot identification of all of them.

    The pairs are always the same ones, whatever the seed of the training is.

    Args:
        pairs: half of one identity, half of two.
        folds: in all but one of which the threshold is chosen.
        disjoint: every identity belongs to one fold only.
        mirrored: see recogniser_features.
    """

    pairs: int = 6000
    folds: int = 10
    disjoint: bool = True
    mirrored: Joined = "no"

    def metrics(self, model: nn.Module, load: Callable[[], OpenSet]) -> dict[str, float]:
        """What ``verification.Verification.percent`` has, and ``rank1`` and ``afs``.

        ``rank1`` is the share, in percent, of the images that are most similar to the first image of their own
        identity among the first images of all; ``afs`` the angular Fisher score (lower is better).
        """
        features, labels = self._features(model, load())
        drawn = verification.random_pairs(labels.numpy(), self.pairs, self.folds, disjoint=self.disjoint)
        found = verification.verify(verification.scores(features.numpy(), drawn), drawn).percent()
        first = np.unique(labels.numpy(), return_index=True)[1]
        others = np.setdiff1d(np.arange(len(labels)), first)
        share = verification.rank1(
            features.numpy()[others], labels.numpy()[others], features.numpy()[first], labels.numpy()[first]
        )
        return {**found, "rank1": 100 * share, "afs": angular_fisher_score(features, labels)}

    def record(self, model: nn.Module, load: Callable[[], OpenSet]) -> dict[str, object]:
        """Angles and confusion of the unseen images, see ``feature_record``."""
        return feature_record(*self._features(model, load()))

    def _features(self, model: nn.Module, source: OpenSet) -> tuple[Tensor, Tensor]:
        if source.unseen is None:
            raise ValueError(f"{source.data.name} has no unseen images to make pairs of: expected some")
        return recogniser_features(model, source.data, source.unseen, self.mirrored)


def recogniser_features(
    model: nn.Module, data: Data, images: Images | Files, mirrored: Joined = "no"
) -> tuple[Tensor, Tensor]:
    """Features of a recogniser, (N, D), and the labels.

    Args:
        model: it.
        data: says how images are normalised.
        images: to look at.
        mirrored: whether those of the mirror images come behind them, (N, 2 D), as in the thesis, or are added.
    """
    assert isinstance(model, Recogniser)
    features, labels = features_of(model.body, data, images)
    if mirrored == "no":
        return features, labels
    others = features_of(model.body, data, images, mirrored=True)[0]
    return (features + others if mirrored == "sum" else torch.cat([features, others], dim=1)), labels


@dataclass(frozen=True)
class Faces:
    """What faces are measured on: ``.bin`` sets of pairs, and MegaFace's search among distractors.

    Args:
        bins: metric to file, such as ("lfw", "lfw.bin").
        size: height and width that images are brought to; of larger ones the middle is taken.
        probes: folder with a folder of images for each person, FaceScrub in the papers; None leaves MegaFace out.
        distractors: folder of folders of images of other people.
        mirrored: see recogniser_features.
    """

    bins: tuple[tuple[str, str], ...]
    size: tuple[int, int]
    probes: str | None = None
    distractors: str | None = None
    mirrored: Joined = "concatenate"

    def __post_init__(self) -> None:
        if (self.probes is None) != (self.distractors is None):
            raise ValueError(f"probes={self.probes!r}, distractors={self.distractors!r}: expected both, or neither")

    def check(self) -> None:
        """Raise FileNotFoundError before the training where a file would be missing after it."""
        for name, path in self.bins:
            if not Path(path).is_file():
                raise FileNotFoundError(f"no file {path!r} for {name}: expected a .bin set")
        for name, folder in (("probes", self.probes), ("distractors", self.distractors)):
            if folder is not None and not Path(folder).is_dir():
                raise FileNotFoundError(f"no folder {folder!r} for {name}: expected one with folders of images")

    def metrics(self, model: nn.Module, load: Callable[[], OpenSet]) -> dict[str, float]:
        """Accuracies of the pairs in percent and their standard deviations over ten folds, by the names of ``bins``;
        ``rank1`` and ``tar_at_far_1e-06`` of MegaFace; ``afs`` of the held-out images of those who were trained on."""
        source = load()
        if source.data.name == NOISE:
            return self._on_noise(model, source)
        found = {"afs": angular_fisher_score(*recogniser_features(model, source.data, source.data.test, self.mirrored))}
        for name, path in self.bins:
            pairs = verification.read_bin(path)
            images = Files(pairs, torch.zeros(len(pairs), dtype=torch.int64), self.size)
            features, _ = recogniser_features(model, source.data, images, self.mirrored)
            found |= _accuracy(name, features, pairs.pairs())
        if self.probes is not None and self.distractors is not None:
            folders = (identities(folder, self.size) for folder in (self.probes, self.distractors))
            found |= _megaface(*(recogniser_features(model, source.data, images, self.mirrored) for images in folders))
        return found

    def _on_noise(self, model: nn.Module, source: OpenSet) -> dict[str, float]:
        """The same metrics of nothing, to try the steps."""
        assert source.unseen is not None
        features, labels = recogniser_features(model, source.data, source.unseen, self.mirrored)
        pairs = verification.random_pairs(labels.numpy(), 8, 2)
        found = {"afs": angular_fisher_score(features, labels)}
        for name, _ in self.bins:
            found |= _accuracy(name, features, pairs)
        if self.probes is not None:
            known = labels < 2
            found |= _megaface((features[known], labels[known]), (features[~known], labels[~known]))
        return found


def _accuracy(name: str, features: Tensor, pairs: verification.Pairs) -> dict[str, float]:
    found = verification.verify(verification.scores(features.numpy(), pairs), pairs)
    return {name: 100 * found.accuracy, f"{name}_sd": 100 * found.accuracy_std}


def _megaface(probes: tuple[Tensor, Tensor], distractors: tuple[Tensor, Tensor]) -> dict[str, float]:
    features, labels = probes
    others, _ = distractors
    share = verification.rank1(features.numpy(), labels.numpy(), distractors=others.numpy())
    return {"rank1": 100 * share, "tar_at_far_1e-06": 100 * tar_among(features, labels, others, far=1e-6)}


def tar_among(features: Tensor, labels: Tensor, others: Tensor, far: float, tile: int = 4096) -> float:
    """The share of pairs of one person that score above all but a share ``far`` of the pairs with a distractor.

    Args:
        features: (P, D) of the probes; all pairs of one person among them count.
        labels: (P,).
        others: (N, D) of the distractors; each makes a pair with each probe.
        far: false accept rate.
        tile: distractors at a time; memory is that of tile * P numbers.

    >>> x, far = torch.tensor([[1.0, 0.0], [1.0, 0.1]]), torch.tensor([[0.0, 1.0], [1.0, 0.05]])
    >>> y = torch.tensor([0, 0])
    >>> tar_among(x, y, far, far=0.5), tar_among(x, y, far, far=0.01)
    (1.0, 0.0)
    """
    unit = nn.functional.normalize(features.double())
    allowed = int(far * len(features) * len(others))
    highest = torch.empty(0, dtype=torch.float64)
    for part in torch.split(others, tile):
        scores = torch.cat([highest, (unit @ nn.functional.normalize(part.double()).T).flatten()])
        highest = scores.topk(min(allowed + 1, len(scores))).values
    first, second = torch.triu_indices(len(labels), len(labels), offset=1)
    same = labels[first] == labels[second]
    scores = (unit[first[same]] * unit[second[same]]).sum(1)
    return (scores > highest[-1]).double().mean().item()
