"""The classification errors of a network as tables. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cnnlab.interpret.mistakes.result import Calibration, Mistakes, PCAEmbedding
from cnnlab.render.document import Document, TitledTable
from cnnlab.render.formatting import (
    MISSING,
    format_count,
    format_loss,
    format_percent,
    format_probability,
    pluralize,
    shorten,
)
from cnnlab.render.result import document, figures
from cnnlab.render.tables import TextTable
from cnnlab.stats.calibration import CalibrationMetrics
from cnnlab.stats.per_class import ClassMetrics, Proportion

if TYPE_CHECKING:
    from cnnlab.render.plots import CaptionedFigure

MAX_CLASSES, MAX_PAIRS, MAX_ERRORS = 20, 10, 10
MAX_NAME_LENGTH = 24


@document.register
def _(result: Mistakes) -> Document:
    return Document(
        f"Mistakes of {shorten(result.run, 80)} on the {result.split} split",
        (headline(result),),
        tuple(_tables(result)),
        tuple(_notes(result)),
    )


@figures.register(Mistakes)
def _(result: Mistakes, *, equal_mass: bool = False) -> dict[str, CaptionedFigure]:
    """The confusion matrix, the reliability diagram and, with images, the gallery and the map.

    Args:
        equal_mass: whether the bins of the reliability diagram hold equally many images; by default they are equally
            wide.
    """
    from cnnlab.interpret.mistakes.figures import mistakes_figures

    caption = "" if result.embedding is None else embedding_caption(result.embedding)
    return mistakes_figures(result, headline(result), caption, equal_mass=equal_mass)


def headline(result: Mistakes) -> str:
    """The accuracy with its interval, and the number of errors."""
    share = result.accuracy
    return (
        f"{format_percent(share.value)} of {pluralize(result.num_images, f'{result.split} image')} correct "
        f"(95 % interval {format_percent(share.low)} to {format_percent(share.high)}), "
        f"{pluralize(result.num_errors, 'mistake')}."
    )


def embedding_caption(embedding: PCAEmbedding) -> str:
    """The layer, the images and the features that an embedding shows."""
    averaged = ", averaged over positions" if embedding.is_averaged else ""
    return (
        f"Inputs of {shorten(embedding.layer, 40)}: {format_count(embedding.num_features)} features{averaged}, "
        f"{pluralize(embedding.num_images, 'image')}"
    )


def _notes(result: Mistakes) -> Iterator[str]:
    if result.num_unpredicted:
        yield (
            f"{pluralize(result.num_unpredicted, 'image')} without a prediction: logits that are not finite count as "
            "wrong, and are left out of the calibration."
        )
    if result.missing_images_reason:
        yield f"No gallery and no map: {result.missing_images_reason}."


def _tables(result: Mistakes) -> Iterator[TitledTable]:
    yield _class_table(result.class_metrics)
    if result.pairs:
        pairs = (
            (*_names(pair.true, pair.predicted), format_count(pair.images), f"{pair.share:.3f}")
            for pair in result.pairs[:MAX_PAIRS]
        )
        yield (
            _with_count("Most confused pairs", len(result.pairs), MAX_PAIRS),
            TextTable.from_rows(("true class", "predicted", "#images", "#share of class"), pairs),
        )
    if result.calibration is not None:
        yield _calibration_table(result.calibration)
    if result.confident_errors:
        errors = (
            (
                error.image,
                *_names(error.true, error.predicted),
                format_probability(error.probability),
                format_probability(error.own),
            )
            for error in result.confident_errors[:MAX_ERRORS]
        )
        yield (
            _with_count("Most confident errors", len(result.confident_errors), MAX_ERRORS),
            TextTable.from_rows(("`image", "true class", "predicted", "#probability", "#own class"), errors),
        )
    if result.embedding is not None:
        yield _embedding_table(result.embedding)


def _class_table(class_metrics: tuple[ClassMetrics, ...]) -> TitledTable:
    """All classes in their order; of many, those with the lowest F1."""
    title = "Precision, recall and F1 with 95 % intervals"
    shown = class_metrics
    if len(class_metrics) > MAX_CLASSES:
        shown = tuple(sorted(class_metrics, key=lambda each: 2 if each.f1 is None else each.f1.value)[:MAX_CLASSES])
        title += f": the {MAX_CLASSES} lowest F1 of {len(class_metrics):,} classes; --json has all"
    rows = (
        (
            shorten(each.name, MAX_NAME_LENGTH),
            format_count(each.images),
            *(_with_interval(share) for share in (each.precision, each.recall, each.f1)),
        )
        for each in shown
    )
    return title, TextTable.from_rows(("class", "#images", "#precision", "#recall", "#F1"), rows)


def _calibration_table(calibration: Calibration) -> TitledTable:
    rows = [("unscaled", calibration.before)]
    if calibration.after is not None:
        fitted = calibration.after.temperature
        name = f"temperature {fitted.value:.2f} [{fitted.low:.2f}, {fitted.high:.2f}]"
        rows.append((name, calibration.after.sureness))
    heads = ("", "#loss", "#Brier score", "#mean probability", "#accuracy", "#ECE, equal width", "#ECE, equal mass")
    title = (
        f"Calibration of {pluralize(calibration.images, 'image')}; in brackets the 97.5 % limit of a calibrated network"
    )
    return title, TextTable.from_rows(heads, (_metrics_row(name, metrics) for name, metrics in rows))


def _metrics_row(name: str, metrics: CalibrationMetrics) -> tuple[str, ...]:
    errors = (f"{error.value:.4f} ({error.limit:.4f})" for error in (metrics.width, metrics.mass))
    numbers = (f"{number:.4f}" for number in (metrics.brier, metrics.confidence, metrics.accuracy))
    return name, format_loss(metrics.loss), *numbers, *errors


def _embedding_table(embedding: PCAEmbedding) -> TitledTable:
    shares = {
        "variance of component 1": embedding.explained_variance[0],
        "variance of component 2": embedding.explained_variance[1],
        "images nearest to their class's centroid, on the map": embedding.centroid_accuracy_on_map,
        "images nearest to their class's centroid, all features": embedding.centroid_accuracy,
    }
    rows = ((name, format_percent(share)) for name, share in shares.items())
    return embedding_caption(embedding), TextTable.from_rows(("", "#share"), rows)


def _names(true: str, predicted: str) -> tuple[str, str]:
    return shorten(true, MAX_NAME_LENGTH), shorten(predicted, MAX_NAME_LENGTH)


def _with_interval(share: Proportion | None) -> str:
    return MISSING if share is None else f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}]"


def _with_count(title: str, total: int, max_shown: int) -> str:
    return title if total <= max_shown else f"{title}: {max_shown} of {total:,}; --json has all"
