from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.config.recipe import Recipe
from cnnlab.data.dataset import open_dataset
from cnnlab.data.recipe_template import SourceSummary, num_blocks, recipe_template, summarize_source
from cnnlab.data.sources.image_folder import open_folder

FACES = SourceSummary("faces.zip", 1, {(112, 92): 400}, {"train": 400}, (10,) * 40)


def test_glimpse_is_of_the_listing_and_the_headers(make_folder):
    root = make_folder({"train/cat": 3, "train/dog": 2, "test/cat": 1})
    assert summarize_source(open_folder(root)) == SourceSummary(
        str(root), 3, {(6, 8): 5}, {"train": 5, "test": 1}, (3, 2)
    )


@given(
    st.builds(
        SourceSummary,
        source=st.sampled_from(["a folder/ö", 'quo"ted\\path', "x.zip"]),
        channels=st.sampled_from([1, 3]),
        sizes=st.dictionaries(
            st.tuples(st.integers(1, 6000), st.integers(1, 6000)), st.integers(1, 50), min_size=1, max_size=4
        ),
        split_sizes=st.sampled_from([{}, {"test": 10}, {"validation": 9, "test": 9}]),
        per_class=st.lists(st.integers(1, 9000), min_size=2, max_size=30).map(tuple),
    ).map(lambda seen: replace(seen, split_sizes={"train": sum(seen.per_class), **seen.split_sizes}))
)
def test_every_recipe_can_be_read_and_its_layers_fit(seen):
    recipe = Recipe.from_toml(recipe_template(seen))
    assert recipe.data.source == seen.source
    assert recipe.data.channels == seen.channels
    trace = recipe.model.trace((seen.channels, *recipe.data.size), len(seen.per_class))
    assert trace.records()[-1].output == (len(seen.per_class),)
    assert max(recipe.data.size) <= 128


def test_every_choice_has_its_reason():
    for line in recipe_template(FACES).splitlines():
        if " = " in line and not line.startswith(("layers", "#")):
            assert len(line.split("  # ")[1]) > 8, line


def test_choices_for_small_grey_images():
    recipe = Recipe.from_toml(recipe_template(FACES))
    assert recipe.data.size == (112, 92)
    assert (recipe.data.channels, recipe.data.validation, recipe.data.test) == (1, 0.15, 0.2)
    assert recipe.train.batch_size == 16
    assert sum("conv" in row for row in recipe.model.layers) == 4


def test_choices_for_many_small_images_with_a_test_folder():
    text = recipe_template(SourceSummary("x", 3, {(32, 32): 50000}, {"train": 50000, "test": 10000}, (5000,) * 10))
    recipe = Recipe.from_toml(text)
    assert (recipe.data.validation, recipe.data.test, recipe.train.batch_size) == (0.1, None, 64)
    assert "flip(0.5)" in text
    assert "crop(padding=3)" in text
    assert "about 14,080 steps" in text


def test_large_images_keep_their_proportions_and_mixed_ones_become_squares():
    large = SourceSummary("x", 3, {(480, 640): 90}, {"train": 90}, (30,) * 3)
    assert Recipe.from_toml(recipe_template(large)).data.size == (96, 128)
    mixed = SourceSummary("x", 3, {(480, 640): 60, (70, 90): 30}, {"train": 90}, (30,) * 3)
    assert Recipe.from_toml(recipe_template(mixed)).data.size == (128, 128)
    small = SourceSummary("x", 3, {(40, 50): 60, (70, 90): 30}, {"train": 90}, (30,) * 3)
    assert Recipe.from_toml(recipe_template(small)).data.size == (32, 32)


def test_few_images_in_a_class_are_said():
    assert "The smallest class has 4 training images" in recipe_template(
        SourceSummary("x", 3, {(32, 32): 9}, {"train": 9}, (4, 5))
    )


@pytest.mark.parametrize(("side", "blocks"), [(1, 0), (5, 0), (16, 2), (28, 2), (32, 3), (92, 4), (128, 5)])
def test_depth_follows_the_shorter_side(side, blocks):
    assert num_blocks((side, 500)) == blocks


@pytest.mark.parametrize("images", [1, 2, 3, 4, 10])
@pytest.mark.parametrize("classes", [2, 5])
def test_the_recipe_for_a_small_folder_fits_its_parts(images, classes, make_folder):
    root = make_folder({f"class{number}": images for number in range(classes)})
    text = recipe_template(summarize_source(open_folder(root)))
    recipe = Recipe.from_toml(text)
    found = open_dataset(recipe.data, seed=recipe.train.seed)
    assert found.num_images("train") >= recipe.train.batch_size >= 2
    assert ("validation" in found.splits) == (images > 2)
    assert ("test" in found.splits) == (images > 1)
    assert recipe.train.weights == ("best" if images > 2 else "last")
    assert recipe.train.choose == ("loss" if images > 2 else "accuracy")  # so few images tie in accuracy
    assert ("to spare" in text) == (images < 3)
    assert recipe.train.stop.kind == "never"
    assert f"about {recipe.train.epochs * -(-found.num_images('train') // recipe.train.batch_size):,} steps" in text


def test_a_folder_with_a_name_of_the_catalogue_stays_a_folder(make_folder, tmp_path, monkeypatch):
    make_folder({"cat": 9, "dog": 9}, "svhn")
    monkeypatch.chdir(tmp_path)
    recipe = Recipe.from_toml(recipe_template(summarize_source(open_folder("svhn"))))
    assert recipe.data.source == "./svhn"
    assert open_dataset(recipe.data, seed=0).classes == ("cat", "dog")
