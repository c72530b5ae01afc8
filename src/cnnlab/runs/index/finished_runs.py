"""Runs read for their figures, those of one experiment together, each group with a name. No torch but for backbones.

Runs that differ in nothing but their seeds are of one experiment.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cnnlab.config.arms import experiment_settings, format_override
from cnnlab.config.recipe import Recipe
from cnnlab.errors import CnnlabError
from cnnlab.grammar.toml_files import bundled_recipe
from cnnlab.records import DataRecord, Environment, PrecisionConfig, Record, RunResult
from cnnlab.storage.run_folder import BACKBONE_FOLDER, RunFolder

# A folder of a run is named by the time and the recipe, and by a number where two began in one second; a run of a
# study by the study and the arm, its seed and its id.
_NAMES = (
    re.compile(r"\d{8}-\d{6}-(?P<recipe>.+?)(?P<number>-\d+)?"),
    re.compile(r"(?P<recipe>.+)-s\d+-[0-9a-f]{12}-[0-9a-f]{6}(?P<number>)"),
)


class SkippedRun(Record):
    """A run without figures, and why."""

    run: str
    reason: str


@dataclass(frozen=True)
class LoadedRun:
    """A run that has ended, read; `file` is the recipe that it was made from, None where that is not known."""

    folder: RunFolder
    recipe: Recipe
    result: RunResult
    data: DataRecord
    precision_config: PrecisionConfig
    environment: Environment
    stem: str
    file: Path | None

    @classmethod
    def load(cls, folder: RunFolder, recipes: Path | None = None) -> LoadedRun | SkippedRun:
        """The run, or why it has no figures; one that diverged has none either, but is a run all the same.

        Args:
            recipes: the folder of the files that were trained; by default those that come with cnnlab.
        """
        try:
            recipe, result = folder.recipe(), folder.result()
            if result is None:
                return SkippedRun(run=folder.name, reason="unfinished")
            stem, file = _find_recipe_file(folder, recipe, recipes or bundled_recipe("any").parent)
            return cls(
                folder, recipe, result, folder.data(), folder.precision_config(), folder.environment(), stem, file
            )
        except CnnlabError as error:
            return SkippedRun(run=folder.name, reason=f"damaged: {error.problems[0].what}")

    @property
    def diverged(self) -> bool:
        """Whether it has no figures since its loss stopped being a number."""
        return self.result.train is None

    @property
    def seed(self) -> int:
        return self.recipe.train.seed

    @cached_property
    def settings(self) -> dict[str, Any]:
        return experiment_settings(self.recipe)

    @cached_property
    def file_recipe(self) -> Recipe | None:
        return resolve_like_run(Recipe.read(self.file), self.folder, self.recipe) if self.file else None

    @property
    def images_id(self) -> str:
        """What names the run's images wherever they lie: the test set, else all that the data held; empty: unknown."""
        return self.data.test_set or self.data.content

    @property
    def experiment_key(self) -> str:
        """The same for runs that differ in their seeds alone. Data of one name may yet be other data."""
        return "\n".join(
            [self.images_id, *(format_override(key, value) for key, value in sorted(self.settings.items()))]
        )


def load_runs(folders: Iterable[RunFolder], recipes: Path | None = None) -> tuple[list[LoadedRun], list[SkippedRun]]:
    """The runs that have ended, diverged ones too, and those that have not; arguments as `LoadedRun.load`."""
    found = [LoadedRun.load(folder, recipes) for folder in folders]
    return [run for run in found if isinstance(run, LoadedRun)], [run for run in found if isinstance(run, SkippedRun)]


def resolve_like_run(recipe: Recipe, folder: RunFolder, run_recipe: Recipe) -> Recipe:
    """A recipe with what follows from its backbone's weights spelled out, as in the recipe `run_recipe` of a run of it.

    Where the weights are no longer known it stays as it is. A recipe with a table loads no torch.
    """
    if recipe.model.backbone is None:
        return recipe
    from cnnlab.runs.resolve_recipe import resolve_recipe_like

    try:
        return resolve_recipe_like(recipe, run_recipe, folder.path / BACKBONE_FOLDER)
    except CnnlabError:
        return recipe


def group_runs(runs: Iterable[LoadedRun], key: Callable[[LoadedRun], str]) -> list[list[LoadedRun]]:
    """Runs of one key together, in the order of the first of each."""
    groups: dict[str, list[LoadedRun]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return list(groups.values())


def group_names(groups: Sequence[Sequence[LoadedRun]]) -> list[str]:
    """Each group's recipe, and where several have it, the settings by which they differ."""
    several = Counter(group[0].stem for group in groups)
    names = []
    for group in groups:
        first = group[0]
        others = [other[0].settings for other in groups if other[0].stem == first.stem]
        keys = {key for other in others for key in other.keys() | first.settings.keys()}
        differing = [key for key in sorted(keys) if any(other.get(key) != others[0].get(key) for other in others)]
        words = [format_override(key.partition(".")[2], first.settings.get(key, "none")) for key in differing]
        names.append(f"{first.stem}: {', '.join(words)}" if several[first.stem] > 1 and words else first.stem)
    repeated = Counter(names)
    return [f"{name} ({number})" if repeated[name] > 1 else name for number, name in enumerate(names, 1)]


def _find_recipe_file(folder: RunFolder, recipe: Recipe, recipes: Path) -> tuple[str, Path | None]:
    """The name of a run's recipe, and its file if it is there and has the same layers or backbone."""
    parts = next((parts for name in _NAMES if (parts := name.fullmatch(folder.name))), None)
    stem, number = (parts["recipe"], parts["number"] or "") if parts else (folder.name, "")
    for name in (stem + number, stem):
        file = recipes / f"{name}.toml"
        try:
            if file.is_file() and _network_key(resolve_like_run(Recipe.read(file), folder, recipe)) == _network_key(
                recipe
            ):
                return name, file
        except CnnlabError:
            continue
    return stem + number, None


def _network_key(recipe: Recipe) -> tuple[object, ...]:
    model = recipe.model
    return model.layers, model.backbone, model.features, model.head
