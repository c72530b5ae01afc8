"""What a study answers, in one or two plain sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cnnlab.paper.words import plural, quoted
from cnnlab.report import study_words as say
from cnnlab.statistics.comparison import Comparison
from cnnlab.statistics.doses import FEWEST_DOSES, DoseCurve
from cnnlab.statistics.samples import FEWEST_RUNS
from cnnlab.study.results import Confirmation, StudyResult


def headline(result: StudyResult) -> str:
    """The answer to the study's question: no more than the runs bear out.

    Arms are better, worse, practically equal or undecided; of a dose curve the plateau is told as a range. Too few
    runs only describe. What was confirmed on the test set stands last.
    """
    done, planned = say.runs_done(result)
    if not any(arm.sample.n for arm in result.arms):
        return f"All {done} runs failed: there is nothing to compare." if done else "No run has come to an end yet."
    sentences = [f"So far, with {done} of {planned} runs:"] if not result.complete else []
    if result.ablation is not None:
        sentences += _of_arms(result, comparisons(result))
    elif result.curve is not None:
        sentences += _of_doses(result, result.curve)
    if result.confirmation is not None:
        sentences.append(confirmed(result.confirmation))
    return " ".join(sentences) or "The study compares nothing."


def comparisons(result: StudyResult) -> tuple[Comparison, ...]:
    """Those of the ablation, without arms that are the same experiment as an earlier one; the best difference first."""
    if result.ablation is None:
        return ()
    copies = {arm.name for arm in result.arms if arm.same_as}
    sign = -1 if result.higher_is_better else 1
    known = [each for each in result.ablation.comparisons if each.a not in copies]
    return tuple(sorted(known, key=lambda each: (each.difference is None, sign * (each.difference or 0.0))))


def confirmed(found: Confirmation) -> str:
    """What the fresh seeds say on the test set."""
    compared = found.comparison
    start = f"On the test set, opened once, with {plural(len(found.seeds), 'fresh seed')}, {quoted(found.winner)}"
    base = quoted(found.baseline)
    span = _span(compared, found.metric)
    if compared.verdict in ("better", "worse"):
        return f"{start} is {compared.verdict} than {base}{span}."
    if compared.verdict == "practically equal":
        return f"{start} is practically equal to {base}{span}."
    if compared.verdict == "undecided":
        return f"{start} and {base} stay undecided{span}."
    if compared.difference is None:
        return f"{start} or {base} came to no figure."
    return f"{start} has a mean {_above(compared, found.metric)} that of {base}: too few runs for a verdict."


def _of_arms(result: StudyResult, found: Sequence[Comparison]) -> Iterator[str]:
    base = quoted(result.baseline or "")
    if not found:
        yield f"No arm differs from {base}: there is nothing to compare."
        return
    groups = {verdict: [each for each in found if each.verdict == verdict] for verdict in _VERDICTS}
    if len(groups["no verdict"]) == len(found):
        yield _description(result, found, base)
        return
    if result.ablation is not None and result.ablation.screening:
        yield f"A screening of {len(found)} arms, whose finds need a study of their own."
    decided = list(_decided(result, groups, base))
    if decided:
        yield "; ".join(decided) + "."
    yield from _open(groups)


_VERDICTS = ("better", "worse", "practically equal", "undecided", "no verdict")


def _decided(result: StudyResult, groups: dict[str, list[Comparison]], base: str) -> Iterator[str]:
    for verdict in ("better", "worse"):
        if group := groups[verdict]:
            # The worst first among the worse: the larger difference leads.
            ordered = group if verdict == "better" else group[::-1]
            arms = [f"{quoted(each.a)} (by {say.amount(each.difference or 0.0, result.metric)})" for each in ordered]
            yield f"{say.named(arms)} {_is(group)} {verdict} than {base}"
    if group := groups["practically equal"]:
        band = say.smallest(result.smallest_difference, result.metric)
        yield f"{_names(group)} {_is(group)} practically equal to {base} (within {band})"


def _open(groups: dict[str, list[Comparison]]) -> Iterator[str]:
    """What stays open is said to be open: it is no finding of equality."""
    if group := groups["undecided"]:
        needed = max((each.needed for each in group if each.needed is not None), default=None)
        more = f"; a new study of about {needed:,} runs an arm should decide" if needed else ""
        yield f"Undecided, which is not “no difference”: {_names(group)}{more}."
    if group := groups["no verdict"]:
        runs = [f"{quoted(each.a)} ({min(each.n_a, each.n_b)})" for each in group]
        yield f"Fewer than {FEWEST_RUNS} finished runs, so no verdict: {say.named(runs)}."


def _description(result: StudyResult, found: Sequence[Comparison], base: str) -> str:
    """Too few runs to judge by: where the means lie."""
    start = f"Fewer than {FEWEST_RUNS} runs on a side only describe, and give no verdict"
    known = [each for each in found if each.difference is not None]
    if not known:
        return f"{start}: no arm has a figure to compare with that of {base}."
    means = [f"{quoted(each.a)} {_above(each, result.metric)}" for each in known]
    return f"{start}: the mean of {say.named(means)} that of {base}."


def _of_doses(result: StudyResult, curve: DoseCurve) -> Iterator[str]:
    name = say.dose_name(result)
    if curve.best is None:
        return
    best, mean = curve.doses[curve.best], curve.samples[curve.best].mean or 0.0
    if not curve.enough:
        start = f"Fewer than {FEWEST_DOSES} doses of {FEWEST_RUNS} runs each only describe"
        yield f"{start}: the best mean of {name}, {mean:.4f}, is at {best:g}."
        return
    if curve.p_any is not None and curve.p_any < curve.alpha:
        yield f"{name} matters ({say.p_value(curve.p_any)})."
    elif curve.p_any is not None:
        yield f"That {name} matters at all was not shown ({say.p_value(curve.p_any)}), which is not “no difference”."
    start = f"The best mean, {mean:.4f}, is at {best:g}"
    if len(curve.plateau) > 1:
        yield f"{start}, and {say.dose_ranges(curve.doses, curve.plateau)} can't be told from it."
    else:
        others = "every other dose" if min(sample.n for sample in curve.samples) >= FEWEST_RUNS else "the others"
        yield f"{start}, and {others} can be told from it."
    if few := [index for index, sample in enumerate(curve.samples) if sample.n < FEWEST_RUNS]:
        yield f"Fewer than {FEWEST_RUNS} finished runs, so no verdict: {say.dose_ranges(curve.doses, few)}."


def _names(group: Iterable[Comparison]) -> str:
    return say.named([quoted(each.a) for each in group])


def _is(group: Sequence[Comparison]) -> str:
    return "is" if len(group) == 1 else "are"


def _above(found: Comparison, metric: str) -> str:
    side = "above" if (found.difference or 0.0) >= 0 else "below"
    return f"{say.amount(found.difference or 0.0, metric)} {side}"


def _span(found: Comparison, metric: str) -> str:
    if found.difference is None or found.low is None or found.high is None:
        return ""
    inner = f"{say.level(found.level)} interval {say.between(found.low, found.high, metric)}"
    return (
        f" by {say.amount(found.difference, metric)} ({inner})"
        if found.verdict in ("better", "worse")
        else f" ({inner})"
    )
