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

from cnnlab.config.averaging_and_mixing import NoAverage, NoMix
from cnnlab.config.budget import Time
from cnnlab.config.optimization import Early
from cnnlab.config.recipe import Data, Train
from cnnlab.data.loader import Batch, Feed, Supply, balanced, whole
from cnnlab.distributed import ALONE, World
from cnnlab.evaluation.logits import logits
from cnnlab.evaluation.metrics import score
from cnnlab.models.model_split import Parting
from cnnlab.models.pretrained.transfer import unfreeze
from cnnlab.randomness import generator, seed_torch, torch_state
from cnnlab.records import EpochRecord, Score, StepMeans, Way
from cnnlab.training.averaging import Average
from cnnlab.training.distributed_model import Together, synchronise
from cnnlab.training.early_stopping import Patience
from cnnlab.training.losses import Loss, Mass, loss_function
from cnnlab.training.mixing import Mixed, mix
from cnnlab.training.optimizers.factory import optimizer
from cnnlab.training.precision import autocast, torch_format
from cnnlab.training.running_metrics import Adding, Sums
from cnnlab.training.schedules import Schedule

# (images so far, images in all, running means or None while the device has not answered)
Watch = Callable[[int, int, StepMeans | None], None]


@dataclass(frozen=True)
class Group:
    """The batches whose gradients make one optimizer step; each is loaded only when it is asked for.

    Attributes:
        sizes: how many images each has in all processes.
        batches: this process's parts of them.
    """

    sizes: Sequence[int]
    batches: Iterator[Batch]


