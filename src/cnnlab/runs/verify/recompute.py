"""A run verified: its weights loaded, its data opened, and every figure that it reports found again."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cnnlab.config.recipe import Recipe
from cnnlab.config.stopping import EarlyStoppingConfig, Metric, NoBudget, TimeBudget
from cnnlab.config.warnings import summarize
from cnnlab.context import LOCAL, RunContext
from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.data.sources.base import Split
from cnnlab.evaluation.logits import predict_logits
from cnnlab.evaluation.metrics import compute_score
from cnnlab.models.network_plan import plan_network
from cnnlab.records import DataRecord, Environment, EpochRecord, LayerTable, PrecisionConfig, RunResult, Score
from cnnlab.runs.environment import code_hash, relocate_recipe
from cnnlab.runs.final_evaluation import open_test_split, trained_network
from cnnlab.runs.setup import make_image_loader
from cnnlab.runs.verify.result import RunVerification, VerificationChecks
from cnnlab.storage.run_folder import BACKBONE_FOLDER, Predictions, RunFolder, slug
from cnnlab.storage.test_ledger import openings
from cnnlab.training.device import choose_device, disable_tf32
from cnnlab.training.early_stopping import EarlyStopping
from cnnlab.training.schedules import LRScheduler, TrainingPosition, lr_multiplier

METRICS: tuple[str, ...] = get_args(Metric)
# The same logits give the same figures, but for the order of adding.
EXACT = 1e-6
# Logits of another number of threads or machine differ by a few units of the seventh digit of the largest number that
# was added on the way to them; this leaves room for a hundred layers.
LOGITS_TOLERANCE = 1e-3
Logits = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def check_saved_predictions(
    checks: VerificationChecks, split: str, reported: Score, saved: Predictions, classes: Sequence[str]
) -> None:
    """Hold a reported score to the kept predictions: the same logits give the same figures."""
    name = f"predictions-{split}.npz"
    if not _is_valid(saved, len(classes)):
        shapes = f"{saved.labels.shape} labels, {saved.logits.shape} logits"
        checks.check_equal(name, f"{reported.images} images, {len(classes)} classes", shapes, f"{name} was edited")
        return
    what = f"result.json does not report what {name} holds: one of the two was edited"
    found = compute_score(saved.logits, saved.labels, classes)
    checks.check_equal(f"{split} images, in {name}", reported.images, found.images, what)
    for metric in METRICS:
        checks.check_close(
            f"{split} {_metric_text(metric)}, of {name}", reported.metric(metric), found.metric(metric), EXACT, what
        )
    _check_classes(checks, f"of {name}", split, reported, found, EXACT, what)


def check_scores(
    checks: VerificationChecks,
    split: str,
    reported: Score,
    logits: Logits,
    labels: Labels,
    classes: Sequence[str],
    saved: Predictions | None,
) -> None:
    """Hold a reported score, and the kept predictions, to what the selected weights say here.

    Args:
        logits, labels: found here, N×K and N.
        saved: the run's own predictions; None where they are missing.
    """
    finite = logits[np.isfinite(logits)]
    within = LOGITS_TOLERANCE * (1 + float(np.abs(finite).max(initial=0.0)))
    weights = "the weights are not those that were scored, or the figure was edited"
    if saved is not None and _is_valid(saved, len(classes)):
        _check_predictions(checks, split, saved, logits, labels, within)
    found = compute_score(logits, labels, classes)
    checks.check_equal(f"{split} images", reported.images, found.images, "another number of images was scored")
    checks.check_close(f"{split} loss", reported.loss, found.loss, 2 * within, weights)
    loose = _near_ties(logits, 1, within)
    smallest = min((each.images for each in found.per_class if each.images), default=1)
    room = {
        "accuracy": len(loose) / found.images,
        "top5": len(_near_ties(logits, 5, within)) / found.images,
        "balanced_accuracy": 2 * len(loose) / smallest,
        "macro_f1": 2 * len(loose) / smallest,
    }
    for metric, share in room.items():
        one, other = reported.metric(metric), found.metric(metric)
        moved = ""
        if metric in ("accuracy", "top5"):
            moved = f"{round(abs(one - other) * found.images):,} of {found.images:,} images differ; "
        checks.check_close(f"{split} {_metric_text(metric)}", one, other, share + EXACT, moved + weights)
    _check_classes(checks, "", split, reported, found, room["macro_f1"] + EXACT, weights)


def _check_predictions(
    checks: VerificationChecks, split: str, saved: Predictions, logits: Logits, labels: Labels, tolerance: float
) -> None:
    name = f"predictions-{split}.npz"
    if len(saved.labels) != len(labels):
        checks.check_equal(
            f"{name}: images", len(saved.labels), len(labels), f"{name} is of other images, or was edited"
        )
        return
    wrong = int((saved.labels != labels).sum())
    checks.check_equal(f"{name}: labels that are not the data's", 0, wrong, f"{name} is of other images, or was edited")
    with np.errstate(invalid="ignore"):
        apart = np.abs(saved.logits.astype(np.float64) - logits)
    # The same infinities are no difference; anything beside a NaN is, unless both are.
    apart = np.where((saved.logits == logits) | (np.isnan(saved.logits) & np.isnan(logits)), 0.0, apart)
    apart = np.where(np.isnan(apart), np.inf, apart)
    images = int((apart.max(axis=1, initial=0.0) > tolerance).sum())
    classes = int((saved.logits.argmax(axis=1) != logits.argmax(axis=1)).sum())
    what = (
        f"the selected weights do not give these; {classes:,} of {len(labels):,} images have another class: "
        "other weights, other images, or edited predictions"
    )
    checks.check_equal(f"{name}: images whose logits differ", 0, images, what)


def _check_classes(
    checks: VerificationChecks, of: str, split: str, reported: Score, found: Score, tolerance: float, meaning: str
) -> None:
    """Every class's figures; one figure stands for all that hold."""
    if [each.name for each in reported.per_class] != [each.name for each in found.per_class]:
        names = [", ".join(each.name for each in each_score.per_class) for each_score in (reported, found)]
        checks.check_equal(f"{split} classes {of}".strip(), names[0], names[1], meaning)
        return
    whole = True
    for one, other in zip(reported.per_class, found.per_class, strict=True):
        for name in ("images", "recall", "precision"):
            a, b = float(getattr(one, name)), float(getattr(other, name))
            if abs(a - b) > (0 if name == "images" else tolerance):
                whole = False
                checks.check_close(f"{split} {name} of class {one.name} {of}".strip(), a, b, tolerance, meaning)
    if whole:
        count = len(reported.per_class)
        checks.check_equal(f"{split} figures of the classes {of}".strip(), count, count, meaning)


