"""What a trained network gets wrong, by the predictions that its run has kept, with the images where they are at hand.

The predictions of an opened test part are read without a further look; its images are one, which the ledger tells of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cnnlab.data.sources.base import Pixels, Progress, silent
from cnnlab.errors import DownloadError, RunError, SourceError, UsageError, listed, nearest
from cnnlab.interpret.loaded_model import Subject, open_subject
from cnnlab.interpret.mistakes.embedding import Embedding, embedding, last_layer
from cnnlab.interpret.mistakes.prediction_table import Said
from cnnlab.interpret.mistakes.result import Calibration, Mistakes, Rescaled
from cnnlab.interpret.targets import require_number, resolve_name
from cnnlab.randomness import generator
from cnnlab.render import formatting
from cnnlab.runs.callbacks import NOBODY
from cnnlab.stats.calibration import cooled_by_halves, sureness, temperature
from cnnlab.stats.per_class import class_figures, confused_pairs
from cnnlab.storage.run_folder import Predictions, RunFolder
from cnnlab.training.device import whole_floats

PARTS = ("train", "validation", "test")
PURPOSE = "inspect mistakes"
UNSURE = 6
# With fewer images a temperature is a guess.
FEWEST = 20

Numbers = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


@whole_floats()
def inspect_mistakes(
    run: Subject | str | Path,
    part: str = "validation",
    *,
    most: int = 24,
    pair: str | tuple[str, str] | None = None,
    per_pair: int | None = None,
    images: bool = True,
    device: str = "auto",
    data: Path | None = None,
    say: Callable[[str], None] = NOBODY.say,
    progress: Progress = silent,
) -> Mistakes:
    """What a run's network gets wrong on a part of its data, and how far its probabilities can be trusted.

    Args:
        run: the folder of a finished run, or a subject of `open_subject` that is one.
        part: train, validation or test; test only where its figures are in the run's result.
        most: mistakes in the gallery, 1 to 256.
        pair: (true class, predicted class), or both with a colon between them: a gallery of these mistakes alone.
        per_pair: at most so many mistakes of one pair of classes, from 1; None: as they come.
        images: whether to look at the images as well, for the gallery and the map. Of the test part that is a look,
            which the ledger tells of.
        device: auto, cpu, cuda or mps; where the map's features are computed.
        data: where catalogue data lives.
        say: told why images are left out.
        progress: told of images that are decoded.

    Raises:
        UsageError: not a run, a part without predictions, or classes that are not there.
        RunError: the run has not finished, its test part is shut, or its files are damaged.
    """
    folder = _run(run)
    names = folder.data().classes
    predictions = _predictions(folder, part)
    _check(most, per_pair)
    names_of = None if pair is None else _pair(pair, names)
    wanted = None if names_of is None else (_class(names_of[0], names), _class(names_of[1], names))
    said = Said.of(predictions)
    chosen, unsure = said.mistakes(most, wanted, per_pair), said.unsure(UNSURE)
    seen = _Seen(missing="they were not asked for")
    if images:
        seen = _look(folder, part, predictions, (*chosen, *unsure), device, data, say, progress)
    confusion = predictions.confusion()
    of_class = np.bincount(predictions.labels, minlength=len(names))
    return Mistakes(
        run=folder.name,
        part=part,
        classes=names,
        labels=predictions.labels,
        predicted=said.predicted,
        probability=said.probability,
        confusion=confusion,
        figures=class_figures(confusion, of_class, names),
        pairs=confused_pairs(confusion, of_class, names),
        calibration=_calibration(folder, part, predictions),
        pair=names_of,
        per_pair=per_pair,
        mistakes=tuple(said.case(place, part, names) for place in chosen),
        unsure=tuple(said.case(place, part, names) for place in unsure),
        of_pair=said.count(wanted),
        images=seen.images,
        map=seen.map,
        missing=seen.missing,
    )


@dataclass(frozen=True)
class _Seen:
    """The pixels of some images by their place, and the map of the part; or why there are none."""

    images: Mapping[int, Pixels] = field(default_factory=dict)
    map: Embedding | None = None
    missing: str = ""


def _run(run: Subject | str | Path) -> RunFolder:
    found = run.folder if isinstance(run, Subject) else resolve_name(str(run))
    if isinstance(found, RunFolder):
        return found
    raise UsageError(
        "mistakes are those of a trained network",
        received=run.name if isinstance(run, Subject) else str(run),
        allowed="the folder of a run",
        next_step="train it first: cnnlab train RECIPE; 'cnnlab runs' lists the runs",
    )


def _predictions(folder: RunFolder, part: str) -> Predictions:
    if part not in PARTS:
        raise UsageError("there is no such part", where="--part", received=part, allowed=", ".join(PARTS))
    where, result = str(folder.path), folder.result()
    if result is None:
        step = f"finish it: cnnlab train --resume {folder.path}"
        raise RunError("this run has not finished", where=where, next_step=step)
    if part == "test" and result.test is None and "test" in folder.data().parts:
        step = f"when every choice is made: cnnlab test {folder.path}; until then look at the validation part"
        raise RunError("the test part of this run has not been opened", where=where, next_step=step)
    found = folder.predictions(part) if getattr(result, part) is not None else None
    if found is None or not len(found.labels):
        there = [name for name in PARTS if (folder.path / f"predictions-{name}.npz").exists()]
        step = f"--part {there[-1]}" if there else "train it again"
        if part == "train" and result.train is not None:
            step += ", or train it again with --set train.predictions=all"
        raise UsageError(
            f"this run has no predictions of a {part} part",
            where=where,
            received=part,
            allowed=listed(there) or "none: " + (result.message or "no part was scored"),
            next_step=step,
        )
    if found.logits.shape != (len(found.labels), len(folder.data().classes)):
        file = str(folder.path / f"predictions-{part}.npz")
        raise RunError("these predictions do not fit this run's classes", where=file, next_step="train it again")
    return found


def _check(most: int, per_pair: int | None) -> None:
    require_number("--most", most)
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
            received=formatting.shown(pair),
            allowed="TRUE:PREDICTED",
            next_step="write it as in --pair cat:dog, the true class first",
        )
    return next((each for each in parted if set(each) <= set(names)), parted[0])


def _class(name: str, names: Sequence[str]) -> int:
    if name not in names:
        some = [formatting.shown(known, 32) for known in names[:20]]
        raise UsageError(
            "the data has no such class",
            where="--pair",
            received=formatting.shown(name),
            allowed=", ".join(some) + (", …" if len(names) > len(some) else ""),
            next_step=nearest(name, names) or "write it as in --pair cat:dog, the true class first",
        )
    return names.index(name)


def _look(
    folder: RunFolder,
    part: str,
    predictions: Predictions,
    places: Sequence[int],
    device: str,
    data: Path | None,
    say: Callable[[str], None],
    progress: Progress,
) -> _Seen:
    """The images at these places, and the map. The test part is opened once for both."""
    try:
        subject = open_subject(str(folder.path), device=device, data=data, say=say, progress=progress)
        feed = subject.part(part, PURPOSE, say=say)
        if not np.array_equal(feed.labels, predictions.labels):
            raise RunError("the images are not those of the kept predictions")
        images = {place: np.array(feed.pixels[place]) for place in places}
    except (SourceError, DownloadError, RunError) as error:
        problem = error.problems[0]
        why = f"{problem.where}: {problem.what}" if problem.where else problem.what
        say(f"without images: {why}")
        return _Seen(missing=why)
    layer = last_layer(subject.network, subject.layers)
    return _Seen(images, None if layer is None else embedding(subject.network, layer, feed))


def _calibration(folder: RunFolder, part: str, predictions: Predictions) -> Calibration | None:
    """The figures of the probabilities; rows that are not numbers say none. None where no row does."""
    logits, labels = _finite(predictions)
    if not len(labels):
        return None
    left_out = len(predictions.labels) - len(labels)
    draw = generator(0, "inspect calibration")
    before = sureness(logits, labels, draw)
    return Calibration(
        images=len(labels), left_out=left_out, before=before, after=_rescaled(folder, part, logits, labels)
    )


def _rescaled(folder: RunFolder, part: str, logits: Numbers, labels: Places) -> Rescaled | None:
    """The same with a temperature fitted on the validation part; None where that has too few images."""
    fitting = folder.predictions("validation")
    fits, own = _finite(fitting) if fitting is not None else (logits[:0], labels[:0])
    if len(own) < FEWEST:
        return None
    fitted = temperature(fits, own, generator(0, "inspect temperature"))
    halves = None
    if part == "validation":
        cooled, halves = cooled_by_halves(logits, labels, generator(0, "inspect halves"))
    else:
        cooled = logits / fitted.value
    return Rescaled(
        temperature=fitted, halves=halves, sureness=sureness(cooled, labels, generator(0, "inspect calibration"))
    )


def _finite(predictions: Predictions) -> tuple[Numbers, Places]:
    finite = predictions.finite()
    return predictions.logits[finite].astype(np.float64), predictions.labels[finite]
