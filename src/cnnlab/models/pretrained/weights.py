"""Where a backbone's weights come from: those that torchvision and timm publish by name, or a person's own file.

Files are kept where the libraries keep them, and every one is checked against what was published: torch does this for
what it downloads, and not for what it finds.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from torch import Tensor

from cnnlab.context import LogFn
from cnnlab.errors import RunError, SpecError, comma_separated, did_you_mean
from cnnlab.models.pretrained import timm_weights
from cnnlab.models.pretrained.architectures import default_input_size, list_models
from cnnlab.models.pretrained.tensor_files import read_tensors
from cnnlab.models.pretrained.weight_files import PublishedWeights, fetch_weights, file_sha256

Interpolation = Literal["nearest", "bilinear", "bicubic"]
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
# Old names in published files, which torchvision changes as it loads them: its densenet.py and vision_transformer.py.
_KEY_RENAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.(?:weight|bias|running_mean|running_var))$"), r"\1\2"),
    (re.compile(r"(\.mlp\.)linear_1\.(weight|bias)$"), r"\g<1>0.\2"),
    (re.compile(r"(\.mlp\.)linear_2\.(weight|bias)$"), r"\g<1>3.\2"),
)


class PretrainedConfig(NamedTuple):
    """How the images came to the network when its published weights were evaluated.

    `shape` is (C, H, W), after their centre was cut out; `mean` and `std` are those of a normalisation of values from
    0 to 1, one number a channel; `interpolation` is that of the resize.
    """

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation


@dataclass
class PretrainedWeights:
    """Tensors for a backbone, on the CPU, under the names that the library gives them.

    Attributes:
        source: what they are: "IMAGENET1K_V1 of torchvision's resnet18", or a file's name.
        file: the path of the file.
        sha256: the file's, in 64 hexadecimal digits.
        published: whether it is the file that the library publishes, by its checksum; None where that isn't known.
        warnings: what the user should know, a sentence each.
    """

    tensors: dict[str, Tensor]
    source: str
    file: str
    sha256: str
    published: bool | None
    warnings: tuple[str, ...] = ()


def pretrained_config(name: str, weights: str = "imagenet") -> PretrainedConfig:
    """How images came to the network when these weights were evaluated; for 'none' and a file, those of 'imagenet'.

    >>> pretrained_config("resnet18").shape, pretrained_config("efficientnet_b3").interpolation
    ((3, 224, 224), 'bicubic')

    Raises:
        SpecError: an unknown network, or weights that it doesn't have.
    """
    known = is_weights_file(weights) or weights == "none"
    if name in list_models():
        preset = _weights_enum_member(name, "imagenet" if known else weights).transforms()
        size = int(preset.crop_size[0])
        return PretrainedConfig(
            (3, size, size), tuple(preset.mean), tuple(preset.std), _supported_interpolation(preset.interpolation.value)
        )
    facts = timm_weights.pretrained_cfg(name, "none" if known else weights)
    if facts is None:
        return PretrainedConfig(default_input_size(name), _IMAGENET_MEAN, _IMAGENET_STD, "bilinear")
    channels, height, width = facts.input_size
    mean, std = tuple(facts.mean or _IMAGENET_MEAN), tuple(facts.std or _IMAGENET_STD)
    return PretrainedConfig((channels, height, width), mean, std, _supported_interpolation(facts.interpolation))


class WeightsLocation(NamedTuple):
    """Where weights are kept, or will be: `label` says which they are, `path` is the file's, or the store's folder.

    `megabytes` is the file's size in 10⁶ bytes, None where it is not known before a download.
    """

    label: str
    path: str
    is_local: bool
    megabytes: float | None = None


def is_weights_file(weights: str) -> bool:
    """Whether weights are a person's own file, and none that a library publishes.

    >>> is_weights_file("trunk.pth"), is_weights_file("imagenet")
    (True, False)
    """
    return "/" in weights or weights.lower().endswith(_SUFFIXES)


def locate_weights(name: str, weights: str) -> WeightsLocation:
    """Where these weights are, or will be when they are downloaded; nothing is opened or downloaded.

    Args:
        name: a network of torchvision or timm.
        weights: as in `weights_label`, and not 'none'.

    Raises:
        SpecError: as `weights_label`.
    """
    if is_weights_file(weights):
        path = Path(weights).expanduser()
        return WeightsLocation(path.name, weights, path.is_file(), _file_megabytes(path))
    if name not in list_models():
        cached, store = timm_weights.cached_weights_file(name, weights)
        path = cached or store
        return WeightsLocation(timm_weights.label(name, weights), str(path), cached is not None, _file_megabytes(path))
    published = _published_weights(name, _weights_enum_member(name, weights))
    is_local = published.path.is_file()
    return WeightsLocation(published.label, str(published.path), is_local, published.megabytes)


def weights_label(name: str, weights: str) -> str:
    """The library's own name of these weights, or the path of the file; nothing is opened or downloaded.

    >>> weights_label("resnet50", "imagenet"), weights_label("resnet50", "ResNet50_Weights.DEFAULT")
    ('IMAGENET1K_V1', 'IMAGENET1K_V2')

    Args:
        name: a network of torchvision or timm.
        weights: 'none'; 'imagenet', which is IMAGENET1K_V1 of torchvision's networks (two have none, and get their
            default for images of the network's size: regnet_y_128gf and vit_h_14) and timm's default; the library's
            own name, with that of torchvision's enum in front or without; or a file: .safetensors, .pth, .pt, .bin,
            or any path with a '/'.

    Raises:
        SpecError: an unknown network, or weights that it doesn't have, with those that it has.
    """
    if weights == "none" or is_weights_file(weights):
        default_input_size(name)
        return weights
    if name in list_models():
        return str(_weights_enum_member(name, weights).name)
    return timm_weights.resolve_tag(name, weights)


def load_pretrained_weights(
    name: str, weights: str, *, download: bool = True, log: Callable[[str], None]
) -> PretrainedWeights:
    """The tensors of these weights, downloaded where they are not kept yet.

    Args:
        name: a network of torchvision or timm.
        weights: as in `weights_label`, and not 'none'.
        download: whether they may be downloaded.
        log: called before a download, with the file, its size and where it will be kept.

    Raises:
        SpecError: as `weights_label`.
        DownloadError: they are not at hand and can't or mustn't be downloaded; it says which file to get from where,
            and where to put it.
        RunError: the file is damaged, or not one of tensors.
    """
    assert weights != "none"
    if is_weights_file(weights):
        return _load_file(name, Path(weights).expanduser())
    return (
        _load_torchvision(name, weights, download, log)
        if name in list_models()
        else _load_timm(name, weights, download, log)
    )


def _load_file(name: str, path: Path) -> PretrainedWeights:
    default_input_size(name)
    tensors = read_tensors(path)
    digest = file_sha256(path)
    published: bool | None = None
    if name in list_models():
        tensors = _rename_keys(tensors)
        begins = [_published_weights(name, member).sha256_prefix for member in _weights_enum(name)]
        published = any(begin and digest.startswith(begin) for begin in begins) or None
    return PretrainedWeights(tensors, path.name, str(path), digest, published)


def _load_torchvision(name: str, weights: str, download: bool, log: LogFn) -> PretrainedWeights:
    published = _published_weights(name, _weights_enum_member(name, weights))
    path = fetch_weights(published, download=download, log=log)
    tensors = _read_cached_tensors(
        path, f"delete it: it will be downloaded again; or, {published.manual_instructions()}"
    )
    return _verify_checksum(
        PretrainedWeights(_rename_keys(tensors), published.label, str(path), file_sha256(path), None),
        published.sha256_prefix,
    )


def _load_timm(name: str, weights: str, download: bool, log: LogFn) -> PretrainedWeights:
    path, expected = timm_weights.fetch_weights_file(name, weights, download=download, log=log)
    raw = _read_cached_tensors(path, "delete it: it will be downloaded again")
    tensors = timm_weights.remap_to_timm_keys(name, weights, raw, path)
    return _verify_checksum(
        PretrainedWeights(tensors, timm_weights.label(name, weights), str(path), file_sha256(path), None), expected
    )


def _read_cached_tensors(path: Path, next_step: str) -> dict[str, Tensor]:
    """The tensors of a file in a library's store, where what to do with a bad one is `next_step`."""
    try:
        return read_tensors(path)
    except RunError as error:
        raise RunError(replace(error.problems[0], next_step=next_step)) from None


