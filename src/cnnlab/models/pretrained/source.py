"""Where a backbone is from: a library's network, or a run of our own."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from torch import nn

from cnnlab.config.arms import error_prefix
from cnnlab.config.backbones import Backbone, LibraryBackbone, RunBackbone, format_backbone, with_path, with_weights
from cnnlab.context import LogFn
from cnnlab.errors import RunError, SpecError
from cnnlab.models.pretrained import architectures
from cnnlab.models.pretrained.loading import set_published_attributes
from cnnlab.models.pretrained.weight_files import file_sha256
from cnnlab.models.pretrained.weights import (
    PretrainedConfig,
    PretrainedWeights,
    load_pretrained_weights,
    locate_weights,
    pretrained_config,
)
from cnnlab.render.formatting import pluralize
from cnnlab.settings import is_offline
from cnnlab.storage.checkpoints import load_weights
from cnnlab.storage.run_folder import BACKBONE_FOLDER, RunFolder

_RECORD_FILES = ("recipe.toml", "data.json")


class BuildableNetwork(Protocol):
    """What `models.network_plan` knows of a network; it stands above this module."""

    @property
    def build(self) -> Callable[[int, str], nn.Module]: ...


@dataclass(frozen=True)
class BackboneSource:
    """Where a backbone is from.

    Attributes:
        pretrained_config: the images that its weights were made for.
        build: the whole network with random weights, from a seed and a device ("meta": without numbers), in eval mode.
        load_pretrained: looks for its weights; None where all begin at random.
        small_stem: whether its first layers are fitted to small images.
        ends_with_features: whether it names no classes.
    """

    pretrained_config: PretrainedConfig
    build: Callable[[int, str], nn.Module]
    load_pretrained: Callable[[LogFn], PretrainedWeights] | None
    small_stem: bool = False
    ends_with_features: bool = False


def find_backbone_source(
    backbone: Backbone, plan: Callable[[RunFolder], BuildableNetwork], saved_backbone: Path | None = None
) -> BackboneSource:
    """The source that a recipe names; no weights are looked for yet.

    Args:
        plan: plans the network of a run.
        saved_backbone: the copied records of the run that its backbone is from.

    Raises:
        SpecError: nothing has this name.
        RunError: the run can't be read.
    """
    if isinstance(backbone, RunBackbone):
        return _run_source(backbone, plan, saved_backbone)
    return _library_source(backbone)


def prefetch_weights(backbone: Backbone | None, log: LogFn) -> None:
    """Fetch a library's weights, or say that they can't be had, before time is spent on the data.

    Raises:
        DownloadError: they are not at hand, and no server gives them.
        RunError: the file is not there, or damaged.
    """
    if not isinstance(backbone, LibraryBackbone) or backbone.weights == "none":
        return
    if not locate_weights(backbone.name, backbone.weights).is_local:
        load_pretrained_weights(backbone.name, backbone.weights, download=not is_offline(), log=log)


def backbone_run(backbone: RunBackbone, saved_backbone: Path | None = None) -> RunFolder:
    """The run that a backbone is from, or what was kept of it; of several that a pattern names the newest.

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
    """The last finished run, by name and so by time, of those that a pattern such as 'runs/*-trunk' names.

    Raises:
        RunError: it names none.
    """
    if not set(path) & set("*?["):
        return path
    whole = Path(path)
    found = sorted(Path(whole.anchor).glob(str(whole.relative_to(whole.anchor))))
    found = [folder for folder in found if (folder / "result.json").is_file()]
    if not found:
        step = "train one first, or name its folder"
        raise RunError("no finished run has a name like this", where=f"model.backbone: {path}", next_step=step)
    return str(found[-1])


def backbone_pretrained_config(backbone: Backbone, saved_backbone: Path | None = None) -> PretrainedConfig:
    """The images that a backbone's weights were made for.

    Args:
        saved_backbone: as for `backbone_run`.

    Raises:
        SpecError: nothing has this name, or there are no such weights.
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
    """Refuse images of other channels than a backbone takes.

    Raises:
        SpecError: they have others.
    """
    if channels != pretrained_config.shape[0]:
        raise SpecError(
            f"the backbone takes images of {pluralize(pretrained_config.shape[0], 'channel')}",
            where="data.channels",
            received=str(channels),
            next_step="leave it out: images then come with the backbone's channels, grey ones too",
        )


def backbone_fingerprint(backbone: Backbone, saved_backbone: Path | None = None) -> str:
    """A backbone without the places where its files lie, and with what tells these from others: equal work is equal.

    Args:
        saved_backbone: the copied records of the run that its backbone is from.

    Raises:
        RunError: the run can't be read, or has no weights.
    """
    if isinstance(backbone, RunBackbone):
        folder = backbone_run(backbone, saved_backbone)
        weights = _trained_sha256(folder) if backbone.weights == "trained" and saved_backbone is None else ""
        return f"{format_backbone(with_path(backbone, ''))} {_structure_digest(folder)} {weights}"
    path = Path(backbone.weights).expanduser()
    if not path.is_file():
        return f"{format_backbone(backbone)} {_unpublished_digest(backbone)}".rstrip()
    return f"{format_backbone(with_weights(backbone, path.name))} {_sha256(path)}"


def _unpublished_digest(backbone: LibraryBackbone) -> str:
    """The digest of a file that lies where a library's lies and is another, by the digits in its name; "" otherwise."""
    if backbone.weights == "none":
        return ""
    found = locate_weights(backbone.name, backbone.weights)
    digits = re.search(r"-([0-9a-f]{8,})\.", Path(found.path).name)
    if not found.is_local or digits is None:
        return ""
    digest = _sha256(Path(found.path))
    return "" if digest.startswith(digits[1]) else digest


