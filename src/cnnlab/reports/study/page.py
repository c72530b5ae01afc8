"""A study's page: a single HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.figure import Figure

from cnnlab.render.formatting import MISSING, format_count, format_duration, shorten
from cnnlab.render.palette import style_sheet
from cnnlab.render.plots import to_svg
from cnnlab.reports.robustness.answer import ShiftView
from cnnlab.reports.robustness.text import invariance_summary, scope_text
from cnnlab.reports.run.page import templates
from cnnlab.reports.study import captions, text
from cnnlab.reports.study.figures import forest_figure, learning_bands, learning_figure, seed_figure
from cnnlab.reports.study.sweep_figure import sweep_figure
from cnnlab.reports.study.tables import column_notes, method_text, study_tables, sweep_shape_lines
from cnnlab.reports.study.text import comparisons, confirmation_text, headline
from cnnlab.studies.result import StudyResult

Fact = tuple[str, str]
Picture = tuple[Markup, str]
Pixels = npt.NDArray[np.uint8]


def render_study(result: StudyResult, *, study_toml: str, command: str, example: Pixels | None = None) -> str:
    """The page as HTML: no scripts, nothing loaded from elsewhere, light and dark.

    Args:
        study_toml: the study's file as text.
        command: what a person types to run the study again.
        example: an image as it is and under each of the study's shifts, uint8, (1 + S)×C×H×W.
    """
    return (
        templates()
        .get_template("study.html.jinja")
        .render(
            colours=Markup(style_sheet()),
            result=result,
            title=shorten(result.question or result.study, 300),
            name=shorten(result.study),
            headline=headline(result),
            basis=method_text(result),
            key_figures=captions.key_facts(result),
            pictures=list(_run_figures(result)),
            curves=_curves(result),
            shape=list(sweep_shape_lines(result)),
            tables=study_tables(result),
            reading=list(column_notes(result)),
            confirmed=confirmation_text(result.confirmation) if result.confirmation is not None else "",
            shifts=list(_shift_figures(result, example)),
            summaries=[invariance_summary(group, result.shifted) for group in result.shifted.groups]
            if result.shifted
            else [],
            reach=scope_text(result.shifted) if result.shifted else "",
            notes=[shorten(note, 400) for note in result.notes],
            made=_provenance_facts(result),
            study_toml=study_toml,
            command=command,
        )
    )


def _run_figures(result: StudyResult) -> Iterator[Picture]:
    """Every run, and the differences to the baseline: of two arms in one picture, of more in one each."""
    if result.curve is not None:
        caption = captions.sweep_caption(result.curve)
        yield _picture(sweep_figure(result, result.curve), "doses", caption)
    several = len(comparisons(result)) > 1
    if result.curve is None or result.ablation is not None:
        yield _picture(seed_figure(result, differences=not several), "seeds", captions.seeds_caption(result))
    if several:
        yield _picture(forest_figure(result), "forest", captions.forest_caption(result))


def _curves(result: StudyResult) -> Picture | None:
    if not learning_bands(result):
        return None
    return _picture(learning_figure(result), "learning", captions.learning_caption(result))


def _shift_figures(result: StudyResult, example: Pixels | None) -> Iterator[Picture]:
    """The curves under shifts, and an image under each."""
    if result.shifted is None:
        return
    for name, plate in ShiftView(result.shifted, example).figures().items():
        yield _picture(plate.figure, f"shift-{name}", plate.description)


def _picture(figure: Figure, name: str, caption: str) -> Picture:
    return Markup(to_svg(figure, name, caption)), caption


def _provenance_facts(result: StudyResult) -> list[Fact]:
    made = sorted({run.made for arm in result.arms for run in arm.seeds if run.made})
    return [
        ("data", shorten(result.data, 200)),
        ("metric", f"{text.metric_name(result.metric)}, {'higher' if result.higher_is_better else 'lower'} is better"),
        ("device", shorten(result.device, 200)),
        ("precision", result.precision),
        ("memory format", result.memory_format.replace("_", " ")),
        ("declared before the first run", result.declared or MISSING),
        ("made by", "; ".join(shorten(each, 120) for each in made) or MISSING),
        ("arms looked at", format_count(result.trials)),
        ("training time", format_duration(result.seconds)),
    ]
