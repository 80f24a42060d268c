"""Tables, figures and a self-contained HTML report, made from result files alone.

Nothing here trains, imports a model or touches a tensor: a report can be made again on any machine from `result.json`.

    python -m onsphere.report README.md                           make the tables of a README anew from results/
    python -m onsphere.report --html runs/demo report.html        a report of a run
    python -m onsphere.report --picture runs/demo docs/demo.svg   the README's picture
    python -m onsphere.report --features runs/mnist mnist.svg     features in the plane or on the sphere
    python -m onsphere.report --energies runs/opt energies.svg    energies while training, as Figure 7.3
    python -m onsphere.report --margins docs/figure2.3.svg        thesis, Figure 2.3; so --regions, --sphere-regions
    python -m onsphere.report --operators docs/figure4.3.svg      thesis, Figure 4.3
"""

from onsphere.report.arrays import draw_angles, draw_confusion, draw_features, draw_margins, draw_weight_norms
from onsphere.report.attacks import write_attack, write_strengths
from onsphere.report.code import write_code_page
from onsphere.report.codes_tables import codes_markdown, load_codes
from onsphere.report.curvatures import write_curvatures
from onsphere.report.energies import write_energies
from onsphere.report.features import write_angles, write_confusion, write_features, write_weight_norms
from onsphere.report.figures import (
    figure_accuracy,
    figure_angle_curves,
    figure_angles,
    figure_cosines,
    figure_curves,
)
from onsphere.report.inspection import write_inspection
from onsphere.report.operators import draw_operators
from onsphere.report.page import write_html
from onsphere.report.picture import write_picture
from onsphere.report.reconstruction import write_reconstructions
from onsphere.report.regions import draw_regions, draw_sphere_regions
from onsphere.report.results import Difference, Row, Spread, differences, load, notes, summarize
from onsphere.report.roc import write_roc
from onsphere.report.sphere_pictures import write_gradient_norms, write_spheres
from onsphere.report.sweep import write_sweep
from onsphere.report.tables import benchmarks_markdown, markdown, table

__all__ = [
    "Difference",
    "Row",
    "Spread",
    "benchmarks_markdown",
    "codes_markdown",
    "differences",
    "draw_angles",
    "draw_confusion",
    "draw_features",
    "draw_margins",
    "draw_operators",
    "draw_regions",
    "draw_sphere_regions",
    "draw_weight_norms",
    "figure_accuracy",
    "figure_angle_curves",
    "figure_angles",
    "figure_cosines",
    "figure_curves",
    "load",
    "load_codes",
    "markdown",
    "notes",
    "summarize",
    "table",
    "write_angles",
    "write_attack",
    "write_code_page",
    "write_confusion",
    "write_curvatures",
    "write_energies",
    "write_features",
    "write_gradient_norms",
    "write_html",
    "write_inspection",
    "write_picture",
    "write_reconstructions",
    "write_roc",
    "write_spheres",
    "write_strengths",
    "write_sweep",
    "write_weight_norms",
]
