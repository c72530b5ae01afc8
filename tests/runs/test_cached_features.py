"""A run on kept features is the run without them, however it is cut, fed and gone on with; and says what it kept."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cnnlab.config.recipe import Recipe
from cnnlab.config.study import Study
from cnnlab.context import NO_CALLBACKS, Callbacks, RunContext
from cnnlab.data.decoding.cache import features_dir
from cnnlab.records import FeatureCacheRecord
from cnnlab.runs.run import resume_run, run
from cnnlab.storage.run_folder import RunFolder, list_runs
from cnnlab.studies.plan import make_plan
from cnnlab.studies.study import execute_study

# No bias in front of a batch norm: its gradient is 0 but for rounding, of which Adam makes whole steps.
DEEP = (
    "conv(4, 3, bias=false)", "batchnorm", "relu", "conv(6, 3, bias=false)", "batchnorm", "relu", "flatten",
    "dense(classes)",
)  # fmt: skip
HEAD = ["flatten", "dropout(0.3)", "dense(8, bias=false)", "batchnorm", "relu", "dense(classes)"]


@pytest.fixture(scope="session")
def behind(recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run whose network is the backbone here, to be read only."""
    return run(recipe(DEEP, epochs=1), RunContext(runs=tmp_path_factory.mktemp("behind"), device="cpu"), name="behind")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No features are there that another test has computed."""
    monkeypatch.setenv("CNNLAB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def transfer(recipe: Callable[..., Recipe], behind: RunFolder) -> Callable[..., Recipe]:
    """Makes a recipe whose backbone is the run behind; arguments as those of `recipe`, and `trainable` and `head`."""

    def make(trainable: str = "none", head: list[str] = HEAD, resize: Any = "own", **fields: Any) -> Recipe:
        backbone = f"run('{behind.path}', cut='relu2')"
        model = {"backbone": backbone, "trainable": trainable, "head": head, "resize": resize}
        return Recipe.from_tables({**recipe(**{"epochs": 3, **fields}).to_tables(), "model": model})

    return make


@pytest.fixture
def done(tmp_path: Path) -> Callable[..., RunFolder]:
    """Carries a recipe out."""

    def make(made: Recipe, callbacks: Callbacks = NO_CALLBACKS, **given: Any) -> RunFolder:
        return run(made, RunContext(runs=tmp_path / "runs", device="cpu", callbacks=callbacks), **given)

    return make


def record(folder: RunFolder) -> FeatureCacheRecord:
    found = folder.features()
    assert found is not None
    return found


def weights(folder: RunFolder, kind: str = "last") -> dict[str, torch.Tensor]:
    (newest,) = sorted(folder.path.glob(f"{kind}-*.safetensors"), key=lambda path: int(path.stem.split("-")[1]))[-1:]
    return load_file(newest)


def same(one: RunFolder, other: RunFolder, exactly: bool = False) -> None:
    """Weights, moments and averages, points of the curve and predictions are alike."""
    found, expected = weights(one), weights(other)
    assert found.keys() == expected.keys()
    room = {"rtol": 0, "atol": 0} if exactly else {"rtol": 1e-3, "atol": 1e-5}
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], **room, msg=lambda words, name=name: f"{name}: {words}")
    for point, wanted in zip(one.epochs(), other.epochs(), strict=True):
        assert point.train.loss == pytest.approx(wanted.train.loss, rel=1e-4)
        assert point.validation.loss == pytest.approx(wanted.validation.loss, rel=1e-4)
    assert one.result().train.loss == pytest.approx(other.result().train.loss, rel=1e-4)
    for part in ("validation", "test"):
        room = {"rtol": 0, "atol": 0} if exactly else {"rtol": 0, "atol": 1e-4}
        np.testing.assert_allclose(one.predictions(part).logits, other.predictions(part).logits, **room)


KINDS: dict[str, dict[str, Any]] = {
    "rows": {"trainable": "rows(['conv2'])"},
    "last convs": {"trainable": "last_convs(1)", "optimizer": "adamw(0.01)"},
    "gradual": {"trainable": "gradual(['batchnorm2', 'conv2'], every=1)", "epochs": 4},
    "alternating flip": {"augment": ["alternating_flip"], "epochs": 4, "trainable": "rows(['conv2'])"},
    "flips": {"augment": ["flip(0.7)", "vertical_flip(0.4)", "flip(0.2)"], "epochs": 6},
    "balanced": {"augment": ["flip"], "sampling": "balanced", "epochs": 4},
    "ema": {"average": "ema(0.9)", "weights": "averaged", "trainable": "rows(['batchnorm2', 'conv2'])"},
    "swa": {"average": "swa(0.3)", "weights": "averaged", "augment": ["flip"], "epochs": 4},
    "curve": {"opened": "curve", "validations_per_epoch": 2, "accumulate": 2, "clip": 0.1},
    "resized": {"resize": 8},
}


FAST = {"last convs", "gradual", "flips", "swa"}


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[] if kind in FAST else pytest.mark.full) for kind in KINDS])
def test_a_run_on_kept_features_is_the_run_without(
    transfer: Callable[..., Recipe], done: Callable[..., RunFolder], kind: str
) -> None:
    kept, anew = done(transfer(**KINDS[kind])), done(transfer(**{**KINDS[kind], "cache": "never"}))
    assert record(kept).cached
    assert record(kept).exact
    assert not record(anew).cached
    same(kept, anew)
    frozen = [name for name in weights(kept) if name.startswith("network/backbone.batchnorm1")]
    assert len(frozen) == 5
    assert all(torch.equal(weights(kept)[name], weights(anew)[name]) for name in frozen)


def test_what_is_kept_is_said_and_written_down(transfer: Callable[..., Recipe], done: Callable[..., RunFolder]) -> None:
    said: list[str] = []
    progress: list[tuple[Any, ...]] = []
    folder = done(
        transfer(augment=["flip"]),
        callbacks=Callbacks(log=said.append, progress=lambda *told: progress.append(told)),
    )
    found = record(folder)
    # 27 images to train on in two views and 9 to validate on, of 6×4×4 numbers; the test part is not kept.
    assert (found.cut_point, found.shape, found.views, found.dtype) == ("head.dropout1", (96,), 2, "fp32")
    sizes = folder.data().splits
    assert found.bytes == 4 * 96 * (2 * sizes["train"] + sizes["validation"])
    assert sorted(path.name for path in features_dir().glob("*.npy")) == sorted(found.files)
    assert len(found.files) == 3
    (line,) = [line for line in said if line.startswith("features of the frozen part")]
    assert "cached from head.dropout1 on, 2 views, " in line
    assert line.endswith("; as without, up to rounding")
    assert ("features of the frozen part, view 2 of 2", sizes["train"], sizes["train"], "images") in progress
    said.clear()
    again = done(transfer(augment=["flip"]), callbacks=Callbacks(log=said.append))
    assert record(again).seconds is None
    assert any("found in the cache" in line for line in said)
    same(again, folder, exactly=True)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"augment": ["flip", "crop(1)"]}, "^crop changes the images in every epoch$"),
        ({"mix": "mixup(0.4)"}, "mixup mixes images before the frozen part"),
        ({"trainable": "rows(['conv1'])"}, "nothing frozen stands before backbone.conv1, which trains"),
        ({"cache": "never"}, "says so"),
    ],
)
def test_where_features_are_not_kept_the_reason_is_said(
    transfer: Callable[..., Recipe], done: Callable[..., RunFolder], fields: dict[str, Any], words: str
) -> None:
    said: list[str] = []
    folder = done(transfer(**fields), callbacks=Callbacks(log=said.append))
    found = record(folder)
    assert not found.cached
    assert re.search(words, found.reason)
    assert f"the frozen part is computed for every batch: {found.reason}" in said
    assert not features_dir().exists()


def test_bf16_takes_half_and_is_not_exact(transfer: Callable[..., Recipe], done: Callable[..., RunFolder]) -> None:
    whole, half = done(transfer()), done(transfer(cache="auto(dtype='bf16')"))
    assert record(half).bytes * 2 == record(whole).bytes
    assert (record(half).exact, record(half).reason) == (False, "features are rounded to bf16")
    sizes = [sum((features_dir() / name).stat().st_size for name in record(one).files) for one in (half, whole)]
    assert sizes[0] < 0.6 * sizes[1]
    pairs = zip(half.epochs(), whole.epochs(), strict=True)
    assert all(one.train.loss == pytest.approx(two.train.loss, rel=0.05) for one, two in pairs)
    assert all(one.train.loss != two.train.loss for one, two in zip(half.epochs(), whole.epochs(), strict=True))
    # Final figures are those of the whole network.
    network = done(transfer(cache="never"))
    assert half.predictions("validation").logits.shape == network.predictions("validation").logits.shape


def test_a_damaged_file_is_made_again(transfer: Callable[..., Recipe], done: Callable[..., RunFolder]) -> None:
    first = done(transfer())
    for name in record(first).files:
        path = features_dir() / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    again = done(transfer())
    assert record(again).seconds is not None
    same(again, first, exactly=True)


def test_a_cache_that_can_not_be_written_to_costs_only_time(
    transfer: Callable[..., Recipe], done: Callable[..., RunFolder]
) -> None:
    kept = done(transfer())
    shutil.rmtree(features_dir())
    features_dir().write_bytes(b"")
    other = done(transfer())
    assert record(other).cached
    assert record(other).files == ()
    same(other, kept, exactly=True)


@pytest.mark.full
def test_arms_that_share_a_frozen_part_share_its_features(transfer: Callable[..., Recipe], tmp_path: Path) -> None:
    """Whatever their heads, optimisers, flips and seeds."""
    arms = {
        "plain": {},
        "wide": {"train.optimizer": "adam(0.01)", "model.head": ["flatten", "dense(16)", "relu", "dense(classes)"]},
        "flipped": {"data.augment": ["flip"]},
    }
    study = Study(
        base=transfer(opened="sealed"), metric="validation_loss", baseline="plain", baseline_seeds=2, seeds=2, arms=arms
    )
    execute_study(study, "sharing", RunContext(runs=tmp_path / "runs", device="cpu"))
    found = [record(folder) for folder in list_runs(tmp_path / "runs")]
    assert len(found) == 6
    assert {(one.cached, one.exact) for one in found} == {(True, True)}
    # A plain view of either part and a mirrored one: the first run computes two, and one of those that flip the third.
    assert len({name for one in found for name in one.files}) == 3
    assert sum(one.seconds is not None for one in found) == 2


@pytest.mark.full
def test_two_processes_train_on_the_features_that_one_computes(
    transfer: Callable[..., Recipe], done: Callable[..., RunFolder], tmp_path: Path
) -> None:
    """Head and gradual training among them: what is divided among processes is made anew when it thaws."""
    head = ["flatten", "dense(8)", "batchnorm", "relu", "dense(classes)"]
    fields = {
        "gradual": {"trainable": "gradual(['batchnorm2', 'conv2'])", "optimizer": "adam(0.01)", "augment": ["flip"]},
        "swa": {"average": "swa(0.3)", "weights": "averaged", "sync_batchnorm": False, "optimizer": "sgd(0.01)"},
    }
    folder = tmp_path / "two"
    folder.mkdir()
    recipes = {name: transfer(head=head, epochs=4, **each) for name, each in fields.items()}
    for name, made in recipes.items():
        made.write(folder / f"{name}.toml")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    program = Path(__file__).with_name("divided.py")
    ended = subprocess.run([*command, str(program), str(folder)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    for name, made in recipes.items():
        (two,) = list_runs(folder / name)
        one = done(made)
        assert two.environment().processes == 2
        assert record(two).cached
        assert record(two).files != record(one).files or record(one).seconds is None
        room = 0.2 if name == "swa" else 1e-3  # each process's norms see their own images
        pairs = zip(two.epochs(), one.epochs(), strict=True)
        assert all(ours.train.loss == pytest.approx(theirs.train.loss, rel=room) for ours, theirs in pairs)


RESUMED = {
    "augment": ["flip"],
    "epochs": 4,
    "optimizer": "adam(0.01)",
    "trainable": "gradual(['batchnorm2', 'conv2'], every=2)",
}


@pytest.mark.full
@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("steps", [1, 6, 13])
def test_a_run_that_is_cut_ends_like_a_straight_one(
    transfer: Callable[..., Recipe], done: Callable[..., RunFolder], cut: Any, steps: int, gone: bool
) -> None:
    straight = done(transfer(**RESUMED, average="ema(0.9)", weights="averaged"))
    started: list[RunFolder] = []
    with pytest.raises(cut.error):
        done(
            transfer(**RESUMED, average="ema(0.9)", weights="averaged"),
            callbacks=Callbacks(on_step=cut(steps), on_run_start=started.append),
        )
    if gone:
        shutil.rmtree(features_dir())
    (folder,) = started
    before = record(folder)
    same(resume_run(folder.path, RunContext(device="cpu")), straight, exactly=True)
    assert record(folder) == before
    assert features_dir().exists()


def test_a_run_that_began_without_goes_on_without(
    transfer: Callable[..., Recipe],
    done: Callable[..., RunFolder],
    cut: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[RunFolder] = []
    with monkeypatch.context() as patch:
        patch.setattr("cnnlab.training.feature_cache.plan.MAX_CACHE_BYTES", 0)
        with pytest.raises(cut.error):
            done(transfer(), callbacks=Callbacks(on_step=cut(6), on_run_start=started.append))
    resume_run(started[0].path, RunContext(device="cpu"))
    assert not record(started[0]).cached
    assert not features_dir().exists()


def test_the_speed_of_a_study_is_that_on_features(
    transfer: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, tuple[int, ...]]] = []

    def timed(_way: Any, network: Any, images: torch.Tensor, _labels: torch.Tensor) -> float:
        seen.append((type(network).__name__, tuple(images.shape[1:])))
        return 100.0

    monkeypatch.setattr("cnnlab.runs.setup.training_speed", timed)
    base = transfer()
    arms = {"kept": {}, "anew": {"train.cache": "never"}}
    make_plan(
        Study.from_tables(
            {
                "base": base.to_tables(),
                "metric": "validation_accuracy",
                "baseline": "kept",
                "seeds": [0, 1],
                "arms": arms,
            }
        ),
        "speeds",
        RunContext(device="cpu"),
    )
    assert seen == [("TrainableTail", (96,)), ("TransferModel", (3, 8, 8))]
