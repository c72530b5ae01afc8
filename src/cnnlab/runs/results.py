"""The runs of a folder as experiments: recipe, changes, and what came out beside what was published. No torch.

Runs of one recipe that differ in nothing but their seeds are one experiment.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cnnlab.errors import CnnlabError
from cnnlab.records import ClaimRecord, DataRecord, Environment, Record, Result, Score, Way
from cnnlab.runs.claims import figure, judged
from cnnlab.runs.folder import RunFolder, list_runs
from cnnlab.spec.changes import as_setting, changes, file_name, settings
from cnnlab.spec.files import shipped
from cnnlab.spec.recipe import Recipe

# A folder of a run is named by the time and the recipe, and by a number where two began in one second.
_NAME = re.compile(r"\d{8}-\d{6}-(?P<recipe>.+?)(?P<number>-\d+)?")


class RunFigures(Record):
    """One run: how long it trained, on what machine, and its final figures."""

    run: str
    seed: int
    status: str
    epochs: float
    seconds: float
    images_per_second: float
    way: Way
    device: str
    threads: int
    processes: int = 1
    torch: str
    train: Score | None
    validation: Score | None
    test: Score | None


class ClaimFigures(Record):
    """One published figure and what each seed measured; of a seed that was run again, the last run counts."""

    claim: ClaimRecord
    data: str
    values: tuple[float, ...]
    seeds: tuple[int, ...]


class Experiment(Record):
    """Runs of one recipe, which differ in their seeds alone.

    `name` is the recipe's and what tells it from others of that name; `command` makes a run like these. `epochs` are
    those that the recipe's own file asks for; `images` were trained on, `limited` where they are not all there are.
    """

    recipe: str
    name: str
    command: str
    data: str
    images: int
    limited: bool
    epochs: int
    parameters: int
    runs: tuple[RunFigures, ...]
    claims: tuple[ClaimFigures, ...]


class LeftOut(Record):
    """A run without figures, and why."""

    run: str
    reason: str


def experiments(runs: Path, recipes: Path | None = None) -> tuple[list[Experiment], list[LeftOut]]:
    """The experiments in a folder, by name, and the runs that have no figures.

    Args:
        recipes: the folder of the files that were trained; by default those that come with cnnlab. A run whose layers
            are those of the file of its name is told as that file and what was changed.
    """
    found, left_out = [], []
    for folder in list_runs(runs):
        try:
            finished = _Finished.read(folder, recipes or shipped("any").parent)
        except CnnlabError as error:
            left_out.append(LeftOut(run=folder.name, reason=f"damaged: {error.problems[0].what}"))
            continue
        if isinstance(finished, _Finished):
            found.append(finished)
        else:
            left_out.append(LeftOut(run=folder.name, reason=finished))
    groups: dict[str, list[_Finished]] = {}
    for run in found:
        groups.setdefault(run.group, []).append(run)
    names = _names(list(groups.values()))
    made = [_experiment(name, group) for name, group in zip(names, groups.values(), strict=True)]
    return sorted(made, key=lambda experiment: experiment.name), left_out


@dataclass(frozen=True)
class _Finished:
    """A finished run, read; `file` is the recipe that it was made from, None where that is not known."""

    folder: RunFolder
    recipe: Recipe
    result: Result
    data: DataRecord
    way: Way
    environment: Environment
    stem: str
    file: Path | None

    @classmethod
    def read(cls, folder: RunFolder, recipes: Path) -> _Finished | str:
        """The run, or why it has no figures."""
        recipe, result = folder.recipe(), folder.result()
        if result is None:
            return "unfinished"
        if result.train is None:
            return result.status
        stem, file = _file_of(folder, recipe, recipes)
        return cls(folder, recipe, result, folder.data(), folder.way(), folder.environment(), stem, file)

    @cached_property
    def settings(self) -> dict[str, Any]:
        return settings(self.recipe)

    @cached_property
    def base(self) -> Recipe | None:
        return Recipe.read(self.file) if self.file else None

    @property
    def group(self) -> str:
        """The same for runs that differ in their seeds alone. Data of one name may yet be other data."""
        test = self.data.test_set
        return "\n".join([self.stem, test, *(as_setting(key, value) for key, value in sorted(self.settings.items()))])


def _file_of(folder: RunFolder, recipe: Recipe, recipes: Path) -> tuple[str, Path | None]:
    """The name of a run's recipe, and its file if it is there and has the same layers."""
    parts = _NAME.fullmatch(folder.name)
    stem, number = (parts["recipe"], parts["number"] or "") if parts else (folder.name, "")
    for name in (stem + number, stem):
        file = recipes / f"{name}.toml"
        try:
            if file.is_file() and Recipe.read(file).model.layers == recipe.model.layers:
                return name, file
        except CnnlabError:
            continue
    return stem + number, None


