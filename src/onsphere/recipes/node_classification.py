"""Nodes of a citation graph classified by a GCN: what the recipes of chapters 6 and 7 share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn

from onsphere import models
from onsphere.data import Graph, TensorData, block_graph, planetoid
from onsphere.data.planetoid_files import PlanetoidName
from onsphere.recipes.decoupled import WeightDecay
from onsphere.recipes.image_sets import NOISE
from onsphere.recipes.regularization import Term


@dataclass(frozen=True)
class GraphSet:
    """A citation graph with its public split.

    Args:
        title: as the papers write it.
        name: as ``data.planetoid`` has it.
        train: nodes to learn from; all of them are one batch.

    >>> CORA.load("noise")
    Graph('block graph', nodes=120, features=24, edges=352, train=15, validation=26, test=79)
    """

    title: str
    name: PlanetoidName
    train: int

    def load(self, dataset: str | None) -> Graph:
        """Read the graph once: the rows of a comparison get the same object.

        Args:
            dataset: a folder, None to download the files, or ``noise`` for a made-up graph.
        """
        return _load(self.name, dataset)


CORA = GraphSet("Cora", "cora", train=140)
CITESEER = GraphSet("CiteSeer", "citeseer", train=120)
PUBMED = GraphSet("PubMed", "pubmed", train=60)
GRAPHS = {each.name: each for each in (CORA, CITESEER, PUBMED)}


@lru_cache(maxsize=1)
def _load(name: PlanetoidName, dataset: str | None) -> Graph:
    return block_graph() if dataset == NOISE else planetoid(name, dataset)


def node_classification(
    graphs: GraphSet, dataset: str | None, hidden: int, dropout: float, epochs: int, scale: float = 1.0
) -> dict[str, Any]:
    """The part of a Recipe that says what is classified by which network: a GCN sees all nodes in every step.

    ``validation`` is the accuracy on the validation nodes, in percent, after the last epoch.

    Args:
        graphs: which one.
        dataset: as ``GraphSet.load`` takes it.
        hidden: neurons of the first layer.
        dropout: share of the inputs of both layers.
        epochs: steps.
        scale: factor on the first layer's weights as Glorot's rule draws them.
    """
    load = partial(graphs.load, dataset)
    return {
        "model": partial(_network, load, hidden, dropout, scale),
        "data": partial(_examples, load),
        "evaluate": partial(_validation, load=load),
        "epochs": epochs,
        "batch_size": graphs.train,
    }


def first_layer_decay(weight_decay: float) -> Term:
    """The weight decay of the published code: half the squared norm of the first layer's weight is in the loss.

    Args:
        weight_decay: its factor; 5e-4 in the paper.
    """
    return Term(WeightDecay, weight_decay, "hidden")


def _network(load: Callable[[], Graph], hidden: int, dropout: float, scale: float) -> nn.Module:
    graph = load()
    model = models.gcn(graph.distributions(), graph.edges, len(graph.classes), hidden=hidden, dropout=dropout)
    with torch.no_grad():
        first: nn.Linear = model.hidden.lin  # type: ignore[assignment]
        first.weight.mul_(scale)
    return model


def _examples(load: Callable[[], Graph]) -> TensorData:
    return load().data()


def _validation(model: nn.Module, load: Callable[[], Graph]) -> dict[str, float]:
    graph = load()
    nodes = graph.validation.to(next(model.parameters()).device)
    right = model(nodes).argmax(1).cpu() == graph.labels[graph.validation]
    return {"validation": 100 * right.float().mean().item()}
