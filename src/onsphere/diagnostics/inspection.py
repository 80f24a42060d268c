"""A look at every layer of a model: how correlated its neurons are, beside directions drawn at random."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from onsphere import sphere
from onsphere.diagnostics import random_directions, text
from onsphere.diagnostics.layer_weights import LayerWeight, Skipped, find
from onsphere.diagnostics.random_directions import Expected
from onsphere.diagnostics.tally import BINS, POWERS, Tally, tally

SCHEMA = 1
ENERGIES = tuple((f"{'half_' if half else ''}E_{s}", s, half) for half in (False, True) for s in POWERS)

CLEARLY = 3.0  # standard deviations from the mean of random directions that count as a difference


@dataclass(frozen=True)
class Random:
    """What random directions give of the same quantities; NaN where a layer has no pairs.

    Attributes:
        minimum_angle_deg: an approximation, see :func:`onsphere.diagnostics.random_directions.minimum_angle`.
        share_above: of the pairs; exact.
        energies: by the names of :class:`LayerReport`; exact, infinite where the law has no such moment.
    """

    minimum_angle_deg: Expected
    share_above: Expected
    energies: Mapping[str, Expected]


@dataclass(frozen=True)
class LayerReport:
    """What was measured of one layer. Angles are in degrees.

    Attributes:
        name: of the layer.
        groups: neurons are compared within their group only.
        neurons: n, in every group.
        dimension: d, numbers in a neuron.
        sampled: how many neurons of every group were drawn at random and compared, or None where all were.
        zero: neurons of norm zero; they have no direction and are left out of all that follows.
        nonfinite: neurons that hold NaN or an infinity, left out likewise.
        pairs: how many pairs were compared.
        pairs_above: those with a cosine above the threshold.
        near_duplicates: neurons with another within one degree.
        near_duplicate_pairs: pairs within one degree.
        minimum_angle_deg: of all pairs; NaN where there is none.
        best_angle_deg: the largest that n directions can have, where that is known (n <= 2 d), else None.
        energies: "E_0", "E_1", "E_2" and in half space "half_E_0", ..., with the constants of
            :func:`onsphere.functional.mhe`: the mean over the groups.
        random: the same of random directions.
        histogram: pairs by their cosine, in 400 equal bins from -1 to 1.
    """

    name: str
    groups: int
    neurons: int
    dimension: int
    sampled: int | None
    zero: int
    nonfinite: int
    pairs: int
    pairs_above: int
    near_duplicates: int
    near_duplicate_pairs: int
    minimum_angle_deg: float
    best_angle_deg: float | None
    energies: Mapping[str, float]
    random: Random
    histogram: tuple[int, ...]

    @property
    def share_above(self) -> float:
        """Of the pairs, those with a cosine above the threshold."""
        return self.pairs_above / self.pairs if self.pairs else math.nan

    @property
    def excess(self) -> float:
        """The share of pairs above the threshold minus that of random directions."""
        return self.share_above - self.random.share_above.mean

    @property
    def more_correlated(self) -> bool:
        """Whether more pairs exceed the threshold than random directions would give, by 3 standard deviations."""
        return self.excess > CLEARLY * self.random.share_above.std

    @property
    def closer(self) -> bool:
        """Whether the minimum angle is below that of random directions, by 3 standard deviations."""
        expected = self.random.minimum_angle_deg
        return self.minimum_angle_deg < expected.mean - CLEARLY * expected.std

    @property
    def high_energies(self) -> tuple[str, ...]:
        """The energies above those of random directions by 3 standard deviations."""
        random = self.random.energies
        return tuple(
            name for name, value in self.energies.items() if value > random[name].mean + CLEARLY * random[name].std
        )


@dataclass(frozen=True, repr=False)
class Inspection:
    """All layers that were looked at. Printed, it is a table with the most correlated layers first.

    Attributes:
        layers: in the order of the model.
        skipped: what was not looked at, and why.
        threshold: of the cosine.
        complete: False where it was interrupted.
    """

    layers: tuple[LayerReport, ...]
    skipped: tuple[Skipped, ...]
    threshold: float
    complete: bool = True

    def worst(self, count: int | None = None) -> tuple[LayerReport, ...]:
        """The most correlated layers first.

        First those with clearly more pairs above the threshold than random directions, by how much more; then the
        others, by their minimum angle relative to that of random directions.
        """

        def rank(layer: LayerReport) -> tuple[float, float]:
            if not layer.pairs:
                return math.inf, 0.0
            relative = layer.minimum_angle_deg / max(layer.random.minimum_angle_deg.mean, 1e-9)
            return -layer.excess if layer.more_correlated else 0.0, relative

        return tuple(sorted(self.layers, key=rank)[:count])

    def as_dict(self, top: int | None = None) -> dict[str, Any]:
        """Plain numbers and strings for JSON: null stands for what is infinite, unknown or undefined.

        Args:
            top: how many names "worst" lists; default all. The layers are all there in any case.
        """
        return {
            "schema": SCHEMA,
            "complete": self.complete,
            "threshold": self.threshold,
            "layers": [_plain(layer) for layer in self.layers],
            "worst": [layer.name for layer in self.worst(top)],
            "skipped": [asdict(each) for each in self.skipped],
            "notes": text.notes(self),
        }

    def __str__(self) -> str:
        return text.whole(self)

    __repr__ = __str__


def _plain(layer: LayerReport) -> dict[str, Any]:
    filled = [k for k, count in enumerate(layer.histogram) if count] or [0]
    low, high = filled[0], filled[-1] + 1
    values = asdict(layer) | {
        "share_above": layer.share_above,
        "more_correlated": layer.more_correlated,
        "closer": layer.closer,
        "high_energies": list(layer.high_energies),
        "histogram": {"low": low * 2 / BINS - 1, "width": 2 / BINS, "counts": list(layer.histogram[low:high])},
    }
    plain: dict[str, Any] = _finite(values)
    return plain


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Progress:
    """Where an inspection is: the layer in work and the share of all multiplications that are done."""

    layer: str
    share: float


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during an inspection; ``inspection`` holds the layers that were finished."""

    def __init__(self, inspection: Inspection) -> None:
        super().__init__("the inspection was interrupted")
        self.inspection = inspection


