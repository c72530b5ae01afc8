"""Predictions of a trained run for image files, with the preprocessing of its validation split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

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
    """One class with its probability."""

    name: str
    probability: float


class Prediction(Record):
    """What an image shows, most probable first; or, where it can't be read, why not."""

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
        images: files; a folder stands for all images in it.
        top_k: how many classes are given.
        log: called with anything odd about the run's weights.

    Yields:
        One prediction an image, in order; a bad or missing image, or a folder without any, has an `error` instead, and
        does not keep the others from being answered.

    Raises:
        RunError: the run's weights can't be used.
    """
    data, target = folder.data(), choose_device(device)
    preprocessing = data.preprocessing
    image_spec = ImageSpec(
        preprocessing.channels, preprocessing.height, preprocessing.width, preprocessing.interpolation
    )
    network, memory_format = trained_network(folder, target, log), folder.precision_config().memory_format
    for batch in _batches(_expand_paths(images)):
        paths = [path for path, _ in batch]
        decoded = [fault or try_decode(path, image_spec) for path, fault in batch]
        good = [pixels for pixels in decoded if not isinstance(pixels, ImageFault)]
        answers: list[Probabilities] = []
        if good:
            labels = np.zeros(len(good), dtype=np.int64)
            loader = ImageLoader(np.stack(good), labels, preprocessing.mean, preprocessing.std, target, memory_format)
            with disable_tf32():  # not while the caller has the answers
                answered = predict_logits(network, loader)
            answers = list(torch.from_numpy(answered).softmax(dim=1).numpy())
        for path, pixels in zip(paths, decoded, strict=True):
            if isinstance(pixels, ImageFault):
                yield Prediction(image=str(path), error=f"{pixels.kind}: {pixels.message}")
            else:
                yield _prediction(path, answers.pop(0), data.classes, top_k)


def _expand_paths(images: Iterable[Path]) -> Iterator[FileOrFault]:
    """Each file with None, or a path that stands for none with the reason."""
    for path in images:
        if not path.is_dir():
            yield path, None if path.exists() else ImageFault("missing", "there is no file of this name")
            continue
        found = sorted(file for file in path.rglob("*") if _is_image(file.relative_to(path)) and file.is_file())
        if not found:
            yield path, ImageFault("no image", f"this folder holds none of {', '.join(sorted(EXTENSIONS))}")
        yield from ((file, None) for file in found)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and not is_ignored(path.as_posix())


def _batches(files: Iterable[FileOrFault]) -> Iterator[list[FileOrFault]]:
    batch: list[FileOrFault] = []
    for file in files:
        batch.append(file)
        if len(batch) == BATCH_SIZE:
            yield batch
            batch = []
    if batch:
        yield batch


def _prediction(path: Path, probabilities: Probabilities, classes: Sequence[str], top_k: int) -> Prediction:
    order = np.argsort(-probabilities, kind="stable")[:top_k]
    guesses = tuple(PredictedClass(name=classes[k], probability=float(probabilities[k])) for k in order)
    return Prediction(image=str(path), top=guesses)
