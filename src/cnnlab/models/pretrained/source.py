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

from cnnlab.config.arms import within
from cnnlab.config.backbones import Backbone, Known, OfRun, at_path, with_weights, write_backbone
from cnnlab.data.sources.catalogue import is_offline
from cnnlab.errors import RunError, SpecError
from cnnlab.models.pretrained import architectures
from cnnlab.models.pretrained.loading import as_published
from cnnlab.models.pretrained.weight_files import sha256
from cnnlab.models.pretrained.weights import Found, Natural, find_weights, natural, whereabouts
from cnnlab.render.formatting import plural
from cnnlab.runs.callbacks import NOBODY
from cnnlab.storage.run_folder import KEPT, RunFolder
from cnnlab.training.checkpoints import load_weights

Say = Callable[[str], None]
_RECORDS = ("recipe.toml", "data.json")


class Planned(Protocol):
    """What `runs.networks` knows of a network; it stands above this module."""

    @property
    def make(self) -> Callable[[int, str], nn.Module]: ...


@dataclass(frozen=True)
class Source:
    """Where a backbone is from.

    Attributes:
        natural: the images that its weights were made for.
        make: the whole network with random weights, from a seed and a device ("meta": without numbers), in eval mode.
        find: looks for its weights; None where all begin at random.
        small_stem: whether its first layers are fitted to small images.
        ends_with_features: whether it names no classes.
    """

    natural: Natural
    make: Callable[[int, str], nn.Module]
    find: Callable[[Say], Found] | None
    small_stem: bool = False
    ends_with_features: bool = False


def find_source(backbone: Backbone, plan: Callable[[RunFolder], Planned], kept: Path | None = None) -> Source:
    """The source that a recipe names; no weights are looked for yet.

    Args:
        plan: plans the network of a run.
        kept: what a run kept of the run that its backbone is from.

    Raises:
        SpecError: nothing has this name.
        RunError: the run can't be read.
    """
    if isinstance(backbone, OfRun):
        return _of_run(backbone, plan, kept)
    return _of_library(backbone)


def fetch_ahead(backbone: Backbone | None, say: Say) -> None:
    """Fetch a library's weights, or say that they can't be had, before time is spent on the data.

    Raises:
        DownloadError: they are not at hand, and no server gives them.
        RunError: the file is not there, or damaged.
    """
    begun = isinstance(backbone, Known) and backbone.weights != "none"
    if isinstance(backbone, Known) and begun and not whereabouts(backbone.name, backbone.weights).at_hand:
        find_weights(backbone.name, backbone.weights, download=not is_offline(), say=say)


def run_behind(backbone: OfRun, kept: Path | None = None) -> RunFolder:
    """The run that a backbone is from, or what was kept of it; of several that a pattern names the newest.

    Raises:
        RunError: there is none.
    """
    if kept is not None and (kept / _RECORDS[0]).is_file():
        return RunFolder(kept)
    path = newest(backbone.path)
    try:
        return RunFolder.open(path)
    except RunError as error:
        problems = (replace(problem, where=f"model.backbone: {problem.where}") for problem in error.problems)
        raise RunError.together(problems) from None


def newest(path: str) -> str:
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


def images_of(backbone: Backbone, kept: Path | None = None) -> Natural:
    """The images that a backbone's weights were made for.

    Args:
        kept: as for `run_behind`.

    Raises:
        SpecError: nothing has this name, or there are no such weights.
        RunError: the run can't be read.
    """
    if isinstance(backbone, OfRun):
        form = run_behind(backbone, kept).data().preprocessing
        return Natural((form.channels, form.height, form.width), form.mean, form.std, form.interpolation)
    with within("model.backbone"):
        architectures.natural_classes(backbone.name)  # an unknown name is told in its own words
        return natural(backbone.name, backbone.weights)


def require_channels(channels: int, made_for: Natural) -> None:
    """Refuse images of other channels than a backbone takes.

    Raises:
        SpecError: they have others.
    """
    if channels != made_for.shape[0]:
        raise SpecError(
            f"the backbone takes images of {plural(made_for.shape[0], 'channel')}",
            where="data.channels",
            received=str(channels),
            next_step="leave it out: images then come with the backbone's channels, grey ones too",
        )


def identity(backbone: Backbone, kept: Path | None = None) -> str:
    """A backbone without the places where its files lie, and with what tells these from others: equal work is equal.

    Args:
        kept: what a run kept of the run that its backbone is from.

    Raises:
        RunError: the run can't be read, or has no weights.
    """
    if isinstance(backbone, OfRun):
        folder = run_behind(backbone, kept)
        weights = _trained_sha256(folder) if backbone.weights == "trained" and kept is None else ""
        return f"{write_backbone(at_path(backbone, ''))} {_structure(folder)} {weights}"
    path = Path(backbone.weights).expanduser()
    if not path.is_file():
        return f"{write_backbone(backbone)} {_unpublished(backbone)}".rstrip()
    return f"{write_backbone(with_weights(backbone, path.name))} {_sha256(path)}"


