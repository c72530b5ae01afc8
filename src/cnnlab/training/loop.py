"""The training loop: a generator of the points of the learning curve."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cnnlab.config.image_changes import NoMixing
from cnnlab.config.optimizers import NoAveraging
from cnnlab.config.recipe import Data, Train
from cnnlab.config.stopping import EarlyStoppingConfig, TimeBudget
from cnnlab.context import StepCallback
from cnnlab.data.loader import Batch, ImageLoader, Loader, balanced_indices, full_range
from cnnlab.distributed import SINGLE_PROCESS, ProcessGroup
from cnnlab.evaluation.logits import predict_logits
from cnnlab.evaluation.metrics import compute_score
from cnnlab.models.model_split import ModelSplit
from cnnlab.models.train_mode import set_epoch
from cnnlab.randomness import generator
from cnnlab.records import EpochRecord, PrecisionConfig, Score, StepMeans
from cnnlab.torch_rng import fork_rng, manual_seed_torch
from cnnlab.training.averaging import WeightAverage
from cnnlab.training.distributed_model import DistributedModel, convert_sync_batchnorm
from cnnlab.training.early_stopping import EarlyStopping
from cnnlab.training.losses import Loss, TotalWeight, loss_function
from cnnlab.training.mixing import MixedBatch, mix_batch
from cnnlab.training.optimizers.factory import build_optimizer
from cnnlab.training.precision import autocast, torch_memory_format
from cnnlab.training.running_metrics import RunningMetrics
from cnnlab.training.schedules import LRScheduler


@dataclass(frozen=True)
class StepBatches:
    """The batches of one optimizer step; each is loaded when it is needed.

    Attributes:
        sizes: the number of images of each batch in all processes.
        batches: this process's shards of them.
    """

    sizes: Sequence[int]
    batches: Iterator[Batch]


@dataclass
class TrainingState:
    """The state of a training, with all that is needed to resume it.

    Attributes:
        model_split: where the network is split, if it is trained on cached features; evaluation may still use images.
        train_model: the part of the network that takes the training batches.
        budget_used: the used fraction of the recipe's budget, for schedules.
        selected_logits: logits of the selected weights on the validation split, N×K; None without one, and if they were
            selected before the training was resumed.
    """

    network: nn.Module
    train: Train
    data: Data
    precision_config: PrecisionConfig
    device: torch.device
    batches_per_epoch: int
    process_group: ProcessGroup = SINGLE_PROCESS
    model_split: ModelSplit | None = None
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    budget_used: float = 0.0
    selected_epoch: float = 0.0
    selected_logits: npt.NDArray[np.float32] | None = None
    stopped: bool = False
    diverged: bool = False
    best_tracker: EarlyStopping = field(init=False)
    early_stopping: EarlyStopping | None = field(init=False, default=None)
    average: WeightAverage | None = field(init=False, default=None)
    distributed_model: DistributedModel = field(init=False)
    train_model: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.network.to(self.device).to(memory_format=torch_memory_format(self.precision_config))
        if self.train.sync_batchnorm:
            convert_sync_batchnorm(self.network, self.process_group)
        self.optimizer = build_optimizer(
            self.train.optimizer, self.network, self.train.decay, self.train.rates, self.train.rate_by_depth
        )
        set_epoch(self.network, 0)
        self.train_model = self._make_train_model(self.network)
        self.distributed_model = DistributedModel(self.network, self.process_group, self.train_model)
        self.schedule = LRScheduler(self.train.schedule, self.train.epochs * self.steps_per_epoch, self.steps_per_epoch)
        if not isinstance(self.train.average, NoAveraging):
            self.average = WeightAverage(self.train.average, self.network, self._make_train_model)
        self.best_tracker = EarlyStopping(self.train.choose)
        if isinstance(self.train.stop, EarlyStoppingConfig):
            self.early_stopping = EarlyStopping(self.train.stop.metric, self.train.stop.min_change)

    def begin_epoch(self) -> None:
        """Unfreeze the layers scheduled for this epoch."""
        if set_epoch(self.network, self.epoch):
            self.distributed_model = DistributedModel(self.network, self.process_group, self.train_model)
            if self.average is not None:
                self.average.begin_epoch(self.epoch)

    @property
    def steps_per_epoch(self) -> int:
        """The number of optimizer steps per epoch: one per `accumulate` batches."""
        return -(-self.batches_per_epoch // self.train.accumulate)

    @property
    def eval_model(self) -> nn.Module:
        """The network to evaluate: the weight average once it has begun, else the network."""
        return self.average.network if self.average is not None and self.average.num_averaged else self.network

    def eval_model_for(self, loader: Loader) -> nn.Module:
        """Return the network to evaluate on the loader's images, or its trainable tail for features."""
        if isinstance(loader, ImageLoader) or self.model_split is None:
            return self.eval_model
        return self.average.train_model if self.average is not None and self.average.num_averaged else self.train_model

    def _make_train_model(self, network: nn.Module) -> nn.Module:
        return network if self.model_split is None else self.model_split.trainable_tail(network)

    @property
    def done(self) -> bool:
        """Whether nothing is left to train."""
        return self.stopped or self.diverged or self.epoch >= self.train.epochs


