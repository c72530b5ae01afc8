"""A comparison of runs in words and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnnlab.render.document import Document, Formula, TitledTable
from cnnlab.render.formatting import MISSING, format_count, format_epoch, format_loss, pluralize, quote, shorten
from cnnlab.render.tables import TextTable
from cnnlab.reports.comparison.result import ComparedGroup, ComparedRuns
from cnnlab.reports.study import text
from cnnlab.stats.comparison import Comparison
from cnnlab.stats.sample import MIN_RUNS


def comparison_document(result: ComparedRuns) -> Document:
    """The summary, the groups, the differences, every run, and what a reader must know."""
    lines: list[str | Formula] = [result.summary()]
    if result.mcnemar is not None:
        lines.append(result.mcnemar.summary)
    title = f"{result.metric.replace('_', ' ')} on {shorten(result.data)}"
    if result.pair_comparison:
        title = f"{_short_name(result.pair_comparison.a)} against {_short_name(result.pair_comparison.b)}: {title}"
    else:
        title = f"{len(result.comparisons)} groups against {_short_name(result.baseline)}: {title}"
    return Document(title, tuple(lines), tuple(_tables(result)), tuple(_notes(result)))


def _tables(result: ComparedRuns) -> Iterator[TitledTable]:
    heads = ("group", "#n", "#failed", "#mean", "#95 % interval", "#spread (sd)", "#parameters", "#epochs", "#minutes")
    yield "Groups", TextTable.from_rows(heads, map(_group_row, result.groups))
    measures = ("group", "against", "#difference", "#interval", "verdict", "#needs n", "#p", "#P(better)")
    known = [each for each in result.comparisons if each.low is not None]
    extra = ["#error, relative"] if any(each.error_change is not None for each in known) else []
    extra += ["#for new images too"] if any(each.new_images for each in known) else []
    differences = (_difference_row(each, result.metric, extra) for each in result.comparisons)
    yield "Differences", TextTable.from_rows((*measures, *extra), differences)
    runs = [
        (
            _short_name(group.name),
            str(run.seed),
            MISSING if run.value is None else format_loss(run.value),
            run.status,
            run.run,
        )
        for group in result.groups
        for run in group.runs
    ]
    yield "Runs", TextTable.from_rows(("group", "#seed", f"#{result.metric.replace('_', ' ')}", "status", "`run"), runs)


def _group_row(group: ComparedGroup) -> tuple[str, ...]:
    minutes = sum(run.seconds for run in group.runs) / len(group.runs) / 60
    return (
        _short_name(group.name),
        str(group.n),
        str(group.failures),
        MISSING if group.mean is None else format_loss(group.mean),
        MISSING
        if group.low is None or group.high is None
        else f"{format_loss(group.low)} to {format_loss(group.high)}",
        MISSING if group.sd is None else format_loss(group.sd),
        format_count(group.parameters),
        ", ".join(sorted({format_epoch(run.epochs) for run in group.runs}, key=float)),
        f"{minutes:.1f}",
    )


def _difference_row(comparison: Comparison, metric: str, extra: Sequence[str]) -> tuple[str, ...]:
    p = comparison.p_adjusted
    row = [
        _short_name(comparison.a),
        _short_name(comparison.b),
        MISSING if comparison.difference is None else format_difference(comparison.difference, metric),
        _interval_text(comparison.low, comparison.high, metric),
        comparison.verdict,
        MISSING if comparison.needed is None else format_count(comparison.needed),
        MISSING if p is None else text.p_value_cell(p),
        MISSING if comparison.superiority is None or comparison.low is None else f"{comparison.superiority:.2f}",
    ]
    for title in extra:
        if title == "#error, relative":
            row.append(
                MISSING
                if comparison.error_change is None or comparison.low is None
                else f"{text.format_signed(100 * comparison.error_change, 1)} %"
            )
        else:
            low, high = comparison.new_images or (None, None)
            row.append(_interval_text(low, high, metric))
    return tuple(row)


def comparison_text(comparison: Comparison, metric: str) -> str:
    """One comparison in words."""
    a, b = quote(comparison.a), quote(comparison.b)
    bounds = f"{_interval_text(comparison.low, comparison.high, metric)}, {100 * comparison.level:.4g} % interval"
    apart = "" if comparison.difference is None else format_difference(comparison.difference, metric)
    if comparison.difference is None:
        return f"No verdict: {a if not comparison.n_a else b} has no run that ended with a figure."
    if comparison.verdict == "no verdict":
        runs = f"{pluralize(comparison.n_a, 'run')} against {pluralize(comparison.n_b, 'run')}"
        known = f" ({bounds})" if comparison.low is not None else ""
        return (
            f"No verdict on the recipes: {runs}, and fewer than {MIN_RUNS} a side only describe. {a} − {b}: {apart}"
            f"{known}.{_runs_needed_text(comparison)}"
        )
    if comparison.verdict == "practically equal" and comparison.delta is not None:
        band = text.equivalence_band(comparison.delta, metric)[1:]
        return f"{a} and {b} are practically equal: they differ by less than {band} ({apart}; {bounds})."
    if comparison.verdict == "undecided":
        return f"Undecided between {a} and {b}: {apart} ({bounds}).{_runs_needed_text(comparison)}"
    return f"{a} is {comparison.verdict} than {b}: {apart} ({bounds})."


def _runs_needed_text(comparison: Comparison) -> str:
    """How many runs it takes."""
    if comparison.delta is None and min(comparison.n_a, comparison.n_b) >= MIN_RUNS:
        return ""
    if comparison.needed is None:
        return f" It takes {MIN_RUNS} runs a side or more, with other seeds."
    return f" At this spread it takes about {comparison.needed:,} runs a side to decide on the smallest difference."


def _notes(result: ComparedRuns) -> Iterator[str]:
    yield from result.notes
    if result.looks is not None:
        yield (
            f"This test set had been looked at {pluralize(result.looks, 'time')} by all runs in the folder: what is "
            "chosen by these figures is no longer judged by them."
        )
    else:
        yield (
            "Validation and train figures choose; what is reported of the one chosen comes from a test set that was "
            "opened once."
        )
    if result.ablation is not None:
        rule = "Benjamini's and Hochberg's (a screening)" if result.ablation.screening else "Holm's"
        yield (
            f"Intervals hold for all {len(result.comparisons)} differences together; p-values by {rule} correction; "
            "both are size-corrected."
        )
    if result.delta is None:
        band = "not given (--delta), so that nothing is called practically equal"
    else:
        band = text.equivalence_band(result.delta, result.metric)[1:]
    yield (
        f"Differences are group − against. The smallest difference of interest is {band}, α = {result.alpha:g}; chosen "
        "after a look at the figures, verdicts are wrong more often than α says: a study declares both before it runs."
    )


def format_difference(value: float, metric: str) -> str:
    """A difference with its sign: `+1.26 points` for a share, else four digits."""
    return f"{text.format_signed(100 * value, 2)} points" if text.is_share(metric) else text.format_signed(value)


def _interval_text(low: float | None, high: float | None, metric: str) -> str:
    return MISSING if low is None or high is None else text.format_interval(low, high, metric)


def _short_name(name: str) -> str:
    return shorten(name, 60)
