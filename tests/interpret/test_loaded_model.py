"""What a person names becomes the right network, with the right image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import cnnlab
from cnnlab.config.recipe import Recipe
from cnnlab.context import RunContext
from cnnlab.data.dataset import open_dataset
from cnnlab.data.loader import ImageLoader
from cnnlab.data.sources.base import ImageSpec
from cnnlab.errors import SourceError, SpecError, UsageError
from cnnlab.interpret.activations.feature_maps import inspect_activations
from cnnlab.interpret.attribution.compute import inspect_attribution
from cnnlab.interpret.images import generated_image
from cnnlab.interpret.loaded_model import load_model
from cnnlab.interpret.translation.compute import translation_sensitivity
from cnnlab.models.build import build
from cnnlab.models.init import init_weights
from cnnlab.runs.final_evaluation import trained_network
from cnnlab.runs.run import run
from cnnlab.storage.run_folder import RunFolder
from cnnlab.storage.test_ledger import LEDGER, openings


@pytest.fixture
def recipe_file(recipe: Callable[..., Recipe], tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(recipe(seed=7).to_toml(), encoding="utf-8")
    return path


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    weights = other.state_dict()
    return all(torch.equal(tensor, weights[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize(("seed", "chosen"), [(None, 7), (3, 3)])
def test_a_recipes_network_begins_as_its_run_would(recipe_file: Path, seed: int | None, chosen: int) -> None:
    subject = load_model(str(recipe_file), seed=seed, device="cpu")
    fresh = build(Recipe.read(recipe_file).model.trace((3, 8, 8), 3))
    init_weights(fresh, "default", chosen)
    assert same(subject.network, fresh)
    assert subject.name == f"tiny (random weights, seed {chosen})"
    assert not subject.network.training
    picture = subject.load_image()
    image, shown = picture.values, picture.name
    assert image.shape == (3, 8, 8)
    assert shown == "built-in shape"
    assert torch.allclose(image.mean(dim=(1, 2)), torch.zeros(3), atol=1e-6)
    assert torch.allclose(image.std(dim=(1, 2)), torch.ones(3), atol=1e-6)


def test_a_run_has_its_trained_weights_and_its_preprocessing(
    recipe: Callable[..., Recipe], colours: Path, trained: Callable[..., RunFolder]
) -> None:
    folder = trained(recipe())
    file = colours / "red" / "3.png"
    subject = load_model(str(folder.path), device="cpu")
    picture = subject.load_image(file)
    image, shown = picture.values, picture.name
    kept, pixels = folder.data().preprocessing, np.asarray(Image.open(file)).transpose(2, 0, 1)[None]
    ((expected, _),) = ImageLoader(
        pixels, np.zeros(1, np.int64), kept.mean, kept.std, torch.device("cpu")
    ).eval_batches()
    assert shown == "3.png"
    assert torch.allclose(image, expected[0], atol=1e-5)
    assert same(subject.network, trained_network(folder, torch.device("cpu"), print))
    found = translation_sensitivity(subject.network, image, subject.layers, shifts=2)
    assert [layer.name for layer in found.layers] == [row.name for row in folder.table().layers]
    assert found.pools[0].equivariant_shifts == (2,)
    with pytest.raises(UsageError, match=r"(?s)--seed: a run has its weights already.*leave --seed out"):
        load_model(str(folder.path), seed=1, device="cpu")


def test_a_backbone_is_drawn_from_its_seed() -> None:
    one, again, other = (load_model("squeezenet1_1", seed=seed, device="cpu") for seed in (1, 1, 2))
    assert same(one.network, again.network)
    assert not same(one.network, other.network)
    assert one.image_spec.shape == (3, 224, 224)
    with pytest.raises(SpecError, match=r"(?s)no recipe, no run folder and no backbone.*did you mean 'resnet18'"):
        load_model("resnet8", device="cpu")
    assert one.name == "squeezenet1_1 (random weights, seed 1)"
    assert one.load_image().name == "16 built-in shapes"


def test_a_catalogue_folder_may_be_named(
    recipe: Callable[..., Recipe], colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").symlink_to(colours)
    text = recipe(source="mine").to_toml()
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError):
        load_model("mine.toml", device="cpu")
    assert load_model("mine.toml", device="cpu", data=tmp_path / "data").image_spec.shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"missing.*there is no file of this name"),
        (b"no image", "not an image.*no known"),
        (b"", "empty"),
        ("x" * 300, "missing"),
    ],
)
def test_a_bad_image_is_told(recipe_file: Path, tmp_path: Path, content: bytes | str | None, words: str) -> None:
    """Also one whose name is too long for a file."""
    file = tmp_path / f"{content if isinstance(content, str) else 'photo'}.png"
    if isinstance(content, bytes):
        file.write_bytes(content)
    with pytest.raises(SourceError, match=rf"(?s)\.png: this image can't be used: {words}.*leave --image out"):
        load_model(str(recipe_file), device="cpu").load_image(file)


@pytest.mark.parametrize("which", ["val:1", "validation:-1"])
def test_a_place_in_the_data_that_is_none_is_told_how_to_write(recipe_file: Path, which: str) -> None:
    with pytest.raises(SourceError, match=r"(?s)no file of this name.*or SPLIT:NUMBER, such as validation:12"):
        load_model(str(recipe_file), device="cpu").load_image(which)


def test_a_run_without_an_end_is_not_called_trained(own: RunFolder) -> None:
    epoch = own.result().selected_epoch
    subject = load_model(str(own.path), device="cpu")
    assert subject.name == f"{own.name} (trained)"
    with pytest.raises(SourceError, match="leave --image out"):
        inspect_activations(subject, "val:1")
    (own.path / "result.json").unlink()
    told = f"{own.name} (unfinished, weights of epoch {epoch:g})"
    assert load_model(str(own.path), device="cpu").name == told


@pytest.mark.parametrize(("form", "tiles"), [((1, 28, 28), 1), ((3, 32, 32), 1), ((3, 96, 64), 2), ((3, 224, 224), 16)])
def test_the_drawn_image_has_the_form_and_structure(form: tuple[int, int, int], tiles: int) -> None:
    pixels, shown = generated_image(ImageSpec(*form))
    assert pixels.shape == form
    assert shown == ("built-in shape" if tiles == 1 else f"{tiles} built-in shapes")
    assert pixels.std() > 10
    assert np.array_equal(pixels, generated_image(ImageSpec(*form))[0])


def test_what_was_done_to_a_file_is_told(recipe_file: Path, tmp_path: Path) -> None:
    subject = load_model(str(recipe_file), device="cpu")
    Image.new("L", (61, 37), 90).save(tmp_path / "grey.png")
    Image.new("RGB", (8, 8), (9, 90, 200)).save(tmp_path / "fits.png")
    grey, fits = (subject.load_image(tmp_path / name) for name in ("grey.png", "fits.png"))
    assert grey.name == "grey.png (resized from 37 high × 61 wide)"
    assert fits.name == "fits.png"
    assert fits.values.abs().max() < 1e-6  # a constant image is only moved


def test_an_image_of_the_data_is_named_by_its_place(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    folder = run(recipe(opened="sealed"), RunContext(runs=tmp_path, device="cpu"))
    subject = load_model(str(folder.path), device="cpu")
    dataset = open_dataset(folder.recipe().data, seed=0)
    found = subject.load_image("validation:2")
    assert np.array_equal(found.pixels, dataset.pixels("validation")[2])
    assert found.label == dataset.labels("validation")[2]
    assert found.name == f"validation:2, {dataset.classes[found.label]}"
    ((batch, _),) = subject.open_split("validation", "a look").eval_batches()
    assert torch.allclose(found.values, batch[2], atol=1e-5)
    assert not (tmp_path / LEDGER).exists()
    subject.load_image("test:0", purpose="a look")
    assert [line.purpose for line in openings(tmp_path, folder.data().test_set)] == ["a look"]
    with pytest.raises(UsageError, match=r"the validation split has no image 99(?s:.)*validation:0 to validation:"):
        subject.load_image("validation:99")


def test_some_images_of_a_part_are_spread_over_it(recipe_file: Path) -> None:
    said: list[str] = []
    subject = load_model(str(recipe_file), device="cpu")
    whole, some = subject.open_split("train", ""), subject.open_split("train", "", limit=4, log=said.append)
    assert np.array_equal(some.labels, whole.labels[np.linspace(0, len(whole) - 1, 4).round().astype(int)])
    assert said == [f"4 of the {len(whole)} images of the train split, evenly spaced"]
    assert np.array_equal(subject.load_image("train:0").pixels, whole.pixels[0])


def test_a_test_part_needs_a_run_and_a_bare_network_has_no_data(recipe_file: Path) -> None:
    subject = load_model(str(recipe_file), device="cpu")
    with pytest.raises(UsageError, match="the test split is opened for a run only"):
        subject.open_split("test", "a look")
    with pytest.raises(UsageError, match=r"(?s)the data has no such split.*received: *both"):
        subject.open_split("both", "a look")
    backbone = load_model("squeezenet1_1", device="cpu")
    with pytest.raises(UsageError, match="a network by its name alone has no data"):
        backbone.load_image("train:0")


def test_what_looks_takes_a_subject_or_its_name(
    recipe: Callable[..., Recipe], trained: Callable[..., RunFolder]
) -> None:
    name = str(trained(recipe()).path)
    subject = load_model(name, device="cpu")
    for look in (
        lambda what: cnnlab.inspect_weights(what).to_json(),
        lambda what: cnnlab.inspect_activations(what).to_json(),
        lambda what: cnnlab.inspect_units(what).to_json(),
        lambda what: cnnlab.inspect_patches(what, "conv1").to_json(),
        lambda what: cnnlab.inspect_attribution(what, methods=["saliency"], draws=1, orders=1).to_json(),
        lambda what: cnnlab.inspect_mistakes(what).to_json(),
    ):
        assert look(name) == look(subject)


def test_all_images_of_the_test_part_are_one_look_and_wrong_words_none(own: RunFolder, tmp_path: Path) -> None:
    subject, ledger = load_model(str(own.path), device="cpu"), own.path.parent / LEDGER
    before = ledger.read_bytes()
    looks: list[Callable[[], object]] = [
        lambda: inspect_attribution(subject, ["test:0"], target="purple"),
        lambda: inspect_attribution(subject, ["test:0"], target="red", steps=0),
        lambda: inspect_attribution(subject, ["test:0", "test:999"]),
        lambda: inspect_activations(subject, "test:0", layers=["conv9"]),
        lambda: subject.load_images(["test:0", tmp_path / "no.png"]),
    ]
    for look in looks:
        with pytest.raises((UsageError, SourceError)):
            look()
    assert ledger.read_bytes() == before
    inspect_attribution(subject, ["test:0", "validation:1", "test:1"], methods=["saliency"], draws=0, orders=1)
    added = ledger.read_bytes()[len(before) :].splitlines()
    assert len(added) == 1
    assert b"inspect attribution" in added[0]
    names = [picture.name.partition(",")[0] for picture in subject.load_images(["train:2", "validation:0", "train:0"])]
    assert names == ["train:2", "validation:0", "train:0"]
