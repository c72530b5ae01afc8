"""One run from end to end: a recipe in, a run folder out. The page to read first.

recipe → data → table → network → training, its best weights kept → final figures → run folder
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import nn

from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.data.feed import Feed
from cnnlab.data.source import Part, Progress, silent
from cnnlab.errors import RunError, SourceError
from cnnlab.evaluate.logits import logits
from cnnlab.evaluate.metrics import score
from cnnlab.model.build import build
from cnnlab.processes import ALONE, ProcessLostError, World, joined
from cnnlab.records import DataRecord, EpochRecord, Preprocessing, Result, Score, Way
from cnnlab.runs.bench import Bench, Opener, feed_of
from cnnlab.runs.checks import check_same_data
from cnnlab.runs.environment import environment, recipe_from_here
from cnnlab.runs.folder import Predictions, RunFolder, create_run
from cnnlab.runs.ledger import note_opening
from cnnlab.runs.locking import locked
from cnnlab.runs.memory import memory_watched
from cnnlab.runs.warnings import look_for_test_leaks, said_of_processes, table_with_warnings, tell
from cnnlab.spec.recipe import Recipe
from cnnlab.training.checkpoints import load_into, load_weights, resume, save_progress, save_weights
from cnnlab.training.loop import Feeds, Training, Watch, fit
from cnnlab.training.machine import choose_device
from cnnlab.training.way import torch_format


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
    into: Path | None = None,
    opener: Opener = open_dataset,
) -> RunFolder:
    """Train a recipe.

    Where torchrun started several processes, each of them calls this; all return the folder, which one has written.

    Args:
        name: what the run is called beside its time.
        runs: the folder in which the run folder is made.
        root: where catalogue data lives; None: the cache folder.
        device: auto, cpu, cuda or mps.
        download: False: take the data that is there, or say what is missing.
        begun: told of the run folder as soon as there is one.
        into: the run folder itself, instead of a new one in `runs`; it holds no run yet.
        opener: opens the data; by default anew.

    Raises:
        SpecError, SourceError, DownloadError: before a folder is made.
        RunError: the run folder can't be written to, the memory is full, or another process has ended.
    """
    target = choose_device(device)
    with _processes(target) as world:
        listener = listener if world.writes else NOBODY
        with memory_watched(recipe.train.batch_size):
            bench = Bench.prepare(recipe, root, target, download, listener.progress, world=world, opener=opener)
        folder = RunFolder(Path(world.told(str(create_run(runs, name, into).path) if world.writes else "")))
        if world.writes:
            begun(folder)
        with _held(folder, world, listener.say), memory_watched(recipe.train.batch_size, folder.path):
            if world.writes:
                _write_down(folder, bench)
                _introduce(folder, bench, listener.say)
            _train(folder, bench, bench.training(), listener)
    return folder


def resume_run(
    path: Path,
    *,
    root: Path | None = None,
    device: str = "auto",
    listener: Listener = NOBODY,
    begun: Callable[[RunFolder], None] = _nothing,
    opener: Opener = open_dataset,
) -> RunFolder:
    """Go on with a run that was cut off, from the end of its last whole epoch.

    Args:
        begun: told of the run folder once it is known that the run can go on.

    Raises:
        RunError: there is no such run, it has finished, another process works on it, its data has changed, or the
            memory is full.
    """
    folder, target = RunFolder.open(path), choose_device(device)
    with _processes(target) as world, _held(folder, world, listener.say):
        if world.writes and folder.result() is not None:
            raise RunError("this run has finished", where=str(path), next_step="train the recipe again for another run")
        if world.writes:
            begun(folder)
        listener = listener if world.writes else NOBODY
        recipe = recipe_from_here(folder, root)
        with memory_watched(recipe.train.batch_size, folder.path):
            bench = Bench.prepare(recipe, root, target, True, listener.progress, folder, world, opener=opener)
            training = bench.training()
            resume(folder.path, training, listener.say, writes=world.writes)
            if world.writes:
                folder.forget_after(training.epoch)
            listener.say(f"going on from the end of epoch {training.epoch}" if training.epoch else "beginning anew")
            _train(folder, bench, training, listener)
    return folder


@contextmanager
def _processes(device: torch.device) -> Iterator[World]:
    try:
        with joined(device) as world:
            yield world
            world.wait()
    except ProcessLostError as error:
        step = "see what it said of its end; nothing that was saved is lost"
        raise RunError(f"another process of this training has ended ({error})", next_step=step) from error


def _held(folder: RunFolder, world: World, say: Callable[[str], None]) -> AbstractContextManager[None]:
    """The writer holds the run folder; the other processes only read in it."""
    return locked(folder.path, say) if world.writes else nullcontext()


def _introduce(folder: RunFolder, bench: Bench, say: Callable[[str], None]) -> None:
    say(f"run folder: {folder.path}")
    say(f"computing in {bench.way.precision}, {bench.way.memory_format} ({bench.way.reason})")
    for line in said_of_processes(bench):
        say(line)
    tell(folder.table().warnings, say)


def open_test(
    path: Path,
    *,
    root: Path | None = None,
    device: str = "auto",
    listener: Listener = NOBODY,
    noted: bool = False,
    opener: Opener = open_dataset,
) -> Result:
    """Open the test set of a finished run, write that down, and add the figures to the run.

    Args:
        noted: True where the opening has been written down already, for several runs at once.

    Raises:
        RunError: the run has not finished, its data has no test part, or its weights are not those of its figures.
    """
    folder = RunFolder.open(path)
    with locked(folder.path, listener.say):
        result = folder.result()
        if result is None:
            step = f"finish it: cnnlab train --resume {path}"
            raise RunError("this run has not finished", where=str(path), next_step=step)
        recipe, target = recipe_from_here(folder, root), choose_device(device)
        dataset = opener(recipe.data, seed=recipe.train.seed, root=root, progress=listener.progress)
        check_same_data(folder, dataset)
        if "test" not in dataset.parts:
            step = "give data.test a share, and train again"
            raise RunError("this run's data has no test part", where=str(path), next_step=step)
        network = trained_network(folder, target, listener.say)
        purpose = "" if noted else "test command"
        feed = _open_test_part(folder, dataset, target, folder.way(), purpose)
        tested = _final_score(folder, network, feed, dataset, "test")
        result = result.model_copy(update={"test": tested})
        folder.write("result.json", result.to_json(indent=2))
        look_for_test_leaks(folder, dataset, listener.say)
    return result


def trained_network(folder: RunFolder, device: torch.device, say: Callable[[str], None]) -> nn.Sequential:
    """A run's network with its selected weights, in eval mode and in the memory format of its training.

    Raises:
        RunError: the weights are damaged or missing; for a finished run no others will do than those of its figures.
    """
    result = folder.result()
    return _selected(folder, device, say, result.selected_epoch if result else None)[0]


def _selected(
    folder: RunFolder, device: torch.device, say: Callable[[str], None], epoch: float | None = None
) -> tuple[nn.Sequential, float]:
    """The network with the best weights that are whole, or with those of `epoch`; and the epoch that they are of."""
    recipe, data = folder.recipe(), folder.data()
    form = data.preprocessing
    network = build(recipe.model.trace((form.channels, form.height, form.width), len(data.classes)))
    tensors, saved = load_weights(folder.path, "best", say, epoch)
    load_into(network, tensors, str(folder.path / saved.file))
    return network.to(device).to(memory_format=torch_format(folder.way())).eval(), saved.epoch


def _selected_in_all(folder: RunFolder, bench: Bench, say: Callable[[str], None]) -> tuple[nn.Sequential, float]:
    """The same in every process: the writer reads the weights, and the others have them from it."""
    world = bench.world
    if world.writes:
        network, epoch = _selected(folder, bench.device, say)
    else:
        network, epoch = build(bench.trace).to(bench.device).to(memory_format=torch_format(bench.way)).eval(), 0.0
    for tensor in network.state_dict().values() if world.size > 1 else ():
        tensor.copy_(world.from_writer(tensor.contiguous()))
    return network, float(world.told(repr(epoch)))


def _write_down(folder: RunFolder, bench: Bench) -> None:
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
        test_set=dataset.test_set_id() if "test" in dataset.parts else "",
        preprocessing=preprocessing,
    )
    made = environment(bench.device, bench.world.size)
    records = {"data": data, "layers": table_with_warnings(bench), "way": bench.way, "environment": made}
    for name, record in records.items():
        folder.write(f"{name}.json", record.to_json(indent=2))
    folder.write("recipe.toml", bench.recipe.to_toml())


def _train(folder: RunFolder, bench: Bench, training: Training, listener: Listener) -> None:
    test: Callable[[], Feed] | None = None
    if bench.recipe.train.test == "curve" and "test" in bench.dataset.parts:
        read_once = cache(lambda: feed_of(bench.dataset, "test", bench.device, bench.way))

        def test() -> Feed:
            if bench.world.writes:
                note_opening(folder.path.parent, folder.name, bench.dataset.test_set_id(), "curve")
            with bench.world.one_first():
                return read_once()

    feeds = Feeds(bench.train, bench.validation, test, bench.dataset.classes)
    for record in fit(training, feeds, listener.watch):
        if not bench.world.writes:
            continue
        folder.append(record)
        if training.selected_epoch == record.epoch:
            save_weights(folder.path, training, record.epoch)
        if record.epoch == training.epoch:
            save_progress(folder.path, training)
        listener.point(record)
    _finish(folder, bench, training, listener)


def _finish(folder: RunFolder, bench: Bench, training: Training, listener: Listener) -> None:
    """The final figures: of the selected weights, in eval mode, on un-augmented images."""
    scores: dict[Part, Score] = {}
    selected, message = training.selected_epoch, ""
    if not training.diverged:
        # Where the selected weights are damaged, those before them are used, aloud: the figures say of which they are.
        network, selected = _selected_in_all(folder, bench, listener.say)
        scores, message = _final_scores(folder, bench, network, listener)
        training.diverged = not scores
    if training.average is not None and not training.average.count:
        never = "the training ended before an average began: these are its last weights"
        message = f"{never}; {message}" if message else never
    if not bench.world.writes:
        return
    records = folder.epochs()
    epochs = records[-1].epoch if records else float(training.epoch)
    early = training.stopped and training.epoch < bench.recipe.train.epochs
    images = sum(record.train.images for record in records)
    result = Result(
        run=folder.name,
        status="diverged" if training.diverged else "stopped early" if early else "finished",
        parameters=bench.trace.parameters,
        epochs=epochs,
        selected_epoch=selected,
        train=scores.get("train"),
        validation=scores.get("validation"),
        test=scores.get("test"),
        seconds=training.seconds,
        images_per_second=images / training.seconds if training.seconds else 0.0,
        message=_diverged(epochs) if training.diverged else message,
    )
    folder.write("result.json", result.to_json(indent=2))
    if result.test is not None:
        look_for_test_leaks(folder, bench.dataset, listener.say)


def _final_scores(
    folder: RunFolder, bench: Bench, network: nn.Module, listener: Listener
) -> tuple[dict[Part, Score], str]:
    """A score for each part that may be looked at, and a word on what is odd.

    There is none, and the test part stays shut, for weights that diverged.
    """
    scores: dict[Part, Score] = {}
    message = ""
    for part in bench.dataset.parts:
        if part == "test" and bench.recipe.train.test == "sealed":
            continue
        feed = {"train": bench.train, "validation": bench.validation}.get(part)
        if feed is None:
            try:
                feed = _open_test_part(folder, bench.dataset, bench.device, bench.way, "end of the recipe", bench.world)
            except SourceError as error:  # what was trained is not lost for an image that can't be read
                message = f"the test part can't be read: {error.problems[0]}"
                continue
        listener.say(f"scoring the {part} part: {len(feed):,} images")
        scores[part] = _final_score(folder, network, feed, bench.dataset, part, bench.world)
        if part == "train" and not math.isfinite(scores[part].loss):
            return {}, ""
    guessing = math.log(len(bench.dataset.classes))
    if scores["train"].loss > 2 * guessing:
        worse = f"a training loss of {scores['train'].loss:.3g} is worse than guessing ({guessing:.2f}): lower the rate"
        message = f"{worse}; {message}" if message else worse
    return scores, message


def _diverged(epoch: float) -> str:
    return f"the loss stopped being a number before the end of epoch {epoch:g}; a smaller learning rate may help"


def _final_score(
    folder: RunFolder, network: nn.Module, feed: Feed, dataset: Dataset, part: Part, world: World = ALONE
) -> Score:
    predictions = Predictions(feed.labels, logits(network, feed, world))
    if world.writes:
        folder.write_predictions(part, predictions)
    return score(predictions.logits, predictions.labels, dataset.classes)


def _open_test_part(
    folder: RunFolder, dataset: Dataset, device: torch.device, way: Way, purpose: str, world: World = ALONE
) -> Feed:
    """The test part. That it is looked at is written down before it is read, unless it has no purpose of its own."""
    if world.writes and purpose:
        note_opening(folder.path.parent, folder.name, dataset.test_set_id(), purpose)
    with world.one_first():
        return feed_of(dataset, "test", device, way)
