"""A graph whose nodes are to be classified, and one that is made up."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from onsphere.data.tensors import TensorData, Tensors


@dataclass(frozen=True, eq=False)
class Graph:
    """An undirected graph with features and a class for every node, of which some are trained on.

    Args:
        name: as it shall stand in tables.
        features: (n, d), float32.
        edges: (2, E), int64, from and to; every edge is there in both directions, and no node has one to itself.
        labels: (n,), int64.
        train: (k,), int64, the nodes to learn from.
        validation: those to choose settings by; may be none.
        test: those to measure accuracy on.
        classes: the classes' names.

    Raises:
        ValueError: if shapes or types are others, a number of a node or a class is out of range, a node is in two of
            the three sets, or an edge is missing in one of its directions.

    >>> block_graph(nodes=60).data().train
    Tensors(15 of one number)
    """

    name: str
    features: Tensor
    edges: Tensor
    labels: Tensor
    train: Tensor
    validation: Tensor
    test: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.features.dtype != torch.float32 or self.features.dim() != 2:
            raise ValueError(f"{self.name}: features {_form(self.features)}: expected (n, d), torch.float32")
        nodes = len(self.features)
        if self.labels.dtype != torch.int64 or self.labels.shape != (nodes,):
            raise ValueError(f"{self.name}: labels {_form(self.labels)}: expected ({nodes},), torch.int64")
        if self.edges.dtype != torch.int64 or self.edges.dim() != 2 or len(self.edges) != 2:
            raise ValueError(f"{self.name}: edges {_form(self.edges)}: expected (2, E), torch.int64")
        _check_range(f"{self.name}: edges", self.edges, nodes)
        _check_range(f"{self.name}: labels", self.labels, len(self.classes))
        for split in ("train", "validation", "test"):
            chosen = getattr(self, split)
            if chosen.dtype != torch.int64 or chosen.dim() != 1:
                raise ValueError(f"{self.name}: {split} {_form(chosen)}: expected (k,), torch.int64")
            _check_range(f"{self.name}: {split}", chosen, nodes)
        times = torch.bincount(torch.cat((self.train, self.validation, self.test)), minlength=nodes)
        if (times > 1).any():
            twice = int((times > 1).nonzero()[0])
            raise ValueError(f"{self.name}: node {twice} is {int(times[twice])} times in train, validation and test")
        there, back = (start * nodes + end for start, end in (self.edges, self.edges.flip(0)))
        if not torch.equal(there.unique(), back.unique()) or len(there.unique()) < len(there):
            raise ValueError(f"{self.name}: edges: expected every edge once in each of its two directions")
        if (self.edges[0] == self.edges[1]).any():
            raise ValueError(f"{self.name}: edges: expected none from a node to itself")

    def __repr__(self) -> str:
        nodes, features = self.features.shape
        sets = f"train={len(self.train)}, validation={len(self.validation)}, test={len(self.test)}"
        return f"Graph({self.name!r}, nodes={nodes}, features={features}, edges={self.edges.shape[1] // 2}, {sets})"

    def data(self) -> TensorData:
        """The data set whose examples are the numbers of nodes; a network that classifies them holds the graph."""
        train, test = (Tensors(nodes, self.labels[nodes]) for nodes in (self.train, self.test))
        return TensorData(self.name, train, test, len(self.classes), self.classes)

    def distributions(self) -> Tensor:
        """Features divided by their sum over a node, (n, d); a node without any keeps its zeros.

        Source: Kipf and Welling 2017, Semi-supervised classification with graph convolutional networks, section 5.2.
        """
        total = self.features.sum(1, keepdim=True)
        return torch.where(total == 0, 0.0, self.features / torch.where(total == 0, 1.0, total))


def both_directions(edges: Tensor) -> Tensor:
    """Edges that may stand in one direction only, twice, or go from a node to itself, as a ``Graph`` has them.

    Args:
        edges: (2, E), int64.

    >>> both_directions(torch.tensor([[0, 0, 1, 2], [1, 1, 1, 0]])).T.tolist()
    [[0, 1], [0, 2], [1, 0], [2, 0]]
    """
    both = torch.cat((edges, edges.flip(0)), 1)
    found: Tensor = torch.unique(both[:, both[0] != both[1]], dim=1)
    return found


def _form(tensor: Tensor) -> str:
    return f"of shape {tuple(tensor.shape)} and type {tensor.dtype}"


def _check_range(what: str, numbers: Tensor, count: int) -> None:
    if numbers.numel() and not (int(numbers.min()) >= 0 and int(numbers.max()) < count):
        raise ValueError(f"{what} from {int(numbers.min())} to {int(numbers.max())}: expected 0 to {count - 1}")


def block_graph(
    num_classes: int = 3,
    nodes: int = 120,
    features: int = 24,
    *,
    train_per_class: int = 5,
    within: float = 0.1,
    between: float = 0.02,
    seed: int = 0,
) -> Graph:
    r"""A stochastic block model: nodes of one class are joined more often, and have more of the same words.

    .. math:: P(i \sim j) = p \text{ if } y_i = y_j, \text{ else } q

    Node i has class i modulo the number of classes. A word belongs to a class likewise; a node has each word of its own
    class with probability 0.3 and every other one with probability 0.1. A quarter of the nodes that are not trained on
    is for validation, the others are for testing.

    Args:
        num_classes: labels are 0 ... num_classes - 1.
        nodes: how many.
        features: words, 0 or 1 in every node.
        train_per_class: nodes of each class to learn from.
        within: p, probability of an edge within a class.
        between: q, probability of an edge between two classes.
        seed: of edges and words.

    Raises:
        ValueError: if a number is below 1, a probability is not between 0 and 1, or there are too few nodes to leave
            two of every class.

    Source: Holland, Laskey and Leinhardt 1983, Stochastic blockmodels: first steps.

    >>> block_graph()
    Graph('block graph', nodes=120, features=24, edges=352, train=15, validation=26, test=79)
    """
    for name, value in {"num_classes": num_classes, "features": features, "train_per_class": train_per_class}.items():
        if value < 1:
            raise ValueError(f"{name}={value}: expected at least 1")
    for name, share in {"within": within, "between": between}.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name}={share}: expected a probability, from 0 to 1")
    least = num_classes * (train_per_class + 2)
    if nodes < least:
        raise ValueError(f"nodes={nodes}: expected at least {least}, {train_per_class + 2} of each class")
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(nodes) % num_classes
    same = labels[:, None] == labels
    joined = torch.rand(nodes, nodes, generator=generator) < torch.where(same, within, between)
    own = labels[:, None] == torch.arange(features) % num_classes
    words = torch.rand(nodes, features, generator=generator) < torch.where(own, 0.3, 0.1)
    learned = num_classes * train_per_class
    checked = learned + (nodes - learned) // 4
    return Graph(
        name="block graph",
        features=words.float(),
        edges=both_directions(joined.triu(1).nonzero().T),
        labels=labels,
        train=torch.arange(learned),
        validation=torch.arange(learned, checked),
        test=torch.arange(checked, nodes),
        classes=tuple(str(label) for label in range(num_classes)),
    )
