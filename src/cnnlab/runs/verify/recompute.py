"""Recompute a run: load its weights, score its data again, and compare with what its folder reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np
import numpy.typing as npt

from cnnlab.config.recipe import Recipe
from cnnlab.config.stopping import Metric
from cnnlab.config.warnings import summarize
from cnnlab.context import LOCAL, RunContext
from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.data.sources.base import Split
from cnnlab.errors import CnnlabError
from cnnlab.evaluation.logits import predict_logits
from cnnlab.evaluation.metrics import compute_score
from cnnlab.models.network_plan import plan_network
from cnnlab.records import DataRecord, EpochRecord, LayerTable, RunResult, Score
from cnnlab.runs.environment import code_hash, relocate_recipe
from cnnlab.runs.final_evaluation import open_split, trained_network
from cnnlab.runs.verify.result import ReportedValue, RunVerification, VerifiedValue
from cnnlab.storage.run_folder import BACKBONE_FOLDER, Predictions, RunFolder
from cnnlab.storage.test_ledger import openings
from cnnlab.training.device import choose_device, disable_tf32
from cnnlab.training.early_stopping import EarlyStopping
from cnnlab.training.precision import FP32

T = TypeVar("T")
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
METRICS: tuple[str, ...] = get_args(Metric)
PURPOSE = "verify"
MAX_ROWS = 5
# The same logits give the same figures, but for the order of adding.
EXACT = dict.fromkeys(METRICS, 1e-6)
# Logits of another number of threads or machine differ by a few units of the seventh digit of the largest number that
# was added on the way to them; this leaves room for a hundred layers.
LOGITS_TOLERANCE = 1e-3
# Means over the same pixels, in another order of adding.
STATS_TOLERANCE = 1e-5

UNREADABLE = "the file is missing, damaged or edited"
OTHER_DATA = "these are not the images that the run was made with, or data.json or the recipe was edited"
OTHER_WEIGHTS = "the weights are not those that were scored, or the figure was edited"
OTHER_PREDICTIONS = "result.json and the predictions do not belong together: one of the two was edited"
EDITED_TABLE = "layers.json, result.json or the recipe was edited"
EDITED_CURVE = "result.json, the recipe or the learning curve was edited, or belongs to another run"


@dataclass
class Checks:
    """The figures and notes of a run, as they are compared."""

    figures: list[VerifiedValue] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def equal(self, name: str, reported: ReportedValue, recomputed: ReportedValue, meaning: str) -> bool:
        """Compare a figure that must be the same."""
        return self._add(name, reported, recomputed, reported == recomputed, meaning)

    def close(self, name: str, reported: float, recomputed: float, tolerance: float, meaning: str) -> bool:
        """Compare a figure that another machine or number of threads may change in its last digits."""
        holds = bool(np.isclose(reported, recomputed, rtol=0, atol=tolerance, equal_nan=True))
        return self._add(name, reported, recomputed, holds, meaning)

    def read(self, folder: RunFolder, name: str, reader: Callable[[], T], meaning: str = UNREADABLE) -> T | None:
        """Read a file of the run; one that is missing or damaged is a figure that does not hold."""
        if not folder.file(name).is_file():
            self.equal(name, "there", "missing", meaning)
            return None
        with self.usable(name, meaning):
            return reader()
        return None

    @contextmanager
    def usable(self, name: str, meaning: str) -> Iterator[None]:
        """Turn an error within it into a figure that does not hold."""
        try:
            yield
        except CnnlabError as error:
            self._add(name, "usable", "; ".join(problem.what for problem in error.problems), False, meaning)

    def _add(self, name: str, reported: ReportedValue, recomputed: ReportedValue, holds: bool, meaning: str) -> bool:
        meaning = "" if holds else meaning
        self.figures.append(VerifiedValue(name=name, reported=reported, found=recomputed, holds=holds, meaning=meaning))
        return holds


@disable_tf32()
def verify_run(path: str | Path, context: RunContext = LOCAL) -> RunVerification:
    """Recompute a run: its table, its data, and every figure of its selected weights.

    Nothing in the folder is changed. The test set is opened only if the run reports test figures; that opening is a
    line in the ledger beside the run.

    Args:
        path: a run folder; files may be missing.
        context: names the device and the data folder.

    Raises:
        UsageError: an unknown device.
    """
    folder, device, checks = RunFolder(Path(path).resolve()), choose_device(context.device), Checks()
    recipe = checks.read(folder, "recipe.toml", folder.recipe)
    data = checks.read(folder, "data.json", folder.data)
    table = checks.read(folder, "layers.json", folder.table)
    precision = checks.read(folder, "precision.json", folder.precision_config)
    environment = checks.read(folder, "environment.json", folder.environment)
    curve = checks.read(folder, "metrics.jsonl", folder.epochs)
    result = checks.read(folder, "result.json", folder.result, "the run has not finished")
    dataset = None
    if recipe is not None and data is not None:
        _check_table(checks, folder, recipe, data, table, result)
        with checks.usable("data", "the data that the recipe names is not here, or has changed: see --data"):
            dataset = _open_data(checks, folder, recipe, data, context)
    if recipe is not None and result is not None and curve:
        _check_selection(checks, recipe, curve, result)
    if result is not None and data is not None and result.train is not None:
        network = None
        with checks.usable("selected weights", "the checkpoint is missing, damaged, or of another network or epoch"):
            network = trained_network(folder, device, checks.notes.append)
            size = sum(parameter.numel() for parameter in network.parameters())
            checks.equal("parameters, of the weights", result.parameters, size, "the weights are of another network")
        for split, reported in _scores(result).items():
            saved = None
            if split != "train" or recipe is None or recipe.train.predictions == "all":
                saved = _saved_predictions(checks, folder, split, reported, data.classes)
            if network is not None and dataset is not None:
                with checks.usable(f"{split} images", "the images can't be read, or the opening can't be recorded"):
                    loader = open_split(dataset, split, device, precision or FP32, folder, PURPOSE)
                    computed = Predictions(loader.labels, predict_logits(network, loader))
                    _check_computed(checks, split, reported, saved, computed, dataset.classes)
    if environment is not None and environment.code != code_hash():
        checks.notes.append(f"Made by other code of cnnlab ({environment.code}) than this ({code_hash()}).")
    checks.notes += _notes(folder, result, data, scored=dataset is not None)
    return RunVerification(run=folder.name, figures=tuple(checks.figures), notes=tuple(checks.notes))


def find_runs(path: Path) -> list[Path]:
    """The run at a path, or the runs in it; a folder counts that holds any record of a run."""
    if is_run(path):
        return [path]
    return sorted(inner for inner in path.iterdir() if inner.is_dir() and is_run(inner)) if path.is_dir() else []


def is_run(path: Path) -> bool:
    """Whether a folder holds a run, or some of its files."""
    return any((path / name).is_file() for name in ("recipe.toml", "data.json", "metrics.jsonl", "best.json"))


def _check_table(
    checks: Checks,
    folder: RunFolder,
    recipe: Recipe,
    data: DataRecord,
    table: LayerTable | None,
    result: RunResult | None,
) -> None:
    """Trace the recipe's table again."""
    spec = data.preprocessing
    with checks.usable("layer table", "the recipe's table does not fit the data: one of the two was edited"):
        shape = (spec.channels, spec.height, spec.width)
        plan = plan_network(recipe.model, shape, len(data.classes), folder.path / BACKBONE_FOLDER)
        traced = summarize(plan.layers, recipe, parameters=plan.parameters, trainable=plan.trainable)
        if result is not None:
            checks.equal("parameters", result.parameters, traced.parameters, EDITED_TABLE)
        if table is None:
            return
        checks.equal("parameters, in layers.json", table.parameters, traced.parameters, EDITED_TABLE)
        checks.equal("multiply-adds", table.macs, traced.macs, EDITED_TABLE)
        checks.equal("rows of the table", len(table.layers), len(traced.layers), EDITED_TABLE)
        rows = zip(table.layers, traced.layers, strict=False)
        for stored, row in [pair for pair in rows if pair[0] != pair[1]][:MAX_ROWS]:
            for name in stored.model_fields_set:  # runs of earlier versions lack later fields
                before, now = getattr(stored, name), getattr(row, name)
                if before != now:
                    checks.equal(f"row {stored.name}: {name}", str(before), str(now), EDITED_TABLE)


