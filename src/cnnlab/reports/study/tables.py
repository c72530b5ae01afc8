"""A study as a document: the question, the headline, the arms with intervals and verdicts, and what else it found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cnnlab.render.document import Document, TitledTable
from cnnlab.render.formatting import MISSING, format_count, format_loss, pluralize, shorten
from cnnlab.render.tables import TextTable
from cnnlab.reports.robustness.text import invariance_summary, shift_tables
from cnnlab.reports.run.tables import claim_table
from cnnlab.reports.study import text as study_text
from cnnlab.reports.study.text import comparisons, headline
from cnnlab.stats.comparison import Comparison
from cnnlab.stats.sample import Interval, Sample
from cnnlab.stats.sweep import SweepCurve
from cnnlab.studies.result import ArmRecord, Confirmation, SeedRecord, StudyResult

MAX_CELL_LENGTH = 60
NO_BAND = (
    "no arm is called “practically equal”: no smallest difference of interest was given, and a loss has none of its own"
)


def study_document(result: StudyResult) -> Document:
    """The whole of a study in words and tables; accuracies are fractions, and a difference is arm − baseline."""
    lines = [shorten(result.question, 400)] if result.question else []
    lines += [headline(result), method_text(result), *sweep_shape_lines(result)]
    lines += [invariance_summary(group, result.shifted) for group in result.shifted.groups] if result.shifted else []
    notes = (*column_notes(result), *(shorten(note, 400) for note in result.notes))
    return Document(f"Study {shorten(result.study)}", tuple(lines), tuple(study_tables(result).values()), notes)


def study_tables(result: StudyResult) -> dict[str, TitledTable]:
    """The tables that the study has something for, with their titles: arms or values, checks, confirmation, claims,
    sayings, and what came out under shifts."""
    tables: dict[str, TitledTable] = {}
    if result.curve is not None:
        tables["sweep"] = ("Values", sweep_table(result, result.curve))
    if result.curve is None or result.ablation is not None:
        tables["arms"] = ("Arms", arm_table(result))
    if comparisons(result):
        tables["checks"] = ("Cross-checks", check_table(result))
    if result.confirmation is not None:
        tables["confirmation"] = ("Confirmed on the test set", confirmation_table(result.confirmation))
    if result.claims:
        tables["claims"] = ("Published figures", arm_claim_table(result))
    if result.ordinal_claims:
        tables["ordinal_claims"] = ("Published words", ordinal_claim_table(result))
    if result.shifted is not None:
        (_, *rest) = named = shift_tables(result.shifted)
        tables["shifted"] = ("Accuracy under shifts, on the test part", named[0][1])
        tables |= {f"shifted-{number}": (f"{title}: under shifts", table) for number, (title, table) in enumerate(rest)}
    if result.shift_claims:
        tables["shift_claims"] = ("Published of shifts", shift_claim_table(result))
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


def sweep_shape_lines(result: StudyResult) -> Iterator[str]:
    """Of a sweep: does the value matter at all, and the fitted quadratic."""
    curve = result.curve
    if curve is None:
        return
    if curve.p_any is not None:
        yield (
            f"Does the value matter at all? {study_text.format_p_value(curve.p_any)} (Alexander–Govern, means of "
            "unequal spread)."
        )
    if curve.coefficients is not None:
        square, line, start = curve.coefficients
        errors = curve.coefficient_errors
        signs = f"{start:.4g} {_coefficient_text(line)}·x {_coefficient_text(square)}·x²"
        known = f", standard errors {errors[2]:.2g}, {errors[1]:.2g}, {errors[0]:.2g} (HC3)" if errors else ""
        turn = f"; it is best at x = {curve.optimum:.3g}" if curve.optimum is not None else ""
        yield f"Fitted quadratic: {signs}{known}{turn}."


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
    """A row for each value, rising; the plateau is marked, with the p-value of each value against the best."""
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
    rows = (_check_row(each, dunnett.get(each.a), with_dunnett=wide) for each in comparisons(result))
    return TextTable.from_rows((*heads, "#error, relative", *(["#interval for new images"] if wide else [])), rows)


def confirmation_table(confirmation: Confirmation) -> TextTable:
    """The winner and the baseline, trained again with fresh seeds, on the test set."""
    compared = confirmation.comparison
    measures = ("#mean", "#95 % interval", "#difference", "#its interval", "verdict")
    rows = []
    for name, runs, first in (
        (confirmation.winner, confirmation.runs, True),
        (confirmation.baseline, confirmation.baseline_runs, False),
    ):
        sample = Sample(name=name, values=tuple(metric_values(runs)))
        verdict = (*_difference(compared), compared.verdict) if first else (MISSING, MISSING, "baseline")
        rows.append((shorten(name, MAX_CELL_LENGTH), *_sample_cells(sample, len(runs)), *verdict))
    return TextTable.from_rows(("arm", "#n", "#failed", *measures), rows)


def metric_values(runs: Iterable[SeedRecord]) -> Iterator[float]:
    """The figure of each run that came to an end; NaN for one that failed."""
    for run in runs:
        if run.status != "not run":
            yield float("nan") if run.value is None else run.value


def arm_claim_table(result: StudyResult) -> TextTable:
    """Published figures of arms against measured ones."""
    table = claim_table(claim.claim for claim in result.claims)
    rows = ((shorten(each.arm, MAX_CELL_LENGTH), *row) for each, row in zip(result.claims, table.rows, strict=True))
    return TextTable((TextTable.from_rows(["arm"], []).columns[0], *table.columns), tuple(rows))


def ordinal_claim_table(result: StudyResult) -> TextTable:
    """The published ordinal claims about arms, and this study's verdicts."""
    rows = (
        (
            shorten(each.arm, MAX_CELL_LENGTH),
            f"{each.published} than" if each.published in ("better", "worse") else each.published,
            shorten(each.than, MAX_CELL_LENGTH) or MISSING,
            each.verdict,
            shorten(each.reason, 200),
            "; ".join(shorten(text, 120) for text in (each.source, each.note) if text),
        )
        for each in result.ordinal_claims
    )
    return TextTable.from_rows(("arm", "published as", "other arm", "this study", "because", "source"), rows)


