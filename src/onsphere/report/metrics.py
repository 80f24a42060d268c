"""What a result's metrics are called in tables and in sentences, and which of them are better when smaller."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Metric:
    """How one number of a seed's `final` is shown.

    `title` heads a column, `words` stand in a sentence, `unit` follows a difference there.
    """

    key: str
    title: str
    words: str
    digits: int = 2
    percent: bool = True
    lower_is_better: bool = False

    @property
    def unit(self) -> str:
        return " points" if self.percent else ""

    def better(self, a: float, b: float) -> bool:
        """Whether the value `a` is better than `b`."""
        return a < b if self.lower_is_better else a > b


METRICS = {
    metric.key: metric
    for metric in (
        Metric("verification", "Verification\n%", "verification accuracy"),
        Metric("lfw", "LFW\n%", "verification accuracy on LFW"),
        Metric("ytf", "YTF\n%", "verification accuracy on YTF"),
        Metric("cfp_fp", "CFP-FP\n%", "verification accuracy on CFP-FP"),
        Metric("agedb_30", "AgeDB-30\n%", "verification accuracy on AgeDB-30"),
        Metric("eer", "EER\n%", "equal error rate", lower_is_better=True),
        Metric("rank1", "Rank-1\n%", "rank-1 accuracy"),
        Metric("afs", "Angular\nFisher score", "angular Fisher score", digits=4, percent=False, lower_is_better=True),
        Metric("few_shot", "Few-shot\n%", "few-shot accuracy"),
        Metric("fgsm", "FGSM\n%", "accuracy under FGSM"),
        Metric("bim", "BIM\n%", "accuracy under BIM"),
        *(
            Metric(f"{key}_{of.replace(' ', '_')}", f"{title}\n{of}", f"{words} {of}", 4, False, lower)
            for key, title, words, lower in (
                ("correlation", "Correlation", "correlation of images rebuilt from", False),
                ("mse", "MSE", "mean squared error of images rebuilt from", True),
            )
            for of in ("angles", "inner product", "norms")
        ),
        Metric("energy", "Energy", "hyperspherical energy", digits=4, percent=False, lower_is_better=True),
        Metric("top1", "Top-1\n%", "top-1"),
        Metric("top5", "Top-5\n%", "top-5"),
    )
}
# Top-1 and top-5 have columns of their own; the other two say less than what stands in the table.
ALWAYS = {"top1", "top5", "test_loss", "auc"}
# How far apart the parts of one run lie, by what is added to the metric's key: it is said in a note.
SPREADS = {
    "_sd": "Over the folds of one run the {words} has a standard deviation of {points:.2f} points",
    "_ci95": "Over the episodes of one run the {words} has a 95 % interval of ± {points:.2f} points",
}
OBJECTIVES = {"margin", "margins", "objective", "head", "annealing_minimum"}  # settings that only such rows have
OPERATORS = re.compile(r"thesis-(table|figure|section)[34C]\.")  # chapters whose rows are operators
METHODS = re.compile(r"thesis-(table|figure)(7|F)\.")  # the chapter and its appendix whose rows are ways to train
RATE = re.compile(r"tar_at_far_(\d[\d.e+-]*)")


def metric_of(key: str) -> Metric:
    """A metric by its key; an unknown one is shown under that key, as a percentage.

    >>> metric_of("tar_at_far_0.001").words
    'TAR at a FAR of 0.001'
    """
    if key in METRICS:
        return METRICS[key]
    rate = RATE.fullmatch(key)
    if rate:
        return Metric(key, f"TAR at FAR\n{rate[1]}, %", f"TAR at a FAR of {rate[1]}")
    return Metric(key, f"{key}\n%", key)


def main_metric(result: Mapping[str, Any]) -> Metric:
    """What the table is about: top-1 where a result does not say.

    >>> main_metric({"rows": []}).key
    'top1'
    """
    return metric_of(str(result.get("metric") or "top1"))


def extra_metrics(result: Mapping[str, Any]) -> list[Metric]:
    """The metrics beside top-1 and top-5 that any seed has: the main one first, then in the order of METRICS.

    Of several true accept rates only the one at the smallest false accept rate is among them, unless another is the
    main one: the table would be as wide as a page with all, and the strictest tells rows apart best.
    """
    main = main_metric(result).key
    found = dict.fromkeys(key for row in result["rows"] for run in row["seeds"] for key in run["final"])
    keys = [key for key in found if key not in ALWAYS and not key.endswith(tuple(SPREADS))]
    rates = sorted((key for key in keys if RATE.fullmatch(key)), key=_rate)
    keys = [key for key in keys if key not in rates[1:] or key == main]
    order = [*METRICS]
    order[order.index("rank1") : order.index("rank1")] = rates
    keys.sort(key=lambda key: (key != main, order.index(key) if key in order else len(order), key))
    return [metric_of(key) for key in keys]


def _rate(key: str) -> float:
    return float(key.removeprefix("tar_at_far_"))


def compares_objectives(result: Mapping[str, Any]) -> bool:
    """Whether the rows differ in the loss on the features, and not only in a regularizer."""
    return (
        main_metric(result).key != "top1"
        or bool(extra_metrics(result))
        or any(OBJECTIVES & {*(row.get("settings") or {})} for row in result["rows"])
    )


def row_heading(result: Mapping[str, Any]) -> str:
    """What heads the column of the rows' names.

    >>> row_heading({"rows": [], "metric": "verification"}), row_heading({"rows": []})
    ('Objective', 'Regularization')
    >>> row_heading({"rows": [], "name": "thesis-table4.4-cifar100"})
    'Operator'
    >>> row_heading({"rows": [], "name": "thesis-table7.4-cifar100"})
    'Method'
    """
    if OPERATORS.match(result.get("name", "")):
        return "Operator"
    if METHODS.match(result.get("name", "")):
        return "Method"
    return "Objective" if compares_objectives(result) else "Regularization"
