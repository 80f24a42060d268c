"""PointNet without its transformation networks."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from onsphere.models.sizes import positive, scaled

__all__ = ["pointnet"]

POINT_LAYERS = (64, 64, 64, 128, 1024)
CLOUD_LAYERS = (512, 256)


def pointnet(num_classes: int = 40, *, in_channels: int = 3, width: float = 1.0, dropout: float = 0.3) -> nn.Sequential:
    """PointNet's classifier of point clouds without T-Net: the same layers for every point, a maximum, an MLP.

    ``conv1`` to ``conv5`` are convolutions of size 1 with 64, 64, 64, 128 and 1024 filters, ``fc1`` and ``fc2`` have
    512 and 256 neurons; batch normalization and a ReLU follow each of them, and dropout the last. Weights are drawn by
    Glorot's rule, as in the authors' published code (charlesq34/pointnet, pointnet_cls_basic), and biases, which batch
    normalization makes useless, are left out. The order of the points does not matter.

    Args:
        num_classes: outputs of ``classifier``.
        in_channels: coordinates of a point.
        width: factor on all filters and neurons but the classifier's.
        dropout: share of the last 256 features that is dropped in training; the paper keeps 0.7 of them.

    Returns:
        A model of clouds (N, in_channels, P).

    Raises:
        ValueError: if a size is below 1, the width is not above 0, or dropout not in [0, 1).

    Source: Qi et al. 2017, PointNet: deep learning on point sets for 3D classification and segmentation, section 4.2
    and supplement C; thesis, section 7.5.5.

    >>> import torch
    >>> pointnet(8, width=0.1)(torch.zeros(2, 3, 100)).shape
    torch.Size([2, 8])
    >>> sum(p.numel() for p in pointnet().parameters())
    817512
    """
    positive(num_classes=num_classes, in_channels=in_channels)
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout}: expected a share from 0 to below 1")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    features = in_channels
    for i, filters in enumerate(scaled(POINT_LAYERS, width), start=1):
        layers[f"conv{i}"] = nn.Conv1d(features, filters, 1, bias=False)
        layers[f"bn{i}"] = nn.BatchNorm1d(filters)
        layers[f"relu{i}"] = nn.ReLU(inplace=True)
        features = filters
    layers["max_pool"] = nn.AdaptiveMaxPool1d(1)
    layers["flatten"] = nn.Flatten()
    for i, neurons in enumerate(scaled(CLOUD_LAYERS, width), start=1):
        layers[f"fc{i}"] = nn.Linear(features, neurons, bias=False)
        layers[f"bn_fc{i}"] = nn.BatchNorm1d(neurons)
        layers[f"relu_fc{i}"] = nn.ReLU(inplace=True)
        features = neurons
    layers["dropout"] = nn.Dropout(dropout)
    layers["classifier"] = nn.Linear(features, num_classes)
    model = nn.Sequential(layers)
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model
