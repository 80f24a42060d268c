"""What the recipes look at: minimum angles, cosines of filters, accuracy by class, features."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from onsphere import diagnostics
from onsphere.data import Data, Files, Images
from onsphere.models import Recogniser

BATCH = 512


def minimum_angles(model: nn.Module) -> dict[str, dict[str, float]]:
    """The smallest angle between two neurons of every layer, in degrees (last columns of the MMA paper's Table 3).

    >>> layer = nn.Linear(2, 2, bias=False)
    >>> _ = nn.init.eye_(layer.weight)
    >>> minimum_angles(nn.Sequential(layer))
    {'minimum_angle_deg': {'0': 90.0}}
    """
    angles = diagnostics.minimum_angles(model)
    return {"minimum_angle_deg": {layer: round(math.degrees(angle), 4) for layer, angle in angles.items()}}


def classifier_angle(model: nn.Module) -> dict[str, dict[str, float]]:
    """The smallest angle between the weights of two classes, in degrees, as ``minimum_angles`` has it.

    Args:
        model: its last layer is the classifier.
    """
    return {"minimum_angle_deg": {"classifier": list(minimum_angles(model)["minimum_angle_deg"].values())[-1]}}


def first_layer_cosines(model: nn.Module, above: float = 0.2, bins: int = 100) -> dict[str, dict[str, object]]:
    """Histogram of the pairwise cosines of the first layer's filters, and how many exceed a bound (Figure 1).

    Args:
        model: any model with a layer of two neurons or more.
        above: the bound; the MMA paper counts 495 values above 0.2 without regularization and none with MMA.
        bins: equal bins over [-1, 1].

    >>> layer = nn.Linear(2, 3, bias=False)
    >>> layer.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> first_layer_cosines(nn.Sequential(layer), bins=4)["cosines"]["counts"]
    [0, 0, 1, 2]
    """
    layer = next(iter(diagnostics.minimum_angles(model)))
    cosines: Tensor = diagnostics.cosines(model, layer).detach().double().cpu()
    counts = torch.histc(cosines.clamp(-1, 1), bins=bins, min=-1.0, max=1.0)
    return {
        "cosines": {
            "layer": layer,
            "edges": [round(edge, 6) for edge in torch.linspace(-1, 1, bins + 1, dtype=torch.float64).tolist()],
            "counts": [int(count) for count in counts.tolist()],
            "above": above,
            "pairs_above": int((cosines > above).sum()),
            "pairs": cosines.numel(),
        }
    }


def class_accuracies(model: nn.Module, data: Callable[[], Data]) -> dict[str, list[float]]:
    """Top-1 accuracy on the test images of every class, in percent, by the number of the class (thesis, Table 5.7).

    Args:
        model: trained on ``data``.
        data: gives the data set.

    >>> from onsphere.data import digits
    >>> always_zero = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    >>> always_zero[1].bias.data = torch.eye(10)[0] * 1e3
    >>> class_accuracies(always_zero, digits)["class_top1"][:2]
    [100.0, 0.0]
    """
    source = data()
    right = torch.zeros(source.num_classes)
    for images, labels in batches(model, source, source.test):
        hits = model(images).argmax(1).cpu() == labels
        right += torch.bincount(labels[hits], minlength=source.num_classes)
    sizes = torch.bincount(source.test.labels.cpu(), minlength=source.num_classes)
    return {"class_top1": [round(share, 4) for share in (100 * right / sizes.clamp_min(1)).tolist()]}


def drawn_features(
    model: nn.Module, data: Callable[[], Data], full: Callable[[], Data], per_class: int = 200
) -> dict[str, object]:
    """Features in the plane or in space, the classifier's neurons and the accuracy by class (Figures 2.2, 2.10, 5.4).

    Args:
        model: a Recogniser, or a sequence whose last layer classifies what all layers before give; its features are two
            or three numbers.
        data: the data set that it was trained on, which says how images are normalised.
        full: the whole data set; the features are those of its images.
        per_class: images of each class whose features are kept, the first ones.

    Returns:
        ``features``: for ``train`` and ``test`` a list over the classes of {"x": [...], "y": [...]}, in space "z" too,
        and ``neurons``, the unit vectors of the classifier's weights; ``class_top1``, see class_accuracies.

    Raises:
        ValueError: if the features are neither two numbers nor three.
    """
    body, classifier = body_and_classifier(model)
    weight = classifier.weight
    assert isinstance(weight, Tensor)
    if weight.shape[1] not in (2, 3):
        raise ValueError(f"the classifier takes {weight.shape[1]} features: expected 2 or 3, to be drawn")
    directions = nn.functional.normalize(weight.detach().double().cpu())
    source, whole = data(), full()
    found: dict[str, object] = {"neurons": [[round(number, 5) for number in row] for row in directions.tolist()]}
    for name, images in (("train", whole.train), ("test", whole.test)):
        kept = [(images.labels == label).nonzero().flatten()[:per_class] for label in range(whole.num_classes)]
        points = features_of(body, source, images.select(torch.cat(kept)))[0]
        by_class = torch.split(points, [len(indices) for indices in kept])
        found[name] = [
            {axis: [round(value, 3) for value in values] for axis, values in zip("xyz", group.T.tolist(), strict=False)}
            for group in by_class
        ]
    return {"features": found, **class_accuracies(model, data)}


def feature_record(
    features: Tensor, labels: Tensor, confused: int = 20, pairs: int = 100_000, bins: int = 90
) -> dict[str, object]:
    """The angles between features within and between classes, and the mean cosines between classes (Figures 2.5, 2.10).

    Args:
        features: (N, D).
        labels: (N,).
        confused: classes of the confusion, the first ones.
        pairs: of each kind that angles are sampled from; all of them where there are fewer.
        bins: between 0 and pi.

    Returns:
        ``angles``: ``edges`` in radians, ``intra`` and ``inter``, counts; ``confusion``: (classes, classes).

    >>> x, y = torch.eye(4)[[0, 0, 1, 1]], torch.tensor([0, 0, 1, 1])
    >>> feature_record(x, y, bins=2)["angles"]["inter"], feature_record(x, y)["confusion"]
    ([0, 4], [[1.0, 0.0], [0.0, 1.0]])
    """
    sample = pairs if len(labels) * (len(labels) - 1) // 2 > pairs else None
    angles = diagnostics.angle_histograms(features, labels, bins, sample=sample)
    some = labels < confused
    cosines = diagnostics.cosine_confusion(features[some], labels[some], int(labels[some].max()) + 1)
    return {
        "angles": {
            "edges": [round(edge, 6) for edge in angles.edges.tolist()],
            "intra": angles.intra.tolist(),
            "inter": angles.inter.tolist(),
        },
        "confusion": [[round(value, 4) for value in row] for row in cosines.tolist()],
    }


def norms_of_classes(model: nn.Module, labels: Tensor) -> dict[str, object]:
    """The norms of the classifier's weights and the sizes of the classes (Figure A.2): ``weight_norms``."""
    weight = body_and_classifier(model)[1].weight
    assert isinstance(weight, Tensor)
    found = diagnostics.weight_norms(weight.detach(), labels)
    return {
        "weight_norms": {"norms": [round(norm, 5) for norm in found.norms.tolist()], "counts": found.counts.tolist()}
    }


def body_and_classifier(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """What gives the features of a network that ends with its classifier, and the classifier."""
    if isinstance(model, Recogniser):
        return model.body, getattr(model.classifier, "head", model.classifier)
    assert isinstance(model, nn.Sequential)
    return model[:-1], model[-1]


def features_of(
    body: nn.Module, data: Data, images: Images | Files, *, mirrored: bool = False
) -> tuple[Tensor, Tensor]:
    """What a network's body makes of images, (N, D) on the CPU, and their labels.

    Args:
        body: from normalised images to features, on one device.
        data: says how images are normalised.
        images: to look at.
        mirrored: left to right.
    """
    found = [
        (body(batch.flip(3) if mirrored else batch).float().cpu(), labels)
        for batch, labels in batches(body, data, images)
    ]
    return torch.cat([features for features, _ in found]), torch.cat([labels for _, labels in found])


def batches(model: nn.Module, data: Data, images: Images | Files) -> Iterator[tuple[Tensor, Tensor]]:
    """Images normalised as for training, on the model's device, and their labels."""
    weight = next(model.parameters())
    mean, std = (torch.tensor(values, device=weight.device).view(1, -1, 1, 1) for values in (data.mean, data.std))
    for first in range(0, len(images), BATCH):
        indices = torch.arange(first, min(first + BATCH, len(images)))
        batch = images.take(indices).to(weight.device, weight.dtype)
        yield (batch / 255 - mean) / std.clamp_min(1 / 255), images.labels[indices.to(images.labels.device)].cpu()