@dataclass(frozen=True)
class SplitLoaders:
    """The splits that a training reads. `test` is set only for a test curve; nothing is selected by it."""

    train: Loader
    validation: Loader | None
    test: Callable[[], Loader] | None
    classes: tuple[str, ...]


def fit(state: TrainingState, loaders: SplitLoaders, on_step: StepCallback) -> Iterator[EpochRecord]:
    """Train until the last epoch, early stopping or divergence.

    Yields:
        A record after each validation. Until the next one, `state` is consistent with the record: its weights are the
        selected ones if `state.selected_epoch` is the record's epoch, and `state.epoch` counts whole epochs.
    """
    loss = loss_function(state.train.loss, loaders.train.labels, len(loaders.classes), state.device)
    while not state.done:
        yield from _train_epoch(state, loaders, loss, on_step)


def _train_epoch(
    state: TrainingState, loaders: SplitLoaders, loss: Loss, on_step: StepCallback
) -> Iterator[EpochRecord]:
    state.begin_epoch()
    train, steps = state.train, state.steps_per_epoch
    validations = train.validations_per_epoch
    ends = {math.ceil(steps * index / validations) for index in range(1, validations + 1)}
    process_group = state.process_group
    images_seen, total = state.epoch * len(loaders.train), train.epochs * len(loaders.train)
    metrics = RunningMetrics(state.device)
    _update_budget(state, images_seen, 0.0)
    began = time.perf_counter()
    for number, batches in enumerate(epoch_batches(state, loaders.train), start=1):
        with fork_rng():
            train_step(state, batches, loss, metrics)
        images_seen += sum(batches.sizes)
        on_step(images_seen, total, metrics.poll())
        exhausted = _update_budget(state, images_seen, time.perf_counter() - began)
        if number not in ends and not exhausted:
            continue
        means = metrics.compute(process_group)
        position = state.epoch + number / steps
        if number == steps:
            state.epoch += 1
            _average_epoch(state, loaders)
        elapsed_s = time.perf_counter() - began
        state.seconds += elapsed_s
        record = _validate(state, loaders, means, position, elapsed_s)
        state.stopped = state.stopped or exhausted  # set before the record is yielded, since the state is saved with it
        yield record
        if state.stopped or state.diverged:
            return
        metrics = RunningMetrics(state.device)
        began = time.perf_counter()


def _average_epoch(state: TrainingState, loaders: SplitLoaders) -> None:
    if state.average is not None:
        progress = max(state.epoch / state.train.epochs, state.budget_used)
        state.average.after_epoch(state.network, progress, _unaugmented_batches(state, loaders))


def _unaugmented_batches(state: TrainingState, loaders: SplitLoaders) -> Iterator[Batch]:
    """Yield the training split without augmentation; lazy, since cached features may lack that view."""
    yield from loaders.train.eval_batches(state.train.batch_size)


def _update_budget(state: TrainingState, images: int, seconds: float) -> bool:
    """Update the used fraction of the budget; return whether it is exhausted."""
    used: float = state.train.budget.fraction_used(images, state.seconds + seconds)
    if isinstance(state.train.budget, TimeBudget):
        used = float(state.process_group.broadcast_str(repr(used)))  # the processes' clocks differ
    state.budget_used = used
    return used >= 1


def epoch_batches(state: TrainingState, loader: Loader) -> Iterator[StepBatches]:
    """Yield the batches of the current epoch in training order, grouped by optimizer step."""
    train = state.train
    if train.sampling == "balanced":
        loader = loader.with_sampling(balanced_indices(loader.labels, train.seed, state.epoch))
    # MixUp and CutMix pair images of the whole batch, so each process needs all of it.
    shard = full_range if not isinstance(train.mix, NoMixing) else state.process_group.shard
    batches = loader.train_batches(train.batch_size, train.seed, state.epoch, state.data.augment, shard)
    sizes = loader.batch_sizes(train.batch_size)
    for start in range(0, len(sizes), train.accumulate):
        step_sizes = sizes[start : start + train.accumulate]
        yield StepBatches(step_sizes, islice(batches, len(step_sizes)))


