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
from cnnlab.data.loader import ImageLoader
from cnnlab.distributed import ProcessGroup, ProcessLostError, init_process_group
from cnnlab.errors import RunError
from cnnlab.models.pretrained.source import copy_backbone_records, prefetch_weights
from cnnlab.records import DataRecord, Preprocessing
from cnnlab.runs.cached_features import TrainingInputs, feature_cache_messages
from cnnlab.runs.callbacks import NO_CALLBACKS, RunCallbacks, no_op
from cnnlab.runs.checks import explain_out_of_memory
from cnnlab.runs.environment import environment, relocate_recipe
from cnnlab.runs.final_evaluation import write_final_result
from cnnlab.runs.initial_weights import record_initial_weights
from cnnlab.runs.resolve_recipe import resolve_recipe
from cnnlab.runs.setup import DatasetFactory, TrainingSetup, make_image_loader
from cnnlab.runs.warnings import distributed_messages, log_warnings, table_with_warnings
from cnnlab.storage.lock import locked
from cnnlab.storage.run_folder import RunFolder, create_run
from cnnlab.storage.test_ledger import record_opening
from cnnlab.training.checkpoints import restore_training_state, save_training_state, save_weights
from cnnlab.training.device import choose_device, disable_tf32
from cnnlab.training.loop import SplitLoaders, TrainingState, fit


@disable_tf32()
def run(
    recipe: Recipe,
    *,
    name: str = "run",
    runs: Path = Path("runs"),
    root: Path | None = None,
    device: str = "auto",
    download: bool = True,
    callbacks: RunCallbacks = NO_CALLBACKS,
    on_run_start: Callable[[RunFolder], None] = no_op,
    folder_path: Path | None = None,
    dataset_factory: DatasetFactory = open_dataset,
) -> RunFolder:
    """Train a recipe.

    Where torchrun started several processes, each of them calls this; all return the folder, which one has written.

    Args:
        name: what the run is called beside its time.
        runs: the folder in which the run folder is made.
        root: where catalogue data lives; None: the cache folder.
        device: auto, cpu, cuda or mps.
        download: False: take the data that is there, or say what is missing.
        on_run_start: called with the run folder as soon as there is one.
        folder_path: the run folder itself, instead of a new one in `runs`; it holds no run yet.
        dataset_factory: opens the data; by default anew.

    Raises:
        SpecError, SourceError, DownloadError: before a folder is made; of a backbone's weights before data is read.
        RunError: the run folder can't be written to, the memory is full, or another process has ended.
    """
    target = choose_device(device)
    with _joined_processes(target) as world:
        callbacks = callbacks if world.is_main else NO_CALLBACKS
        recipe = resolve_recipe(recipe, root)
        with world.main_process_first():
            prefetch_weights(recipe.model.backbone, callbacks.log)
        with explain_out_of_memory(recipe.train.batch_size):
            shown, say = callbacks.progress, callbacks.log
            bench = TrainingSetup.prepare(
                recipe,
                root,
                target,
                download,
                shown,
                process_group=world,
                dataset_factory=dataset_factory,
                log=say,
                cache_features=True,
            )
        folder = RunFolder(
            Path(world.broadcast_str(str(create_run(runs, name, folder_path).path) if world.is_main else ""))
        )
        if world.is_main:
            on_run_start(folder)
        with _lock_if_main(folder, world, callbacks.log), explain_out_of_memory(recipe.train.batch_size, folder.path):
            training = bench.training()
            fed = bench.training_inputs(callbacks.progress)
            if world.is_main:
                _write_records(folder, bench, training, fed)
                _log_start(folder, bench, fed, callbacks.log)
            _train(folder, bench, training, fed, callbacks)
    return folder