@dataclass
class Training:
    """A training in progress: all that changes while it goes on, and all that a resumed one needs.

    Attributes:
        parting: where the network is parted, if it is trained on features; its figures may still be of images.
        fed: the network as it takes the batches that it is trained on.
        spent: the share of the recipe's budget that is spent, by which schedules fall.
        selected_logits: what the selected weights said of the validation part, N×K; None without one, and where they
            were selected before the training was resumed.
    """

    network: nn.Module
    train: Train
    data: Data
    way: Way
    device: torch.device
    batches_per_epoch: int
    world: World = ALONE
    parting: Parting | None = None
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    spent: float = 0.0
    selected_epoch: float = 0.0
    selected_logits: npt.NDArray[np.float32] | None = None
    stopped: bool = False
    diverged: bool = False
    chooser: Patience = field(init=False)
    stopper: Patience | None = field(init=False, default=None)
    average: Average | None = field(init=False, default=None)
    together: Together = field(init=False)
    fed: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.network.to(self.device).to(memory_format=torch_format(self.way))
        if self.train.sync_batchnorm:
            synchronise(self.network, self.world)
        unfreeze(self.network, math.inf)  # its groups hold all that will ever train; what has no gradient is left alone
        self.optimizer = optimizer(
            self.train.optimizer, self.network, self.train.decay, self.train.rates, self.train.rate_by_depth
        )
        unfreeze(self.network, 0)
        self.fed = self._fed(self.network)
        self.together = Together(self.network, self.world, self.fed)
        self.schedule = Schedule(self.train.schedule, self.train.epochs * self.steps_per_epoch, self.steps_per_epoch)
        if not isinstance(self.train.average, NoAverage):
            self.average = Average(self.train.average, self.network, self._fed)
        self.chooser = Patience(self.train.choose)
        if isinstance(self.train.stop, Early):
            self.stopper = Patience(self.train.stop.metric, self.train.stop.min_change)

    def begin_epoch(self) -> None:
        """Let train what trains from this epoch on."""
        if unfreeze(self.network, self.epoch):
            self.together = Together(self.network, self.world, self.fed)
            if self.average is not None:
                self.average.begin_epoch(self.epoch)

    @property
    def steps_per_epoch(self) -> int:
        """How often an epoch changes the weights: after each batch, or after each `accumulate` batches."""
        return -(-self.batches_per_epoch // self.train.accumulate)

    @property
    def judged(self) -> nn.Module:
        """The network whose figures count: the average, as soon as there is one, where one is kept."""
        return self.average.network if self.average is not None and self.average.count else self.network

    def judged_by(self, feed: Supply) -> nn.Module:
        """The same as it takes what a feed gives: images, or, where the network is parted, features."""
        if isinstance(feed, Feed) or self.parting is None:
            return self.judged
        return self.average.fed if self.average is not None and self.average.count else self.fed

    def _fed(self, network: nn.Module) -> nn.Module:
        return network if self.parting is None else self.parting.rest(network)

    @property
    def over(self) -> bool:
        """True when nothing is left to train."""
        return self.stopped or self.diverged or self.epoch >= self.train.epochs


@dataclass(frozen=True)
class Feeds:
    """The parts that a training reads. `test` is there only for a curve, and nothing chooses by it."""

    train: Supply
    validation: Supply | None
    test: Callable[[], Supply] | None
    classes: tuple[str, ...]


def fit(training: Training, feeds: Feeds, watch: Watch) -> Iterator[EpochRecord]:
    """Train to the end, early stopping or divergence.

    Yields:
        A record after each validation. While it is held, `training` is in the state that the record speaks of: its
        weights are the selected ones if `training.selected_epoch` is the record's epoch, and `training.epoch` is the
        number of whole epochs done.
    """
    loss = loss_function(training.train.loss, feeds.train.labels, len(feeds.classes), training.device)
    while not training.over:
        yield from _epoch(training, feeds, loss, watch)


def _epoch(training: Training, feeds: Feeds, loss: Loss, watch: Watch) -> Iterator[EpochRecord]:
    training.begin_epoch()
    train, steps = training.train, training.steps_per_epoch
    ends = {math.ceil(steps * part / train.validations_per_epoch) for part in range(1, train.validations_per_epoch + 1)}
    world = training.world
    seen, total = training.epoch * len(feeds.train), train.epochs * len(feeds.train)
    sums = Sums(training.device)
    _spend(training, seen, 0.0)
    began = time.perf_counter()
    for number, group in enumerate(batches_of_epoch(training, feeds.train), start=1):
        with torch_state():
            take_step(training, group, loss, sums)
        seen += sum(group.sizes)
        watch(seen, total, sums.glance())
        over = _spend(training, seen, time.perf_counter() - began)
        if number not in ends and not over:
            continue
        means = sums.means(world)
        position = training.epoch + number / steps
        if number == steps:
            training.epoch += 1
            _average_epoch(training, feeds)
        spent = time.perf_counter() - began
        training.seconds += spent
        record = _validate(training, feeds, means, position, spent)
        training.stopped = training.stopped or over  # before the record is out, with which the state is kept
        yield record
        if training.stopped or training.diverged:
            return
        sums = Sums(training.device)
        began = time.perf_counter()


def _average_epoch(training: Training, feeds: Feeds) -> None:
    if training.average is not None:
        done = max(training.epoch / training.train.epochs, training.spent)
        training.average.after_epoch(training.network, done, _plain_batches(training, feeds))


def _plain_batches(training: Training, feeds: Feeds) -> Iterator[Batch]:
    """The training part un-augmented; asked for when the first batch is: kept features may lack that view."""
    yield from feeds.train.evaluation(training.train.batch_size)


def _spend(training: Training, images: int, seconds: float) -> bool:
    """Keep how much of the budget is spent; whether training ends."""
    spent: float = training.train.budget.share(images, training.seconds + seconds)
    if isinstance(training.train.budget, Time):
        spent = float(training.world.told(repr(spent)))  # the processes' clocks differ
    training.spent = spent
    return spent >= 1


def batches_of_epoch(training: Training, part: Supply) -> Iterator[Group]:
    """The batches of the epoch that a training is in, in its order, by the steps that they make."""
    train = training.train
    if train.sampling == "balanced":
        part = part.sampled(balanced(part.labels, train.seed, training.epoch))
    # Images are mixed with others of the whole batch, so that each process needs all of it.
    share = whole if not isinstance(train.mix, NoMix) else training.world.share
    batches = part.training(train.batch_size, train.seed, training.epoch, training.data.augment, share)
    sizes = part.sizes(train.batch_size)
    for start in range(0, len(sizes), train.accumulate):
        own = sizes[start : start + train.accumulate]
        yield Group(own, islice(batches, len(own)))


def take_step(training: Training, group: Group, loss: Loss, sums: Adding) -> None:
    """Change the weights once, by the mean gradient over the images of one batch or of several.

    Call it within `torch_state()`: it seeds torch's global state.
    """
    network, optimizer = training.network, training.optimizer
    training.schedule.before_step(training.step, optimizer, training.spent)
    # Dropout's draws depend on (seed, step) alone, so that a resumed run draws what a straight one would.
    seed_torch(training.train.seed, "step", training.step)
    training.fed.train()
    optimizer.zero_grad(set_to_none=True)
    images, masses, found = sum(group.sizes), [], []
    for number, (count, batch) in enumerate(zip(group.sizes, group.batches, strict=True)):
        mass: Mass = images
        if loss.weights is not None:
            masses.append(_mass(training, count, batch[1], loss))
            mass = masses[0] if len(group.sizes) == 1 else images
        part = _part(training, number, count, batch)
        with training.together.batch(count, last=number == len(group.sizes) - 1) as together:
            with autocast(training.way, training.device):
                outputs = together(part.images)
                own = part.loss(outputs, loss, mass)
            (own * training.together.scale(count)).backward()  # type: ignore[no-untyped-call]
        if training.world.writes or training.world.divides(count):  # else the writer has counted these images
            found.append((own.detach() * images, outputs.detach(), part.own))
    if len(masses) > 1:  # what the images of all batches weigh is known with the last one
        share = images / torch.stack(masses).sum()
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(share)
        found = [(summed * share, *rest) for summed, *rest in found]
    for summed, answers, labels in found:
        sums.add(summed, answers, labels)
    if training.train.clip is not None:
        nn.utils.clip_grad_norm_(network.parameters(), training.train.clip)
    optimizer.step()
    if training.average is not None:
        training.average.after_step(network)
    training.step += 1


def _mass(training: Training, count: int, labels: Tensor, loss: Loss) -> Tensor:
    """What the images of a batch weigh in a weighted loss, those of the other processes too."""
    held = torch.as_tensor(loss.mass(labels))
    # A process holds all of a batch that is to be mixed, or too small to be divided.
    return held if len(labels) == count else training.world.sum(held)


def _part(training: Training, number: int, count: int, batch: Batch) -> Mixed:
    """This process's images of a batch, mixed where the recipe says so."""
    train, world = training.train, training.world
    mixed = mix(train.mix, *batch, generator(train.seed, "mix", training.step, number))
    if world.size == 1:
        return mixed
    # Each process's dropout draws for its own images; for a batch that all compute whole, the same.
    seed_torch(train.seed, "step", training.step, number, world.rank if world.divides(count) else -1)
    return mixed.part(world.share(count)) if len(mixed.own) == count else mixed


def _validate(training: Training, feeds: Feeds, means: StepMeans, epoch: float, spent: float) -> EpochRecord:
    """Score the network as it stands, or its average, and decide what follows from it."""
    training.together.agree(*([training.average.network] if training.average else []))
    training.diverged = not math.isfinite(means.loss)
    found, validation = None, None
    if feeds.validation is not None and not training.diverged:
        found = _logits(training, feeds.validation)
        validation = score(found, feeds.validation.labels, feeds.classes)
        training.diverged = not math.isfinite(validation.loss)
    training.diverged = training.diverged or not _is_finite(training)
    if not training.diverged:
        _decide(training, validation, epoch)
        if training.selected_epoch == epoch:
            training.selected_logits = found
    test = feeds.test() if feeds.test is not None and not training.diverged else None
    return EpochRecord(
        epoch=epoch,
        step=training.step,
        train=means,
        validation=validation,
        test=score(_logits(training, test), test.labels, feeds.classes) if test is not None else None,
        learning_rate=training.train.optimizer.lr * training.schedule.multiplier,
        seconds=training.seconds,
        images_per_second=means.images / spent if spent else 0.0,
    )


def _is_finite(training: Training) -> bool:
    """Whether weights, statistics and moments are finite: the loss of a step is not yet that of the weights it made.

    Moments too, since lion's steps are as large whatever a gradient was, and none where it was NaN: there the weights
    stay numbers.
    """
    moments = [value for values in training.optimizer.state_dict()["state"].values() for value in values.values()]
    tensors = [*training.network.state_dict().values(), *filter(torch.is_tensor, moments)]
    return bool(torch.stack([tensor.isfinite().all().to(training.device) for tensor in tensors]).all())


def _decide(training: Training, validation: Score | None, epoch: float) -> None:
    """Choose, stop and reduce by the validation part; without one the last weights are the chosen ones."""
    if validation is None:
        training.selected_epoch = epoch
        return
    if training.chooser.improved(validation) or training.train.weights != "best":
        training.selected_epoch = epoch
    training.schedule.after_validation(validation)
    stop = training.train.stop
    if training.stopper is not None and not training.stopper.improved(validation):
        training.stopped = training.stopper.waited >= stop.patience


def _logits(training: Training, feed: Supply) -> npt.NDArray[np.float32]:
    return logits(training.judged_by(feed), feed, training.world)