def _open_data(
    checks: Checks, folder: RunFolder, recipe: Recipe, data: DataRecord, context: RunContext
) -> Dataset | None:
    """The run's data, if it is the data of the run's records; no test image is read."""
    known = relocate_recipe(folder, context.data_root)
    dataset = open_dataset(known.data, recipe.train.seed, context)
    spec, stored = dataset.image_spec, data.preprocessing
    shape = "×".join(map(str, spec.shape))
    test_set = dataset.test_set_id() if "test" in dataset.splits else ""
    holds = [
        checks.equal("classes", ", ".join(data.classes), ", ".join(dataset.classes), OTHER_DATA),
        checks.equal("split hash", data.split_hash, dataset.split_hash, OTHER_DATA),
        checks.equal("test set", data.test_set, test_set, OTHER_DATA),
        checks.equal("image shape", f"{stored.channels}×{stored.height}×{stored.width}", shape, OTHER_DATA),
        checks.equal("interpolation", stored.interpolation, spec.interpolation, OTHER_DATA),
        checks.equal("fit", stored.fit, spec.fit, OTHER_DATA),
        checks.equal("channels of the normalisation", len(stored.mean), len(dataset.mean), OTHER_DATA),
    ]
    for split in SPLITS:
        if split in data.splits or split in dataset.splits:
            images = data.splits.get(split, 0), dataset.num_images(split)
            holds.append(checks.equal(f"images of the {split} split", *images, OTHER_DATA))
    if not all(holds):
        checks.notes.append("No figure of the weights was recomputed: the data here is not that of the run.")
        return None
    for name, before, now in (("mean", stored.mean, dataset.mean), ("standard deviation", stored.std, dataset.std)):
        for channel, values in enumerate(zip(before, now, strict=True)):
            checks.close(f"normalisation {name}, channel {channel}", *values, STATS_TOLERANCE, OTHER_DATA)
    return dataset


