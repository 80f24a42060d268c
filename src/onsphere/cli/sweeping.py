"""One coefficient, many values: an Optuna study in a file, trained point by point."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onsphere.cli import options as command_line
from onsphere.cli.mistakes import Mistake, or_mistake
from onsphere.cli.screen import Screen
from onsphere.cli.training import Ending, claim, drawn, is_single, leave, settings_of_run, shown

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from optuna import Study
    from rich.table import Table

    from onsphere.recipes import Entry
    from onsphere.train import Progress, Recipe

COEFFICIENT = "coefficient"  # what varies: a setting of the recipe, and the study's only parameter


@dataclass(frozen=True)
class Plan:
    """What a sweep trains.

    Args:
        entry: the recipe.
        settings: of the recipe, without the coefficient.
        low: the smallest coefficient.
        high: the largest one.
        points: how many coefficients there are on the grid; None where they are chosen one after the other.
        trials: how many coefficients there are in all.
        baseline: whether row none is trained, too.
        run: the options of run().
    """

    entry: Entry
    settings: Mapping[str, Any]
    low: float
    high: float
    points: int | None
    trials: int
    baseline: bool
    run: Mapping[str, Any]

    @property
    def trainings(self) -> int:
        """How many there are, the seeds of one coefficient counted as one."""
        return self.trials + self.baseline

    @property
    def grid(self) -> list[float]:
        """Coefficients at equal ratios, to four digits between the ends."""
        if self.points is None:
            return []
        ratio = (self.high / self.low) ** (1 / (self.points - 1))
        between = [float(f"{self.low * ratio**i:.4g}") for i in range(1, self.points - 1)]
        return [self.low, *between, self.high]

    def recipe(self, coefficient: float | None) -> Recipe:
        """The row with a coefficient, or row none for None."""
        if coefficient is None:
            return self.entry(**{**self.settings, "row": "none"})
        return self.entry(**self.settings, coefficient=coefficient)

    @property
    def identity(self) -> dict[str, Any]:
        """What a sweep and its continuation must have in common."""
        settings = {
            **self.recipe(self.low).settings,
            COEFFICIENT: f"{self.low:.12g}..{self.high:.12g}",
            "points": self.points,
            "seeds": self.run["seeds"],
            "precision": self.run["precision"],
        }
        plain: dict[str, Any] = json.loads(json.dumps(settings, default=str))
        return plain


def sweep_and_show(name: str, entry: Entry, argv: Sequence[str]) -> int:
    """`onsphere sweep RECIPE ...`: train what is not trained yet, and show what there is.

    Returns:
        The exit code: 0; 1 where a file could not be written; 128 and the signal's number where it was stopped.
    """
    options, plan = _parse(name, entry, argv)
    from optuna import logging
    from rich.console import Console

    from onsphere import report  # noqa: F401 - what it needs had better be missing now than after the training

    logging.set_verbosity(logging.ERROR)  # its lines would go through the bar
    with Console(stderr=True).status("reading the data"):
        or_mistake(plan.recipe(plan.low).data)
    place = claim("sweep", entry, options)
    folder = place.path
    screen = Screen(Console(stderr=True))
    end = Ending(f"onsphere sweep {name} --folder {shlex.quote(str(folder))} --resume")
    found = Found(folder, plan)
    try:
        with end.caught(screen), screen:
            _search(plan, folder, found, screen)
    finally:
        end.keeps = leave("sweep", place, options, began=bool(screen.phase))
    end.say()
    content = found.content()
    if not content["points"] and content["baseline"] is None:
        print("no coefficient was finished, so there is no result")
        return end.code
    return max(end.code, shown(lambda: _show(content, folder)))


def _show(content: Mapping[str, Any], folder: Path) -> bool:
    """Print the table, draw the figure, and say where everything is; whether the figure was written."""
    from rich.console import Console

    from onsphere.report.sweep import write_sweep

    file, figure = folder / "sweep.json", folder / "sweep.svg"
    Console(width=None if sys.stdout.isatty() else 100).print(_table(content))
    wanted = bool(content["points"])
    complete = not wanted or drawn(figure, file, lambda path: write_sweep(content, path))
    kind = "result" if content["complete"] else "partial result"
    print(f"{kind}: {file}{f'   figure: {figure}' if wanted and complete else ''}")
    return complete


def _parse(name: str, entry: Entry, argv: Sequence[str]) -> tuple[Namespace, Plan]:
    usual = None if entry.sweep is None else "..".join(f"{end:g}" for end in entry.sweep)
    extra = {
        COEFFICIENT: (str | None, usual, "range of the coefficient, such as 0.01..1"),
        "points": (int, 7, "how many coefficients, at equal ratios from one end of the range to the other"),
        "trials": (int | None, None, "instead of points: how many coefficients, each chosen (TPE) after those before"),
        "baseline": (bool, "none" in entry.rows, "train row none, too"),
    }
    # Costs and weights of every point would take long and much room, and a sweep is not about them.
    defaults = {"measure": False, "save_weights": False}
    options, settings = command_line.parse("sweep", name, entry, argv, extra, {COEFFICIENT}, defaults)
    low, high = _range(settings.pop(COEFFICIENT))
    points, trials, baseline = (settings.pop(key) for key in ("points", "trials", "baseline"))
    if trials is None and points < 2:
        raise Mistake(f"--points: {points} is too few: expected at least 2")
    if trials is not None and trials < 1:
        raise Mistake(f"--trials: {trials} is too few: expected at least 1")
    if settings["row"] == "none":
        raise Mistake(f"row none has no coefficient: give --row, one of {', '.join(entry.rows[1:])}")
    if not is_single(options.devices):
        raise Mistake(f"--devices: a sweep trains on one device at a time; given: {options.devices}")
    count = points if trials is None else trials
    grid = points if trials is None else None
    plan = Plan(entry, settings, low, high, grid, count, baseline, settings_of_run(options))
    or_mistake(lambda: plan.recipe(low))
    return options, plan


def _range(text: str | None) -> tuple[float, float]:
    """The ends of "0.01..1".

    >>> _range("0.01..1")
    (0.01, 1.0)
    """
    if text is None:
        raise Mistake("--coefficient is required: a range such as 0.01..1")
    match = re.fullmatch(r"\s*([^.\s]*\.?[^.\s]+)\s*\.\.\s*(\S+)\s*", text)
    try:
        low, high = (float(end) for end in (match[1], match[2])) if match else (0.0, 0.0)
    except ValueError:
        low = high = 0.0
    if not 0 < low < high < float("inf"):
        raise Mistake(f"--coefficient: {text!r} is not a range such as 0.01..1, from above 0 to a larger number")
    return low, high


class Found:
    """What a sweep has found so far, kept in sweep.json.

    Args:
        folder: of the sweep.
        plan: what is trained.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan = folder, plan
        self.accuracies: dict[float | None, list[float]] = {}
        self.failures: dict[float, str] = {}

    @property
    def count(self) -> int:
        """Trainings that came to an end."""
        return len(self.accuracies) + len(self.failures)

    def content(self) -> dict[str, Any]:
        """The content of sweep.json: accuracies after the last epoch, as in the MMA paper's Figures 3 and 4."""
        points = sorted((at, values) for at, values in self.accuracies.items() if at is not None)
        baseline = self.accuracies.get(None)
        recipe = self.plan.recipe(self.plan.low)
        return {
            "schema": 1,
            "name": self.plan.entry.name,
            "source": self.plan.entry.source,
            "row": recipe.row,
            "complete": self.count >= self.plan.trainings,
            "settings": self.plan.identity,
            "seeds": list(self.plan.run["seeds"]),
            "baseline": None if baseline is None else {"top1": baseline},
            "points": [{"coefficient": at, "top1": values} for at, values in points],
            "failures": [{"coefficient": at, "reason": reason} for at, reason in sorted(self.failures.items())],
        }

    def write(self) -> None:
        from onsphere.train.files import replace_file

        text = json.dumps(self.content(), indent=1)
        replace_file(self.folder / "sweep.json", f"{text}\n".encode())


