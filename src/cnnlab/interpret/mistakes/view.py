"""What is seen of a network's mistakes, in sentences and tables made from the numbers."""

from __future__ import annotations

from collections.abc import Iterator

from cnnlab.interpret.mistakes.embedding import PCAEmbedding
from cnnlab.interpret.mistakes.result import Calibration, ImagePrediction, Mistakes, TemperatureScaledMetrics
from cnnlab.render.document import Document, TitledTable
from cnnlab.render.formatting import MISSING, format_count, format_loss, format_percent, pluralize, quote, shorten
from cnnlab.render.tables import TextTable, parse_columns
from cnnlab.stats.calibration import CalibrationError, CalibrationMetrics
from cnnlab.stats.per_class import ClassMetrics, Proportion

MAX_CLASSES, MAX_PAIRS, MAX_CASES, MAX_PAIRS_IN_TEXT = 20, 10, 10, 3
MAX_NAME_LENGTH = 24
# From so many images of a class on, on average, it is told how many lie nearest to their own centre.
MIN_IMAGES_EACH = 3
CERTAINTY_THRESHOLD = 0.99


def sentences(result: Mistakes) -> Iterator[str]:
    """All that is told, one after the other; what is not there is not told."""
    yield accuracy_sentence(result)
    yield from filter(None, (pairs_sentence(result), class_sentence(result), gallery_sentence(result)))
    if result.calibration is not None:
        yield calibration_sentence(result.calibration)
        yield temperature_sentence(result)
    if result.embedding is not None:
        yield map_sentence(result.embedding)


def accuracy_sentence(result: Mistakes) -> str:
    """How many are right, with an interval."""
    share = result.accuracy
    text = (
        f"{format_percent(share.value)} of {pluralize(len(result.labels), f'{result.split} image')} right "
        f"(95 % interval {format_percent(share.low)} to {format_percent(share.high)}), "
        f"{pluralize(result.num_wrong, 'mistake')}."
    )
    if not result.num_unpredicted:
        return text
    return (
        f"{text} {pluralize(result.num_unpredicted, 'image')} got no name: logits that are not finite count as wrong."
    )


def pairs_sentence(result: Mistakes) -> str:
    """The most frequent confusions, and how much of all mistakes they are."""
    if not result.pairs:
        return ""
    shown = result.pairs[:MAX_PAIRS_IN_TEXT]
    each = [
        f"{quote(pair.true)} taken for {quote(pair.predicted)} ({format_count(pair.images)}, "
        f"{format_percent(pair.share)} of its class)"
        for pair in shown
    ]
    share = sum(pair.images for pair in shown) / result.num_wrong
    rest = f"; together {format_percent(share)} of all mistakes" if len(result.pairs) > len(shown) else ""
    return f"Most frequent: {', '.join(each)}{rest}."


def class_sentence(result: Mistakes) -> str:
    """The classes with the highest and the lowest F1."""
    known = [(each, each.f1) for each in result.class_metrics if each.f1 is not None]
    if len(known) < 2:
        return ""
    best, worst = (choose(known, key=lambda item: item[1].value) for choose in (max, min))
    if best[1].value == worst[1].value:
        return f"F1 is {best[1].value:.2f} for every class."
    return (
        f"F1 is highest for {quote(best[0].name)} ({_with_interval(best[1])}) and lowest for "
        f"{quote(worst[0].name)} ({_with_interval(worst[1])})."
    )


def gallery_sentence(result: Mistakes) -> str:
    """How sure the surest mistakes are."""
    if not result.confident_errors:
        return ""
    first, num_certain = (
        result.confident_errors[0],
        sum(case.probability >= CERTAINTY_THRESHOLD for case in result.confident_errors),
    )
    many = f"{num_certain or 'none'} {'have' if num_certain > 1 else 'has'}"
    return (
        f"The surest mistake is {first.image}: {quote(first.true)} taken for {quote(first.predicted)} "
        f"with a probability of {format_probability(first.probability)}; its own class had "
        f"{format_probability(first.own)}. Of the {len(result.confident_errors)} shown, {many} a "
        f"probability of {CERTAINTY_THRESHOLD} or more."
    )


