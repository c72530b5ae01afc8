"""One run from end to end: a recipe in, a run folder out. The page to read first.

recipe → data → table → network → training, its best weights kept → final figures → run folder
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path

import torch

from cnnlab.config.recipe import Recipe
from cnnlab.data.dataset import open_dataset
from cnnlab.data.loader import Feed
from cnnlab.distributed import ProcessLostError, World, joined
from cnnlab.errors import RunError
from cnnlab.models.pretrained.source import fetch_ahead, keep_run_behind
from cnnlab.records import DataRecord, Preprocessing
from cnnlab.runs.cached_features import Fed, said_of_features
from cnnlab.runs.callbacks import NOBODY, Listener, nothing
from cnnlab.runs.checks import memory_watched
from cnnlab.runs.environment import environment, recipe_from_here
from cnnlab.runs.final_evaluation import finish
from cnnlab.runs.initial_weights import note_start
from cnnlab.runs.resolve_recipe import resolve
from cnnlab.runs.setup import Bench, Opener, feed_of
from cnnlab.runs.warnings import said_of_processes, table_with_warnings, tell
from cnnlab.storage.lock import locked
from cnnlab.storage.run_folder import RunFolder, create_run
from cnnlab.storage.test_ledger import note_opening
from cnnlab.training.checkpoints import resume, save_progress, save_weights
from cnnlab.training.device import choose_device, whole_floats
from cnnlab.training.loop import Feeds, Training, fit


@whole_floats()
def run(
    recipe: Recipe,
    *,
    name: str = "run",
    runs: Path = Path("runs"),
    root: Path | None = None,
    device: str = "auto",
    download: bool = True,
    listener: Listener = NOBODY,
    begun: Callable[[RunFolder], None] = nothing,
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
        SpecError, SourceError, DownloadError: before a folder is made; of a backbone's weights before data is read.
        RunError: the run folder can't be written to, the memory is full, or another process has ended.
    """
    target = choose_device(device)
    with _processes(target) as world:
        listener = listener if world.writes else NOBODY
        recipe = resolve(recipe, root)
        with world.one_first():
            fetch_ahead(recipe.model.backbone, listener.say)
        with memory_watched(recipe.train.batch_size):
            shown, say = listener.progress, listener.say
            bench = Bench.prepare(
                recipe, root, target, download, shown, world=world, opener=opener, say=say, keeps=True
            )
        folder = RunFolder(Path(world.told(str(create_run(runs, name, into).path) if world.writes else "")))
        if world.writes:
            begun(folder)
        with _held(folder, world, listener.say), memory_watched(recipe.train.batch_size, folder.path):
            training = bench.training()
            fed = bench.fed(listener.progress)
            if world.writes:
                _write_down(folder, bench, training, fed)
                _introduce(folder, bench, fed, listener.say)
            _train(folder, bench, training, fed, listener)
    return folder


@whole_floats()
def resume_run(
    path: Path,
    *,
    root: Path | None = None,
    device: str = "auto",
    listener: Listener = NOBODY,
    begun: Callable[[RunFolder], None] = nothing,
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
            shown, say = listener.progress, listener.say
            bench = Bench.prepare(recipe, root, target, True, shown, folder, world, opener=opener, say=say, keeps=True)
            training = bench.training()
            if world.writes and not folder.has_progress():
                note_start(folder, training.network)
            resume(folder.path, training, listener.say, writes=world.writes)
            if world.writes:
                folder.forget_after(training.epoch)
            listener.say(f"going on from the end of epoch {training.epoch}" if training.epoch else "beginning anew")
            _train(folder, bench, training, bench.fed(listener.progress), listener)
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


def _introduce(folder: RunFolder, bench: Bench, fed: Fed, say: Callable[[str], None]) -> None:
    say(f"run folder: {folder.path}")
    say(f"computing in {bench.way.precision}, {bench.way.memory_format} ({bench.way.reason})")
    for line in (*said_of_features(fed.record), *said_of_processes(bench)):
        say(line)
    tell(folder.table().warnings, say)


def _write_down(folder: RunFolder, bench: Bench, training: Training, fed: Fed) -> None:
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
        content=dataset.content_digest,
        preprocessing=preprocessing,
    )
    made = environment(bench.device, bench.world.size)
    records = {
        "data": data,
        "layers": table_with_warnings(bench, training.fed, fed.train),
        "way": bench.way,
        "environment": made,
    }
    if bench.loaded is not None:
        records["loaded"] = bench.loaded
    if fed.record is not None:
        records["features"] = fed.record
    keep_run_behind(bench.recipe.model.backbone, folder)
    for name, record in records.items():
        folder.write(f"{name}.json", record.to_json(indent=2))
    note_start(folder, training.network)
    folder.write("recipe.toml", bench.recipe.to_toml())


def _train(folder: RunFolder, bench: Bench, training: Training, fed: Fed, listener: Listener) -> None:
    test: Callable[[], Feed] | None = None
    if bench.recipe.train.test == "curve" and "test" in bench.dataset.parts:
        read_once = cache(lambda: feed_of(bench.dataset, "test", bench.device, bench.way))

        def test() -> Feed:
            if bench.world.writes:
                note_opening(folder.path.parent, folder.name, bench.dataset.test_set_id(), "curve")
            with bench.world.one_first():
                return read_once()

    feeds = Feeds(fed.train, fed.validation, test, bench.dataset.classes)
    for record in fit(training, feeds, listener.watch):
        if not bench.world.writes:
            continue
        folder.append(record)
        if training.selected_epoch == record.epoch:
            save_weights(folder.path, training, record.epoch)
        if record.epoch == training.epoch:
            save_progress(folder.path, training)
        listener.point(record)
    finish(folder, bench, training, fed, listener)
