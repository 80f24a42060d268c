"""Read a result file and reduce it to what tables and figures need: means, spreads, differences."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

from onsphere.report.metrics import SPREADS, Metric, extra_metrics, main_metric

SCHEMA = 1
FEW_ROWS = 9  # up to which every difference gets a sentence of its own
ANGLES = "minimum_angle_deg"  # the observation that holds every layer's minimum angle, one value an epoch


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of `count` values; None where there are too few of them."""

    mean: float | None
    std: float | None
    count: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread:
        known = [value for value in values if value is not None]
        if not known:
            return cls(None, None, 0)
        mean = math.fsum(known) / len(known)
        if len(known) == 1:
            return cls(mean, None, 1)
        return cls(mean, math.sqrt(math.fsum((v - mean) ** 2 for v in known) / (len(known) - 1)), len(known))


@dataclass(frozen=True)
class Row:
    """One row of a comparison, reduced over its seeds."""

    name: str
    seeds: int
    top1: Spread
    top5: Spread
    time_ratio: float | None
    memory_ratio: float | None
    seconds_per_batch: float | None
    peak_bytes: float | None
    angles: Mapping[str, Spread] = field(default_factory=dict)  # layer -> degrees at the end of training
    paper: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, Spread] = field(default_factory=dict)  # of everything in `final`, top-1 and top-5 too


@dataclass(frozen=True)
class Difference:
    """A metric of a row minus that of the first row over the seeds that both have, in its own unit (per cent points).

    The seeds are paired (equal initial weights and equal batches), so the standard error is that of the mean of the
    differences. `half_width` is half of the 95 % interval by Student's t, since five seeds are few.
    """

    row: str
    mean: float
    error: float | None
    half_width: float | None
    count: int


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read and check a `result.json` as `onsphere compare` and `onsphere train` write it.

    Args:
        path: the file, or the folder that holds it as `result.json`.

    Returns:
        The file's content. Its keys are described by `onsphere.train.Result`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not JSON, has another schema, or lacks something that the tables need.

    >>> load("no/such/run")
    Traceback (most recent call last):
    FileNotFoundError: no result at no/such/run: expected a result.json, or the folder of a run that holds one
    """
    file = Path(path)
    if file.is_dir():
        file = file / "result.json"
    if not file.is_file():
        raise FileNotFoundError(f"no result at {file}: expected a result.json, or the folder of a run that holds one")
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not a result: it is not valid JSON ({error})") from error
    try:
        check(result)
    except ValueError as error:
        raise ValueError(f"{file} is not a result that can be shown: {error}") from error
    checked: dict[str, Any] = result
    return checked


def check(result: object) -> None:
    """Raise ValueError where a result lacks what the tables need, naming the place."""
    if not isinstance(result, Mapping):
        raise ValueError(f"expected a JSON object, got {type(result).__name__}")
    if result.get("schema") != SCHEMA:
        raise ValueError(f"schema is {result.get('schema')!r}, expected {SCHEMA}")
    _need(result, "the result", name=str, rows=list)
    for i, row in enumerate(result["rows"]):
        where = f"rows[{i}]"
        if not isinstance(row, Mapping):
            raise ValueError(f"{where} is {row!r}, expected an object")
        _need(row, where, row=str, seeds=list)
        for k, run in enumerate(row["seeds"]):
            if not isinstance(run, Mapping):
                raise ValueError(f"{where}.seeds[{k}] is {run!r}, expected an object")
            _need(run, f"{where}.seeds[{k}]", seed=int, final=Mapping)
        bins = [histogram["edges"] for histogram in _histograms(row)]
        if any(edges != bins[0] for edges in bins):
            raise ValueError(f"{where} ({row['row']}): the histograms of its seeds have different bins")


def _need(mapping: Mapping[str, Any], where: str, **kinds: type) -> None:
    for key, kind in kinds.items():
        if key not in mapping:
            raise ValueError(f"{where} has no {key!r}")
        if not isinstance(mapping[key], kind):
            raise ValueError(f"{key!r} of {where} is {mapping[key]!r}, expected {kind.__name__}")


def summarize(result: Mapping[str, Any]) -> list[Row]:
    """Every row of a result, reduced over its seeds."""
    return [_summarize(row) for row in result["rows"]]


def _summarize(row: Mapping[str, Any]) -> Row:
    cost = row.get("cost") or {}
    return Row(
        name=row["row"],
        seeds=len(row["seeds"]),
        top1=Spread.of(run["final"].get("top1") for run in row["seeds"]),
        top5=Spread.of(run["final"].get("top5") for run in row["seeds"]),
        time_ratio=cost.get("time_ratio"),
        memory_ratio=cost.get("memory_ratio"),
        seconds_per_batch=cost.get("seconds_per_batch"),
        peak_bytes=cost.get("peak_bytes"),
        angles={
            layer: Spread.of(last(series.get(layer)) for series in observed(row, ANGLES))
            for layer in _layers_of_row(row)
        },
        paper={key: value for key, value in (row.get("paper") or {}).items() if value is not None},
        metrics={
            key: Spread.of(run["final"].get(key) for run in row["seeds"])
            for key in dict.fromkeys(key for run in row["seeds"] for key in run["final"])
        },
    )


def observed(row: Mapping[str, Any], name: str) -> list[Mapping[str, Sequence[float | None]]]:
    """An observation of every seed of a row that has it: layer -> one value an epoch."""
    found = ((run.get("observations") or {}).get(name) for run in row["seeds"])
    return [series for series in found if series]


def last(series: Sequence[float | None] | None) -> float | None:
    """The last value of a series, None for an empty one."""
    return series[-1] if series else None


def _layers_of_row(row: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(layer for series in observed(row, ANGLES) for layer in series))


def layers(rows: Iterable[Row]) -> list[str]:
    """The layers that any row has an angle of, in the order of the network."""
    return list(dict.fromkeys(layer for row in rows for layer in row.angles))


def _histograms(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = ((run.get("end") or {}).get("cosines") for run in row["seeds"])
    return [histogram for histogram in found if histogram]


@dataclass(frozen=True)
class Histogram:
    """Pairwise cosines of one layer, the mean over the seeds of a row."""

    layer: str
    edges: tuple[float, ...]
    counts: tuple[float, ...]  # pairs in a bin
    above: float
    pairs_above: float  # pairs with a cosine larger than `above`
    pairs: int


def histogram(row: Mapping[str, Any]) -> Histogram | None:
    """The histogram of pairwise cosines of a row, averaged over its seeds; None where it was not recorded."""
    found = _histograms(row)
    if not found:
        return None
    first = found[0]
    counts = [sum(bin_) / len(found) for bin_ in zip(*(h["counts"] for h in found), strict=True)]
    edges, merged = _merged(first["edges"], counts, first["above"], first["pairs"])
    return Histogram(
        layer=first["layer"],
        edges=tuple(edges),
        counts=tuple(merged),
        above=first["above"],
        pairs_above=sum(h["pairs_above"] for h in found) / len(found),
        pairs=first["pairs"],
    )


def _merged(
    edges: Sequence[float], counts: Sequence[float], above: float, pairs: int
) -> tuple[Sequence[float], Sequence[float]]:
    """Neighbouring bins joined until there are at most 2 sqrt(pairs) of them: finer ones show the noise of counting.

    A bin is not joined across `above`, so that what is counted stays on its side.
    """
    bins = len(counts)
    for step in range(1, bins + 1):
        if bins % step == 0 and bins // step <= max(2 * math.sqrt(pairs), 1):
            cut = [i for i, edge in enumerate(edges) if math.isclose(edge, above)]
            if all(i % step == 0 for i in cut):
                return edges[::step], [math.fsum(counts[i : i + step]) for i in range(0, bins, step)]
    return edges, counts


def dodge(i: int, count: int) -> float:
    """Where the i-th of several rows stands beside a layer's tick, so that equal values do not hide each other."""
    return 0.5 * (i - (count - 1) / 2) / count


