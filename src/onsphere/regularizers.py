"""A diversity measure applied to chosen weights of a model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import overload

import torch
from torch import Tensor, nn

from onsphere import sphere
from onsphere.where import Layer, Selector, everywhere, layers

Measure = Callable[..., Tensor]


class Regularizer(nn.Module):
    r"""Sum of a diversity measure over layers of a model, to be added to the training loss.

    .. math:: \lambda \sum_{i=1}^{L} l(W_i)

    The neurons of a layer are the rows of its weight: Linear (out, in), convolution (out, in * kernel); grouped
    convolutions are compared within their groups, whose values are averaged (summed for the orthogonality family). The
    regularizer holds the model's modules, not its tensors: it follows a model that is moved, cast, wrapped in DDP,
    compiled or parametrized, and adds nothing to its state dict. Under DDP every rank gets the same value, so the mean
    of the gradients is unchanged.

    Args:
        model: the network, before or after it is wrapped.
        measure: l, for example ``osp.MMA()``: a callable of an (n, d) matrix; a module of your own will do.
        coefficient: lambda, >= 0. The papers' choices: MMA 0.07 (0.03 for networks with skip connections); MHE s=2
            10 for hidden layers, 1 in half space and for the output layer; orthogonal 1e-4; orthonormal 1e-5.
        where: which layers, from :mod:`onsphere.where`; default all of them.
        depthwise: include depthwise convolutions, comparing the filters of all channels.

    Returns of a call: a scalar Tensor. ``labels`` (m,) go to a data-dependent MHE and to nothing else.

    Raises:
        ValueError: no layer is left to regularize, the coefficient is not a number >= 0, or, on a call, the labels are
            missing or not wanted.
        NonFiniteWeightError: on a call, a weight holds NaN or an infinity; the message names the parameter.

    Source: MMA paper, eq. 13; thesis, eq. 5.4.

    Example:
        >>> import onsphere as osp
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> regularizer = osp.Regularizer(model, osp.MMA(), coefficient=0.07)
        >>> loss = model(torch.randn(5, 3)).square().mean() + regularizer()
    """

    def __init__(
        self,
        model: nn.Module,
        measure: Measure,
        coefficient: float,
        where: Selector = everywhere,
        *,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        if not (math.isfinite(coefficient) and coefficient >= 0):
            raise ValueError(f"coefficient must be a finite number >= 0, got {coefficient}")
        if isinstance(measure, type):
            raise TypeError(f"measure must be an instance: {measure.__name__}(), not {measure.__name__}")
        self.measure, self.coefficient = measure, float(coefficient)
        candidates = layers(model, depthwise=depthwise)
        # A plain tuple: registering the layers would put the model's weights into this module's state dict.
        self.layers: tuple[Layer, ...] = tuple(where(candidates))
        if not self.layers:
            names = ", ".join(layer.name for layer in candidates) or "none with at least two neurons"
            raise ValueError(f"no layer to regularize is left in {type(model).__name__}; its layers are: {names}")

    def forward(self, labels: Tensor | None = None) -> Tensor:
        if torch.compiler.is_compiling():
            # Searches and gathers that depend on the data are no work for a compiler. A decorator would say the same
            # but import torch's compiler for everybody.
            uncompiled: Tensor = torch.compiler.disable(self._total)(labels)  # type: ignore[no-untyped-call]
            return uncompiled
        return self._total(labels)

    def _total(self, labels: Tensor | None) -> Tensor:
        if labels is not None and not self.wants_labels:
            raise ValueError(f"{self.measure} takes no labels; a measure that does is MHE(data_dependent=True)")
        values = [self._value(layer, labels) for layer in self.layers]
        total = values[0]
        for value in values[1:]:
            total = total + value.to(total.device)  # a model may be spread over devices
        return self.coefficient * total

    @property
    def wants_labels(self) -> bool:
        """Whether a call needs the labels of the mini-batch."""
        return bool(getattr(self.measure, "data_dependent", False))

    def per_layer(self, labels: Tensor | None = None) -> dict[str, Tensor]:
        """The measure of every layer by name, without the coefficient and without a gradient."""
        with torch.no_grad():
            return {layer.name: self._value(layer, labels) for layer in self.layers}

    def zero_neurons(self) -> dict[str, int]:
        """How many rows of every layer are exactly zero and therefore left out."""
        with torch.no_grad():
            return {layer.name: sphere.zero_rows(layer.neurons().flatten(0, 1)) for layer in self.layers}

    def _value(self, layer: Layer, labels: Tensor | None) -> Tensor:
        extra = () if labels is None else (labels,)
        try:
            # A parametrization recomputes its weight on reading: in full precision, whatever surrounds the call.
            with torch.autocast(layer.device.type, enabled=False):
                groups = [self.measure(group, *extra) for group in layer.neurons().unbind(0)]
        except sphere.NonFiniteWeightError as error:
            raise sphere.NonFiniteWeightError(f"{layer.parameter}: {error}") from None
        if len(groups) == 1:
            return groups[0]
        stacked = torch.stack(groups)
        return stacked.sum() if getattr(self.measure, "over_groups", "mean") == "sum" else stacked.mean()

    @overload
    def __add__(self, other: Regularizer) -> RegularizerSum: ...
    @overload
    def __add__(self, other: RegularizerSum) -> RegularizerSum: ...
    def __add__(self, other: object) -> RegularizerSum:
        return RegularizerSum(self) + other

    def extra_repr(self) -> str:
        names = [layer.name for layer in self.layers]
        shown = ", ".join(names if len(names) <= 4 else [*names[:2], "...", names[-1]])
        measure = "" if isinstance(self.measure, nn.Module) else f"measure={self.measure}, "
        return f"{measure}coefficient={self.coefficient}, layers={len(names)} ({shown})"


class RegularizerSum(nn.Module):
    """Several regularizers added up; made by ``+``.

    Example:
        >>> import onsphere as osp
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        >>> both = osp.Regularizer(model, osp.MHE(half_space=True), 1.0, osp.where.hidden)
        >>> both = both + osp.Regularizer(model, osp.MHE(), 1.0, osp.where.output)
        >>> list(both.per_layer())
        ['MHE 0', 'MHE 1']
    """

    def __init__(self, *terms: Regularizer) -> None:
        super().__init__()
        self.terms = nn.ModuleList(terms)

    def _terms(self) -> list[Regularizer]:
        return [term for term in self.terms if isinstance(term, Regularizer)]

    def forward(self, labels: Tensor | None = None) -> Tensor:
        if labels is not None and not any(term.wants_labels for term in self._terms()):
            raise ValueError("none of these regularizers takes labels; a measure that does is MHE(data_dependent=True)")
        values = [term(labels) if term.wants_labels else term() for term in self._terms()]
        total: Tensor = values[0]
        for value in values[1:]:
            total = total + value.to(total.device)
        return total

    def per_layer(self, labels: Tensor | None = None) -> dict[str, Tensor]:
        """The measures by "measure layer", without coefficients and without a gradient."""
        values: dict[str, Tensor] = {}
        for place, term in enumerate(self._terms()):
            title = getattr(term.measure, "__name__", type(term.measure).__name__)
            for name, value in term.per_layer(labels if term.wants_labels else None).items():
                key = f"{title} {name}"
                values[key if key not in values else f"{key} ({place + 1})"] = value
        return values

    def zero_neurons(self) -> dict[str, int]:
        """How many rows of every layer are exactly zero and therefore left out."""
        return {name: count for term in self._terms() for name, count in term.zero_neurons().items()}

    def __add__(self, other: object) -> RegularizerSum:
        if isinstance(other, Regularizer):
            return RegularizerSum(*self._terms(), other)
        if isinstance(other, RegularizerSum):
            return RegularizerSum(*self._terms(), *other._terms())
        return NotImplemented
