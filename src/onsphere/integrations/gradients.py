"""The gradient of a regularizer, added to the gradient of the loss, and the optimizers with which that is right."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import LBFGS, Optimizer, SparseAdam

from onsphere.regularizers import Regularizer, RegularizerSum
from onsphere.where import Layer

AnyRegularizer = Regularizer | RegularizerSum
ModelT = TypeVar("ModelT", bound=nn.Module)


def add_gradients(regularizer: AnyRegularizer, labels: Tensor | None = None, *, scale: float = 1.0) -> Tensor:
    r"""Add a regularizer's gradient to ``.grad`` of the weights, as if its value had been added to the loss.

    .. math:: g \leftarrow g + c \, \nabla_W \lambda \sum_i l(W_i)

    Call it once an optimizer step, between ``zero_grad()`` and the clipping of gradients. Under a GradScaler call it
    after ``scaler.unscale_(optimizer)``. It is computed in full precision, whatever autocast surrounds it. Under DDP
    and ``fully_shard`` every rank adds the same.

    Args:
        regularizer: an :class:`onsphere.Regularizer` or a sum of them.
        labels: (m,) of the mini-batch, for a data-dependent MHE and for nothing else.
        scale: c, for gradients that are scaled themselves: ``scaler.get_scale()`` where they are not unscaled yet.

    Returns:
        The regularizer's value without c, a scalar without a gradient.

    Raises:
        ValueError: labels are missing or not wanted, a weight has a sparse gradient, is made in the forward pass, or is
            flattened by its wrapper.
        NonFiniteWeightError: a weight holds NaN or an infinity.

    Example:
        >>> import onsphere as osp
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> regularizer = osp.Regularizer(model, osp.MMA(), coefficient=0.07)
        >>> model(torch.randn(5, 3)).square().mean().backward()
        >>> value = osp.integrations.add_gradients(regularizer)
        >>> norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    """
    weights = []
    for weight, name in parameters(regularizer).items():
        if weight.grad is not None and weight.grad.layout != torch.strided:
            raise ValueError(f"{name} has a sparse gradient ({weight.grad.layout}); a regularizer's gradient is dense")
        if weight.requires_grad:
            weights.append(weight)
    with ExitStack() as context:
        for device in {layer.device.type for layer in regularized_layers(regularizer)}:
            context.enter_context(torch.autocast(device, enabled=False))
        with torch.enable_grad():
            value = regularizer(labels)
        gradients: tuple[Tensor | None, ...] = ()
        if value.requires_grad:  # not where all layers are frozen
            gradients = torch.autograd.grad(value, weights, torch.full_like(value, scale), allow_unused=True)
    with torch.no_grad():
        for weight, gradient in zip(weights, gradients, strict=False):
            if gradient is None:
                continue
            if weight.grad is None:
                # A copy in the weight's own layout: two weights may have been given one and the same tensor.
                weight.grad = torch.empty_like(weight).copy_(gradient)
            else:
                weight.grad.add_(gradient)  # in place: DDP's buckets may share its memory
    result: Tensor = value.detach()
    return result


def check_given(given: object) -> None:
    """Refuse what neither is a regularizer nor can make one, with a TypeError."""
    known = isinstance(given, Regularizer | RegularizerSum)
    if not known and (isinstance(given, nn.Module) or not callable(given)):
        raise TypeError(
            "expected an onsphere.Regularizer, a sum of them, or a function that makes it from the model, "
            f"got {given!r}"
        )


def made(given: AnyRegularizer | Callable[[ModelT], AnyRegularizer], model: ModelT) -> AnyRegularizer:
    """The regularizer itself, or what a function makes from the model, which :func:`check` looks at."""
    return cast(AnyRegularizer, given) if isinstance(given, nn.Module) else given(model)


def terms(regularizer: AnyRegularizer) -> list[Regularizer]:
    """The terms of a sum, or the regularizer alone."""
    if isinstance(regularizer, Regularizer):
        return [regularizer]
    if isinstance(regularizer, RegularizerSum):
        return [term for term in regularizer.terms if isinstance(term, Regularizer)]
    raise TypeError(f"expected an onsphere.Regularizer or a sum of them, got {type(regularizer).__name__}")


def regularized_layers(regularizer: AnyRegularizer) -> list[Layer]:
    """The layers of all terms, in their order; a layer of several terms comes several times."""
    return [layer for term in terms(regularizer) for layer in term.layers]


def parameters(regularizer: AnyRegularizer) -> dict[nn.Parameter, str]:
    """What a regularizer's gradient goes to, with names: weights, originals of parametrized ones, a measure's own.

    Raises:
        ValueError: a layer's weight is no parameter (the old ``weight_norm``, ``spectral_norm`` and pruning make it in
            the forward pass), or one that its wrapper has flattened.
    """
    found: dict[nn.Parameter, str] = {}
    for layer in regularized_layers(regularizer):
        module, attribute = layer.module, layer.attribute
        own = module._parameters.get(attribute)
        if own is not None:
            if own.ndim < 2:
                raise ValueError(
                    f"{layer.parameter} has become a vector of shape {tuple(own.shape)}, as under FSDP1 and DeepSpeed "
                    f"ZeRO-3, and its neurons cannot be told apart; fully_shard (FSDP2) keeps them"
                )
            found.setdefault(own, layer.parameter)
        elif parametrize.is_parametrized(module, attribute):
            made_from = module.get_submodule(f"parametrizations.{attribute}")
            prefix = layer.parameter.removesuffix(attribute)
            for name, parameter in made_from.named_parameters():
                found.setdefault(parameter, f"{prefix}parametrizations.{attribute}.{name}")
        else:
            raise ValueError(
                f"{layer.parameter} is no parameter but made in the forward pass, whose graph is gone by now: use "
                "torch.nn.utils.parametrizations instead of the old weight_norm, spectral_norm or pruning, or add "
                "regularizer() to the loss"
            )
    for name, parameter in regularizer.named_parameters():
        found.setdefault(parameter, name)
    return found


def check(optimizer: Optimizer, regularizer: AnyRegularizer) -> None:
    """Refuse a pair for which adding the gradient behind the training loop's back is wrong, with a ValueError."""
    if any(term.wants_labels for term in terms(regularizer)):
        raise ValueError(
            "a data-dependent MHE needs the labels of the mini-batch, which are not known here: call "
            "onsphere.integrations.add_gradients(regularizer, labels) before the optimizer's step"
        )
    kind = type(getattr(optimizer, "optimizer", optimizer))  # accelerate's wrapper holds the real one
    if issubclass(kind, LBFGS):
        raise ValueError(
            "LBFGS evaluates the loss again within its step, where a gradient that is added once would be missing: "
            "add regularizer() to the loss in the closure"
        )
    if issubclass(kind, SparseAdam):
        raise ValueError("SparseAdam takes sparse gradients only, and a regularizer's gradient is dense")
    held = set()
    for group in optimizer.param_groups:
        held.update(group["params"])
    trained = {parameter: name for parameter, name in parameters(regularizer).items() if parameter.requires_grad}
    absent = [name for parameter, name in trained.items() if parameter not in held]
    if absent:
        raise ValueError(
            f"{type(optimizer).__name__} does not hold {', '.join(absent)}, which the regularizer acts on; "
            "regularize the layers of this optimizer only (where=...), or unfreeze after adding them to it"
        )
    for group in optimizer.param_groups:
        if group.get("maximize") and not trained.keys().isdisjoint(group["params"]):
            raise ValueError("an optimizer with maximize=True would maximise the regularizer: negate the loss")
