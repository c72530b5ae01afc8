"""`cnnlab compare`: runs that were made by hand, compared over their seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnlab.cli.options import Debug, Json, check_svg_path, find_run, handle_errors
from cnnlab.cli.output.documents import Format, choose_format, show_output
from cnnlab.errors import UsageError
from cnnlab.stats.defaults import ALPHA, SMALLEST_DIFFERENCE

if TYPE_CHECKING:
    from cnnlab.reports.comparison.result import ComparedRuns
    from cnnlab.reports.comparison.studies import ComparedStudies

Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN", help="Run folders; those that differ in their seeds alone are one group. Or folders of studies."
    ),
]
MetricName = Annotated[str, typer.Option(metavar="PART_FIGURE", help="Such as validation_accuracy or test_loss.")]
Delta = Annotated[
    float | None,
    typer.Option(
        help="The smallest difference of interest, in the metric's units: 0.01 is 1 point.",
        show_default=f"{SMALLEST_DIFFERENCE}; of a loss none",
    ),
]
Alpha = Annotated[float, typer.Option(help="The rate of wrong verdicts allowed.")]
Baseline = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|RUN",
        help="The group that the others are compared with; else of two the second, of more the first.",
        show_default=False,
    ),
]
SvgFile = Annotated[
    Path | None, typer.Option("--svg", metavar="FILE", help="Also write the picture: an .svg file.", show_default=False)
]
METRIC = "validation_accuracy"
# What a narrow terminal goes without, the first to go first.
OPTIONAL_COLUMNS = (
    "minutes",
    "parameters",
    "spread (sd)",
    "error, relative",
    "p",
    "P(better)",
    "epochs",
    "for new images too",
)


def register(app: typer.Typer) -> None:
    app.command("compare")(handle_errors(compare_runs))


def compare_runs(
    runs: Runs,
    metric: MetricName = METRIC,
    delta: Delta = None,
    alpha: Alpha = ALPHA,
    baseline: Baseline = None,
    svg: SvgFile = None,
    json: Json = False,
    format_: Format = "text",
    debug: Debug = False,
) -> None:
    """Compare runs made by hand: the difference with its interval, and a verdict where there are five seeds a side.

    One run a side gives no verdict on the recipes; McNemar's test then speaks of these two trained models.
    Folders of studies (runs/studies/NAME) are laid side by side.
    """
    output_format = choose_format(json, format_)
    if svg is not None:
        check_svg_path(svg, "compared.svg")
    from cnnlab.api.compare import compare, compare_studies
    from cnnlab.atomic_io import atomic_write
    from cnnlab.studies.folder import is_study

    paths = [find_run(path) for path in runs]
    studies = [path for path in paths if is_study(path)]
    found: ComparedRuns | ComparedStudies
    if studies:
        _require_only_studies(paths, studies, (metric, delta, alpha, baseline) == (METRIC, None, ALPHA, None))
        found, extra = compare_studies(studies), None
    else:
        found = compare(paths, metric=metric, delta=delta, alpha=alpha, baseline=baseline)
        extra = found.key_fields()
    if svg is not None:
        atomic_write(svg, found.svg().encode("utf-8"), "choose another place with --svg")
    show_output(found, output_format, OPTIONAL_COLUMNS, extra)


def _require_only_studies(paths: Sequence[Path], studies: Sequence[Path], is_plain: bool) -> None:
    """Studies have declared everything, and runs beside them have not."""
    if len(studies) < len(paths):
        raise UsageError(
            "studies are not compared with runs",
            where="RUN",
            received=", ".join(map(str, paths)),
            allowed="runs, or folders of studies",
            next_step="give the studies alone, or the runs",
        )
    if not is_plain:
        raise UsageError(
            "a study has declared these itself",
            where="--metric, --delta, --alpha, --baseline",
            next_step="leave them out, or compare the runs",
        )
