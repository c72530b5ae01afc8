"""Reported figures against those of the kept predictions, and of the network's own answers. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import numpy.typing as npt

from cnnlab.config.stopping import Metric
from cnnlab.evaluation.metrics import compute_score
from cnnlab.records import Score
from cnnlab.runs.verify.result import VerificationChecks
from cnnlab.storage.run_folder import Predictions

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
