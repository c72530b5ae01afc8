"""One run from end to end: a recipe in, a run folder out. The page to read first.

recipe → data → table → network → training, its best weights kept → final figures → run folder
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import nn

from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.data.feed import Feed
from cnnlab.data.source import Part, Progress, silent
from cnnlab.errors import RunError
from cnnlab.evaluate.logits import logits
from cnnlab.evaluate.metrics import score
from cnnlab.model.build import build
from cnnlab.model.initialise import initialise
from cnnlab.records import DataRecord, EpochRecord, Preprocessing, Result, Score, Way
from cnnlab.runs.checks import check_before_training, check_same_data
from cnnlab.runs.environment import environment
from cnnlab.runs.folder import Predictions, RunFolder, create_run
from cnnlab.runs.ledger import note_opening, test_set_id
from cnnlab.runs.locking import locked
from cnnlab.spec.overview import overview
from cnnlab.spec.recipe import Recipe
from cnnlab.spec.trace import Trace
from cnnlab.training.checkpoints import load_into, load_weights, resume, save_progress, save_weights
from cnnlab.training.loop import Feeds, Training, Watch, fit
from cnnlab.training.machine import choose_device
from cnnlab.training.way import choose_way


def _nothing(*_: object) -> None:
    """What a caller does with a report that it does not want."""


@dataclass(frozen=True)
class Listener:
    """Whoever wants to see a run while it goes on; by default nobody."""

    progress: Progress = silent
    watch: Watch = _nothing
    point: Callable[[EpochRecord], None] = _nothing
    say: Callable[[str], None] = _nothing


NOBODY = Listener()


def run(
    recipe: Recipe,
    *,
    name: str = "run",
    runs: Path = Path("runs"),
    root: Path | None = None,
    device: str = "auto",
    download: bool = True,
    listener: Listener = NOBODY,
    begun: Callable[[RunFolder], None] = _nothing,
) -> RunFolder:
    """Train a recipe.

    Args:
        name: what the run is called beside its time.
        runs: the folder in which the run folder is made.
        root: where catalogue data lives; None: the cache folder.
        device: auto, cpu, cuda or mps.
        download: False: take the data that is there, or say what is missing.
        begun: told of the run folder as soon as there is one.

    Raises:
        SpecError, SourceError, DownloadError: before a folder is made.
        RunError: the run folder can't be written to.
    """
    bench = _Bench.prepare(recipe, root, device, download, listener)
    way = bench.choose_way()
    folder = create_run(runs, name)
    begun(folder)
    with locked(folder.path):
        _write_down(folder, bench, way)
        listener.say(f"run folder: {folder.path}")
        _train(folder, bench, bench.training(way), listener)
    return folder


def resume_run(path: Path, *, root: Path | None = None, device: str = "auto", listener: Listener = NOBODY) -> RunFolder:
    """Go on with a run that was cut off, from the end of its last whole epoch.

    Raises:
        RunError: there is no such run, it has finished, another process works on it, or its data has changed.
    """
    folder = RunFolder.open(path)
    if folder.result() is not None:
        raise RunError("this run has finished", where=str(path), next_step="train the recipe again for another run")
    with locked(folder.path):
        bench = _Bench.prepare(folder.recipe(), root, device, True, listener)
        check_same_data(folder, bench.dataset)
        training = bench.training(folder.way())
        if (folder.path / "last.json").exists():
            resume(folder.path, training, listener.say)
        folder.forget_after(training.epoch)
        _train(folder, bench, training, listener)
    return folder


def open_test(path: Path, *, root: Path | None = None, device: str = "auto", listener: Listener = NOBODY) -> Result:
    """Open the test set of a finished run, write that down, and add the figures to the run.

    Raises:
        RunError: the run has not finished, or its data has no test part.
    """
    folder = RunFolder.open(path)
    result = folder.result()
    if result is None:
        step = f"finish it: cnnlab train --resume {path}"
        raise RunError("this run has not finished", where=str(path), next_step=step)
    recipe, target = folder.recipe(), choose_device(device)
    dataset = open_dataset(recipe.data, seed=recipe.train.seed, root=root, progress=listener.progress)
    check_same_data(folder, dataset)
    if "test" not in dataset.parts:
        step = "give data.test a share, and train again"
        raise RunError("this run's data has no test part", where=str(path), next_step=step)
    with locked(folder.path):
        network = trained_network(folder, target, listener.say)
        feed = _open_test_part(folder, dataset, target, "test command")
        tested = _final_score(folder, network, feed, dataset, "test")
        result = result.model_copy(update={"test": tested})
        folder.write("result.json", result.to_json(indent=2))
    return result


def trained_network(folder: RunFolder, device: torch.device, say: Callable[[str], None]) -> nn.Sequential:
    """A run's network with its selected weights, in eval mode.

    Raises:
        RunError: the weights are damaged or missing.
    """
    recipe, data = folder.recipe(), folder.data()
    form = data.preprocessing
    network = build(recipe.model.trace((form.channels, form.height, form.width), len(data.classes)))
    tensors, saved = load_weights(folder.path, "best", say)
    load_into(network, tensors, str(folder.path / saved.file))
    return network.to(device).eval()


@dataclass(frozen=True)
class _Bench:
    """A recipe with everything that training it needs, ready on the device."""

    recipe: Recipe
    dataset: Dataset
    trace: Trace
    network: nn.Sequential
    device: torch.device
    train: Feed
    validation: Feed | None

    @classmethod
    def prepare(cls, recipe: Recipe, root: Path | None, device: str, download: bool, listener: Listener) -> _Bench:
        target = choose_device(device)
        seed = recipe.train.seed
        dataset = open_dataset(recipe.data, seed=seed, root=root, download=download, progress=listener.progress)
        trace = recipe.model.trace(dataset.form.shape, len(dataset.classes))
        check_before_training(recipe, trace, dataset, target)
        network = build(trace)
        initialise(network, recipe.model.init, seed)
        train = _feed(dataset, "train", target)
        validation = _feed(dataset, "validation", target) if "validation" in dataset.parts else None
        return cls(recipe, dataset, trace, network.to(target), target, train, validation)

    def choose_way(self) -> Way:
        train = self.recipe.train
        images, labels = next(self.train.training(train.batch_size, train.seed, 0))
        return choose_way(train, self.network, images, labels)

    def training(self, way: Way) -> Training:
        self.train.memory_format = way.memory_format
        steps = self.train.steps(self.recipe.train.batch_size)
        return Training(self.network, self.recipe.train, self.recipe.data, way, self.device, steps)


def _write_down(folder: RunFolder, bench: _Bench, way: Way) -> None:
    """What is known before the first step; the recipe last, since a folder that has it counts as a run."""
    dataset, form = bench.dataset, bench.dataset.form
    preprocessing = Preprocessing(
        channels=form.channels,
        height=form.height,
        width=form.width,
        interpolation=form.interpolation,
        mean=dataset.mean,
        std=dataset.std,
    )
    data = DataRecord(
        source=dataset.name,
        classes=dataset.classes,
        parts={part: dataset.size(part) for part in dataset.parts},
        split_hash=dataset.split_hash,
        test_set=test_set_id(dataset) if "test" in dataset.parts else "",
        preprocessing=preprocessing,
    )
    table = overview(bench.trace)
    for name, record in (("data", data), ("layers", table), ("way", way), ("environment", environment(bench.device))):
        folder.write(f"{name}.json", record.to_json(indent=2))
    folder.write("recipe.toml", bench.recipe.to_toml())


def _train(folder: RunFolder, bench: _Bench, training: Training, listener: Listener) -> None:
    test: Callable[[], Feed] | None = None
    if bench.recipe.train.test == "curve" and "test" in bench.dataset.parts:
        pixels_once = cache(lambda: _feed(bench.dataset, "test", bench.device))

        def test() -> Feed:
            note_opening(folder.path.parent, folder.name, test_set_id(bench.dataset), "curve")
            return pixels_once()

    feeds = Feeds(bench.train, bench.validation, test, bench.dataset.classes)
    for record in fit(training, feeds, listener.watch):
        folder.append(record)
        if training.selected_epoch == record.epoch:
            save_weights(folder.path, training, record.epoch)
        if record.epoch == training.epoch:
            save_progress(folder.path, training)
        listener.point(record)
    _finish(folder, bench, training, listener)


def _finish(folder: RunFolder, bench: _Bench, training: Training, listener: Listener) -> None:
    """The final figures: of the selected weights, in eval mode, on un-augmented images."""
    scores: dict[Part, Score] = {}
    if not training.diverged:
        network = trained_network(folder, bench.device, listener.say)
        feeds: dict[Part, Feed | None] = {"train": bench.train, "validation": bench.validation}
        if bench.recipe.train.test != "sealed" and "test" in bench.dataset.parts:
            feeds["test"] = _open_test_part(folder, bench.dataset, bench.device, "end of the recipe")
        for part, feed in feeds.items():
            if feed is not None:
                listener.say(f"scoring the {part} part: {len(feed):,} images")
                scores[part] = _final_score(folder, network, feed, bench.dataset, part)
    records = folder.epochs()
    early = training.stopped and training.epoch < bench.recipe.train.epochs
    result = Result(
        run=folder.name,
        status="diverged" if training.diverged else "stopped early" if early else "finished",
        parameters=bench.trace.parameters,
        epochs=records[-1].epoch,
        selected_epoch=training.selected_epoch,
        train=scores.get("train"),
        validation=scores.get("validation"),
        test=scores.get("test"),
        seconds=training.seconds,
        images_per_second=sum(record.train.images for record in records) / training.seconds,
        message=_message(records[-1].epoch) if training.diverged else "",
    )
    folder.write("result.json", result.to_json(indent=2))


def _message(epoch: float) -> str:
    return f"the loss stopped being a number before the end of epoch {epoch:g}; a smaller learning rate may help"


def _final_score(folder: RunFolder, network: nn.Module, feed: Feed, dataset: Dataset, part: Part) -> Score:
    predictions = Predictions(feed.labels, logits(network, feed))
    folder.write_predictions(part, predictions)
    return score(predictions.logits, predictions.labels, dataset.classes)


def _open_test_part(folder: RunFolder, dataset: Dataset, device: torch.device, purpose: str) -> Feed:
    """The test part. That it is looked at is written down before it is read."""
    note_opening(folder.path.parent, folder.name, test_set_id(dataset), purpose)
    return _feed(dataset, "test", device)


def _feed(dataset: Dataset, part: Part, device: torch.device) -> Feed:
    return Feed(dataset.pixels(part), dataset.labels(part), dataset.mean, dataset.std, device)