def calibration_sentence(calibration: Calibration) -> str:
    """Whether the probabilities are right on average, and whether the error is more than chance."""
    before = calibration.before
    return (
        f"Its mean probability is {before.confidence:.3f}, and {before.accuracy:.3f} of these images are right"
        f"{_confidence_bias_text(before)}. The expected calibration error is {before.width.value:.3f} "
        f"({error_sentence(before.width)}); with bins of equal mass it is {before.mass.value:.3f}."
    )


def error_sentence(error: CalibrationError) -> str:
    """What a calibrated network would show."""
    beyond = "more than" if error.beyond_chance else "no more than"
    return (
        f"{beyond} chance explains: with these probabilities and as many images a calibrated network shows "
        f"{error.chance:.3f} on average, and less than {error.limit:.3f} in 97.5 % of cases"
    )


def temperature_sentence(result: Mistakes) -> str:
    """What a temperature changes, and on which images it was fitted and judged."""
    calibration = result.calibration
    if calibration is None:
        return ""
    if calibration.after is None:
        return "No temperature is fitted: that takes a validation part of at least 20 images with finite logits."
    after, before = calibration.after, calibration.before
    fitted = after.temperature
    if fitted.indifferent:
        return "No temperature changes anything: the logits of each validation image are all equal."
    if after.halves is None:
        how = f"fitted on the {pluralize(fitted.images, 'validation image')} and judged here"
    else:
        how = "fitted on the validation images; judged by halves, each with the temperature of the other"
    text = (
        f"With a temperature of {fitted.value:.2f} (95 % interval {fitted.low:.2f} to {fitted.high:.2f}), {how}, the "
        f"calibration error goes from {before.width.value:.3f} to {after.sureness.width.value:.3f} and the loss from "
        f"{format_loss(before.loss)} to {format_loss(after.sureness.loss)}; no prediction changes."
    )
    if fitted.at_bound:
        return f"{text} That is the end of what is looked at (0.01 to 100): the best one lies beyond."
    if fitted.low > 1:
        return f"{text} Above 1: on the validation part its probabilities are too sure."
    if fitted.high < 1:
        return f"{text} Below 1: on the validation part its probabilities are not sure enough."
    return f"{text} The interval holds 1: no sign that its probabilities are too sure, or not sure enough."


def map_sentence(embedding: PCAEmbedding) -> str:
    """What the map shows, and what it loses."""
    averaged = ", each the mean over its map," if embedding.is_averaged else ""
    images = pluralize(len(embedding.image_indices), "image")
    first, second = (format_percent(share) for share in embedding.explained_variance)
    shown = (
        f"The map shows {images} by the {format_count(embedding.num_features)} numbers{averaged} that go into "
        f"{quote(embedding.layer)}, along their first two principal components, each with a scale of its own: these "
        f"hold {first} and {second} of the variance."
    )
    # Of one or two images a centre says nothing: it lies on them.
    if len(embedding.labels) < MIN_IMAGES_EACH * len(set(embedding.labels.tolist())):
        return shown
    return (
        f"{shown} The nearest class centre is an image's own for "
        f"{format_percent(embedding.centroid_accuracy_on_map)} on the map and for "
        f"{format_percent(embedding.centroid_accuracy)} in all dimensions: classes that overlap here may lie apart "
        "there."
    )


def mistakes_document(result: Mistakes) -> Document:
    """Sentences, then classes, pairs, calibration and the surest mistakes as tables."""
    notes = [f"No gallery and no map: {result.missing_images_reason}."] if result.missing_images_reason else []
    return Document(
        f"Mistakes of {shorten(result.run, 80)} on the {result.split} part",
        tuple(sentences(result)),
        tuple(_tables(result)),
        tuple(notes),
    )


def format_probability(value: float) -> str:
    """A probability in three digits; one that only rounding makes certain is not called so.

    >>> format_probability(0.99996), format_probability(0.98), format_probability(0.0001)
    ('> 0.999', '0.980', '< 0.001')
    """
    if 0.9995 <= value <= 1:
        return "> 0.999"
    return "< 0.001" if value < 0.0005 else f"{value:.3f}"


