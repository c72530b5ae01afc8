"""Where weights come from, held against what torchvision itself does with the same files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import VisionTransformer, get_model, get_model_weights, get_weight
from torchvision.transforms import InterpolationMode

from cnnlab.errors import DownloadError, RunError, SpecError
from cnnlab.models.pretrained.architectures import create_model, default_input_size, list_models
from cnnlab.models.pretrained.weights import (
    PretrainedWeights,
    find_weights,
    load_pretrained_weights,
    pretrained_config,
    weights_label,
)
from cnnlab.torch_rng import fork_rng

pytestmark = pytest.mark.usefixtures("asked")
Publish = Callable[..., Path]
State = dict[str, Tensor]
ALWAYS = ("efficientnet_v2_s", "inception_v3", "resnet50", "vit_b_16")
# Those without an IMAGENET1K_V1.
OTHERS = {"regnet_y_128gf": "IMAGENET1K_SWAG_E2E_V1", "vit_h_14": "IMAGENET1K_SWAG_LINEAR_V1"}


def _silent(text: str) -> None:
    raise AssertionError(f"nothing was to be said, and not: {text}")


def _find(name: str, weights: str = "imagenet", download: bool = False) -> PretrainedWeights:
    return load_pretrained_weights(name, weights, download=download, log=_silent)


def _same(found: State, expected: State) -> bool:
    return set(found) == set(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "name", [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.full) for name in list_models()]
)
def test_natural_is_what_the_weights_transforms_do(name: str) -> None:
    for member in get_model_weights(name):
        if member.meta["min_size"][0] > default_input_size(name)[1]:
            continue  # for a transformer of another size
        made_for = pretrained_config(name, member.name)
        # A picture of one colour comes out of torchvision's own transforms in that colour, normalised.
        colour = torch.tensor([10, 100, 200], dtype=torch.uint8).reshape(3, 1, 1)
        seen = member.transforms()(colour.expand(3, 40, 30))
        assert tuple(seen.shape) == made_for.shape
        mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (made_for.mean, made_for.std))
        torch.testing.assert_close(seen, ((colour / 255 - mean) / std).expand(seen.shape), rtol=1e-5, atol=1e-4)
        assert InterpolationMode(made_for.interpolation) == member.transforms().interpolation


def test_imagenet_is_the_first_version_where_there_is_one() -> None:
    without = {name for name in list_models() if "IMAGENET1K_V1" not in get_model_weights(name).__members__}
    assert without == set(OTHERS)
    for name in list_models():
        label = weights_label(name, "imagenet")
        assert label == OTHERS.get(name, "IMAGENET1K_V1")
        assert (
            len(
                {
                    pretrained_config(name),
                    *(pretrained_config(name, text) for text in ("imagenet", "none", "w.pth", label)),
                }
            )
            == 1
        )


@pytest.mark.parametrize(
    "written", ["IMAGENET1K_V2", "ResNet50_Weights.IMAGENET1K_V2", "ResNet50_Weights.DEFAULT", "DEFAULT"]
)
def test_the_librarys_own_names_are_taken(written: str) -> None:
    full = written if "." in written else f"ResNet50_Weights.{written}"
    assert weights_label("resnet50", written) == get_weight(full).name == "IMAGENET1K_V2"


def test_files_and_none_stay_what_they_are() -> None:
    for written in ("none", "w.safetensors", "w.PTH", "w.pt", "w.bin", "folder/w", "~/w.ckpt"):
        assert weights_label("resnet18", written) == written
        with pytest.raises(SpecError, match="there is no network 'resnet17'"):
            weights_label("resnet17", written)


@pytest.mark.parametrize(
    ("name", "written", "words"),
    [
        ("resnet18", "imagnet", r"no weights 'imagnet' of resnet18 for images of 224 pixels(?s:.*)allowed:  "
         r"IMAGENET1K_V1, imagenet, none, or a file (?s:.*)did you mean 'imagenet'\?"),
        ("resnet18", "IMAGENET1K_V2", r"no weights 'IMAGENET1K_V2' of resnet18(?s:.*)did you mean 'IMAGENET1K_V1'\?"),
        ("resnet50", "ResNet18_Weights.IMAGENET1K_V1", r"no weights 'ResNet18_Weights\.IMAGENET1K_V1' of resnet50"),
        ("resnet50", "__class__", "no weights '__class__' of resnet50"),
        ("vit_b_16", "IMAGENET1K_SWAG_E2E_V1", "no weights 'IMAGENET1K_SWAG_E2E_V1' of vit_b_16 for images of 224 "
         "pixels(?s:.*)allowed:  IMAGENET1K_SWAG_LINEAR_V1, IMAGENET1K_V1, imagenet, none, or a file"),
        ("rensnet18", "imagenet", r"there is no network 'rensnet18'(?s:.*)did you mean 'resnet18'"),
    ],
)  # fmt: skip
def test_unknown_weights_are_told_with_those_that_there_are(name: str, written: str, words: str) -> None:
    for ask in (weights_label, pretrained_config, _find):
        with pytest.raises(SpecError, match=words):
            ask(name, written)


def test_a_kept_file_is_found_as_torchvision_finds_it(publish: Publish, mobilenet: State) -> None:
    path = publish("mobilenet_v3_small", mobilenet)
    found = _find("mobilenet_v3_small")
    assert found.source == "IMAGENET1K_V1 of torchvision's mobilenet_v3_small"
    assert (found.file, found.published, found.warnings) == (str(path), True, ())
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with fork_rng():
        assert _same(found.tensors, dict(get_model("mobilenet_v3_small", weights="IMAGENET1K_V1").state_dict()))


def test_the_weights_that_are_asked_for_are_found(publish: Publish, squeezenet: State) -> None:
    other = {name: tensor + 1 for name, tensor in squeezenet.items()}
    publish("mobilenet_v2", squeezenet, "IMAGENET1K_V1")
    second = publish("mobilenet_v2", other, "IMAGENET1K_V2")
    assert _same(_find("mobilenet_v2").tensors, squeezenet)
    for written in ("IMAGENET1K_V2", "MobileNet_V2_Weights.DEFAULT"):
        found = _find("mobilenet_v2", written)
        assert found.file == str(second)
        assert found.source == "IMAGENET1K_V2 of torchvision's mobilenet_v2"
        assert _same(found.tensors, other)


@pytest.mark.full
def test_old_names_of_densenets_become_todays(publish: Publish) -> None:
    state = create_model("densenet121", device="cpu", seed=1).state_dict()
    # As in densenet121-a639ec97.pth, which is from before batch norm counted its batches.
    dot = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])")
    old = {dot.sub(r"\1.\2", name): tensor for name, tensor in state.items() if "num_batches" not in name}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    path = publish("densenet121", old)
    with fork_rng():
        expected = get_model("densenet121", weights="IMAGENET1K_V1").state_dict()
    expected = {name: tensor for name, tensor in expected.items() if "num_batches" not in name}
    assert _same(_find("densenet121").tensors, expected)
    assert _same(_find("densenet121", str(path)).tensors, expected)


def test_old_names_of_transformers_become_todays(tmp_path: Path) -> None:
    with fork_rng():
        small = VisionTransformer(8, 4, num_layers=2, num_heads=2, hidden_dim=4, mlp_dim=8, num_classes=3)
    names_now = {".mlp.linear_1.": ".mlp.0.", ".mlp.linear_2.": ".mlp.3."}
    state = {name: torch.rand(tensor.shape, generator=torch.Generator()) for name, tensor in small.state_dict().items()}
    old = dict(state)
    for before, now in names_now.items():
        old = {name.replace(now, before): tensor for name, tensor in old.items()}
    assert set(old) != set(state)
    torch.save(old, tmp_path / "w.pth")
    small.load_state_dict(dict(old))  # torchvision's own way
    assert _same(_find("vit_b_16", str(tmp_path / "w.pth")).tensors, dict(small.state_dict()))


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_persons_own_file(tmp_path: Path, squeezenet: State, ending: str) -> None:
    path = tmp_path / f"mine.{ending}"
    if ending == "pth":
        torch.save({"state_dict": squeezenet}, path)
    else:
        save_file(squeezenet, path)
    found = _find("squeezenet1_1", str(path))
    assert (found.source, found.file, found.published, found.warnings) == (path.name, str(path), None, ())
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert _same(found.tensors, squeezenet)
    with pytest.raises(RunError, match=r"none\.pth: this file of weights can't be read"):
        _find("squeezenet1_1", str(tmp_path / "none.pth"))
    with pytest.raises(SpecError, match="there is no network 'squeeze'"):
        _find("squeeze", str(path))


def test_kept_files_that_are_damaged_cut_empty_or_pages_are_found(publish: Publish, squeezenet: State) -> None:
    path = publish("squeezenet1_1", squeezenet)
    content = path.read_bytes()
    broken = {
        "an empty file": b"",
        "no file of weights": b"<html>Sign in to the hotel's network</html>",
        "or it is damaged": content[: len(content) // 2],
    }
    for words, wrong in broken.items():
        path.write_bytes(wrong)
        with pytest.raises(RunError, match=words) as caught:
            _find("squeezenet1_1")
        told = caught.value.problems[0].next_step
        assert all(part in told for part in ("delete it", f"https://weights.invalid/models/{path.name}", str(path)))


def test_a_whole_file_that_is_not_the_published_one_is_used_and_said(publish: Publish, squeezenet: State) -> None:
    path = publish("squeezenet1_1", squeezenet)
    other = {name: tensor * 2 for name, tensor in squeezenet.items()}
    torch.save(other, path)
    found = _find("squeezenet1_1")
    assert found.published is False
    assert _same(found.tensors, other)
    [warning] = found.warnings
    digits = path.stem.rpartition("-")[2]
    assert warning.startswith(f"{path}: this is not the published file")
    assert found.sha256[:8] in warning
    assert digits in warning


def test_without_a_network_it_is_the_same_with_the_reason(torch_store: Path, asked: list[str]) -> None:
    said: list[str] = []
    with pytest.raises(DownloadError, match=r"(?s)not on disk.*download\.pytorch\.org: .*Name or"):
        load_pretrained_weights("resnet18", "imagenet", log=said.append)
    assert asked == ["download.pytorch.org"]
    assert said == [f"downloading resnet18-f37072fd.pth (46.8 MB) to {torch_store}"]
    assert list(torch_store.iterdir()) == []


def test_a_download_is_said_kept_and_not_repeated(
    publish: Publish, torch_store: Path, tmp_path: Path, squeezenet: State
) -> None:
    served = publish("squeezenet1_1", squeezenet, served=tmp_path)
    said: list[str] = []
    found = load_pretrained_weights("squeezenet1_1", "imagenet", log=said.append)
    assert said == [f"downloading {served.name} (5.0 MB) to {torch_store}"]
    assert (found.file, found.published) == (str(torch_store / served.name), True)
    assert _same(found.tensors, squeezenet)
    served.unlink()
    assert _same(_find("squeezenet1_1", download=True).tensors, squeezenet)


def test_a_file_in_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save_file({"x": torch.ones(1)}, tmp_path / "w.safetensors")
    assert find_weights("squeezenet1_1", "~/w.safetensors").is_local
    found = _find("squeezenet1_1", "~/w.safetensors")
    assert (found.file, set(found.tensors)) == (str(tmp_path / "w.safetensors"), {"x"})
