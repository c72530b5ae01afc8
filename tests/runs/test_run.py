"""One run from end to end: what it leaves behind, what it selects, and when it looks at the test set."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

from cnnlab.config.recipe import Recipe
from cnnlab.context import Callbacks, RunContext
from cnnlab.data.dataset import open_dataset
from cnnlab.data.loader import ImageLoader
from cnnlab.distributed import ProcessGroup
from cnnlab.errors import RunError, SourceError
from cnnlab.evaluation.logits import predict_logits
from cnnlab.evaluation.metrics import compute_score
from cnnlab.records import EpochRecord, LedgerEntry
from cnnlab.runs.final_evaluation import open_test, trained_network
from cnnlab.runs.run import resume_run, run
from cnnlab.storage.run_folder import RunFolder

FROZEN = {"optimizer": "sgd(1e-30)", "layers": ["flatten", "dense(classes)"]}


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def ledger(folder: RunFolder) -> list[LedgerEntry]:
    return [LedgerEntry(**line) for line in lines(folder.path.parent / "test-ledger.jsonl")]


def assert_same_tensors(one: RunFolder, other: RunFolder) -> None:
    names = sorted(path.name for path in one.path.glob("*.safetensors"))
    assert names == sorted(path.name for path in other.path.glob("*.safetensors"))
    assert len(names) >= 2
    assert all((one.path / name).read_bytes() == (other.path / name).read_bytes() for name in names)


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def test_the_answers_on_the_training_part_are_kept_where_they_are_asked_for(
    recipe: Callable[..., Recipe], trained: Callable[..., RunFolder]
) -> None:
    plain, asked = trained(recipe()), trained(recipe(predictions="all"))
    assert plain.predictions("train") is None
    kept = asked.predictions("train")
    assert kept is not None
    assert len(kept.labels) == asked.data().splits["train"]
    assert compute_score(kept.logits, kept.labels, asked.data().classes).loss == plain.result().train.loss


def test_a_finished_run_has_every_piece(finished: RunFolder, recipe: Callable[..., Recipe]) -> None:
    names = {path.name for path in finished.path.iterdir()}
    pieces = {
        *(
            f"{name}.json"
            for name in ("environment", "data", "layers", "precision", "result", "initial_weights", "best", "last")
        ),
        *("recipe.toml", "metrics.jsonl", "example.png", "example.json"),
    }
    predictions = {f"predictions-{part}.npz" for part in ("train", "validation", "test")}
    assert names >= {*pieces, *predictions}
    assert not [name for name in names if name.endswith(".tmp")]
    made = recipe(epochs=4, augment=["crop(padding=1)", "flip(0.5)"], validations_per_epoch=2, predictions="all")
    assert finished.recipe() == made
    data = finished.data()
    assert data.classes == ("blue", "green", "red")
    assert data.splits == {"train": 27, "validation": 9, "test": 12}
    assert finished.table().parameters == finished.result().parameters == 4 * 28 + 8 + 64 * 3 + 3
    assert finished.environment().device.startswith("cpu: ")
    assert finished.precision_config().precision == "fp32"


def test_the_learning_curve_has_a_line_a_validation(finished: RunFolder) -> None:
    found = lines(finished.path / "metrics.jsonl")
    assert [line["epoch"] for line in found] == [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]
    assert [line["step"] for line in found] == list(range(2, 17, 2))
    assert all(line["test"] is None for line in found)
    seconds = [line["seconds"] for line in found]
    assert seconds == sorted(seconds)
    assert finished.result().seconds == seconds[-1]
    assert finished.result().images_per_second == pytest.approx(4 * 27 / seconds[-1])


def test_the_first_of_the_best_validations_is_selected(finished: RunFolder) -> None:
    found = lines(finished.path / "metrics.jsonl")
    best = max(found, key=lambda line: line["validation"]["accuracy"])
    result = finished.result()
    assert result.selected_epoch == best["epoch"]
    assert result.validation.accuracy == best["validation"]["accuracy"]
    assert json.loads((finished.path / "best.json").read_text())["newest"]["epoch"] == best["epoch"]


def test_the_final_figures_are_those_of_plain_torch_and_pillow(finished: RunFolder, colours: Path) -> None:
    """From the selected weights, the image files, and nothing of ours but the names of each part's images."""
    state = load_file(finished.path / f"best-{round(finished.result().selected_epoch * 4)}.safetensors")
    dataset = open_dataset(finished.recipe().data, seed=0)
    pixels = {
        part: np.stack([np.asarray(Image.open(colours / name)) for name in dataset.image_names(part)]) / 255
        for part in dataset.splits
    }
    mean, std = pixels["train"].mean((0, 1, 2)), pixels["train"].std((0, 1, 2))
    own = {name.removeprefix("network/"): tensor for name, tensor in state.items()}
    for part, array in pixels.items():
        images = torch.from_numpy((array - mean) / std).float().permute(0, 3, 1, 2)
        hidden = F.conv2d(images, own["conv1.weight"], own["conv1.bias"], padding=1)
        normal = [own[f"batchnorm1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        pooled = F.max_pool2d(F.relu(F.batch_norm(hidden, *normal)), 2).flatten(1)
        logits = F.linear(pooled, own["dense1.weight"], own["dense1.bias"])
        labels = torch.tensor(
            [("blue", "green", "red").index(name.split("/")[0]) for name in dataset.image_names(part)]
        )
        figures = getattr(finished.result(), part)
        assert figures.images == len(labels)
        assert figures.loss == pytest.approx(F.cross_entropy(logits, labels).item(), abs=1e-5)
        assert figures.accuracy == (logits.argmax(1) == labels).double().mean().item()
        kept = finished.predictions(part)
        assert kept.labels.tolist() == labels.tolist()
        np.testing.assert_allclose(kept.logits, logits.numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("fields", [{"weights": "last"}, {"validation": 0.0}])
def test_the_last_weights_are_kept_where_nothing_chooses(
    recipe: Callable[..., Recipe], tmp_path: Path, fields: dict
) -> None:
    folder = run(recipe(epochs=3, **fields), RunContext(runs=tmp_path))
    result = folder.result()
    assert (result.status, result.epochs, result.selected_epoch) == ("finished", 3, 3)
    step = folder.epochs()[-1].step
    best, last = (load_file(folder.path / f"{kind}-{step}.safetensors") for kind in ("best", "last"))
    assert all(torch.equal(last[name], tensor) for name, tensor in best.items())
    assert (result.validation is None) == ("validation" in fields)


def test_early_stopping_restores_the_best_weights(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    folder = run(recipe(epochs=40, stop="early(patience=3)", **FROZEN), RunContext(runs=tmp_path))
    result = folder.result()
    assert (result.status, result.epochs, result.selected_epoch) == ("stopped early", 4, 1)
    best = only(folder.path, "best-*.safetensors")
    assert best.name == "best-4.safetensors"
    network = trained_network(folder, torch.device("cpu"), print)
    assert not network.training
    assert torch.equal(network.dense1.weight, load_file(best)["network/dense1.weight"])


@pytest.fixture
def with_bad_test_images(picture_folder: Path) -> Path:
    """Class folders with a test part whose images can't be decoded."""
    for path in list(picture_folder.iterdir()):
        (picture_folder / "train").mkdir(exist_ok=True)
        path.rename(picture_folder / "train" / path.name)
        (picture_folder / "test" / path.name).mkdir(parents=True)
        (picture_folder / "test" / path.name / "0.png").write_bytes(b"no image")
    return picture_folder


def test_a_sealed_test_set_is_not_read_at_all(
    recipe: Callable[..., Recipe], tmp_path: Path, with_bad_test_images: Path
) -> None:
    made = recipe(source=str(with_bad_test_images), test=None, epochs=1, opened="sealed")
    folder = run(made, RunContext(runs=tmp_path / "runs"))
    assert folder.result().status == "finished"
    assert folder.result().test is None
    assert folder.predictions("test") is None
    assert ledger(folder) == []
    with pytest.raises(SourceError):
        open_test(folder.path)
    assert [opening.purpose for opening in ledger(folder)] == ["test command"]  # written down before it is read
    assert folder.result().test is None


def test_a_curve_opens_it_at_each_validation_and_at_the_end_and_changes_nothing_else(
    recipe: Callable[..., Recipe], trained: Callable[..., RunFolder]
) -> None:
    def made(opened: str) -> Recipe:
        return recipe(opened=opened, epochs=2, validations_per_epoch=2)

    folder = trained(made("curve"))
    assert [opening.purpose for opening in ledger(folder)] == ["curve"] * 4 + ["end of the recipe"]
    found = folder.epochs()
    assert [record.test.images for record in found] == [12] * 4
    selected = next(record for record in found if record.epoch == folder.result().selected_epoch)
    assert folder.result().test == selected.test
    sealed = trained(made("sealed"))
    assert_same_tensors(sealed, folder)


def test_open_test_adds_one_opening_and_the_figures(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    sealed = run(recipe(opened="sealed"), RunContext(runs=tmp_path), name="sealed")
    other = run(recipe(), RunContext(runs=tmp_path), name="other")
    before = sealed.result()
    assert (before.test, len(ledger(sealed))) == (None, 1)
    result = open_test(sealed.path)
    assert result == sealed.result() == before.model_copy(update={"test": other.result().test})
    assert [opening.purpose for opening in ledger(sealed)] == ["end of the recipe", "test command"]
    assert ledger(sealed)[1].test_set == ledger(sealed)[0].test_set
    assert sealed.predictions("test").labels.tolist() == other.predictions("test").labels.tolist()


def test_open_test_refuses_a_run_without_a_test_part(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    folder = run(recipe(test=0.0, epochs=1), RunContext(runs=tmp_path))
    assert folder.data().test_set == ""
    with pytest.raises(RunError, match=r"this run's data has no test split\n  next:     give data.test a share"):
        open_test(folder.path)
    assert ledger(folder) == []


def test_open_test_refuses_an_unfinished_run(own: RunFolder) -> None:
    (own.path / "result.json").unlink()
    words = f"this run has not finished\n  next:     finish it: cnnlab train --resume {own.path}"
    with pytest.raises(RunError, match=words):
        open_test(own.path)


def test_one_seed_gives_one_run_bit_by_bit(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    first, second, other = (run(recipe(seed=seed), RunContext(runs=tmp_path)) for seed in (0, 0, 1))
    assert_same_tensors(first, second)
    assert other.data().test_set == first.data().test_set, "every seed tests on the same images"
    assert other.data().split_hash != first.data().split_hash


def test_the_listener_hears_of_every_validation_and_of_the_folder(
    recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    points: list[EpochRecord] = []
    said: list[str] = []
    folders: list[RunFolder] = []
    listener = Callbacks(on_validation=points.append, log=said.append)
    folder = run(recipe(), RunContext(runs=tmp_path, callbacks=replace(listener, on_run_start=folders.append)))
    assert points == folder.epochs()
    assert folders == [folder]
    assert said[0] == f"run folder: {folder.path}"
    assert said[1] == "computing in fp32, contiguous (as the recipe says)"
    assert said[2].startswith("! bias-before-batchnorm (conv1): ")
    # The validation split was scored when the weights were selected.
    assert said[3:] == ["scoring the train split: 27 images", "scoring the test split: 12 images"]


def test_a_disk_that_fills_up_is_a_run_error(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    folders: list[RunFolder] = []

    def fill(record: EpochRecord) -> None:
        if record.epoch == 1:
            (folders[0].path / "metrics.jsonl").rename(tmp_path / "kept.jsonl")
            (folders[0].path / "metrics.jsonl").symlink_to("/dev/full")

    with pytest.raises(RunError, match=r"metrics\.jsonl: this file can't be written: "):
        run(
            recipe(),
            RunContext(runs=tmp_path / "runs", callbacks=Callbacks(on_validation=fill, on_run_start=folders.append)),
        )


def spoil_newest(folder: RunFolder, kind: str = "best") -> dict[str, Any]:
    pointer = json.loads((folder.path / f"{kind}.json").read_text())
    (folder.path / pointer["newest"]["file"]).write_bytes(b"")
    return pointer


@pytest.fixture
def improving(recipe: Callable[..., Recipe], tmp_path: Path) -> RunFolder:
    """A run whose weights were selected more than once."""
    return run(recipe(epochs=3, validation=0.0), RunContext(runs=tmp_path / "runs", device="cpu"))


def test_a_finished_run_is_not_tested_with_other_weights_than_those_of_its_figures(improving: RunFolder) -> None:
    before, looks = improving.result(), len(ledger(improving))
    spoilt = spoil_newest(improving)["newest"]["file"]
    with pytest.raises(RunError, match=f"{spoilt} is damaged: its checksum .*\n  next:     train it again"):
        open_test(improving.path)
    assert (improving.result(), len(ledger(improving))) == (before, looks)


def test_final_figures_of_older_weights_say_so(improving: RunFolder) -> None:
    """The selected weights were damaged between the end of the training and its scoring."""
    before = spoil_newest(improving)["before"]
    (improving.path / "result.json").unlink()
    said: list[str] = []
    result = resume_run(improving.path, RunContext(callbacks=Callbacks(log=said.append))).result()
    assert said[0] == "continuing from the end of epoch 3"
    assert said[1].endswith(f"the checkpoint before it ({before['file']}) is used")
    assert (result.selected_epoch, result.epochs) == (before["epoch"], 3) == (2, 3)
    assert open_test(improving.path).test == result.test


@pytest.mark.parametrize("memory_format", [pytest.param("contiguous", marks=pytest.mark.full), "channels_last"])
def test_every_part_is_fed_in_the_format_of_the_network(
    recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_format: str
) -> None:
    seen: list[tuple[str, bool]] = []

    def watched(network: torch.nn.Module, feed: ImageLoader, world: ProcessGroup) -> np.ndarray:
        last = network.conv1.weight.is_contiguous(memory_format=torch.channels_last)
        seen.append((feed.memory_format, last))
        return predict_logits(network, feed, world)

    monkeypatch.setattr("cnnlab.runs.final_evaluation.predict_logits", watched)
    monkeypatch.setattr("cnnlab.training.loop.predict_logits", watched)
    folder = run(recipe(epochs=1, opened="curve", memory_format=memory_format), RunContext(runs=tmp_path, device="cpu"))
    open_test(folder.path)
    assert seen == [(memory_format, memory_format == "channels_last")] * 5


@pytest.mark.parametrize("place", ["cnnlab.runs.setup.autotune_precision", "cnnlab.runs.run.fit"])
def test_a_full_memory_is_a_run_error(
    recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(place, Mock(side_effect=torch.OutOfMemoryError("CUDA out of memory. Tried to\nmore")))
    folders: list[RunFolder] = []
    with pytest.raises(RunError) as caught:
        run(recipe(), RunContext(runs=tmp_path, callbacks=Callbacks(on_run_start=folders.append)))
    where, file = (folders[0].path, folders[0].path / "recipe.toml") if folders else ("train.batch_size", "RECIPE")
    assert bool(folders) == place.endswith("fit")
    assert str(caught.value).startswith(f"{where}: the memory is full: CUDA out of memory. Tried to\n")
    assert f"cnnlab train {file} --set train.batch_size=4, or a smaller network" in str(caught.value)


def test_an_average_that_never_began_is_told(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    fields = {"average": "swa(0.9)", "weights": "averaged", "budget": "images(10)"}
    result = run(recipe(epochs=3, **fields), RunContext(runs=tmp_path, device="cpu")).result()
    assert result is not None
    assert result.message.startswith("the training ended before an average began: these are its last weights")


def test_a_run_that_a_budget_ends_says_so(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    result = run(recipe(epochs=40, budget="images(40)"), RunContext(runs=tmp_path)).result()
    assert result.status == "budget spent"
    assert result.epochs < 40
