"""Recipes: TOML and Python objects, either way round; bases and overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnlab.architecture.layers import Conv, Dense, Flatten, LayerRow, MaxPool, ReLU
from cnnlab.config.image_changes import Crop, Flip
from cnnlab.config.model import Init, Model
from cnnlab.config.optimizers import SGDConfig
from cnnlab.config.recipe import Claim, Data, Recipe, Train
from cnnlab.config.schedules import PlateauSchedule
from cnnlab.config.stopping import EarlyStoppingConfig, Metric

SMALL = (
    '[data]\nsource = "shapes"\n[model]\nlayers = ["flatten", "dropout(p)", "dense(classes)"]\nvalues = { p = 0.5 }\n'
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
METRICS = st.sampled_from(get_args(Metric))
SHARES = st.floats(0.001, 0.999)


def _tables() -> st.SearchStrategy[dict[str, Any]]:
    """Recipes as nested dictionaries, with any of the keys that may be left out."""
    counts = st.integers(1, 1_000_000)
    figures = st.tuples(st.sampled_from(["train", "validation", "test"]), METRICS).map("_".join)
    return st.fixed_dictionaries(
        {
            "data": st.fixed_dictionaries(
                {"source": TEXTS},
                optional={
                    "validation": SHARES,
                    "test": SHARES,
                    "size": counts | st.lists(counts, min_size=2, max_size=2),
                    "channels": st.sampled_from([1, 3]),
                    "classes": st.lists(TEXTS, min_size=2, max_size=4, unique=True),
                    "per_class": counts,
                    "limit": counts,
                    "normalize": st.sampled_from(["data", [[0.5], [0.25]], [[0.5, 0.4, 0.3], [0.2, 0.2, 1]]]),
                    "interpolation": st.sampled_from(["nearest", "bilinear", "bicubic"]),
                    "augment": st.lists(st.sampled_from(["crop(padding=2)", "crop", "flip(0.25)"]), max_size=3),
                },
            ),
            "model": st.fixed_dictionaries(
                {"layers": st.just(["a: conv(n, 3, bias=b)", "maxpool(2)", "flatten", "dense(classes)"])},
                optional={"init": st.sampled_from(get_args(Init))},
            ).flatmap(lambda model: st.builds(lambda n, b: {**model, "values": {"n": n, "b": b}}, counts, st.booleans())),  # noqa: E501
        },
        optional={
            "train": st.fixed_dictionaries(
                {},
                optional={
                    "epochs": counts,
                    "batch_size": counts,
                    "optimizer": st.sampled_from(["sgd(0.1, momentum=0.9, nesterov=true)", "adamw", "adam(lr=1e-5)"]),
                    "schedule": st.sampled_from(["cosine(floor=0.01)", "plateau(metric='macro_f1')", "constant"]),
                    "stop": st.sampled_from(["never", "early(3, min_change=1e-4)"]),
                    "weights": st.sampled_from(["best", "last"]),
                    "choose": METRICS,
                    "test": st.sampled_from(["end", "sealed", "curve"]),
                    "seed": st.integers(0, 2**70),
                    "precision": st.sampled_from(["auto", "fp32", "bf16"]),
                },
            ),
            "claims": st.builds(
                dict.__or__,
                st.dictionaries(
                    figures,
                    SHARES
                    | st.fixed_dictionaries(
                        {"published": SHARES}, optional={"source": TEXTS, "images": counts, "note": TEXTS}
                    ),
                    max_size=3,
                ),
                st.dictionaries(st.just("parameters"), st.integers(0, 10**12), max_size=1),
            ),
        },
    )  # fmt: skip


@settings(max_examples=40)
@given(_tables())
def test_a_recipe_goes_through_toml_and_back(tables: dict[str, Any]) -> None:
    recipe = Recipe.from_tables(tables)
    text = recipe.to_toml()
    assert Recipe.from_toml(text) == recipe
    assert Recipe.from_toml(text).to_toml() == text
    assert Recipe.from_tables(recipe.to_tables()) == recipe


def test_objects_and_texts_make_the_same_recipe() -> None:
    objects = Recipe(
        data=Data(source="cifar10", augment=(Crop(2), Flip()), size=(32, 24)),
        model=Model(
            layers=[
                LayerRow(Conv(32, 5, padding="same"), "first"),
                ReLU(),
                MaxPool(2),
                "conv(16, 3)",
                Flatten(),
                Dense(10),
            ]
        ),
        train=Train(
            optimizer=SGDConfig(0.1, momentum=0.9),
            schedule=PlateauSchedule(0.5),
            stop=EarlyStoppingConfig(3, metric="macro_f1"),
        ),
        claims={"parameters": Claim(published=10)},
    )
    texts = Recipe.from_toml(
        """
        [data]
        source = "cifar10"
        size = [32, 24]
        augment = ["crop(2)", "flip"]
        [model]
        layers = ["first: conv(32, 5, padding='same')", "relu", "maxpool(2)", "conv(16, 3)", "flatten", "dense(10)"]
        [train]
        optimizer = "sgd(0.1, momentum=0.9)"
        schedule = "plateau(0.5)"
        stop = "early(3, metric='macro_f1')"
        [claims]
        parameters = 10
        """
    )
    assert objects == texts
    assert objects.to_toml() == texts.to_toml()
    assert Recipe.from_toml(objects.to_toml()) == objects


def test_defaults_are_those_of_the_design_and_are_written_out() -> None:
    recipe = Recipe.from_toml(SMALL)
    assert (recipe.data.validation, recipe.data.test, recipe.model.init) == (0.1, None, "default")
    assert (recipe.train.epochs, recipe.train.batch_size, recipe.train.test, recipe.train.weights, recipe.train.seed) == (  # noqa: E501
        10, 64, "end", "best", 0,
    )  # fmt: skip
    assert (
        recipe.to_tables()["train"]["optimizer"]
        == "adam(lr=0.001, beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.0)"
    )
    assert recipe.to_tables()["train"]["schedule"] == "constant"


def test_a_claim_of_the_base_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(SMALL + "[claims]\nparameters = 390410\ntest_top5 = { published = 0.5 }\n")
    (tmp_path / "own.toml").write_text('base = "base.toml"\n[claims]\ntest_top5 = "none"\n')
    below = {"parameters": Claim(published=390410), "test_top5": Claim(published=0.5)}
    assert Recipe.read(tmp_path / "base.toml").claims == below
    assert Recipe.read(tmp_path / "own.toml").claims == {"parameters": Claim(published=390410)}


def test_none_undoes_what_a_base_says(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(SMALL + "[train]\nclip = 1.0\n")
    (tmp_path / "own.toml").write_text('base = "base.toml"\n[train]\nclip = "none"\n')
    assert Recipe.read(tmp_path / "own.toml").train.clip is None
    assert Recipe.read(tmp_path / "base.toml", {"train.clip": "none", "data.limit": "none"}).train.clip is None
    assert Recipe.read(tmp_path / "base.toml").train.clip == 1.0


@pytest.mark.parametrize(
    "change", [lambda b: b"\xef\xbb\xbf" + b, lambda b: b.replace(b"\n", b"\r\n")], ids=["BOM", "CRLF"]
)
def test_what_other_editors_write_is_read(tmp_path: Path, change: Any) -> None:
    (tmp_path / "recipe.toml").write_bytes(change(SMALL.encode()))
    assert Recipe.read(tmp_path / "recipe.toml") == Recipe.from_toml(SMALL)


def test_a_base_gives_what_a_recipe_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "below.toml").write_text(SMALL + "[train]\nepochs = 3\nseed = 7\n[claims]\nparameters = 1\n")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "middle.toml").write_text('base = "../below.toml"\n[train]\nepochs = 4\n')
    (tmp_path / "above.toml").write_text(
        'base = "inner/middle.toml"\n[data]\nsource = "cifar10"\n[model.values]\np = 0.1\n'
    )
    recipe = Recipe.read(tmp_path / "above.toml")
    assert (recipe.data.source, recipe.model.values, recipe.train.epochs, recipe.train.seed) == (
        "cifar10",
        {"p": 0.1},
        4,
        7,
    )
    assert recipe.claims == {"parameters": Claim(published=1)}


def test_overrides_are_laid_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(SMALL)
    recipe = Recipe.read(
        path, {"train.epochs": 3, "model.values.p": 0.25, "data.augment": ["flip"], "claims.parameters": 5}
    )
    assert (recipe.train.epochs, recipe.model.values, recipe.claims["parameters"].published) == (3, {"p": 0.25}, 5)
    assert recipe.data.augment == (Flip(),)
    assert Recipe.read(path, {}) == Recipe.read(path)
