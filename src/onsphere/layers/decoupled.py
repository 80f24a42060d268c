"""What all decoupled layers have in common: h, g, an operator radius and a curvature that are learned."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.distributed
from torch import Tensor, nn

from onsphere import sphere
from onsphere.angular import Angular
from onsphere.layers.kernel import Operator, at_least_float32, respond
from onsphere.magnitude import Magnitude, Sphere

__all__ = ["Activation", "Decoupled", "Weighting"]

Weighting = Literal["linear", "nonlinear_product", "nonlinear_separate"]
Activation = Angular | Callable[[Tensor], Tensor]

EPS = 1e-4  # the authors' published code (wy1iu/SphereNet, wy1iu/DCNets) adds as much to ||x||^2
MOMENTUM = 0.1  # of the moving average of norms, as in torch's batch normalization
OWN_STATE = ("log_radius", "mean_norm", "log_k", "beta", "gamma")  # what an ordinary layer has not


class Decoupled(nn.Module):
    r"""What the decoupled layers have in common: h, g, the operator radius and the learned curvature.

    Not to be made by itself; ``isinstance(layer, Decoupled)`` finds the decoupled layers of a model.

    Attributes:
        magnitude: h.
        angular: g.
        weighting: how the lengths of the filters enter; None for not at all.
        eps: added to the squared length of a patch.
        log_radius: logarithm of the learned operator radius rho, one a filter or one in all; starts at 0. None where h
            has no radius.
        mean_norm: moving average of E||x||, one a group; 0 before the first batch. None where h has no radius.
        log_k: logarithm of the learned curvature, one a filter or one in all; None where g has none.
        weighted_gradients: whether gradients are multiplied by ||w|| (section 4.4.2).
    """

    weight: Tensor
    log_radius: nn.Parameter | None
    mean_norm: Tensor | None
    log_k: nn.Parameter | None
    default_magnitude: Magnitude = Sphere()

    def configure(
        self,
        magnitude: Magnitude | None,
        angular: Activation,
        weighting: Weighting | None,
        eps: float,
        groups: int = 1,
        curvature: nn.Parameter | None = None,
    ) -> None:
        """Set what the layer computes and make the parameters that go with it.

        Args:
            magnitude: h; None for the class's own.
            angular: g.
            weighting: how the lengths of the filters enter.
            eps: added to the squared length of a patch.
            groups: of the convolution.
            curvature: a ``log_k`` that this layer shares with others.

        Raises:
            ValueError: for an eps that is not above 0 and an unknown weighting.
            TypeError: for an h or g that cannot be called, such as a class in place of an object.
        """
        if not (math.isfinite(eps) and eps > 0):
            raise ValueError(f"eps={eps!r}: expected a number above 0, since patches of zeros have no direction")
        if weighting not in (None, "linear", "nonlinear_product", "nonlinear_separate"):
            raise ValueError(
                f"weighting={weighting!r}: expected None, 'linear', 'nonlinear_product' or 'nonlinear_separate'"
            )
        magnitude = self.default_magnitude if magnitude is None else magnitude
        for name, function in (("magnitude", magnitude), ("angular", angular)):
            if isinstance(function, type | str) or not callable(function):
                raise TypeError(f"{name}={function!r}: expected an object such as onsphere.{name}.Linear()")
        self.magnitude, self.angular, self.weighting, self.eps = magnitude, angular, weighting, eps
        self.weighted_gradients = False
        self._groups, filters = groups, len(self.weight)
        like: Any = {"device": self.weight.device, "dtype": self.weight.dtype}
        radius = getattr(magnitude, "radius", None)
        self.register_parameter(
            "log_radius",
            None if radius is None else nn.Parameter(torch.zeros(filters if radius == "filter" else 1, **like)),
        )
        self.register_buffer("mean_norm", None if radius is None else torch.zeros(groups, **like))
        if getattr(angular, "learnable", False):
            count = filters if angular.shared == "filter" else 1  # type: ignore[union-attr]
            start = math.log(angular.k)  # type: ignore[union-attr]
            curvature = nn.Parameter(torch.full((count,), start, **like)) if curvature is None else curvature
            self.register_parameter("log_k", curvature)
        else:
            self.register_parameter("log_k", None)

    def reset_parameters(self) -> None:
        """Start anew, as after ``to_empty``: random weights, a radius of 1, the first curvature, no norms seen yet."""
        super().reset_parameters()  # type: ignore[misc]
        with torch.no_grad():
            for name in ("log_radius", "mean_norm", "log_k"):  # torch's layers call this before they are made
                values = getattr(self, name, None)
                if values is not None:
                    values.fill_(math.log(self.angular.k) if name == "log_k" else 0.0)  # type: ignore[union-attr]

    @property
    def radius(self) -> Tensor | None:
        """The operator radius rho, one a filter or one in all; None where h has none."""
        return None if self.log_radius is None else self.log_radius.exp()

    def unit_weight(self) -> Tensor:
        """The filters (filters, d) on the unit sphere, in float32 or better."""
        rows = self.weight.flatten(1)
        unit = sphere.normalize(rows)
        if not self.weighted_gradients:
            return unit
        fixed = unit.detach()
        return fixed + (unit - fixed) * _lengths(rows).detach()  # the value of one, ||w|| times its gradient

    def respond(self, product: Tensor, energy: Tensor) -> Tensor:
        """The layer's output (N, filters, ...) without its bias.

        Args:
            product: of unit filters with patches, (N, filters, ...).
            energy: squared lengths of the patches, (N, groups, ...).
        """
        flat = (1,) * (product.dim() - 2)

        def by_filter(values: Tensor) -> Tensor:  # (G, K, 1, ...), or (1, 1, 1, ...) of one in all
            groups = self._groups if len(values) == product.shape[1] else 1
            return values.to(product.dtype).view(groups, -1, *flat)

        norm = (energy + self.eps).sqrt()
        rho = radius = k = None
        if self.log_radius is not None:
            rho = by_filter(self.log_radius.to(product.dtype).exp())
            radius = rho * self._mean_norm(norm).to(product.dtype).view(-1, 1, *flat)
        if self.log_k is not None:
            k = by_filter(self.log_k.to(product.dtype).exp())
        lengths = by_filter(_lengths(self.weight.flatten(1))) if self.weighting else norm.new_ones((1, 1, *flat))
        operator = Operator(self.magnitude, self.angular, couples=self.weighting == "nonlinear_product")
        groups = torch.unflatten(product, 1, (self._groups, -1))
        response = respond(operator, groups, norm.unsqueeze(2), lengths, radius, k)
        if self.weighting == "linear":
            response = response * lengths
        elif self.weighting == "nonlinear_separate":
            # By alpha, so that it counts once as in eq. 4.16, and with rho alone: E||x|| says nothing of w.
            of_weights = self.magnitude(lengths) if rho is None else self.magnitude(lengths, rho)
            response = response * of_weights / getattr(self.magnitude, "alpha", 1.0)
        return response.flatten(1, 2)

    def _mean_norm(self, norm: Tensor) -> Tensor:
        """E||x||, one a group: the moving average, with this batch in it when training."""
        assert self.mean_norm is not None
        norm = norm.detach()  # no_grad alone does not keep a forward derivative out
        with torch.no_grad():
            sums = norm.sum([dim for dim in range(norm.dim()) if dim != 1])
            sums = torch.cat([sums, sums.new_full((1,), norm.numel() // len(sums))])
            updates = self.training and not _recomputing()
            if updates and torch.distributed.is_available() and torch.distributed.is_initialized():
                torch.distributed.all_reduce(sums)
            here = (sums[:-1] / sums[-1]).to(self.mean_norm.dtype)
            known = torch.where(self.mean_norm > 0, self.mean_norm, here)
            if updates:
                mean = known.lerp(here, MOMENTUM)
                self.mean_norm.copy_(torch.where(mean.isfinite(), mean, self.mean_norm))  # an empty batch has no mean
                known = self.mean_norm.clone()  # a copy, since the buffer may change before backward
            return known

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, missing: list[str], *rest: Any
    ) -> None:
        # The weights of an ordinary layer have nothing of what an operator learns: then it stays as it is.
        ordinary = not any(prefix + name in state_dict for name in OWN_STATE)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, *rest)
        if ordinary:
            missing[:] = [name for name in missing if name not in {prefix + own for own in OWN_STATE}]

    def extra_repr(self) -> str:
        own = [f"magnitude={self.magnitude}", f"angular={self.angular}"]
        own += [f"weighting={self.weighting!r}"] if self.weighting else []
        own += ["weighted_gradients=True"] if self.weighted_gradients else []
        return ", ".join([super().extra_repr(), *own, f"eps={self.eps}"])


def _lengths(rows: Tensor) -> Tensor:
    """||w|| of each row, as (rows, 1), in float32 or better."""
    lengths: Tensor = torch.linalg.vector_norm(at_least_float32(rows), dim=1, keepdim=True)
    return lengths


def _recomputing() -> bool:
    """Whether backward asks for a forward pass anew (activation checkpointing), which must give what the first gave."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