def _names(groups: Sequence[Sequence[_Finished]]) -> list[str]:
    """Each group's recipe, and where several have it, the settings by which they differ."""
    several = Counter(group[0].stem for group in groups)
    names = []
    for group in groups:
        first = group[0]
        others = [other[0].settings for other in groups if other[0].stem == first.stem]
        keys = {key for other in others for key in other.keys() | first.settings.keys()}
        told = [key for key in sorted(keys) if any(other.get(key) != others[0].get(key) for other in others)]
        words = [as_setting(key.partition(".")[2], first.settings.get(key, "none")) for key in told]
        names.append(f"{first.stem}: {', '.join(words)}" if several[first.stem] > 1 and words else first.stem)
    repeated = Counter(names)
    return [f"{name} ({number})" if repeated[name] > 1 else name for number, name in enumerate(names, 1)]


def _experiment(name: str, group: Sequence[_Finished]) -> Experiment:
    *_, newest = group
    by_seed = {run.recipe.train.seed: run for run in group}
    return Experiment(
        recipe=newest.stem,
        name=name,
        command=_command(newest, sorted(by_seed)),
        data=file_name(newest.data.source),
        images=newest.data.parts["train"],
        limited=_is_limited(newest),
        epochs=_epochs_of_file(newest),
        parameters=newest.result.parameters,
        runs=tuple(map(_figures, group)),
        claims=tuple(_claims(newest, dict(sorted(by_seed.items())))),
    )


def _is_limited(run: _Finished) -> bool:
    return run.recipe.data.limit is not None or run.recipe.data.per_class is not None


def _epochs_of_file(run: _Finished) -> int:
    return (run.base or run.recipe).train.epochs


def _command(run: _Finished, seeds: Sequence[int]) -> str:
    """What makes such a run: of the recipe's own file where it is known, else of the run's."""
    changed = changes(run.recipe, run.base) if run.base else None
    if changed is None or run.file is None:
        words = ["cnnlab", "train", f"{run.folder.path.parent.name}/{run.folder.name}/recipe.toml"]
        changed = {}
    else:
        words = ["cnnlab", "train", f"{run.file.parent.name}/{run.file.name}"]
    for key, value in changed.items():
        words += ["--set", as_setting(key, value)]
    own = run.base.train.seed if run.base and changed is not None else run.recipe.train.seed
    seeded = "" if list(seeds) == [own] else f" --seed {seeds[0] if len(seeds) == 1 else 'SEED'}"
    processes = run.environment.processes
    if processes > 1:
        words[:1] = ["torchrun", "--nproc-per-node", str(processes), "-m", "cnnlab"]
    return shlex.join(words) + seeded


def _figures(run: _Finished) -> RunFigures:
    result = run.result
    scores = {part: getattr(result, part) for part in ("train", "validation", "test")}
    return RunFigures(
        run=run.folder.name,
        seed=run.recipe.train.seed,
        status=result.status,
        epochs=result.epochs,
        seconds=result.seconds,
        images_per_second=result.images_per_second,
        way=run.way,
        device=run.environment.device,
        threads=run.environment.threads,
        processes=run.environment.processes,
        torch=run.environment.torch,
        **{part: score.model_copy(update={"per_class": ()}) if score else None for part, score in scores.items()},
    )


def _claims(newest: _Finished, by_seed: dict[int, _Finished]) -> Iterable[ClaimFigures]:
    """The claims of the recipe's file, or of the run where that is not known, with the data each was published for."""
    recipe = newest.recipe.model_copy(update={"claims": (newest.base or newest.recipe).claims})
    results = {seed: run.result for seed, run in by_seed.items()}
    shortened = _is_limited(newest) or any(result.epochs < _epochs_of_file(newest) for result in results.values())
    for record in judged(recipe, list(results.values()), newest.data):
        if record.verdict in ("within", "outside") and shortened:
            record = record.model_copy(update={"verdict": "shortened"})
        values = {seed: value for seed, result in results.items() if (value := figure(record.name, result)) is not None}
        yield ClaimFigures(
            claim=record,
            data=recipe.claims[record.name].data or "",
            values=tuple(values.values()),
            seeds=tuple(values),
        )
