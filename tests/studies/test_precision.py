"""What decides how the runs of a study compute, where some arms train on kept features of a frozen part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cnnlab.config.recipe import Recipe
from cnnlab.config.study import Study
from cnnlab.context import RunContext
from cnnlab.data.dataset_cache import DatasetCache
from cnnlab.records import PrecisionConfig
from cnnlab.studies.plan import make_plan
from cnnlab.studies.precision import check_networks
from cnnlab.studies.result import StudyPrecision
from cnnlab.training.device import choose_device

TRUNK = ["conv(4, 3)", "relu", "globalpool", "flatten", "dense(classes)"]
ARMS: dict[str, Any] = {"plain": {}, "slow": {"train.optimizer": "sgd(0.001)"}}
LAST = PrecisionConfig(
    precision="fp32",
    memory_format="channels_last",
    reason="tried",
    tried={"fp32 channels_last": 5.0, "fp32 contiguous": 4.0},
)


@pytest.fixture
def transferred(recipe: Callable[..., Recipe], trained: Callable[..., Any]) -> Callable[..., Recipe]:
    """Makes a recipe that trains a head on kept features, which are vectors."""
    trunk = trained(recipe(layers=TRUNK, epochs=1))

    def make(trainable: str = "none", **fields: Any) -> Recipe:
        tables = recipe(**{"epochs": 9, "precision": "auto", "opened": "sealed", **fields}).to_tables()
        tables["model"] = {"backbone": f"run('{trunk.path}')", "trainable": trainable}
        return Recipe.from_tables(tables)

    return make


def test_a_head_on_vectors_does_not_end_a_studys_channels_last(
    transferred: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the memory format is of no account, and only one is tried."""
    formats: list[str] = []

    def tried(*given: Any) -> PrecisionConfig:
        features = given[-1]
        formats.append("vectors" if features is not None and features.model_split is not None else "maps")
        names = {"fp32 contiguous": 50.0} if formats[-1] == "vectors" else LAST.tried
        return PrecisionConfig(
            precision="fp32", memory_format=next(iter(names)).split()[1], reason="tried", tried=names
        )

    monkeypatch.setattr("cnnlab.studies.precision.benchmark_precision", tried)
    arms = dict(ARMS)
    base = transferred("all")
    first = make_plan(Study(base=base, arms=arms, baseline="plain", seeds=2), "ways", RunContext(device="cpu"))
    assert first.study_precision.precision_config.memory_format == "channels_last"
    arms["frozen"] = {"model.trainable": "none"}
    study = Study(base=base, arms=arms, baseline="plain", seeds=2)
    second = make_plan(study, "ways", RunContext(device="cpu"), saved_precision=first.study_precision)
    assert formats == ["maps", "vectors"]
    assert second.study_precision.precision_config == first.study_precision.precision_config
    assert second.arms[0].tasks[0].id == first.arms[0].tasks[0].id
    assert sorted(second.study_precision.speeds.values()) == [5.0, 50.0]
    # Made anew, the arms that have a choice decide alone.
    assert (
        make_plan(study, "ways", RunContext(device="cpu")).study_precision.precision_config.memory_format
        == "channels_last"
    )


def test_a_head_on_vectors_for_which_a_precision_is_wrong_ends_it(
    transferred: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = PrecisionConfig(
        precision="fp32", memory_format="contiguous", reason="tried", tried={"fp32 contiguous": 50.0}
    )
    monkeypatch.setattr("cnnlab.studies.precision.benchmark_precision", lambda *_: plain)
    kept = StudyPrecision(precision_config=LAST.model_copy(update={"precision": "bf16"}), device="cpu", speeds={})
    study = Study(base=transferred(), arms=ARMS, baseline="plain", seeds=2)
    assert (
        make_plan(
            study, "ways", RunContext(device="cpu"), saved_precision=kept
        ).study_precision.precision_config.precision
        == "fp32"
    )


OTHER: list[dict[str, Any]] = [
    {"epochs": 1},
    {"budget": "images(10)"},
    {"validations_per_epoch": 3},
    {"average": "swa(0.75)", "weights": "averaged"},
    {"sampling": "balanced"},
    {"cache": "never"},
    {"limit": 10},
    {"validation": 0.5},
]


def test_what_decides_whether_features_are_kept_makes_another_network_to_try(
    transferred: Callable[..., Recipe],
) -> None:
    """Kept or not, a step is another one; the speed of one says nothing of the other."""

    def key(**fields: Any) -> str:
        recipe = transferred(**fields)
        study = Study(base=recipe, arms=ARMS, baseline="plain", seeds=2)
        dataset = DatasetCache().open(recipe.data, 0)
        return check_networks(study.list_arms(), [recipe] * 2, [dataset] * 2, choose_device("cpu"))[0]

    usual = key()
    assert key(seed=5) == usual
    assert [other for other in OTHER if key(**other) == usual] == []
