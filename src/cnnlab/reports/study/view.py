"""How a study is shown: its document with one headline and tables, its picture, and its arms as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cnnlab.render.document import Document, TitledTable
from cnnlab.render.formatting import MISSING, format_count, format_loss, pluralize, shorten
from cnnlab.render.result import document, svg
from cnnlab.render.tables import TextTable
from cnnlab.reports.claims import claims_table
from cnnlab.reports.robustness.view import shift_tables
from cnnlab.reports.study import text as study_text
from cnnlab.reports.study.text import comparisons, format_value, headline, ledger_text
from cnnlab.stats.comparison import Comparison
from cnnlab.stats.sample import LEVEL, MIN_RUNS, Interval, Sample
from cnnlab.stats.sweep import SweepCurve
from cnnlab.studies.result import ArmRecord, Confirmation, StudyResult, runs_sample

MAX_CELL_LENGTH = 60


@document.register
def study_document(result: StudyResult) -> Document:
    """The question, the headline and the tables; accuracies are fractions, and a difference is arm − baseline."""
    lines = [shorten(result.question, 400)] if result.question else []
    lines += [headline(result), method_text(result)]
    notes = (*column_notes(result), *(shorten(note, 400) for note in result.notes))
    return Document(f"Study {shorten(result.study)}", tuple(lines), tuple(study_tables(result).values()), notes)


@svg.register
def study_svg(result: StudyResult) -> str:
    """Every seed a dot, with the differences to the baseline; or the sweep."""
    # Matplotlib takes a second to load, which a study's tables do without.
    from cnnlab.render.plots import to_svg
    from cnnlab.reports.study.figures import seed_figure
    from cnnlab.reports.study.sweep_figure import sweep_figure

    figure = seed_figure(result) if result.curve is None else sweep_figure(result, result.curve)
    return to_svg(figure, "study", f"{result.question} {headline(result)}".strip(), standalone=True)


def arms_json(result: StudyResult) -> list[dict[str, Any]]:
    """The arms by what programs ask for first, without learning curves.

    An arm's `low` and `high` bound its mean at `level`, as in the table: 95 % whatever α is. `difference_low` and
    `difference_high` bound its difference to the baseline at `difference_level`, 1 − α for all arms together.
    """
    compared = {each.a: each for each in result.ablation.comparisons} if result.ablation is not None else {}
    return [_arm_json(arm, compared.get(arm.same_as or arm.name)) for arm in result.arms]


def _arm_json(arm: ArmRecord, comparison: Comparison | None) -> dict[str, Any]:
    sample = arm.sample
    low, high = sample.interval(LEVEL) or (None, None)
    rest = json.loads(arm.model_copy(update={"curve": None}).to_json())
    del rest["name"], rest["curve"], rest["sample"]
    return {
        "name": arm.name,
        "n": sample.n,
        "failures": sample.failures,
        "mean": sample.mean,
        "low": low,
        "high": high,
        "level": LEVEL,
        "difference": comparison.difference if comparison else None,
        "difference_low": comparison.low if comparison else None,
        "difference_high": comparison.high if comparison else None,
        "difference_level": comparison.level if comparison else None,
        "verdict": comparison.verdict if comparison else None,
        "needed": comparison.needed if comparison else None,
        **rest,
    }


def study_tables(result: StudyResult) -> dict[str, TitledTable]:
    """The tables that are not empty, with their titles: values or arms, checks, confirmation, claims and shifts."""
    tables: dict[str, TitledTable] = {}
    if result.curve is not None:
        tables["sweep"] = ("Values", sweep_table(result, result.curve))
        if (shape := shape_table(result.curve)).rows:
            tables["shape"] = ("Shape of the sweep", shape)
    if result.curve is None or result.ablation is not None:
        tables["arms"] = ("Arms", arm_table(result))
    if comparisons(result):
        tables["checks"] = ("Cross-checks", check_table(result))
    if result.confirmation is not None:
        tables["confirmation"] = (confirmation_title(result.confirmation), confirmation_table(result.confirmation))
    if result.claims:
        tables["claims"] = ("Published claims", claims_table(result.claims, of="arm"))
    if result.shifted is not None:
        (_, *rest) = named = shift_tables(result.shifted)
        tables["shifted"] = ("Verdicts under shifts, on the test split", named[0][1])
        tables |= {f"shifted-{number}": (f"Under shifts: {title}", table) for number, (title, table) in enumerate(rest)}
    return tables


def method_text(result: StudyResult) -> str:
    """What was measured, on how much, and by which rules."""
    done, planned = study_text.runs_done(result)
    runs = f"{done:,} of {pluralize(planned, 'run')}" if done < planned else pluralize(planned, "run")
    rules = (
        f"smallest difference of interest {study_text.equivalence_band(result.smallest_difference, result.metric)[1:]}"
    )
    metric = study_text.metric_name(result.metric)
    arms = pluralize(len(result.arms), "arm" if result.curve is None else "value")
    return (
        f"{metric[:1].upper()}{metric[1:]} on {pluralize(result.images, 'image')} of "
        f"{shorten(result.data)}; {arms}, {runs}; {rules}, α = {result.alpha:g}."
    )


def shape_table(curve: SweepCurve) -> TextTable:
    """Whether the value has an effect, and the quadratic that fits the runs best."""
    rows = []
    if curve.p_any is not None:
        rows.append(("effect of the value", f"p {_p_relation(curve.p_any)}", "Alexander–Govern, unequal variances"))
    if curve.coefficients is not None:
        square, linear, constant = curve.coefficients
        errors = curve.coefficient_errors
        formula = f"{format_value(constant, 4)} {_term(linear)}·x {_term(square)}·x²"
        standard = f"HC3 standard errors {errors[2]:.2g}, {errors[1]:.2g}, {errors[0]:.2g}" if errors else ""
        rows.append(("fitted quadratic", formula, f"least squares; {standard}".removesuffix("; ")))
    if curve.optimum is not None:
        rows.append(("its best value", format_value(curve.optimum, 3), "where its slope is 0"))
    return TextTable.from_rows(("measure", "#value", "method"), rows)


def arm_table(result: StudyResult) -> TextTable:
    """A row for each arm in the order of the study, with its difference to the baseline and the verdict."""
    heads = (
        "arm",
        "verdict",
        "#needs n",
        "#difference",
        "#its interval",
        "#n",
        "#failed",
        "#mean",
        "#95 % interval",
        "changes",
    )
    found = {each.a: each for each in (result.ablation.comparisons if result.ablation else ())}
    rows = (_arm_row(result, arm, found.get(arm.name)) for arm in result.arms)
    return TextTable.from_rows((*heads, "#parameters", "#minutes"), rows)


def sweep_table(result: StudyResult, curve: SweepCurve) -> TextTable:
    """A row for each value, rising, with its p-value against the best value; values of the plateau are marked."""
    measures = ("#mean", "#95 % interval", "plateau", "#p against the best", "#train mean")
    order = sorted(range(len(curve.sweep_values)), key=lambda index: curve.sweep_values[index])
    heads = ("#value", "#n", "#failed", *measures, "#parameters", "#minutes")
    return TextTable.from_rows(heads, (_sweep_row(result, curve, index) for index in order))


def check_table(result: StudyResult) -> TextTable:
    """The same comparisons by other means, the best difference first."""
    heads = (
        "arm",
        "#p",
        "#p, adjusted",
        "#p of equivalence, adjusted",
        "#its interval",
        "#p, permuted",
        "#p, Dunnett",
        "#P(arm better)",
    )
    ablation = result.ablation
    known = () if ablation is None or ablation.dunnett is None else ablation.dunnett
    dunnett = dict(zip((each.a for each in (ablation.comparisons if ablation else ())), known, strict=False))
    wide = any(each.new_images is not None for each in comparisons(result))
    rows = (_check_row(each, dunnett.get(each.a), with_new_images=wide) for each in comparisons(result))
    return TextTable.from_rows((*heads, "#error, relative", *(["#interval for new images"] if wide else [])), rows)


def confirmation_title(confirmation: Confirmation) -> str:
    """The title of a confirmation's table, with the number of fresh seeds and of openings of the test set."""
    seeds = pluralize(len(confirmation.seeds), "fresh seed")
    return f"Confirmation on the test set, {ledger_text(confirmation.looks)}, with {seeds} an arm"