def _unpublished(backbone: Known) -> str:
    """The digest of a file that lies where a library's lies and is another, by the digits in its name; "" otherwise."""
    if backbone.weights == "none":
        return ""
    found = whereabouts(backbone.name, backbone.weights)
    digits = re.search(r"-([0-9a-f]{8,})\.", Path(found.path).name)
    if not found.at_hand or digits is None:
        return ""
    digest = _sha256(Path(found.path))
    return "" if digest.startswith(digits[1]) else digest


def _structure(folder: RunFolder) -> str:
    """A digest of what a run's network is, whatever its weights are."""
    recipe, data = folder.recipe(), folder.data()
    model = recipe.to_tables()["model"]
    if recipe.model.backbone is not None:
        model["backbone"] = identity(recipe.model.backbone, folder.path / KEPT)
    form = data.preprocessing
    what = [model, form.channels, form.height, form.width, len(data.classes)]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def keep_run_behind(backbone: Backbone | None, folder: RunFolder) -> None:
    """Copy into a run what is needed to make its network again: recipe and data of each run behind it."""
    into, kept = folder.path / KEPT, None
    while isinstance(backbone, OfRun):
        behind = run_behind(backbone, kept)
        into.mkdir(exist_ok=True)
        for name in _RECORDS:
            RunFolder(into).write(name, (behind.path / name).read_text(encoding="utf-8"))
        backbone, into, kept = behind.recipe().model.backbone, into / KEPT, behind.path / KEPT


def records_behind(backbone: Backbone, kept: Path | None = None) -> list[str]:
    """All that decides the network of a run, whatever its weights are: the records of it and of each run behind it.

    Raises:
        RunError: one of them can't be read.
    """
    found: list[str] = []
    following: Backbone | None = backbone
    while isinstance(following, OfRun):
        behind = run_behind(following, kept)
        recipe = behind.recipe()
        found += [recipe.to_toml(), behind.data().to_json()]
        following, kept = recipe.model.backbone, behind.path / KEPT
    return found


def _of_library(backbone: Known) -> Source:
    name, weights = backbone.name, backbone.weights
    begun = weights != "none"

    def make(seed: int, device: str) -> nn.Module:
        network = architectures.network(name, device=device, seed=seed)
        if begun:
            as_published(network, name)
        return network

    def find(say: Say) -> Found:
        return find_weights(name, weights, download=not is_offline(), say=say)

    return Source(
        images_of(backbone),
        make,
        find if begun else None,
        small_stem=backbone.stem == "small",
        ends_with_features=architectures.natural_classes(name) == 0,
    )


def _of_run(backbone: OfRun, plan: Callable[[RunFolder], Planned], kept: Path | None) -> Source:
    planned = plan(run_behind(backbone, kept))

    def make(seed: int, device: str) -> nn.Module:
        return planned.make(seed, device).eval()

    def find(say: Say) -> Found:
        return _trained(RunFolder.open(newest(backbone.path)), say)

    trained = backbone.weights == "trained"
    return Source(images_of(backbone, kept), make, find if trained else None)


def _trained(folder: RunFolder, say: Say) -> Found:
    result = folder.result()
    if result is None or result.status == "diverged":
        state = "has not finished" if result is None else "diverged"
        step = f"finish it: cnnlab train --resume {folder.path}" if result is None else "choose another run"
        raise RunError(f"the run that the backbone is from {state}", where=str(folder.path), next_step=step)
    tensors, saved = load_weights(folder.path, "best", say, result.selected_epoch)
    return Found(tensors, f"run {folder.name}", str(folder.path / saved.file), saved.sha256, None, ())


def _trained_sha256(folder: RunFolder) -> str:
    """Of the weights that a run gives, which are read once for each state of its files."""
    return _read_sha256(folder.path, tuple(_states(folder)))


@lru_cache(maxsize=64)
def _read_sha256(path: Path, _states: tuple[object, ...]) -> str:
    return _trained(RunFolder(path), NOBODY.say).sha256


def _states(folder: RunFolder) -> Iterator[object]:
    """What another result or other weights in a run's folder can't leave as it was."""
    for path in sorted((*folder.path.glob("best*"), folder.path / "result.json")):
        if path.is_file():
            yield _state(path)


def _sha256(path: Path) -> str:
    """The SHA-256 of a file, which is read once for each state of it."""
    return _hashed(path.resolve(), _state(path))


@lru_cache(maxsize=64)
def _hashed(path: Path, _state: object) -> str:
    return sha256(path)


def _state(path: Path) -> tuple[str, int, int, int]:
    known = path.stat()
    return path.name, known.st_size, known.st_mtime_ns, known.st_ino
