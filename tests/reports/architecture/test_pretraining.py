"""What is told of a backbone: what trains and when, which weights it begins with, and where they come from."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.api.describe import describe
from cnnlab.config.optimizers import AdamConfig
from cnnlab.config.recipe import Recipe
from cnnlab.context import RunContext
from cnnlab.errors import SpecError
from cnnlab.models.network_plan import plan_run_network
from cnnlab.models.pretrained.weights import find_weights
from cnnlab.records import FeatureCacheRecord, LayerRecord, LayerTable, WeightLoadReport
from cnnlab.reports.architecture.layer_table import layer_table
from cnnlab.reports.architecture.pretraining import (
    freeze_state,
    frozen_text,
    has_frozen_layers,
    initial_weights_facts,
    late_unfreeze_warning,
    loaded_weights_facts,
    trainable_text,
)
from cnnlab.reports.architecture.result import Description
from cnnlab.runs.run import run
from cnnlab.storage.run_folder import RunFolder

RESNET = {"backbone": "resnet18(weights='imagenet')", "trainable": "rows(['layer4'])", "resize": 64}


def row(name: str, parameters: int = 8, *, frozen: bool = False, begins: int = 0) -> LayerRecord:
    return LayerRecord(
        name=name, kind="dense", text="dense(2)", input=(3,), output=(2,), parameters=parameters, formula="", macs=6,
        receptive_field=None, jump=None, frozen=frozen, unfreeze_at=begins,
    )  # fmt: skip


def on_cifar(model: dict[str, Any], **data: Any) -> Recipe:
    return Recipe.from_tables({"data": {"source": "cifar10", **data}, "model": model})


def column(table: Any, title: str) -> list[str]:
    index = [each.title for each in table.columns].index(title)
    return [cells[index] for cells in table.rows]


@pytest.fixture(scope="session")
def trunk(recipe: Callable[..., Recipe], trained: Callable[..., RunFolder]) -> RunFolder:
    return trained(recipe(epochs=1))


def of_run(recipe: Callable[..., Recipe], trunk: RunFolder, **model: Any) -> Recipe:
    backbone = f"run('{trunk.path}', cut='relu1')"
    head = ["flatten", "dense(classes)"]
    return Recipe.from_tables({**recipe().to_tables(), "model": {"backbone": backbone, "head": head, **model}})


def test_what_trains_is_told_by_the_shortest_names() -> None:
    rows = [
        row("backbone.conv1", frozen=True), row("backbone.relu", 0), row("backbone.layer4.0.conv1"),
        row("backbone.layer4.0.bn1"), row("backbone.layer4.1.conv1"), row("head.dense1"),
    ]  # fmt: skip
    assert trainable_text(rows) == "backbone.layer4, head.dense1"
    assert frozen_text(rows) == "backbone.conv1"
    assert [freeze_state(each) for each in rows] == ["frozen", "", "trains", "trains", "trains", "trains"]
    assert trainable_text([row("a"), row("b")]) == ""


def test_what_begins_later_is_told_with_its_epoch() -> None:
    rows = [row("backbone.a.x", begins=2), row("backbone.a.y", begins=2), row("backbone.b", begins=1), row("head.d")]
    assert trainable_text(rows) == "head.d; backbone.b after 1 epoch; backbone.a after 2 epochs"
    assert freeze_state(rows[0]) == "after epoch 2"
    assert late_unfreeze_warning(rows, 3) == ""
    assert late_unfreeze_warning(rows, 2).startswith("training ends after 2 epochs, before 16 parameters would begin")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.booleans()), min_size=1, max_size=6))
def test_the_names_hold_all_that_is_frozen_and_nothing_else(drawn: list[tuple[str, str, bool]]) -> None:
    rows = [row(f"{a}.{b}.{number}", frozen=still) for number, (a, b, still) in enumerate(drawn)]
    told = frozen_text(rows)
    names = told.split(", ") if told else []
    held = {each.name for each in rows if any(f"{each.name}.".startswith(f"{name}.") for name in names)}
    assert held == {each.name for each in rows if each.frozen}


def test_a_table_says_what_is_frozen_only_where_something_is() -> None:
    plain = LayerTable(parameters=8, macs=6, layers=(row("a"),), warnings=())
    assert "weights" not in [each.title for each in layer_table(plain).columns]
    mixed = plain.model_copy(update={"layers": (row("a", frozen=True), row("b", 0), row("c", begins=1))})
    assert has_frozen_layers(mixed)
    assert column(layer_table(mixed), "weights") == ["frozen", "", "after epoch 1", ""]


@pytest.fixture(scope="module")
def resnet() -> Description:
    return describe(on_cifar(RESNET))


def test_the_sums_are_the_published_ones(resnet: Description) -> None:
    # 8,393,728 in layer4 and 5,130 in the head, as the assignment counts them.
    assert (resnet.parameters, resnet.trainable) == (11_181_642, 8_398_858)
    assert resnet.title == "recipe: 3×32×32 images of cifar10, 10 classes"
    notes = resnet.document().notes
    assert notes[0].startswith("11,181,642 parameters, 8,398,858 of them trained: backbone.layer4, head.dense1; ")
    assert sum(each.parameters for each in resnet.layers if not each.frozen) == 8_398_858
    assert resnet.memory.gradients == 4 * 8_398_858


def test_what_it_begins_with_is_told_and_nothing_is_downloaded(resnet: Description) -> None:
    title, table = resnet.document().tables[-1]
    facts = dict(table.rows)
    assert title == "Backbone"
    assert facts["weights"] == "IMAGENET1K_V1 of torchvision's resnet18"
    assert re.fullmatch(r".*checkpoints/resnet18-f37072fd\.pth \(46\.8 MB\)(, not here yet)?", facts["file"])
    assert facts["features"] == "512, from backbone.flatten"
    assert facts["resized"] == "to 64×64 (bilinear), on the device"
    assert facts["normalization"] == "that of the weights"
    assert Description.from_json(resnet.to_json()) == resnet


def test_a_file_is_at_hand_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = find_weights("resnet18", "imagenet")
    assert (place.is_local, place.label) == (False, "IMAGENET1K_V1 of torchvision's resnet18")
    path = place.path
    assert path.is_relative_to(tmp_path)
    assert not path.parent.exists()
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    assert find_weights("resnet18", "IMAGENET1K_V1").is_local
    mine = tmp_path / "mine.pth"
    found = describe(on_cifar({"backbone": f"resnet18(weights='{mine}')", "resize": "own"})).initial_weights
    assert dict(initial_weights_facts(found))["file"] == f"{mine}, not here yet"
    mine.write_bytes(b"x" * 2_000_000)
    own = find_weights("resnet18", str(mine))
    assert (own.path, own.is_local, own.megabytes) == (mine, True, 2.0)


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        ({"backbone": "resnet18(weights='none')"}, {}, "none: all begin at random"),
        ({"backbone": "resnet18(weights='none')"}, {"normalize": "data"}, "that of the training images"),
        ({"backbone": "resnet18(weights='none')"}, {"normalize": [[0.5] * 3, [0.5] * 3]}, "given in the recipe"),
        ({"backbone": "resnet18(weights='none')", "cut": "layer1"}, {}, "64×8×8, from backbone.layer1.1.relu#2"),
    ],
)
def test_what_is_done_to_images_is_told(model: dict[str, Any], data: dict[str, Any], words: str) -> None:
    found = describe(on_cifar({"resize": "own", **model}, **data)).initial_weights
    facts = dict(initial_weights_facts(found))
    assert (facts["normalization"] == "that the backbone was made for") == (not data)
    assert words in facts.values()
    assert "resized" not in facts


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"backbone": "resnet18(weights='V9')"}, r"model\.backbone: there are no weights 'V9' of resnet18"),
        ({"cut": "layer1.0.add"}, r"model\.cut: this row is a step within[^✗]*cut = 'layer1\.0'"),
        pytest.param(
            *(
                {"backbone": "vit_b_16(weights='none')", "cut": "encoder"},
                r"model\.cut: the features are \d+×768 numbers",
            ),
            marks=pytest.mark.full,
        ),
        pytest.param(
            *({"backbone": "swin_t(weights='none')", "cut": "features"}, r"model\.cut: .*the channels last"),
            marks=pytest.mark.full,
        ),
        pytest.param(
            *({"backbone": "inception_v3(weights='none')", "cut": "AuxLogits"}, r"model\.cut: this layer does not run"),
            marks=pytest.mark.full,
        ),
    ],
)
def test_mistakes_are_told_with_their_file_and_key(model: dict[str, Any], words: str, tmp_path: Path) -> None:
    size = "own" if "resnet" in model.get("backbone", "resnet") else 224
    if "inception" in model.get("backbone", ""):
        size = 299
    path = tmp_path / "wrong.toml"
    path.write_text(on_cifar({"backbone": "resnet18(weights='none')", "resize": size, **model}).to_toml())
    with pytest.raises(SpecError, match=words) as caught:
        describe(path)
    assert str(caught.value).startswith(f"{path}: model.")


def test_a_run_tells_what_it_began_with(recipe: Callable[..., Recipe], trunk: RunFolder, tmp_path: Path) -> None:
    made = of_run(recipe, trunk, trainable="gradual(['batchnorm1', 'conv1'])")
    made = made.model_copy(update={"train": made.train.model_copy(update={"optimizer": AdamConfig()})})
    found = describe(made).initial_weights
    assert found.weights == f"the trained weights of run {trunk.name}"
    folder = run(made, RunContext(runs=tmp_path, device="cpu"))
    facts = dict(loaded_weights_facts(folder.recipe(), folder.table(), folder.loaded_weights()))
    weights = trunk.path / f"best-{round(trunk.result().selected_epoch * 3)}.safetensors"
    assert facts["weights"] == f"run {trunk.name}"
    assert facts["file"].startswith(Path(folder.loaded_weights().file).name)
    assert facts["file"].endswith(f"SHA-256 {folder.loaded_weights().sha256}")
    assert str(weights.parent) not in facts["file"]
    assert facts["tensors"] == "7 loaded; 2 after the cut left out"
    plan = plan_run_network(folder)
    own = sum(each.parameters for each in plan.layers)
    assert facts["trained"].startswith(f"{own} of {own} parameters: head.dense1; backbone.batchnorm1 after 1 epoch; ")
    # The recipe has two epochs.
    assert facts["trained"].endswith("before 112 parameters would begin to train: they stay as they are")
    assert describe(folder.path).layers == folder.table().layers


@pytest.mark.parametrize(
    ("published", "words"),
    [(True, ", the published file"), (False, ", not the published file"), (None, "")],
)
def test_a_page_says_whether_the_file_is_the_published_one(published: bool | None, words: str) -> None:
    loaded = WeightLoadReport(
        source="W of resnet18", file="/somewhere/w.pth", sha256="ab" * 32, published=published, loaded=3,
        missing=("a", "b"), ignored=("c",), behind=("d",),
    )  # fmt: skip
    table = LayerTable(
        parameters=16, trainable=8, macs=6, layers=(row("backbone.a", frozen=True), row("head.b")), warnings=()
    )
    facts = dict(loaded_weights_facts(on_cifar(RESNET), table, loaded))
    assert facts["file"] == f"w.pth, SHA-256 {'ab' * 32}{words}"
    assert facts["tensors"] == (
        "3 loaded; 2 missing in the file, random at first (a, b); 1 of the file not used (c); 1 after the cut left out"
    )
    assert (facts["trained"], facts["frozen"]) == ("8 of 16 parameters: head.b", "8 parameters: backbone.a")
    assert dict(loaded_weights_facts(on_cifar(RESNET), table, None))["weights"] == "none: all began at random"


@pytest.mark.full
def test_a_head_is_warned_of_as_a_table_is_and_the_backbone_is_not() -> None:
    model = {"backbone": "vgg11_bn(weights='none')", "cut": "features", "resize": "own"}
    assert describe(on_cifar(model)).warnings == ()  # its makers' biases in front of norms are their own
    head = ["globalpool", "dense(20)", "batchnorm", "dense(classes)"]
    found = {each.name: each for each in describe(on_cifar({**model, "head": head})).warnings}
    assert found["bias-before-batchnorm"].where == "head.dense1"
    assert found["no-activation"].where == "head.dense1 → head.dense2"
    # Cut in front of an activation, the head goes on where a convolution ends.
    cut = describe(on_cifar({**model, "cut": "features.4", "head": ["flatten", "dense(classes)"]}, limit=64)).warnings
    assert "backbone.features.4 → head.dense1" in [each.where for each in cut]
    soft = describe(on_cifar({**model, "head": ["globalpool", "dense(classes)", "softmax", "dense(classes)"]})).warnings
    assert "softmax-before-loss" in [each.name for each in soft]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"exact": True}, "512 features of 2 views of each image, 8.0 KiB in fp32"),
        ({"reason": "crop changes them"}, "not as without a cache: crop changes them"),
        ({"cached": False, "reason": "crop changes them"}, "nothing: the frozen part was computed for every batch"),
    ],
)
def test_a_page_says_what_was_kept_of_the_frozen_part(changes: dict[str, Any], words: str) -> None:
    record = FeatureCacheRecord(**{"cached": True, "shape": (512,), "views": 2, "bytes": 8192, **changes})
    table = LayerTable(
        parameters=16, trainable=8, macs=6, layers=(row("backbone.a", frozen=True), row("head.b")), warnings=()
    )
    assert words in dict(loaded_weights_facts(on_cifar(RESNET), table, None, record))["kept"]
    assert "kept" not in dict(loaded_weights_facts(on_cifar(RESNET), table, None))
