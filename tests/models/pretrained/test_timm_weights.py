"""timm's weights, held against what timm itself says of them and does with them."""

from __future__ import annotations

import hashlib
import http.server
import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from cnnlab.errors import DownloadError, RunError, SpecError
from cnnlab.models.pretrained.architectures import create_model
from cnnlab.models.pretrained.weights import (
    PretrainedWeights,
    load_pretrained_weights,
    pretrained_config,
    weights_label,
)
from cnnlab.torch_rng import fork_rng

pytestmark = [
    pytest.mark.usefixtures("asked", "torch_store"),
    pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed"),
]
NAME = "timm/test_convnext"
REPOSITORY = "timm/test_convnext.r160_in1k"
State = dict[str, Tensor]


def _timm() -> Any:
    return importlib.import_module("timm")


def _silent(text: str) -> None:
    raise AssertionError(f"nothing was to be said, and not: {text}")


def _find(name: str = NAME, weights: str = "imagenet", download: bool = False) -> PretrainedWeights:
    return load_pretrained_weights(name, weights, download=download, log=_silent)


def _same(found: State, expected: State) -> bool:
    return set(found) == set(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.fixture
def state() -> State:
    return dict(create_model(NAME, device="cpu", seed=1).state_dict())


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's store, empty, and no hub."""
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def _keep(hub: Path, content: bytes, file: str = "model.safetensors", repository: str = REPOSITORY) -> Path:
    """Put a file into the store as the hub's own program does: under its checksum, with a link."""
    folder, commit = hub / f"models--{repository.replace('/', '--')}", "0" * 40
    blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
    link = folder / "snapshots" / commit / file
    for path in (blob, link, folder / "refs" / "main"):
        path.parent.mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    blob.write_bytes(content)
    link.symlink_to(blob)
    return link


EACH = pytest.mark.parametrize("step", [60, pytest.param(1, marks=pytest.mark.full)])


@EACH
def test_natural_is_what_timm_resolves(step: int) -> None:
    for name in _timm().list_models()[::step]:
        facts = _timm().get_pretrained_cfg(name)
        expected = _timm().data.resolve_data_config({}, pretrained_cfg=facts.to_dict())
        for weights in ("none", "w.pth", *(["imagenet", facts.tag] if facts.has_weights and facts.tag else [])):
            made_for = pretrained_config(f"timm/{name}", weights)
            assert made_for.shape == expected["input_size"], name
            assert (made_for.mean, made_for.std) == (expected["mean"], expected["std"]), name
            assert made_for.interpolation == expected["interpolation"], name


def test_tags_are_timms() -> None:
    for name in ("resnet18", "densenet121", "convnext_tiny", "vit_base_patch16_224"):
        published = [full.partition(".")[2] for full in _timm().list_pretrained(f"{name}.*")]
        default = _timm().get_pretrained_cfg(name).tag
        assert weights_label(f"timm/{name}", "imagenet") == default
        for tag in published:
            assert weights_label(f"timm/{name}", tag) == weights_label(f"timm/{name}.{tag}", "imagenet") == tag
    larger = pretrained_config("timm/convnext_tiny", "fb_in22k_ft_in1k_384")
    assert larger.shape == (3, 384, 384)
    for weights in ("imagenet", "none", "w.pth"):
        assert pretrained_config("timm/convnext_tiny.fb_in22k_ft_in1k_384", weights) == larger


@EACH
def test_networks_without_published_weights_are_told(step: int) -> None:
    without = set(_timm().list_models()) - {full.partition(".")[0] for full in _timm().list_pretrained()}
    assert len(without) > 100
    for name in sorted(without)[::step]:
        with pytest.raises(SpecError, match=rf"timm publishes no weights of '{name}'(?s:.*)weights='none'"):
            weights_label(f"timm/{name}", "imagenet")
        assert weights_label(f"timm/{name}", "none") == "none"


def test_old_names_stand_for_todays() -> None:
    assert weights_label("timm/tv_resnet34", "imagenet") == "tv_in1k"
    assert pretrained_config("timm/vit_base_patch16_224_in21k") == pretrained_config(
        "timm/vit_base_patch16_224.augreg_in21k"
    )


@pytest.mark.parametrize(
    ("name", "weights", "words"),
    [
        ("timm/resnet18", "a1_in2k", r"there are no weights 'a1_in2k' of timm's resnet18\n  received: a1_in2k\n"
         r"  allowed:  a1_in1k, .*tv_in1k, or a file (?s:.*)did you mean 'a1_in1k'\?"),
        ("timm/resnet18.a2_in1k", "a1_in1k", r"no weights 'a1_in1k' of timm's resnet18\.a2_in1k\n  received: a1_in1k\n"
         r"  allowed:  a2_in1k, imagenet, none, or a file (?s:.*)did you mean 'a2_in1k'\?"),
        ("timm/resnet18.a9_in1k", "imagenet", r"there are no weights 'a9_in1k' of timm's resnet18\n  received: "
         r"a9_in1k\n  allowed:  a1_in1k, (?s:.*)did you mean 'a"),
        ("timm/convnext_tinny", "imagenet", "there is no network 'timm/convnext_tinny'"),
        ("timm/convnext_tinny.x", "imagenet", "there is no network 'timm/convnext_tinny'"),
    ],
)  # fmt: skip
def test_unknown_tags_are_told_with_those_that_there_are(name: str, weights: str, words: str) -> None:
    for ask in (weights_label, pretrained_config, _find):
        with pytest.raises(SpecError, match=words):
            ask(name, weights)


def test_without_timm_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SpecError, match=r"pip install 'cnnlab\[timm\]'"):
        weights_label(NAME, "imagenet")


