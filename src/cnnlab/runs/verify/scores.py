"""Reported figures against those of the kept predictions, and of the network's own answers. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import numpy.typing as npt

from cnnlab.config.optimization import Metric
from cnnlab.evaluation.metrics import score
from cnnlab.records import Score
from cnnlab.runs.verify.result import Checks
from cnnlab.storage.run_folder import Predictions

METRICS: tuple[str, ...] = get_args(Metric)
# The same logits give the same figures, but for the order of adding.
EXACT = 1e-6
# Logits of another number of threads or machine differ by a few units of the seventh digit of the largest number that
# was added on the way to them; this leaves room for a hundred layers.
LOGITS = 1e-3
Logits = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def check_kept(checks: Checks, part: str, told: Score, kept: Predictions, classes: Sequence[str]) -> None:
    """Hold a reported score to the kept predictions: the same logits give the same figures."""
    name = f"predictions-{part}.npz"
    if not _fits(kept, len(classes)):
        shapes = f"{kept.labels.shape} labels, {kept.logits.shape} logits"
        checks.same(name, f"{told.images} images, {len(classes)} classes", shapes, f"{name} was edited")
        return
    what = f"result.json does not report what {name} holds: one of the two was edited"
    found = score(kept.logits, kept.labels, classes)
    checks.same(f"{part} images, in {name}", told.images, found.images, what)
    for metric in METRICS:
        checks.near(f"{part} {_words(metric)}, of {name}", told.metric(metric), found.metric(metric), EXACT, what)
    _check_classes(checks, f"of {name}", part, told, found, EXACT, what)


def check_scores(
    checks: Checks,
    part: str,
    told: Score,
    logits: Logits,
    labels: Labels,
    classes: Sequence[str],
    kept: Predictions | None,
) -> None:
    """Hold a reported score, and the kept predictions, to what the selected weights say here.

    Args:
        logits, labels: found here, N×K and N.
        kept: the run's own predictions; None where they are missing.
    """
    finite = logits[np.isfinite(logits)]
    within = LOGITS * (1 + float(np.abs(finite).max(initial=0.0)))
    weights = "the weights are not those that were scored, or the figure was edited"
    if kept is not None and _fits(kept, len(classes)):
        _check_predictions(checks, part, kept, logits, labels, within)
    found = score(logits, labels, classes)
    checks.same(f"{part} images", told.images, found.images, "another number of images was scored")
    checks.near(f"{part} loss", told.loss, found.loss, 2 * within, weights)
    loose = _undecided(logits, 1, within)
    smallest = min((each.images for each in found.per_class if each.images), default=1)
    room = {
        "accuracy": len(loose) / found.images,
        "top5": len(_undecided(logits, 5, within)) / found.images,
        "balanced_accuracy": 2 * len(loose) / smallest,
        "macro_f1": 2 * len(loose) / smallest,
    }
    for metric, share in room.items():
        one, other = told.metric(metric), found.metric(metric)
        moved = ""
        if metric in ("accuracy", "top5"):
            moved = f"{round(abs(one - other) * found.images):,} of {found.images:,} images differ; "
        checks.near(f"{part} {_words(metric)}", one, other, share + EXACT, moved + weights)
    _check_classes(checks, "", part, told, found, room["macro_f1"] + EXACT, weights)


def _check_predictions(
    checks: Checks, part: str, kept: Predictions, logits: Logits, labels: Labels, within: float
) -> None:
    name = f"predictions-{part}.npz"
    if len(kept.labels) != len(labels):
        checks.same(f"{name}: images", len(kept.labels), len(labels), f"{name} is of other images, or was edited")
        return
    wrong = int((kept.labels != labels).sum())
    checks.same(f"{name}: labels that are not the data's", 0, wrong, f"{name} is of other images, or was edited")
    with np.errstate(invalid="ignore"):
        apart = np.abs(kept.logits.astype(np.float64) - logits)
    # The same infinities are no difference; anything beside a NaN is, unless both are.
    apart = np.where((kept.logits == logits) | (np.isnan(kept.logits) & np.isnan(logits)), 0.0, apart)
    apart = np.where(np.isnan(apart), np.inf, apart)
    images = int((apart.max(axis=1, initial=0.0) > within).sum())
    classes = int((kept.logits.argmax(axis=1) != logits.argmax(axis=1)).sum())
    what = (
        f"the selected weights do not give these; {classes:,} of {len(labels):,} images have another class: "
        "other weights, other images, or edited predictions"
    )
    checks.same(f"{name}: images whose logits differ", 0, images, what)


def _check_classes(checks: Checks, of: str, part: str, told: Score, found: Score, within: float, meaning: str) -> None:
    """Every class's figures; one figure stands for all that hold."""
    if [each.name for each in told.per_class] != [each.name for each in found.per_class]:
        names = [", ".join(each.name for each in each_score.per_class) for each_score in (told, found)]
        checks.same(f"{part} classes {of}".strip(), names[0], names[1], meaning)
        return
    whole = True
    for one, other in zip(told.per_class, found.per_class, strict=True):
        for name in ("images", "recall", "precision"):
            a, b = float(getattr(one, name)), float(getattr(other, name))
            if abs(a - b) > (0 if name == "images" else within):
                whole = False
                checks.near(f"{part} {name} of class {one.name} {of}".strip(), a, b, within, meaning)
    if whole:
        count = len(told.per_class)
        checks.same(f"{part} figures of the classes {of}".strip(), count, count, meaning)


def _undecided(logits: Logits, rank: int, within: float) -> npt.NDArray[np.intp]:
    """The images whose `rank`-th and next best classes are too close to tell which is which on another machine."""
    if logits.shape[1] <= rank:
        return np.array([], dtype=np.intp)
    ordered = -np.sort(-logits.astype(np.float64), axis=1)
    with np.errstate(invalid="ignore"):
        close = ordered[:, rank - 1] - ordered[:, rank] <= 2 * within
    return np.flatnonzero(close)


def _fits(kept: Predictions, classes: int) -> bool:
    """Whether arrays from a file are predictions at all."""
    return (
        kept.labels.ndim == 1
        and kept.logits.ndim == 2
        and kept.logits.shape == (len(kept.labels), classes)
        and len(kept.labels) > 0
        and np.issubdtype(kept.labels.dtype, np.integer)
        and np.issubdtype(kept.logits.dtype, np.floating)
        and bool(((kept.labels >= 0) & (kept.labels < classes)).all())
    )


def _words(metric: str) -> str:
    return metric.replace("_", " ")
