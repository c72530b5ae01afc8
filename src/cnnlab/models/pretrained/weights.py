"""The weights of a backbone: those that torchvision and timm publish by name, or a person's own file.

Every file is checked against what was published: torch does this for what it downloads, and not for what it finds.
"""

from __future__ import annotations

import re
import warnings as python_warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from torch import Tensor

from cnnlab.context import LogFn
from cnnlab.errors import RunError, SpecError, comma_separated, did_you_mean
from cnnlab.models.pretrained.architectures import default_input_size, list_models, timm_library, torchvision_models
from cnnlab.models.pretrained.tensor_files import read_tensors
from cnnlab.models.pretrained.weight_files import WeightsFile, file_sha256, hub_file, own_file, url_file
from cnnlab.torch_rng import fork_rng

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
# The files of a repository of the hub, in timm's own order.
_HUB_FILENAMES = ("model.safetensors", "pytorch_model.bin")


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


def is_weights_file(weights: str) -> bool:
    """Whether weights are a person's own file, and none that a library publishes.

    >>> is_weights_file("trunk.pth"), is_weights_file("imagenet")
    (True, False)
    """
    return "/" in weights or weights.lower().endswith(_SUFFIXES)


def pretrained_config(name: str, weights: str = "imagenet") -> PretrainedConfig:
    """How images came to the network when these weights were evaluated; for 'none' and a file, those of 'imagenet'.

    >>> pretrained_config("resnet18").shape, pretrained_config("efficientnet_b3").interpolation
    ((3, 224, 224), 'bicubic')

    Raises:
        SpecError: an unknown network, or weights that it doesn't have.
    """
    is_published = not is_weights_file(weights) and weights != "none"
    if name in list_models():
        preset = _torchvision_member(name, weights if is_published else "imagenet").transforms()
        size = int(preset.crop_size[0])
        interpolation = preset.interpolation.value
        return PretrainedConfig(
            (3, size, size), tuple(preset.mean), tuple(preset.std), _supported_interpolation(interpolation)
        )
    config = _timm_weights(name, weights).config
    if config is None:
        return PretrainedConfig(default_input_size(name), _IMAGENET_MEAN, _IMAGENET_STD, "bilinear")
    channels, height, width = config.input_size
    mean, std = tuple(config.mean or _IMAGENET_MEAN), tuple(config.std or _IMAGENET_STD)
    return PretrainedConfig((channels, height, width), mean, std, _supported_interpolation(config.interpolation))


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
        default_input_size(name)  # an unknown network is an error
        return weights
    if name in list_models():
        return str(_torchvision_member(name, weights).name)
    return _timm_weights(name, weights).tag


def find_weights(name: str, weights: str) -> WeightsFile:
    """The file of these weights, here or to be downloaded; nothing is opened or downloaded.

    Args:
        name: a network of torchvision or timm.
        weights: as in `weights_label`, and not 'none'.

    Raises:
        SpecError: as `weights_label`.
    """
    assert weights != "none"
    if is_weights_file(weights):
        default_input_size(name)  # an unknown network is an error
        return own_file(Path(weights).expanduser())
    if name in list_models():
        member = _torchvision_member(name, weights)
        size = member.meta.get("_file_size")
        # torchvision counts in 2²⁰ bytes.
        megabytes = None if size is None else size * 2**20 / 1e6
        return url_file(f"{member.name} of torchvision's {name}", member.url, megabytes)
    architecture, tag, config = _timm_weights(name, weights)
    label = f"{tag} of timm's {architecture}"
    if not config.hf_hub_id:
        return url_file(label, config.url)
    repository, _, revision = config.hf_hub_id.partition("@")
    filenames = (config.hf_hub_filename,) if config.hf_hub_filename else _HUB_FILENAMES
    return hub_file(label, repository, revision or None, filenames)


def load_pretrained_weights(name: str, weights: str, *, download: bool = True, log: LogFn) -> PretrainedWeights:
    """Load the tensors of these weights, downloaded where they are not kept yet.

    Args:
        name: a network of torchvision or timm.
        weights: as in `weights_label`, and not 'none'.
        download: whether they may be downloaded.
        log: called before a download, with the file, its size and where it will be kept.

    Raises:
        SpecError: as `weights_label`.
        DownloadError: they are not on disk and can't or may not be downloaded; names the file, its address, and where
            to put it.
        RunError: the file is damaged, or not one of tensors.
    """
    file = find_weights(name, weights)
    path = file.fetch(download=download, log=log)
    try:
        tensors = read_tensors(path)
    except RunError as error:
        if file.is_own:
            raise
        step = f"delete it: it will be downloaded again; or, {file.manual_step}"
        raise RunError(replace(error.problems[0], next_step=step)) from None
    if name in list_models():
        tensors = _rename_keys(tensors)
    elif not file.is_own:
        tensors = _remap_to_timm_keys(name, weights, tensors, path)
    loaded = PretrainedWeights(tensors, file.label, str(path), file_sha256(path), None)
    expected = file.sha256_prefix(path)
    if not expected or loaded.sha256.startswith(expected):
        return replace(loaded, published=True if expected else None)
    warning = (
        f"{path}: this is not the published file: its checksum begins with {loaded.sha256[: len(expected)]}, "
        f"not with {expected}. It is used as it is"
    )
    return replace(loaded, published=False, warnings=(warning,))


