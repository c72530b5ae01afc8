"""What is seen of a network's mistakes, in sentences and tables made from the numbers."""

from __future__ import annotations

from collections.abc import Iterator

from cnnlab.interpret.mistakes.embedding import Embedding
from cnnlab.interpret.mistakes.result import Calibration, Case, Mistakes, Rescaled
from cnnlab.render import formatting
from cnnlab.render.document import Sheet, Titled
from cnnlab.render.tables import TextTable, columns
from cnnlab.stats.calibration import CalibrationError, Sureness
from cnnlab.stats.per_class import ClassFigures, Share

MOST_CLASSES, MOST_PAIRS, MOST_CASES, MOST_TOLD = 20, 10, 10, 3
LONGEST = 24
# From so many images of a class on, on average, it is told how many lie nearest to their own centre.
FEWEST_EACH = 3
CERTAIN = 0.99


def sentences(found: Mistakes) -> Iterator[str]:
    """All that is told, one after the other; what is not there is not told."""
    yield accuracy_sentence(found)
    yield from filter(None, (pairs_sentence(found), class_sentence(found), gallery_sentence(found)))
    if found.calibration is not None:
        yield calibration_sentence(found.calibration)
        yield temperature_sentence(found)
    if found.map is not None:
        yield map_sentence(found.map)


def accuracy_sentence(found: Mistakes) -> str:
    """How many are right, with an interval."""
    share = found.accuracy
    said = (
        f"{formatting.percent(share.value)} of {formatting.plural(len(found.labels), f'{found.part} image')} right "
        f"(95 % interval {formatting.percent(share.low)} to {formatting.percent(share.high)}), "
        f"{formatting.plural(found.wrong, 'mistake')}."
    )
    if not found.unnamed:
        return said
    return f"{said} {formatting.plural(found.unnamed, 'image')} got no name: logits that are not finite count as wrong."


def pairs_sentence(found: Mistakes) -> str:
    """The most frequent confusions, and how much of all mistakes they are."""
    if not found.pairs:
        return ""
    told = found.pairs[:MOST_TOLD]
    each = [
        f"{formatting.quoted(pair.true)} taken for {formatting.quoted(pair.predicted)} ({formatting.count(pair.images)}, "
        f"{formatting.percent(pair.share)} of its class)"
        for pair in told
    ]
    share = sum(pair.images for pair in told) / found.wrong
    rest = f"; together {formatting.percent(share)} of all mistakes" if len(found.pairs) > len(told) else ""
    return f"Most frequent: {', '.join(each)}{rest}."


def class_sentence(found: Mistakes) -> str:
    """The classes with the highest and the lowest F1."""
    known = [(each, each.f1) for each in found.figures if each.f1 is not None]
    if len(known) < 2:
        return ""
    best, worst = (choose(known, key=lambda item: item[1].value) for choose in (max, min))
    if best[1].value == worst[1].value:
        return f"F1 is {best[1].value:.2f} for every class."
    return (
        f"F1 is highest for {formatting.quoted(best[0].name)} ({_with_interval(best[1])}) and lowest for "
        f"{formatting.quoted(worst[0].name)} ({_with_interval(worst[1])})."
    )


def gallery_sentence(found: Mistakes) -> str:
    """How sure the surest mistakes are."""
    if not found.mistakes:
        return ""
    first, sure = found.mistakes[0], sum(case.probability >= CERTAIN for case in found.mistakes)
    many = f"{sure or 'none'} {'have' if sure > 1 else 'has'}"
    return (
        f"The surest mistake is {first.image}: {formatting.quoted(first.true)} taken for {formatting.quoted(first.predicted)} "
        f"with a probability of {probability(first.probability)}; its own class had {probability(first.own)}. Of the "
        f"{len(found.mistakes)} shown, {many} a probability of {CERTAIN} or more."
    )


