"""The headline of a search, and how its parameters are written."""

from __future__ import annotations

from cnnlab.render.formatting import MISSING, format_count, format_duration, format_fraction, pluralize, shorten
from cnnlab.reports.study import text
from cnnlab.tuning.result import ParamValue, TuningResult

STATUS_ORDER = {"finished": 0, "running": 1, "pruned": 2, "diverged": 3, "failed": 4}


def headline(result: TuningResult) -> str:
    """The best trial beside the baseline, in one sentence."""
    best, held = result.best, result.baseline.value
    if best is None or best.value is None:
        return "No trial has come to an end with a figure." if result.trials else "No trial has been started."
    baseline = "the baseline has none" if held is None else f"the baseline has {format_fraction(held)}"
    return (
        f"Trial {best.number} is the best of {pluralize(result.chosen_from, 'finished trial')}, with "
        f"{text.metric_name(result.metric)} {format_fraction(best.value)} on {format_count(result.images)} images; "
        f"{baseline}."
    )


def method_text(result: TuningResult) -> str:
    """The number of trials and how they ended, sampler, pruner and time."""
    counts = [
        f"{len(found)} {status}"
        for status in STATUS_ORDER
        if status != "finished" and (found := result.with_status(status))  # type: ignore[arg-type]
    ]
    started, wanted = len(result.trials), pluralize(result.wanted, "trial")
    trials = wanted if started == result.wanted else f"{started} of {wanted}"
    ends = f" ({', '.join(counts)})" if counts else ""
    return (
        f"{trials}{ends} of {pluralize(result.seeds, 'run')}; sampler {result.sampler}, pruner {result.pruner}; "
        f"{format_duration(result.seconds)} of training."
    )


def short_names(result: TuningResult) -> dict[str, str]:
    """The last segment of each parameter's key, where it is unique; else the whole key."""
    whole = [parameter.name for parameter in result.parameters]
    last = [name.rpartition(".")[2] for name in whole]
    return {
        name: shorten(short if last.count(short) == 1 else name, 28) for name, short in zip(whole, last, strict=True)
    }


def format_parameter(value: ParamValue | None) -> str:
    """A parameter's value: numbers with four digits, `–` where the trial has none.

    >>> format_parameter(0.00213744), format_parameter(64), format_parameter("adam"), format_parameter(None)
    ('0.002137', '64', 'adam', '–')
    """
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else shorten(str(value))
