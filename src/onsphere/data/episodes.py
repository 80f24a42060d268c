"""Episodes of few-shot learning: some classes of a set, a few examples of each to learn from, others to judge."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Episodes", "draw_episodes"]


@dataclass(frozen=True)
class Episodes:
    """Which examples of a labelled set belong to which episode.

    Args:
        classes: (E, W), int64: the labels of each episode's classes. Within the episode they are 0 ... W - 1, in this
            order.
        support: (E, W, K), int64: indices of the examples to learn from, by class.
        query: (E, W, Q), int64: indices of those to judge by.
    """

    classes: Tensor
    support: Tensor
    query: Tensor

    def __len__(self) -> int:
        return len(self.classes)


def draw_episodes(
    labels: Tensor, generator: torch.Generator, count: int = 600, *, ways: int = 5, shots: int = 5, queries: int = 15
) -> Episodes:
    """Draw episodes: classes at random, of each of them examples at random, none twice within an episode.

    Args:
        labels: (N,), int64, at least 0: of the examples to draw from, such as the unseen images of an open set.
        generator: the source of everything random, on the CPU; equal ones draw equal episodes.
        count: E, the number of episodes; by default the 600 of Chen et al.
        ways: W, classes of an episode.
        shots: K, examples of each class to learn from (thesis: 5).
        queries: Q, further examples of each class; 15 as in Chen et al.

    Raises:
        ValueError: if a number is below 1, or if fewer classes than ``ways`` have ``shots + queries`` examples; those
            that have fewer are never drawn.

    Source: Chen et al., A Closer Look at Few-shot Classification (ICLR 2019), section 4.1; thesis, F.3.

    >>> labels = torch.arange(40) % 4
    >>> drawn = draw_episodes(labels, torch.Generator().manual_seed(0), 3, ways=2, shots=1, queries=4)
    >>> drawn.support.shape, drawn.query.shape
    (torch.Size([3, 2, 1]), torch.Size([3, 2, 4]))
    >>> bool((labels[drawn.query] == drawn.classes[:, :, None]).all())
    True
    """
    for name, value in {"count": count, "ways": ways, "shots": shots, "queries": queries}.items():
        if value < 1:
            raise ValueError(f"{name}={value}: expected at least 1")
    labels = labels.cpu()
    sizes = labels.bincount()
    enough = (sizes >= shots + queries).nonzero().flatten()
    if len(enough) < ways:
        raise ValueError(
            f"shots={shots} and queries={queries}: {len(enough)} of {int((sizes > 0).sum())} classes have so many "
            f"examples: expected at least ways={ways}"
        )
    members = torch.split(labels.argsort(stable=True), sizes.tolist())
    classes, examples = [], []
    for _ in range(count):
        chosen = enough[torch.randperm(len(enough), generator=generator)[:ways]]
        classes.append(chosen)
        for label in chosen.tolist():
            order = torch.randperm(int(sizes[label]), generator=generator)
            examples.append(members[label][order[: shots + queries]])
    drawn = torch.stack(examples).view(count, ways, shots + queries)
    return Episodes(torch.stack(classes), drawn[:, :, :shots], drawn[:, :, shots:])
