"""Files of tensors: what is read is what was written, and every other file is named with its reason."""

from __future__ import annotations

import argparse
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from torch import Tensor, nn

from cnnlab.errors import RunError
from cnnlab.models.pretrained.tensor_files import read_tensors

STATE = {"conv.weight": torch.arange(24.0).reshape(2, 3, 2, 2), "conv.bias": torch.tensor([1.0, -2.0])}


class _Evil:
    """Unpickled, it makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.target),))


def _same(found: dict[str, Tensor], expected: dict[str, Tensor] = STATE) -> bool:
    return set(found) == set(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_what_a_file_is_its_content_says(tmp_path: Path, name: str) -> None:
    for write in (
        save_file,
        torch.save,
        lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
    ):
        write(STATE, tmp_path / name)
        assert _same(read_tensors(tmp_path / name))


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_tensors_are_found_among_what_a_training_kept(tmp_path: Path, key: str) -> None:
    other = {"momentum": torch.ones(3)}
    torch.save({"epoch": 3, "lr": 0.1, "best": torch.ones(1), "optimizer": other, key: STATE}, tmp_path / "w.pth")
    assert _same(read_tensors(tmp_path / "w.pth"))


def test_a_network_with_a_row_called_model_is_not_taken_for_a_wrapper(tmp_path: Path) -> None:
    state = {"model": torch.ones(2), "head": torch.zeros(1)}
    torch.save(state, tmp_path / "w.pth")
    assert _same(read_tensors(tmp_path / "w.pth"), state)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_a_prefix_that_all_names_have_is_taken_off(tmp_path: Path, prefix: str) -> None:
    prefixed = {prefix + name: tensor for name, tensor in STATE.items()}
    torch.save({"state_dict": prefixed}, tmp_path / "w.pth")
    assert _same(read_tensors(tmp_path / "w.pth"))
    save_file(prefixed, tmp_path / "w.safetensors")
    assert _same(read_tensors(tmp_path / "w.safetensors"))
    some = {"module.a": torch.ones(1), "b": torch.ones(1)}
    torch.save(some, tmp_path / "w.pth")
    assert _same(read_tensors(tmp_path / "w.pth"), some)


def test_files_that_can_not_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=rf"w\.pth: .*can't be read: No such file(?s:.*)which is relative to {tmp_path}"):
        read_tensors("w.pth")
    with pytest.raises(RunError, match="can't be read: Is a directory"):
        read_tensors(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no file of weights(?s:.*)received: an empty file"),
        (b"<!DOCTYPE html><html>", "no file of weights(?s:.*)html(?s:.*)not a page or a pointer"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "no file of weights(?s:.*)git-lfs"),
        (b"\x80\x02" + bytes(30), "or it is damaged\n(?s:.*)next:     fetch"),
        (pickle.dumps({"a": 1}, 4), "no file of weights"),
    ],
)  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(RunError, match=rf"w\.pth: .*{words}"):
        read_tensors(path)


def test_other_archives_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", kernel=np.ones(3))
    with pytest.raises(RunError, match="no file of weights, or it is damaged"):
        read_tensors(tmp_path / "w.npz")


@pytest.mark.filterwarnings("ignore")  # TorchScript is on its way out
def test_torchscript_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.ReLU()), tmp_path / "w.pt")
    with pytest.raises(
        RunError, match="this file holds more than tensors: to read it, its TorchScript would have to be run"
    ):
        read_tensors(tmp_path / "w.pt")


@pytest.mark.parametrize("archive", [True, False])
def test_a_program_in_a_file_is_refused_and_not_run(tmp_path: Path, archive: bool) -> None:
    target, path = tmp_path / "was-run", tmp_path / "w.pth"
    torch.save({**STATE, "extra": _Evil(target)}, path, _use_new_zipfile_serialization=archive)
    with pytest.raises(RunError, match=r"w\.pth: this file holds more than tensors: to read it, 'posix\.mkdir' would"):
        read_tensors(path)
    path.write_bytes(pickle.dumps(_Evil(target), 2))
    with pytest.raises(RunError, match=r"w\.pth: this "):
        read_tensors(path)
    path.write_bytes(pickle.dumps(_Evil(target), 4))
    with pytest.raises(RunError, match="this is no file of weights"):
        read_tensors(path)
    assert not target.exists()
    pickle.loads(path.read_bytes())  # negative control: it does what it says
    assert target.exists()


@pytest.mark.parametrize("archive", [True, False])
def test_whole_networks_and_other_objects_are_refused_with_their_name(tmp_path: Path, archive: bool) -> None:
    path = tmp_path / "w.pth"
    torch.save(nn.ReLU(), path, _use_new_zipfile_serialization=archive)
    with pytest.raises(RunError, match=r"'torch\.nn\.modules\.activation\.ReLU' would have to be run"):
        read_tensors(path)
    torch.save({**STATE, "args": argparse.Namespace(lr=1)}, path, _use_new_zipfile_serialization=archive)
    with pytest.raises(RunError, match=r"'argparse\.Namespace'(?s:.*)where you trust the file, save the tensors alone"):
        read_tensors(path)


@pytest.mark.parametrize("loaded", [{"epoch": 3}, [torch.ones(2)], torch.ones(2), {"state_dict": {}}])
def test_a_file_without_tensors_by_name_is_refused(tmp_path: Path, loaded: object) -> None:
    torch.save(loaded, tmp_path / "w.pth")
    with pytest.raises(RunError, match=r"w\.pth: this file holds no tensors by name\n  allowed:  names with tensors"):
        read_tensors(tmp_path / "w.pth")
    save_file({}, tmp_path / "w.safetensors")
    with pytest.raises(RunError, match="this file holds no tensors by name"):
        read_tensors(tmp_path / "w.safetensors")


@pytest.mark.filterwarnings("ignore")  # so are quantised tensors
def test_tensors_that_are_not_plain_are_refused(tmp_path: Path) -> None:
    quantised = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    for tensor in (torch.eye(3).to_sparse(), torch.ones(2, dtype=torch.complex64), quantised):
        torch.save({"fine": torch.ones(1), "row.weight": tensor}, tmp_path / "w.pth")
        with pytest.raises(RunError, match=r"w\.pth: 'row\.weight' is no dense tensor of plain numbers"):
            read_tensors(tmp_path / "w.pth")


@pytest.mark.parametrize("kind", ["archive", "legacy", "safetensors"])
def test_a_file_that_was_cut_is_found(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "w.pth"
    if kind == "safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=kind == "archive")
    content = path.read_bytes()
    for length in (1, 8, 9, 30, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(RunError, match=r"w\.pth: this is no file of weights, or it is damaged"):
            read_tensors(path)


def test_a_flipped_bit_of_an_archive_is_found(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"weight": torch.arange(1000.0)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(1000.0).numpy().tobytes()) + 2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"it is damaged\n  received: Bad CRC-32"):
        read_tensors(path)


@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_of_safetensors_ends_in_our_errors(place: int, bit: int, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    content = bytearray(save(STATE))
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        assert read_tensors(path)
    except RunError as error:
        assert "flipped.safetensors: " in str(error)


def test_what_a_message_shows_of_a_file_is_short_and_clean(tmp_path: Path) -> None:
    evil = "a\x1b[31m" + "x" * 500
    for name, kind, words in ((evil, "C64", "is no dense tensor"), ("a", evil, "or it is damaged")):
        text = json.dumps({name: {"dtype": kind, "shape": [1], "data_offsets": [0, 8]}}).encode()
        (tmp_path / "w.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
        with pytest.raises(RunError) as caught:
            read_tensors(tmp_path / "w.safetensors")
        assert words in str(caught.value)
        assert "\x1b" not in str(caught.value)
        assert max(map(len, str(caught.value).splitlines())) < 200 + len(str(tmp_path))
