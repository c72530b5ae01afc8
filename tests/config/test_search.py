"""Search files: what a trial changes, every mistake with its place, either way round; no torch."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.config.recipe import Recipe
from cnnlab.config.search import Search
from cnnlab.config.search_space import read_space
from cnnlab.errors import SpecError

LAYERS = ["flatten", "dropout(p)", "dense(classes)"]
BASE = {"data": {"source": "shapes"}, "model": {"layers": LAYERS, "values": {"p": 0.1}}}
SEARCHES = Path(__file__).parents[2] / "searches"


def made(**keys: Any) -> Search:
    usual = {
        "base": BASE,
        "search": {"lr": "log(1e-4, 1e-1)", "train.batch_size": [16, 32]},
        "use": {"train.optimizer": "adam(lr=lr)"},
    }
    return Search.from_tables({**usual, **keys})


def first(_name: str, space: Any) -> Any:
    return space.bounds()[0]


def test_a_name_is_put_where_it_stands_in_a_call() -> None:
    recipe = made().recipe({"lr": 0.02, "train.batch_size": 32})
    assert recipe.train.optimizer.lr == 0.02
    assert recipe.train.batch_size == 32
    assert recipe == Recipe.from_tables({**BASE, "train": {"optimizer": "adam(lr=0.02)", "batch_size": 32}})


def test_a_names_value_may_be_a_call_in_a_list_in_a_row_of_the_table() -> None:
    layers = ["flatten", "dropout(p)", "dense(n)", "f", "dense(classes)"]
    search = made(
        search={"n": "integer(8, 64, log=true)", "f": "choice(relu, leaky_relu(0.2))", "a": [[], ["flip(0.5)"]]},
        use={"model.layers": layers, "data.augment": "a"},
    )
    recipe = search.recipe({"n": 24, "f": "leaky_relu(0.2)", "a": "['flip(0.5)']"})
    assert recipe.model.layers == ("flatten", "dropout(p)", "dense(24)", "leaky_relu(0.2)", "dense(classes)")
    assert [each.kind for each in recipe.data.augment] == ["flip"]


def test_names_that_only_some_options_use_are_drawn_only_with_them() -> None:
    search = made(
        search={
            "train.optimizer": "choice(adam(lr), sgd(lr, momentum=m), 'muon')",
            "lr": "log(1e-4, 1)",
            "m": [0.5, 0.9],
        },
        use={},
    )
    asked: list[list[str]] = []
    for option in search.search["train.optimizer"].values():
        drawn = search.sample(lambda name, space, option=option: option if "." in name else space.bounds()[0])
        asked.append(list(drawn))
        assert search.recipe(drawn).train.optimizer.kind == option.partition("(")[0]
    assert asked == [["train.optimizer", "lr"], ["train.optimizer", "lr", "m"], ["train.optimizer"]]


def test_a_grid_has_each_experiment_once() -> None:
    search = made(
        search={"train.optimizer": "choice(sgd(0.1, momentum=m), adam)", "m": [0.5, 0.9]}, use={}, sampler="grid"
    )
    recipes = [search.recipe(values).to_toml() for values in search.grid_values()]
    assert len(recipes) == len(set(recipes)) == 3  # adam has no momentum


@given(st.integers(0, 2**32))
def test_every_draw_is_a_recipe_and_says_the_same_once_more(seed: int) -> None:
    drawn = random.Random(seed)
    search = made(
        search={
            "lr": "log(1e-4, 1e-1)",
            "model.values.p": "uniform(0, 0.6)",
            "train.batch_size": "integer(8, 128, log=true)",
            "train.optimizer": "choice(adam(lr), sgd(lr))",
        },
        use={},
    )

    def pick(_name: str, space: Any) -> Any:
        return drawn.choice(space.values()) if hasattr(space, "options") else drawn.uniform(*space.bounds())

    values = search.sample(lambda name, space: int(pick(name, space)) if name.endswith("size") else pick(name, space))
    recipe = search.recipe(values)
    assert Search.from_toml(search.to_toml()).recipe(values) == recipe
    assert (recipe.train.optimizer.lr, recipe.model.values["p"]) == (values["lr"], values["model.values.p"])


def test_a_search_is_written_and_read_back() -> None:
    search = made(
        question="Which?", trials=7, seeds=2, metric="validation_loss", sampler="grid", pruner="halving(2, factor=4)",
        budget="time(minutes=5)", seed=3, confirm=0, smallest_difference=0.01, vary_split=True,
        search={"p": "choice(0.1, 0.2)", "train.schedule": "choice(constant, cosine)"},
        use={"model.values.p": "p"},
    )  # fmt: skip
    assert Search.from_toml(search.to_toml()) == search
    as_object = {"train.batch_size": read_space("choice(16, 32)")}
    assert made(search=as_object, use={}) == made(search={"train.batch_size": [16, 32]}, use={})


def test_keys_without_quotes_mean_the_same(tmp_path: Path) -> None:
    quoted, plain = tmp_path / "quoted.toml", tmp_path / "plain.toml"
    head = 'base = "lenet.toml"\n'
    quoted.write_text(head + '[set]\n"train.epochs" = 3\n[search]\n"train.batch_size" = [16, 32]\n')
    plain.write_text(head + "[set]\ntrain.epochs = 3\n[search]\ntrain.batch_size = [16, 32]\n")
    assert Search.read(plain) == Search.read(quoted)
    assert Search.read(plain).base.train.epochs == 3
    assert Search.read(plain, {"train.epochs": 5}, trials=4).base.train.epochs == 5


@pytest.mark.parametrize("path", sorted(SEARCHES.glob("*.toml")), ids=lambda path: path.stem)
def test_searches_that_come_with_cnnlab_are_ones(path: Path) -> None:
    search = Search.read(path)
    assert search.recipe(search.sample(first)) != search.base


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"search": {"train.bach_size": [1, 2]}, "use": {}}, "search.train.bach_size: unknown key 'bach_size'"),
        ({"search": {"train.batch_size": [0, 2]}, "use": {}}, "search.train.batch_size: 'batch_size' can't be 0"),
        ({"search": {"lr": "log(1, 2)"}, "use": {}}, r"search.lr: the name 'lr' is not used\n.*adam\(lr=lr\)"),
        ({"search": {"batch_size": [3]}, "use": {}}, "did you mean 'train.batch_size'"),
        ({"use": {"train.optimizer": "adam(lr=rl)"}}, "no name of \\[search\\] stands in this"),
        ({"use": {"train.optimizer": "adam(rate=lr)"}}, "adam has no argument 'rate'"),
        ({"search": {"train.seed": [0, 1]}, "use": {}}, "every trial runs with the same seeds"),
        ({"search": {"data.validation": "uniform(0.1, 0.3)"}, "use": {}}, "compared on the same images"),
        ({"search": {"train.test": ["end", "curve"]}, "use": {}}, "the test set is sealed"),
        ({"search": {}, "use": {}}, "there is nothing to search"),
        ({"sampler": "grid"}, "search.lr: this space has infinitely many values"),
        ({"sampler": "tpa"}, "did you mean 'tpe'"),
        ({"metric": "test_accuracy"}, "the test set is sealed: `confirm` opens it"),
        ({"confirm": 1}, "one run has no spread"),
        ({"trails": 3}, "did you mean 'trials'"),
    ],
)
def test_what_is_wrong_with_a_search_is_said(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        made(**keys)


def test_a_mistake_in_a_file_is_told_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('base = "lenet.toml"\n[search]\ntrain.batch_size = "choyce(16, 32)"\n')
    with pytest.raises(SpecError, match=r"mine.toml: search.train.batch_size: unknown search space 'choyce'"):
        Search.read(path)
    path.write_text('base = "lenett.toml"\n[search]\ntrain.batch_size = [16, 32]\n')
    with pytest.raises(SpecError, match=r"did you mean 'lenet\.toml'"):
        Search.read(path)


def test_a_search_is_a_study_of_its_base_and_a_trial(recipe: Callable[..., Recipe]) -> None:
    search = made(base=recipe(), search={"train.batch_size": [4, 8]}, use={}, seeds=2, confirm=3)
    study = search.study({"trial 4": {"train.batch_size": 4}})
    assert ([arm.name for arm in study.list_arms()], study.baseline) == (["baseline", "trial 4"], "baseline")
    assert (study.seeds, study.baseline_seeds, study.confirm) == ((0, 1), (0, 1), 3)
