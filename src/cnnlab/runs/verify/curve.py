"""A run's learning curve replayed: does it follow from the recipe, and do the final figures follow from it?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from cnnlab.config.budget import NoBudget, TimeBudget
from cnnlab.config.optimization import EarlyStoppingConfig
from cnnlab.config.recipe import Recipe
from cnnlab.records import EpochRecord, PrecisionConfig, RunResult
from cnnlab.runs.verify.result import VerificationChecks
from cnnlab.training.early_stopping import EarlyStopping
from cnnlab.training.schedules import LRScheduler, TrainingPosition, lr_multiplier

CURVE_FILE = "metrics.jsonl"
EDITED_MESSAGE = "the recipe or the learning curve was edited, or belongs to another run"
# A rate is a product of a few numbers, the same on every machine but for the last digit.
RELATIVE_TOLERANCE = 1e-9
# What another memory layout or number of threads makes of a mean loss, and of an accuracy at the edge.
LOSS_ROUNDING = 1e-3


def check_curve(
    checks: VerificationChecks,
    recipe: Recipe,
    curve: Sequence[EpochRecord],
    result: RunResult,
    precision_config: PrecisionConfig | None,
) -> None:
    """Hold steps, rates, choice and end of a training against its recipe, and the result against the curve."""
    if not curve:
        checks.check_equal(f"{CURVE_FILE}: points", "1 or more", 0, EDITED_MESSAGE)
        return
    last = curve[-1]
    checks.check_equal("epochs", result.epochs, last.epoch, "result.json and the learning curve do not belong together")
    images = sum(point.train.images for point in curve)
    speed = images / result.seconds if result.seconds else 0.0
    within = 1e-6 * max(speed, 1.0)
    checks.check_close(
        "images per second", result.images_per_second, speed, within, "result.json or the curve was edited"
    )
    if precision_config is not None and recipe.train.precision != "auto":
        checks.check_equal(
            "precision", recipe.train.precision, precision_config.precision, "the recipe or way.json was edited"
        )
    _check_end(checks, recipe, curve, result)
    if result.train is not None:
        _check_selection(checks, recipe, curve, result)


def check_steps(
    checks: VerificationChecks, recipe: Recipe, curve: Sequence[EpochRecord], images: int, batches: int
) -> None:
    """Hold the curve's steps, images and rates against the recipe.

    Args:
        images, batches: of the training split, in an epoch.
    """
    train = recipe.train
    steps = -(-batches // train.accumulate)
    schedule = LRScheduler(train.schedule, train.epochs * steps, steps)
    seen, wrong = 0, {"steps": 0, "images": 0, "learning rate": 0}
    shown: dict[str, tuple[float, float]] = {}
    for point in curve:
        seen += point.train.images
        expected: dict[str, tuple[float, float]] = {
            "steps": (point.step, round(point.epoch * steps)),
            "images": (seen, round(point.epoch) * images if point.epoch == round(point.epoch) else seen),
        }
        if not isinstance(train.budget, TimeBudget):  # by the clock a rate falls otherwise each time
            epochs, others = divmod(point.step - 1, steps)
            before = epochs * images + others * train.batch_size * train.accumulate
            place = TrainingPosition(
                point.step - 1, train.epochs * steps, steps, train.budget.fraction_used(before, 0.0)
            )
            rate = schedule.plateau_factor * lr_multiplier(schedule.config, place)
            expected["learning rate"] = point.learning_rate, train.optimizer.lr * rate
        for name, (reported, found) in expected.items():
            if not math.isclose(reported, found, rel_tol=RELATIVE_TOLERANCE):
                wrong[name] += 1
                shown.setdefault(name, (reported, found))
        if point.validation is not None:
            schedule.after_validation(point.validation)
    for name, count in wrong.items():
        reported, found = shown.get(name, (len(curve), len(curve)))
        what = f"{CURVE_FILE}: {name}" + (
            f", the first of {count} that differ" if count else ", points that fit the recipe"
        )
        checks.check_equal(what, reported, found, EDITED_MESSAGE)


def _check_end(checks: VerificationChecks, recipe: Recipe, curve: Sequence[EpochRecord], result: RunResult) -> None:
    """A training ends with its last epoch, unless something ended it before."""
    train = recipe.train
    if result.status == "diverged" or not isinstance(train.budget, NoBudget):
        return
    stopped = False
    if isinstance(train.stop, EarlyStoppingConfig) and curve[-1].validation is not None:
        early_stopping = EarlyStopping(train.stop.metric, train.stop.min_change)
        ends = [
            point.epoch
            for point in curve
            if point.validation is not None
            and not early_stopping.update(point.validation)
            and early_stopping.num_bad_validations >= train.stop.patience
        ]
        stopped = bool(ends)
        if stopped:
            checks.check_equal("end by early stopping, epoch", curve[-1].epoch, ends[0], EDITED_MESSAGE)
    if not stopped:
        checks.check_equal("end of the training, epoch", curve[-1].epoch, float(train.epochs), EDITED_MESSAGE)


def _check_selection(
    checks: VerificationChecks, recipe: Recipe, curve: Sequence[EpochRecord], result: RunResult
) -> None:
    """The selected weights are those that the recipe's rule selects, and their figures are those of the curve."""
    best_tracker, chosen = EarlyStopping(recipe.train.choose), curve[-1].epoch
    if recipe.train.weights == "best" and curve[-1].validation is not None:
        validated = ((point.epoch, point.validation) for point in curve if point.validation is not None)
        better = [epoch for epoch, score in validated if best_tracker.update(score)]
        chosen = better[-1] if better else chosen
    what = "other weights were selected than the recipe's rule selects, or the curve was edited"
    checks.check_equal("selected epoch", result.selected_epoch, chosen, what)
    point = next((point for point in curve if point.epoch == result.selected_epoch), None)
    if point is None or point.validation is None or result.validation is None:
        return
    seen, final = point.validation, result.validation
    what = "the final figure is not that of the curve at the selected epoch: one of the two was edited"
    within = LOSS_ROUNDING * (1 + abs(seen.loss))
    checks.check_close("validation loss, in the curve at the selected epoch", final.loss, seen.loss, within, what)
    within = max(2 / seen.images, LOSS_ROUNDING)
    checks.check_close("validation accuracy, in the curve there", final.accuracy, seen.accuracy, within, what)
