"""A graph convolutional network of two layers, which holds the graph whose nodes it classifies."""

from __future__ import annotations

import importlib
import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onsphere.models.sizes import positive

__all__ = ["GCN", "gcn"]


class GCN(nn.Module):
    r"""Two layers of graph convolution.

    .. math:: Z = \hat{A} \, \mathrm{ReLU}(\hat{A} X W_0) W_1

    The graph is in buffers that no state dict has; the neurons, the columns of W_0 and W_1, are the rows of the linear
    layers ``hidden.lin`` and ``classifier.lin``.

    Args:
        features: X, (n, d).
        edges: of A, (2, E), from and to.
        weights: of the edges, (E,).
        hidden: the first layer, called with features, edges and weights.
        classifier: the second one.
        dropout: share of the inputs of both layers that is dropped in training.
    """

    words: Tensor
    values: Tensor
    edges: Tensor
    weights: Tensor

    def __init__(
        self,
        features: Tensor,
        edges: Tensor,
        weights: Tensor,
        hidden: nn.Module,
        classifier: nn.Module,
        dropout: float,
    ) -> None:
        super().__init__()
        # Most features are 0. To drop some of the others only is the same, and twenty times faster on Cora.
        sparse = features.to_sparse().coalesce()
        graph = {"words": sparse.indices(), "values": sparse.values(), "edges": edges, "weights": weights}
        for name, buffer in graph.items():
            self.register_buffer(name, buffer, persistent=False)
        self.shape = features.shape
        self.hidden, self.classifier, self.dropout = hidden, classifier, dropout

    def forward(self, nodes: Tensor) -> Tensor:
        """Logits of the nodes of these numbers, (k, classes); all the graph is seen for any of them.

        Args:
            nodes: (k,), int64.
        """
        kept = F.dropout(self.values, self.dropout, self.training)
        seen = torch.sparse_coo_tensor(self.words, kept, self.shape, is_coalesced=True, check_invariants=False)
        seen = F.relu(self.hidden(seen, self.edges, self.weights))
        seen = F.dropout(seen, self.dropout, self.training)
        logits: Tensor = self.classifier(seen, self.edges, self.weights)
        return logits[nodes]


def gcn(
    features: Tensor,
    edges: Tensor,
    num_classes: int,
    *,
    hidden: int = 16,
    dropout: float = 0.5,
    bias: bool = False,
) -> GCN:
    r"""The graph convolutional network of Kipf and Welling, with torch_geometric's layers.

    .. math:: Z = \hat{A} \, \mathrm{ReLU}(\hat{A} X W_0) W_1, \qquad
        \hat{A} = \tilde{D}^{-1/2} \tilde{A} \tilde{D}^{-1/2}, \qquad \tilde{A} = A + I

    with the degrees D of A + I; the thesis has the exponent without its sign. Weights are drawn by Glorot's rule, and
    biases are 0.

    Args:
        features: X, (n, d), a node in every row; in the paper rows are divided by their sums.
        edges: of A, (2, E), int64, every edge in both directions, as a ``Graph`` has them.
        num_classes: neurons of ``classifier``.
        hidden: neurons of ``hidden``; 16 in the paper.
        dropout: share of the inputs of both layers that is dropped in training; 0.5 in the paper.
        bias: whether layers have biases; they have none in the thesis and in the authors' published code (tkipf/gcn).

    Returns:
        A model that is called with the numbers of nodes and gives their logits.

    Raises:
        ModuleNotFoundError: if torch_geometric is missing.
        ValueError: if a size is below 1, or dropout not in [0, 1).

    Source: Kipf and Welling 2017, Semi-supervised classification with graph convolutional networks, equations 8 and 9;
    thesis, section 7.5.4 and equation E.24.

    >>> import torch
    >>> from onsphere.data import block_graph
    >>> graph = block_graph(nodes=60)
    >>> gcn(graph.distributions(), graph.edges, 3)(torch.arange(5)).shape
    torch.Size([5, 3])
    """
    positive(num_classes=num_classes, hidden=hidden)
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout}: expected a share from 0 to below 1")
    try:
        geometric = importlib.import_module("torch_geometric.nn.conv.gcn_conv")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "a graph convolutional network needs the package 'torch_geometric': pip install 'onsphere[graph]'",
            name=error.name,
        ) from error
    edges, weights = geometric.gcn_norm(edges, None, len(features), add_self_loops=True, dtype=features.dtype)
    sizes = (features.shape[1], hidden, num_classes)
    first, second = (
        geometric.GCNConv(inputs, outputs, bias=bias, normalize=False) for inputs, outputs in itertools.pairwise(sizes)
    )
    for layer in (first, second):
        # torch_geometric's own kind of linear layer is none of torch's, and only those are known to hold neurons.
        layer.lin = nn.Linear(layer.in_channels, layer.out_channels, bias=False)
        nn.init.xavier_uniform_(layer.lin.weight)
    return GCN(features, edges, weights, first, second, dropout)