def _check_selection(checks: Checks, recipe: Recipe, curve: Sequence[EpochRecord], result: RunResult) -> None:
    """Compare the end of the training and the selected epoch with the learning curve."""
    checks.equal("epochs", result.epochs, curve[-1].epoch, EDITED_CURVE)
    if result.train is None:
        return
    best, selected = EarlyStopping(recipe.train.choose), curve[-1].epoch
    if recipe.train.weights == "best":
        better = [point.epoch for point in curve if point.validation is not None and best.update(point.validation)]
        selected = better[-1] if better else selected
    checks.equal("selected epoch", result.selected_epoch, selected, EDITED_CURVE)


def _saved_predictions(
    checks: Checks, folder: RunFolder, split: Split, reported: Score, classes: Sequence[str]
) -> Predictions | None:
    """The saved predictions, compared with the reported score: the same logits give the same figures."""
    name = f"predictions-{split}.npz"
    saved = checks.read(folder, name, lambda: folder.predictions(split))
    if saved is None:
        return None
    if not _is_valid(saved, len(classes)):
        shapes = f"{saved.labels.shape} labels, {saved.logits.shape} logits"
        checks.equal(name, f"{reported.images} images, {len(classes)} classes", shapes, UNREADABLE)
        return None
    score = compute_score(saved.logits, saved.labels, classes)
    _check_score(checks, split, f", of {name}", reported, score, EXACT, OTHER_PREDICTIONS)
    return saved


