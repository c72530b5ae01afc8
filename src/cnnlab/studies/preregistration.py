"""The preregistration of a study before its first run, and every change since. No torch.

declared.json in the study's folder is written before the first run and only ever gets longer: each time that the study
runs with another preregistration, that is added. Where it can't be read, study.toml is taken for it.
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
UNREADABLE_MESSAGE = "what was declared before the first run can't be read"
DIGITS = 12
AFTER = "after the first run had begun"
# So many arms make a comparison that another study has seen before.
MIN_SHARED_ARMS = 2
# The published claims by kind: the names and the order of keys that the digests in declared.json have always had.
PUBLISHED_KEYS = {
    "numeric": ("claims", ("arm", "metric", "published", "images", "data", "smallest_difference")),
    "ordinal": ("says", ("arm", "published", "than", "data")),
    "shift": ("under", ("shift", "published", "arm", "images", "data")),
}


class Preregistration(Record):
    """What a study must say before it sees a result, for its verdicts to be worth what they say.

    `base` and `arms` have digests of the recipes' content: data, network and training, without seed and claims;
    `published` of published claims, by kind: of numbers, of words (says), under shifts (under).
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
        """Hex digits of all of it: studies that declare the same have the same."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:DIGITS]


class PreregistrationLog(Record):
    """What a study's folder keeps.

    Attributes:
        file: of the study, whole; empty for one that was made in Python.
        versions: the preregistration before the first run, then each change.
        before: sentences on studies that had started to run the same arms before, and on a declared.json that can't be
            read.
    """

    file: str
    versions: tuple[Preregistration, ...]
    before: tuple[str, ...] = ()

    def deviations(self) -> tuple[str, ...]:
        """A sentence for each thing that was changed since, once, and for each earlier study of the same arms."""
        changed = (line for was, now in pairwise(self.versions) for line in _describe_changes(was, now))
        return tuple(dict.fromkeys((*self.before, *changed)))


def check_study_name(folder: Path, study: Study, file: Path | None = None) -> None:
    """Refuse a study whose folder is that of another one.

    Its own are one with the same preregistration, wherever its file lies, and one that was changed in the same file, as
    long as a name of an arm is left. Where a file is not known, or is gone, it is a changed study if an arm's content
    is left, or the base and a name.

    Args:
        folder: the study's folder, made or not.
        file: that the study was read from; None: it was made in Python.

    Raises:
        UsageError: the folder is another study's.
    """
    kept, now = _read(folder), make_preregistration(study)
    if kept is None or now in kept.versions:
        return
    is_own = file is not None and _is_own(file, folder, kept)
    if file is not None and not is_own and kept.file and Path(kept.file).is_file():
        what = f"another study is called {folder.name}: it is that of {kept.file}, and declares something else"
    elif _is_changed(kept.versions[-1], now, is_own):
        return
    else:
        what = f"another study is called {folder.name}: it has no arm of this one, or only the name of one"
    step = "give this one another name with " + ('name="…"' if file is None else "--name")
    raise UsageError(what, where=str(folder), received=str(file or "a study made in Python"), next_step=step)


def preregister(folder: Path, study: Study, file: Path | None = None) -> PreregistrationLog:
    """Record what a study declares, the first time and whenever it has changed; the whole log.

    Args:
        folder: the study's folder, which is there.
        file: that the study was read from; None: it was made in Python.

    Raises:
        RunError: the folder can't be written to.
    """
    kept, now = _read(folder), make_preregistration(study)
    if kept is None:
        before = tuple(_earlier_studies(folder, now))
        if any((folder / name).exists() for name in (PREREGISTRATION_FILE, STUDY, "result.json")):
            before = (f"{UNREADABLE_MESSAGE}: it was declared anew", *before)
        kept = PreregistrationLog(file="", versions=(now,), before=before)
    elif kept.versions[-1] != now:
        kept = kept.model_copy(update={"versions": (*kept.versions, now)})
    if file is not None and not _is_own(file, folder, kept) and not (kept.file and Path(kept.file).is_file()):
        kept = kept.model_copy(update={"file": str(file.resolve())})
    atomic_write(folder / PREREGISTRATION_FILE, kept.to_json(indent=2).encode())
    return kept


def make_preregistration(study: Study) -> Preregistration:
    """The preregistration of a study as it is now."""
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
    """Of what a study's run takes from a recipe: it shuts the test set itself."""
    return _digest_of({key: value for key, value in experiment_settings(recipe).items() if key != "train.test"} | more)


def _digest_of(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:DIGITS]


def _published_digests(study: Study) -> Iterator[tuple[str, str]]:
    """A digest of the published claims, by kind; their sources and notes decide nothing."""
    for kind, (name, keys) in PUBLISHED_KEYS.items():
        claims = [claim.model_dump(mode="json") for claim in study.claims if claim.kind == kind]
        renamed = [{"of" if key == "metric" else key: claim[key] for key in keys} for claim in claims]
        yield name, _digest_of(sorted(renamed, key=str))


def _read(folder: Path) -> PreregistrationLog | None:
    """What a folder keeps; None where it has neither that nor its study."""
    try:
        return PreregistrationLog.from_json((folder / PREREGISTRATION_FILE).read_bytes())
    except (OSError, ValidationError):
        pass
    try:
        last = make_preregistration(Study.read_stored(folder / STUDY))
    except SpecError:
        return None
    taken = f"{UNREADABLE_MESSAGE}: the {STUDY} that the folder keeps was taken for it"
    return PreregistrationLog(file="", versions=(last,), before=(taken,))


def _is_own(file: Path, folder: Path, log: PreregistrationLog) -> bool:
    """Whether a file is the one that is known, or the copy in the study's own folder."""
    return file.resolve() in (Path(log.file), (folder / STUDY).resolve())


def _is_changed(was: Preregistration, now: Preregistration, is_own: bool) -> bool:
    """Whether a study is another version of one: an arm is left, by its content, or by its name in the same file."""
    same = {*was.arms.values()} & {*now.arms.values()}
    named = was.arms.keys() & now.arms.keys()
    return bool(same or (named and (is_own or was.base == now.base)))


def _earlier_studies(folder: Path, now: Preregistration) -> Iterator[str]:
    """Studies that ran the same arms under another name: their results may have been seen."""
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
    """The rules for judging arms that differ: name, old and new value."""
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
        yield f"what is published was changed {AFTER}: {', '.join(published)}"
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
            f"the seeds were changed {AFTER}: from {_describe_seeds(was)} to {_describe_seeds(now)}; where seeds "
            "are added until a "
            "verdict comes, more verdicts are wrong than α says"
        )


def _describe_seeds(preregistration: Preregistration) -> str:
    """How many seeds an arm has, and which where they are not the first ones."""

    def describe(seeds: tuple[int, ...], whose: str) -> str:
        which = "" if seeds == tuple(range(len(seeds))) else f" ({', '.join(map(str, seeds))})"
        return f"{len(seeds)} {whose}{which}"

    own, baseline = describe(preregistration.seeds, "an arm"), preregistration.baseline_seeds
    return own if baseline is None else f"{own}, {describe(baseline, 'of the baseline')}"


def _display_value(value: object) -> object:
    if isinstance(value, tuple):
        return ", ".join(f"'{each}'" for each in value) or "none"
    return "none" if value is None else f"'{value}'" if isinstance(value, str) else value
