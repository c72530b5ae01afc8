"""What a study's figures are called in sentences: amounts, p-values, ranges of doses, lists of arms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count

from cnnlab.render import formatting
from cnnlab.stats.sweep import DoseCurve
from cnnlab.studies.result import ArmRecord, StudyResult

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


def level(share: float) -> str:
    """The confidence of an interval: `95 %`, `99.17 %`."""
    return f"{100 * share:.4g} %"


def named(names: Sequence[str], most: int = MOST_NAMED) -> str:
    """Names in a sentence, joined; of many the first, and how many more.

    >>> named(["a", "b", "c"]), named(list("abcdefg"))
    ('a, b and c', 'a, b, c and 4 more')
    """
    shown = list(names) if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1]))) if shown else ""


def quoted(result: StudyResult, name: str) -> str:
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