def _tables(result: Mistakes) -> Iterator[TitledTable]:
    yield _class_table(result.class_metrics)
    if result.pairs:
        pairs = (
            (
                shorten(p.true, MAX_NAME_LENGTH),
                shorten(p.predicted, MAX_NAME_LENGTH),
                format_count(p.images),
                f"{p.share:.3f}",
            )
            for p in result.pairs[:MAX_PAIRS]
        )
        yield (
            _count_text("The most confused pairs", len(result.pairs), MAX_PAIRS),
            TextTable(parse_columns("true class", "taken for", "#images", "#share of the class"), tuple(pairs)),
        )
    if result.calibration is not None:
        yield _calibration_table(result.calibration)
    if result.confident_errors:
        cases = (_case_row(case) for case in result.confident_errors[:MAX_CASES])
        yield (
            _count_text("The surest mistakes", len(result.confident_errors), MAX_CASES),
            TextTable(
                parse_columns("`image", "true class", "taken for", "#probability", "#of its own class"), tuple(cases)
            ),
        )


def _class_table(class_metrics: tuple[ClassMetrics, ...]) -> TitledTable:
    """Every class in its order; of many, those with the lowest F1."""
    title = "Precision, recall and F1 with 95 % intervals"
    shown = class_metrics
    if len(class_metrics) > MAX_CLASSES:
        shown = tuple(sorted(class_metrics, key=lambda each: 2 if each.f1 is None else each.f1.value)[:MAX_CLASSES])
        title += f": the {MAX_CLASSES} lowest F1 of {len(class_metrics):,} classes; --json has all"
    heads = parse_columns("class", "#images", "#precision", "#recall", "#F1")
    rows = (
        (
            shorten(each.name, MAX_NAME_LENGTH),
            format_count(each.images),
            *(_with_interval(share) for share in (each.precision, each.recall, each.f1)),
        )
        for each in shown
    )
    return title, TextTable(heads, tuple(rows))


def _calibration_table(calibration: Calibration) -> TitledTable:
    heads = parse_columns(
        "", "#loss", "#Brier score", "#mean probability", "#right", "#ECE, equal width", "#ECE, equal mass"
    )
    rows = [_metrics_row("as it is", calibration.before)]
    if calibration.after is not None:
        rows.append(_metrics_row(_temperature_text(calibration.after), calibration.after.sureness))
    title = f"Calibration of {pluralize(calibration.images, 'image')}"
    if calibration.left_out:
        title += f"; {calibration.left_out:,} without finite logits are left out"
    return f"{title}; in brackets the 97.5 % limit of a calibrated network", TextTable(heads, tuple(rows))


def _temperature_text(scaled: TemperatureScaledMetrics) -> str:
    used = (scaled.temperature.value,) if scaled.halves is None else scaled.halves
    return "temperature " + " and ".join(f"{value:.2f}" for value in used)


def _metrics_row(name: str, metrics: CalibrationMetrics) -> tuple[str, ...]:
    errors = (f"{error.value:.4f} ({error.limit:.4f})" for error in (metrics.width, metrics.mass))
    return (
        name,
        format_loss(metrics.loss),
        f"{metrics.brier:.4f}",
        f"{metrics.confidence:.4f}",
        f"{metrics.accuracy:.4f}",
        *errors,
    )


def _case_row(case: ImagePrediction) -> tuple[str, ...]:
    names = (shorten(name, MAX_NAME_LENGTH) for name in (case.true, case.predicted))
    return (case.image, *names, format_probability(case.probability), format_probability(case.own))


def _confidence_bias_text(metrics: CalibrationMetrics) -> str:
    """In which direction it errs, where it errs by more than chance."""
    gap = metrics.confidence - metrics.accuracy
    if not metrics.width.beyond_chance:
        return ""
    if abs(gap) < metrics.width.value / 2:
        return ": too sure of some images, and not sure enough of others"
    return f": {'too sure' if gap > 0 else 'not sure enough'} by {100 * abs(gap):.1f} points"


def _with_interval(share: Proportion | None) -> str:
    return MISSING if share is None else f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}]"


def _count_text(title: str, total: int, max_shown: int) -> str:
    return title if total <= max_shown else f"{title}: {max_shown} of {total:,}; --json has all"
