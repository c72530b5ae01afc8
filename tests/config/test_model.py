"""[model]: a table or a backbone, told apart, read back, and mixed up in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cnnlab.config.arms import diff_recipes
from cnnlab.config.model import Model
from cnnlab.config.recipe import Recipe
from cnnlab.errors import SpecError

NETWORK = "resnet18(weights='none')"
FULL: dict[str, Any] = {
    "backbone": NETWORK,
    "cut": "layer3",
    "head": ["globalpool", "dropout(p)", "dense(classes)"],
    "trainable": "gradual(['layer3'], every=2)",
    "resize": [64, 48],
    "interpolation": "bicubic",
    "values": {"p": 0.25},
    "init": "xavier",
}


def recipe(**model: Any) -> Recipe:
    return Recipe.from_tables({"data": {"source": "shapes"}, "model": model})


@pytest.mark.parametrize(
    "model",
    [
        {"backbone": NETWORK},
        FULL,
        {"backbone": "run('runs/x', cut='conv2', weights='none')", "resize": "own", "trainable": "last_convs(2)"},
        {"backbone": "timm/convnext_tiny(weights='imagenet')", "resize": 256, "trainable": "rows(['stages.3'])"},
        {"layers": ["flatten", "dense(classes)"]},
    ],
)
def test_what_is_written_is_read_back(model: dict[str, Any]) -> None:
    made = recipe(**model)
    assert Recipe.from_toml(made.to_toml()) == made
    assert ("layers" in made.to_tables()["model"]) is ("backbone" not in model)


def test_the_head_follows_the_features() -> None:
    model = Model(backbone=NETWORK)
    assert [row.text for row in model.trace_head((512, 4, 4), 7).records()] == ["globalpool", "dense(7)"]
    assert [row.text for row in model.trace_head((512,), 7).records()] == ["dense(7)"]
    assert model.trace_head((512,), 7).parameters == 512 * 7 + 7
    with pytest.raises(SpecError, match=r"flatten") as message:
        Model(backbone=NETWORK, head=["dense(8)", "dense(classes)"]).trace_head((512, 4, 4), 7)
    assert message.value.problems[0].where == "model.head[0]"


def test_settings_of_the_command_line_reach_the_model(tmp_path: Path) -> None:
    recipe(**{**FULL, "resize": 64}).write(tmp_path / "a.toml")
    given = {
        "model.trainable": "none",
        "model.resize": "own",
        "model.cut": "none",
        "model.backbone": "resnet34('none')",
        "model.head": "none",
        "model.values": {},
    }
    model = Recipe.read(tmp_path / "a.toml", given).model
    assert (model.trainable.kind, model.resize, model.cut, model.head) == ("none", "own", "", ())
    assert model.backbone is not None
    assert model.backbone.name == "resnet34"  # type: ignore[union-attr]


def test_a_child_puts_a_backbone_in_the_place_of_a_table_and_back(tmp_path: Path) -> None:
    table = recipe(layers=["flatten", "dense(classes)"])
    table.write(tmp_path / "table.toml")
    backbone = 'base = "table.toml"\n[model]\nlayers = "none"\n' + f'backbone = "{NETWORK}"\ntrainable = "none"\n'
    (tmp_path / "backbone.toml").write_text(backbone + 'resize = "own"\ncut = "layer2"\nhead = ["dense(classes)"]\n')
    made = Recipe.read(tmp_path / "backbone.toml").model
    assert made.backbone is not None
    assert (made.layers, made.cut, made.head) == ((), "layer2", ("dense(classes)",))
    undone = 'base = "backbone.toml"\n[model]\nlayers = ["flatten", "dense(classes)"]\nbackbone = "none"\n'
    (tmp_path / "back.toml").write_text(undone + 'trainable = "all"\ncut = "none"\nhead = "none"\n')
    back = Recipe.read(tmp_path / "back.toml")
    assert back.model.backbone is None
    assert back.model.layers == table.model.layers


def test_a_change_of_policy_is_one_change() -> None:
    base = recipe(backbone=NETWORK)
    assert diff_recipes(recipe(backbone=NETWORK, trainable="none"), base) == {"model.trainable": "none"}
    assert diff_recipes(recipe(backbone=NETWORK, trainable="gradual(every=1)"), base) == {"model.trainable": "gradual"}


@pytest.mark.parametrize(
    ("model", "where", "words"),
    [
        (
            {"backbone": NETWORK, "layers": ["flatten", "dense(classes)"]},
            "model.layers",
            "a table of layers or a",
        ),
        ({"backbone": "resnet18('none', cut='layer3')", "cut": "layer2"}, "model.cut", "the cut is given twice"),
        ({"backbone": "resnet18"}, "model.backbone", "the weights of resnet18 are missing"),
        ({"backbone": 18}, "model.backbone", "a text such as resnet18"),
        ({"backbone": NETWORK, "trainable": "som"}, "model.trainable", "unknown choice of what trains 'som'"),
        ({"backbone": NETWORK, "head": ["dens(classes)"]}, "model.head[0]", "did you mean 'dense'"),
        ({"backbone": NETWORK, "values": {"p": 1}}, "model.values.p", "'p' is not used in the table"),
        ({"backbone": NETWORK, "resize": "huge"}, "model.resize", "'own'"),
        (
            {"layers": ["dense(classes)"], "head": ["dense(classes)"]},
            "model.head",
            "'head' is of a backbone",
        ),
        ({"layers": ["dense(classes)"], "trainable": "none"}, "model.trainable", "'trainable' is of a backbone"),
    ],
)
def test_what_does_not_go_together_is_told_where_it_stands(model: dict[str, Any], where: str, words: str) -> None:
    with pytest.raises(SpecError, match=words) as message:
        recipe(**model)
    assert where in [problem.where for problem in message.value.problems]


def test_normalising_for_a_backbone_needs_one() -> None:
    tables = {"data": {"source": "shapes", "normalize": "weights"}, "model": {"layers": ["flatten", "dense(classes)"]}}
    with pytest.raises(SpecError, match="there is no backbone to normalise images for"):
        Recipe.from_tables(tables)
    tables["model"] = {"backbone": NETWORK}  # type: ignore[assignment]
    assert Recipe.from_tables(tables).data.normalize == "weights"