def _search(plan: Plan, folder: Path, found: Found, screen: Screen) -> None:
    """Train row none, and every coefficient of the study that has no accuracy yet."""
    from optuna.distributions import FloatDistribution
    from optuna.trial import TrialState

    from onsphere.train import NonFiniteLoss

    study = _study(plan, folder / "sweep.db")
    for coefficient in plan.grid:
        study.enqueue_trial({COEFFICIENT: coefficient}, skip_if_exists=True)
    found.failures |= {float(at): reason for at, reason in study.user_attrs.get("failures", {}).items()}
    done = [trial.params[COEFFICIENT] for trial in study.trials if trial.state == TrialState.COMPLETE]
    for coefficient in [*([None] if plan.baseline else []), *done]:  # nothing is left to do for the latter
        found.accuracies[coefficient] = _train(plan, coefficient, found, screen)
    if found.count:
        found.write()
    distribution = FloatDistribution(plan.low, plan.high, log=True)
    while found.count < plan.trainings:
        begun = [trial for trial in study.trials if trial.state == TrialState.RUNNING]
        trial = begun[0] if begun else study.ask({COEFFICIENT: distribution})
        if COEFFICIENT not in trial.params:  # stopped between the two entries that make a trial
            study.tell(trial.number, state=TrialState.FAIL)
            continue
        coefficient = trial.params[COEFFICIENT]
        try:
            accuracies = _train(plan, coefficient, found, screen)
        except NonFiniteLoss as error:  # so large a coefficient is an answer, too
            found.failures[coefficient] = str(error)
            study.set_user_attr("failures", {repr(at): reason for at, reason in found.failures.items()})
            study.tell(trial.number, state=TrialState.FAIL)
        else:
            found.accuracies[coefficient] = accuracies
            study.tell(trial.number, sum(accuracies) / len(accuracies))
        found.write()


