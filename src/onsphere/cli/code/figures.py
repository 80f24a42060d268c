"""`onsphere code --figure`: the papers' figures of points on spheres, computed again."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onsphere.cli.mistakes import Mistake

if TYPE_CHECKING:
    from onsphere.codes.descent import Trajectory

APART = np.radians(5.0)  # between two iterates that are drawn
HEAVY = ("blue-green", "green")  # of the neurons with a weight, in their order


def figure(given: argparse.Namespace) -> int:
    """Compute and draw the figure that `--figure` names."""
    path: Path = given.save[0] if given.save else Path(f"figure-{given.figure}.svg")
    if path.suffix not in (".svg", ".png"):
        raise Mistake(f"--save {path}: a figure's name ends in .svg or .png")
    if not path.parent.is_dir():
        raise Mistake(f"--save {path}: there is no folder {path.parent}")
    import torch

    from onsphere.report.sphere_pictures import write_gradient_norms, write_spheres

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on tensors this small more of them are slower
    try:
        data = FIGURES[given.figure](given.seed)
    finally:
        torch.set_num_threads(threads)
    write = write_gradient_norms if "curves" in data else write_spheres
    try:
        write(data, path)
    except OSError as error:
        raise Mistake(f"cannot write {path}: {error.strerror or error}") from error
    print(f"figure: {path}", file=sys.stderr)
    return 0


def figure_5_1(seed: int) -> dict[str, Any]:
    """Where the neurons end, and for the half space once more with their negatives."""
    from onsphere.codes import descent

    panels = []
    for panel in descent.figure_5_1(seed):
        end = panel.points[-1]
        panels.append({"title": panel.title, "dots": [{"points": end.tolist(), "colour": "red"}]})
        if panel.half_space:
            negatives = {"points": (-end).tolist(), "colour": "pink"}
            dots = [negatives, {"points": end.tolist(), "colour": "red"}]
            panels.append({"title": f"{panel.title}, with the negatives", "dots": dots})
    return {"panels": panels}


def figure_d1(seed: int) -> dict[str, Any]:
    """One neuron with a weight."""
    from onsphere.codes import descent

    return _weighted(descent.figure_d1(seed), 1)


def figure_d2(seed: int) -> dict[str, Any]:
    """Two neurons with a weight."""
    from onsphere.codes import descent

    return _weighted(descent.figure_d2(seed), 2)


def _weighted(trajectories: Sequence[Trajectory], heavy: int) -> dict[str, Any]:
    panels = [
        {
            "title": re.sub(r"beta_(\d)", r"$\\beta_\1$", panel.title),
            "paths": [
                {"points": thinned(panel.points[:, k]).tolist(), "colour": colour}
                for k, colour in enumerate(HEAVY[:heavy])
            ],
            "dots": [{"points": panel.points[-1, heavy:].tolist(), "colour": "red"}],
        }
        for panel in trajectories
    ]
    return {"panels": panels, "view": _view(np.stack([panel.points[[0, -1], :heavy] for panel in trajectories]))}


def _view(neurons: NDArray[np.float64]) -> list[float] | None:
    """A direction from which the neurons are on the near side, and not in the middle, where the radius is not seen."""
    x, y, z = neurons.reshape(-1, 3).sum(0)
    level = np.hypot(x, y)
    if level < 1e-6:
        return None
    turn = np.arctan2(y, x) + (0.6 if neurons.shape[2] == 1 else 0.0)
    # Never straight from above: the third axis stands upright in the picture.
    return [float(level * np.cos(turn)), float(level * np.sin(turn)), float(np.clip(z, -0.5 * level, 0.5 * level))]


def thinned(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first iterate, each that is some degrees from the one kept before it, and the last."""
    kept = [0]
    for k in range(1, len(path) - 1):
        last = path[kept[-1]]
        if 2 * np.arctan2(np.linalg.norm(path[k] - last), np.linalg.norm(path[k] + last)) >= APART:
            kept.append(k)
    return path[[*kept, len(path) - 1]]


def figure_2(seed: int) -> dict[str, Any]:
    """The norms of the gradients; nothing in them is random."""
    from onsphere.codes.gradient_norms import gradient_norms

    s = 1.0  # the paper's, for this figure
    fine, coarse = (
        gradient_norms(np.radians(degrees), s) for degrees in (np.arange(0.5, 180), np.arange(7.5, 180, 7.5))
    )
    curves = {}
    for name, curve in fine.items():
        line = {"angles_deg": np.degrees(curve.angles).tolist(), "norms": curve.closed_form.tolist()}
        markers = {"angles_deg": np.degrees(coarse[name].angles).tolist(), "norms": coarse[name].autograd.tolist()}
        curves[name] = {"equation": curve.equation, "lines": line, "markers": markers}
    return {"s": s, "curves": curves}


FIGURES: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "5.1": figure_5_1,
    "D.1": figure_d1,
    "D.2": figure_d2,
    "2": figure_2,
}