def reach(found: Sequence[Histogram]) -> float:
    """Half of the symmetric range of cosines that holds all pairs and every threshold."""
    ends = [
        max(abs(low), abs(high))
        for h in found
        for low, high, count in zip(h.edges, h.edges[1:], h.counts, strict=False)
        if count > 0
    ]
    return min(1.0, 1.05 * max([*ends, *(h.above for h in found)], default=1.0))


def differences(result: Mapping[str, Any], metric: str | None = None, base: str | None = None) -> list[Difference]:
    """Every other row against the first one, or against another, over the seeds that both have.

    Args:
        result: as `load` returns it.
        metric: a key of the seeds' `final`; None means the one that the result is about.
        base: the row that is subtracted; None means the first one.

    Raises:
        ValueError: there is no such row.
    """
    rows = {row["row"]: row for row in result["rows"]}
    if not rows:
        return []
    if base is None:
        base = next(iter(rows))
    elif base not in rows:
        raise ValueError(f"{result['name']} has no row {base!r}: expected one of {', '.join(rows)}")
    metric = metric or main_metric(result).key
    known = {run["seed"]: run["final"].get(metric) for run in rows[base]["seeds"]}
    found = []
    for row in result["rows"]:
        pairs = [(run["final"].get(metric), known.get(run["seed"])) for run in row["seeds"]]
        spread = Spread.of(a - b for a, b in pairs if a is not None and b is not None)
        if row["row"] == base or spread.mean is None:
            continue
        error = None if spread.std is None else spread.std / math.sqrt(spread.count)
        half_width = None if error is None else error * float(stdtrit(spread.count - 1, 0.975))
        found.append(Difference(row["row"], spread.mean, error, half_width, spread.count))
    return found


