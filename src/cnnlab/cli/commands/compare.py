"""`cnnlab compare`: compare runs made by hand, or studies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnlab.cli.options import Debug, Json, find_run, handle_errors
from cnnlab.cli.output.documents import Format, choose_format, show_output
from cnnlab.cli.output.figure_files import SvgFile, check_svg_path, write_svg
from cnnlab.errors import UsageError
from cnnlab.stats.defaults import ALPHA, METRIC, SMALLEST_DIFFERENCE

if TYPE_CHECKING:
    from cnnlab.reports.comparison.result import ComparedRuns, ComparedStudies

Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN", help="Run folders; runs that differ only in their seeds are one group. Or folders of studies."
    ),
]
MetricName = Annotated[str, typer.Option(metavar="SPLIT_METRIC", help="Such as validation_accuracy or test_loss.")]
Delta = Annotated[
    float | None,
    typer.Option(
        help="The smallest difference of interest, in the metric's units: 0.01 is 1 point.",
        show_default=f"{SMALLEST_DIFFERENCE}; of a loss none",
    ),
]
Alpha = Annotated[float, typer.Option(help="The significance level.")]
Baseline = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|RUN",
        help="The group to compare the others with; by default the second of two, the first of more.",
        show_default=False,
    ),
]
# Columns that a narrow terminal leaves out, in this order.
OPTIONAL_COLUMNS = ("minutes", "parameters", "95 % interval", "p, permuted", "p, Dunnett", "epochs")


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
    """Compare runs made by hand: the difference with its interval, and with five seeds a side a verdict.

    With one run a side there is no verdict on the recipes, but McNemar's test of the two trained models.
    Folders of studies (runs/studies/NAME) are shown side by side.
    """
    output_format = choose_format(json, format_)
    check_svg_path(svg, "compared.svg")
    from cnnlab.api.compare import compare, compare_studies
    from cnnlab.studies.folder import is_study

    paths = [find_run(path) for path in runs]
    studies = [path for path in paths if is_study(path)]
    result: ComparedRuns | ComparedStudies
    if studies:
        if len(studies) < len(paths) or (metric, delta, alpha, baseline) != (METRIC, None, ALPHA, None):
            raise UsageError(
                "studies are compared with studies, by the rules that they have declared",
                where="RUN, --metric, --delta, --alpha, --baseline",
                received=", ".join(map(str, paths)),
                allowed="folders of studies, without these options; or runs",
                next_step="give the studies alone, or the runs",
            )
        result, extra = compare_studies(studies), None
    else:
        result = compare(paths, metric=metric, delta=delta, alpha=alpha, baseline=baseline)
        extra = result.key_fields()
    write_svg(result, svg)
    show_output(result, output_format, OPTIONAL_COLUMNS, extra)