def _check_computed(
    checks: Checks,
    split: Split,
    reported: Score,
    saved: Predictions | None,
    computed: Predictions,
    classes: Sequence[str],
) -> None:
    """Compare the predictions of the weights with the saved ones, image by image, and with the reported score."""
    largest = float(np.abs(computed.logits[np.isfinite(computed.logits)]).max(initial=0.0))
    tolerance = LOGITS_TOLERANCE * (1 + largest)
    name = f"predictions-{split}.npz"
    if saved is not None and checks.equal(f"{name}: images", len(saved.labels), len(computed.labels), OTHER_DATA):
        wrong = int((saved.labels != computed.labels).sum())
        checks.equal(f"{name}: labels that are not the data's", 0, wrong, OTHER_DATA)
        close = np.isclose(saved.logits, computed.logits, rtol=0, atol=tolerance, equal_nan=True).all(axis=1)
        checks.equal(f"{name}: images whose logits differ", 0, int((~close).sum()), OTHER_WEIGHTS)
    score = compute_score(computed.logits, computed.labels, classes)
    _check_score(checks, split, "", reported, score, _tolerances(score, computed.logits, tolerance), OTHER_WEIGHTS)


def _check_score(
    checks: Checks,
    split: str,
    source: str,
    reported: Score,
    computed: Score,
    tolerances: Mapping[str, float],
    meaning: str,
) -> None:
    """Compare a score, metric by metric and class by class; one figure stands for all classes that hold.

    Args:
        source: of the computed figures, as their names end.
    """
    checks.equal(f"{split} images{source}", reported.images, computed.images, meaning)
    for metric, tolerance in tolerances.items():
        name = f"{split} {metric.replace('_', ' ')}{source}"
        checks.close(name, reported.metric(metric), computed.metric(metric), tolerance, meaning)
    names = [", ".join(each.name for each in score.per_class) for score in (reported, computed)]
    if not checks.equal(f"{split} classes{source}", names[0], names[1], meaning):
        return
    for stored, own in zip(reported.per_class, computed.per_class, strict=True):
        for name, tolerance in {
            "images": 0.0,
            **dict.fromkeys(("recall", "precision"), tolerances["macro_f1"]),
        }.items():
            values = float(getattr(stored, name)), float(getattr(own, name))
            if abs(values[0] - values[1]) > tolerance:
                checks.close(f"{split} {name} of class {own.name}{source}", *values, tolerance, meaning)


def _tolerances(score: Score, logits: npt.NDArray[np.float32], tolerance: float) -> dict[str, float]:
    """How far each metric may move where logits move by `tolerance`: by the images that are so close to a tie.

    A tie of the best two classes, or of the fifth and sixth, counts.
    """
    smallest = min((each.images for each in score.per_class if each.images), default=1)
    with np.errstate(invalid="ignore"):
        gaps = np.diff(np.sort(logits.astype(np.float64), axis=1)[:, ::-1], axis=1)
        ties = int((np.abs(gaps[:, 0:5:4]) <= 2 * tolerance).any(axis=1).sum())
    return {
        metric: exact + (2 * tolerance if metric == "loss" else 2 * ties / smallest) for metric, exact in EXACT.items()
    }


def _is_valid(saved: Predictions, classes: int) -> bool:
    """Whether arrays from a file are labels and logits of these classes."""
    labels, logits = saved.labels, saved.logits
    return (
        labels.ndim == 1
        and logits.shape == (len(labels), classes)
        and (labels.dtype.kind, logits.dtype.kind) == ("i", "f")
        and bool(np.isin(labels, np.arange(classes)).all())
    )


def _scores(result: RunResult) -> dict[Split, Score]:
    scores: dict[Split, Score | None] = {split: getattr(result, split) for split in SPLITS}
    return {split: score for split, score in scores.items() if score is not None}


def _notes(folder: RunFolder, result: RunResult | None, data: DataRecord | None, *, scored: bool) -> Iterator[str]:
    if result is not None and result.train is None:
        yield "The run diverged: it reports no figures."
    if result is not None and result.test is not None and data is not None:
        names = {entry.run for entry in openings(folder.path.parent, data.test_set) if entry.purpose != PURPOSE}
        # A study records its opening once, for all its runs.
        if not names & {folder.name, result.run} and not any(name.startswith("study ") for name in names):
            yield "It reports test figures, and the ledger beside it has no opening of this test set by this run."
    if scored:
        yield (
            "The training itself (augmentation, loss, learning rates, weight decay, clipping) is not checked; "
            "for that, train again: cnnlab train RUN/recipe.toml."
        )
