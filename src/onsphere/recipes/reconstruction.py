"""Images rebuilt from angles alone and from norms alone: Figure 1.1 of the thesis, on MNIST."""

from __future__ import annotations

import base64
import copy
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam

from onsphere import models
from onsphere.angular import Cosine
from onsphere.data import Data, Files, Images
from onsphere.layers import convert
from onsphere.magnitude import Linear, Sphere
from onsphere.models.autoencoder import Autoencoder
from onsphere.recipes.entry import Entry
from onsphere.recipes.image_sets import MNIST
from onsphere.recipes.mhe.training import counted_in_steps
from onsphere.recipes.observations import batches, minimum_angles
from onsphere.recipes.settings import check_positive
from onsphere.train import Recipe
from onsphere.where import named

READINGS = ("inner product", "angles", "norms")
SCALED_ON = 2000  # training images from which the scales are


def mnist_reconstruction(
    dataset: str = "ylecun/mnist",
    row: Literal["autoencoder"] = "autoencoder",
    coefficient: float | None = None,
    widths: tuple[int, ...] = (16, 32),
    latent: int = 16,
    train_images: int | None = None,
    test_images: int | None = None,
    steps: int = 1500,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
) -> Recipe:
    """Figure 1.1 of the thesis: an autoencoder's inner products are replaced by angles or by norms; a minute on a CPU.

    A convolutional autoencoder of MNIST is trained as usual: two 3 x 3 convolutions of stride 2, a third one without
    bias and activation, `latent`, whose outputs ||w|| ||x|| cos(theta) are the latent space, and a decoder of
    transposed convolutions. Then all weights stay as they are, and `latent` gives either cos(theta) or ||w|| ||x||. The
    decoder was made for numbers of the size of inner products; so what it gets is multiplied by one number, the same
    for all filters, places and images, that makes its root mean square over training images that of the inner products.

    The result holds, of the test images, the mean correlation between an image and what is rebuilt of it, over its
    pixels, and the mean squared error (of pixels from 0 to 1), for inner products, angles and norms, and a test image
    of each digit with the three that are rebuilt. The thesis's claim is that angles rebuild images "very well" and
    norms nothing "meaningful": a correlation near that of inner products, and one near 0. It gives no numbers, and its
    own images and network are not described.

    Args:
        dataset: MNIST as a folder (four IDX files, or parquet files in Hugging Face layout) or a name on the hub;
            `noise` for random images, to try the steps.
        row: the autoencoder, the only row.
        coefficient: only null: nothing is regularized.
        widths: filters of the convolutions in front of the latent layer.
        latent: filters of the latent layer.
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of ADAM, divided by 10 after two thirds of the steps.

    Raises:
        ValueError: for a value out of its range, and for a coefficient, which would be ignored.

    >>> mnist_reconstruction("folder").metric
    'correlation_angles'
    """
    settings = dict(locals())
    if row != "autoencoder":
        raise ValueError(f"row={row!r}: expected 'autoencoder'")
    if coefficient is not None:
        raise ValueError(f"coefficient={coefficient}: expected null, nothing is regularized here")
    check_positive(latent=latent, train_images=train_images, test_images=test_images)
    check_positive(steps=steps, batch_size=batch_size, learning_rate=learning_rate)
    load = partial(MNIST.load, dataset, train_images, test_images)
    return Recipe(
        name="mnist-reconstruction",
        row=row,
        source="thesis, Figure 1.1",
        model=partial(models.conv_autoencoder, tuple(widths), latent=latent),
        data=load,
        objective=None,
        classifies=False,
        observe=minimum_angles,
        evaluate=partial(_errors, load=load),
        metric="correlation_angles",
        final=partial(_examples, load=load),
        settings=settings,
        **counted_in_steps(partial(Adam, lr=learning_rate), steps, batch_size, (max(1, 2 * steps // 3),)),
    )


def readings(model: Autoencoder, data: Data) -> dict[str, Autoencoder]:
    r"""The model three times, its latent layer giving inner products, angles or norms, all of the same overall size.

    .. math:: \|w\| \|x\| \cos\theta, \qquad s_1 \cos\theta, \qquad s_2 \|w\| \|x\|

    Args:
        model: stays as it is.
        data: the root mean square of the three over its first 2000 training images is the same.

    Returns:
        The models by the names of READINGS; those with another operator are decoupled ones.
    """
    some = data.train.select(torch.arange(min(SCALED_ON, len(data.train))))
    inner = _root_mean_square(model, data, some)
    found = {"inner product": model}
    for name, operator in (("angles", _angles), ("norms", _norms)):
        scale = inner / _root_mean_square(_exchanged(model, operator(1.0)), data, some)
        found[name] = _exchanged(model, operator(scale))
    return found


def _angles(scale: float) -> dict[str, Any]:
    """scale cos(theta)"""
    return {"magnitude": Sphere(scale), "angular": Cosine()}


def _norms(scale: float) -> dict[str, Any]:
    """scale ||w|| ||x||"""
    return {"magnitude": Linear(scale), "angular": torch.ones_like, "weighting": "linear"}


def _exchanged(model: Autoencoder, operator: Mapping[str, Any]) -> Autoencoder:
    exchanged = copy.deepcopy(model)
    convert(exchanged, **operator, where=named("latent"))
    return exchanged


def _root_mean_square(model: Autoencoder, data: Data, images: Images | Files) -> float:
    total, count = 0.0, 0
    for batch, _ in batches(model, data, images):
        values = model.latent(model.encoder(batch)).double()
        total, count = total + values.square().sum().item(), count + values.numel()
    return math.sqrt(max(total / count, torch.finfo(torch.float32).tiny))


def _rebuilt(model: Autoencoder, data: Data, images: Images | Files) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and what is rebuilt of them, both as pixels from 0 to 1, on the CPU."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (data.mean, data.std))
    for batch, _ in batches(model, data, images):
        yield tuple((values.float().cpu() * std + mean).clamp(0, 1) for values in (batch, model(batch)))  # type: ignore[misc]


def _errors(model: nn.Module, load: Callable[[], Data]) -> dict[str, float]:
    assert isinstance(model, Autoencoder)
    data, found = load(), {}
    for name, one in readings(model, data).items():
        correlations, errors = [], []
        for images, rebuilt in _rebuilt(one, data, data.test):
            correlations.append(correlation(images, rebuilt))
            errors.append((images - rebuilt).square().flatten(1).mean(1))
        key = name.replace(" ", "_")
        found[f"correlation_{key}"] = torch.cat(correlations).mean().item()
        found[f"mse_{key}"] = torch.cat(errors).mean().item()
    return found


def correlation(a: Tensor, b: Tensor) -> Tensor:
    r"""Pearson's correlation between two images, over their pixels.

    .. math:: \cos\angle(a - \bar{a}, b - \bar{b})

    Args:
        a: images (N, ...).
        b: as many, of the same shape.

    Returns:
        (N,), 0 where one of the two is of one brightness only.

    >>> a = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    >>> correlation(a, torch.tensor([[2.0, 4.0, 6.0], [5.0, 5.0, 5.0]])).tolist()
    [1.0, 0.0]
    """
    x, y = (values.flatten(1).double() for values in (a, b))
    return nn.functional.cosine_similarity(x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)).float()


def _examples(model: nn.Module, load: Callable[[], Data]) -> dict[str, object]:
    """``reconstructions``: the first test image of every digit, and what is rebuilt of it, as bytes in base64."""
    assert isinstance(model, Autoencoder)
    data = load()
    firsts = [(data.test.labels == label).nonzero().flatten()[:1] for label in range(data.num_classes)]
    some = data.test.select(torch.cat(firsts).cpu())
    drawn: dict[str, Tensor] = {}
    for name, one in readings(model, data).items():
        (pair,) = _rebuilt(one, data, some)
        drawn["original"], drawn[name] = pair
    return {
        "reconstructions": {
            "shape": list(drawn["original"].shape),
            "images": {name: _as_text(images) for name, images in drawn.items()},
        }
    }


def _as_text(images: Tensor) -> str:
    return base64.b64encode((255 * images).round().to(torch.uint8).numpy().tobytes()).decode()


ENTRIES = (
    Entry(
        "mnist-reconstruction",
        mnist_reconstruction,
        "thesis, Figure 1.1",
        MNIST,
        megamacs=0.7,
        smoke={
            "dataset": "noise",
            "train_images": 20,
            "test_images": 20,
            "widths": (2, 2),
            "latent": 2,
            "steps": 2,
            "batch_size": 10,
        },
        threads=1,
    ),
)