def _supported_interpolation(value: str) -> Interpolation:
    """The library's interpolation; bicubic where ours have no such."""
    return cast(Interpolation, value) if value in ("nearest", "bilinear", "bicubic") else "bicubic"


def _torchvision_member(name: str, weights: str) -> Any:
    """The member of torchvision's enum."""
    enum = torchvision_models().get_model_weights(name)
    allowed = [member.name for member in enum if _fits_input_size(name, member)]
    if weights == "imagenet":
        return enum["IMAGENET1K_V1" if "IMAGENET1K_V1" in allowed else allowed[0]]
    found = enum.__members__.get(weights.removeprefix(f"{enum.__name__}."))
    if found is None or found.name not in allowed:
        network = f"{name} for images of {default_input_size(name)[1]} pixels"
        raise _unknown_weights(weights, network, allowed)
    return found


def _fits_input_size(name: str, member: Any) -> bool:
    """Whether these weights are for the network as it is made here: a vision transformer is made for one size."""
    return bool(member.meta["min_size"][0] <= default_input_size(name)[1])


def _rename_keys(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under torchvision's names of today."""
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in _KEY_RENAMES:
            name = pattern.sub(replacement, name)
        renamed[name] = tensor
    return renamed


class _TimmWeights(NamedTuple):
    """Weights of timm: `tag` is like "a1_in1k", and `config` timm's `PretrainedCfg`, None where it has none."""

    architecture: str
    tag: str
    config: Any


def _timm_weights(name: str, weights: str) -> _TimmWeights:
    """The weights of a network of timm; 'imagenet' is the tag in the network's name, or else timm's choice.

    For 'none' and a file, the configuration is that of 'imagenet', and the tag may be empty.
    """
    inner = name.removeprefix("timm/")
    architecture, _, tag = inner.partition(".")
    default_input_size(f"timm/{architecture}" if tag else name)  # an unknown network is an error
    # Some names are old ones, of an architecture with a tag.
    architecture, _, own_tag = (timm_library().models.get_deprecated_models().get(inner) or inner).partition(".")
    registered = timm_library().models.get_arch_pretrained_cfgs(architecture)
    configs = {full.partition(".")[2]: config for full, config in registered.items()}
    if own_tag and own_tag not in configs:
        raise _unknown_weights(own_tag, f"timm's {architecture}", configs)
    default = configs[own_tag] if own_tag else timm_library().get_pretrained_cfg(architecture)
    if weights == "none" or is_weights_file(weights):
        return _TimmWeights(architecture, own_tag, default)
    published = [tag for tag, config in configs.items() if config.has_weights]
    if not published:
        raise SpecError(
            f"timm publishes no weights of '{architecture}'",
            received=weights,
            allowed="weights='none', or a file",
            next_step="choose a network that has them: timm.list_pretrained() names them",
        )
    wanted = (own_tag or str(default.tag)) if weights == "imagenet" else weights
    allowed = [tag for tag in published if own_tag in ("", tag)]
    if wanted not in allowed:
        raise _unknown_weights(wanted, f"timm's {architecture}" + (f".{own_tag}" if own_tag else ""), allowed)
    return _TimmWeights(architecture, wanted, configs[wanted])


def _unknown_weights(weights: str, network: str, published: Iterable[str]) -> SpecError:
    allowed = ["none", "imagenet", *published]
    return SpecError(
        f"there are no weights '{weights}' of {network}",
        received=weights,
        allowed=f"{comma_separated(allowed)}, or a file ({', '.join(_SUFFIXES)})",
        next_step=did_you_mean(weights.rpartition(".")[2], [*allowed, "DEFAULT"]),
    )


def _remap_to_timm_keys(name: str, weights: str, tensors: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """The same tensors under the names of the network, as timm maps them; a RunError where they are another's."""
    found = _timm_weights(name, weights)
    full = f"{found.architecture}.{found.tag}"
    try:
        with fork_rng(), python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")
            model = timm_library().create_model(full, pretrained=True, pretrained_cfg_overlay={"state_dict": tensors})
    except (RuntimeError, KeyError, ValueError, AttributeError) as error:
        raise RunError(
            f"timm can't fill '{full}' with these weights",
            where=str(file),
            received=" ".join(str(error).split())[:300],
            next_step="delete the file: it will be downloaded again",
        ) from None
    return {key: tensor.detach() for key, tensor in model.state_dict().items()}