def _near_ties(logits: Logits, rank: int, tolerance: float) -> npt.NDArray[np.intp]:
    """The images whose `rank`-th and next best classes are too close to tell which is which on another machine."""
    if logits.shape[1] <= rank:
        return np.array([], dtype=np.intp)
    ordered = -np.sort(-logits.astype(np.float64), axis=1)
    with np.errstate(invalid="ignore"):
        close = ordered[:, rank - 1] - ordered[:, rank] <= 2 * tolerance
    return np.flatnonzero(close)


def _is_valid(saved: Predictions, classes: int) -> bool:
    """Whether arrays from a file are predictions at all."""
    return (
        saved.labels.ndim == 1
        and saved.logits.ndim == 2
        and saved.logits.shape == (len(saved.labels), classes)
        and len(saved.labels) > 0
        and np.issubdtype(saved.labels.dtype, np.integer)
        and np.issubdtype(saved.logits.dtype, np.floating)
        and bool(((saved.labels >= 0) & (saved.labels < classes)).all())
    )


def _metric_text(metric: str) -> str:
    return metric.replace("_", " ")


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
            "precision", recipe.train.precision, precision_config.precision, "the recipe or precision.json was edited"
        )
    _check_end(checks, recipe, curve, result)
    if result.train is not None:
        _check_selection(checks, recipe, curve, result)


