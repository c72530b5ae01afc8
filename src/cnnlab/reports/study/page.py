"""A study's plan and result as they show themselves, and its page: a single HTML file that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, sqrt
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.figure import Figure

from cnnlab.render.document import Document
from cnnlab.render.formatting import MISSING, format_count, format_duration, pluralize, shorten
from cnnlab.render.palette import style_sheet
from cnnlab.render.plots import to_svg
from cnnlab.reports.robustness.text import invariance_summary, scope_text
from cnnlab.reports.robustness.view import ShiftView
from cnnlab.reports.run.page import templates
from cnnlab.reports.study import text
from cnnlab.reports.study import text as study_text
from cnnlab.reports.study.figures import (
    MAX_LINES_NAMED,
    arm_colours,
    forest_figure,
    learning_bands,
    learning_figure,
    seed_figure,
)
from cnnlab.reports.study.plan import plan_document
from cnnlab.reports.study.sweep_figure import sweep_figure
from cnnlab.reports.study.tables import column_notes, method_text, study_document, study_tables, sweep_shape_lines
from cnnlab.reports.study.text import comparisons, confirmation_text, headline
from cnnlab.stats.power import detectable_difference
from cnnlab.stats.sample import LEVEL
from cnnlab.stats.sweep import SweepCurve
from cnnlab.studies.plan_summary import PlanSummary
from cnnlab.studies.result import ArmRecord, StudyResult


@dataclass(frozen=True)
class StudyView:
    """What a study found, ready to be shown; `result` holds the records."""

    result: StudyResult

    def document(self) -> Document:
        """The question, the answer in a sentence, and the tables."""
        return study_document(self.result)

    def svg(self) -> str:
        """Every seed a dot, with the differences to the baseline; or the sweep."""
        curve = self.result.curve
        figure = seed_figure(self.result) if curve is None else sweep_figure(self.result, curve)
        return to_svg(figure, "study", f"{self.result.question} {headline(self.result)}".strip(), standalone=True)

    def to_json(self, indent: int | None = None) -> str:
        """The result as JSON text; arms by what programs ask for, without learning curves.

        An arm's `low` and `high` bound its mean at `level`, as in the table: 95 % whatever α is. `difference_low` and
        `difference_high` bound its difference to the baseline at `difference_level`, 1 − α for all arms together.
        """
        record = json.loads(self.result.to_json())
        record["arms"] = [_arm_dict(self.result, arm) for arm in self.result.arms]
        return json.dumps(record, indent=indent)

    def _repr_html_(self) -> str:
        return self.document().to_html(self.svg())


@dataclass(frozen=True)
class StudyPlanView:
    """What a study will take and can find, ready to be shown."""

    plan: PlanSummary

    def document(self) -> Document:
        """The arms, the time, and the differences that the seeds can find."""
        return plan_document(self.plan)

    def to_json(self, indent: int | None = None) -> str:
        """The plan as JSON text."""
        return self.plan.to_json(indent)

    def _repr_html_(self) -> str:
        return self.document().to_html()


def _arm_dict(result: StudyResult, arm: ArmRecord) -> dict[str, Any]:
    sample, interval = arm.sample, arm.sample.interval(LEVEL) or (None, None)
    compared = {one.a: one for one in result.ablation.comparisons} if result.ablation is not None else {}
    found = compared.get(arm.same_as or arm.name)
    known = {
        "name": arm.name,
        "n": sample.n,
        "failures": sample.failures,
        "mean": sample.mean,
        "low": interval[0],
        "high": interval[1],
        "level": LEVEL,
        "difference": found.difference if found else None,
        "difference_low": found.low if found else None,
        "difference_high": found.high if found else None,
        "difference_level": found.level if found else None,
        "verdict": found.verdict if found else None,
        "needed": found.needed if found else None,
    }
    rest = arm.model_copy(update={"curve": None}).to_json()
    return {**known, **{key: value for key, value in json.loads(rest).items() if key not in ("curve", "sample")}}


Fact = tuple[str, str]
VERDICTS = ("better", "worse", "practically equal", "undecided", "no verdict")


def pooled_sd(result: StudyResult) -> float | None:
    """The standard deviation between the runs of an arm, of all arms together; None where no arm has two."""
    known = [(arm.sample.n - 1, arm.sample.sd) for arm in result.arms if arm.sample.sd is not None and not arm.same_as]
    freedom = sum(each for each, _ in known)
    return sqrt(sum(each * sd**2 for each, sd in known) / freedom) if freedom else None


def observed_detectable_difference(result: StudyResult) -> float | None:
    """The true difference that these runs find in 80 % of studies, at the spread seen; None where they can find none.

    Of one arm against the baseline, or of one value against the best, at its share of alpha.
    """
    sd = pooled_sd(result)
    compared = comparisons(result)
    if sd is None:
        return None
    if result.ablation is not None and compared:
        typical = int(median(each.n_a for each in compared))
        size = len(result.ablation.arms)
        found = detectable_difference(sd, typical, result.ablation.baseline.n, alpha=result.alpha, comparisons=size)
    elif result.curve is not None and len(result.curve.samples) > 1:
        typical = int(median(sample.n for sample in result.curve.samples))
        found = detectable_difference(sd, typical, alpha=result.alpha, comparisons=len(result.curve.samples) - 1)
    else:
        return None
    return found if found < inf else None


def key_facts(result: StudyResult) -> list[Fact]:
    """What a reader weighs the answer by."""
    done, planned = study_text.runs_done(result)
    failed = sum(arm.sample.failures for arm in result.arms)
    least, metric = observed_detectable_difference(result), result.metric
    return [
        ("values" if result.curve is not None else "arms", format_count(len(result.arms))),
        ("runs", f"{done:,}" if done == planned else f"{done:,} of {planned:,}"),
        ("failed runs", format_count(failed)),
        ("measured on", pluralize(result.images, "image")),
        ("smallest difference of interest", study_text.equivalence_band(result.smallest_difference, metric)[1:]),
        (
            "difference these seeds find (80 %)",
            MISSING if least is None else study_text.format_amount(least, metric),
        ),
        ("α", f"{result.alpha:g}"),
        ("training time", format_duration(result.seconds)),
    ]


def seeds_caption(result: StudyResult) -> str:
    """Which mean is best, and how far the runs of an arm lie apart."""
    known = [arm for arm in result.arms if arm.sample.mean is not None and not arm.same_as]
    if not known:
        return "No run has a figure."
    sign = 1 if result.higher_is_better else -1
    best = max(known, key=lambda arm: sign * (arm.sample.mean or 0.0))
    sd = pooled_sd(result)
    spread = (
        f"; runs of one arm spread by {study_text.format_amount(sd, result.metric)} (pooled standard deviation)"
        if sd
        else ""
    )
    return f"The best mean, {best.sample.mean:.4f}, is that of {study_text.quoted_arm(result, best.name)}{spread}."


def forest_caption(result: StudyResult) -> str:
    """How many arms got which verdict."""
    found = [each.verdict for each in comparisons(result)]
    counts = [f"{found.count(verdict)} {verdict}" for verdict in VERDICTS if verdict in found]
    base = study_text.quoted_arm(result, result.baseline or "")
    return f"Of {pluralize(len(found), 'arm')} against {base}: {study_text.join_names(counts, 5)}."


def sweep_caption(curve: SweepCurve) -> str:
    """The best value, the plateau, and where the fitted curve turns."""
    if curve.best is None:
        return "No value has a figure."
    best = f"The best mean is at {curve.sweep_values[curve.best]:g}"
    turn = f"; the fitted quadratic is best at {curve.optimum:.3g}" if curve.optimum is not None else ""
    if not curve.enough:
        return f"{best}{turn}; the runs are too few to tell a plateau."
    plateau = study_text.value_ranges(curve.sweep_values, curve.plateau)
    return f"{best}; the plateau, the values that can't be told from it, is {plateau}{turn}."


def learning_caption(result: StudyResult) -> str:
    """How many seeds a line is the mean of, and which lines have a colour."""
    found = learning_bands(result)
    seeds = sorted({band.seeds for band in found})
    of = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    noun = "seed" if seeds[-1] == 1 else "seeds"
    given = set(arm_colours(result, found).values())
    parts = [text for colour, text in _COLOUR_TEXT.items() if colour in given]
    if len(found) > len(parts):
        parts.append("the others grey" + (" and not named" if len(found) > MAX_LINES_NAMED else ""))
    return f"Means over {of} {noun}: {', '.join(parts)}."


_COLOUR_TEXT = {"ink": "the baseline black or white", "train": "the best mean blue", "other": "the worst violet"}


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
            key_figures=key_facts(result),
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
    """Every run, and the differences to the baseline: of two arms in one figure, of more in one each."""
    if result.curve is not None:
        caption = sweep_caption(result.curve)
        yield _picture(sweep_figure(result, result.curve), "sweep", caption)
    several = len(comparisons(result)) > 1
    if result.curve is None or result.ablation is not None:
        yield _picture(seed_figure(result, differences=not several), "seeds", seeds_caption(result))
    if several:
        yield _picture(forest_figure(result), "forest", forest_caption(result))


def _curves(result: StudyResult) -> Picture | None:
    if not learning_bands(result):
        return None
    return _picture(learning_figure(result), "learning", learning_caption(result))


def _shift_figures(result: StudyResult, example: Pixels | None) -> Iterator[Picture]:
    """The curves under shifts, and an image under each."""
    if result.shifted is None:
        return
    for name, captioned in ShiftView(result.shifted, example).figures().items():
        yield _picture(captioned.figure, f"shift-{name}", captioned.description)


def _picture(figure: Figure, name: str, caption: str) -> Picture:
    return Markup(to_svg(figure, name, caption)), caption


def _provenance_facts(result: StudyResult) -> list[Fact]:
    environments = sorted({run.made for arm in result.arms for run in arm.seeds if run.made})
    return [
        ("data", shorten(result.data, 200)),
        ("metric", f"{text.metric_name(result.metric)}, {'higher' if result.higher_is_better else 'lower'} is better"),
        ("device", shorten(result.device, 200)),
        ("precision", result.precision),
        ("memory format", result.memory_format.replace("_", " ")),
        ("declared before the first run", result.declared or MISSING),
        ("made by", "; ".join(shorten(each, 120) for each in environments) or MISSING),
        ("arms looked at", format_count(result.trials)),
        ("training time", format_duration(result.seconds)),
    ]