def calibration_sentence(known: Calibration) -> str:
    """Whether the probabilities are right on average, and whether the error is more than chance."""
    before = known.before
    return (
        f"Its mean probability is {before.confidence:.3f}, and {before.accuracy:.3f} of these images are right"
        f"{_leaning(before)}. The expected calibration error is {before.width.value:.3f} "
        f"({error_sentence(before.width)}); with bins of equal mass it is {before.mass.value:.3f}."
    )


def error_sentence(error: CalibrationError) -> str:
    """What a calibrated network would show."""
    beyond = "more than" if error.beyond_chance else "no more than"
    return (
        f"{beyond} chance explains: with these probabilities and as many images a calibrated network shows "
        f"{error.chance:.3f} on average, and less than {error.limit:.3f} in 97.5 % of cases"
    )


def temperature_sentence(found: Mistakes) -> str:
    """What a temperature changes, and on which images it was fitted and judged."""
    known = found.calibration
    if known is None:
        return ""
    if known.after is None:
        return "No temperature is fitted: that takes a validation part of at least 20 images with finite logits."
    after, before = known.after, known.before
    fitted = after.temperature
    if fitted.indifferent:
        return "No temperature changes anything: the logits of each validation image are all equal."
    if after.halves is None:
        how = f"fitted on the {formatting.plural(fitted.images, 'validation image')} and judged here"
    else:
        how = "fitted on the validation images; judged by halves, each with the temperature of the other"
    said = (
        f"With a temperature of {fitted.value:.2f} (95 % interval {fitted.low:.2f} to {fitted.high:.2f}), {how}, the "
        f"calibration error goes from {before.width.value:.3f} to {after.sureness.width.value:.3f} and the loss from "
        f"{formatting.loss(before.loss)} to {formatting.loss(after.sureness.loss)}; no prediction changes."
    )
    if fitted.at_bound:
        return f"{said} That is the end of what is looked at (0.01 to 100): the best one lies beyond."
    if fitted.low > 1:
        return f"{said} Above 1: on the validation part its probabilities are too sure."
    if fitted.high < 1:
        return f"{said} Below 1: on the validation part its probabilities are not sure enough."
    return f"{said} The interval holds 1: no sign that its probabilities are too sure, or not sure enough."


def map_sentence(found: Embedding) -> str:
    """What the map shows, and what it loses."""
    averaged = ", each the mean over its map," if found.averaged else ""
    shown = (
        f"The map shows {formatting.plural(len(found.places), 'image')} by the {formatting.count(found.size)} numbers{averaged} "
        f"that go into {formatting.quoted(found.layer)}, along their first two principal components, each with a "
        f"scale of its own: these hold "
        f"{formatting.percent(found.shares[0])} and {formatting.percent(found.shares[1])} of the variance."
    )
    # Of one or two images a centre says nothing: it lies on them.
    if len(found.labels) < FEWEST_EACH * len(set(found.labels.tolist())):
        return shown
    return (
        f"{shown} The nearest class centre is an image's own for {formatting.percent(found.apart_on_map)} on the map and "
        f"for {formatting.percent(found.apart)} in all dimensions: classes that overlap here may lie apart there."
    )


def mistakes_sheet(found: Mistakes) -> Sheet:
    """Sentences, then classes, pairs, calibration and the surest mistakes as tables."""
    notes = [f"No gallery and no map: {found.missing}."] if found.missing else []
    return Sheet(
        f"Mistakes of {formatting.shown(found.run, 80)} on the {found.part} part",
        tuple(sentences(found)),
        tuple(_tables(found)),
        tuple(notes),
    )


def probability(value: float) -> str:
    """A probability in three digits; one that only rounding makes certain is not called so.

    >>> probability(0.99996), probability(0.98), probability(0.0001)
    ('> 0.999', '0.980', '< 0.001')
    """
    if 0.9995 <= value <= 1:
        return "> 0.999"
    return "< 0.001" if value < 0.0005 else f"{value:.3f}"


