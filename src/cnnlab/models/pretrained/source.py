"""The source of a backbone: a library's network, or an earlier run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from cnnlab.config.arms import error_prefix
from cnnlab.config.backbones import Backbone, LibraryBackbone, RunBackbone, change_backbone, format_backbone
from cnnlab.context import LogFn
from cnnlab.errors import RunError, SpecError
from cnnlab.models.pretrained import architectures
from cnnlab.models.pretrained.weight_files import file_sha256
from cnnlab.models.pretrained.weights import (
    PretrainedConfig,
    PretrainedWeights,
    find_weights,
    load_pretrained_weights,
    pretrained_config,
)
from cnnlab.render.formatting import pluralize
from cnnlab.settings import is_offline
from cnnlab.storage.checkpoints import load_weights, read_index_or_none
from cnnlab.storage.run_folder import BACKBONE_FOLDER, RunFolder

_RECORD_FILES = ("recipe.toml", "data.json")
# Takes a seed and a device; on "meta" a network has shapes only.
NetworkFactory = Callable[[int, str], nn.Module]


@dataclass(frozen=True)
class BackboneSource:
    """The source of a backbone.

    Attributes:
        pretrained_config: the images that its weights were trained on.
        build: makes the whole network with random weights, from a seed and a device ("meta": without numbers), in eval
            mode.
        load_pretrained: loads its weights; None where it is trained from scratch.
        small_stem: whether its first layers are adapted to small images.
        ends_with_features: whether it has no classifier.
    """

    pretrained_config: PretrainedConfig
    build: NetworkFactory
    load_pretrained: Callable[[LogFn], PretrainedWeights] | None
    small_stem: bool = False
    ends_with_features: bool = False


def find_backbone_source(
    backbone: Backbone, network_of: Callable[[RunFolder], NetworkFactory], saved_backbone: Path | None = None
) -> BackboneSource:
    """The source that a recipe names; no weights are loaded.

    Args:
        network_of: a function that makes the network of a run.
        saved_backbone: the copied records of the run that its backbone is from.

    Raises:
        SpecError: there is no such network.
        RunError: the run can't be read.
    """
    if isinstance(backbone, RunBackbone):
        return _run_source(backbone, network_of, saved_backbone)
    return _library_source(backbone)


def prefetch_weights(backbone: Backbone | None, log: LogFn) -> None:
    """Download a library's weights where they are not on disk, before time is spent on the data.

    Raises:
        DownloadError: they can't or mustn't be downloaded.
        RunError: the file is not there, or damaged.
    """
    if not isinstance(backbone, LibraryBackbone) or backbone.weights == "none":
        return
    if not find_weights(backbone.name, backbone.weights).is_local:
        load_pretrained_weights(backbone.name, backbone.weights, download=not is_offline(), log=log)


def backbone_run(backbone: RunBackbone, saved_backbone: Path | None = None) -> RunFolder:
    """The run that a backbone is from, or its copied records; the newest of several that match a pattern.

    Raises:
        RunError: there is none.
    """
    if saved_backbone is not None and (saved_backbone / _RECORD_FILES[0]).is_file():
        return RunFolder(saved_backbone)
    path = newest_run_path(backbone.path)
    try:
        return RunFolder.open(path)
    except RunError as error:
        problems = (replace(problem, where=f"model.backbone: {problem.where}") for problem in error.problems)
        raise RunError.from_problems(problems) from None


def newest_run_path(path: str) -> str:
    """The last finished run, by name and so by time, that matches a pattern such as 'runs/*-trunk'.

    Raises:
        RunError: none matches.
    """
    if not set(path) & set("*?["):
        return path
    whole = Path(path)
    folders = sorted(Path(whole.anchor).glob(str(whole.relative_to(whole.anchor))))
    finished = [folder for folder in folders if (folder / "result.json").is_file()]
    if not finished:
        step = "train one first, or name its folder"
        raise RunError("no finished run has a name like this", where=f"model.backbone: {path}", next_step=step)
    return str(finished[-1])


def backbone_pretrained_config(backbone: Backbone, saved_backbone: Path | None = None) -> PretrainedConfig:
    """The images that a backbone's weights were trained on.

    Args:
        saved_backbone: as for `backbone_run`.

    Raises:
        SpecError: there is no such network, or there are no such weights.
        RunError: the run can't be read.
    """
    if isinstance(backbone, RunBackbone):
        preprocessing = backbone_run(backbone, saved_backbone).data().preprocessing
        return PretrainedConfig(
            (preprocessing.channels, preprocessing.height, preprocessing.width),
            preprocessing.mean,
            preprocessing.std,
            preprocessing.interpolation,
        )
    with error_prefix("model.backbone"):
        architectures.default_num_classes(backbone.name)  # an unknown name has an error of its own
        return pretrained_config(backbone.name, backbone.weights)


def require_channels(channels: int, pretrained_config: PretrainedConfig) -> None:
    """Raise a SpecError for images with other channels than a backbone takes."""
    if channels != pretrained_config.shape[0]:
        raise SpecError(
            f"the backbone takes images of {pluralize(pretrained_config.shape[0], 'channel')}",
            where="data.channels",
            received=str(channels),
            next_step="leave it out: images then come with the backbone's channels, grey ones too",
        )


def backbone_fingerprint(backbone: Backbone, saved_backbone: Path | None = None) -> str:
    """A text that is equal for equal backbones: digests of their files in place of paths.

    Args:
        saved_backbone: the copied records of the run that its backbone is from.

    Raises:
        RunError: the run can't be read, or has no weights.
    """
    if isinstance(backbone, RunBackbone):
        folder = backbone_run(backbone, saved_backbone)
        weights = _trained_sha256(folder) if backbone.weights == "trained" and saved_backbone is None else ""
        return f"{format_backbone(change_backbone(backbone, path=''))} {_structure_digest(folder)} {weights}"
    if backbone.weights == "none":
        return format_backbone(backbone)
    file = find_weights(backbone.name, backbone.weights)
    if not file.is_local:
        return format_backbone(backbone)
    digest = file_sha256(file.path)
    if file.is_own:
        return f"{format_backbone(change_backbone(backbone, weights=file.label))} {digest}"
    is_published = digest.startswith(file.sha256_prefix(file.path))  # what has a published name may have other content
    return format_backbone(backbone) if is_published else f"{format_backbone(backbone)} {digest}"


def _structure_digest(folder: RunFolder) -> str:
    """A digest of a run's network without its weights."""
    recipe, data = folder.recipe(), folder.data()
    model = recipe.to_tables()["model"]
    if recipe.model.backbone is not None:
        model["backbone"] = backbone_fingerprint(recipe.model.backbone, folder.path / BACKBONE_FOLDER)
    preprocessing = data.preprocessing
    values = [model, preprocessing.channels, preprocessing.height, preprocessing.width, len(data.classes)]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def copy_backbone_records(backbone: Backbone | None, folder: RunFolder) -> None:
    """Copy into a run what is needed to build its network again: recipe and data of each run that it began with."""
    target = folder.path
    for behind in _runs_behind(backbone, None):
        target = target / BACKBONE_FOLDER
        target.mkdir(exist_ok=True)
        for name in _RECORD_FILES:
            RunFolder(target).write(name, (behind.path / name).read_text(encoding="utf-8"))


