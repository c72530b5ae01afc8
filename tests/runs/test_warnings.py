"""What a run says before its first step, what it keeps, and that saying it changes nothing."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from cnnlab.architecture.warnings import Finding, format_warning
from cnnlab.config.recipe import Recipe
from cnnlab.context import Callbacks, RunContext
from cnnlab.data.dataset import open_dataset
from cnnlab.models.build import build
from cnnlab.models.init import init_weights
from cnnlab.records import WarningRecord
from cnnlab.runs.final_evaluation import open_test
from cnnlab.runs.run import run
from cnnlab.runs.setup import make_image_loader
from cnnlab.runs.warnings import image_warnings, initial_loss
from cnnlab.storage.run_folder import RunFolder
from cnnlab.torch_rng import fork_rng
from cnnlab.training.precision import FP32

MakeRecipe = Callable[..., Recipe]
CPU = torch.device("cpu")
PLAIN_NET = ["conv(4, 3, padding=1, bias=false)", "batchnorm", "relu", "flatten", "dense(classes)"]


def kept(folder: RunFolder) -> dict[str, WarningRecord]:
    return {warning.name: warning for warning in folder.table().warnings}


def leaky(picture_folder: Path, part: str) -> Path:
    """Train, validation and test folders; one training image is in `part`, too."""
    for path in list(picture_folder.iterdir()):
        for number, name in enumerate(("train", "validation", "test")):
            target = picture_folder / name / path.name
            target.mkdir(parents=True)
            for image in range(4 * number, 4 * number + 4 + (4 if name == "test" else 0)):
                (path / f"{image}.png").rename(target / f"{image}.png")
        path.rmdir()
    shutil.copy(picture_folder / "train" / "red" / "0.png", picture_folder / part / "red" / "again.png")
    return picture_folder


def first_loss(recipe: Recipe, scale: float = 1.0) -> tuple[Finding | None, float, float]:
    """The warning, the loss of all training images in train mode, and that of guessing."""
    dataset = open_dataset(recipe.data, seed=recipe.train.seed)
    network = build(recipe.model.trace(dataset.image_spec.shape, len(dataset.classes)))
    init_weights(network, recipe.model.init, recipe.train.seed)
    with torch.no_grad():
        network.get_submodule("dense1").weight.mul_(scale)
    feed = make_image_loader(dataset, "train", CPU, FP32)
    images, labels = next(feed.eval_batches(len(feed)))
    before, drawn = deepcopy(network.state_dict()), torch.get_rng_state()
    warning = initial_loss(recipe, network, feed, len(dataset.classes))
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(torch.get_rng_state(), drawn)
    with torch.no_grad(), fork_rng():
        loss = F.cross_entropy(network.train()(images), labels).item()
    return warning, loss, math.log(len(dataset.classes))


def test_an_initial_loss_far_from_guessing_speaks_with_its_numbers(recipe: MakeRecipe) -> None:
    made = recipe(layers=PLAIN_NET, batch_size=27)
    warning, loss, guessing = first_loss(made)
    assert warning is None
    assert loss == pytest.approx(guessing, rel=0.5)
    warning, loss, guessing = first_loss(made, scale=300.0)
    assert warning is not None
    assert loss > 10 * guessing
    for words in ("first 27 training images", f"{loss:.3g}", "3 classes", "ln 3 = 1.1"):
        assert words in warning.message
    assert "init" in warning.fix
    warning, _, _ = first_loss(made, scale=math.nan)
    assert warning is not None
    assert "is not a number before" in warning.message


def test_a_loss_that_is_low_before_the_first_step_speaks(recipe: MakeRecipe) -> None:
    """The colour of an image is its class: a layer that takes the means of the channels knows it from the start."""
    made = recipe(layers=["globalpool", "dense(classes)"], batch_size=27)
    dataset = open_dataset(made.data, seed=0)
    network = build(made.model.trace(dataset.image_spec.shape, 3))
    with torch.no_grad():
        network.get_submodule("dense1").weight.copy_(torch.eye(3).flip(0) * 50)
    warning = initial_loss(made, network, make_image_loader(dataset, "train", CPU, FP32), 3)
    assert warning is not None
    assert warning.fix == "check the labels: nothing has been learned yet"


def test_a_run_computes_the_same_bits_whatever_is_looked_at(recipe: MakeRecipe, tmp_path: Path) -> None:
    made = recipe(augment=["crop(padding=1)", "flip(0.5)"])
    off = made.model_copy(update={"warnings": made.warnings.model_copy(update={"off": ("initial-loss", "leak")})})
    loud, quiet = (run(known, RunContext(runs=tmp_path), name=name) for name, known in (("loud", made), ("quiet", off)))
    names = [path.name for path in loud.path.glob("*.safetensors")]
    assert len(names) >= 2
    assert all((loud.path / name).read_bytes() == (quiet.path / name).read_bytes() for name in names)


@pytest.mark.parametrize("off", [(), ("learning-rate",)])
def test_a_run_says_its_warnings_and_keeps_them_but_for_those_that_are_off(
    recipe: MakeRecipe, tmp_path: Path, off: tuple[str, ...]
) -> None:
    said: list[str] = []
    made = Recipe.from_tables({**recipe(optimizer="sgd(50)", epochs=1).to_tables(), "warnings": {"off": list(off)}})
    folder = run(made, RunContext(runs=tmp_path, callbacks=Callbacks(log=said.append)))
    assert list(kept(folder)) == ["bias-before-batchnorm", *(["learning-rate"] if not off else [])]
    lines = [line for line in said if line.startswith("! ")]
    assert lines == [f"! {format_warning(warning)}" for warning in folder.table().warnings]


def test_batches_of_one_image_train_with_a_warning_where_torch_lets_them(recipe: MakeRecipe, tmp_path: Path) -> None:
    folder = run(recipe(layers=PLAIN_NET, batch_size=1, epochs=1), RunContext(runs=tmp_path))
    assert "batchnorm-single-image" in kept(folder)
    assert folder.result().epochs == 1


def test_a_leak_between_train_and_validation_is_told_at_the_start(
    recipe: MakeRecipe, tmp_path: Path, picture_folder: Path
) -> None:
    source = leaky(picture_folder, "validation")
    folder = run(recipe(source=str(source), test=None), RunContext(runs=tmp_path / "runs", device="cpu"))
    assert kept(folder)["leak"].where == "train, validation"


@pytest.mark.parametrize("when", ["end", pytest.param("curve", marks=pytest.mark.full), "sealed"])
def test_a_leak_into_the_test_part_is_told_when_it_is_opened(
    recipe: MakeRecipe, tmp_path: Path, picture_folder: Path, when: str
) -> None:
    said: list[str] = []
    listener = Callbacks(log=said.append)
    made = recipe(source=str(leaky(picture_folder, "test")), test=None, opened=when, layers=PLAIN_NET)
    folder = run(made, RunContext(runs=tmp_path / "runs", device="cpu", callbacks=listener))
    if when == "sealed":
        assert kept(folder) == {}
        open_test(folder.path, RunContext(device="cpu", callbacks=listener))
    (warning,) = folder.table().warnings
    assert (warning.name, warning.where) == ("leak", "train, test")
    assert warning.message.startswith("1 of 25 test images are train images, too")
    assert [line for line in said if line.startswith("!")] == [f"! {format_warning(warning)}"]
    open_test(folder.path, RunContext(device="cpu", callbacks=listener))
    assert folder.table().warnings == (warning,)


def test_describing_with_images_finds_what_a_run_would_and_the_test_parts_leaks(
    recipe: MakeRecipe, picture_folder: Path
) -> None:
    source = leaky(picture_folder, "test")
    made = recipe(source=str(source), test=None, layers=PLAIN_NET, normalize=[[0.1] * 3, [0.05] * 3])
    names = [warning.name for warning in image_warnings(made)]
    assert names[:2] == ["normalization-mismatch", "leak"]
    assert not (source.parent / "runs").exists()
    off = made.model_copy(update={"warnings": made.warnings.model_copy(update={"off": tuple(names)})})
    assert image_warnings(off) == ()
