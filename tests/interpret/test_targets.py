"""What a person means by a word: rows, a recipe, a run or a backbone, and the table of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cnnlab.architecture.trace import Trace
from cnnlab.config.recipe import Recipe
from cnnlab.errors import RunError, SourceError, SpecError
from cnnlab.interpret.targets import (
    LayerRows,
    NamedBackbone,
    RecipeFile,
    TracedRecipe,
    resolve_target,
    resolve_target_name,
    trace_recipe,
    trace_run,
)
from cnnlab.storage.run_folder import RunFolder


def assert_traced(found: TracedRecipe, expected: Trace) -> None:
    assert found.input == expected.input
    assert found.rows == tuple(expected.records())


@pytest.mark.parametrize("what", [["relu"], ["first: conv(3, 5)"], ["conv(3, 5)", "relu"]])
def test_rows_are_meant_by_several_words_or_a_layer(what: list[str]) -> None:
    assert resolve_target(what) == LayerRows(tuple(what))


def test_a_file_is_a_recipe_whatever_its_name(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    for name in ("mine.toml", "mine.txt", "mine"):
        path = tmp_path / name
        path.write_text(recipe(seed=4).to_toml(), encoding="utf-8")
        assert resolve_target([str(path)]) == resolve_target_name(str(path)) == RecipeFile(path, Recipe.read(path))
    with pytest.raises(SpecError, match=r"gone\.toml"):
        resolve_target([str(tmp_path / "gone.toml")])


def test_a_folder_is_a_run(recipe: Callable[..., Recipe], trained: Callable[..., RunFolder], tmp_path: Path) -> None:
    made = recipe()
    folder = trained(made)
    assert resolve_target([str(folder.path)]) == RunFolder.open(folder.path)
    assert_traced(trace_run(folder), made.model.trace((3, 8, 8), 3))
    assert_traced(trace_run(folder, (16, 12)), made.model.trace((3, 16, 12), 3))
    with pytest.raises(RunError, match="there is no run here"):
        resolve_target([str(tmp_path)])


def test_any_other_word_is_a_backbone() -> None:
    assert resolve_target(["resnet18"]) == resolve_target_name("resnet18") == NamedBackbone("resnet18", (3, 224, 224))


def test_an_unknown_word_is_told_with_what_could_be_meant() -> None:
    with pytest.raises(SpecError, match=r"(?s)this is no recipe, no run folder and no backbone.*a \.toml file"):
        resolve_target_name("resnet17")
    words = r"(?s)this is no layer, no recipe, no run folder and no backbone.*did you mean 'resnet1"
    with pytest.raises(SpecError, match=words):
        resolve_target(["resnet17"])
    with pytest.raises(SpecError, match=r"did you mean 'maxpool'"):
        resolve_target(["maxpol"])


def test_a_recipe_is_traced_over_its_own_images_or_others(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    made = recipe()
    file = RecipeFile(tmp_path / "mine.toml", made)
    assert_traced(trace_recipe(file), made.model.trace((3, 8, 8), 3))
    assert_traced(trace_recipe(file, (20, 10), 1), made.model.trace((1, 20, 10), 3))
    away = RecipeFile(file.path, recipe(source="nowhere"))
    with pytest.raises(SourceError, match="no data is found"):
        trace_recipe(away)
    assert trace_recipe(away, (20, 10)).input == (3, 20, 10)
    with pytest.raises(SpecError, match=r"mine\.toml.*model\.layers\[0\].*window does not fit"):
        trace_recipe(RecipeFile(file.path, recipe(layers=["conv(4, 30)", "flatten", "dense(classes)"])))


def test_only_a_backbone_loads_torch(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(recipe().to_toml(), encoding="utf-8")
    code = (
        "import sys; from cnnlab.interpret.targets import resolve_target, trace_recipe; "
        f"trace_recipe(resolve_target([{str(tmp_path / 'mine.toml')!r}])); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_runs_and_recipes_of_a_similar_name_are_told_before_backbones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CNNLAB_RUNS", "mine")
    with pytest.raises(SpecError, match="did you mean 'alexnet'"):
        resolve_target_name("alexnett")
    for place in ("mine/20260101-120000-alexnett-small", "mine/20260102-120000-other", "recipes"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / ("alexnett.toml" if place == "recipes" else "recipe.toml")).touch()
    with pytest.raises(SpecError) as caught:
        resolve_target_name("alexnett")
    step = caught.value.problems[0].next_step
    assert step == "did you mean 20260101-120000-alexnett-small or recipes/alexnett.toml?"
    with pytest.raises(SpecError, match="20260102-120000-other"):
        resolve_target_name("20260102-130000-other")