def check_steps(
    checks: VerificationChecks, recipe: Recipe, curve: Sequence[EpochRecord], images: int, batches: int
) -> None:
    """Hold the curve's steps, images and rates against the recipe.

    Args:
        images, batches: of the training part, in an epoch.
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
        for name, (told, found) in expected.items():
            if not math.isclose(told, found, rel_tol=RELATIVE_TOLERANCE):
                wrong[name] += 1
                shown.setdefault(name, (told, found))
        if point.validation is not None:
            schedule.after_validation(point.validation)
    for name, count in wrong.items():
        told, found = shown.get(name, (len(curve), len(curve)))
        what = f"{CURVE_FILE}: {name}" + (
            f", the first of {count} that differ" if count else ", points that fit the recipe"
        )
        checks.check_equal(what, told, found, EDITED_MESSAGE)


def _check_end(checks: VerificationChecks, recipe: Recipe, curve: Sequence[EpochRecord], result: RunResult) -> None:
    """A training ends with its last epoch, unless something ended it before."""
    train = recipe.train
    if result.status == "diverged" or not isinstance(train.budget, NoBudget):
        return
    stopped = False
    if isinstance(train.stop, EarlyStoppingConfig) and curve[-1].validation is not None:
        patience = EarlyStopping(train.stop.metric, train.stop.min_change)
        ends = [
            point.epoch
            for point in curve
            if point.validation is not None
            and not patience.update(point.validation)
            and patience.num_bad_validations >= train.stop.patience
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
    chooser, chosen = EarlyStopping(recipe.train.choose), curve[-1].epoch
    if recipe.train.weights == "best" and curve[-1].validation is not None:
        better = [point.epoch for point in curve if point.validation is not None and chooser.update(point.validation)]
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


SPLITS: tuple[Split, ...] = ("train", "validation", "test")
PURPOSE = "verify"
# A study writes its look at the test set under its own name, once for all its runs; its result says which they are.
STUDY_PURPOSE = "study "
STUDIES = ("studies", "tuning")
CONFIRMATION_FIELDS = ("runs", "baseline_runs")
# Means over the same pixels, in another order of adding.
STATS_TOLERANCE = 1e-5
MOST_ROWS = 5
UNREADABLE_MESSAGE = "the file is missing, damaged or edited; what it reports can't be held to anything"
OTHER_DATA_MESSAGE = "these are not the images that the run was made with, or data.json or the recipe was edited"


@dataclass
class _RunRecords:
    """What lies in a run folder; None for what is missing or can't be read."""

    recipe: Recipe | None = None
    data: DataRecord | None = None
    table: LayerTable | None = None
    precision_config: PrecisionConfig | None = None
    environment: Environment | None = None
    curve: list[EpochRecord] | None = None
    result: RunResult | None = None


@disable_tf32()
def verify_run(path: str | Path, context: RunContext = LOCAL) -> RunVerification:
    """Recalculate a run: table, data, curve, weights, predictions, and every figure of its selected weights.

    Nothing in the folder is changed. The test set is looked at only where the run reports test figures, and that look
    is a line in the ledger beside the run.

    Args:
        path: a run folder; it need not be whole.
        context: names the device and the data folder.

    Raises:
        UsageError: an unknown device.
    """
    folder, target, checks = RunFolder(Path(path).resolve()), choose_device(context.device), VerificationChecks()
    pieces = _read_records(checks, folder)
    recipe, data, result = pieces.recipe, pieces.data, pieces.result
    if recipe is not None and data is not None:
        _check_table(checks, folder, recipe, data, pieces)
    if recipe is not None and result is not None and pieces.curve is not None:
        check_curve(checks, recipe, pieces.curve, result, pieces.precision_config)
    dataset = None
    if recipe is not None and data is not None:
        with checks.catch_errors(
            "data", "the data that the recipe names is not here, or is not what it was: see --data"
        ):
            dataset = _open_data(checks, folder, recipe, data, context)
    if dataset is not None and recipe is not None and pieces.curve:
        check_steps(checks, recipe, pieces.curve, dataset.num_images("train"), _num_batches(dataset, recipe))
    if result is not None and data is not None:
        _check_saved_predictions(checks, folder, result, data, recipe)
    if result is not None and data is not None and result.train is not None:
        with checks.catch_errors(
            "selected weights", "the checkpoint is missing, damaged, or of another network or epoch"
        ):
            network = trained_network(folder, target, checks.notes.append)
            found = sum(parameter.numel() for parameter in network.parameters())
            checks.check_equal(
                "parameters, of the weights", result.parameters, found, "the weights are of another network"
            )
            if dataset is not None:
                _check_scores(checks, folder, dataset, network, result, target, pieces.precision_config)
    checks.notes += _notes(folder, pieces, scored=dataset is not None)
    return RunVerification(run=folder.name, figures=tuple(checks.figures), notes=tuple(checks.notes))


def find_runs(path: Path) -> list[Path]:
    """The run at a path, or the runs in it; a folder counts that holds any record of a run, whole or not."""
    if is_run(path):
        return [path]
    return sorted(inner for inner in path.iterdir() if inner.is_dir() and is_run(inner)) if path.is_dir() else []