def confirmation_table(confirmation: Confirmation) -> TextTable:
    """The winner and the baseline, trained again with fresh seeds, on the test set."""
    compared = confirmation.comparison
    measures = ("#mean", "#95 % interval", "#difference", "#its interval", "verdict")
    rows = []
    for name, runs, first in (
        (confirmation.winner, confirmation.runs, True),
        (confirmation.baseline, confirmation.baseline_runs, False),
    ):
        sample = runs_sample(name, runs)
        verdict = (*_difference(compared), compared.verdict) if first else (MISSING, MISSING, "baseline")
        rows.append((shorten(name, MAX_CELL_LENGTH), *_sample_cells(sample, len(runs)), *verdict))
    return TextTable.from_rows(("arm", "#n", "#failed", *measures), rows)


def column_notes(result: StudyResult) -> Iterator[str]:
    """How the columns are read."""
    if result.ablation is not None and result.ablation.comparisons:
        level = study_text.level_text(result.ablation.comparisons[0].level)
        correction = "Benjamini–Hochberg, a screening" if result.ablation.screening else "Holm"
        yield (
            f"difference: arm − baseline, with Welch's interval at {level}, simultaneous over all arms. verdict: "
            f"p-values adjusted for the number of arms ({correction}), so an arm can be better or worse though its "
            "interval contains 0. “undecided” is not “no difference”; “no verdict”: fewer than "
            f"{MIN_RUNS} runs on a side; needs n: the runs an arm that a new study should plan."
        )
        if result.smallest_difference is not None:
            band = study_text.equivalence_band(result.smallest_difference, result.metric)
            yield f"practically equal: two one-sided tests at {band}; their interval is among the cross-checks."
    if result.curve is not None and result.curve.enough:
        yield "plateau: the values that Welch's test, adjusted by Holm, does not tell from the best one."
    if any(arm.sample.failures for arm in result.arms):
        yield "failed: with the exact 95 % interval of their share; means are of the other runs."