def _verify_checksum(weights: PretrainedWeights, expected_prefix: str) -> PretrainedWeights:
    """Held against the first digits that the published file's checksum has, where they are known."""
    if not expected_prefix:
        return weights
    if weights.sha256.startswith(expected_prefix):
        return replace(weights, published=True)
    found_prefix = weights.sha256[: len(expected_prefix)]
    warning = (
        f"{weights.file}: this is not the published file: its checksum begins with {found_prefix}, "
        f"not with {expected_prefix}. It is used as it is"
    )
    return replace(weights, published=False, warnings=(*weights.warnings, warning))


def _file_megabytes(path: Path) -> float | None:
    return path.stat().st_size / 1e6 if path.is_file() else None


def _published_weights(name: str, member: Any) -> PublishedWeights:
    size = member.meta.get("_file_size")
    # torchvision counts in 2²⁰ bytes.
    megabytes = None if size is None else size * 2**20 / 1e6
    return PublishedWeights(f"{member.name} of torchvision's {name}", member.url, megabytes)


def _rename_keys(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same, where old names became today's."""
    return {_rename_key(name): tensor for name, tensor in tensors.items()}


def _rename_key(name: str) -> str:
    for pattern, replacement in _KEY_RENAMES:
        name = pattern.sub(replacement, name)
    return name


def _weights_enum_member(name: str, weights: str) -> Any:
    """The member of torchvision's enum."""
    enum = _weights_enum(name)
    members = enum.__members__
    if weights == "imagenet":
        first = members.get("IMAGENET1K_V1", members["DEFAULT"])
        return first if _is_compatible(name, first) else next(member for member in enum if _is_compatible(name, member))
    found = members.get(weights.removeprefix(f"{enum.__name__}."))
    allowed = [member.name for member in enum if _is_compatible(name, member)]
    if found is None:
        raise SpecError(
            f"there are no weights '{weights}' of {name}",
            received=weights,
            allowed=comma_separated(["none", "imagenet", *allowed]) + f", or a file ({', '.join(_SUFFIXES)})",
            next_step=did_you_mean(weights.rpartition(".")[2], ["none", "imagenet", "DEFAULT", *allowed]),
        )
    if not _is_compatible(name, found):
        size, own = found.meta["min_size"][0], default_input_size(name)[1]
        raise SpecError(
            f"{found.name} is for a {name} that takes {size}×{size} images, and ours takes {own}×{own}",
            received=weights,
            allowed=comma_separated(["none", "imagenet", *allowed]),
        )
    return found


def _is_compatible(name: str, member: Any) -> bool:
    """Whether these weights are for the network as it is made here: a vision transformer is made for one size."""
    return bool(member.meta["min_size"][0] <= default_input_size(name)[1])


def _supported_interpolation(value: str) -> Interpolation:
    """The library's interpolation, the smooth one where ours have no such."""
    return cast(Interpolation, value) if value in ("nearest", "bilinear", "bicubic") else "bicubic"


def _weights_enum(name: str) -> Any:
    return importlib.import_module("torchvision.models").get_model_weights(name)
