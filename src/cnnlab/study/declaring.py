"""What a study declared before its first result, and what it has been changed to since. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from cnnlab.files import write_whole
from cnnlab.records import Record
from cnnlab.spec.study import Study


class Declaration(Record):
    """What a study must say before it sees a result, for its verdicts to be worth what they say."""

    metric: str
    smallest_difference: float
    alpha: float
    baseline: str | None
    arms: tuple[str, ...]
    seeds: int


def declare(folder: Path, study: Study) -> tuple[str, ...]:
    """Write down what a study declares, unless it has a result already; then a sentence for each change since.

    Raises:
        RunError: the folder can't be written to.
    """
    now = Declaration(
        metric=study.metric,
        smallest_difference=study.smallest_difference,
        alpha=study.alpha,
        baseline=study.baseline,
        arms=tuple(arm.name for arm in study.list_arms()),
        seeds=len(study.seeds),
    )
    first = _first(folder / "declared.json")
    if first is None or not (folder / "result.json").exists():
        write_whole(folder / "declared.json", now.to_json(indent=2).encode())
        return ()
    return tuple(_changed(first, now))


def _first(path: Path) -> Declaration | None:
    try:
        return Declaration.from_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _changed(first: Declaration, now: Declaration) -> Iterator[str]:
    after = "after results had been seen"
    named = {"metric": "the metric", "smallest_difference": "δ", "alpha": "α", "baseline": "the baseline"}
    for key, name in named.items():
        before, is_now = getattr(first, key), getattr(now, key)
        if before != is_now:
            yield f"{name} was changed {after}: it was {before}, and is {is_now}"
    gone = [name for name in first.arms if name not in now.arms]
    if gone:
        yield f"left out {after}: {', '.join(gone)}"
    if now.seeds != first.seeds:
        seeds = f"{first.seeds} seeds an arm were declared, and {now.seeds} are used"
        yield f"{seeds}: where seeds are added until a verdict comes, more verdicts are wrong than α says"
