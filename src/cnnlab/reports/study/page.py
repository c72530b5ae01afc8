"""A study's page: a single HTML file that needs nothing else; and what pages of studies and searches share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.figure import Figure

from cnnlab.render.formatting import MISSING, format_count, format_duration, pluralize, shorten
from cnnlab.render.pages import page_templates
from cnnlab.render.plots import to_svg
from cnnlab.reports.robustness.view import method_note
from cnnlab.reports.study import text
from cnnlab.reports.study.figures import learning_figure, seed_figure
from cnnlab.reports.study.sweep_figure import sweep_figure
from cnnlab.reports.study.text import headline
from cnnlab.reports.study.view import column_notes, method_text, study_tables
from cnnlab.stats.sample import pooled_sd
from cnnlab.studies.result import StudyResult
from cnnlab.tuning.result import TuningResult

Fact: TypeAlias = tuple[str, str]
Picture: TypeAlias = tuple[Markup, str]
Pixels: TypeAlias = npt.NDArray[np.uint8]


def render_study(result: StudyResult, *, study_toml: str, command: str, example: Pixels | None = None) -> str:
    """The page as HTML: no scripts, nothing loaded from elsewhere, light and dark.

    Args:
        study_toml: the study's file as text.
        command: the command that runs the study again.
        example: an image as it is and under each of the study's shifts, uint8, (1 + S)×C×H×W.
    """
    environments = sorted({run.made for arm in result.arms for run in arm.seeds if run.made})
    return render_page(
        "study.html.jinja",
        result,
        headline=headline(result),
        method=method_text(result),
        key_figures=key_facts(result),
        pictures=list(_run_pictures(result)),
        curves=_learning_picture(result),
        tables=study_tables(result),
        reading=list(column_notes(result)),
        shifts=list(_shift_pictures(result, example)),
        shift_note=method_note(result.shifted) if result.shifted else "",
        toml=study_toml,
        commands=[("Command", command)],
        more_provenance=[
            ("preregistration", result.declared or MISSING),
            ("made by", "; ".join(shorten(each, 120) for each in environments) or MISSING),
            ("arms compared", format_count(result.trials)),
        ],
    )


def render_page(
    template: str, result: StudyResult | TuningResult, *, more_provenance: Sequence[Fact], **parts: Any
) -> str:
    """A page of a study or a search, with the parts that both have: title, notes and provenance."""
    return (
        page_templates("cnnlab.reports")
        .get_template(template)
        .render(
            result=result,
            title=shorten(result.question or result.study, 300),
            name=shorten(result.study),
            notes=[shorten(note, 400) for note in result.notes],
            provenance=[
                ("data", shorten(result.data, 200)),
                ("metric", text.metric_name(result.metric)),
                ("device", shorten(result.device, 200)),
                ("precision", result.precision),
                ("memory format", result.memory_format.replace("_", " ")),
                *more_provenance,
            ],
            **parts,
        )
    )


def captioned_svg(figure: Figure, name: str, caption: str) -> Picture:
    """A figure as inline SVG, with its caption."""
    return Markup(to_svg(figure, name, caption)), caption


def key_facts(result: StudyResult) -> list[Fact]:
    """The numbers at the head of the page."""
    done, planned = text.runs_done(result)
    failed = sum(arm.sample.failures for arm in result.arms)
    sd = pooled_sd([arm.sample for arm in result.arms if not arm.same_as])
    return [
        ("values" if result.curve is not None else "arms", format_count(len(result.arms))),
        ("runs", f"{done:,}" if done == planned else f"{done:,} of {planned:,}"),
        ("failed runs", format_count(failed)),
        ("measured on", pluralize(result.images, "image")),
        ("smallest difference of interest", text.equivalence_band(result.smallest_difference, result.metric)[1:]),
        ("sd between runs, pooled", MISSING if sd is None else text.format_amount(sd, result.metric)),
        ("α", f"{result.alpha:g}"),
        ("training time", format_duration(result.seconds)),
    ]


def _run_pictures(result: StudyResult) -> Iterator[Picture]:
    if result.curve is not None:
        yield captioned_svg(sweep_figure(result, result.curve), "sweep", "All runs of each value, with their means.")
    if result.curve is None or result.ablation is not None:
        caption = "All runs of each arm, with their means; below, the differences to the baseline, the best first."
        yield captioned_svg(seed_figure(result), "seeds", caption)


def _learning_picture(result: StudyResult) -> Picture | None:
    if not any(arm.curve for arm in result.arms):
        return None
    caption = (
        "Line: mean over seeds; band: from the lowest seed to the highest. Baseline in the colour of the text, the "
        "best mean in blue, the worst in violet, other arms in grey."
    )
    return captioned_svg(learning_figure(result), "learning", caption)


def _shift_pictures(result: StudyResult, example: Pixels | None) -> Iterator[Picture]:
    """The curves under shifts, and an image under each."""
    if result.shifted is None:
        return
    for name, captioned in result.shifted.model_copy(update={"example": example}).figures().items():
        yield captioned_svg(captioned.figure, f"shift-{name}", captioned.description)