def _tables(found: Mistakes) -> Iterator[Titled]:
    yield _class_table(found.figures)
    if found.pairs:
        pairs = (
            (
                formatting.shown(p.true, LONGEST),
                formatting.shown(p.predicted, LONGEST),
                formatting.count(p.images),
                f"{p.share:.3f}",
            )
            for p in found.pairs[:MOST_PAIRS]
        )
        yield (
            _some("The most confused pairs", len(found.pairs), MOST_PAIRS),
            TextTable(columns("true class", "taken for", "#images", "#share of the class"), tuple(pairs)),
        )
    if found.calibration is not None:
        yield _calibration_table(found.calibration)
    if found.mistakes:
        cases = (_case_row(case) for case in found.mistakes[:MOST_CASES])
        yield (
            _some("The surest mistakes", len(found.mistakes), MOST_CASES),
            TextTable(columns("`image", "true class", "taken for", "#probability", "#of its own class"), tuple(cases)),
        )


def _class_table(figures: tuple[ClassFigures, ...]) -> Titled:
    """Every class in its order; of many, those with the lowest F1."""
    title = "Precision, recall and F1 with 95 % intervals"
    shown = figures
    if len(figures) > MOST_CLASSES:
        shown = tuple(sorted(figures, key=lambda each: 2 if each.f1 is None else each.f1.value)[:MOST_CLASSES])
        title += f": the {MOST_CLASSES} lowest F1 of {len(figures):,} classes; --json has all"
    heads = columns("class", "#images", "#precision", "#recall", "#F1")
    rows = (
        (
            formatting.shown(each.name, LONGEST),
            formatting.count(each.images),
            *(_with_interval(share) for share in (each.precision, each.recall, each.f1)),
        )
        for each in shown
    )
    return title, TextTable(heads, tuple(rows))


def _calibration_table(known: Calibration) -> Titled:
    heads = columns("", "#loss", "#Brier score", "#mean probability", "#right", "#ECE, equal width", "#ECE, equal mass")
    rows = [_sureness_row("as it is", known.before)]
    if known.after is not None:
        rows.append(_sureness_row(_scaled(known.after), known.after.sureness))
    title = f"Calibration of {formatting.plural(known.images, 'image')}"
    if known.left_out:
        title += f"; {known.left_out:,} without finite logits are left out"
    return f"{title}; in brackets the 97.5 % limit of a calibrated network", TextTable(heads, tuple(rows))


def _scaled(after: Rescaled) -> str:
    used = (after.temperature.value,) if after.halves is None else after.halves
    return "temperature " + " and ".join(f"{value:.2f}" for value in used)


def _sureness_row(name: str, sure: Sureness) -> tuple[str, ...]:
    errors = (f"{error.value:.4f} ({error.limit:.4f})" for error in (sure.width, sure.mass))
    return (
        name,
        formatting.loss(sure.loss),
        f"{sure.brier:.4f}",
        f"{sure.confidence:.4f}",
        f"{sure.accuracy:.4f}",
        *errors,
    )


def _case_row(case: Case) -> tuple[str, ...]:
    names = (formatting.shown(name, LONGEST) for name in (case.true, case.predicted))
    return (case.image, *names, probability(case.probability), probability(case.own))


def _leaning(sure: Sureness) -> str:
    """In which direction it errs, where it errs by more than chance."""
    gap = sure.confidence - sure.accuracy
    if not sure.width.beyond_chance:
        return ""
    if abs(gap) < sure.width.value / 2:
        return ": too sure of some images, and not sure enough of others"
    return f": {'too sure' if gap > 0 else 'not sure enough'} by {100 * abs(gap):.1f} points"


def _with_interval(share: Share | None) -> str:
    return formatting.NONE if share is None else f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}]"


def _some(title: str, there: int, most: int) -> str:
    return title if there <= most else f"{title}: {most} of {there:,}; --json has all"
