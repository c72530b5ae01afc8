"""What a trained run says of images from files, with the preprocessing of its validation part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from cnnlab.data.decoding.images import ENDINGS, Fault, try_decode
from cnnlab.data.loader import Feed
from cnnlab.data.sources.base import ImageForm
from cnnlab.data.sources.class_folders import is_ignored
from cnnlab.evaluation.logits import logits
from cnnlab.records import Record
from cnnlab.runs.callbacks import NOBODY
from cnnlab.runs.final_evaluation import trained_network
from cnnlab.storage.run_folder import RunFolder
from cnnlab.training.device import choose_device, whole_floats

BATCH = 256
Probabilities: TypeAlias = npt.NDArray[np.float32]
Found: TypeAlias = tuple[Path, Fault | None]


class Guess(Record):
    """One class with its probability."""

    name: str
    probability: float


class Prediction(Record):
    """What an image shows, most probable first; or, where it can't be read, why not."""

    image: str
    top: tuple[Guess, ...] = ()
    error: str = ""


def predict(
    folder: RunFolder,
    images: Iterable[Path],
    *,
    device: str = "auto",
    top: int = 5,
    say: Callable[[str], None] = NOBODY.say,
) -> Iterator[Prediction]:
    """Name what is on images.

    Args:
        images: files; a folder stands for all images in it.
        top: how many classes are told.
        say: told of anything odd about the run's weights.

    Yields:
        One prediction an image, in order; a bad or missing image, or a folder without any, has an `error` instead, and
        does not keep the others from being answered.

    Raises:
        RunError: the run's weights can't be used.
    """
    data, target = folder.data(), choose_device(device)
    kept = data.preprocessing
    form = ImageForm(kept.channels, kept.height, kept.width, kept.interpolation)
    network, memory_format = trained_network(folder, target, say), folder.way().memory_format
    for found in _batches(_files(images)):
        paths = [path for path, _ in found]
        decoded = [fault or try_decode(path, form) for path, fault in found]
        good = [pixels for pixels in decoded if not isinstance(pixels, Fault)]
        answers: list[Probabilities] = []
        if good:
            labels = np.zeros(len(good), dtype=np.int64)
            feed = Feed(np.stack(good), labels, kept.mean, kept.std, target, memory_format)
            with whole_floats():  # not while the caller has the answers
                answered = logits(network, feed)
            answers = list(torch.from_numpy(answered).softmax(dim=1).numpy())
        for path, pixels in zip(paths, decoded, strict=True):
            if isinstance(pixels, Fault):
                yield Prediction(image=str(path), error=f"{pixels.kind}: {pixels.message}")
            else:
                yield _prediction(path, answers.pop(0), data.classes, top)


def _files(images: Iterable[Path]) -> Iterator[Found]:
    """Each file with None, or a path that stands for none with the reason."""
    for path in images:
        if not path.is_dir():
            yield path, None if path.exists() else Fault("missing", "there is no file of this name")
            continue
        found = sorted(file for file in path.rglob("*") if _is_image(file.relative_to(path)) and file.is_file())
        if not found:
            yield path, Fault("no image", f"this folder holds none of {', '.join(sorted(ENDINGS))}")
        yield from ((file, None) for file in found)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS and not is_ignored(path.as_posix())


def _batches(found: Iterable[Found]) -> Iterator[list[Found]]:
    batch: list[Found] = []
    for file in found:
        batch.append(file)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _prediction(path: Path, probabilities: Probabilities, classes: Sequence[str], top: int) -> Prediction:
    order = np.argsort(-probabilities, kind="stable")[:top]
    guesses = tuple(Guess(name=classes[k], probability=float(probabilities[k])) for k in order)
    return Prediction(image=str(path), top=guesses)
