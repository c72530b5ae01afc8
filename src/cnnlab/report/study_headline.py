"""What a study answers, in one or two plain sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cnnlab.render.formatting import plural, quoted
from cnnlab.report import study_words
from cnnlab.stats.comparison import Comparison
from cnnlab.stats.sample import FEWEST_RUNS
from cnnlab.stats.sweep import FEWEST_DOSES, DoseCurve
from cnnlab.studies.result import Confirmation, StudyResult

VERDICTS = ("better", "worse", "practically equal", "undecided", "no verdict")
NOT_EQUAL = "which is not “no difference”"


def headline(result: StudyResult) -> str:
    """The answer to the study's question: no more than the runs bear out.

    Arms are better, worse, practically equal or undecided; of a dose curve the plateau is told as a range. Too few
    runs only describe. What was confirmed on the test set stands last.
    """
    done, planned = study_words.runs_done(result)
    if not any(arm.sample.n for arm in result.arms):
        return f"All {plural(done, 'run')} failed: there is nothing to compare." if done else "No run has ended yet."
    sentences = [f"So far, with {done} of {planned} runs:"] if done < planned else []
    if result.curve is not None:
        sentences += _of_doses(result, result.curve)
    else:
        sentences += _of_arms(result, comparisons(result))
    if result.confirmation is not None:
        sentences.append(confirmed(result.confirmation))
    return " ".join(sentences)


def comparisons(result: StudyResult) -> tuple[Comparison, ...]:
    """Those of the ablation, the best difference first, without arms that are the same experiment as another."""
    if result.ablation is None:
        return ()
    copies = {arm.name for arm in result.arms if arm.same_as}
    sign = -1 if result.higher_is_better else 1
    known = [each for each in result.ablation.comparisons if each.a not in copies]
    return tuple(sorted(known, key=lambda each: (each.difference is None, sign * (each.difference or 0.0))))


def confirmed(found: Confirmation) -> str:
    """What the fresh seeds say on the test set."""
    compared, seeds = found.comparison, plural(len(found.seeds), "fresh seed")
    winner, base = map(quoted, study_words.short_names([found.winner, found.baseline], study_words.LONGEST_QUOTED))
    start = f"On the test set, {looked_at(found.looks)}, with {seeds}, {winner}"
    if compared.difference is None:
        return f"{start} or {base} came to no figure."
    return f"{start} {_alone(compared, base, found.metric)}."


def looked_at(looks: int) -> str:
    """How often a test set has been looked at, in a sentence."""
    return "opened once" if looks <= 1 else f"which has been looked at {looks} times here"


def _of_arms(result: StudyResult, found: Sequence[Comparison]) -> Iterator[str]:
    base = study_words.quoted(result, result.baseline or "")
    groups = {verdict: [each for each in found if each.verdict == verdict] for verdict in VERDICTS}
    if not found:
        yield f"Every arm is the same experiment as {base}: there is nothing to compare."
    elif len(groups["no verdict"]) == len(found):
        yield _description(result, found, base)
    elif len(found) == 1:
        more = _planned(found) if groups["undecided"] else ""
        yield f"{study_words.quoted(result, found[0].a)} {_alone(found[0], base, result.metric)}{more}."
    else:
        if result.ablation is not None and result.ablation.screening:
            yield f"A screening of {len(found)} arms, whose finds need a study of their own."
        if decided := list(_decided(result, groups, base)):
            yield "; ".join(decided) + "."
        yield from _open(result, groups, everything=len(groups["undecided"]) == len(found))


def _alone(found: Comparison, base: str, metric: str) -> str:
    """The predicate of a sentence about one comparison, with its interval."""
    gap = f"{study_words.amount(found.difference or 0.0, metric)}"
    inner = ""
    low, high, level = found.low, found.high, found.level
    if found.verdict == "practically equal":  # this is read from the interval of the two one-sided tests
        low, high, level = found.equal_low, found.equal_high, 1 - 2 * found.alpha
    if low is not None and high is not None:
        inner = f" ({study_words.level(level)} interval {study_words.between(low, high, metric)})"
    if found.verdict in ("better", "worse"):
        return f"is {found.verdict} than {base} by {gap}{inner}"
    if found.verdict == "practically equal" and found.delta is not None:
        return f"is practically equal to {base}{inner}, within {study_words.smallest(found.delta, metric)}"
    lies = f"has a mean {_above(found, metric)} that of {base}{inner}"
    return f"{lies}: undecided, {NOT_EQUAL}" if found.verdict == "undecided" else f"{lies}: too few runs for a verdict"


def _decided(result: StudyResult, groups: dict[str, list[Comparison]], base: str) -> Iterator[str]:
    for verdict in ("better", "worse"):
        if group := groups[verdict]:
            # The larger difference leads.
            ordered = group if verdict == "better" else group[::-1]
            arms = [
                f"{study_words.quoted(result, each.a)} (by {study_words.amount(each.difference or 0.0, result.metric)})"
                for each in ordered
            ]
            yield f"{study_words.named(arms)} {_is(group)} {verdict} than {base}"
    if group := groups["practically equal"]:
        band = study_words.smallest(result.smallest_difference, result.metric)
        yield f"{_names(result, group)} {_is(group)} practically equal to {base} (within {band})"


def _open(result: StudyResult, groups: dict[str, list[Comparison]], *, everything: bool) -> Iterator[str]:
    """What stays open is said to be open: it is no finding of equality."""
    if group := groups["undecided"]:
        names = f"all {len(group)} arms" if everything else _names(result, group)
        yield f"Undecided, {NOT_EQUAL}: {names}{_planned(group)}."
    if group := groups["no verdict"]:
        runs = [f"{study_words.quoted(result, each.a)} ({min(each.n_a, each.n_b)})" for each in group]
        yield f"Fewer than {FEWEST_RUNS} finished runs, so no verdict: {study_words.named(runs)}."


def _planned(group: Iterable[Comparison]) -> str:
    needed = max((each.needed for each in group if each.needed is not None), default=None)
    return f"; a new study of about {needed:,} runs an arm would likely decide" if needed else ""


def _description(result: StudyResult, found: Sequence[Comparison], base: str) -> str:
    """Too few runs to judge by: where the means lie."""
    start = f"Fewer than {FEWEST_RUNS} finished runs on a side only describe, and give no verdict"
    known = [each for each in found if each.difference is not None]
    if not known:
        return f"{start}: there is no figure to compare with that of {base}."
    means = [f"{study_words.quoted(result, each.a)} lies {_above(each, result.metric)}" for each in known]
    return f"{start}: by its mean, {study_words.named(means)} {base}."


def _of_doses(result: StudyResult, curve: DoseCurve) -> Iterator[str]:
    name = study_words.dose_name(result)
    if curve.best is None:
        return
    best, mean = curve.doses[curve.best], curve.samples[curve.best].mean or 0.0
    if not curve.enough:
        start = f"Fewer than {FEWEST_DOSES} doses of {FEWEST_RUNS} finished runs only describe, and give no verdict"
        yield f"{start}: the best mean, {mean:.4f}, is at {name} = {best:g}."
        return
    if curve.p_any is not None:
        known = f"({study_words.p_value(curve.p_any)})"
        shown = f"{name} matters {known}." if curve.p_any < curve.alpha else f"No effect of {name} is shown {known}, "
        yield shown if curve.p_any < curve.alpha else f"{shown}{NOT_EQUAL}."
    yield f"The best mean, {mean:.4f}, is at {best:g}; {_plateau(curve)}."
    if few := [index for index, sample in enumerate(curve.samples) if sample.n < FEWEST_RUNS]:
        yield f"Fewer than {FEWEST_RUNS} runs ended at {study_words.dose_ranges(curve.doses, few)}: no verdict there."


def _plateau(curve: DoseCurve) -> str:
    told = [index for index, sample in enumerate(curve.samples) if sample.n >= FEWEST_RUNS]
    if len(curve.plateau) == len(told):
        return "no dose can be told from it"
    if len(curve.plateau) > 1:
        return f"the plateau, which can't be told from it, is {study_words.dose_ranges(curve.doses, curve.plateau)}"
    return "every other dose can be told from it"


def _names(result: StudyResult, group: Iterable[Comparison]) -> str:
    return study_words.named([study_words.quoted(result, each.a) for each in group])


def _is(group: Sequence[Comparison]) -> str:
    return "is" if len(group) == 1 else "are"


def _above(found: Comparison, metric: str) -> str:
    side = "above" if (found.difference or 0.0) >= 0 else "below"
    return f"{study_words.amount(found.difference or 0.0, metric)} {side}"