@disable_tf32()
def resume_run(
    path: Path,
    *,
    root: Path | None = None,
    device: str = "auto",
    callbacks: RunCallbacks = NO_CALLBACKS,
    on_run_start: Callable[[RunFolder], None] = no_op,
    dataset_factory: DatasetFactory = open_dataset,
) -> RunFolder:
    """Go on with a run that was cut off, from the end of its last whole epoch.

    Args:
        on_run_start: called with the run folder once it is known that the run can go on.

    Raises:
        RunError: there is no such run, it has finished, another process works on it, its data has changed, or the
            memory is full.
    """
    folder, target = RunFolder.open(path), choose_device(device)
    with _joined_processes(target) as world, _lock_if_main(folder, world, callbacks.log):
        if world.is_main and folder.result() is not None:
            raise RunError("this run has finished", where=str(path), next_step="train the recipe again for another run")
        if world.is_main:
            on_run_start(folder)
        callbacks = callbacks if world.is_main else NO_CALLBACKS
        recipe = relocate_recipe(folder, root)
        with explain_out_of_memory(recipe.train.batch_size, folder.path):
            shown, say = callbacks.progress, callbacks.log
            bench = TrainingSetup.prepare(
                recipe,
                root,
                target,
                True,
                shown,
                folder,
                world,
                dataset_factory=dataset_factory,
                log=say,
                cache_features=True,
            )
            training = bench.training()
            if world.is_main and not folder.has_progress():
                record_initial_weights(folder, training.network)
            restore_training_state(folder.path, training, callbacks.log, is_main=world.is_main)
            if world.is_main:
                folder.truncate_after(training.epoch)
            callbacks.log(f"going on from the end of epoch {training.epoch}" if training.epoch else "beginning anew")
            _train(folder, bench, training, bench.training_inputs(callbacks.progress), callbacks)
    return folder


@contextmanager
def _joined_processes(device: torch.device) -> Iterator[ProcessGroup]:
    try:
        with init_process_group(device) as world:
            yield world
            world.barrier()
    except ProcessLostError as error:
        step = "see what it said of its end; nothing that was saved is lost"
        raise RunError(f"another process of this training has ended ({error})", next_step=step) from error


def _lock_if_main(
    folder: RunFolder, process_group: ProcessGroup, log: Callable[[str], None]
) -> AbstractContextManager[None]:
    """The writer holds the run folder; the other processes only read in it."""
    return locked(folder.path, log) if process_group.is_main else nullcontext()


def _log_start(folder: RunFolder, setup: TrainingSetup, inputs: TrainingInputs, log: Callable[[str], None]) -> None:
    log(f"run folder: {folder.path}")
    log(
        f"computing in {setup.precision_config.precision}, {setup.precision_config.memory_format} "
        f"({setup.precision_config.reason})"
    )
    for line in (*feature_cache_messages(inputs.record), *distributed_messages(setup)):
        log(line)
    log_warnings(folder.table().warnings, log)


def _write_records(folder: RunFolder, setup: TrainingSetup, training: TrainingState, inputs: TrainingInputs) -> None:
    """What is known before the first step; the recipe last, since a folder that has it counts as a run."""
    dataset, form = setup.dataset, setup.dataset.image_spec
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
        splits={part: dataset.num_images(part) for part in dataset.splits},
        split_hash=dataset.split_hash,
        test_set=dataset.test_set_id() if "test" in dataset.splits else "",
        content=dataset.content_digest,
        preprocessing=preprocessing,
    )
    made = environment(setup.device, setup.process_group.world_size)
    records = {
        "data": data,
        "layers": table_with_warnings(setup, training.train_model, inputs.train),
        "precision": setup.precision_config,
        "environment": made,
    }
    if setup.loaded_weights is not None:
        records["loaded"] = setup.loaded_weights
    if inputs.record is not None:
        records["features"] = inputs.record
    copy_backbone_records(setup.recipe.model.backbone, folder)
    for name, record in records.items():
        folder.write(f"{name}.json", record.to_json(indent=2))
    record_initial_weights(folder, training.network)
    folder.write("recipe.toml", setup.recipe.to_toml())


def _train(
    folder: RunFolder, setup: TrainingSetup, training: TrainingState, inputs: TrainingInputs, callbacks: RunCallbacks
) -> None:
    test: Callable[[], ImageLoader] | None = None
    if setup.recipe.train.test == "curve" and "test" in setup.dataset.splits:
        read_once = cache(lambda: make_image_loader(setup.dataset, "test", setup.device, setup.precision_config))

        def test() -> ImageLoader:
            if setup.process_group.is_main:
                record_opening(folder.path.parent, folder.name, setup.dataset.test_set_id(), "curve")
            with setup.process_group.main_process_first():
                return read_once()

    feeds = SplitLoaders(inputs.train, inputs.validation, test, setup.dataset.classes)
    for record in fit(training, feeds, callbacks.on_step):
        if not setup.process_group.is_main:
            continue
        folder.append(record)
        if training.selected_epoch == record.epoch:
            save_weights(folder.path, training, record.epoch)
        if record.epoch == training.epoch:
            save_training_state(folder.path, training)
        callbacks.on_validation(record)
    write_final_result(folder, setup, training, inputs, callbacks)
