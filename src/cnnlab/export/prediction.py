"""What a trained run says of images from files, with the preprocessing of its validation part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from cnnlab.data.feed import Feed
from cnnlab.data.images import ENDINGS, Fault, try_decode
from cnnlab.data.listing import is_ignored
from cnnlab.data.source import ImageForm
from cnnlab.errors import SourceError
from cnnlab.evaluate.logits import logits
from cnnlab.records import Record
from cnnlab.runs.folder import RunFolder
from cnnlab.runs.run import NOBODY, trained_network
from cnnlab.training.machine import choose_device

BATCH = 256
Probabilities: TypeAlias = npt.NDArray[np.float32]


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
        One prediction an image, in order; a bad image does not keep the others from being answered.

    Raises:
        RunError: the run's weights can't be used.
        SourceError: a path is not there, or a folder holds no image.
    """
    data, target = folder.data(), choose_device(device)
    kept = data.preprocessing
    form = ImageForm(kept.channels, kept.height, kept.width, kept.interpolation)
    network = trained_network(folder, target, say)
    for paths in _batches(_files(images)):
        decoded = [try_decode(path, form) for path in paths]
        good = [pixels for pixels in decoded if not isinstance(pixels, Fault)]
        answers: list[Probabilities] = []
        if good:
            labels = np.zeros(len(good), dtype=np.int64)
            feed = Feed(np.stack(good), labels, kept.mean, kept.std, target)
            answers = list(torch.from_numpy(logits(network, feed)).softmax(dim=1).numpy())
        for path, pixels in zip(paths, decoded, strict=True):
            if isinstance(pixels, Fault):
                yield Prediction(image=str(path), error=f"{pixels.kind}: {pixels.message}")
            else:
                yield _prediction(path, answers.pop(0), data.classes, top)


def _files(images: Iterable[Path]) -> Iterator[Path]:
    for path in images:
        if not path.is_dir():
            if not path.exists():
                raise SourceError("this image is not there", where=str(path), next_step="check the path")
            yield path
            continue
        found = sorted(file for file in path.rglob("*") if _is_image(file.relative_to(path)) and file.is_file())
        if not found:
            raise SourceError(
                "this folder holds no image",
                where=str(path),
                allowed=", ".join(sorted(ENDINGS)),
                next_step="give a folder that holds images, or the images themselves",
            )
        yield from found


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS and not is_ignored(path.as_posix())


def _batches(paths: Iterable[Path]) -> Iterator[list[Path]]:
    batch: list[Path] = []
    for path in paths:
        batch.append(path)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _prediction(path: Path, probabilities: Probabilities, classes: Sequence[str], top: int) -> Prediction:
    order = np.argsort(-probabilities, kind="stable")[:top]
    guesses = tuple(Guess(name=classes[k], probability=float(probabilities[k])) for k in order)
    return Prediction(image=str(path), top=guesses)
