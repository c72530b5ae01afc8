"""Weights on disk: round trips, damage, and the state that a resumed training needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cnnlab.config.optimizers import optimizers
from cnnlab.errors import RunError
from cnnlab.records import PrecisionConfig
from cnnlab.storage import checkpoints
from cnnlab.storage.checkpoints import completed_epochs, load_network_state, load_weights
from cnnlab.training.checkpoints import restore_training_state, save_training_state, save_weights
from cnnlab.training.loop import fit
from cnnlab.training.precision import FP32

CHANNELS_LAST = PrecisionConfig(precision="fp32", memory_format="channels_last")
HIDDEN = ("conv(4, 3, padding=1)", "batchnorm", "relu", "dropout(0.2)", "flatten", "dense(6)", "relu", "dense(classes)")
OPTIMIZERS = ["sgd(0.05, momentum=0.9)", "adamw", "muon"]
FULL_OPTIMIZERS = [
    *("sgd(0.05)", "rmsprop(0.001, momentum=0.9, centered=true)"),
    *(name for name in optimizers.kinds if name not in ("sgd", *OPTIMIZERS)),
]


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def never(message: str) -> None:
    raise AssertionError(message)


def cut_after(made: Any, epochs: int, folder: Path) -> None:
    """Train some epochs, keeping the state after each; then stop as a killed process does."""
    for record in fit(made.training, made.loaders, lambda *_: None):
        save_training_state(folder, made.training)
        if record.epoch == epochs:
            return


def state_of(training: Any) -> dict[str, Any]:
    names = ("epoch", "step", "selected_epoch", "stopped", "best_tracker", "early_stopping", "schedule")
    return {name: deepcopy(getattr(training, name)) for name in names}


@pytest.fixture
def saved(setup: Callable[..., Any], tmp_path: Path) -> Any:
    """A training with two states kept, after one epoch and after two."""
    made = setup()
    for record in fit(made.training, made.loaders, lambda *_: None):
        save_weights(tmp_path, made.training, record.epoch)
        if record.epoch == 1:
            made.first = {name: tensor.clone() for name, tensor in made.weights.items()}
    return made


def test_weights_come_back_bit_by_bit(saved: Any, tmp_path: Path) -> None:
    tensors, about = load_weights(tmp_path, "best", never)
    assert equal(tensors, saved.weights)
    assert (about.file, about.epoch) == (f"best-{saved.training.step}.safetensors", 2)


def test_the_folder_holds_what_its_two_json_files_name_and_no_more(setup: Callable[..., Any], tmp_path: Path) -> None:
    made = setup(epochs=4)
    for kind in ("best", "last"):  # which a killed process had half written
        (tmp_path / f".{kind}-4.safetensors.123.tmp").touch()
    for record in fit(made.training, made.loaders, lambda *_: None):
        save_weights(tmp_path, made.training, record.epoch)
        save_training_state(tmp_path, made.training)
    names = {path.name for path in tmp_path.iterdir()}
    # last-12 goes with the best weights of steps 12 and 8.
    tensors = {f"{name}.safetensors" for name in ("best-8", "best-12", "best-16", "last-12", "last-16")}
    assert names == {*tensors, "best.json", "last.json"}
    assert all(load_file(path) for path in tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize(
    ("optimizer", "precision_config"),
    [
        *((name, FP32) for name in OPTIMIZERS),
        ("sgd(0.05, momentum=0.9)", CHANNELS_LAST),
        *(pytest.param(name, FP32, marks=pytest.mark.full) for name in FULL_OPTIMIZERS),
        *(pytest.param(name, CHANNELS_LAST, marks=pytest.mark.full) for name in ("muon", "adam", "lion")),
    ],
)
def test_a_resumed_training_ends_like_a_straight_one(
    setup: Callable[..., Any], tmp_path: Path, optimizer: str, precision_config: PrecisionConfig
) -> None:
    fields: dict[str, Any] = {
        "layers": HIDDEN,  # for muon
        "optimizer": optimizer,
        "epochs": 3,
        "schedule": "plateau(0.5, 1)",
        "stop": "early(9)",
        "precision_config": precision_config,
    }
    straight, cut, resumed = setup(**fields), setup(**fields), setup(**fields)
    straight.fit()
    cut_after(cut, 1, tmp_path)
    restore_training_state(tmp_path, resumed.training, never)
    assert resumed.training.epoch == 1
    assert state_of(resumed.training) == state_of(cut.training)
    resumed.fit()
    assert equal(resumed.weights, straight.weights)
    assert state_of(resumed.training) == state_of(straight.training)


@pytest.mark.parametrize("flag", ["stopped", "diverged"])
def test_a_training_that_was_over_stays_over(setup: Callable[..., Any], tmp_path: Path, flag: str) -> None:
    made, resumed = setup(), setup()
    setattr(made.training, flag, True)
    save_training_state(tmp_path, made.training)
    restore_training_state(tmp_path, resumed.training, never)
    assert getattr(resumed.training, flag)
    assert resumed.training.done


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    size = len(content)
    cuts = {"0 bytes": 0, "half": size // 2, "all but one byte": size - 1}
    if how == "a flipped bit":
        content[size // 2] ^= 4
    path.write_bytes(content[: cuts.get(how, size)])


@pytest.mark.parametrize("how", ["0 bytes", "half", "all but one byte", "a flipped bit"])
def test_a_damaged_newest_checkpoint_is_told_and_the_one_before_it_used(saved: Any, tmp_path: Path, how: str) -> None:
    newest, before = (f"best-{step}.safetensors" for step in (8, 4))
    damage(tmp_path / newest, how)
    said: list[str] = []
    tensors, about = load_weights(tmp_path, "best", said.append)
    assert equal(tensors, saved.first)
    assert (about.file, about.epoch) == (before, 1)
    (line,) = said
    assert line.startswith(f"{tmp_path / newest} is damaged: its checksum")
    assert line.endswith(f"the checkpoint before it ({before}) is used")
    (tmp_path / newest).unlink()
    assert load_weights(tmp_path, "best", said.append)[1].epoch == 1
    assert f"{newest} can't be read: " in said[1]


@pytest.mark.usefixtures("saved")
def test_two_damaged_checkpoints_are_both_named(tmp_path: Path) -> None:
    for step in (4, 8):
        damage(tmp_path / f"best-{step}.safetensors", "half")
    with pytest.raises(RunError) as caught:
        load_weights(tmp_path, "best", never)
    assert all(f"best-{step}.safetensors is damaged" in str(caught.value) for step in (4, 8))


def test_no_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"this run has no 'best' checkpoint\n  next:     train it again"):
        load_weights(tmp_path, "best", never)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\xff\xfe", b'{"newest": {"file": "x"}}'),
        b'{"newest": {"file": "../best.safetensors", "sha256": "", "epoch": 1}}',  # of a run that came from elsewhere
    ],
)
def test_a_damaged_pointer_is_named_and_does_not_stop_the_next_save(saved: Any, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "best.json").write_bytes(content)
    with pytest.raises(
        RunError, match=r"best\.json: best\.json can't be read: .*\n  next:     train it again"
    ) as caught:
        load_weights(tmp_path, "best", never)
    assert ("leads out of its folder" in str(caught.value)) == (b".." in content)
    save_weights(tmp_path, saved.training, 2)
    assert equal(load_weights(tmp_path, "best", never)[0], saved.weights)


def test_a_kill_between_the_two_writes_leaves_the_older_state(
    saved: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed_at_json(path: Path, content: bytes) -> None:
        if path.suffix == ".json":
            raise KeyboardInterrupt
        path.write_bytes(content)

    before = {name: tensor.clone() for name, tensor in saved.weights.items()}
    monkeypatch.setattr(checkpoints, "atomic_write", killed_at_json)
    saved.training.step += 1
    nn.init.zeros_(saved.training.network[0].weight)
    with pytest.raises(KeyboardInterrupt):
        save_weights(tmp_path, saved.training, 3)
    assert equal(load_weights(tmp_path, "best", never)[0], before)


@pytest.mark.parametrize(
    ("make", "difference"),
    [
        (lambda: [nn.Linear(12, 4)], "'0.weight' is 5×12 in the file and 4×12 in the network"),
        (lambda: [nn.Linear(12, 5, bias=False)], "'0.bias' is 5 in the file and missing in the network"),
        (lambda: [nn.Linear(12, 5), nn.BatchNorm1d(5)], "'1.weight' is missing in the file and 5 in the network"),
    ],
)
def test_weights_of_another_network_are_refused_with_the_first_difference(
    make: Callable[[], list[nn.Module]], difference: str
) -> None:
    with torch.random.fork_rng(devices=[]):
        network = nn.Sequential(*make())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(RunError, match=f"runs/x: these weights are of another network: {difference}"):
        load_network_state(network, {"0.weight": torch.zeros(5, 12), "0.bias": torch.zeros(5)}, "runs/x")
    assert equal(network.state_dict(), before)


def test_a_checkpoint_of_weights_alone_cannot_be_resumed(saved: Any, tmp_path: Path) -> None:
    pointer = json.loads((tmp_path / "best.json").read_text())
    (tmp_path / "last.json").write_text(json.dumps(pointer))
    with pytest.raises(RunError, match="this checkpoint holds weights only"):
        restore_training_state(tmp_path, saved.training, never)


def test_two_best_weights_from_a_lost_future_are_not_the_runs(setup: Callable[..., Any], tmp_path: Path) -> None:
    """Best weights at steps 2, 4, 6 and 7; the last whole state is of step 4."""
    made = setup(epochs=2, validations_per_epoch=4)
    for record in fit(made.training, made.loaders, lambda *_: None):
        if record.step in (2, 4, 6, 7):
            made.training.selected_epoch = record.epoch
            save_weights(tmp_path, made.training, record.epoch)
        if record.step == 4:
            save_training_state(tmp_path, made.training)
            kept = {name: tensor.clone() for name, tensor in made.weights.items()}
        if record.step == 7:
            break
    resumed = setup(epochs=2)
    restore_training_state(tmp_path, resumed.training, never)
    tensors, about = load_weights(tmp_path, "best", never)
    assert (about.epoch, about.file, resumed.training.selected_epoch) == (1, "best-4.safetensors", 1)
    assert equal(tensors, kept)
    damage(tmp_path / "best-4.safetensors", "half")
    assert load_weights(tmp_path, "best", lambda _: None)[1].file == "best-2.safetensors"


@pytest.mark.usefixtures("saved")
def test_without_a_whole_epoch_a_training_starts_anew(setup: Callable[..., Any], tmp_path: Path) -> None:
    resumed = setup()
    before = {name: tensor.clone() for name, tensor in resumed.weights.items()}
    restore_training_state(tmp_path, resumed.training, never)
    assert (resumed.training.epoch, resumed.training.selected_epoch) == (0, 0)
    assert equal(resumed.weights, before)
    with pytest.raises(RunError, match="this run has no 'best' checkpoint"):
        load_weights(tmp_path, "best", never)


@pytest.mark.parametrize(("epoch", "file"), [(1, "best-4.safetensors"), (2, "best-8.safetensors")])
@pytest.mark.usefixtures("saved")
def test_the_weights_of_one_epoch_are_had(tmp_path: Path, epoch: float, file: str) -> None:
    assert load_weights(tmp_path, "best", never, epoch)[1].file == file


@pytest.mark.usefixtures("saved")
def test_no_others_do_for_the_weights_of_one_epoch(tmp_path: Path) -> None:
    damage(tmp_path / "best-8.safetensors", "half")
    with pytest.raises(RunError, match=r"best-8\.safetensors is damaged: .*\n  next:     train it again"):
        load_weights(tmp_path, "best", never, 2)
    with pytest.raises(RunError, match=r"there are no weights of epoch 1\.5, which the run's figures are of\n  next: "):
        load_weights(tmp_path, "best", never, 1.5)


def test_the_whole_epochs_that_are_kept_are_counted(setup: Callable[..., Any], tmp_path: Path) -> None:
    assert completed_epochs(tmp_path) == 0
    cut_after(setup(epochs=3), 2, tmp_path)
    assert completed_epochs(tmp_path) == 2


def test_best_weights_whose_pointer_was_unreadable_when_the_state_was_saved_are_not_deleted(
    saved: Any, tmp_path: Path
) -> None:
    pointer = (tmp_path / "best.json").read_bytes()
    (tmp_path / "best.json").write_bytes(b"")
    saved.training.selected_epoch = 1.0
    save_training_state(tmp_path, saved.training)
    (tmp_path / "best.json").write_bytes(pointer)
    restore_training_state(tmp_path, saved.training, never)
    assert equal(load_weights(tmp_path, "best", never)[0], saved.weights)
