"""The headline of a study, and how amounts, p-values and names of arms are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from cnnlab.config.stopping import is_fraction
from cnnlab.render.formatting import MISSING, display_width, format_names, pluralize, quote, shorten
from cnnlab.stats.comparison import Comparison, Judgement
from cnnlab.stats.sample import MIN_RUNS
from cnnlab.stats.sweep import MIN_VALUES, SweepCurve
from cnnlab.studies.result import StudyResult

MAX_NAMED = 3
# `quote` leaves a name of this length whole, with a number after it.
MAX_QUOTED_LENGTH = 28


def metric_name(metric: str) -> str:
    """`validation accuracy` for validation_accuracy."""
    return shorten(metric.replace("_", " "))


def format_amount(value: float, metric: str) -> str:
    """The size of a difference in a sentence.

    >>> format_amount(-0.0126, "validation_accuracy"), format_amount(0.0126, "validation_loss")
    ('1.26 points', '0.0126')
    """
    return _points(f"{abs(100 * value):.2f}") if is_fraction(metric) else f"{abs(value):.3g}"


def equivalence_band(delta: float | None, metric: str) -> str:
    """The band of practical equality: `±0.2 points`; `±–` where there is none."""
    if delta is None:
        return f"±{MISSING}"
    return f"±{_points(f'{100 * delta:.3g}')}" if is_fraction(metric) else f"±{delta:.3g}"


def _points(number: str) -> str:
    return f"{number} point" if number == "1" else f"{number} points"


def format_interval(low: float, high: float, metric: str) -> str:
    """An interval of differences in a sentence: `−0.52 to +1.20 points`."""
    if not is_fraction(metric):
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


def p_value_cell(p: float) -> str:
    """A p-value in a table: two digits, `< 0.001` for small ones."""
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def format_value(value: float, digits: int = 6) -> str:
    """A number with this many significant digits and a minus sign: `−0.5`."""
    return f"{value + 0.0:.{digits}g}".replace("-", "−")


def level_text(share: float) -> str:
    """The confidence of an interval: `95 %`, `99.17 %`."""
    return f"{100 * share:.4g} %"


def quoted_arm(result: StudyResult, name: str) -> str:
    """An arm's name in a sentence, shortened so that it differs from every other arm's."""
    names = [arm.name for arm in result.arms]
    short = dict(zip(names, short_names(names, MAX_QUOTED_LENGTH), strict=True))
    return quote(short.get(name, name))


def short_names(names: Sequence[str], longest: int) -> list[str]:
    """Shorten names and keep them distinct: names that would become equal are cut in the middle, then numbered.

    >>> short_names(["a", "optimizer=sgd, lr=0.1", "optimizer=sgd, lr=0.2"], 14)
    ['a', 'optimiz…lr=0.1', 'optimiz…lr=0.2']
    """
    cut = [shorten(name, longest) for name in names]
    cut = [
        _shorten_middle(name, longest) if cut.count(short) > 1 else short
        for name, short in zip(names, cut, strict=True)
    ]
    return [f"{short} ({number})" if cut.count(short) > 1 else short for number, short in enumerate(cut, 1)]


def _shorten_middle(name: str, longest: int) -> str:
    whole = shorten(name, len(name) * 2)
    if display_width(whole) <= longest:
        return whole
    end = shorten(whole[::-1], longest // 2).removesuffix("…")[::-1]
    return shorten(whole, longest - display_width(end)).rstrip("…") + "…" + end


def sweep_key(result: StudyResult) -> str:
    """The key that a sweep changes."""
    keys = {key for arm in result.arms for key in arm.changes}
    return shorten(keys.pop()) if len(keys) == 1 else "the value"


def runs_done(result: StudyResult) -> tuple[int, int]:
    """The number of runs that ended, diverged ones included, and of all planned runs."""
    runs = [run for arm in result.arms for run in arm.seeds]
    return sum(run.status not in ("failed", "not run") for run in runs), len(runs)


def headline(result: StudyResult) -> str:
    """The result of a study in one sentence; amounts and intervals of several arms stand in the table."""
    done, planned = runs_done(result)
    if not any(arm.sample.n for arm in result.arms):
        return f"All {pluralize(done, 'run')} failed: there is nothing to compare." if done else "No run has ended yet."
    start = f"{done} of {planned} runs have ended. " if done < planned else ""
    compared = comparisons(result)
    if result.curve is not None:
        return start + _sweep_headline(result, result.curve)
    base = quoted_arm(result, result.baseline or "")
    if not compared:
        return f"{start}Every arm is the same experiment as {base}: there is nothing to compare."
    if len(compared) == 1:
        arm = quoted_arm(result, compared[0].a)
        return f"{start}{arm} against {base}: {_comparison_text(compared[0], result.metric)}."
    groups = {verdict: [each.a for each in compared if each.verdict == verdict] for verdict in get_args(Judgement)}
    counts = [
        f"{len(names)} {verdict} ({format_names([quoted_arm(result, name) for name in names], max_names=MAX_NAMED)})"
        for verdict, names in groups.items()
        if names
    ]
    return f"{start}Of {len(compared)} arms, against {base}: {'; '.join(counts)}."


def comparisons(result: StudyResult) -> tuple[Comparison, ...]:
    """The comparisons of the ablation, the best difference first, without arms that are another arm's experiment."""
    if result.ablation is None:
        return ()
    copies = {arm.name for arm in result.arms if arm.same_as}
    sign = -1 if result.higher_is_better else 1
    known = [each for each in result.ablation.comparisons if each.a not in copies]
    return tuple(sorted(known, key=lambda each: (each.difference is None, sign * (each.difference or 0.0))))


def ledger_text(num_openings: int) -> str:
    """How often a test set was opened: `opened once`."""
    return "opened once" if num_openings <= 1 else f"opened {num_openings} times so far"


def _comparison_text(comparison: Comparison, metric: str) -> str:
    """The verdict of one comparison, with the difference and its interval."""
    if comparison.difference is None:
        return comparison.verdict
    text = f"{comparison.verdict}, by {'−' if comparison.difference < 0 else '+'}"
    text += format_amount(comparison.difference, metric)
    if comparison.low is None or comparison.high is None:
        return f"{text}; a verdict needs {MIN_RUNS} runs a side" if comparison.verdict == "no verdict" else text
    if comparison.verdict == "practically equal" and None not in (comparison.equal_low, comparison.equal_high):
        bounds = format_interval(comparison.equal_low, comparison.equal_high, metric)  # type: ignore[arg-type]
        return f"{text} (interval of the equivalence test {bounds})"
    interval = format_interval(comparison.low, comparison.high, metric)
    return f"{text} ({level_text(comparison.level)} interval {interval})"


def _sweep_headline(result: StudyResult, curve: SweepCurve) -> str:
    if curve.best is None:
        return "No value has a figure."
    mean = curve.samples[curve.best].mean or 0.0
    start = f"The best mean, {mean:.4f}, is at {sweep_key(result)} = {format_value(curve.sweep_values[curve.best])}"
    if not curve.enough:
        return f"{start}; a verdict needs {MIN_VALUES} values with {MIN_RUNS} runs each."
    plateau = [format_value(value) for value in sorted(curve.sweep_values[index] for index in curve.plateau)]
    return f"{start}; the plateau, the values that are not significantly worse: {', '.join(plateau)}."