def _arm_row(result: StudyResult, arm: ArmRecord, comparison: Comparison | None) -> tuple[str, ...]:
    return (
        shorten(arm.name, MAX_CELL_LENGTH),
        _verdict_text(result, arm, comparison),
        MISSING if comparison is None or comparison.needed is None else format_count(comparison.needed),
        *_difference(comparison),
        *_sample_cells(arm.sample, len(arm.seeds)),
        overrides_text(arm),
        format_count(arm.parameters),
        _minutes(arm),
    )


def _sweep_row(result: StudyResult, curve: SweepCurve, index: int) -> tuple[str, ...]:
    arm = next((arm for arm in result.arms if arm.sweep_value == curve.sweep_values[index]), None)
    sample, p = curve.samples[index], curve.p_plateau[index]
    mark = "best" if index == curve.best else "plateau" if index in curve.plateau else ""
    return (
        format_value(curve.sweep_values[index]),
        *_sample_cells(sample, len(arm.seeds) if arm else len(sample.values)),
        mark,
        MISSING if index == curve.best else _p_cell(p),
        MISSING if arm is None or arm.train.mean is None else format_loss(arm.train.mean),
        MISSING if arm is None else format_count(arm.parameters),
        MISSING if arm is None else _minutes(arm),
    )


def _check_row(comparison: Comparison, dunnett: float | None, *, with_new_images: bool) -> tuple[str, ...]:
    bounds = None
    if comparison.equal_low is not None and comparison.equal_high is not None:
        bounds = (comparison.equal_low, comparison.equal_high)
    change = comparison.error_change
    return (
        shorten(comparison.a, MAX_CELL_LENGTH),
        *map(_p_cell, (comparison.p, comparison.p_adjusted, comparison.p_equal_adjusted)),
        _interval(bounds, signs=True),
        *map(_p_cell, (None if comparison.low is None else comparison.p_permutation, dunnett)),
        MISSING if comparison.superiority is None or comparison.low is None else f"{comparison.superiority:.2f}",
        MISSING if change is None else f"{study_text.format_signed(100 * change, 1)} %",
        *([_interval(comparison.new_images, signs=True)] if with_new_images else []),
    )


def _p_cell(p: float | None) -> str:
    return MISSING if p is None else study_text.p_value_cell(p)


def overrides_text(arm: ArmRecord) -> str:
    """What an arm changes of the base, on one line."""
    if arm.same_as:
        return f"the same experiment as {shorten(arm.same_as)}"
    return shorten(", ".join(f"{key} = {value}" for key, value in arm.changes.items()), MAX_CELL_LENGTH) or MISSING


def _sample_cells(sample: Sample, planned: int) -> tuple[str, str, str, str]:
    """n of planned, failures, mean, interval of the mean."""
    runs = f"{sample.n}" if sample.n == planned else f"{sample.n} of {planned}"
    mean = MISSING if sample.mean is None else format_loss(sample.mean)
    return runs, _failures(sample), mean, _interval(sample.interval())


def _failures(sample: Sample) -> str:
    if not sample.failures:
        return "0" if sample.values else MISSING
    low, high = sample.failure_interval
    return f"{sample.failures} ({100 * low:.0f}–{100 * high:.0f} %)"


def _difference(comparison: Comparison | None) -> tuple[str, str]:
    if comparison is None or comparison.difference is None:
        return MISSING, MISSING
    bounds = None if comparison.low is None or comparison.high is None else (comparison.low, comparison.high)
    return study_text.format_signed(comparison.difference), _interval(bounds, signs=True)


def _interval(bounds: Interval | None, *, signs: bool = False) -> str:
    if bounds is None:
        return MISSING
    write = study_text.format_signed if signs else lambda bound: format_loss(bound).replace("-", "−")
    low, high = map(write, bounds)
    return f"{low} to {high}"


def _verdict_text(result: StudyResult, arm: ArmRecord, comparison: Comparison | None) -> str:
    if arm.name == result.baseline:
        return "baseline"
    return MISSING if comparison is None or arm.same_as else comparison.verdict


def _minutes(arm: ArmRecord) -> str:
    return MISSING if arm.seconds is None else f"{arm.seconds / 60:.1f}"


def _term(coefficient: float) -> str:
    return f"{'−' if coefficient < 0 else '+'} {abs(coefficient):.4g}"


def _p_relation(p: float) -> str:
    cell = study_text.p_value_cell(p)
    return cell if cell.startswith("<") else f"= {cell}"
