"""One run from recipe to run folder. Read this module first.

recipe → data → table → network → training, its best weights saved → final figures → run folder
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path

from cnnlab.config.recipe import Recipe
from cnnlab.context import LOCAL, NO_CALLBACKS, Callbacks, LogFn, RunContext
from cnnlab.data.dataset import open_dataset
from cnnlab.data.loader import ImageLoader
from cnnlab.distributed import ProcessLostError, init_process_group
from cnnlab.errors import RunError
from cnnlab.models.pretrained.source import copy_backbone_records, prefetch_weights
from cnnlab.records import DataRecord, Preprocessing, Provenance
from cnnlab.runs.cached_features import TrainingInputs, feature_cache_message
from cnnlab.runs.checks import explain_out_of_memory
from cnnlab.runs.environment import environment, relocate_recipe
from cnnlab.runs.final_evaluation import write_final_result
from cnnlab.runs.initial_weights import record_initial_weights
from cnnlab.runs.provenance import make_provenance
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
    context: RunContext = LOCAL,
    *,
    name: str = "run",
    file: Path | None = None,
    folder_path: Path | None = None,
    dataset_factory: DatasetFactory = open_dataset,
) -> RunFolder:
    """Train a recipe.

    Under torchrun every process calls this; the main one writes the folder, and all return it.

    Args:
        context: names the runs folder, the data folder and the device.
        name: the name of the run, beside its time.
        file: that the recipe was read from.
        folder_path: the run folder, instead of a new one in the runs folder; it must not hold a run.
        dataset_factory: opens the data.

    Raises:
        SpecError, SourceError, DownloadError: before a folder is made; for a backbone's weights, before data is read.
        RunError: the run folder can't be written to, the memory is full, or another process has ended.
    """
    with _joined_processes(context) as joined:
        group, callbacks = joined.process_group, joined.callbacks
        provenance = make_provenance(recipe, name, file)
        recipe = resolve_recipe(recipe, joined.data_root)
        with group.main_process_first():
            prefetch_weights(recipe.model.backbone, callbacks.log)
        with explain_out_of_memory(recipe.train.batch_size):
            setup = TrainingSetup.prepare(recipe, joined, dataset_factory=dataset_factory, cache_features=True)
        path = str(create_run(joined.runs, name, folder_path).path) if group.is_main else ""
        folder = RunFolder(Path(group.broadcast_str(path)))
        callbacks.on_run_start(folder)
        with _lock_if_main(folder, joined), explain_out_of_memory(recipe.train.batch_size, folder.path):
            training = setup.training()
            inputs = setup.training_inputs(callbacks.progress)
            if group.is_main:
                _write_records(folder, setup, training, inputs, provenance)
                _log_start(folder, setup, inputs, callbacks.log)
            _train(folder, setup, training, inputs, callbacks)
    return folder


@disable_tf32()
def resume_run(path: Path, context: RunContext = LOCAL, *, dataset_factory: DatasetFactory = open_dataset) -> RunFolder:
    """Resume a run that was interrupted, from the end of its last whole epoch.

    Args and errors are those of `run`, and:

    Raises:
        RunError: there is no such run, it has finished, another process works on it, or its data has changed.
    """
    folder = RunFolder.open(path)
    with _joined_processes(context) as joined, _lock_if_main(folder, joined):
        group, callbacks = joined.process_group, joined.callbacks
        if group.is_main and folder.result() is not None:
            raise RunError("this run has finished", where=str(path), next_step="train the recipe again for another run")
        callbacks.on_run_start(folder)
        recipe = relocate_recipe(folder, joined.data_root)
        with explain_out_of_memory(recipe.train.batch_size, folder.path):
            setup = TrainingSetup.prepare(recipe, joined, folder, dataset_factory=dataset_factory, cache_features=True)
            training = setup.training()
            if group.is_main and not folder.has_progress():
                record_initial_weights(folder, training.network)
            restore_training_state(folder.path, training, callbacks.log, is_main=group.is_main)
            if group.is_main:
                folder.truncate_after(training.epoch)
            start = f"continuing from the end of epoch {training.epoch}" if training.epoch else "starting again"
            callbacks.log(start)
            _train(folder, setup, training, setup.training_inputs(callbacks.progress), callbacks)
    return folder


@contextmanager
def _joined_processes(context: RunContext) -> Iterator[RunContext]:
    """Connect the processes that torchrun started; only the main one keeps its callbacks."""
    try:
        with init_process_group(choose_device(context.device)) as group:
            callbacks = context.callbacks if group.is_main else NO_CALLBACKS
            yield replace(context, process_group=group, callbacks=callbacks)
            group.barrier()
    except ProcessLostError as error:
        step = "see the message of that process; nothing that was saved is lost"
        raise RunError(f"another process of this training has ended ({error})", next_step=step) from error


def _lock_if_main(folder: RunFolder, context: RunContext) -> AbstractContextManager[None]:
    """Lock the run folder in the main process; the others only read it."""
    return locked(folder.path, context.callbacks.log) if context.process_group.is_main else nullcontext()


def _log_start(folder: RunFolder, setup: TrainingSetup, inputs: TrainingInputs, log: LogFn) -> None:
    log(f"run folder: {folder.path}")
    log(
        f"computing in {setup.precision_config.precision}, {setup.precision_config.memory_format} "
        f"({setup.precision_config.reason})"
    )
    if inputs.record is not None:
        log(feature_cache_message(inputs.record))
    for line in distributed_messages(setup):
        log(line)
    log_warnings(folder.table().warnings, log)


def _write_records(
    folder: RunFolder, setup: TrainingSetup, training: TrainingState, inputs: TrainingInputs, provenance: Provenance
) -> None:
    """Write what is known before the first step; the recipe last, since a folder with a recipe counts as a run."""
    dataset, image_spec = setup.dataset, setup.dataset.image_spec
    preprocessing = Preprocessing(
        channels=image_spec.channels,
        height=image_spec.height,
        width=image_spec.width,
        interpolation=image_spec.interpolation,
        fit=image_spec.fit,
        mean=dataset.mean,
        std=dataset.std,
    )
    data = DataRecord(
        source=dataset.name,
        classes=dataset.classes,
        splits={split: dataset.num_images(split) for split in dataset.splits},
        split_hash=dataset.split_hash,
        test_set=dataset.test_set_id() if "test" in dataset.splits else "",
        content=dataset.content_digest,
        preprocessing=preprocessing,
    )
    records = {
        "provenance": provenance,
        "data": data,
        "layers": table_with_warnings(setup, training.train_model, inputs.train),
        "precision": setup.precision_config,
        "environment": environment(setup.device, setup.process_group.world_size),
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
    folder: RunFolder, setup: TrainingSetup, training: TrainingState, inputs: TrainingInputs, callbacks: Callbacks
) -> None:
    test: Callable[[], ImageLoader] | None = None
    if setup.recipe.train.test == "curve" and "test" in setup.dataset.splits:
        read_once = cache(lambda: make_image_loader(setup.dataset, "test", setup.device, setup.precision_config))

        def test() -> ImageLoader:
            if setup.process_group.is_main:
                record_opening(folder.path.parent, folder.name, setup.dataset.test_set_id(), "curve")
            with setup.process_group.main_process_first():
                return read_once()

    loaders = SplitLoaders(inputs.train, inputs.validation, test, setup.dataset.classes)
    for record in fit(training, loaders, callbacks.on_step):
        if not setup.process_group.is_main:
            continue
        folder.append(record)
        if training.selected_epoch == record.epoch:
            save_weights(folder.path, training, record.epoch)
        if record.epoch == training.epoch:
            save_training_state(folder.path, training)
        callbacks.on_validation(record)
    write_final_result(folder, setup, training, inputs, callbacks.log)
