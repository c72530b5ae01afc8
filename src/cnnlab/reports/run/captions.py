"""Captions and headline of a run's report."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import PurePath

from cnnlab.config.recipe import Recipe
from cnnlab.interpret.activations.result import ActivationMaps, LayerMaps
from cnnlab.interpret.activations.view import layer_headline, prediction_text, selection_text
from cnnlab.records import EpochRecord, RunResult, Score
from cnnlab.render.confusion_matrix import MAX_CLASSES_WITH_COUNTS
from cnnlab.render.formatting import (
    format_duration,
    format_epoch,
    format_percent,
    format_shape,
    pluralize,
    quote,
    shorten,
)
from cnnlab.reports.run.contents import ConfusionMatrix, RunView
from cnnlab.reports.run.figures import MetricCurve, metric_curves
from cnnlab.reports.run.tables import accuracy_interval
from cnnlab.stats.per_class import confused_pairs

NOTICEABLE_RISE = 1.02
NOTICEABLE_GAP = 0.02
MIN_POINTS = 2


def headline(view: RunView) -> tuple[str, str]:
    """Return the outcome in one line, and a second line with its interval, data and cost."""
    split, score = reported_split(view.result)
    source = shorten(PurePath(view.data.source).name, 40)
    work_text = (
        f"Trained on {pluralize(view.data.splits.get('train', 0), 'image')}, {_epochs(view.result.epochs)} in "
        f"{format_duration(view.result.seconds)}; {pluralize(view.result.parameters, 'parameter')}."
    )
    if view.result.status == "diverged":
        return (
            f"The run on {source} diverged",
            f"{_sentence(view.result.message or 'The loss stopped being a number')} {work_text}",
        )
    interval = accuracy_interval(score)
    if score is None or interval is None:
        return f"No accuracy was measured on {source}", work_text
    line = f"{format_percent(score.accuracy)} of {pluralize(score.images, f'{split} image')} of {source} right"
    return (
        line,
        f"95 % interval {format_percent(interval[0])} to {format_percent(interval[1])}. {work_text}",
    )


def reported_split(result: RunResult) -> tuple[str, Score | None]:
    """Return the split that a run is reported by: test if it was opened, else validation, else train."""
    if result.test is not None:
        return "test", result.test
    return ("validation", result.validation) if result.validation is not None else ("training", result.train)


def ledger_text(view: RunView) -> str:
    """Say how often this test set was evaluated, and what that means."""
    openings = view.openings
    if "test" not in view.data.splits:
        return "This data has no test split, so nothing here was measured on images that no choice depended on."
    if not openings:
        if view.result.test is not None:
            return (
                "This run has a test figure, but its opening is not in the ledger: the ledger was lost or is elsewhere."
            )
        return "This test set has never been opened: its figures are unknown to everyone who made a choice here."
    runs = len({opening.run for opening in openings})
    times = pluralize(len(openings), "time")
    text = f"This test set was opened {times}, by {pluralize(runs, 'run')}."
    if len(openings) == 1:
        return text
    return f"{text} Each evaluation that leads to a choice makes its figures a little too good."


def disabled_warnings_text(recipe: Recipe) -> str:
    """Name the warnings that the recipe switches off; "" for none."""
    off = sorted(set(recipe.warnings.off))
    return f"Switched off by the recipe, and not looked for: {', '.join(off)}." if off else ""


def loss_caption(epochs: Sequence[EpochRecord], result: RunResult) -> str:
    """Say when the validation loss was lowest, and how it went on."""
    curves = {curve.split: curve for curve in metric_curves(epochs, result, "loss")}
    if result.status == "diverged":
        return "The loss stopped being a number; the lines end at the last points that were numbers."
    validation = _finite(curves.get("validation"))
    if len(validation) < MIN_POINTS:
        return _too_short(validation, "loss")
    at, lowest = min(validation, key=lambda point: point[1])
    text = f"Validation loss is lowest at epoch {format_epoch(at)} ({lowest:#.3g})"
    end, last = validation[-1]
    train = _finite(curves.get("train"))
    if at == end:
        return f"{text}, the last point: it was still falling when training ended."
    falls = bool(train) and train[-1][1] < min(value for epoch, value in train if epoch <= at or epoch == train[0][0])
    if last > NOTICEABLE_RISE * lowest and falls:
        return f"{text}; after that training loss falls on while validation loss rises to {last:#.3g}: overfitting."
    return f"{text}; it ends at {last:#.3g}."


def accuracy_caption(epochs: Sequence[EpochRecord], result: RunResult) -> str:
    """Say when the validation accuracy was highest, and the gap to the training images."""
    curves = {curve.split: curve for curve in metric_curves(epochs, result, "accuracy")}
    validation = _finite(curves.get("validation"))
    if len(validation) < MIN_POINTS:
        return _too_short(validation, "accuracy")
    at, highest = max(validation, key=lambda point: point[1])
    text = f"Validation accuracy is highest at epoch {format_epoch(at)} ({highest:.3f})."
    if result.validation is None or result.train is None:
        return text
    gap = result.train.accuracy - result.validation.accuracy
    selected = f"With the weights of epoch {format_epoch(result.selected_epoch)} the training images score"
    if gap > NOTICEABLE_GAP:
        return f"{text} {selected} {gap:.3f} higher than the validation images."
    return f"{text} {selected} about as high as the validation images ({gap:+.3f})."


def selection_note(view: RunView) -> str:
    """Say how the weights of the final figures were selected."""
    train = view.recipe.train
    where = f"epoch {format_epoch(view.result.selected_epoch)}"
    chosen = {
        "best": f"best validation {train.choose.replace('_', ' ')}",
        "last": "the last",
        "averaged": f"the average, {train.average.kind}",
    }[train.weights]
    why = "" if view.result.validation is None and train.weights == "best" else f" ({chosen})"
    return f"Of the weights of {where}{why}, in eval mode on un-augmented images; intervals are Wilson's."


def example_caption(activations: ActivationMaps) -> str:
    """Name the image and its predicted classes."""
    return f"The image is {shorten(activations.image, 80)}, with the selected weights. {prediction_text(activations)}"


def activations_caption(layer: LayerMaps) -> str:
    """Say which maps of a layer are shown."""
    shape = format_shape(layer.batch_shape)
    return f"{quote(layer.name)}, {shape}: {selection_text(layer)}. {layer_headline(layer)}"


def confusion_caption(confusion: ConfusionMatrix, names: Sequence[str]) -> str:
    """Say how to read the matrix, and name the most frequent confusions."""
    in_cells = " The numbers are images." if len(names) <= MAX_CLASSES_WITH_COUNTS else ""
    read = (
        f"The {confusion.split} images: rows are true classes, columns predicted ones. "
        f"The deeper the colour, the larger the share of the row.{in_cells}"
    )
    pairs = confused_pairs(confusion.counts, confusion.counts.sum(axis=1), names)[:3]
    texts = [
        f"{quote(pair.true)} predicted as {quote(pair.predicted)} ({pair.images:,}, {format_percent(pair.share)})"
        for pair in pairs
    ]
    return f"{read} Most frequent: {', '.join(texts)}." if texts else f"{read} There are no mistakes."


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _epochs(number: float) -> str:
    return f"{format_epoch(number)} epoch{'' if number == 1 else 's'}"


def _finite(curve: MetricCurve | None) -> list[tuple[float, float]]:
    points = zip(curve.epochs, curve.values, strict=True) if curve is not None else ()
    return [(epoch, value) for epoch, value in points if isfinite(value)]


def _too_short(validation: Sequence[tuple[float, float]], measure: str) -> str:
    if not validation:
        return "There is no validation split, so nothing here says when to stop."
    at, value = validation[0]
    return f"One point only: at epoch {format_epoch(at)} validation {measure} is {value:.3f}."
