"""How open-set recognition is measured on images of identities that training has not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from onsphere import verification
from onsphere.data import Data, Files, Images, OpenSet
from onsphere.diagnostics import angular_fisher_score
from onsphere.models import Recogniser
from onsphere.recipes.observations import feature_record, features_of


@dataclass(frozen=True)
class UnseenPairs:
    """Verification on random pairs of the unseen images, and one-shot identification of all of them.

    The pairs are always the same ones, whatever the seed of the training is.

    Args:
        pairs: half of one identity, half of two.
        folds: in all but one of which the threshold is chosen.
        disjoint: every identity belongs to one fold only.
        mirrored: a feature is that of the image and behind it that of its mirror image.
    """

    pairs: int = 6000
    folds: int = 10
    disjoint: bool = True
    mirrored: bool = False

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
    model: nn.Module, data: Data, images: Images | Files, mirrored: bool = False
) -> tuple[Tensor, Tensor]:
    """Features of a recogniser, (N, D) or, with those of the mirror images behind them, (N, 2 D); and the labels."""
    assert isinstance(model, Recogniser)
    features, labels = features_of(model.body, data, images)
    if mirrored:
        features = torch.cat([features, features_of(model.body, data, images, mirrored=True)[0]], dim=1)
    return features, labels
