"""The preregistration of a study before its first run, and every change since. No torch.

`declared.json` in the study's folder is written before the first run; when the study runs with another preregistration,
that is appended.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cnnlab.atomic_io import atomic_write
from cnnlab.config.arms import experiment_settings
from cnnlab.config.recipe import Recipe
from cnnlab.config.study import Study
from cnnlab.errors import UsageError
from cnnlab.records import Record

PREREGISTRATION_FILE = "declared.json"
UNREADABLE_MESSAGE = "the preregistration can't be read: a new one was made"
DIGITS = 12
AFTER = "after the first run had begun"
# Two arms in common make a comparison that another study has seen before.
MIN_SHARED_ARMS = 2
# The published claims by kind: the names and the order of keys that the digests in declared.json have always had.
PUBLISHED_KEYS = {
    "numeric": ("claims", ("arm", "metric", "published", "images", "data", "smallest_difference")),
    "ordinal": ("says", ("arm", "published", "than", "data")),
    "shift": ("under", ("shift", "published", "arm", "images", "data")),
}
# The names of fields in notes on changes, where they differ from the keys.
FIELD_NAMES = {"smallest_difference": "δ", "alpha": "α", "shift_difference": "δ under shifts"}


class Preregistration(Record):
    """The decisions of a study that must be made before its results are seen.

    `base` and `arms` are digests of the recipes: data, network and training, without seed and claims; `published` are
    digests of the published claims, by kind.
    """

    base: str
    arms: dict[str, str]
    baseline: str | None
    seeds: tuple[int, ...]
    baseline_seeds: tuple[int, ...] | None
    metric: str
    smallest_difference: float | None
    alpha: float
    vary_split: bool
    confirm: int | None
    shifts: tuple[str, ...]
    shift_difference: float | None
    published: dict[str, str]

    @property
    def digest(self) -> str:
        """Hex digits of all fields."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:DIGITS]


class PreregistrationLog(Record):
    """The content of `declared.json`.

    Attributes:
        file: the absolute path of the study's file; empty for a study made in Python.
        versions: the preregistration before the first run, then each change.
        before: notes on earlier studies of the same arms, and on a declared.json that could not be read.
    """

    file: str
    versions: tuple[Preregistration, ...]
    before: tuple[str, ...] = ()

    def deviations(self) -> tuple[str, ...]:
        """A note for each change, once, and for each earlier study of the same arms."""
        changed = (line for was, now in pairwise(self.versions) for line in _describe_changes(was, now))
        return tuple(dict.fromkeys((*self.before, *changed)))


def check_study_name(folder: Path, study: Study, file: Path | None = None) -> None:
    """Refuse a study whose folder belongs to another study.

    It is the same study if it has the same preregistration or comes from the same file. If one of the two files is
    unknown, or the first one is gone, the studies must share an arm's content.

    Args:
        folder: the study's folder, which need not exist.
        file: the file that the study was read from; None: it was made in Python.

    Raises:
        UsageError: the folder is another study's.
    """
    kept, now = _read(folder), make_preregistration(study)
    if kept is None or now in kept.versions or (file is not None and _is_own(file, folder, kept)):
        return
    if file is not None and kept.file and Path(kept.file).is_file():
        reason = f"it was read from {kept.file}, and declares something else"
    elif {*kept.versions[-1].arms.values()} & {*now.arms.values()}:
        return
    else:
        reason = "it shares no arm with this one"
    step = "give this one another name with " + ('name="…"' if file is None else "--name")
    what = f"another study is called {folder.name}: {reason}"
    raise UsageError(what, where=str(folder), received=str(file or "a study made in Python"), next_step=step)


def preregister(folder: Path, study: Study, file: Path | None = None) -> PreregistrationLog:
    """Record the preregistration of a study, the first time and whenever it has changed; return the whole log.

    Args:
        folder: the study's folder, which exists.
        file: the file that the study was read from; None: it was made in Python.

    Raises:
        RunError: the folder can't be written to.
    """
    kept, now = _read(folder), make_preregistration(study)
    if kept is None:
        is_unreadable = any((folder / name).exists() for name in (PREREGISTRATION_FILE, "result.json"))
        before = ([UNREADABLE_MESSAGE] if is_unreadable else []) + list(_earlier_studies(folder, now))
        kept = PreregistrationLog(file="", versions=(now,), before=tuple(before))
    elif kept.versions[-1] != now:
        kept = kept.model_copy(update={"versions": (*kept.versions, now)})
    if file is not None and not _is_own(file, folder, kept) and not (kept.file and Path(kept.file).is_file()):
        kept = kept.model_copy(update={"file": str(file.resolve())})
    atomic_write(folder / PREREGISTRATION_FILE, kept.to_json(indent=2).encode())
    return kept


def make_preregistration(study: Study) -> Preregistration:
    """The preregistration of a study."""
    alike = Preregistration.model_fields.keys() - {"base", "arms", "published"}
    return Preregistration(
        base=_digest(study.base, split=study.base.train.seed),
        arms={arm.name: _digest(arm.recipe) for arm in study.list_arms()},
        published=dict(_published_digests(study)),
        **{key: getattr(study, key) for key in alike},
    )


def _digest(recipe: Recipe, **more: int) -> str:
    """A digest of the experiment of a recipe; `train.test` is set by the study."""
    return _digest_of({key: value for key, value in experiment_settings(recipe).items() if key != "train.test"} | more)


def _digest_of(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:DIGITS]


def _published_digests(study: Study) -> Iterator[tuple[str, str]]:
    """A digest of the published claims, by kind, without their sources and notes."""
    for kind, (name, keys) in PUBLISHED_KEYS.items():
        claims = [claim.model_dump(mode="json") for claim in study.claims if claim.kind == kind]
        renamed = [{"of" if key == "metric" else key: claim[key] for key in keys} for claim in claims]
        yield name, _digest_of(sorted(renamed, key=str))


def _read(folder: Path) -> PreregistrationLog | None:
    try:
        return PreregistrationLog.from_json((folder / PREREGISTRATION_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def _is_own(file: Path, folder: Path, log: PreregistrationLog) -> bool:
    """Whether a file is the known one, or the copy in the study's folder."""
    return file.resolve() in (Path(log.file), (folder / "study.toml").resolve())


def _earlier_studies(folder: Path, now: Preregistration) -> Iterator[str]:
    """Notes on studies with the same arms under another name, whose results may have been seen."""
    for other in sorted(folder.parent.iterdir()):
        kept = _read(other) if other != folder else None
        known = {digest for version in kept.versions for digest in version.arms.values()} if kept is not None else set()
        shared = sum(digest in known for digest in now.arms.values())
        if shared >= MIN_SHARED_ARMS:
            yield f"study '{other.name}' had begun to run {shared} of {len(now.arms)} arms before this one was declared"


def _describe_changes(was: Preregistration, now: Preregistration) -> Iterator[str]:
    """A note for each field that was changed; those of recipes and claims name the arms and the kinds."""
    for key in Preregistration.model_fields:
        before, after = getattr(was, key), getattr(now, key)
        if before == after:
            continue
        name = FIELD_NAMES.get(key, key.replace("_", " "))
        if isinstance(before, dict):
            changed = [one for one in {**before, **after} if before.get(one) != after.get(one)]
            yield f"{name} changed {AFTER}: {', '.join(changed)}"
        elif key == "base":
            yield f"the base, or the seed that splits its data, changed {AFTER}"
        else:
            yield f"{name} changed {AFTER}: from {_display_value(before)} to {_display_value(after)}"
        if key == "seeds":
            yield "adding seeds until there is a verdict raises the error rate above α"


def _display_value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
