"""Predict the classes of image files with a trained run, preprocessed as in validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from cnnlab.context import NO_CALLBACKS
from cnnlab.data.decoding.images import EXTENSIONS, ImageFault, try_decode
from cnnlab.data.loader import ImageLoader
from cnnlab.data.sources.base import ImageSpec
from cnnlab.data.sources.class_folders import is_ignored
from cnnlab.evaluation.logits import predict_logits
from cnnlab.records import Record
from cnnlab.runs.final_evaluation import trained_network
from cnnlab.storage.run_folder import RunFolder
from cnnlab.training.device import choose_device, disable_tf32

BATCH_SIZE = 256
Probabilities: TypeAlias = npt.NDArray[np.float32]
FileOrFault: TypeAlias = tuple[Path, ImageFault | None]


class PredictedClass(Record):
    """A class with its probability."""

    name: str
    probability: float


class Prediction(Record):
    """The most probable classes of an image, or the error if it can't be read."""

    image: str
    top: tuple[PredictedClass, ...] = ()
    error: str = ""


def predict(
    folder: RunFolder,
    images: Iterable[Path],
    *,
    device: str = "auto",
    top_k: int = 5,
    log: Callable[[str], None] = NO_CALLBACKS.log,
) -> Iterator[Prediction]:
    """Predict the classes of images.

    Args:
        images: files, or folders of images.
        top_k: the number of classes to return.
        log: called with warnings about the run's weights.

    Yields:
        One prediction per image, in order; with an error for an unreadable or missing image, or a folder without any.

    Raises:
        RunError: the run's weights can't be used.
    """
    data, target = folder.data(), choose_device(device)
    shown = data.preprocessing
    image_spec = ImageSpec(shown.channels, shown.height, shown.width, shown.interpolation, shown.fit)
    network, memory_format = trained_network(folder, target, log), folder.precision_config().memory_format
    files = _expand_paths(images)
    while batch := list(islice(files, BATCH_SIZE)):
        decoded = [fault or try_decode(path, image_spec) for path, fault in batch]
        good = [pixels for pixels in decoded if not isinstance(pixels, ImageFault)]
        probabilities: Iterator[Probabilities] = iter(())
        if good:
            labels = np.zeros(len(good), dtype=np.int64)
            loader = ImageLoader(np.stack(good), labels, shown.mean, shown.std, target, memory_format)
            with disable_tf32():  # not while the caller holds a prediction
                logits = predict_logits(network, loader)
            probabilities = iter(softmax(logits, axis=1))
        for (path, _), pixels in zip(batch, decoded, strict=True):
            if isinstance(pixels, ImageFault):
                yield Prediction(image=str(path), error=f"{pixels.kind}: {pixels.message}")
            else:
                yield _prediction(path, next(probabilities), data.classes, top_k)


def _expand_paths(images: Iterable[Path]) -> Iterator[FileOrFault]:
    """Yield each image file with None, or a path without images with the reason."""
    for path in images:
        if not path.is_dir():
            yield path, None if path.exists() else ImageFault("missing", "there is no file of this name")
            continue
        named = (file for file in path.rglob("*") if file.suffix.lower() in EXTENSIONS and file.is_file())
        found = sorted(file for file in named if not is_ignored(file.relative_to(path).as_posix()))
        if not found:
            yield (
                path,
                ImageFault("no image", f"this folder has no {', '.join(sorted(EXTENSIONS))}"),
            )
        yield from ((file, None) for file in found)


def _prediction(path: Path, probabilities: Probabilities, classes: Sequence[str], top_k: int) -> Prediction:
    order = np.argsort(-probabilities, kind="stable")[:top_k]
    guesses = tuple(PredictedClass(name=classes[k], probability=float(probabilities[k])) for k in order)
    return Prediction(image=str(path), top=guesses)
