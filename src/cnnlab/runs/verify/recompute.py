"""A run recalculated: its weights loaded, its data opened, and every figure that it reports found again.

What another machine may change: logits in their last digits, and so a mean loss, and the answer to images whose two
best classes are as close as that. Everything else must be the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnnlab.config.recipe import Recipe
from cnnlab.config.warnings import summarize
from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.data.sources.base import ProgressCallback, Split, no_progress
from cnnlab.evaluation.logits import predict_logits
from cnnlab.models.network_plan import plan_network
from cnnlab.records import DataRecord, Environment, EpochRecord, LayerTable, PrecisionConfig, RunResult, Score
from cnnlab.runs.environment import code_hash, relocate_recipe
from cnnlab.runs.final_evaluation import open_test_split, trained_network
from cnnlab.runs.setup import make_image_loader
from cnnlab.runs.verify.curve import check_curve, check_steps
from cnnlab.runs.verify.result import RunVerification, VerificationChecks
from cnnlab.runs.verify.scores import check_saved_predictions, check_scores
from cnnlab.storage.run_folder import BACKBONE_FOLDER, RunFolder, slug
from cnnlab.storage.test_ledger import openings
from cnnlab.training.device import choose_device, disable_tf32

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
def verify_run(
    path: str | Path, *, root: Path | None = None, device: str = "auto", progress: ProgressCallback = no_progress
) -> RunVerification:
    """Recalculate a run: table, data, curve, weights, predictions, and every figure of its selected weights.

    Nothing in the folder is changed. The test set is looked at only where the run reports test figures, and that look
    is a line in the ledger beside the run.

    Args:
        path: a run folder; it need not be whole.
        root: where catalogue data lives; None: the cache folder.
        device: auto, cpu, cuda or mps.

    Raises:
        UsageError: an unknown device.
    """
    folder, target, checks = RunFolder(Path(path).resolve()), choose_device(device), VerificationChecks()
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
            dataset = _open_data(checks, folder, recipe, data, root, progress)
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
    root: Path | None,
    progress: ProgressCallback,
) -> Dataset | None:
    """The run's data, where it is the data that the run tells of; no test image is read."""
    known = relocate_recipe(folder, root)
    dataset = open_dataset(known.data, seed=recipe.train.seed, root=root, progress=progress)
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
    """Score every part that has reported figures; a look at the test set is written down before it is read."""
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