def test_a_kept_file_is_found_as_timm_finds_it(hub: Path, state: State, asked: list[str]) -> None:
    link = _keep(hub, save(state))
    before = torch.get_rng_state()
    found = _find()
    assert torch.equal(torch.get_rng_state(), before)
    assert (found.source, found.file) == ("r160_in1k of timm's test_convnext", str(link))
    assert (found.published, found.warnings) == (True, ())
    assert found.sha256 == hashlib.sha256(link.read_bytes()).hexdigest()
    assert _same(found.tensors, state)
    assert not any(tensor.requires_grad for tensor in found.tensors.values())
    with fork_rng():
        assert _same(
            found.tensors, dict(_timm().create_model(REPOSITORY.removeprefix("timm/"), pretrained=True).state_dict())
        )
    assert not asked


def test_old_names_in_a_file_become_todays(hub: Path, tmp_path: Path, state: State) -> None:
    """As in the files of ConvNeXt's authors."""
    first = {"stem.": "downsample_layers.0.", "head.norm.": "norm.", "head.fc.": "head."}
    old = {}
    for name, tensor in state.items():
        begin = next((now for now in first if name.startswith(now)), "")
        old[first.get(begin, "") + name.removeprefix(begin)] = tensor
    torch.save({"model": old}, tmp_path / "w.pth")
    _keep(hub, (tmp_path / "w.pth").read_bytes(), "pytorch_model.bin")
    with fork_rng():
        overlay = {"file": str(tmp_path / "w.pth")}
        expected = _timm().create_model("test_convnext", pretrained=True, pretrained_cfg_overlay=overlay).state_dict()
    assert set(old) != set(expected)
    assert _same(_find().tensors, dict(expected))


def test_a_file_that_was_changed_or_cut_is_found(hub: Path, state: State) -> None:
    content = save(state)
    link = _keep(hub, content)
    flipped = bytearray(content)
    flipped[-2] ^= 1
    link.resolve().write_bytes(flipped)
    found = _find()
    assert found.published is False
    assert found.warnings[0].startswith(
        f"{link}: this is not the published file: its checksum begins with {found.sha256}"
    )
    link.resolve().write_bytes(content[:1000])
    with pytest.raises(RunError, match=r"safetensors: this is no file of weights, or it is damaged(?s:.*)delete it"):
        _find()


def test_a_file_of_another_network_is_told(hub: Path, state: State) -> None:
    link = _keep(hub, save({name: tensor for name, tensor in state.items() if "stages.1" not in name}))
    with pytest.raises(RunError, match=rf"(?s){link}: timm can't fill 'test_convnext\.r160_in1k'.*Missing key.*delete"):
        _find()


@pytest.mark.parametrize(
    ("download", "reason"), [(False, "downloads are switched off"), (True, "offline mode is enabled")]
)
def test_what_is_not_at_hand_is_told_with_what_is_needed_to_get_it(hub: Path, download: bool, reason: str) -> None:
    said: list[str] = []
    with pytest.raises(
        DownloadError, match=rf"r160_in1k of timm's test_convnext are not on disk\n.*{reason}"
    ) as caught:
        load_pretrained_weights(NAME, "imagenet", download=download, log=said.append)
    needed = (f"`hf download {REPOSITORY} model.safetensors`", str(hub), "weights='FILE'")
    assert all(part in caught.value.problems[0].next_step for part in needed)
    assert said == [f"downloading {REPOSITORY} from the Hugging Face hub to {hub}"] * download


def test_weights_with_an_address_only_are_kept_where_torch_keeps_them(torch_store: Path) -> None:
    path = torch_store / "seresnet18-4bb0ce65.pth"
    words = rf"{path}: the weights in1k of timm's legacy_seresnet18 are not on disk(?s:.*)download https://github\.com/"
    with pytest.raises(DownloadError, match=rf"{words}.*/{path.name}, and put it at {path}"):
        _find("timm/legacy_seresnet18")
    state = dict(create_model("timm/legacy_seresnet18", device="cpu", seed=1).state_dict())
    torch.save(state, path)
    found = _find("timm/legacy_seresnet18")
    assert (found.file, found.published) == (str(path), False)
    assert _same(found.tensors, state)


def test_a_download_from_a_hub(hub: Path, state: State, listening: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's own program against a hub on this machine, which has no safetensors of this network."""
    constants = importlib.import_module("huggingface_hub.constants")
    address = f"http://127.0.0.1:{listening.server_address[1]}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    said: list[str] = []
    with pytest.raises(DownloadError, match=r"there is no model\.safetensors and no pytorch_model\.bin"):
        load_pretrained_weights(NAME, "imagenet", log=said.append)
    torch.save(state, hub.parent / "w.pth")
    listening.commit = "2" * 40  # what a commit lacked once, it lacks for ever
    listening.files[f"/{REPOSITORY}/resolve/main/pytorch_model.bin"] = (hub.parent / "w.pth").read_bytes()
    found = load_pretrained_weights(NAME, "imagenet", log=said.append)
    assert said == [f"downloading {REPOSITORY} from the Hugging Face hub to {hub}"] * 2
    assert Path(found.file).is_relative_to(hub)
    assert found.published is True
    assert _same(found.tensors, state)
    listening.files.clear()
    assert _same(_find(download=True).tensors, state)


class _Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as its program asks for."""

    def do_HEAD(self) -> None:
        content = self.server.files.get(self.path)  # type: ignore[attr-defined]
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
        else:
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", self.server.commit)  # type: ignore[attr-defined]
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.server.files.get(self.path, b""))  # type: ignore[attr-defined]

    def log_message(self, *arguments: Any) -> None:
        """Tests are quiet."""


@pytest.fixture
def listening() -> Iterator[Any]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.files, server.commit = {}, "1" * 40
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
