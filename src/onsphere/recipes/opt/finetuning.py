"""Few-shot classification: a new classifier for every episode, on features that stay, all episodes tuned at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onsphere.data import OpenSet, draw_episodes
from onsphere.recipes.observations import body_and_classifier, features_of

AT_ONCE = 100  # episodes; of 1600 features their classifiers, gradients and momenta take 10 MB


@dataclass(frozen=True)
class FewShot:
    """Accuracy on episodes of the unseen classes of an open set, each with a classifier of its own.

    Args:
        ways: classes of an episode.
        shots: images of each to tune on.
        queries: images of each to judge by.
        episodes: how many; always the same ones, whatever the seed of the training is.
        scale: c of the cosine classifier c w.x / (||w|| ||x||); None for the linear one, w.x + b.
        epochs: passes over the images to tune on.
        batch_size: images a step.
        learning_rate: of SGD with momentum 0.9, dampening 0.9 and weight decay 1e-3 (F.3).
    """

    ways: int = 5
    shots: int = 5
    queries: int = 15
    episodes: int = 600
    scale: float | None = None
    epochs: int = 100
    batch_size: int = 4
    learning_rate: float = 1e-2

    def metrics(self, model: nn.Module, load: Callable[[], OpenSet]) -> dict[str, float]:
        """``few_shot``, the mean accuracy of the episodes in percent, and ``few_shot_ci95``, half of its 95 % interval:
        1.96 standard deviations of the accuracies, divided by the root of their number."""
        source = load()
        if source.unseen is None:
            raise ValueError(f"{source.data.name} has no unseen images to draw episodes from: expected some")
        features, labels = features_of(body_and_classifier(model)[0], source.data, source.unseen)
        accuracies = 100 * self.accuracies(features, labels)
        half = 1.96 * accuracies.std(correction=0) / math.sqrt(len(accuracies))
        return {"few_shot": accuracies.mean().item(), "few_shot_ci95": half.item()}

    def accuracies(self, features: Tensor, labels: Tensor) -> Tensor:
        """Shares of the query images that are recognised, (episodes,), float64.

        Args:
            features: (N, D) of the unseen images.
            labels: (N,).
        """
        generator = torch.Generator().manual_seed(0)
        drawn = draw_episodes(labels, generator, self.episodes, ways=self.ways, shots=self.shots, queries=self.queries)
        features = features if self.scale is None else F.normalize(features)
        images = self.ways * self.shots
        bound = 1 / math.sqrt(features.shape[1])  # as torch draws the weights of a linear layer
        weights = bound * (2 * torch.rand(self.episodes, self.ways, features.shape[1], generator=generator) - 1)
        orders = torch.rand(self.episodes, self.epochs, images, generator=generator).argsort(2)
        found = []
        for part in torch.split(torch.arange(self.episodes), AT_ONCE):
            support = features[drawn.support[part]].flatten(1, 2)
            weight, bias = self.tuned(support, weights[part], orders[part])
            query = features[drawn.query[part]]
            answers = self.logits(query.flatten(1, 2), weight, bias).argmax(2).view(query.shape[:3])
            found.append((answers == torch.arange(self.ways)[:, None]).double().mean((1, 2)))
        return torch.cat(found)

    @torch.enable_grad()
    def tuned(self, support: Tensor, weight: Tensor, orders: Tensor) -> tuple[Tensor, Tensor]:
        """The classifiers of some episodes after SGD on their cross-entropies, weights (E, W, D) and biases (E, W).

        SGD acts on each number by itself, so that one optimizer tunes all as if each had its own. With momentum u and
        dampening d it is v <- u v + (1 - d) (gradient + decay w), w <- w - rate v, as torch has it.

        Args:
            support: (E, W K, D), the images of a class behind each other; for the cosine of norm 1.
            weight: (E, W, D) before the tuning; biases start at zero.
            orders: (E, epochs, W K): in what order the images come in each epoch.
        """
        weight, bias = weight.clone().requires_grad_(), weight.new_zeros(weight.shape[:2]).requires_grad_()
        labels = torch.arange(self.ways).repeat_interleave(self.shots)
        tuned = [weight, bias] if self.scale is None else [weight]
        optimizer = torch.optim.SGD(tuned, self.learning_rate, momentum=0.9, dampening=0.9, weight_decay=1e-3)
        episode = torch.arange(len(support))[:, None]
        for order in orders.unbind(1):
            for batch in torch.split(order, self.batch_size, 1):
                logits = self.logits(support[episode, batch], weight, bias)
                # A mean over the images of each episode, a sum over the episodes.
                loss = F.cross_entropy(logits.flatten(0, 1), labels[batch].flatten(), reduction="sum") / batch.shape[1]
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
        return weight.detach(), bias.detach()

    def logits(self, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """(E, B, W) of features (E, B, D), which for the cosine have norm 1; it has no bias."""
        if self.scale is None:
            return torch.baddbmm(bias[:, None], features, weight.mT)
        return self.scale * torch.bmm(features, F.normalize(weight, dim=2).mT)
