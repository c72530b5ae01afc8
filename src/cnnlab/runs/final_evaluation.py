"""The final figures of a run: of its selected weights, in eval mode, on un-augmented images.

The test split is opened only here and for a test curve; each opening is recorded in the ledger first.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cnnlab.context import LOCAL, LogFn, RunContext
from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.data.loader import ImageLoader, Loader
from cnnlab.data.sources.base import Split
from cnnlab.distributed import SINGLE_PROCESS, ProcessGroup
from cnnlab.errors import RunError, SourceError, UsageError, comma_separated
from cnnlab.evaluation.logits import predict_logits
from cnnlab.evaluation.metrics import compute_score
from cnnlab.models.network_plan import plan_run_network
from cnnlab.records import ExampleRecord, PrecisionConfig, RunResult, Score
from cnnlab.runs.cached_features import TrainingInputs
from cnnlab.runs.checks import check_same_data
from cnnlab.runs.environment import relocate_recipe
from cnnlab.runs.setup import DatasetFactory, TrainingSetup, make_image_loader
from cnnlab.runs.warnings import check_test_leaks
from cnnlab.storage.checkpoints import load_network_state, load_weights
from cnnlab.storage.lock import locked
from cnnlab.storage.run_folder import Predictions, RunFolder
from cnnlab.storage.test_ledger import record_opening
from cnnlab.training.device import choose_device, disable_tf32
from cnnlab.training.loop import TrainingState
from cnnlab.training.precision import torch_memory_format

# The message of a run whose test split could not be read begins so.
TEST_UNREADABLE = "the test split can't be read: "
DIVERGED = "the loss stopped being a number before the end of epoch {:g}; a smaller learning rate may help"


@disable_tf32()
def open_test(
    path: Path,
    context: RunContext = LOCAL,
    *,
    already_recorded: bool = False,
    dataset_factory: DatasetFactory = open_dataset,
) -> RunResult:
    """Evaluate a finished run on its test set; the opening is recorded in the ledger, the figures in the run.

    Args:
        context: names the device and the data folder.
        already_recorded: True if the opening has been recorded already, for several runs at once.

    Raises:
        RunError: the run has not finished, its data has no test split, or its weights are not those of its figures.
    """
    folder, log = RunFolder.open(path), context.callbacks.log
    with locked(folder.path, log):
        result = folder.result()
        if result is None:
            step = f"finish it: cnnlab train --resume {path}"
            raise RunError("this run has not finished", where=str(path), next_step=step)
        recipe, target = relocate_recipe(folder, context.data_root), choose_device(context.device)
        dataset = dataset_factory(recipe.data, recipe.train.seed, context)
        check_same_data(folder, dataset)
        if "test" not in dataset.splits:
            step = "give data.test a share, and train again"
            raise RunError("this run's data has no test split", where=str(path), next_step=step)
        network = trained_network(folder, target, log)
        purpose = "" if already_recorded else "test command"
        loader = open_test_split(folder, dataset, target, folder.precision_config(), purpose)
        predictions = _predict(network, loader)
        folder.write_predictions("test", predictions)
        score = compute_score(predictions.logits, predictions.labels, dataset.classes)
        message = re.split(r"the test (?:split|part) can't be read: ", result.message)[0].removesuffix("; ")
        result = result.model_copy(update={"test": score, "message": message})
        folder.write("result.json", result.to_json(indent=2))
        check_test_leaks(folder, dataset, log)
    return result


def trained_network(folder: RunFolder, device: torch.device, log: LogFn) -> nn.Module:
    """Load a run's network with its selected weights, in eval mode and in the memory format of its training.

    Raises:
        RunError: the weights are damaged or missing; for a finished run, those of its figures are.
    """
    return selected_network(folder, device, log)[0]


def selected_network(folder: RunFolder, device: torch.device, log: LogFn) -> tuple[nn.Module, float]:
    """Load the network as `trained_network`, and the epoch of its weights.

    While a run has no figures, its newest undamaged best weights are loaded.
    """
    network, result = plan_run_network(folder).build(0, "cpu"), folder.result()  # all its weights are then replaced
    tensors, saved = load_weights(folder.path, "best", log, result.selected_epoch if result else None)
    load_network_state(network, tensors, str(folder.path / saved.file))
    return network.to(device).to(memory_format=torch_memory_format(folder.precision_config())).eval(), saved.epoch


def write_final_result(
    folder: RunFolder, setup: TrainingSetup, training: TrainingState, inputs: TrainingInputs, log: LogFn
) -> None:
    """Evaluate the selected weights, in eval mode, on un-augmented images, and write result.json."""
    scores: dict[Split, Score] = {}
    selected, message = training.selected_epoch, ""
    if not training.diverged:
        # If the selected weights are damaged those before them are used, with a warning; `selected` is their epoch.
        network, selected = _load_selected_everywhere(folder, setup, log)
        logits = training.selected_logits if selected == training.selected_epoch else None
        scores, message = _final_scores(folder, setup, network, inputs, logits, log)
        training.diverged = not scores
    if training.average is not None and not training.average.num_averaged:
        no_average = "the training ended before an average began: these are its last weights"
        message = f"{no_average}; {message}" if message else no_average
    if not setup.process_group.is_main:
        return
    _save_example(folder, setup)
    records = folder.epochs()
    epochs = records[-1].epoch if records else float(training.epoch)
    images = sum(record.train.images for record in records)
    ended: Literal["finished", "stopped early", "budget spent"] = "finished"
    if training.stopped and training.epoch < setup.recipe.train.epochs:
        spent = setup.recipe.train.budget.is_exhausted(images, training.seconds)
        ended = "budget spent" if spent else "stopped early"
    result = RunResult(
        run=folder.name,
        status="diverged" if training.diverged else ended,
        parameters=setup.plan.parameters,
        epochs=epochs,
        selected_epoch=selected,
        train=scores.get("train"),
        validation=scores.get("validation"),
        test=scores.get("test"),
        seconds=training.seconds,
        images_per_second=images / training.seconds if training.seconds else 0.0,
        message=DIVERGED.format(epochs) if training.diverged else message,
    )
    folder.write("result.json", result.to_json(indent=2))
    if result.test is not None:
        check_test_leaks(folder, setup.dataset, log)


def open_split(
    dataset: Dataset,
    split: str,
    device: torch.device,
    precision_config: PrecisionConfig,
    folder: RunFolder | None,
    purpose: str,
) -> ImageLoader:
    """Load the images of a split; an opening of the test split is recorded first.

    Args:
        folder: the run in whose ledger an opening is recorded; without one the test split can't be opened.
        purpose: of an opening, for the ledger.

    Raises:
        UsageError: the data has no such split, or the test split is opened without a run.
    """
    known = next((name for name in dataset.splits if name == split), None)
    if known is None:
        allowed = comma_separated(dataset.splits)
        raise UsageError("the data has no such split", where="--split", received=split, allowed=allowed)
    if known != "test":
        return make_image_loader(dataset, known, device, precision_config)
    if folder is None:
        step = "use the train or the validation split, or train it first"
        raise UsageError("the test split is opened for a run only, whose ledger records it", next_step=step)
    return open_test_split(folder, dataset, device, precision_config, purpose)


def open_test_split(
    folder: RunFolder,
    dataset: Dataset,
    device: torch.device,
    precision_config: PrecisionConfig,
    purpose: str,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> ImageLoader:
    """Open the test split. The opening is recorded in the ledger before it is read, unless `purpose` is empty."""
    if process_group.is_main and purpose:
        record_opening(folder.path.parent, folder.name, dataset.test_set_id(), purpose)
    with process_group.main_process_first():
        return make_image_loader(dataset, "test", device, precision_config)


def _load_selected_everywhere(folder: RunFolder, setup: TrainingSetup, log: LogFn) -> tuple[nn.Module, float]:
    """Load the selected network in every process: the main process reads the weights and broadcasts them."""
    process_group = setup.process_group
    if process_group.is_main:
        network, epoch = selected_network(folder, setup.device, log)
    else:
        network, epoch = setup.plan.build(0, "cpu").to(setup.device).eval(), 0.0
        network.to(memory_format=torch_memory_format(setup.precision_config))
    for tensor in network.state_dict().values() if process_group.world_size > 1 else ():
        tensor.copy_(process_group.broadcast(tensor.contiguous()))
    return network, float(process_group.broadcast_str(repr(epoch)))


def _final_scores(
    folder: RunFolder,
    setup: TrainingSetup,
    network: nn.Module,
    inputs: TrainingInputs,
    validation_logits: npt.NDArray[np.float32] | None,
    log: LogFn,
) -> tuple[dict[Split, Score], str]:
    """Score each split but a sealed test split; and a message on what is wrong, or "".

    There are no scores for weights that diverged. Cached features are used for the train and validation splits if
    they are exact up to rounding; the test split's images go through the whole network.

    Args:
        validation_logits: of this network, N×K; None: compute them.
    """
    scores: dict[Split, Score] = {}
    message = ""
    for split in setup.dataset.splits:
        if split == "test" and setup.recipe.train.test == "sealed":
            continue
        loader = {"train": setup.train_loader, "validation": setup.validation_loader}.get(split)
        if loader is None:
            purpose = "end of the recipe"
            try:
                loader = open_test_split(
                    folder, setup.dataset, setup.device, setup.precision_config, purpose, setup.process_group
                )
            except SourceError as error:  # an image that can't be read does not end the run
                message = f"{TEST_UNREADABLE}{error.problems[0]}"
                continue
        features = inputs.eval_loader(split)
        final_loader = loader if features is None else features
        if split == "validation" and validation_logits is not None and final_loader is inputs.validation:
            predictions = Predictions(loader.labels, validation_logits)
        else:
            log(f"scoring the {split} split: {len(loader):,} images")
            model = network
            if features is not None and inputs.model_split is not None:
                model = inputs.model_split.trainable_tail(network).eval()
            predictions = _predict(model, final_loader, setup.process_group)
        if setup.process_group.is_main and (split != "train" or setup.recipe.train.predictions == "all"):
            folder.write_predictions(split, predictions)
        scores[split] = compute_score(predictions.logits, predictions.labels, setup.dataset.classes)
        if split == "train" and not math.isfinite(scores[split].loss):
            return {}, ""
    guessing = math.log(len(setup.dataset.classes))
    if scores["train"].loss > 2 * guessing:
        worse = f"a training loss of {scores['train'].loss:.3g} is worse than guessing ({guessing:.2f}): lower the rate"
        message = f"{worse}; {message}" if message else worse
    return scores, message


def _save_example(folder: RunFolder, setup: TrainingSetup) -> None:
    """Save one image, never of the test split, so that the report can show activations without the data."""
    split, loader = "validation", setup.validation_loader
    if loader is None:
        split, loader = "train", setup.train_loader
    about = ExampleRecord(split=split, place=0, label=int(loader.labels[0]))
    folder.write_example(about, np.array(loader.pixels[0]))


def _predict(network: nn.Module, loader: Loader, process_group: ProcessGroup = SINGLE_PROCESS) -> Predictions:
    return Predictions(loader.labels, predict_logits(network, loader, process_group))
