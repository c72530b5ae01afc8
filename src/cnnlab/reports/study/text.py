"""A study in sentences: its headline, and how amounts, p-values and arms are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count

from cnnlab.render.formatting import MISSING, display_width, pluralize, quote, shorten
from cnnlab.stats.comparison import Comparison
from cnnlab.stats.sample import MIN_RUNS
from cnnlab.stats.sweep import MIN_VALUES, SweepCurve
from cnnlab.studies.result import ArmRecord, Confirmation, StudyResult

MAX_NAMED = 4
# As long as `words.quoted` leaves a name whole, with a number behind it.
MAX_QUOTED_LENGTH = 28


def metric_name(metric: str) -> str:
    """`validation accuracy` for validation_accuracy."""
    return shorten(metric.replace("_", " "))


def is_share(metric: str) -> bool:
    """Whether a metric is a fraction, whose differences are given in points; a loss is not."""
    return not metric.endswith("loss")


def format_amount(value: float, metric: str) -> str:
    """The size of a difference in a sentence.

    >>> format_amount(-0.0126, "validation_accuracy"), format_amount(0.0126, "validation_loss")
    ('1.26 points', '0.0126')
    """
    return _points(f"{abs(100 * value):.2f}") if is_share(metric) else f"{abs(value):.3g}"


def equivalence_band(delta: float | None, metric: str) -> str:
    """The band of practical equality: `±0.2 points`; `±–` where there is none."""
    if delta is None:
        return f"±{MISSING}"
    return f"±{_points(f'{100 * delta:.3g}')}" if is_share(metric) else f"±{delta:.3g}"


def _points(number: str) -> str:
    return f"{number} point" if number == "1" else f"{number} points"


def format_interval(low: float, high: float, metric: str) -> str:
    """An interval of differences in a sentence: `−0.52 to +1.20 points`."""
    if not is_share(metric):
        return f"{format_signed(low)} to {format_signed(high)}"
    return f"{format_signed(100 * low, 2)} to {format_signed(100 * high, 2)} points"


def format_signed(value: float, digits: int = 4) -> str:
    """A number with its sign, `−` as long as `+`; one that rounds to nothing has none.

    >>> format_signed(-0.00123), format_signed(0.00001), format_signed(2.5, 1)
    ('−0.0012', '0.0000', '+2.5')
    """
    text = f"{abs(value):.{digits}f}"
    if not any(digit in text for digit in "123456789"):
        return text
    return ("+" if value > 0 else "−") + text


def format_p_value(p: float) -> str:
    """`p < 0.001`, `p = 0.031`.

    >>> format_p_value(0.00002), format_p_value(0.0312), format_p_value(0.62)
    ('p < 0.001', 'p = 0.031', 'p = 0.62')
    """
    return f"p < {p_value_cell(p)[2:]}" if p < 0.001 else f"p = {p_value_cell(p)}"


def p_value_cell(p: float) -> str:
    """A p-value in a table: two digits, `< 0.001` for small ones."""
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def level_text(share: float) -> str:
    """The confidence of an interval: `95 %`, `99.17 %`."""
    return f"{100 * share:.4g} %"


def join_names(names: Sequence[str], max_names: int = MAX_NAMED) -> str:
    """Names in a sentence, joined; of many the first, and how many more.

    >>> join_names(["a", "b", "c"]), join_names(list("abcdefg"))
    ('a, b and c', 'a, b, c and 4 more')
    """
    shown = list(names) if len(names) <= max_names else [*names[: max_names - 1], f"{len(names) - max_names + 1} more"]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1]))) if shown else ""


def quoted_arm(result: StudyResult, name: str) -> str:
    """An arm in a sentence, cut so that no other arm of the study is cut alike."""
    names = [arm.name for arm in result.arms]
    short = dict(zip(names, short_names(names, MAX_QUOTED_LENGTH), strict=True))
    return quote(short.get(name, name))


def short_names(names: Sequence[str], longest: int) -> list[str]:
    """Names cut to fit, and still each its own: those that would be cut alike are cut in the middle, then numbered.

    >>> short_names(["a", "optimizer=sgd, lr=0.1", "optimizer=sgd, lr=0.2"], 14)
    ['a', 'optimiz…lr=0.1', 'optimiz…lr=0.2']
    """
    cut = [shorten(name, longest) for name in names]
    cut = [
        _shorten_middle(name, longest) if cut.count(short) > 1 else short
        for name, short in zip(names, cut, strict=True)
    ]
    taken, found = {short for short in cut if cut.count(short) == 1}, []
    for short in cut:
        numbered = (f"{short} ({number})" for number in count(1))
        found.append(short if cut.count(short) == 1 else next(name for name in numbered if name not in taken))
        taken.add(found[-1])
    return found


def _shorten_middle(name: str, longest: int) -> str:
    whole = shorten(name, len(name) * 2)
    if display_width(whole) <= longest:
        return whole
    end = shorten(whole[::-1], longest // 2).removesuffix("…")[::-1]
    return shorten(whole, longest - display_width(end)).rstrip("…") + "…" + end


def sweep_key(result: StudyResult) -> str:
    """What the values are values of: the key that the arms change."""
    keys = {key for arm in result.arms for key in arm.changes}
    return shorten(keys.pop()) if len(keys) == 1 else "the value"


def value_ranges(values: Sequence[float], indices: Iterable[int]) -> str:
    """The chosen values as ranges of neighbours.

    Args:
        values: all of them, in any order.
        indices: indices.

    >>> value_ranges([0.0, 0.1, 0.2, 0.3, 0.4], [1, 2, 4])
    '0.1 to 0.2, and 0.4'
    """
    texts = [
        f"{values[run[0]]:g}" if len(run) == 1 else f"{values[run[0]]:g} to {values[run[-1]]:g}"
        for run in adjacent_groups(values, indices)
    ]
    return ", and ".join(filter(None, (", ".join(texts[:-1]), texts[-1]))) if texts else ""


def adjacent_groups(values: Sequence[float], indices: Iterable[int]) -> list[list[int]]:
    """The chosen indices by rising value, those with no other value between them together."""
    wanted, runs = set(indices), list[list[int]]()
    before = False
    for index in sorted(range(len(values)), key=lambda index: values[index]):
        if index in wanted and before:
            runs[-1].append(index)
        elif index in wanted:
            runs.append([index])
        before = index in wanted
    return runs


def arm_of_sweep_value(result: StudyResult, curve: SweepCurve, index: int) -> ArmRecord | None:
    """The arm that has this value."""
    return next((arm for arm in result.arms if arm.sweep_value == curve.sweep_values[index]), None)


def runs_done(result: StudyResult) -> tuple[int, int]:
    """Runs that came to an end, diverged ones too, and all that were planned."""
    runs = [run for arm in result.arms for run in arm.seeds]
    return sum(run.status not in ("failed", "not run") for run in runs), len(runs)


VERDICTS = ("better", "worse", "practically equal", "undecided", "no verdict")
NOT_EQUAL = "which is not “no difference”"


def headline(result: StudyResult) -> str:
    """The result of a study in sentences: no more than the runs bear out.

    Arms are better, worse, practically equal or undecided; of a sweep the plateau is given as a range. Too few
    runs only describe. What was confirmed on the test set stands last.
    """
    done, planned = runs_done(result)
    if not any(arm.sample.n for arm in result.arms):
        return f"All {pluralize(done, 'run')} failed: there is nothing to compare." if done else "No run has ended yet."
    sentences = [f"So far, with {done} of {planned} runs:"] if done < planned else []
    if result.curve is not None:
        sentences += _sweep_sentences(result, result.curve)
    else:
        sentences += _arm_sentences(result, comparisons(result))
    if result.confirmation is not None:
        sentences.append(confirmation_text(result.confirmation))
    return " ".join(sentences)


def comparisons(result: StudyResult) -> tuple[Comparison, ...]:
    """Those of the ablation, the best difference first, without arms that are the same experiment as another."""
    if result.ablation is None:
        return ()
    copies = {arm.name for arm in result.arms if arm.same_as}
    sign = -1 if result.higher_is_better else 1
    known = [each for each in result.ablation.comparisons if each.a not in copies]
    return tuple(sorted(known, key=lambda each: (each.difference is None, sign * (each.difference or 0.0))))


def confirmation_text(confirmation: Confirmation) -> str:
    """What the fresh seeds say on the test set."""
    compared, seeds = confirmation.comparison, pluralize(len(confirmation.seeds), "fresh seed")
    winner, base = map(quote, short_names([confirmation.winner, confirmation.baseline], MAX_QUOTED_LENGTH))
    start = f"On the test set, {ledger_text(confirmation.looks)}, with {seeds}, {winner}"
    if compared.difference is None:
        return f"{start} or {base} came to no figure."
    return f"{start} {_comparison_text(compared, base, confirmation.metric)}."


def ledger_text(num_openings: int) -> str:
    """How often a test set has been looked at, in a sentence."""
    return "opened once" if num_openings <= 1 else f"which has been looked at {num_openings} times here"


def _arm_sentences(result: StudyResult, comparisons: Sequence[Comparison]) -> Iterator[str]:
    base = quoted_arm(result, result.baseline or "")
    groups = {verdict: [each for each in comparisons if each.verdict == verdict] for verdict in VERDICTS}
    if not comparisons:
        yield f"Every arm is the same experiment as {base}: there is nothing to compare."
    elif len(groups["no verdict"]) == len(comparisons):
        yield _description(result, comparisons, base)
    elif len(comparisons) == 1:
        more = _planned_text(comparisons) if groups["undecided"] else ""
        yield f"{quoted_arm(result, comparisons[0].a)} {_comparison_text(comparisons[0], base, result.metric)}{more}."
    else:
        if result.ablation is not None and result.ablation.screening:
            yield f"A screening of {len(comparisons)} arms, whose finds need a study of their own."
        if decided := list(_decided_sentences(result, groups, base)):
            yield "; ".join(decided) + "."
        yield from _undecided_sentences(result, groups, everything=len(groups["undecided"]) == len(comparisons))


def _comparison_text(comparison: Comparison, base: str, metric: str) -> str:
    """The predicate of a sentence about one comparison, with its interval."""
    gap = f"{format_amount(comparison.difference or 0.0, metric)}"
    inner = ""
    low, high, level = comparison.low, comparison.high, comparison.level
    if comparison.verdict == "practically equal":  # this is read from the interval of the two one-sided tests
        low, high, level = comparison.equal_low, comparison.equal_high, 1 - 2 * comparison.alpha
    if low is not None and high is not None:
        inner = f" ({level_text(level)} interval {format_interval(low, high, metric)})"
    if comparison.verdict in ("better", "worse"):
        return f"is {comparison.verdict} than {base} by {gap}{inner}"
    if comparison.verdict == "practically equal" and comparison.delta is not None:
        return f"is practically equal to {base}{inner}, within {equivalence_band(comparison.delta, metric)}"
    lies = f"has a mean {_above(comparison, metric)} that of {base}{inner}"
    return (
        f"{lies}: undecided, {NOT_EQUAL}"
        if comparison.verdict == "undecided"
        else f"{lies}: too few runs for a verdict"
    )


def _decided_sentences(result: StudyResult, groups: dict[str, list[Comparison]], base: str) -> Iterator[str]:
    for verdict in ("better", "worse"):
        if group := groups[verdict]:
            # The larger difference leads.
            ordered = group if verdict == "better" else group[::-1]
            arms = [
                f"{quoted_arm(result, each.a)} (by {format_amount(each.difference or 0.0, result.metric)})"
                for each in ordered
            ]
            yield f"{join_names(arms)} {_is(group)} {verdict} than {base}"
    if group := groups["practically equal"]:
        band = equivalence_band(result.smallest_difference, result.metric)
        yield f"{_names(result, group)} {_is(group)} practically equal to {base} (within {band})"


def _undecided_sentences(
    result: StudyResult, groups: dict[str, list[Comparison]], *, everything: bool
) -> Iterator[str]:
    """Undecided comparisons are called undecided: they are no finding of equality."""
    if group := groups["undecided"]:
        names = f"all {len(group)} arms" if everything else _names(result, group)
        yield f"Undecided, {NOT_EQUAL}: {names}{_planned_text(group)}."
    if group := groups["no verdict"]:
        runs = [f"{quoted_arm(result, each.a)} ({min(each.n_a, each.n_b)})" for each in group]
        yield f"Fewer than {MIN_RUNS} finished runs, so no verdict: {join_names(runs)}."


def _planned_text(group: Iterable[Comparison]) -> str:
    needed = max((each.needed for each in group if each.needed is not None), default=None)
    return f"; a new study of about {needed:,} runs an arm would likely decide" if needed else ""


def _description(result: StudyResult, comparisons: Sequence[Comparison], base: str) -> str:
    """Too few runs to judge by: where the means lie."""
    start = f"Fewer than {MIN_RUNS} finished runs on a side only describe, and give no verdict"
    known = [each for each in comparisons if each.difference is not None]
    if not known:
        return f"{start}: there is no figure to compare with that of {base}."
    means = [f"{quoted_arm(result, each.a)} lies {_above(each, result.metric)}" for each in known]
    return f"{start}: by its mean, {join_names(means)} {base}."


def _sweep_sentences(result: StudyResult, curve: SweepCurve) -> Iterator[str]:
    name = sweep_key(result)
    if curve.best is None:
        return
    best, mean = curve.sweep_values[curve.best], curve.samples[curve.best].mean or 0.0
    if not curve.enough:
        start = f"Fewer than {MIN_VALUES} values of {MIN_RUNS} finished runs only describe, and give no verdict"
        yield f"{start}: the best mean, {mean:.4f}, is at {name} = {best:g}."
        return
    if curve.p_any is not None:
        known = f"({format_p_value(curve.p_any)})"
        shown = f"{name} matters {known}." if curve.p_any < curve.alpha else f"No effect of {name} is shown {known}, "
        yield shown if curve.p_any < curve.alpha else f"{shown}{NOT_EQUAL}."
    yield f"The best mean, {mean:.4f}, is at {best:g}; {_plateau(curve)}."
    if few := [index for index, sample in enumerate(curve.samples) if sample.n < MIN_RUNS]:
        yield f"Fewer than {MIN_RUNS} runs ended at {value_ranges(curve.sweep_values, few)}: no verdict there."


def _plateau(curve: SweepCurve) -> str:
    enough = [index for index, sample in enumerate(curve.samples) if sample.n >= MIN_RUNS]
    if len(curve.plateau) == len(enough):
        return "no value can be told from it"
    if len(curve.plateau) > 1:
        return f"the plateau, which can't be told from it, is {value_ranges(curve.sweep_values, curve.plateau)}"
    return "every other value can be told from it"


def _names(result: StudyResult, group: Iterable[Comparison]) -> str:
    return join_names([quoted_arm(result, each.a) for each in group])


def _is(group: Sequence[Comparison]) -> str:
    return "is" if len(group) == 1 else "are"


def _above(comparison: Comparison, metric: str) -> str:
    side = "above" if (comparison.difference or 0.0) >= 0 else "below"
    return f"{format_amount(comparison.difference or 0.0, metric)} {side}"