def shift_claim_table(result: StudyResult) -> TextTable:
    """The published claims about arms under shifts, and this study's verdicts."""
    rows = (
        (
            shorten(each.arm, MAX_CELL_LENGTH),
            shorten(each.shift, MAX_CELL_LENGTH),
            each.published,
            each.verdict,
            shorten(each.reason, 200),
            "; ".join(shorten(text, 120) for text in (each.source, each.note) if text),
        )
        for each in result.shift_claims
    )
    return TextTable.from_rows(("arm", "shift", "published", "this study", "because", "source"), rows)


def column_notes(result: StudyResult) -> Iterator[str]:
    """How the columns are to be read."""
    if result.ablation is not None and result.ablation.comparisons:
        level = study_text.level_text(result.ablation.comparisons[0].level)
        rule = "Benjamini–Hochberg, a screening" if result.ablation.screening else "Holm"
        corrected = ", size-corrected," if len(result.ablation.comparisons) > 1 else ""
        equal = NO_BAND
        if result.smallest_difference is not None:
            band = study_text.equivalence_band(result.smallest_difference, result.metric)
            shown = f"“practically equal” is shown by two one-sided tests at {band}"
            equal = f"{shown}, whose interval stands under “Cross-checks”"
        yield (
            f"A difference is arm − baseline, with Welch's interval{corrected} at {level}: all of them hold at once. "
            "Verdicts are "
            f"adjusted for the number of arms step by step ({rule}), so that an arm can be better or worse though its "
            f"interval holds 0; {equal}. “Undecided” is not “no "
            "difference”: “needs n” is how many runs an arm a new study should plan."
        )
    if result.curve is not None and result.curve.enough:
        yield (
            "The plateau holds the values that can't be told from the best one, which stands in it: p of Welch's test, "
            "size-corrected and adjusted by Holm's rule."
        )
    if any(arm.sample.failures for arm in result.arms):
        yield "Failed runs stay in the table, with the exact 95 % interval of their share; means are of the others."


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
    arm = study_text.arm_of_sweep_value(result, curve, index)
    sample, p = curve.samples[index], curve.p_plateau[index]
    mark = "best" if index == curve.best else "plateau" if index in curve.plateau else ""
    return (
        f"{curve.sweep_values[index]:g}",
        *_sample_cells(sample, len(arm.seeds) if arm else len(sample.values)),
        mark,
        MISSING if p is None or index == curve.best else study_text.p_value_cell(p),
        MISSING if arm is None or arm.train.mean is None else format_loss(arm.train.mean),
        MISSING if arm is None else format_count(arm.parameters),
        MISSING if arm is None else _minutes(arm),
    )


def _check_row(comparison: Comparison, dunnett: float | None, *, with_dunnett: bool) -> tuple[str, ...]:
    shown = [
        MISSING if value is None else study_text.p_value_cell(value) for value in (comparison.p, comparison.p_adjusted)
    ]
    others = [
        MISSING if value is None else study_text.p_value_cell(value) for value in (comparison.p_permutation, dunnett)
    ]
    equal = MISSING if comparison.p_equal_adjusted is None else study_text.p_value_cell(comparison.p_equal_adjusted)
    bounds = (
        None
        if comparison.equal_low is None or comparison.equal_high is None
        else (comparison.equal_low, comparison.equal_high)
    )
    new = [_interval(comparison.new_images, signs=True)] if with_dunnett else []
    return (
        shorten(comparison.a, MAX_CELL_LENGTH),
        *(*shown, equal, _interval(bounds, signs=True), *others),
        MISSING if comparison.superiority is None else f"{comparison.superiority:.2f}",
        MISSING
        if comparison.error_change is None
        else f"{study_text.format_signed(100 * comparison.error_change, 1)} %",
        *new,
    )


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
    low, high = (study_text.format_signed(bound) if signs else format_loss(bound) for bound in bounds)
    return f"{low} to {high}"


def _verdict_text(result: StudyResult, arm: ArmRecord, comparison: Comparison | None) -> str:
    if arm.name == result.baseline:
        return "baseline"
    return MISSING if comparison is None or arm.same_as else comparison.verdict


def _minutes(arm: ArmRecord) -> str:
    return MISSING if arm.seconds is None else f"{arm.seconds / 60:.1f}"


def _coefficient_text(value: float) -> str:
    return f"{'−' if value < 0 else '+'} {abs(value):.4g}"
