"""A recipe's network, planned and made: seeds, heads that don't fit, rates by depth, and files of weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from cnnlab.config.model import Model
from cnnlab.data.dataset import open_dataset
from cnnlab.errors import RunError, SpecError
from cnnlab.models import network_plan
from cnnlab.models.build import build
from cnnlab.models.network_plan import plan_network
from cnnlab.models.pretrained import architectures
from cnnlab.runs.checks import check_before_training
from cnnlab.training.optimizers.param_groups import layerwise_lr_factors

NETWORK = "resnet18(weights='none')"


def planned(backbone: str = NETWORK, size: int = 32, **model: Any) -> Any:
    return plan_network(Model(backbone=backbone, **{"resize": "own", **model}), (3, size, size), 5)


def test_a_table_is_planned_as_ever() -> None:
    model = Model(layers=["conv(4, 3)", "batchnorm", "flatten", "dense(classes)"], init="orthogonal")
    plan, trace = plan_network(model, (3, 8, 8), 5), model.trace((3, 8, 8), 5)
    assert plan.layers == tuple(trace.records())
    assert plan.parameters == plan.trainable == trace.parameters
    assert plan.load_weights is None
    assert not any(row.frozen for row in plan.layers)
    with torch.random.fork_rng(devices=[]):
        assert str(plan.build(0, "meta")) == str(build(trace))


def test_planning_leaves_the_global_random_state_alone_and_takes_no_memory() -> None:
    before = torch.get_rng_state()
    plan = planned("vgg16(weights='none', cut='features')")
    made = plan.build(0, "meta")
    assert torch.equal(torch.get_rng_state(), before)
    assert {tensor.device.type for tensor in (*made.parameters(), *made.buffers())} == {"meta"}
    plan_network(Model(backbone="resnet18(weights='none', stem='small')"), (3, 32, 32), 5).build(0, "cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_seed_decides_the_head_and_a_backbone_without_weights() -> None:
    one, again, other = (planned().build(seed, "cpu").state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["head.dense1.weight"], other["head.dense1.weight"])
    assert not torch.equal(one["backbone.conv1.weight"], other["backbone.conv1.weight"])
    library = architectures.create_model("resnet18", device="cpu", seed=1).state_dict()
    assert torch.equal(one["backbone.conv1.weight"], library["conv1.weight"])


def test_a_file_of_weights_fills_the_backbone_and_says_so(tmp_path: Path) -> None:
    library = architectures.create_model("resnet18", device="cpu", seed=7).state_dict()
    save_file(library, tmp_path / "own.safetensors")
    said: list[str] = []
    plan = planned(f"resnet18(weights='{tmp_path}/own.safetensors', cut='layer2', stem='small')", trainable="none")
    network, loaded = plan.initialize(0, said.append)
    made = network.state_dict()
    assert loaded is not None
    assert (loaded.missing, loaded.ignored) == ((), ())
    assert set(loaded.behind) == {name for name in library if name.startswith(("layer3", "layer4", "fc"))}
    kept = [name for name in made if name.startswith("backbone.") and name != "backbone.conv1.weight"]
    assert loaded.loaded == len(kept)
    assert all(torch.equal(made[name], library[name.removeprefix("backbone.")]) for name in kept)
    assert made["backbone.conv1.weight"].shape == (64, 3, 3, 3)
    assert said[0].startswith(f"own.safetensors: {loaded.loaded} tensors loaded, {len(loaded.behind)} after the cut")


def test_a_row_says_whether_it_is_frozen_and_when_it_is_unfrozen() -> None:
    rows = planned("squeezenet1_1(weights='none')", trainable="gradual(['features.12', 'features.11'], every=2)").layers
    epochs = {row.name: row.unfreeze_at for row in rows if row.parameters and not row.frozen}
    inner = ("squeeze", "expand1x1", "expand3x3")
    expected = {f"backbone.features.{number}.{name}": epoch for number, epoch in ((11, 4), (12, 2)) for name in inner}
    assert epochs == {**expected, "head.dense1": 0}
    assert {row.unfreeze_at for row in rows if row.frozen} == {0}


@pytest.mark.parametrize(
    ("trainable", "model", "where", "words"),
    [
        ("all", {"cut": "reluu2"}, "model.cut", "did you mean 'relu2'"),
        ("all", {"cut": "relu2", "head": ["dense(classes)"]}, "model.head", "flatten"),
        ("all", {"head": ["conv(4, 3)", "flatten", "dense(classes)"]}, "model.head", "conv"),
        ("all", {"head": ["dense(8)"]}, "model.head", "5"),
        ("rows(['convv2'])", {}, "model.trainable", "did you mean 'conv2'"),
        ("last_convs(99)", {}, "model.trainable", "the backbone has 2 convolutions"),
        ("rows(['conv2'])", {"cut": "relu1"}, "model.trainable", "did you mean 'conv1'"),
    ],
)
def test_what_does_not_fit_is_told_where_it_stands(
    transferring: Any, trainable: str, model: dict[str, Any], where: str, words: str
) -> None:
    with pytest.raises(SpecError, match=words) as told:
        plan_network(transferring.recipe(trainable, model).model, (3, 8, 8), 5)
    assert all(problem.where.startswith(where) for problem in told.value.problems)


def test_images_and_stems_that_the_network_cannot_have_are_told() -> None:
    with pytest.raises(SpecError, match="no stem that could be made small") as told:
        planned("vgg11(weights='none', stem='small')")
    assert told.value.problems[0].where == "model.backbone"
    with pytest.raises(SpecError, match="the backbone takes images of 3 channels"):
        plan_network(Model(backbone=NETWORK, resize="own"), (1, 32, 32), 5)


@pytest.mark.parametrize(
    ("trainable", "fields", "where", "words"),
    [
        (
            "none",
            {"model": {"cut": "dense2", "head": ["relu"]}},
            "model.head",
            "no layer has trainable weights(?s:.*)add a row with weights",
        ),
        (
            "all",
            {"rates": {"backbone.conv9": 0.1}},
            "train.rates",
            r"no row with weights is called 'backbone\.conv9'(?s:.*)backbone\.conv",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(
    transferring: Any, trainable: str, fields: dict[str, Any], where: str, words: str
) -> None:
    made = transferring.recipe(trainable, **fields)
    dataset = open_dataset(made.data, seed=0)
    plan = plan_network(made.model, dataset.image_spec.shape, len(dataset.classes))
    with pytest.raises(SpecError, match=words) as told:
        check_before_training(made, plan, dataset, torch.device("cpu"))
    assert told.value.problems[0].where == where


def test_the_table_says_what_is_frozen() -> None:
    plan = planned(trainable="last_convs(1)")
    assert [row.name for row in plan.layers if row.parameters and not row.frozen] == [
        "backbone.layer4.1.conv2",
        "head.dense1",
    ]
    assert not any(row.frozen for row in plan.layers if not row.parameters)
    assert plan.trainable == 512 * 512 * 9 + 512 * 5 + 5


# By the order in which ResNet18 defines them: its convolutions, a block's way past it behind them, and the head.
DEPTHS = [
    "conv1", "layer1.0.conv1", "layer1.0.conv2", "layer1.1.conv1", "layer1.1.conv2",
    *(f"layer{n}.{one}" for n in (2, 3, 4) for one in ("0.conv1", "0.conv2", "0.downsample.0", "1.conv1", "1.conv2")),
]  # fmt: skip


def test_rates_by_depth_of_resnet18_by_hand() -> None:
    made = planned().build(0, "meta")
    found = layerwise_lr_factors(made, 0.1)
    assert len(DEPTHS) == 20
    for place, name in enumerate(DEPTHS):
        assert found[f"backbone.{name}"] == pytest.approx(0.1 ** (1 - place / 20)), name
    assert found["head.dense1"] == 1.0
    assert found["backbone.bn1"] == found["backbone.conv1"] == pytest.approx(0.1)
    assert found["backbone.layer4.1.bn2"] == found["backbone.layer4.1.conv2"]


@pytest.mark.full
def test_a_file_without_a_part_that_stays_frozen_is_refused(tmp_path: Path) -> None:
    library = architectures.create_model("resnet18", device="cpu", seed=7).state_dict()
    save_file({name: tensor for name, tensor in library.items() if "layer2.0" not in name}, tmp_path / "a.safetensors")
    file = f"resnet18(weights='{tmp_path}/a.safetensors', cut='layer2')"
    with pytest.raises(RunError, match=r"15 tensors of the frozen part are missing(?s:.*)layer2\.0\.conv1\.weight"):
        planned(file, trainable="none").initialize(0, print)
    said: list[str] = []
    planned(file, trainable="rows(['layer2'])").initialize(0, said.append)
    assert any("missing in the file, random at first" in line for line in said)


def test_a_network_is_looked_at_once(transferring: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for again is there, the same as if it were planned anew; anything else is another network."""
    monkeypatch.setattr(network_plan, "_plan_cache", {})
    monkeypatch.setattr(network_plan, "MAX_CACHED_PLANS", 3)

    def planned(trainable: str = "all", classes: int = 3, **model: Any) -> Any:
        return plan_network(transferring.recipe(trainable, model).model, (3, 8, 8), classes)

    first = planned()
    assert planned() is first
    assert planned(classes=4).layers != first.layers
    assert planned("none").trainable < first.trainable
    assert planned() is first
    for cut in ("relu1", "relu2", "dense1"):
        planned(cut=cut)
    again = planned()
    assert again is not first
    assert (again.layers, again.parameters, again.trainable) == (first.layers, first.parameters, first.trainable)
    one, other = first.build(1, "cpu"), first.build(1, "cpu")
    assert one is not other
    with torch.no_grad():
        next(one.parameters()).zero_()
    assert next(other.parameters()).any()


def test_a_run_that_has_changed_is_looked_at_again(transferring: Any, tmp_path: Path) -> None:
    path = shutil.copytree(transferring.source.path, tmp_path / "trunk")
    model = transferring.recipe("all", {"backbone": f"run('{path}')"}).model
    before = plan_network(model, (3, 8, 8), 3)
    assert plan_network(model, (3, 8, 8), 3) is before
    text = (path / "recipe.toml").read_text(encoding="utf-8")
    (path / "recipe.toml").write_text(text.replace('"relu"', '"elu"', 1), encoding="utf-8")
    kinds = [row.kind for row in plan_network(model, (3, 8, 8), 3).layers]
    assert "elu" in kinds
    assert "elu" not in [row.kind for row in before.layers]
    shutil.rmtree(path)
    with pytest.raises(RunError):
        plan_network(model, (3, 8, 8), 3)
