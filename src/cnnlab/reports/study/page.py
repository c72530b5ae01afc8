"""A study's page: a single HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.figure import Figure

from cnnlab.render import formatting
from cnnlab.render.palette import style_sheet
from cnnlab.render.plots import to_svg
from cnnlab.reports.robustness.answer import ShiftAnswer
from cnnlab.reports.robustness.text import reach, summary
from cnnlab.reports.run.page import templates
from cnnlab.reports.study import captions, text
from cnnlab.reports.study.figures import bands, forest_figure, learning_figure, seed_figure
from cnnlab.reports.study.sweep_figure import dose_figure
from cnnlab.reports.study.tables import basis, reading, shape, study_tables
from cnnlab.reports.study.text import comparisons, confirmed, headline
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
            title=formatting.shown(result.question or result.study, 300),
            name=formatting.shown(result.study),
            headline=headline(result),
            basis=basis(result),
            key_figures=captions.key_figures(result),
            pictures=list(_pictures(result)),
            curves=_curves(result),
            shape=list(shape(result)),
            tables=study_tables(result),
            reading=list(reading(result)),
            confirmed=confirmed(result.confirmation) if result.confirmation is not None else "",
            shifts=list(_shifts(result, example)),
            summaries=[summary(group, result.shifted) for group in result.shifted.groups] if result.shifted else [],
            reach=reach(result.shifted) if result.shifted else "",
            notes=[formatting.shown(note, 400) for note in result.notes],
            made=_made(result),
            study_toml=study_toml,
            command=command,
        )
    )


def _pictures(result: StudyResult) -> Iterator[Picture]:
    """Every run, and the differences to the baseline: of two arms in one picture, of more in one each."""
    if result.curve is not None:
        caption = captions.dose_caption(result.curve)
        yield _picture(dose_figure(result, result.curve), "doses", caption)
    several = len(comparisons(result)) > 1
    if result.curve is None or result.ablation is not None:
        yield _picture(seed_figure(result, differences=not several), "seeds", captions.seeds_caption(result))
    if several:
        yield _picture(forest_figure(result), "forest", captions.forest_caption(result))


def _curves(result: StudyResult) -> Picture | None:
    if not bands(result):
        return None
    return _picture(learning_figure(result), "learning", captions.learning_caption(result))


def _shifts(result: StudyResult, example: Pixels | None) -> Iterator[Picture]:
    """The curves under shifts, and an image under each."""
    if result.shifted is None:
        return
    for name, plate in ShiftAnswer(result.shifted, example).plates().items():
        yield _picture(plate.figure, f"shift-{name}", plate.description)


def _picture(figure: Figure, name: str, caption: str) -> Picture:
    return Markup(to_svg(figure, name, caption)), caption


def _made(result: StudyResult) -> list[Fact]:
    made = sorted({run.made for arm in result.arms for run in arm.seeds if run.made})
    return [
        ("data", formatting.shown(result.data, 200)),
        ("metric", f"{text.metric_name(result.metric)}, {'higher' if result.higher_is_better else 'lower'} is better"),
        ("device", formatting.shown(result.device, 200)),
        ("precision", result.precision),
        ("memory format", result.memory_format.replace("_", " ")),
        ("declared before the first run", result.declared or formatting.NONE),
        ("made by", "; ".join(formatting.shown(each, 120) for each in made) or formatting.NONE),
        ("arms looked at", formatting.count(result.trials)),
        ("training time", formatting.duration(result.seconds)),
    ]