def backbone_records(backbone: Backbone, saved_backbone: Path | None = None) -> list[str]:
    """The records that decide the network of a run, without its weights: its own and those of earlier runs in it.

    Raises:
        RunError: one of them can't be read.
    """
    runs = _runs_behind(backbone, saved_backbone)
    return [record for behind in runs for record in (behind.recipe().to_toml(), behind.data().to_json())]


def _runs_behind(backbone: Backbone | None, saved_backbone: Path | None) -> Iterator[RunFolder]:
    """The run that a backbone is from, the run that its backbone is from, and so on."""
    while isinstance(backbone, RunBackbone):
        behind = backbone_run(backbone, saved_backbone)
        yield behind
        backbone, saved_backbone = behind.recipe().model.backbone, behind.path / BACKBONE_FOLDER


def _library_source(backbone: LibraryBackbone) -> BackboneSource:
    name, weights = backbone.name, backbone.weights
    is_pretrained = weights != "none"

    def make(seed: int, device: str) -> nn.Module:
        return architectures.create_model(name, device=device, seed=seed, for_weights=is_pretrained)

    def find(log: LogFn) -> PretrainedWeights:
        return load_pretrained_weights(name, weights, download=not is_offline(), log=log)

    return BackboneSource(
        backbone_pretrained_config(backbone),
        make,
        find if is_pretrained else None,
        small_stem=backbone.stem == "small",
        ends_with_features=architectures.default_num_classes(name) == 0,
    )


def _run_source(
    backbone: RunBackbone, network_of: Callable[[RunFolder], NetworkFactory], saved_backbone: Path | None
) -> BackboneSource:
    build = network_of(backbone_run(backbone, saved_backbone))

    def make(seed: int, device: str) -> nn.Module:
        return build(seed, device).eval()

    def find(log: LogFn) -> PretrainedWeights:
        return _trained_weights(RunFolder.open(newest_run_path(backbone.path)), log)

    trained = backbone.weights == "trained"
    return BackboneSource(backbone_pretrained_config(backbone, saved_backbone), make, find if trained else None)


def _trained_weights(folder: RunFolder, log: LogFn) -> PretrainedWeights:
    tensors, saved = load_weights(folder.path, "best", log, _selected_epoch(folder))
    return PretrainedWeights(tensors, f"run {folder.name}", str(folder.path / saved.file), saved.sha256, None, ())


def _trained_sha256(folder: RunFolder) -> str:
    """The SHA-256 that a run has recorded of its weights; they are compared with it when they are loaded."""
    epoch, index = _selected_epoch(folder), read_index_or_none(folder.path, "best")
    for saved in (index.newest, index.before) if index is not None else ():
        if saved is not None and saved.epoch == epoch:
            return saved.sha256
    raise RunError(
        "the run that the backbone is from has lost its weights", where=str(folder.path), next_step="train it again"
    )


def _selected_epoch(folder: RunFolder) -> float:
    """The epoch of the weights of a finished run."""
    result = folder.result()
    if result is None or result.status == "diverged":
        state = "has not finished" if result is None else "diverged"
        step = f"finish it: cnnlab train --resume {folder.path}" if result is None else "choose another run"
        raise RunError(f"the run that the backbone is from {state}", where=str(folder.path), next_step=step)
    return result.selected_epoch