def _study(plan: Plan, path: Path) -> Study:
    """The study in a file, a new one where there is none.

    Raises:
        Mistake: the file is damaged, or its sweep has other settings.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    try:
        study = optuna.create_study(
            storage=f"sqlite:///{path}", study_name=plan.entry.name, direction="maximize", load_if_exists=True
        )
        there = study.user_attrs.get("settings")
        if there is None:
            study.set_user_attr("settings", plan.identity)
        # A sampler is not in the file: with another seed, it does not draw again what it drew before.
        study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise Mistake(f"{path} cannot be used: {reason}") from error
    here = plan.identity
    for name in sorted({*here, *(there or here)}):
        if there is not None and there.get(name) != here.get(name):
            was, now = there.get(name), here.get(name)
            raise Mistake(f"{path} is of another sweep: {name} is {was} there and {now} here")
    return study


def _train(plan: Plan, coefficient: float | None, found: Found, screen: Screen) -> list[float]:
    """Accuracy after the last epoch of every seed; a training that was begun goes on."""
    from onsphere.train import run

    recipe = plan.recipe(coefficient)
    name = "none" if coefficient is None else f"{coefficient:.6g}"
    place = found.count

    def progress(now: Progress) -> None:
        title = recipe.row if coefficient is None else f"{recipe.row} {name}"
        done, total = place * now.total + now.done, plan.trainings * now.total
        screen(replace(now, row=title, row_index=place, rows=plan.trainings, done=done, total=total))

    folder = found.folder / "points" / name
    result = run(recipe, folder=folder, resume=True, progress=progress, **plan.run)
    return [seed.last["top1"] for seed in result.rows[0].seeds]


def _table(content: Mapping[str, Any]) -> Table:
    """Accuracy by coefficient, the best one in bold."""
    from rich.table import Table

    from onsphere.report import Spread

    means = {point["coefficient"]: Spread.of(point["top1"]) for point in content["points"]}
    best = max(means, key=lambda at: means[at].mean or 0.0, default=None)
    table = Table(title=f"{content['name']}, {content['row']}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for title in ("coefficient", "top-1, %", "sd", "seeds"):
        table.add_column(title, justify="right")
    rows = [("none", Spread.of(content["baseline"]["top1"]))] if content["baseline"] else []
    for name, spread in [*rows, *((f"{at:g}", spread) for at, spread in means.items())]:
        style = "bold" if best is not None and name == f"{best:g}" else None
        deviation = "" if spread.std is None else f"{spread.std:.2f}"
        table.add_row(name, f"{spread.mean:.2f}", deviation, str(spread.count), style=style)
    for failure in content["failures"]:
        table.add_row(f"{failure['coefficient']:g}", "diverged", "", "")
    return table
