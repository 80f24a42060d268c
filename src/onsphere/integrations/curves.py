"""What to plot while training: minimal angles and energies, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.utils import parametrize

from onsphere import sphere
from onsphere.diagnostics import minimum_angle
from onsphere.diversity import mhe
from onsphere.integrations.gradients import AnyRegularizer, regularized_layers
from onsphere.regularizers import Regularizer, RegularizerSum
from onsphere.where import Layer, layers


def curve(source: nn.Module | AnyRegularizer) -> dict[str, float]:
    r"""One point of a training curve: the minimal angle and the energy E_2 of every layer.

    .. math:: \min_{i \ne j} \theta_{ij}, \qquad E_2 = \frac{1}{N(N-1)} \sum_{i \ne j} \|\hat w_i - \hat w_j\|^{-2}

    It only reads: no weight, buffer, gradient or random state changes. The smallest angle of a grouped convolution is
    taken over its groups, the energy is their mean. Where weights are sharded over ranks, all ranks must call it.

    Args:
        source: a model, for all its layers, or a regularizer, for its own.

    Returns:
        ``minimum_angle_deg/<layer>`` in degrees, NaN where fewer than two neurons have a direction, and
        ``energy/<layer>``, for each layer.

    Raises:
        NonFiniteWeightError: a weight holds NaN or an infinity; the message names the parameter.

    Source: MMA paper, Table 1; thesis, eq. 5.1 with s=2.

    Example:
        >>> model = nn.Linear(3, 3, bias=False)
        >>> model.weight.data = torch.eye(3)
        >>> {name: round(value, 4) for name, value in curve(nn.Sequential(model)).items()}
        {'minimum_angle_deg/0': 90.0, 'energy/0': 0.5}
    """
    angles, energies = {}, {}
    given = regularized_layers(source) if isinstance(source, Regularizer | RegularizerSum) else None
    with torch.no_grad(), _untouched(source.modules() if given is None else [layer.module for layer in given]):
        for name, layer in _once(layers(source) if given is None else given).items():
            try:
                with torch.autocast(layer.device.type, enabled=False):
                    groups = layer.neurons().unbind(0)
                    degrees = [math.degrees(minimum_angle(group)) for group in groups]
                    energy = torch.stack([mhe(group) for group in groups]).mean()
            except sphere.NonFiniteWeightError as error:
                raise sphere.NonFiniteWeightError(f"{layer.parameter}: {error}") from None
            angles[f"minimum_angle_deg/{name}"] = min((d for d in degrees if not math.isnan(d)), default=math.nan)
            energies[f"energy/{name}"] = energy.item()
    return angles | energies


def _once(found: Iterable[Layer]) -> dict[str, Layer]:
    """Each weight under its layer's name: terms of a sum may share layers, or name layers of two models alike."""
    named: dict[str, Layer] = {}
    seen = set()
    for layer in found:
        weight = (id(layer.module), layer.attribute)
        if weight not in seen:
            seen.add(weight)
            name = first = layer.name or layer.attribute
            count = 1
            while name in named:
                count += 1
                name = f"{first} ({count})"
            named[name] = layer
    return named


@contextmanager
def _untouched(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Parametrizations in evaluation mode: in training mode, each reading moves the vectors of spectral_norm."""
    modes: dict[nn.Module, bool] = {}
    for module in modules:
        if parametrize.is_parametrized(module):
            parametrizations = module.get_submodule("parametrizations")
            modes.update({part: part.training for part in parametrizations.modules()})
    try:
        for part in modes:
            part.training = False
        yield
    finally:
        for part, training in modes.items():
            part.training = training
