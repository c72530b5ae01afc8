"""A search's page: a single HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from cnnlab.render.formatting import MISSING, format_duration, format_fraction, pluralize
from cnnlab.reports.study import text
from cnnlab.reports.study.page import Fact, Picture, captioned_svg, render_page
from cnnlab.reports.study.view import confirmation_table, confirmation_title
from cnnlab.reports.tuning.figures import history_figure, slice_figure
from cnnlab.reports.tuning.text import headline
from cnnlab.reports.tuning.view import column_notes, parameter_table, trial_table
from cnnlab.tuning.result import TuningResult


def render_tuning(result: TuningResult, *, search_toml: str, command: str, train: str) -> str:
    """The page as HTML: no scripts, nothing loaded from elsewhere, light and dark.

    Args:
        search_toml: the search's file as text.
        command: the command that continues the search.
        train: the command that trains the best trial's recipe.
    """
    confirmation = result.confirmation
    return render_page(
        "tuning.html.jinja",
        result,
        headline=headline(result),
        key_figures=_key_facts(result),
        pictures=list(_pictures(result)),
        trials=trial_table(result),
        parameters=parameter_table(result),
        reading=list(column_notes(result, max_trials=None)),
        confirmation=None
        if confirmation is None
        else (confirmation_title(confirmation), confirmation_table(confirmation)),
        toml=search_toml,
        commands=[("Command", command), *([("Train the best trial's recipe", train)] if result.best else [])],
        more_provenance=[
            ("sampler", result.sampler),
            ("pruner", result.pruner),
            ("runs in a trial", f"{result.seeds:,}"),
        ],
    )


def _key_facts(result: TuningResult) -> list[Fact]:
    best, baseline = result.best, result.baseline.value
    return [
        ("best trial", MISSING if best is None or best.value is None else format_fraction(best.value)),
        ("baseline", MISSING if baseline is None else format_fraction(baseline)),
        ("trials", f"{len(result.trials):,}"),
        ("finished", f"{result.chosen_from:,}"),
        ("pruned", f"{len(result.with_status('pruned')):,}"),
        ("diverged or failed", f"{len(result.with_status('diverged')) + len(result.with_status('failed')):,}"),
        ("measured on", pluralize(result.images, "image")),
        ("training time", format_duration(result.seconds)),
    ]


def _pictures(result: TuningResult) -> Iterator[Picture]:
    if not result.trials:
        return
    metric = text.metric_name(result.metric).capitalize()
    yield captioned_svg(history_figure(result), "history", f"{metric} of each trial; the line is the best so far.")
    slices = f"{metric} against each parameter; the other parameters differ between the dots, too."
    yield captioned_svg(slice_figure(result), "slices", slices)