def additions(result: Mapping[str, Any]) -> dict[str, str]:
    """The rows that are another row and something more, "ArcFace + MMA" -> "ArcFace", where that is not the first one.

    >>> additions({"rows": [{"row": name} for name in ("softmax", "softmax + MMA", "ArcFace", "ArcFace + MMA")]})
    {'ArcFace + MMA': 'ArcFace'}
    """
    names = [row["row"] for row in result["rows"]]
    return {name: plain for name in names if (plain := name.rpartition(" + ")[0]) in names[1:]}


def notes(result: Mapping[str, Any]) -> list[str]:
    """What a reader must know before believing the table, in plain sentences computed from the numbers."""
    rows = summarize(result)
    if not rows:
        return ["This result has no rows."]
    said = missing(result)
    base = rows[0]
    metric, from_first = main_metric(result), differences(result)
    from_plain = [
        (difference, plain)
        for name, plain in additions(result).items()
        for difference in differences(result, base=plain)
        if difference.row == name
    ]
    if len(rows) <= FEW_ROWS:
        said += [_verdict(difference, base.name, metric) for difference in from_first]
        said += [_verdict(difference, plain, metric) for difference, plain in from_plain]
    else:
        said += _verdicts(from_first, base.name, metric)
        said += _verdicts([difference for difference, _ in from_plain], "the same row without the addition", metric)
    if any(row.seeds == 1 for row in rows):
        said.append("A row with a single seed has no spread: do not compare rows by it.")
    said += _over_parts(result)
    uncosted = [row.name for row in rows if row.time_ratio is None and row.memory_ratio is None]
    if len(uncosted) == len(rows) and extra_metrics(result):
        return said  # its table has no columns for them
    if uncosted:
        said.append(f"Time and memory were not measured for {', '.join(uncosted)}.")
    elif base.seconds_per_batch is not None and base.peak_bytes is not None:
        said.append(
            f"Time and memory are ratios to {base.name}: "
            f"{base.seconds_per_batch * 1e3:.3g} ms and {base.peak_bytes / 2**20:.3g} MiB a batch."
        )
    return said


def missing(result: Mapping[str, Any]) -> list[str]:
    """What is not there yet: an unfinished run, rows with fewer seeds than others."""
    counts = {row["row"]: len(row["seeds"]) for row in result["rows"]}
    most = max(counts.values(), default=0)
    said = []
    if not result.get("complete", True):
        said.append("This run is incomplete: it was interrupted or is still going.")
    fewer = [f"{name} has {count or 'none'}" for name, count in counts.items() if count < most or not count]
    if fewer:
        said.append(f"Not every row has the same number of seeds ({most}): {', '.join(fewer)}.")
    return said


def _over_parts(result: Mapping[str, Any]) -> list[str]:
    """How far apart the folds or episodes of one run lie, for the metrics that are means over them."""
    said = []
    for metric, (ending, words) in itertools.product(extra_metrics(result), SPREADS.items()):
        spread = Spread.of([run["final"].get(metric.key + ending) for row in result["rows"] for run in row["seeds"]])
        if spread.mean is not None:
            said.append(f"{words.format(words=metric.words, points=spread.mean)}, mean over rows and seeds.")
    return said


def _verdicts(found: Sequence[Difference], base: str, metric: Metric) -> list[str]:
    """What _verdict says of many rows, in a sentence for each outcome."""
    outcomes: dict[str, list[str]] = {}
    for difference in found:
        sure = difference.half_width is not None and abs(difference.mean) > difference.half_width
        outcome = "no clear difference (the 95 % interval contains zero)"
        if difference.error is None:
            outcome = "one paired seed, no standard error"
        elif sure:
            outcome = "helped" if metric.better(difference.mean, 0.0) else "hurt"
        error = "" if difference.error is None else f" ± {difference.error:.{metric.digits}f}"
        outcomes.setdefault(outcome, []).append(f"{difference.row} {difference.mean:+.{metric.digits}f}{error}")
    counts = sorted({difference.count for difference in found})
    seeds = f"{' or '.join(map(str, counts))} paired seed{'s' if counts != [1] else ''}"
    return [
        f"{metric.words[0].upper()}{metric.words[1:]} against {base}, {outcome}: {'; '.join(rows)}{metric.unit} "
        f"(± standard error, {seeds})."
        for outcome, rows in outcomes.items()
    ]


def _verdict(difference: Difference, base: str, metric: Metric) -> str:
    """One sentence on a row; it claims an effect only where the 95 % interval of the difference leaves out zero."""
    points = f"{metric.words} {difference.mean:+.{metric.digits}f}{metric.unit} against {base}"
    seeds = f"{difference.count} paired seed{'s' if difference.count != 1 else ''}"
    if difference.error is None or difference.half_width is None:
        return f"{difference.row}: {points} ({seeds}: no standard error)."
    points += f" (standard error {difference.error:.{metric.digits}f}, {seeds})"
    if abs(difference.mean) <= difference.half_width:
        return f"{difference.row} made no clear difference here: {points}; the 95 % interval contains zero."
    return f"{difference.row} {'helped' if metric.better(difference.mean, 0.0) else 'hurt'} here: {points}."