def train_step(state: TrainingState, batches: StepBatches, loss: Loss, metrics: RunningMetrics) -> None:
    """Update the weights once, by the mean gradient over the images of one batch or of several.

    Call it within `fork_rng()`: it seeds torch's global generator.
    """
    network, optimizer = state.network, state.optimizer
    state.schedule.before_step(state.step, optimizer, state.budget_used)
    # Dropout depends on (seed, step) alone, so a resumed run draws the same masks.
    manual_seed_torch(state.train.seed, "step", state.step)
    state.train_model.train()
    optimizer.zero_grad(set_to_none=True)
    images, total_weights, results = sum(batches.sizes), [], []
    for number, (count, batch) in enumerate(zip(batches.sizes, batches.batches, strict=True)):
        total_weight: TotalWeight = images
        if loss.weights is not None:
            total_weights.append(_total_weight(state, count, batch[1], loss))
            total_weight = total_weights[0] if len(batches.sizes) == 1 else images
        local_batch = _local_batch(state, number, count, batch)
        with state.distributed_model.batch_context(count, is_last=number == len(batches.sizes) - 1) as model:
            with autocast(state.precision_config, state.device):
                outputs = model(local_batch.images)
                local_loss = local_batch.loss(outputs, loss, total_weight)
            (local_loss * state.distributed_model.loss_scale(count)).backward()  # type: ignore[no-untyped-call]
        # An undivided batch is equal in all processes; the main one counts it.
        if state.process_group.is_main or state.process_group.is_sharded(count):
            results.append((local_loss.detach() * images, outputs.detach(), local_batch.labels))
    if len(total_weights) > 1:  # the total weight is known only after the last batch
        scale = images / torch.stack(total_weights).sum()
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(scale)
        results = [(loss_sum * scale, *rest) for loss_sum, *rest in results]
    for loss_sum, logits, labels in results:
        metrics.update(loss_sum, logits, labels)
    if state.train.clip is not None:
        nn.utils.clip_grad_norm_(network.parameters(), state.train.clip)
    optimizer.step()
    if state.average is not None:
        state.average.after_step(network)
    state.step += 1


def _total_weight(state: TrainingState, batch_size: int, labels: Tensor, loss: Loss) -> Tensor:
    """Return the total weight of a batch in a weighted loss, over all processes."""
    local_weight = torch.as_tensor(loss.total_weight(labels))
    # A batch that is mixed, or too small to be divided, is whole in each process.
    return local_weight if len(labels) == batch_size else state.process_group.all_reduce(local_weight)


def _local_batch(state: TrainingState, batch_index: int, batch_size: int, batch: Batch) -> MixedBatch:
    """Return this process's images of a batch, mixed if the recipe says so."""
    train, process_group = state.train, state.process_group
    mixed = mix_batch(train.mix, *batch, generator(train.seed, "mix", state.step, batch_index))
    if process_group.world_size == 1:
        return mixed
    # Each process draws dropout masks for its own shard; for an undivided batch, the same masks.
    rank = process_group.rank if process_group.is_sharded(batch_size) else -1
    manual_seed_torch(train.seed, "step", state.step, batch_index, rank)
    return mixed.select(process_group.shard(batch_size)) if len(mixed.labels) == batch_size else mixed


def _validate(
    state: TrainingState, loaders: SplitLoaders, means: StepMeans, epoch: float, elapsed_s: float
) -> EpochRecord:
    """Evaluate the network, or its average, and update early stopping, selection and schedule."""
    state.distributed_model.sync_batchnorm_stats(*([state.average.network] if state.average else []))
    state.diverged = not math.isfinite(means.loss)
    logits, validation = None, None
    if loaders.validation is not None and not state.diverged:
        logits = _predict_logits(state, loaders.validation)
        validation = compute_score(logits, loaders.validation.labels, loaders.classes)
        state.diverged = not math.isfinite(validation.loss)
    state.diverged = state.diverged or not _is_finite(state)
    if not state.diverged:
        _update_selection(state, validation, epoch)
        if state.selected_epoch == epoch:
            state.selected_logits = logits
    test = loaders.test() if loaders.test is not None and not state.diverged else None
    return EpochRecord(
        epoch=epoch,
        step=state.step,
        train=means,
        validation=validation,
        test=compute_score(_predict_logits(state, test), test.labels, loaders.classes) if test is not None else None,
        learning_rate=state.train.optimizer.lr * state.schedule.lr_multiplier,
        seconds=state.seconds,
        images_per_second=means.images / elapsed_s if elapsed_s else 0.0,
    )


def _is_finite(state: TrainingState) -> bool:
    """Whether weights, statistics and moments are finite: the loss of a step is not yet that of the weights it made.

    Moments too, since lion's steps are as large whatever a gradient was, and none where it was NaN: there the weights
    stay numbers.
    """
    moments = [value for values in state.optimizer.state_dict()["state"].values() for value in values.values()]
    tensors = [*state.network.state_dict().values(), *filter(torch.is_tensor, moments)]
    return bool(torch.stack([tensor.isfinite().all().to(state.device) for tensor in tensors]).all())


def _update_selection(state: TrainingState, validation: Score | None, epoch: float) -> None:
    """Select, stop and reduce the rate by the validation split; without one the last weights are selected."""
    if validation is None:
        state.selected_epoch = epoch
        return
    if state.best_tracker.update(validation) or state.train.weights != "best":
        state.selected_epoch = epoch
    state.schedule.after_validation(validation)
    stop = state.train.stop
    if state.early_stopping is not None and not state.early_stopping.update(validation):
        state.stopped = state.early_stopping.num_bad_validations >= stop.patience


def _predict_logits(state: TrainingState, loader: Loader) -> npt.NDArray[np.float32]:
    return predict_logits(state.eval_model_for(loader), loader, state.process_group)
