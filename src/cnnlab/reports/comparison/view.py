"""A comparison of runs in words and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnnlab.render import formatting
from cnnlab.render.document import Formula, Sheet, Titled
from cnnlab.render.formatting import NONE
from cnnlab.render.tables import TextTable
from cnnlab.reports.comparison.result import ComparedGroup, ComparedRuns
from cnnlab.reports.study import text
from cnnlab.stats.comparison import Comparison
from cnnlab.stats.sample import FEWEST_RUNS


def compared_sheet(found: ComparedRuns) -> Sheet:
    """The answer, the groups, the differences, every run, and what a reader must know."""
    lines: list[str | Formula] = [found.answer()]
    if found.mcnemar is not None:
        lines.append(found.mcnemar.sentence)
    title = f"{found.metric.replace('_', ' ')} on {formatting.shown(found.data)}"
    if found.alone:
        title = f"{_shown(found.alone.a)} against {_shown(found.alone.b)}: {title}"
    else:
        title = f"{len(found.comparisons)} groups against {_shown(found.baseline)}: {title}"
    return Sheet(title, tuple(lines), tuple(_tables(found)), tuple(_notes(found)))


def _tables(found: ComparedRuns) -> Iterator[Titled]:
    heads = ("group", "#n", "#failed", "#mean", "#95 % interval", "#spread (sd)", "#parameters", "#epochs", "#minutes")
    yield "Groups", TextTable.of(heads, map(_group_row, found.groups))
    measures = ("group", "against", "#difference", "#interval", "verdict", "#needs n", "#p", "#P(better)")
    known = [each for each in found.comparisons if each.low is not None]
    extra = ["#error, relative"] if any(each.error_change is not None for each in known) else []
    extra += ["#for new images too"] if any(each.new_images for each in known) else []
    differences = (_difference_row(each, found.metric, extra) for each in found.comparisons)
    yield "Differences", TextTable.of((*measures, *extra), differences)
    runs = [
        (
            _shown(group.name),
            str(run.seed),
            NONE if run.value is None else formatting.loss(run.value),
            run.status,
            run.run,
        )
        for group in found.groups
        for run in group.runs
    ]
    yield "Runs", TextTable.of(("group", "#seed", f"#{found.metric.replace('_', ' ')}", "status", "`run"), runs)


def _group_row(group: ComparedGroup) -> tuple[str, ...]:
    minutes = sum(run.seconds for run in group.runs) / len(group.runs) / 60
    return (
        _shown(group.name),
        str(group.n),
        str(group.failures),
        NONE if group.mean is None else formatting.loss(group.mean),
        NONE
        if group.low is None or group.high is None
        else f"{formatting.loss(group.low)} to {formatting.loss(group.high)}",
        NONE if group.sd is None else formatting.loss(group.sd),
        formatting.count(group.parameters),
        ", ".join(sorted({formatting.epoch(run.epochs) for run in group.runs}, key=float)),
        f"{minutes:.1f}",
    )


def _difference_row(found: Comparison, metric: str, extra: Sequence[str]) -> tuple[str, ...]:
    p = found.p_adjusted
    row = [
        _shown(found.a),
        _shown(found.b),
        NONE if found.difference is None else gap(found.difference, metric),
        _between(found.low, found.high, metric),
        found.verdict,
        NONE if found.needed is None else formatting.count(found.needed),
        NONE if p is None else text.words_of_p(p),
        NONE if found.superiority is None or found.low is None else f"{found.superiority:.2f}",
    ]
    for title in extra:
        if title == "#error, relative":
            row.append(
                NONE
                if found.error_change is None or found.low is None
                else f"{text.signed(100 * found.error_change, 1)} %"
            )
        else:
            low, high = found.new_images or (None, None)
            row.append(_between(low, high, metric))
    return tuple(row)


def sentence(found: Comparison, metric: str) -> str:
    """One comparison in words."""
    a, b = formatting.quoted(found.a), formatting.quoted(found.b)
    bounds = f"{_between(found.low, found.high, metric)}, {100 * found.level:.4g} % interval"
    apart = "" if found.difference is None else gap(found.difference, metric)
    if found.difference is None:
        return f"No verdict: {a if not found.n_a else b} has no run that ended with a figure."
    if found.verdict == "no verdict":
        runs = f"{formatting.plural(found.n_a, 'run')} against {formatting.plural(found.n_b, 'run')}"
        known = f" ({bounds})" if found.low is not None else ""
        return (
            f"No verdict on the recipes: {runs}, and fewer than {FEWEST_RUNS} a side only describe. {a} − {b}: {apart}"
            f"{known}.{_needs(found)}"
        )
    if found.verdict == "practically equal" and found.delta is not None:
        band = text.smallest(found.delta, metric)[1:]
        return f"{a} and {b} are practically equal: they differ by less than {band} ({apart}; {bounds})."
    if found.verdict == "undecided":
        return f"Undecided between {a} and {b}: {apart} ({bounds}).{_needs(found)}"
    return f"{a} is {found.verdict} than {b}: {apart} ({bounds})."


def _needs(found: Comparison) -> str:
    """How many runs it takes."""
    if found.delta is None and min(found.n_a, found.n_b) >= FEWEST_RUNS:
        return ""
    if found.needed is None:
        return f" It takes {FEWEST_RUNS} runs a side or more, with other seeds."
    return f" At this spread it takes about {found.needed:,} runs a side to decide on the smallest difference."


def _notes(found: ComparedRuns) -> Iterator[str]:
    yield from found.notes
    if found.looks is not None:
        yield (
            f"This test set had been looked at {formatting.plural(found.looks, 'time')} by all runs in the folder: what is "
            "chosen by these figures is no longer judged by them."
        )
    else:
        yield (
            "Validation and train figures choose; what is reported of the one chosen comes from a test set that was "
            "opened once."
        )
    if found.ablation is not None:
        rule = "Benjamini's and Hochberg's (a screening)" if found.ablation.screening else "Holm's"
        yield (
            f"Intervals hold for all {len(found.comparisons)} differences together; p-values by {rule} correction; "
            "both are size-corrected."
        )
    if found.delta is None:
        band = "not given (--delta), so that nothing is called practically equal"
    else:
        band = text.smallest(found.delta, found.metric)[1:]
    yield (
        f"Differences are group − against. The smallest difference of interest is {band}, α = {found.alpha:g}; chosen "
        "after a look at the figures, verdicts are wrong more often than α says: a study declares both before it runs."
    )


def gap(value: float, metric: str) -> str:
    """A difference with its sign: `+1.26 points` for a share, else four digits."""
    return f"{text.signed(100 * value, 2)} points" if text.is_share(metric) else text.signed(value)


def _between(low: float | None, high: float | None, metric: str) -> str:
    return NONE if low is None or high is None else text.between(low, high, metric)


def _shown(name: str) -> str:
    return formatting.shown(name, 60)