def _structure_digest(folder: RunFolder) -> str:
    """A digest of what a run's network is, whatever its weights are."""
    recipe, data = folder.recipe(), folder.data()
    model = recipe.to_tables()["model"]
    if recipe.model.backbone is not None:
        model["backbone"] = backbone_fingerprint(recipe.model.backbone, folder.path / BACKBONE_FOLDER)
    preprocessing = data.preprocessing
    what = [model, preprocessing.channels, preprocessing.height, preprocessing.width, len(data.classes)]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def copy_backbone_records(backbone: Backbone | None, folder: RunFolder) -> None:
    """Copy into a run what is needed to make its network again: recipe and data of each run behind it."""
    target, saved_backbone = folder.path / BACKBONE_FOLDER, None
    while isinstance(backbone, RunBackbone):
        behind = backbone_run(backbone, saved_backbone)
        target.mkdir(exist_ok=True)
        for name in _RECORD_FILES:
            RunFolder(target).write(name, (behind.path / name).read_text(encoding="utf-8"))
        backbone = behind.recipe().model.backbone
        target, saved_backbone = target / BACKBONE_FOLDER, behind.path / BACKBONE_FOLDER


def backbone_records(backbone: Backbone, saved_backbone: Path | None = None) -> list[str]:
    """All that decides the network of a run, whatever its weights are: the records of it and of each run behind it.

    Raises:
        RunError: one of them can't be read.
    """
    found: list[str] = []
    following: Backbone | None = backbone
    while isinstance(following, RunBackbone):
        behind = backbone_run(following, saved_backbone)
        recipe = behind.recipe()
        found += [recipe.to_toml(), behind.data().to_json()]
        following, saved_backbone = recipe.model.backbone, behind.path / BACKBONE_FOLDER
    return found


def _library_source(backbone: LibraryBackbone) -> BackboneSource:
    name, weights = backbone.name, backbone.weights
    is_pretrained = weights != "none"

    def make(seed: int, device: str) -> nn.Module:
        network = architectures.create_model(name, device=device, seed=seed)
        if is_pretrained:
            set_published_attributes(network, name)
        return network

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
    backbone: RunBackbone, plan: Callable[[RunFolder], BuildableNetwork], saved_backbone: Path | None
) -> BackboneSource:
    planned = plan(backbone_run(backbone, saved_backbone))

    def make(seed: int, device: str) -> nn.Module:
        return planned.build(seed, device).eval()

    def find(log: LogFn) -> PretrainedWeights:
        return _trained_weights(RunFolder.open(newest_run_path(backbone.path)), log)

    trained = backbone.weights == "trained"
    return BackboneSource(backbone_pretrained_config(backbone, saved_backbone), make, find if trained else None)


def _trained_weights(folder: RunFolder, log: LogFn) -> PretrainedWeights:
    result = folder.result()
    if result is None or result.status == "diverged":
        state = "has not finished" if result is None else "diverged"
        step = f"finish it: cnnlab train --resume {folder.path}" if result is None else "choose another run"
        raise RunError(f"the run that the backbone is from {state}", where=str(folder.path), next_step=step)
    tensors, saved = load_weights(folder.path, "best", log, result.selected_epoch)
    return PretrainedWeights(tensors, f"run {folder.name}", str(folder.path / saved.file), saved.sha256, None, ())


def _trained_sha256(folder: RunFolder) -> str:
    """Of the weights that a run gives, which are read once for each state of its files."""
    return _read_sha256(folder.path, tuple(_file_stamps(folder)))


@lru_cache(maxsize=64)
def _read_sha256(path: Path, _states: tuple[object, ...]) -> str:
    return _trained_weights(RunFolder(path), lambda _: None).sha256


def _file_stamps(folder: RunFolder) -> Iterator[object]:
    """What another result or other weights in a run's folder can't leave as it was."""
    for path in sorted((*folder.path.glob("best*"), folder.path / "result.json")):
        if path.is_file():
            yield _file_stamp(path)


def _sha256(path: Path) -> str:
    """The SHA-256 of a file, which is read once for each state of it."""
    return _cached_sha256(path.resolve(), _file_stamp(path))


@lru_cache(maxsize=64)
def _cached_sha256(path: Path, _state: object) -> str:
    return file_sha256(path)


def _file_stamp(path: Path) -> tuple[str, int, int, int]:
    known = path.stat()
    return path.name, known.st_size, known.st_mtime_ns, known.st_ino