def inspect(
    model: nn.Module | Mapping[str, Any],
    *,
    threshold: float = 0.2,
    layers: Sequence[str] = ("*",),
    max_neurons: int | None = None,
    device: torch.device | str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Inspection:
    """Look at every layer: minimum angle, correlated pairs, duplicates, dead neurons, energies, beside random ones.

    All pairs of neurons of a layer are compared, which takes n (n - 1) / 2 d multiplications; memory is one layer in
    float32 and some tiles. Cheap layers come first.

    Of a module the layers are those of :func:`onsphere.where.layers`. In a state dict the weights are known by their
    names: floating-point tensors of two or more dimensions whose name ends in "weight", with one neuron per entry of
    the first dimension. So embeddings are among them (a tied one is the output layer), and what only a module knows is
    not seen: filters of a grouped convolution are compared across its groups, a depthwise convolution is not left out,
    and the neurons of a transposed convolution, or of GPT-2's transposed linear layers, are its inputs.

    Args:
        model: a module, or a state dict, also one that reads its tensors from a file (:func:`open_weights`), or a
            checkpoint that keeps one or more.
        threshold: count pairs with a cosine above this; default 0.2, as in Figure 1 of the MMA paper.
        layers: shell patterns of the layers to look at; default all.
        max_neurons: of a layer (or group) with more, compare a random sample of this many; the same one every time.
        device: where to compute; default where the weights are.
        progress: called now and then with a :class:`Progress`.

    Returns:
        An :class:`Inspection`; ``print`` it, or take its numbers.

    Raises:
        ValueError: there are no weights to look at, or an argument is out of its range.
        Interrupted: Ctrl-C; it holds what was finished.

    Example:
        >>> inspection = inspect(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
        >>> [(layer.name, layer.neurons, layer.dimension) for layer in inspection.layers]
        [('0', 4, 3), ('2', 2, 4)]
    """
    if not -1 <= threshold < 1:
        raise ValueError(f"threshold is a cosine, at least -1 and below 1; got {threshold}")
    if max_neurons is not None and max_neurons < 2:
        raise ValueError(f"max_neurons must be at least 2, since pairs are compared; got {max_neurons}")
    weights, skipped = find(model)
    weights = _chosen(weights, skipped, layers)
    total = max(1, sum(weight.cost(max_neurons) for weight in weights))
    done = 0
    reports: dict[str, LayerReport] = {}

    def result() -> Inspection:
        missing = [weight for weight in weights if weight.name not in reports]
        unreached = [Skipped(each.name, each.shape, "interrupted before it was finished") for each in missing]
        ordered = tuple(reports[weight.name] for weight in weights if weight.name in reports)
        return Inspection(ordered, (*skipped, *unreached), threshold, not missing)

    try:
        for weight in sorted(weights, key=lambda weight: weight.cost(max_neurons)):

            def step(pairs: int, weight: LayerWeight = weight) -> None:
                nonlocal done
                done += pairs * weight.shape[2]
                if progress is not None:
                    progress(Progress(weight.name, done / total))

            step(0)
            reports[weight.name] = _measure(weight, threshold, max_neurons, device, step)
    except KeyboardInterrupt:
        raise Interrupted(result()) from None
    return result()


def _chosen(weights: list[LayerWeight], skipped: list[Skipped], patterns: Sequence[str]) -> list[LayerWeight]:
    if not weights:
        why = "; ".join(f"{each.name}: {each.why}" for each in skipped[:3])
        more = f"; and {len(skipped) - 3} more" if len(skipped) > 3 else ""
        raise ValueError(f"found no weights to look at{f' ({why}{more})' if why else ''}")
    names = [weight.name for weight in weights]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            some = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
            raise ValueError(f"no layer matches {pattern!r}; the layers are: {some}")
    return [weight for weight in weights if any(fnmatchcase(weight.name, pattern) for pattern in patterns)]


def _measure(
    weight: LayerWeight,
    threshold: float,
    max_neurons: int | None,
    device: torch.device | str | None,
    step: Callable[[int], None],
) -> LayerReport:
    groups, n, d = weight.shape
    zero = nonfinite = 0
    sampled = None
    tallies: list[Tally] = []
    with torch.no_grad():
        for group in weight.read().unbind(0):
            group = group if device is None else group.to(device)
            if sphere.finest(group.device) != torch.float64:
                group = group.cpu()  # without float64 close pairs cannot be told apart
            largest = _largest(group)
            zero += int((largest == 0).sum())
            nonfinite += int((~largest.isfinite()).sum())
            usable = ((largest > 0) & largest.isfinite()).nonzero().squeeze(1)
            if max_neurons is not None and len(usable) > max_neurons:
                sampled = max_neurons
                drawn = torch.randperm(len(usable), generator=torch.Generator().manual_seed(0))[:max_neurons]
                usable = usable[drawn.sort().values.to(usable.device)]
            if len(usable) < n:
                group = group[usable]
            tallies.append(tally(sphere.directions(group), threshold, step))
    compared = [each for each in tallies if each.n >= 2]
    counts = [each.n for each in compared]
    return LayerReport(
        name=weight.name,
        groups=groups,
        neurons=n,
        dimension=d,
        sampled=sampled,
        zero=zero,
        nonfinite=nonfinite,
        pairs=sum(each.pairs for each in compared),
        pairs_above=sum(each.above for each in compared),
        near_duplicates=sum(each.near_duplicates for each in compared),
        near_duplicate_pairs=sum(each.near_duplicate_pairs for each in compared),
        minimum_angle_deg=math.degrees(min((each.angle for each in compared), default=math.nan)),
        best_angle_deg=_best_angle_deg(counts, d),
        energies={name: _mean(each.mean_energy(s, half) for each in compared) for name, s, half in ENERGIES},
        random=_random(tuple(counts), d, threshold),
        histogram=tuple(sum(column) for column in zip(*(each.histogram for each in tallies), strict=True)),
    )


def _largest(weight: Tensor) -> Tensor:
    """The largest |w| of every row; converted in parts, since a half-precision layer may be large."""
    parts = torch.split(weight, sphere.rows_at_once(weight.shape[1]))
    return torch.cat([(part if part.dtype == torch.float64 else part.float()).abs().amax(1) for part in parts])


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return math.fsum(known) / len(known) if known else math.nan


def _best_angle_deg(counts: Sequence[int], d: int) -> float | None:
    best = random_directions.best_angle(max(counts), d) if counts else None
    return None if best is None else math.degrees(best)


@cache  # the layers of a network are of a few sizes
def _random(counts: tuple[int, ...], d: int, threshold: float) -> Random:
    if not counts:
        unknown = Expected(math.nan, math.nan)
        return Random(unknown, unknown, {name: unknown for name, _, _ in ENERGIES})
    angle = random_directions.minimum_angle(d, counts)
    pairs = sum(n * (n - 1) // 2 for n in counts)
    return Random(
        Expected(math.degrees(angle.mean), math.degrees(angle.std)),
        random_directions.share_above(threshold, d, pairs),
        {name: random_directions.energy(s, d, counts, half) for name, s, half in ENERGIES},
    )
