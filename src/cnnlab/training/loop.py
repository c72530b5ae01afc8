"""The training loop: a generator of the points of the learning curve."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.data.feed import Feed
from cnnlab.evaluate.logits import logits
from cnnlab.evaluate.metrics import score
from cnnlab.randomness import seed_torch, torch_state
from cnnlab.records import EpochRecord, Score, StepMeans, Way
from cnnlab.spec.choices import Early
from cnnlab.spec.recipe import Data, Train
from cnnlab.training.optimizers import optimizer
from cnnlab.training.patience import Patience
from cnnlab.training.schedules import Schedule
from cnnlab.training.way import autocast, torch_format

# (images so far, images in all, running means or None while the device has not answered)
Watch = Callable[[int, int, StepMeans | None], None]


@dataclass
class Training:
    """A training in progress: all that changes while it goes on, and all that a resumed one needs."""

    network: nn.Module
    train: Train
    data: Data
    way: Way
    device: torch.device
    steps_per_epoch: int
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    selected_epoch: float = 0.0
    stopped: bool = False
    diverged: bool = False
    chooser: Patience = field(init=False)
    stopper: Patience | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.network.to(self.device).to(memory_format=torch_format(self.way))
        self.optimizer = optimizer(self.train.optimizer, self.network)
        self.schedule = Schedule(self.train.schedule, self.train.epochs * self.steps_per_epoch, self.steps_per_epoch)
        self.chooser = Patience(self.train.choose)
        if isinstance(self.train.stop, Early):
            self.stopper = Patience(self.train.stop.metric, self.train.stop.min_change)

    @property
    def over(self) -> bool:
        """True when nothing is left to train."""
        return self.stopped or self.diverged or self.epoch >= self.train.epochs


@dataclass(frozen=True)
class Feeds:
    """The parts that a training reads. `test` is there only for a curve, and nothing chooses by it."""

    train: Feed
    validation: Feed | None
    test: Callable[[], Feed] | None
    classes: tuple[str, ...]


def fit(training: Training, feeds: Feeds, watch: Watch) -> Iterator[EpochRecord]:
    """Train to the end, early stopping or divergence.

    Yields:
        A record after each validation. While it is held, `training` is in the state that the record speaks of: its
        weights are the selected ones if `training.selected_epoch` is the record's epoch, and `training.epoch` is the
        number of whole epochs done.
    """
    while not training.over:
        yield from _epoch(training, feeds, watch)


def _epoch(training: Training, feeds: Feeds, watch: Watch) -> Iterator[EpochRecord]:
    train, steps = training.train, training.steps_per_epoch
    ends = {math.ceil(steps * part / train.validations_per_epoch) for part in range(1, train.validations_per_epoch + 1)}
    batches = feeds.train.training(train.batch_size, train.seed, training.epoch, training.data.augment)
    seen, total = training.epoch * len(feeds.train), train.epochs * len(feeds.train)
    sums = _Sums(training.device)
    began = time.perf_counter()
    for number, (images, labels) in enumerate(batches, start=1):
        with torch_state():
            _step(training, images, labels, sums)
        seen += len(labels)
        watch(seen, total, sums.glance())
        if number not in ends:
            continue
        means = sums.means()
        spent = time.perf_counter() - began
        training.seconds += spent
        position = training.epoch + number / steps
        training.epoch += number == steps
        yield _validate(training, feeds, means, position, spent)
        if training.stopped or training.diverged:
            return
        sums = _Sums(training.device)
        began = time.perf_counter()


def _step(training: Training, images: Tensor, labels: Tensor, sums: _Sums) -> None:
    network, optimizer = training.network, training.optimizer
    training.schedule.before_step(training.step, optimizer)
    # Dropout's draws depend on (seed, step) alone, so that a resumed run draws what a straight one would.
    seed_torch(training.train.seed, "step", training.step)
    network.train()
    with autocast(training.way, training.device):
        outputs = network(images)
        loss = F.cross_entropy(outputs, labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    sums.add(loss.detach(), outputs.detach(), labels)
    training.step += 1


def _validate(training: Training, feeds: Feeds, means: StepMeans, epoch: float, spent: float) -> EpochRecord:
    """Score the network as it stands, and decide what follows from it."""
    training.diverged = not math.isfinite(means.loss)
    validation = None if training.diverged else _score(training.network, feeds.validation, feeds.classes)
    if validation is not None:
        training.diverged = not math.isfinite(validation.loss)
    elif not training.diverged:
        training.diverged = not _is_finite(training.network)
    if not training.diverged:
        _decide(training, validation, epoch)
    test = feeds.test if not training.diverged else None
    return EpochRecord(
        epoch=epoch,
        step=training.step,
        train=means,
        validation=validation,
        test=_score(training.network, test(), feeds.classes) if test is not None else None,
        learning_rate=training.train.optimizer.lr * training.schedule.multiplier,
        seconds=training.seconds,
        images_per_second=means.images / spent if spent else 0.0,
    )


def _is_finite(network: nn.Module) -> bool:
    """Whether all weights and statistics are finite: the loss of a step is not yet that of the weights it made."""
    return bool(torch.stack([tensor.isfinite().all() for tensor in network.state_dict().values()]).all())


def _decide(training: Training, validation: Score | None, epoch: float) -> None:
    """Choose, stop and reduce by the validation part; without one the last weights are the chosen ones."""
    if validation is None:
        training.selected_epoch = epoch
        return
    if training.chooser.improved(validation) or training.train.weights == "last":
        training.selected_epoch = epoch
    training.schedule.after_validation(validation)
    stop = training.train.stop
    if training.stopper is not None and not training.stopper.improved(validation):
        training.stopped = training.stopper.waited >= stop.patience


def _score(network: nn.Module, feed: Feed | None, classes: tuple[str, ...]) -> Score | None:
    if feed is None:
        return None
    return score(logits(network, feed), feed.labels, classes)


class _Sums:
    """Loss and hits summed on the device; the host looks at them without making the device wait."""

    def __init__(self, device: torch.device) -> None:
        self.images = 0
        self.totals = torch.zeros(2, dtype=torch.float64 if device.type != "mps" else torch.float32, device=device)
        self.seen = torch.zeros(2, dtype=self.totals.dtype, pin_memory=device.type == "cuda")
        self.seen_images = 0
        self.pending: tuple[torch.cuda.Event, int] | None = None

    def add(self, loss: Tensor, outputs: Tensor, labels: Tensor) -> None:
        count = len(labels)
        hits = (outputs.argmax(dim=1) == labels).sum()
        self.totals += torch.stack([loss.to(self.totals) * count, hits.to(self.totals)])
        self.images += count

    def glance(self) -> StepMeans | None:
        """The means as far as they are known now; None before the first are."""
        if self.totals.device.type == "cpu":
            return self._means(self.totals, self.images)
        if self.totals.device.type != "cuda":
            return None
        if self.pending is None:
            self.seen.copy_(self.totals, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
            self.pending = (event, self.images)
        elif self.pending[0].query():  # type: ignore[no-untyped-call]
            self.seen_images, self.pending = self.pending[1], None
            return self._means(self.seen, self.seen_images)
        return None

    def means(self) -> StepMeans:
        """The means of all steps; waits for the device."""
        return self._means(self.totals.cpu(), self.images)

    @staticmethod
    def _means(totals: Tensor, images: int) -> StepMeans:
        loss, hits = totals.tolist()
        return StepMeans(images=images, loss=loss / images, accuracy=hits / images)
