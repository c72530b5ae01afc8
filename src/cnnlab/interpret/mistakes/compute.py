"""Computes the classification errors of a run from its stored predictions, with the images where these are available.

Reading the stored predictions of an opened test split is not an opening; reading its images is one, with a line in the
ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from cnnlab.architecture.layer_table import MAX_LISTED
from cnnlab.context import NO_CALLBACKS, Callbacks, RunContext
from cnnlab.data.sources.base import Pixels
from cnnlab.errors import DownloadError, RunError, SourceError, UsageError, comma_separated, did_you_mean
from cnnlab.interpret.loaded_model import LoadedModel, load_target
from cnnlab.interpret.mistakes.embedding import embed_images, last_layer
from cnnlab.interpret.mistakes.result import (
    Calibration,
    ImagePrediction,
    Mistakes,
    PCAEmbedding,
    TemperatureScaledMetrics,
)
from cnnlab.interpret.targets import resolve_target_name, validate_count
from cnnlab.randomness import generator
from cnnlab.render.formatting import shorten
from cnnlab.stats.calibration import calibration_metrics, cross_fitted_logits, temperature_interval
from cnnlab.stats.per_class import Proportion, class_metrics, confused_pairs
from cnnlab.storage.run_folder import Predictions, RunFolder
from cnnlab.training.device import disable_tf32

SPLITS = ("train", "validation", "test")
LEDGER_PURPOSE = "inspect mistakes"
NUM_UNCERTAIN = 6
# With fewer images a temperature is not fitted.
MIN_IMAGES = 20

Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PredictionTable:
    """The prediction for each of N images.

    Attributes:
        labels: class indices.
        predicted: class indices; −1 where the logits are not finite.
        probabilities: N×K.
    """

    labels: Indices
    predicted: Indices
    probabilities: Numbers

    @classmethod
    def from_predictions(cls, predictions: Predictions) -> PredictionTable:
        finite = predictions.is_finite()
        logits: Numbers = np.where(finite[:, None], predictions.logits, 0).astype(np.float64)
        return cls(predictions.labels, np.where(finite, logits.argmax(axis=1), -1), softmax(logits, axis=1))

    def errors(self, pair: tuple[int, int] | None = None) -> Indices:
        """Indices of the errors, or of those of one pair: the highest probability first; ties by index."""
        is_error = (self.predicted >= 0) & (self.predicted != self.labels)
        if pair is not None:
            is_error &= (self.labels == pair[0]) & (self.predicted == pair[1])
        return self._sorted(np.flatnonzero(is_error), -1)

    def uncertain_correct(self, max_count: int) -> Indices:
        """Indices of the correct predictions with the lowest probability, in ascending order; ties by index."""
        return self._sorted(np.flatnonzero(self.predicted == self.labels), 1)[:max_count]

    def limit_pairs(self, indices: Indices, per_pair: int) -> Indices:
        """The first `per_pair` of these indices of each pair of true and predicted class, in their order."""
        counts: Counter[tuple[int, int]] = Counter()
        kept = []
        for index in indices:
            pair = int(self.labels[index]), int(self.predicted[index])
            counts[pair] += 1
            if counts[pair] <= per_pair:
                kept.append(index)
        return np.array(kept, dtype=np.int64)

    def image_predictions(self, indices: Indices, split: str, names: Sequence[str]) -> tuple[ImagePrediction, ...]:
        return tuple(
            ImagePrediction(
                image=f"{split}:{index}",
                true=names[int(self.labels[index])],
                predicted=names[int(self.predicted[index])],
                probability=float(self.probabilities[index].max()),
                own=float(self.probabilities[index, self.labels[index]]),
            )
            for index in indices
        )

    def _sorted(self, indices: Indices, sign: int) -> Indices:
        """These indices in ascending (1) or descending (−1) order of the probability; ties by index."""
        return indices[np.argsort(sign * self.probabilities[indices].max(axis=1), kind="stable")]


@disable_tf32()
def inspect_mistakes(
    model: LoadedModel | str | Path,
    split: str = "validation",
    *,
    max_mistakes: int = 24,
    pair: str | tuple[str, str] | None = None,
    per_pair: int | None = None,
    images: bool = True,
    device: str = "auto",
    data: str | Path | None = None,
    callbacks: Callbacks = NO_CALLBACKS,
) -> Mistakes:
    """Collect the classification errors of a run's network on one split, and the calibration of its probabilities.

    Args:
        model: the folder of a finished run, or a `LoadedModel` of one.
        split: train, validation or test; test only where the run's result has its figures.
        max_mistakes: errors in the gallery, 1 to 256.
        pair: (true class, predicted class), or both with a colon in between: list only errors of this pair.
        per_pair: the largest number of errors of one pair of classes, from 1; None: no limit.
        images: whether to load the images, for the gallery and the embedding. For the test split this is an opening,
            which is recorded in the ledger.
        device: auto, cpu, cuda or mps; computes the features of the embedding.
        data: the folder of catalogue data.
        callbacks: `log` is called with the reason why images are missing, `progress` while they are decoded.

    Raises:
        UsageError: not a run, a split without predictions, or unknown classes.
        RunError: the run has not finished, its test split is sealed, or its files are damaged.
    """
    folder = _run(model)
    names = folder.data().classes
    predictions = _predictions(folder, split)
    validate_count("--most", max_mistakes)
    validate_count("--per-pair", per_pair)
    class_pair = None if pair is None else _class_pair(pair, names)
    table = PredictionTable.from_predictions(predictions)
    candidates = table.errors(class_pair)
    confident = candidates if per_pair is None else table.limit_pairs(candidates, per_pair)
    confident, uncertain = confident[:max_mistakes], table.uncertain_correct(NUM_UNCERTAIN)
    pixels: dict[int, Pixels] = {}
    embedding, missing_reason = None, "they were not requested"
    if images:
        context = RunContext.of(data, device, callbacks)
        try:
            pixels, embedding = _load_images(folder, split, table, np.concatenate([confident, uncertain]), context)
            missing_reason = ""
        except (SourceError, DownloadError, RunError) as error:
            problem = error.problems[0]
            missing_reason = f"{problem.where}: {problem.what}" if problem.where else problem.what
            callbacks.log(f"without images: {missing_reason}")
    confusion = predictions.confusion()
    images_per_class = np.bincount(predictions.labels, minlength=len(names))
    num_images, num_correct = len(predictions.labels), int(predictions.correct().sum())
    return Mistakes(
        run=folder.name,
        split=split,
        classes=names,
        num_images=num_images,
        num_correct=num_correct,
        num_unpredicted=int((table.predicted < 0).sum()),
        accuracy=Proportion.from_counts(num_correct, num_images),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        class_metrics=class_metrics(confusion, images_per_class, names),
        pairs=confused_pairs(confusion, images_per_class, names),
        calibration=_calibration(folder, split, predictions),
        confident_errors=table.image_predictions(confident, split, names),
        num_candidates=len(candidates),
        uncertain_correct=table.image_predictions(uncertain, split, names),
        pair=None if class_pair is None else (names[class_pair[0]], names[class_pair[1]]),
        per_pair=per_pair,
        embedding=embedding,
        missing_images_reason=missing_reason,
        pixels=pixels,
    )


def _run(run: LoadedModel | str | Path) -> RunFolder:
    folder = run.folder if isinstance(run, LoadedModel) else resolve_target_name(str(run))
    if isinstance(folder, RunFolder):
        return folder
    raise UsageError(
        "mistakes are those of a trained network",
        received=run.name if isinstance(run, LoadedModel) else str(run),
        allowed="the folder of a run",
        next_step="train it first: cnnlab train RECIPE; 'cnnlab runs' lists the runs",
    )


def _predictions(folder: RunFolder, split: str) -> Predictions:
    if split not in SPLITS:
        raise UsageError("there is no such split", where="--split", received=split, allowed=", ".join(SPLITS))
    where, result = str(folder.path), folder.result()
    if result is None:
        step = f"finish it: cnnlab train --resume {folder.path}"
        raise RunError("this run has not finished", where=where, next_step=step)
    if split == "test" and result.test is None and "test" in folder.data().splits:
        step = f"when every choice is made: cnnlab test {folder.path}; until then inspect the validation split"
        raise RunError("the test split of this run has not been opened", where=where, next_step=step)
    predictions = folder.predictions(split)
    if predictions is None or not len(predictions.labels) or getattr(result, split) is None:
        kept_splits = [name for name in SPLITS if (folder.path / f"predictions-{name}.npz").exists()]
        raise UsageError(
            f"this run has no predictions for the {split} split",
            where=where,
            received=split,
            allowed=comma_separated(kept_splits) or "none: " + (result.message or "no split was evaluated"),
            next_step="take another split, or train it again with --set train.predictions=all",
        )
    return predictions


def _class_pair(pair: str | tuple[str, str], names: Sequence[str]) -> tuple[int, int]:
    """The true and the predicted class of `cat:dog`; class names may contain colons."""
    candidates = [pair] if isinstance(pair, tuple) else _splits_at_colons(pair)
    for true, predicted in candidates:
        if true in names and predicted in names:
            return names.index(true), names.index(predicted)
    unknown = next((name for candidate in candidates for name in candidate if name not in names), str(pair))
    raise UsageError(
        "the data has no such class",
        where="--pair",
        received=shorten(unknown),
        allowed=shorten(", ".join(names), MAX_LISTED),
        next_step=did_you_mean(unknown, names) or "write it as in --pair cat:dog, the true class first",
    )


def _splits_at_colons(text: str) -> list[tuple[str, str]]:
    return [(text[:at], text[at + 1 :]) for at, letter in enumerate(text) if letter == ":"]


def _load_images(
    folder: RunFolder, split: str, table: PredictionTable, indices: Indices, context: RunContext
) -> tuple[dict[int, Pixels], PCAEmbedding | None]:
    """The pixels of these images by index, and the embedding of the split; the split is opened once for both."""
    model = load_target(folder, None, context)
    loader = model.open_split(split, LEDGER_PURPOSE)
    layer = last_layer(model.network, model.layers)
    embedding = None if layer is None else embed_images(model.network, layer, loader, table.predicted)
    return {index: np.array(loader.pixels[index]) for index in indices.tolist()}, embedding


def _calibration(folder: RunFolder, split: str, predictions: Predictions) -> Calibration | None:
    """Calibration over the images with finite logits; None without any."""
    logits, labels = _finite(predictions)
    if not len(labels):
        return None
    return Calibration(
        images=len(labels),
        left_out=len(predictions.labels) - len(labels),
        before=calibration_metrics(logits, labels, generator(0, "inspect calibration")),
        after=_temperature_scaled(folder, split, logits, labels),
    )


def _temperature_scaled(
    folder: RunFolder, split: str, logits: Numbers, labels: Indices
) -> TemperatureScaledMetrics | None:
    """Calibration with a temperature fitted on the validation split; None where that has too few images."""
    validation = folder.predictions("validation")
    if validation is None or validation.is_finite().sum() < MIN_IMAGES:
        return None
    temperature = temperature_interval(*_finite(validation))
    scaled, halves = logits / temperature.value, None
    if split == "validation":
        scaled, halves = cross_fitted_logits(logits, labels, generator(0, "inspect halves"))
    metrics = calibration_metrics(scaled, labels, generator(0, "inspect calibration"))
    return TemperatureScaledMetrics(temperature=temperature, halves=halves, sureness=metrics)


def _finite(predictions: Predictions) -> tuple[Numbers, Indices]:
    finite = predictions.is_finite()
    return predictions.logits[finite].astype(np.float64), predictions.labels[finite]