def is_run(path: Path) -> bool:
    """Whether a folder holds a run, or what is left of one."""
    return any((path / name).is_file() for name in ("recipe.toml", "data.json", "metrics.jsonl", "best.json"))


def _read_records(checks: VerificationChecks, folder: RunFolder) -> _RunRecords:
    """Every record of the folder."""
    pieces, readers = (
        _RunRecords(),
        {
            "recipe": ("recipe.toml", folder.recipe),
            "data": ("data.json", folder.data),
            "table": ("layers.json", folder.table),
            "precision_config": ("precision.json", folder.precision_config),
            "environment": ("environment.json", folder.environment),
            "curve": ("metrics.jsonl", folder.epochs),
            "result": ("result.json", folder.result),
        },
    )
    for field, (name, read) in readers.items():
        if not folder.file(name).is_file():
            what = "the run has not finished" if field == "result" else UNREADABLE_MESSAGE
            checks.check_equal(name, "there", "missing", what)
            continue
        with checks.catch_errors(name, UNREADABLE_MESSAGE):
            setattr(pieces, field, read())
    return pieces


def _check_table(
    checks: VerificationChecks, folder: RunFolder, recipe: Recipe, data: DataRecord, records: _RunRecords
) -> None:
    """Trace the recipe's table again."""
    form = data.preprocessing
    with checks.catch_errors("layer table", "the recipe's table does not fit the data: one of the two was edited"):
        shape = (form.channels, form.height, form.width)
        plan = plan_network(recipe.model, shape, len(data.classes), folder.path / BACKBONE_FOLDER)
        found = summarize(plan.layers, recipe, parameters=plan.parameters, trainable=plan.trainable)
        edited = "layers.json or the recipe was edited"
        if records.result is not None:
            told = records.result.parameters
            checks.check_equal("parameters", told, found.parameters, "result.json or the recipe was edited")
        if records.table is None:
            return
        checks.check_equal("parameters, in layers.json", records.table.parameters, found.parameters, edited)
        checks.check_equal("multiply-adds", records.table.macs, found.macs, edited)
        checks.check_equal("rows of the table", len(records.table.layers), len(found.layers), edited)
        rows = zip(records.table.layers, found.layers, strict=False)
        for was, row in [pair for pair in rows if pair[0] != pair[1]][:MOST_ROWS]:
            name = next(name for name in type(was).model_fields if getattr(was, name) != getattr(row, name))
            checks.check_equal(f"row {was.name}: {name}", str(getattr(was, name)), str(getattr(row, name)), edited)


def _open_data(
    checks: VerificationChecks,
    folder: RunFolder,
    recipe: Recipe,
    data: DataRecord,
    context: RunContext,
) -> Dataset | None:
    """The run's data, where it is the data that the run tells of; no test image is read."""
    known = relocate_recipe(folder, context.data_root)
    dataset = open_dataset(known.data, recipe.train.seed, context)
    form, kept = dataset.image_spec, data.preprocessing
    facts: dict[str, tuple[Any, Any]] = {
        "classes": (", ".join(data.classes), ", ".join(dataset.classes)),
        **{
            f"images of the {part} part": (data.splits.get(part, 0), dataset.num_images(part))
            for part in SPLITS
            if part in data.splits or part in dataset.splits
        },
        "split hash": (data.split_hash, dataset.split_hash),
        "test set": (data.test_set, dataset.test_set_id() if "test" in dataset.splits else ""),
        "image shape": (f"{kept.channels}×{kept.height}×{kept.width}", "×".join(map(str, form.shape))),
        "interpolation": (kept.interpolation, form.interpolation),
    }
    # Each is told, also behind one that does not hold.
    holding = [checks.check_equal(name, told, found, OTHER_DATA_MESSAGE) for name, (told, found) in facts.items()]
    if not all(holding):
        checks.notes.append("No figure of the weights was recalculated: the data here is not that of the run.")
        return None
    for name, told, found in (("mean", kept.mean, dataset.mean), ("standard deviation", kept.std, dataset.std)):
        if not checks.check_equal(f"channels of the normalisation {name}", len(told), len(found), OTHER_DATA_MESSAGE):
            continue
        for channel, (one, other) in enumerate(zip(told, found, strict=True)):
            pixels = "the training images are not those of the run, or data.json was edited"
            checks.check_close(f"normalisation {name}, channel {channel}", one, other, STATS_TOLERANCE, pixels)
    return dataset


