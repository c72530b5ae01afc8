"""What `describe` tells of a recipe and of a backbone: its sums, its memory, its forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cnnlab.api.describe import BATCH_SIZE, describe
from cnnlab.architecture.memory import estimate_memory
from cnnlab.config.model import Model
from cnnlab.config.recipe import Data, Recipe, Train
from cnnlab.errors import SourceError, SpecError, UsageError
from cnnlab.records import WarningRecord
from cnnlab.render.formatting import format_bytes
from cnnlab.reports.architecture.result import Description

ROOT = Path(__file__).parents[3]
LENET = ROOT / "recipes" / "lenet.toml"


def small(**train: object) -> Recipe:
    layers = ["conv(6, 5)", "relu", "flatten", "dense(classes)"]
    return Recipe(data=Data(source="cifar10"), model=Model(layers=layers), train=Train(**train))


def column(found: Description, title: str) -> list[str]:
    (_, table), _ = found.document().tables
    index = [each.title for each in table.columns].index(title)
    return [row[index] for row in table.rows]


def memory_column(found: Description, title: str) -> list[str]:
    _, (_, table) = found.document().tables
    index = [each.title for each in table.columns].index(title)
    return [row[index] for row in table.rows]


def test_a_recipe_is_its_table_with_the_sums() -> None:
    found = describe(LENET)
    trace = Recipe.read(LENET).model.trace((3, 32, 32), 10)
    assert found.layers == tuple(trace.records())
    assert (found.parameters, found.trainable, found.macs) == (390_410, 390_410, trace.macs)
    assert (found.input, found.num_classes, found.source) == ((3, 32, 32), 10, "cifar10")
    assert found.classes[:2] == ("airplane", "automobile")
    assert found.memory == estimate_memory(found.layers, 390_410, 64, 2)
    assert describe(str(LENET)) == found


def test_the_json_is_the_record_and_comes_back() -> None:
    found = describe(LENET)
    told = json.loads(found.to_json())
    assert {"parameters", "trainable", "macs", "input", "classes", "layers", "warnings", "memory"} <= told.keys()
    assert told["layers"][0]["receptive_field"] == [5, 5]
    assert set(told["memory"]) >= {"batch_size", "weights", "gradients", "optimizer", "activations", "total"}
    assert Description.from_json(found.to_json()) == found


def test_size_classes_and_batch_take_the_recipes_place() -> None:
    found = describe(small(batch_size=8), size=(20, 24), classes=3)
    assert (found.input, found.num_classes, found.classes) == ((3, 20, 24), 3, ())
    assert found.layers[-1].output == (3,)
    assert found.memory.batch_size == 8
    assert describe(small(batch_size=8), batch_size=2).memory.batch_size == 2


def test_the_memory_is_that_of_the_recipes_optimizer() -> None:
    plain, adam = describe(small(optimizer="sgd(0.1)")), describe(small(optimizer="adam"))
    assert (plain.memory.optimizer, adam.memory.optimizer) == (0, 2 * adam.memory.weights)
    cells = [memory_column(found, title) for found, title in ((plain, "sgd's state"), (adam, "adam's state"))]
    assert cells == [["–", "–"], [format_bytes(adam.memory.optimizer), "–"]]


def test_the_shares_add_up_and_the_memory_column_too() -> None:
    found = describe(LENET)
    for title in ("share", "their share"):
        shares = [float(cell.strip("<% ")) for cell in column(found, title) if cell]
        assert sum(shares) == pytest.approx(100, abs=0.5)
    *cells, total = column(found, "memory")
    assert total == format_bytes(found.memory.activations)
    assert sum(found.memory.layers.values()) == found.memory.activations
    assert cells[1] == format_bytes(64 * 32 * 32 * 32 * 4)


def test_the_sheet_ends_with_sums_and_warnings() -> None:
    found = describe(small())
    warned = WarningRecord(name="made-up", where="conv1", message="it is made up", fix="leave it")
    sheet = found.model_copy(update={"warnings": (warned,)}).document()
    assert sheet.title == "recipe: 3×32×32 images of cifar10, 10 classes"
    assert sheet.notes[0] == f"{found.parameters:,} parameters, all trained; {found.macs:,} multiply-adds an image."
    assert sheet.tables[1][0] == "Memory with 64 images at a time, in 32-bit floats"
    assert memory_column(found, "total") == [format_bytes(found.memory.total), format_bytes(found.memory.prediction)]
    assert sheet.notes[1] == "! made-up (conv1): it is made up; leave it"


@pytest.mark.full
def test_a_small_image_is_a_warning_for_a_backbone() -> None:
    assert "one-pixel-maps" in [warning.name for warning in describe("resnet18", size=(32, 32)).warnings]
    assert describe("resnet18").warnings == ()


def test_a_recipes_warnings_are_those_of_its_choices_too() -> None:
    assert [warning.name for warning in describe(small(optimizer="sgd(500.0)")).warnings] == ["learning-rate"]


def test_a_notebook_sees_the_drawing_and_the_table() -> None:
    shown = describe(small())._repr_html_()
    assert "data:image/svg+xml;base64," in shown
    assert "<code>conv(6, 5)</code>" in shown


def test_mistakes_of_a_file_are_told_with_the_file() -> None:
    change = {"model.layers": ["conv(8, 99)", "flatten", "dense(classes)"]}
    with pytest.raises(SpecError, match=r"lenet\.toml: model\.layers\[0\]: a 99×99 window does not fit"):
        describe(LENET, overrides=change)
    with pytest.raises(SpecError, match="No such file"):
        describe("nowhere.toml")
    with pytest.raises(SourceError):
        describe(small().model_copy(update={"data": Data(source="nowhere-at-all")}))


def test_only_a_file_takes_overrides() -> None:
    for what in ("resnet18", small()):
        with pytest.raises(UsageError, match=r"--set: only a recipe's file has values that can be changed"):
            describe(what, overrides={"train.epochs": 3})


@pytest.mark.parametrize("name", ["classes", "batch_size"])
def test_nothing_comes_of_no_images_and_no_classes(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name}: there is nothing to describe\n.*0\n.*1 or more"):
        describe(small(), **{name: 0})


def test_a_backbone_is_described_alike() -> None:
    found = describe("resnet18", size=(64, 48), classes=10)
    assert (found.parameters, found.trainable, found.num_classes) == (11_181_642, 11_181_642, 10)
    assert (found.input, found.source, found.classes) == ((3, 64, 48), "", ())
    assert found.title == "resnet18: 3×64×48 images, 10 classes"
    assert found.memory.batch_size == BATCH_SIZE == Train().batch_size
    assert [row.name for row in found.layers][:3] == ["conv1", "bn1", "relu"]
    named = [row.name for row in found.layers]
    drawing = found.svg()
    assert all(drawing.count(f"<title>{name}: ") == 1 for name in named)
    assert describe("resnet18").input == (3, 224, 224)


def test_a_backbone_that_is_not_there() -> None:
    with pytest.raises(SpecError, match="resnet18"):
        describe("resnet81")


def test_what_is_described_may_be_a_run_and_is_never_a_recipe_without_its_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe.read(ROOT / "recipes" / "lenet.toml")
    (tmp_path / "run").mkdir()
    recipe.write(tmp_path / "run" / "recipe.toml")
    assert describe(tmp_path / "run").parameters == 390_410
    monkeypatch.chdir(ROOT)
    with pytest.raises(SpecError, match=r"no network is called 'lenet'(?s:.*)write recipes/lenet.toml"):
        describe("lenet")
    assert describe(recipe, size=48).input == (3, 48, 48)
    with pytest.raises(UsageError, match="nothing to describe"):
        describe(recipe, size=(-1, 4))


def test_warnings_that_are_switched_off_are_named() -> None:
    off = ["bias-before-batchnorm"]
    found = describe(ROOT / "recipes" / "model2.toml", overrides={"warnings.off": off})
    assert "bias-before-batchnorm" not in {warning.name for warning in found.warnings}
    assert found.document().notes[-1] == "Warnings switched off: bias-before-batchnorm."
    assert describe(ROOT / "recipes" / "model2.toml", overrides={"warnings.off": off[0]}) == found
