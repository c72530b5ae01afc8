"""A study on one sheet: the question, the answer, the arms with intervals and verdicts, and what else it found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cnnlab.render import formatting
from cnnlab.render.document import Sheet, Titled
from cnnlab.render.formatting import NONE
from cnnlab.render.tables import TextTable
from cnnlab.reports.robustness.tables import shift_tables
from cnnlab.reports.robustness.text import summary
from cnnlab.reports.run.tables import claim_table
from cnnlab.reports.study import text as study_text
from cnnlab.reports.study.text import comparisons, headline
from cnnlab.stats.comparison import Comparison
from cnnlab.stats.sample import Interval, Sample
from cnnlab.stats.sweep import DoseCurve
from cnnlab.studies.result import ArmRecord, Confirmation, SeedRecord, StudyResult

LONGEST_CELL = 60
NO_BAND = (
    "no arm is called “practically equal”: no smallest difference of interest was given, and a loss has none of its own"
)


def study_sheet(result: StudyResult) -> Sheet:
    """The whole of a study in words and tables; accuracies are fractions, and a difference is arm − baseline."""
    lines = [formatting.shown(result.question, 400)] if result.question else []
    lines += [headline(result), basis(result), *shape(result)]
    lines += [summary(group, result.shifted) for group in result.shifted.groups] if result.shifted else []
    notes = (*reading(result), *(formatting.shown(note, 400) for note in result.notes))
    return Sheet(f"Study {formatting.shown(result.study)}", tuple(lines), tuple(study_tables(result).values()), notes)


def study_tables(result: StudyResult) -> dict[str, Titled]:
    """The tables that the study has something for, with their titles: arms or doses, checks, confirmation, claims,
    sayings, and what came out under shifts."""
    tables: dict[str, Titled] = {}
    if result.curve is not None:
        tables["doses"] = ("Doses", dose_table(result, result.curve))
    if result.curve is None or result.ablation is not None:
        tables["arms"] = ("Arms", arm_table(result))
    if comparisons(result):
        tables["checks"] = ("Cross-checks", check_table(result))
    if result.confirmation is not None:
        tables["confirmation"] = ("Confirmed on the test set", confirmation_table(result.confirmation))
    if result.claims:
        tables["claims"] = ("Published figures", arm_claim_table(result))
    if result.sayings:
        tables["sayings"] = ("Published words", saying_table(result))
    if result.shifted is not None:
        (_, *rest) = named = shift_tables(result.shifted)
        tables["shifted"] = ("Accuracy under shifts, on the test part", named[0][1])
        tables |= {f"shifted-{number}": (f"{title}: under shifts", table) for number, (title, table) in enumerate(rest)}
    if result.under:
        tables["under"] = ("Published of shifts", under_table(result))
    return tables


def basis(result: StudyResult) -> str:
    """What was measured, on how much, and by which rules."""
    done, planned = study_text.runs_done(result)
    runs = f"{done:,} of {formatting.plural(planned, 'run')}" if done < planned else formatting.plural(planned, "run")
    rules = f"smallest difference of interest {study_text.smallest(result.smallest_difference, result.metric)[1:]}"
    metric = study_text.metric_name(result.metric)
    arms = formatting.plural(len(result.arms), "arm" if result.curve is None else "dose")
    return (
        f"{metric[:1].upper()}{metric[1:]} on {formatting.plural(result.images, 'image')} of "
        f"{formatting.shown(result.data)}; {arms}, {runs}; {rules}, α = {result.alpha:g}."
    )


def shape(result: StudyResult) -> Iterator[str]:
    """Of a dose curve: does the dose matter at all, and the fitted quadratic."""
    curve = result.curve
    if curve is None:
        return
    if curve.p_any is not None:
        yield f"Does the dose matter at all? {study_text.p_value(curve.p_any)} (Alexander–Govern, means of unequal spread)."
    if curve.coefficients is not None:
        square, line, start = curve.coefficients
        errors = curve.coefficient_errors
        signs = f"{start:.4g} {_term(line)}·x {_term(square)}·x²"
        known = f", standard errors {errors[2]:.2g}, {errors[1]:.2g}, {errors[0]:.2g} (HC3)" if errors else ""
        turn = f"; it is best at x = {curve.vertex:.3g}" if curve.vertex is not None else ""
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
    return TextTable.of((*heads, "#parameters", "#minutes"), rows)


def dose_table(result: StudyResult, curve: DoseCurve) -> TextTable:
    """A row for each dose, rising; the plateau is marked, with the p-value of each dose against the best."""
    measures = ("#mean", "#95 % interval", "plateau", "#p against the best", "#train mean")
    order = sorted(range(len(curve.doses)), key=lambda index: curve.doses[index])
    heads = ("#dose", "#n", "#failed", *measures, "#parameters", "#minutes")
    return TextTable.of(heads, (_dose_row(result, curve, index) for index in order))


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
    rows = (_check_row(each, dunnett.get(each.a), wide=wide) for each in comparisons(result))
    return TextTable.of((*heads, "#error, relative", *(["#interval for new images"] if wide else [])), rows)


def confirmation_table(found: Confirmation) -> TextTable:
    """The winner and the baseline, trained again with fresh seeds, on the test set."""
    compared = found.comparison
    measures = ("#mean", "#95 % interval", "#difference", "#its interval", "verdict")
    rows = []
    for name, runs, first in ((found.winner, found.runs, True), (found.baseline, found.baseline_runs, False)):
        sample = Sample(name=name, values=tuple(figures(runs)))
        verdict = (*_difference(compared), compared.verdict) if first else (NONE, NONE, "baseline")
        rows.append((formatting.shown(name, LONGEST_CELL), *_figures(sample, len(runs)), *verdict))
    return TextTable.of(("arm", "#n", "#failed", *measures), rows)


def figures(runs: Iterable[SeedRecord]) -> Iterator[float]:
    """The figure of each run that came to an end; NaN for one that failed."""
    for run in runs:
        if run.status != "not run":
            yield float("nan") if run.value is None else run.value


def arm_claim_table(result: StudyResult) -> TextTable:
    """Published figures of arms against measured ones."""
    table = claim_table(claim.claim for claim in result.claims)
    rows = (
        (formatting.shown(each.arm, LONGEST_CELL), *row) for each, row in zip(result.claims, table.rows, strict=True)
    )
    return TextTable((TextTable.of(["arm"], []).columns[0], *table.columns), tuple(rows))


def saying_table(result: StudyResult) -> TextTable:
    """What a document says of arms in words, and what this study answers."""
    rows = (
        (
            formatting.shown(each.arm, LONGEST_CELL),
            f"{each.published} than" if each.published in ("better", "worse") else each.published,
            formatting.shown(each.than, LONGEST_CELL) or NONE,
            each.answer,
            formatting.shown(each.reason, 200),
            "; ".join(formatting.shown(text, 120) for text in (each.source, each.note) if text),
        )
        for each in result.sayings
    )
    return TextTable.of(("arm", "published as", "other arm", "this study", "because", "source"), rows)


def under_table(result: StudyResult) -> TextTable:
    """What a document says of arms under shifts, and what this study answers."""
    rows = (
        (
            formatting.shown(each.arm, LONGEST_CELL),
            formatting.shown(each.shift, LONGEST_CELL),
            each.published,
            each.answer,
            formatting.shown(each.reason, 200),
            "; ".join(formatting.shown(text, 120) for text in (each.source, each.note) if text),
        )
        for each in result.under
    )
    return TextTable.of(("arm", "shift", "published", "this study", "because", "source"), rows)


def reading(result: StudyResult) -> Iterator[str]:
    """How the columns are to be read."""
    if result.ablation is not None and result.ablation.comparisons:
        level = study_text.level_text(result.ablation.comparisons[0].level)
        rule = "Benjamini–Hochberg, a screening" if result.ablation.screening else "Holm"
        corrected = ", size-corrected," if len(result.ablation.comparisons) > 1 else ""
        equal = NO_BAND
        if result.smallest_difference is not None:
            band = study_text.smallest(result.smallest_difference, result.metric)
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
            "The plateau holds the doses that can't be told from the best one, which stands in it: p of Welch's test, "
            "size-corrected and adjusted by Holm's rule."
        )
    if any(arm.sample.failures for arm in result.arms):
        yield "Failed runs stay in the table, with the exact 95 % interval of their share; means are of the others."


def _arm_row(result: StudyResult, arm: ArmRecord, found: Comparison | None) -> tuple[str, ...]:
    return (
        formatting.shown(arm.name, LONGEST_CELL),
        _standing(result, arm, found),
        NONE if found is None or found.needed is None else formatting.count(found.needed),
        *_difference(found),
        *_figures(arm.sample, len(arm.seeds)),
        changes(arm),
        formatting.count(arm.parameters),
        _minutes(arm),
    )


def _dose_row(result: StudyResult, curve: DoseCurve, index: int) -> tuple[str, ...]:
    arm = study_text.arm_of_dose(result, curve, index)
    sample, p = curve.samples[index], curve.p_plateau[index]
    mark = "best" if index == curve.best else "plateau" if index in curve.plateau else ""
    return (
        f"{curve.doses[index]:g}",
        *_figures(sample, len(arm.seeds) if arm else len(sample.values)),
        mark,
        NONE if p is None or index == curve.best else study_text.words_of_p(p),
        NONE if arm is None or arm.train.mean is None else formatting.loss(arm.train.mean),
        NONE if arm is None else formatting.count(arm.parameters),
        NONE if arm is None else _minutes(arm),
    )


def _check_row(found: Comparison, dunnett: float | None, *, wide: bool) -> tuple[str, ...]:
    shown = [NONE if value is None else study_text.words_of_p(value) for value in (found.p, found.p_adjusted)]
    others = [NONE if value is None else study_text.words_of_p(value) for value in (found.p_permutation, dunnett)]
    equal = NONE if found.p_equal_adjusted is None else study_text.words_of_p(found.p_equal_adjusted)
    bounds = None if found.equal_low is None or found.equal_high is None else (found.equal_low, found.equal_high)
    new = [_interval(found.new_images, signs=True)] if wide else []
    return (
        formatting.shown(found.a, LONGEST_CELL),
        *(*shown, equal, _interval(bounds, signs=True), *others),
        NONE if found.superiority is None else f"{found.superiority:.2f}",
        NONE if found.error_change is None else f"{study_text.signed(100 * found.error_change, 1)} %",
        *new,
    )


def changes(arm: ArmRecord) -> str:
    """What an arm changes of the base, on one line."""
    if arm.same_as:
        return f"the same experiment as {formatting.shown(arm.same_as)}"
    return formatting.shown(", ".join(f"{key} = {value}" for key, value in arm.changes.items()), LONGEST_CELL) or NONE


def _figures(sample: Sample, planned: int) -> tuple[str, str, str, str]:
    """n of planned, failures, mean, interval of the mean."""
    runs = f"{sample.n}" if sample.n == planned else f"{sample.n} of {planned}"
    mean = NONE if sample.mean is None else formatting.loss(sample.mean)
    return runs, _failures(sample), mean, _interval(sample.interval())


def _failures(sample: Sample) -> str:
    if not sample.failures:
        return "0" if sample.values else NONE
    low, high = sample.failure_interval
    return f"{sample.failures} ({100 * low:.0f}–{100 * high:.0f} %)"


def _difference(found: Comparison | None) -> tuple[str, str]:
    if found is None or found.difference is None:
        return NONE, NONE
    bounds = None if found.low is None or found.high is None else (found.low, found.high)
    return study_text.signed(found.difference), _interval(bounds, signs=True)


def _interval(bounds: Interval | None, *, signs: bool = False) -> str:
    if bounds is None:
        return NONE
    low, high = (study_text.signed(bound) if signs else formatting.loss(bound) for bound in bounds)
    return f"{low} to {high}"


def _standing(result: StudyResult, arm: ArmRecord, found: Comparison | None) -> str:
    if arm.name == result.baseline:
        return "baseline"
    return NONE if found is None or arm.same_as else found.verdict


def _minutes(arm: ArmRecord) -> str:
    return NONE if arm.seconds is None else f"{arm.seconds / 60:.1f}"


def _term(value: float) -> str:
    return f"{'−' if value < 0 else '+'} {abs(value):.4g}"
