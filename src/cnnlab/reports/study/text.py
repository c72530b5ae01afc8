"""A study in sentences: its headline, and how amounts, p-values and arms are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count

from cnnlab.render import formatting
from cnnlab.render.formatting import plural, quoted
from cnnlab.stats.comparison import Comparison
from cnnlab.stats.sample import FEWEST_RUNS
from cnnlab.stats.sweep import FEWEST_DOSES, DoseCurve
from cnnlab.studies.result import ArmRecord, Confirmation, StudyResult

MOST_NAMED = 4
# As long as `words.quoted` leaves a name whole, with a number behind it.
LONGEST_QUOTED = 28


def metric_name(metric: str) -> str:
    """`validation accuracy` for validation_accuracy."""
    return formatting.shown(metric.replace("_", " "))


def is_share(metric: str) -> bool:
    """Whether a metric is a fraction, whose differences are told in points; a loss is not."""
    return not metric.endswith("loss")


def amount(value: float, metric: str) -> str:
    """The size of a difference in a sentence.

    >>> amount(-0.0126, "validation_accuracy"), amount(0.0126, "validation_loss")
    ('1.26 points', '0.0126')
    """
    return _points(f"{abs(100 * value):.2f}") if is_share(metric) else f"{abs(value):.3g}"


def smallest(delta: float | None, metric: str) -> str:
    """The band of practical equality: `±0.2 points`; `±–` where there is none."""
    if delta is None:
        return f"±{formatting.NONE}"
    return f"±{_points(f'{100 * delta:.3g}')}" if is_share(metric) else f"±{delta:.3g}"


def _points(number: str) -> str:
    return f"{number} point" if number == "1" else f"{number} points"


def between(low: float, high: float, metric: str) -> str:
    """An interval of differences in a sentence: `−0.52 to +1.20 points`."""
    if not is_share(metric):
        return f"{signed(low)} to {signed(high)}"
    return f"{signed(100 * low, 2)} to {signed(100 * high, 2)} points"


def signed(value: float, digits: int = 4) -> str:
    """A number with its sign, `−` as long as `+`; one that rounds to nothing has none.

    >>> signed(-0.00123), signed(0.00001), signed(2.5, 1)
    ('−0.0012', '0.0000', '+2.5')
    """
    text = f"{abs(value):.{digits}f}"
    if not any(digit in text for digit in "123456789"):
        return text
    return ("+" if value > 0 else "−") + text


def p_value(p: float) -> str:
    """`p < 0.001`, `p = 0.031`.

    >>> p_value(0.00002), p_value(0.0312), p_value(0.62)
    ('p < 0.001', 'p = 0.031', 'p = 0.62')
    """
    return f"p < {words_of_p(p)[2:]}" if p < 0.001 else f"p = {words_of_p(p)}"


def words_of_p(p: float) -> str:
    """A p-value in a table: two digits, `< 0.001` for small ones."""
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def level_text(share: float) -> str:
    """The confidence of an interval: `95 %`, `99.17 %`."""
    return f"{100 * share:.4g} %"


def named(names: Sequence[str], most: int = MOST_NAMED) -> str:
    """Names in a sentence, joined; of many the first, and how many more.

    >>> named(["a", "b", "c"]), named(list("abcdefg"))
    ('a, b and c', 'a, b, c and 4 more')
    """
    shown = list(names) if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1]))) if shown else ""


def quoted_arm(result: StudyResult, name: str) -> str:
    """An arm in a sentence, cut so that no other arm of the study is cut alike."""
    names = [arm.name for arm in result.arms]
    short = dict(zip(names, short_names(names, LONGEST_QUOTED), strict=True))
    return formatting.quoted(short.get(name, name))


def short_names(names: Sequence[str], longest: int) -> list[str]:
    """Names cut to fit, and still each its own: those that would be cut alike are cut in the middle, then numbered.

    >>> short_names(["a", "optimizer=sgd, lr=0.1", "optimizer=sgd, lr=0.2"], 14)
    ['a', 'optimiz…lr=0.1', 'optimiz…lr=0.2']
    """
    cut = [formatting.shown(name, longest) for name in names]
    cut = [_middle(name, longest) if cut.count(short) > 1 else short for name, short in zip(names, cut, strict=True)]
    taken, found = {short for short in cut if cut.count(short) == 1}, []
    for short in cut:
        numbered = (f"{short} ({number})" for number in count(1))
        found.append(short if cut.count(short) == 1 else next(name for name in numbered if name not in taken))
        taken.add(found[-1])
    return found


def _middle(name: str, longest: int) -> str:
    whole = formatting.shown(name, len(name) * 2)
    if formatting.columns(whole) <= longest:
        return whole
    end = formatting.shown(whole[::-1], longest // 2).removesuffix("…")[::-1]
    return formatting.shown(whole, longest - formatting.columns(end)).rstrip("…") + "…" + end


def dose_name(result: StudyResult) -> str:
    """What the doses are doses of: the key that the arms change."""
    keys = {key for arm in result.arms for key in arm.changes}
    return formatting.shown(keys.pop()) if len(keys) == 1 else "the dose"


def dose_ranges(doses: Sequence[float], chosen: Iterable[int]) -> str:
    """The chosen doses as ranges of neighbours.

    Args:
        doses: all of them, in any order.
        chosen: indices.

    >>> dose_ranges([0.0, 0.1, 0.2, 0.3, 0.4], [1, 2, 4])
    '0.1 to 0.2, and 0.4'
    """
    texts = [
        f"{doses[run[0]]:g}" if len(run) == 1 else f"{doses[run[0]]:g} to {doses[run[-1]]:g}"
        for run in neighbours(doses, chosen)
    ]
    return ", and ".join(filter(None, (", ".join(texts[:-1]), texts[-1]))) if texts else ""


def neighbours(doses: Sequence[float], chosen: Iterable[int]) -> list[list[int]]:
    """The chosen indices by rising dose, those with no other dose between them together."""
    wanted, runs = set(chosen), list[list[int]]()
    before = False
    for index in sorted(range(len(doses)), key=lambda index: doses[index]):
        if index in wanted and before:
            runs[-1].append(index)
        elif index in wanted:
            runs.append([index])
        before = index in wanted
    return runs


def arm_of_dose(result: StudyResult, curve: DoseCurve, index: int) -> ArmRecord | None:
    """The arm that has this dose."""
    return next((arm for arm in result.arms if arm.dose == curve.doses[index]), None)


def runs_done(result: StudyResult) -> tuple[int, int]:
    """Runs that came to an end, diverged ones too, and all that were planned."""
    runs = [run for arm in result.arms for run in arm.seeds]
    return sum(run.status not in ("failed", "not run") for run in runs), len(runs)


VERDICTS = ("better", "worse", "practically equal", "undecided", "no verdict")
NOT_EQUAL = "which is not “no difference”"


def headline(result: StudyResult) -> str:
    """The answer to the study's question: no more than the runs bear out.

    Arms are better, worse, practically equal or undecided; of a dose curve the plateau is told as a range. Too few
    runs only describe. What was confirmed on the test set stands last.
    """
    done, planned = runs_done(result)
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
    winner, base = map(quoted, short_names([found.winner, found.baseline], LONGEST_QUOTED))
    start = f"On the test set, {looked_at(found.looks)}, with {seeds}, {winner}"
    if compared.difference is None:
        return f"{start} or {base} came to no figure."
    return f"{start} {_alone(compared, base, found.metric)}."


def looked_at(looks: int) -> str:
    """How often a test set has been looked at, in a sentence."""
    return "opened once" if looks <= 1 else f"which has been looked at {looks} times here"


def _of_arms(result: StudyResult, found: Sequence[Comparison]) -> Iterator[str]:
    base = quoted_arm(result, result.baseline or "")
    groups = {verdict: [each for each in found if each.verdict == verdict] for verdict in VERDICTS}
    if not found:
        yield f"Every arm is the same experiment as {base}: there is nothing to compare."
    elif len(groups["no verdict"]) == len(found):
        yield _description(result, found, base)
    elif len(found) == 1:
        more = _planned(found) if groups["undecided"] else ""
        yield f"{quoted_arm(result, found[0].a)} {_alone(found[0], base, result.metric)}{more}."
    else:
        if result.ablation is not None and result.ablation.screening:
            yield f"A screening of {len(found)} arms, whose finds need a study of their own."
        if decided := list(_decided(result, groups, base)):
            yield "; ".join(decided) + "."
        yield from _open(result, groups, everything=len(groups["undecided"]) == len(found))


def _alone(found: Comparison, base: str, metric: str) -> str:
    """The predicate of a sentence about one comparison, with its interval."""
    gap = f"{amount(found.difference or 0.0, metric)}"
    inner = ""
    low, high, level = found.low, found.high, found.level
    if found.verdict == "practically equal":  # this is read from the interval of the two one-sided tests
        low, high, level = found.equal_low, found.equal_high, 1 - 2 * found.alpha
    if low is not None and high is not None:
        inner = f" ({level_text(level)} interval {between(low, high, metric)})"
    if found.verdict in ("better", "worse"):
        return f"is {found.verdict} than {base} by {gap}{inner}"
    if found.verdict == "practically equal" and found.delta is not None:
        return f"is practically equal to {base}{inner}, within {smallest(found.delta, metric)}"
    lies = f"has a mean {_above(found, metric)} that of {base}{inner}"
    return f"{lies}: undecided, {NOT_EQUAL}" if found.verdict == "undecided" else f"{lies}: too few runs for a verdict"


def _decided(result: StudyResult, groups: dict[str, list[Comparison]], base: str) -> Iterator[str]:
    for verdict in ("better", "worse"):
        if group := groups[verdict]:
            # The larger difference leads.
            ordered = group if verdict == "better" else group[::-1]
            arms = [
                f"{quoted_arm(result, each.a)} (by {amount(each.difference or 0.0, result.metric)})" for each in ordered
            ]
            yield f"{named(arms)} {_is(group)} {verdict} than {base}"
    if group := groups["practically equal"]:
        band = smallest(result.smallest_difference, result.metric)
        yield f"{_names(result, group)} {_is(group)} practically equal to {base} (within {band})"


def _open(result: StudyResult, groups: dict[str, list[Comparison]], *, everything: bool) -> Iterator[str]:
    """What stays open is said to be open: it is no finding of equality."""
    if group := groups["undecided"]:
        names = f"all {len(group)} arms" if everything else _names(result, group)
        yield f"Undecided, {NOT_EQUAL}: {names}{_planned(group)}."
    if group := groups["no verdict"]:
        runs = [f"{quoted_arm(result, each.a)} ({min(each.n_a, each.n_b)})" for each in group]
        yield f"Fewer than {FEWEST_RUNS} finished runs, so no verdict: {named(runs)}."


def _planned(group: Iterable[Comparison]) -> str:
    needed = max((each.needed for each in group if each.needed is not None), default=None)
    return f"; a new study of about {needed:,} runs an arm would likely decide" if needed else ""


def _description(result: StudyResult, found: Sequence[Comparison], base: str) -> str:
    """Too few runs to judge by: where the means lie."""
    start = f"Fewer than {FEWEST_RUNS} finished runs on a side only describe, and give no verdict"
    known = [each for each in found if each.difference is not None]
    if not known:
        return f"{start}: there is no figure to compare with that of {base}."
    means = [f"{quoted_arm(result, each.a)} lies {_above(each, result.metric)}" for each in known]
    return f"{start}: by its mean, {named(means)} {base}."


def _of_doses(result: StudyResult, curve: DoseCurve) -> Iterator[str]:
    name = dose_name(result)
    if curve.best is None:
        return
    best, mean = curve.doses[curve.best], curve.samples[curve.best].mean or 0.0
    if not curve.enough:
        start = f"Fewer than {FEWEST_DOSES} doses of {FEWEST_RUNS} finished runs only describe, and give no verdict"
        yield f"{start}: the best mean, {mean:.4f}, is at {name} = {best:g}."
        return
    if curve.p_any is not None:
        known = f"({p_value(curve.p_any)})"
        shown = f"{name} matters {known}." if curve.p_any < curve.alpha else f"No effect of {name} is shown {known}, "
        yield shown if curve.p_any < curve.alpha else f"{shown}{NOT_EQUAL}."
    yield f"The best mean, {mean:.4f}, is at {best:g}; {_plateau(curve)}."
    if few := [index for index, sample in enumerate(curve.samples) if sample.n < FEWEST_RUNS]:
        yield f"Fewer than {FEWEST_RUNS} runs ended at {dose_ranges(curve.doses, few)}: no verdict there."


def _plateau(curve: DoseCurve) -> str:
    told = [index for index, sample in enumerate(curve.samples) if sample.n >= FEWEST_RUNS]
    if len(curve.plateau) == len(told):
        return "no dose can be told from it"
    if len(curve.plateau) > 1:
        return f"the plateau, which can't be told from it, is {dose_ranges(curve.doses, curve.plateau)}"
    return "every other dose can be told from it"


def _names(result: StudyResult, group: Iterable[Comparison]) -> str:
    return named([quoted_arm(result, each.a) for each in group])


def _is(group: Sequence[Comparison]) -> str:
    return "is" if len(group) == 1 else "are"


def _above(found: Comparison, metric: str) -> str:
    side = "above" if (found.difference or 0.0) >= 0 else "below"
    return f"{amount(found.difference or 0.0, metric)} {side}"
