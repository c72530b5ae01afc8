"""What a trained network gets wrong, by the predictions that its run has kept, with the images where they are at hand.

The predictions of an opened test part are read without a further look; its images are one, which the ledger tells of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cnnlab.context import NO_CALLBACKS, ProgressCallback, no_op
from cnnlab.data.sources.base import Pixels
from cnnlab.errors import DownloadError, RunError, SourceError, UsageError, comma_separated, did_you_mean
from cnnlab.interpret.loaded_model import LoadedModel, load_model
from cnnlab.interpret.mistakes.embedding import PCAEmbedding, embed_images, last_layer
from cnnlab.interpret.mistakes.prediction_table import PredictionTable
from cnnlab.interpret.mistakes.result import Calibration, Mistakes, TemperatureScaledMetrics
from cnnlab.interpret.targets import resolve_target_name, validate_count
from cnnlab.randomness import generator
from cnnlab.render.formatting import shorten
from cnnlab.stats.calibration import bootstrap_temperature, calibration_metrics, cross_fitted_logits
from cnnlab.stats.per_class import class_metrics, confused_pairs
from cnnlab.storage.run_folder import Predictions, RunFolder
from cnnlab.training.device import disable_tf32

SPLITS = ("train", "validation", "test")
LEDGER_PURPOSE = "inspect mistakes"
NUM_UNCERTAIN = 6
# With fewer images a temperature is a guess.
MIN_IMAGES = 20

Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


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
    data: Path | None = None,
    log: Callable[[str], None] = NO_CALLBACKS.log,
    progress: ProgressCallback = no_op,
) -> Mistakes:
    """What a run's network gets wrong on a part of its data, and how far its probabilities can be trusted.

    Args:
        model: the folder of a finished run, or a `LoadedModel` that is one.
        split: train, validation or test; test only where its figures are in the run's result.
        max_mistakes: mistakes in the gallery, 1 to 256.
        pair: (true class, predicted class), or both with a colon between them: a gallery of these mistakes alone.
        per_pair: at most so many mistakes of one pair of classes, from 1; None: as they come.
        images: whether to look at the images as well, for the gallery and the map. Of the test part that is a look,
            which the ledger tells of.
        device: auto, cpu, cuda or mps; where the map's features are computed.
        data: where catalogue data lives.
        log: told why images are left out.
        progress: told of images that are decoded.

    Raises:
        UsageError: not a run, a part without predictions, or classes that are not there.
        RunError: the run has not finished, its test part is shut, or its files are damaged.
    """
    folder = _run(model)
    names = folder.data().classes
    predictions = _predictions(folder, split)
    _validate_counts(max_mistakes, per_pair)
    names_of = None if pair is None else _pair(pair, names)
    wanted = None if names_of is None else (_class(names_of[0], names), _class(names_of[1], names))
    table = PredictionTable.from_predictions(predictions)
    confident, uncertain = (
        table.confident_errors(max_mistakes, wanted, per_pair),
        table.uncertain_correct(NUM_UNCERTAIN),
    )
    loaded = _LoadedImages(missing_reason="they were not asked for")
    if images:
        loaded = _load_images(folder, split, predictions, (*confident, *uncertain), device, data, log, progress)
    confusion = predictions.confusion()
    of_class = np.bincount(predictions.labels, minlength=len(names))
    return Mistakes(
        run=folder.name,
        split=split,
        classes=names,
        labels=predictions.labels,
        predicted=table.predicted,
        probability=table.probability,
        confusion=confusion,
        class_metrics=class_metrics(confusion, of_class, names),
        pairs=confused_pairs(confusion, of_class, names),
        calibration=_calibration(folder, split, predictions),
        pair=names_of,
        per_pair=per_pair,
        confident_errors=tuple(table.image_prediction(index, split, names) for index in confident),
        uncertain_correct=tuple(table.image_prediction(index, split, names) for index in uncertain),
        num_pair_mistakes=table.num_errors(wanted),
        images=loaded.images,
        embedding=loaded.embedding,
        missing_images_reason=loaded.missing_reason,
    )


@dataclass(frozen=True)
class _LoadedImages:
    """The pixels of some images by their place, and the map of the part; or why there are none."""

    images: Mapping[int, Pixels] = field(default_factory=dict)
    embedding: PCAEmbedding | None = None
    missing_reason: str = ""


def _run(run: LoadedModel | str | Path) -> RunFolder:
    found = run.folder if isinstance(run, LoadedModel) else resolve_target_name(str(run))
    if isinstance(found, RunFolder):
        return found
    raise UsageError(
        "mistakes are those of a trained network",
        received=run.name if isinstance(run, LoadedModel) else str(run),
        allowed="the folder of a run",
        next_step="train it first: cnnlab train RECIPE; 'cnnlab runs' lists the runs",
    )


def _predictions(folder: RunFolder, split: str) -> Predictions:
    if split not in SPLITS:
        raise UsageError("there is no such part", where="--part", received=split, allowed=", ".join(SPLITS))
    where, result = str(folder.path), folder.result()
    if result is None:
        step = f"finish it: cnnlab train --resume {folder.path}"
        raise RunError("this run has not finished", where=where, next_step=step)
    if split == "test" and result.test is None and "test" in folder.data().splits:
        step = f"when every choice is made: cnnlab test {folder.path}; until then look at the validation part"
        raise RunError("the test part of this run has not been opened", where=where, next_step=step)
    found = folder.predictions(split) if getattr(result, split) is not None else None
    if found is None or not len(found.labels):
        kept_splits = [name for name in SPLITS if (folder.path / f"predictions-{name}.npz").exists()]
        step = f"--part {kept_splits[-1]}" if kept_splits else "train it again"
        if split == "train" and result.train is not None:
            step += ", or train it again with --set train.predictions=all"
        raise UsageError(
            f"this run has no predictions of a {split} part",
            where=where,
            received=split,
            allowed=comma_separated(kept_splits) or "none: " + (result.message or "no part was scored"),
            next_step=step,
        )
    if found.logits.shape != (len(found.labels), len(folder.data().classes)):
        file = str(folder.path / f"predictions-{split}.npz")
        raise RunError("these predictions do not fit this run's classes", where=file, next_step="train it again")
    return found


def _validate_counts(max_mistakes: int, per_pair: int | None) -> None:
    validate_count("--most", max_mistakes)
    if per_pair is not None and per_pair < 1:
        what = "this is no number of mistakes"
        raise UsageError(what, where="--per-pair", received=str(per_pair), allowed="1 or more")


def _pair(pair: str | tuple[str, str], names: Sequence[str]) -> tuple[str, str]:
    """The true and the predicted class of `cat:dog`; a name may have a colon itself."""
    if not isinstance(pair, str):
        return pair
    parted = [(pair[:at], pair[at + 1 :]) for at, letter in enumerate(pair) if letter == ":"]
    if not parted:
        raise UsageError(
            "this takes two classes",
            where="--pair",
            received=shorten(pair),
            allowed="TRUE:PREDICTED",
            next_step="write it as in --pair cat:dog, the true class first",
        )
    return next((each for each in parted if set(each) <= set(names)), parted[0])


def _class(name: str, names: Sequence[str]) -> int:
    if name not in names:
        some = [shorten(known, 32) for known in names[:20]]
        raise UsageError(
            "the data has no such class",
            where="--pair",
            received=shorten(name),
            allowed=", ".join(some) + (", …" if len(names) > len(some) else ""),
            next_step=did_you_mean(name, names) or "write it as in --pair cat:dog, the true class first",
        )
    return names.index(name)


def _load_images(
    folder: RunFolder,
    split: str,
    predictions: Predictions,
    image_indices: Sequence[int],
    device: str,
    data: Path | None,
    log: Callable[[str], None],
    progress: ProgressCallback,
) -> _LoadedImages:
    """The images at these places, and the map. The test part is opened once for both."""
    try:
        model = load_model(str(folder.path), device=device, data=data, log=log, progress=progress)
        loader = model.open_split(split, LEDGER_PURPOSE, log=log)
        if not np.array_equal(loader.labels, predictions.labels):
            raise RunError("the images are not those of the kept predictions")
        images = {index: np.array(loader.pixels[index]) for index in image_indices}
    except (SourceError, DownloadError, RunError) as error:
        problem = error.problems[0]
        why = f"{problem.where}: {problem.what}" if problem.where else problem.what
        log(f"without images: {why}")
        return _LoadedImages(missing_reason=why)
    layer = last_layer(model.network, model.layers)
    return _LoadedImages(images, None if layer is None else embed_images(model.network, layer, loader))


def _calibration(folder: RunFolder, split: str, predictions: Predictions) -> Calibration | None:
    """The figures of the probabilities; rows that are not numbers say none. None where no row does."""
    logits, labels = _finite(predictions)
    if not len(labels):
        return None
    left_out = len(predictions.labels) - len(labels)
    draw = generator(0, "inspect calibration")
    before = calibration_metrics(logits, labels, draw)
    return Calibration(
        images=len(labels), left_out=left_out, before=before, after=_temperature_scaled(folder, split, logits, labels)
    )


def _temperature_scaled(
    folder: RunFolder, split: str, logits: Numbers, labels: Indices
) -> TemperatureScaledMetrics | None:
    """The same with a temperature fitted on the validation part; None where that has too few images."""
    fitting = folder.predictions("validation")
    fit_logits, fit_labels = _finite(fitting) if fitting is not None else (logits[:0], labels[:0])
    if len(fit_labels) < MIN_IMAGES:
        return None
    fitted = bootstrap_temperature(fit_logits, fit_labels, generator(0, "inspect temperature"))
    halves = None
    if split == "validation":
        cooled, halves = cross_fitted_logits(logits, labels, generator(0, "inspect halves"))
    else:
        cooled = logits / fitted.value
    return TemperatureScaledMetrics(
        temperature=fitted,
        halves=halves,
        sureness=calibration_metrics(cooled, labels, generator(0, "inspect calibration")),
    )


def _finite(predictions: Predictions) -> tuple[Numbers, Indices]:
    finite = predictions.is_finite()
    return predictions.logits[finite].astype(np.float64), predictions.labels[finite]
