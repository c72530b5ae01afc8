"""The index of runs: the runs of a folder, or at some paths, each read once. No torch but for backbones."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cnnlab.config.arms import experiment_settings, format_override
from cnnlab.config.recipe import Recipe
from cnnlab.errors import CnnlabError
from cnnlab.grammar.toml_files import bundled_recipe
from cnnlab.records import DataRecord, Environment, PrecisionConfig, Provenance, Record, RunResult
from cnnlab.storage.run_folder import BACKBONE_FOLDER, RunFolder, list_runs

# A run of a study is named STUDY-ARM-sSEED-WORK-MADE: the digest of the work, and of the code and device that made it.
_TASK_ID = re.compile(r"-(?P<work>[0-9a-f]{12})-(?P<made>[0-9a-f]{6})$")


class SkippedRun(Record):
    """A run without figures, and the reason."""

    run: str
    reason: str


@dataclass(frozen=True)
class FinishedRun:
    """A run that has ended; `file` is the recipe file that it was made from, None where that is not known."""

    folder: RunFolder
    recipe: Recipe
    result: RunResult
    data: DataRecord
    precision_config: PrecisionConfig
    environment: Environment
    stem: str
    file: Path | None

    @classmethod
    def load(cls, folder: RunFolder, recipes: Path | None = None) -> FinishedRun | SkippedRun:
        """Read a run, or why it has no figures; a diverged run is a finished one.

        Args:
            recipes: the folder of the recipe files; by default where the run's provenance says, then cnnlab's own.
        """
        try:
            result = folder.result()
            if result is None:
                return SkippedRun(run=folder.name, reason="unfinished")
            recipe = folder.recipe()
            stem, file = _find_recipe_file(folder, recipe, recipes)
            return cls(
                folder, recipe, result, folder.data(), folder.precision_config(), folder.environment(), stem, file
            )
        except CnnlabError as error:
            return SkippedRun(run=folder.name, reason=f"damaged: {error.problems[0].what}")

    @property
    def diverged(self) -> bool:
        """Whether it diverged, and so has no figures."""
        return self.result.train is None

    @property
    def seed(self) -> int:
        return self.recipe.train.seed

    @cached_property
    def provenance(self) -> Provenance | None:
        """What it was made from; None in a run of an earlier version."""
        return self.folder.provenance()

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings of its recipe, without the seed."""
        return experiment_settings(self.recipe)

    @cached_property
    def file_recipe(self) -> Recipe | None:
        """The recipe of `file`."""
        return resolve_like_run(Recipe.read(self.file), self.folder, self.recipe) if self.file else None

    @property
    def images_id(self) -> str:
        """The identity of its images wherever they are stored: the test set's, else the data's; empty if unknown."""
        return self.data.test_set or self.data.content

    @property
    def experiment_key(self) -> str:
        """The same for runs that differ only in their seeds; data of one name may still be other data."""
        settings = (format_override(key, value) for key, value in sorted(self.settings.items()))
        return "\n".join([self.images_id, *settings])


class RunIndex:
    """The runs of a folder; a run is read when it is first asked for.

    With `any_code`, `find_finished` also takes a run of the same work that other code, torch or device made.

    Attributes:
        folders: of the runs, by name.
        repeated: names of runs that were given more than once.
        damaged: by the id of a task, what is wrong with its run.
    """

    def __init__(self, runs: Path | None, *, any_code: bool = False, recipes: Path | None = None) -> None:
        """List the runs of a folder, which may not exist yet.

        Args:
            recipes: the folder of the recipe files that runs are compared with; by default cnnlab's own.
        """
        self.runs, self.any_code, self.recipes = runs, any_code, recipes
        self.folders: list[RunFolder] = []
        self.repeated: list[str] = []
        self.damaged: dict[str, str] = {}
        self._read: dict[Path, FinishedRun] = {}
        self.refresh()

    @classmethod
    def of_paths(cls, paths: Iterable[str | Path]) -> RunIndex:
        """The runs at these paths, of run folders or of folders that hold runs, each once and in the given order.

        Raises:
            RunError: there is no run at a path.
        """
        index = cls(None)
        known: set[Path] = set()
        for path in map(Path, paths):
            inner = [] if (path / "recipe.toml").is_file() else list_runs(path)
            for folder in [RunFolder(each.path.resolve()) for each in inner] or [RunFolder.open(path)]:
                if folder.path not in known:
                    index.folders.append(folder)
                elif folder.name not in index.repeated:
                    index.repeated.append(folder.name)
                known.add(folder.path)
        return index

    def refresh(self) -> None:
        """List the folder again, and forget the runs that were read."""
        self._read.clear()
        self.damaged.clear()
        if self.runs is not None:
            self.folders = list_runs(self.runs.resolve())
        self._by_work: dict[str, list[tuple[str, RunFolder]]] = defaultdict(list)
        for folder in self.folders:
            if named := _TASK_ID.search(folder.name):
                self._by_work[named["work"]].append((named[0][1:], folder))

    def load(self) -> tuple[list[FinishedRun], list[SkippedRun]]:
        """All finished runs, diverged ones too, and those without figures."""
        runs = [self._load(folder) for folder in self.folders]
        finished = [run for run in runs if isinstance(run, FinishedRun)]
        return finished, [run for run in runs if isinstance(run, SkippedRun)]

    def find_finished(self, task: str) -> FinishedRun | None:
        """The finished run of a task's id; None where there is none that can be read."""
        runs = self._by_work.get(task.rpartition("-")[0], [])
        own = [folder for id_, folder in runs if id_ == task][:1]
        others = [folder for id_, folder in runs if id_ != task] if self.any_code else []
        for folder in [*own, *others]:
            run = self._load(folder)
            if isinstance(run, FinishedRun):
                return run
            if run.reason != "unfinished":
                reason = run.reason.removeprefix("damaged: ")
                self.damaged[task] = f"{run.run}: {reason}; remove it to have it made again"
        return None

    def _load(self, folder: RunFolder) -> FinishedRun | SkippedRun:
        if folder.path in self._read:
            return self._read[folder.path]
        run = FinishedRun.load(folder, self.recipes)
        if isinstance(run, FinishedRun):
            self._read[folder.path] = run
        return run


def resolve_like_run(recipe: Recipe, folder: RunFolder, run_recipe: Recipe) -> Recipe:
    """A recipe with the settings that follow from its backbone's weights, as in the recipe of a run of it.

    Where the weights are no longer known it is returned as it is. A recipe with a layer table loads no torch.
    """
    if recipe.model.backbone is None:
        return recipe
    from cnnlab.runs.resolve_recipe import resolve_recipe_like

    try:
        return resolve_recipe_like(recipe, run_recipe, folder.path / BACKBONE_FOLDER)
    except CnnlabError:
        return recipe


def _find_recipe_file(folder: RunFolder, recipe: Recipe, recipes: Path | None) -> tuple[str, Path | None]:
    """The name of a run's recipe, and its file if that exists and has the same network."""
    name, provenance = folder.recipe_name(), folder.provenance()
    files = [recipes / f"{name}.toml"] if recipes is not None else []
    files += [Path(provenance.file)] if provenance is not None and provenance.file else []
    files.append(bundled_recipe(name))
    for file in files:
        try:
            if file.is_file():
                known = resolve_like_run(Recipe.read(file), folder, recipe)
                if _network_key(known) == _network_key(recipe):
                    return file.stem, file
        except CnnlabError:
            continue
    return name, None


def _network_key(recipe: Recipe) -> tuple[object, ...]:
    model = recipe.model
    return model.layers, model.backbone, model.features, model.head
