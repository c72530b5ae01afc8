"""The final figures of a run: of its selected weights, in eval mode, on un-augmented images.

The test part is opened here and nowhere else but for a curve; the ledger has the line before the first look.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.data.loader import Feed, Supply
from cnnlab.data.sources.base import Part
from cnnlab.distributed import ALONE, World
from cnnlab.errors import RunError, SourceError
from cnnlab.evaluation.logits import logits
from cnnlab.evaluation.metrics import score
from cnnlab.models.network_plan import plan_of_run
from cnnlab.records import ExampleRecord, Result, Score, Way
from cnnlab.runs.cached_features import Fed
from cnnlab.runs.callbacks import NOBODY, Listener
from cnnlab.runs.checks import check_same_data
from cnnlab.runs.environment import recipe_from_here
from cnnlab.runs.setup import Bench, Opener, feed_of
from cnnlab.runs.warnings import look_for_test_leaks
from cnnlab.storage.lock import locked
from cnnlab.storage.run_folder import Predictions, RunFolder
from cnnlab.storage.test_ledger import note_opening
from cnnlab.training.checkpoints import load_into, load_weights
from cnnlab.training.device import choose_device, whole_floats
from cnnlab.training.loop import Training
from cnnlab.training.precision import torch_format

# How the message of a run begins, or ends, whose test part was asked for and could not be read.
UNREAD = "the test part can't be read: "


@whole_floats()
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
        feed = open_test_part(folder, dataset, target, folder.way(), purpose)
        found = _predictions(network, feed)
        folder.write_predictions("test", found)
        tested = score(found.logits, found.labels, dataset.classes)
        message = result.message.partition(UNREAD)[0].removesuffix("; ")
        result = result.model_copy(update={"test": tested, "message": message})
        folder.write("result.json", result.to_json(indent=2))
        look_for_test_leaks(folder, dataset, listener.say)
    return result


def trained_network(folder: RunFolder, device: torch.device, say: Callable[[str], None]) -> nn.Module:
    """A run's network with its selected weights, in eval mode and in the memory format of its training.

    Raises:
        RunError: the weights are damaged or missing; for a finished run no others will do than those of its figures.
    """
    return selected_network(folder, device, say)[0]


def selected_network(folder: RunFolder, device: torch.device, say: Callable[[str], None]) -> tuple[nn.Module, float]:
    """The same, and the epoch that its weights are of; errors as there."""
    result = folder.result()
    return _selected(folder, device, say, result.selected_epoch if result else None)


def finish(folder: RunFolder, bench: Bench, training: Training, fed: Fed, listener: Listener) -> None:
    """The final figures: of the selected weights, in eval mode, on un-augmented images."""
    scores: dict[Part, Score] = {}
    selected, message = training.selected_epoch, ""
    if not training.diverged:
        # Where the selected weights are damaged, those before them are used, aloud: the figures say of which they are.
        network, selected = _selected_in_all(folder, bench, listener.say)
        found = training.selected_logits if selected == training.selected_epoch else None
        scores, message = _final_scores(folder, bench, network, fed, found, listener)
        training.diverged = not scores
    if training.average is not None and not training.average.count:
        never = "the training ended before an average began: these are its last weights"
        message = f"{never}; {message}" if message else never
    if not bench.world.writes:
        return
    _keep_example(folder, bench)
    records = folder.epochs()
    epochs = records[-1].epoch if records else float(training.epoch)
    early = training.stopped and training.epoch < bench.recipe.train.epochs
    images = sum(record.train.images for record in records)
    result = Result(
        run=folder.name,
        status="diverged" if training.diverged else "stopped early" if early else "finished",
        parameters=bench.plan.parameters,
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


def open_test_part(
    folder: RunFolder, dataset: Dataset, device: torch.device, way: Way, purpose: str, world: World = ALONE
) -> Feed:
    """The test part. That it is looked at is written down before it is read, unless it has no purpose of its own."""
    if world.writes and purpose:
        note_opening(folder.path.parent, folder.name, dataset.test_set_id(), purpose)
    with world.one_first():
        return feed_of(dataset, "test", device, way)


def _selected(
    folder: RunFolder, device: torch.device, say: Callable[[str], None], epoch: float | None = None
) -> tuple[nn.Module, float]:
    """The network with the best weights that are whole, or with those of `epoch`; and the epoch that they are of."""
    network = plan_of_run(folder).make(0, "cpu")  # every number of it is then replaced
    tensors, saved = load_weights(folder.path, "best", say, epoch)
    load_into(network, tensors, str(folder.path / saved.file))
    return network.to(device).to(memory_format=torch_format(folder.way())).eval(), saved.epoch


def _selected_in_all(folder: RunFolder, bench: Bench, say: Callable[[str], None]) -> tuple[nn.Module, float]:
    """The same in every process: the writer reads the weights, and the others have them from it."""
    world = bench.world
    if world.writes:
        network, epoch = _selected(folder, bench.device, say)
    else:
        network, epoch = bench.plan.make(0, "cpu").to(bench.device).eval(), 0.0
        network.to(memory_format=torch_format(bench.way))
    for tensor in network.state_dict().values() if world.size > 1 else ():
        tensor.copy_(world.from_writer(tensor.contiguous()))
    return network, float(world.told(repr(epoch)))


def _final_scores(
    folder: RunFolder,
    bench: Bench,
    network: nn.Module,
    fed: Fed,
    validated: npt.NDArray[np.float32] | None,
    listener: Listener,
) -> tuple[dict[Part, Score], str]:
    """A score for each part that may be looked at, and a word on what is odd.

    There is none, and the test part stays shut, for weights that diverged. Of the other parts kept features count where
    they are exact up to rounding; the test part's images go through the whole network.
    """
    scores: dict[Part, Score] = {}
    message = ""
    for part in bench.dataset.parts:
        if part == "test" and bench.recipe.train.test == "sealed":
            continue
        feed = {"train": bench.train, "validation": bench.validation}.get(part)
        if feed is None:
            try:
                feed = open_test_part(folder, bench.dataset, bench.device, bench.way, "end of the recipe", bench.world)
            except SourceError as error:  # what was trained is not lost for an image that can't be read
                message = f"{UNREAD}{error.problems[0]}"
                continue
        features = fed.scored(part)
        if (
            part == "validation"
            and validated is not None
            and fed.validation is (feed if features is None else features)
        ):
            found = Predictions(feed.labels, validated)
        else:
            listener.say(f"scoring the {part} part: {len(feed):,} images")
            if features is not None and fed.parting is not None:
                found = _predictions(fed.parting.rest(network).eval(), features, bench.world)
            else:
                found = _predictions(network, feed, bench.world)
        if bench.world.writes and (part != "train" or bench.recipe.train.predictions == "all"):
            folder.write_predictions(part, found)
        scores[part] = score(found.logits, found.labels, bench.dataset.classes)
        if part == "train" and not math.isfinite(scores[part].loss):
            return {}, ""
    guessing = math.log(len(bench.dataset.classes))
    if scores["train"].loss > 2 * guessing:
        worse = f"a training loss of {scores['train'].loss:.3g} is worse than guessing ({guessing:.2f}): lower the rate"
        message = f"{worse}; {message}" if message else worse
    return scores, message


def _keep_example(folder: RunFolder, bench: Bench) -> None:
    """Keep one image, never of the test part, so that the page shows activations where the data is not at hand."""
    part, feed = ("validation", bench.validation) if bench.validation is not None else ("train", bench.train)
    about = ExampleRecord(part=part, place=0, label=int(feed.labels[0]))
    folder.write_example(about, np.array(feed.pixels[0]))


def _diverged(epoch: float) -> str:
    return f"the loss stopped being a number before the end of epoch {epoch:g}; a smaller learning rate may help"


def _predictions(network: nn.Module, feed: Supply, world: World = ALONE) -> Predictions:
    return Predictions(feed.labels, logits(network, feed, world))