def _num_batches(dataset: Dataset, recipe: Recipe) -> int:
    images, size = dataset.num_images("train"), recipe.train.batch_size
    # A rest of one image joins the batch before it.
    return images // size + (images % size > (1 if images >= size else 0))


def _check_saved_predictions(
    checks: VerificationChecks, folder: RunFolder, result: RunResult, data: DataRecord, recipe: Recipe | None
) -> None:
    """The figures of result.json must be those of the kept predictions, digit by digit."""
    for part, told in _scores(result).items():
        name = f"predictions-{part}.npz"
        if not folder.file(name).is_file():
            if part == "train" and recipe is not None and recipe.train.predictions != "all":
                continue
            checks.check_equal(name, "there", "missing", "the reported figures can't be held to what was predicted")
            continue
        with checks.catch_errors(name, UNREADABLE_MESSAGE):
            predictions = folder.predictions(part)
            if predictions is not None:
                check_saved_predictions(checks, part, told, predictions, data.classes)


def _check_scores(
    checks: VerificationChecks,
    folder: RunFolder,
    dataset: Dataset,
    network: nn.Module,
    result: RunResult,
    device: torch.device,
    precision_config: PrecisionConfig | None,
) -> None:
    """Score every split that has reported figures; a look at the test set is written down before it is read."""
    plain = precision_config or PrecisionConfig(precision="fp32", memory_format="contiguous")
    for part, told in _scores(result).items():
        with checks.catch_errors(
            f"{part} images", "the images can't be read, or the look at them can't be written down"
        ):
            if part == "test":
                feed = open_test_split(folder, dataset, device, plain, PURPOSE)
            else:
                feed = make_image_loader(dataset, part, device, plain)
            found = predict_logits(network, feed)
            kept = folder.predictions(part) if (folder.path / f"predictions-{part}.npz").is_file() else None
            check_scores(checks, part, told, found, feed.labels, dataset.classes, kept)


def _scores(result: RunResult) -> dict[Split, Score]:
    found: dict[Split, Score | None] = {part: getattr(result, part) for part in SPLITS}
    return {part: told for part, told in found.items() if told is not None}


def _ledger_notes(runs: Path, names: set[str], test_set: str) -> Iterator[str]:
    """What the ledger tells of the look that gave a run its test figures; nothing where it names the run itself."""
    looks = [look for look in openings(runs, test_set) if look.purpose != PURPOSE]
    if any(look.run in names for look in looks):
        return
    studies = list(
        dict.fromkeys(look.run.removeprefix(STUDY_PURPOSE) for look in looks if look.run.startswith(STUDY_PURPOSE))
    )
    confirmed = [study for study in studies if names & _confirmation_runs(runs, study)]
    if confirmed:
        yield f"Its test figures are of the confirmation of study {', '.join(confirmed)}, as the ledger tells."
    elif studies:
        yield (
            f"It reports test figures, and the ledger beside it has only the confirmation of study "
            f"{', '.join(studies)}; no result of a study there names this run."
        )
    else:
        yield "It reports test figures, and the ledger beside it has no line of the look that gave them."


def _confirmation_runs(runs: Path, study: str) -> set[str]:
    """The runs with which a study, or a search of that name, confirmed what it chose; none where that can't be read."""
    found: set[str] = set()
    for kind in STUDIES:
        try:
            confirmation = json.loads((runs / kind / slug(study) / "result.json").read_bytes())["confirmation"]
            found |= {str(run["run"]) for side in CONFIRMATION_FIELDS for run in confirmation[side]}
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return found


def _notes(folder: RunFolder, records: _RunRecords, *, scored: bool) -> list[str]:
    notes = []
    result, data, made = records.result, records.data, records.environment
    if made is not None and made.code != code_hash():
        notes.append(f"Made by other code of cnnlab ({made.code}) than this ({code_hash()}).")
    if result is not None and result.train is None:
        notes.append("The run diverged: it reports no figures.")
    if result is not None and result.test is not None and data is not None:
        notes += _ledger_notes(folder.path.parent, {folder.name, result.run}, data.test_set)
    if scored:
        notes.append(
            "What leaves no trace in a run folder (augmentation, loss, weight decay, clipping) is not checked; for "
            "that, train again: cnnlab train RUN/recipe.toml."
        )
    return notes
