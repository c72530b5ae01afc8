"""The preregistration of a study before its first run, and every change since. No torch.

`declared.json` in the study's folder is written before the first run; when the study runs with another preregistration,
that is appended. Where the file can't be read, `study.toml` takes its place.
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
from cnnlab.errors import SpecError, UsageError
from cnnlab.records import Record

PREREGISTRATION_FILE = "declared.json"
STUDY = "study.toml"
UNREADABLE_MESSAGE = "the preregistration can't be read"
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

    It is the same study if it has the same preregistration, or comes from the same file and shares an arm's name or
    content with it. If the file is unknown or gone, it must share an arm's content, or the base and an arm's name.

    Args:
        folder: the study's folder, which need not exist.
        file: the file that the study was read from; None: it was made in Python.

    Raises:
        UsageError: the folder is another study's.
    """
    kept, now = _read(folder), make_preregistration(study)
    if kept is None or now in kept.versions:
        return
    is_own = file is not None and _is_own(file, folder, kept)
    if file is not None and not is_own and kept.file and Path(kept.file).is_file():
        what = f"another study is called {folder.name}: it was read from {kept.file}, and declares something else"
    elif _is_changed(kept.versions[-1], now, is_own):
        return
    else:
        what = f"another study is called {folder.name}, and shares no arm with this one"
    step = "give this one another name with " + ('name="…"' if file is None else "--name")
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
        before = tuple(_earlier_studies(folder, now))
        if any((folder / name).exists() for name in (PREREGISTRATION_FILE, STUDY, "result.json")):
            before = (f"{UNREADABLE_MESSAGE}: a new one was made", *before)
        kept = PreregistrationLog(file="", versions=(now,), before=before)
    elif kept.versions[-1] != now:
        kept = kept.model_copy(update={"versions": (*kept.versions, now)})
    if file is not None and not _is_own(file, folder, kept) and not (kept.file and Path(kept.file).is_file()):
        kept = kept.model_copy(update={"file": str(file.resolve())})
    atomic_write(folder / PREREGISTRATION_FILE, kept.to_json(indent=2).encode())
    return kept


def make_preregistration(study: Study) -> Preregistration:
    """The preregistration of a study."""
    return Preregistration(
        base=_digest(study.base, split=study.base.train.seed),
        arms={arm.name: _digest(arm.recipe) for arm in study.list_arms()},
        baseline=study.baseline,
        seeds=study.seeds,
        baseline_seeds=study.baseline_seeds,
        metric=study.metric,
        smallest_difference=study.smallest_difference,
        alpha=study.alpha,
        vary_split=study.vary_split,
        confirm=study.confirm,
        shifts=study.shifts,
        shift_difference=study.shift_difference,
        published=dict(_published_digests(study)),
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
    """The log of a folder; None where it has neither that nor a study."""
    try:
        return PreregistrationLog.from_json((folder / PREREGISTRATION_FILE).read_bytes())
    except (OSError, ValidationError):
        pass
    try:
        last = make_preregistration(Study.read_stored(folder / STUDY))
    except SpecError:
        return None
    note = f"{UNREADABLE_MESSAGE}: {STUDY} in the folder was used in its place"
    return PreregistrationLog(file="", versions=(last,), before=(note,))


def _is_own(file: Path, folder: Path, log: PreregistrationLog) -> bool:
    """Whether a file is the known one, or the copy in the study's folder."""
    return file.resolve() in (Path(log.file), (folder / STUDY).resolve())


def _is_changed(was: Preregistration, now: Preregistration, is_own: bool) -> bool:
    """Whether a study is a changed version of another: it shares an arm's content, or a name in the same file."""
    same = {*was.arms.values()} & {*now.arms.values()}
    named = was.arms.keys() & now.arms.keys()
    return bool(same or (named and (is_own or was.base == now.base)))


def _earlier_studies(folder: Path, now: Preregistration) -> Iterator[str]:
    """Notes on studies with the same arms under another name, whose results may have been seen."""
    for other in sorted(folder.parent.iterdir()):
        kept = _read(other) if other != folder else None
        if kept is None:
            continue
        known = {digest for version in kept.versions for digest in version.arms.values()}
        shared = [name for name, digest in now.arms.items() if digest in known]
        if len(shared) >= MIN_SHARED_ARMS:
            arms = f"{len(shared)} of these arms" if len(shared) < len(now.arms) else "all of these arms"
            rules = [f"{name} {was}, here {here}" for name, was, here in _changed_rules(kept.versions[-1], now)]
            otherwise = f", with {'; '.join(rules)}" if rules else ""
            yield f"study '{other.name}' had begun to run {arms} before this one was declared{otherwise}"


def _changed_rules(was: Preregistration, now: Preregistration) -> Iterator[tuple[str, object, object]]:
    """The changed rules of judging: name, old and new value."""
    named = {
        "metric": "the metric",
        "smallest_difference": "δ",
        "alpha": "α",
        "baseline": "the baseline",
        "vary_split": "vary_split",
        "confirm": "confirm",
        "shifts": "the list of shifts",
        "shift_difference": "δ under shifts",
    }
    for key, name in named.items():
        if getattr(was, key) != getattr(now, key):
            yield name, _display_value(getattr(was, key)), _display_value(getattr(now, key))


def _describe_changes(was: Preregistration, now: Preregistration) -> Iterator[str]:
    for name, before, is_now in _changed_rules(was, now):
        yield f"{name} was changed {AFTER}: from {before} to {is_now}"
    if published := [kind for kind, digest in now.published.items() if was.published.get(kind) != digest]:
        yield f"the published claims were changed {AFTER}: {', '.join(published)}"
    other = [name for name, digest in now.arms.items() if was.arms.get(name, digest) != digest]
    if other:
        base = " (the base is another recipe)" if was.base != now.base else ""
        yield f"the recipes of these arms were changed {AFTER}{base}: {', '.join(other)}"
    elif was.base != now.base:
        yield f"the base was changed {AFTER}, or the seed that splits its data"
    gone = {name: digest for name, digest in was.arms.items() if name not in now.arms}
    added = {name: digest for name, digest in now.arms.items() if name not in was.arms}
    for name, digest in list(added.items()):
        if former := next((old for old in gone if gone[old] == digest), ""):
            yield f"an arm got another name {AFTER}: '{former}' is called '{name}'"
            del gone[former], added[name]
    if gone:
        yield f"left out {AFTER}: {', '.join(gone)}"
    if added:
        yield f"added {AFTER}: {', '.join(added)}"
    if (was.seeds, was.baseline_seeds) != (now.seeds, now.baseline_seeds):
        yield (
            f"the seeds were changed {AFTER}: from {_describe_seeds(was)} to {_describe_seeds(now)}; adding seeds "
            "until there is a verdict raises the error rate above α"
        )


def _describe_seeds(preregistration: Preregistration) -> str:
    """The number of seeds of an arm, and their list where it does not count from 0."""

    def describe(seeds: tuple[int, ...], whose: str) -> str:
        which = "" if seeds == tuple(range(len(seeds))) else f" ({', '.join(map(str, seeds))})"
        return f"{len(seeds)} {whose}{which}"

    own, baseline = describe(preregistration.seeds, "an arm"), preregistration.baseline_seeds
    return own if baseline is None else f"{own}, {describe(baseline, 'of the baseline')}"


def _display_value(value: object) -> object:
    if isinstance(value, tuple):
        return ", ".join(f"'{each}'" for each in value) or "none"
    return "none" if value is None else f"'{value}'" if isinstance(value, str) else value
