"""The weights that timm publishes for its networks: which there are, where they are kept, and their tensors.

They are kept where timm keeps them, in HF_HOME or, the few that have an address only, in TORCH_HOME.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from cnnlab.context import LogFn
from cnnlab.errors import DownloadError, RunError, SpecError, comma_separated, did_you_mean
from cnnlab.models.pretrained.architectures import default_input_size
from cnnlab.models.pretrained.weight_files import (
    LOCAL_FILE_HINT,
    PublishedWeights,
    fetch_weights,
    missing_weights_error,
)
from cnnlab.torch_rng import fork_rng

# In timm's own order.
_FILENAMES = ("model.safetensors", "pytorch_model.bin")


def resolve_tag(name: str, weights: str) -> str:
    """timm's tag of these weights: "a1_in1k".

    Args:
        name: a network of timm, with a tag or without.
        weights: 'imagenet', which are those of the name's tag or else timm's choice, or a tag.

    Raises:
        SpecError: an unknown network or tag, or a network without published weights.
    """
    architecture, own = _split_name(name)
    published = {found: known for found, known in _pretrained_cfgs(architecture).items() if known.has_weights}
    if not published:
        raise SpecError(
            f"timm publishes no weights of '{architecture}'",
            received=weights,
            allowed="weights='none', or a file",
            next_step="choose a network that has them: timm.list_pretrained() names them",
        )
    default = own or str(_timm().get_pretrained_cfg(architecture).tag)
    wanted = default if weights == "imagenet" else weights
    allowed = [found for found in published if own in ("", found)]
    if wanted in allowed:
        return wanted
    raise SpecError(
        f"there are no weights '{wanted}' of timm's {architecture}" + (f".{own}" if own else ""),
        received=weights,
        allowed=comma_separated(["none", "imagenet", *allowed]) + ", or a file",
        next_step=did_you_mean(wanted, allowed),
    )


def pretrained_cfg(name: str, weights: str) -> Any:
    """timm's facts about the network with these weights, or with none: its `PretrainedCfg`, or None.

    Raises:
        SpecError: as `resolve_tag`.
    """
    architecture, own = _split_name(name)
    if weights == "none":
        return _pretrained_cfgs(architecture).get(own) if own else _timm().get_pretrained_cfg(architecture)
    return _pretrained_cfgs(architecture)[resolve_tag(name, weights)]


def label(name: str, weights: str) -> str:
    """What these weights are, in words."""
    return f"{resolve_tag(name, weights)} of timm's {_split_name(name)[0]}"


def fetch_weights_file(name: str, weights: str, *, download: bool, log: LogFn) -> tuple[Path, str]:
    """The file of these weights, downloaded unless it is kept, and the first digits that its SHA-256 should have.

    The digits are "" where they aren't known.

    Raises:
        SpecError: as `resolve_tag`.
        DownloadError: it is not at hand, and can't or mustn't be downloaded.
    """
    known = pretrained_cfg(name, weights)
    if not known.hf_hub_id:
        published = PublishedWeights(label(name, weights), known.url)
        return fetch_weights(published, download=download, log=log), published.sha256_prefix
    repository, _, revision = known.hf_hub_id.partition("@")
    files = (known.hf_hub_filename,) if known.hf_hub_filename else _FILENAMES
    path = next(_cached_paths(repository, revision, files), None)
    if path is None:
        path = _download_from_hub(repository, revision, files, label(name, weights), download, log)
    # The hub's store names a large file by its SHA-256.
    stored = path.resolve().name
    return path, stored if re.fullmatch("[0-9a-f]{64}", stored) else ""


def cached_weights_file(name: str, weights: str) -> tuple[Path | None, Path]:
    """The file of these weights where it is kept, None where it is not yet, and the folder that it is kept in.

    Raises:
        SpecError: as `resolve_tag`.
    """
    known = pretrained_cfg(name, weights)
    if not known.hf_hub_id:
        path = PublishedWeights(label(name, weights), known.url).path
        return path if path.is_file() else None, path.parent
    repository, _, revision = known.hf_hub_id.partition("@")
    files = (known.hf_hub_filename,) if known.hf_hub_filename else _FILENAMES
    store = Path(importlib.import_module("huggingface_hub.constants").HF_HUB_CACHE)
    return next(_cached_paths(repository, revision, files), None), store


def remap_to_timm_keys(name: str, weights: str, tensors: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """These tensors of a published file under the names of the network: timm maps many old files to them.

    Raises:
        RunError: they are not those of this network.
    """
    full = f"{_split_name(name)[0]}.{resolve_tag(name, weights)}"
    try:
        with fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = _timm().create_model(full, pretrained=True, pretrained_cfg_overlay={"state_dict": tensors})
    except (RuntimeError, KeyError, ValueError, AttributeError) as error:
        raise RunError(
            f"timm can't fill '{full}' with these weights",
            where=str(file),
            received=" ".join(str(error).split())[:300],
            next_step="delete the file: it will be downloaded again",
        ) from None
    return {key: tensor.detach() for key, tensor in made.state_dict().items()}


def _split_name(name: str) -> tuple[str, str]:
    """The architecture and the tag that the name gives, "" for none; an unknown architecture is an error."""
    inner = name.removeprefix("timm/")
    architecture, _, own = inner.partition(".")
    default_input_size(f"timm/{architecture}" if own else name)
    # Some names are old ones, of an architecture with a tag.
    architecture, _, own = (_timm().models.get_deprecated_models().get(inner) or inner).partition(".")
    if own and own not in _pretrained_cfgs(architecture):
        raise SpecError(
            f"there are no weights '{own}' of timm's {architecture}",
            received=name,
            allowed=comma_separated(_pretrained_cfgs(architecture)),
            next_step=did_you_mean(own, _pretrained_cfgs(architecture)),
        )
    return architecture, own


def _pretrained_cfgs(architecture: str) -> dict[str, Any]:
    """timm's facts by tag."""
    known = _timm().models.get_arch_pretrained_cfgs(architecture)
    return {full.partition(".")[2]: facts for full, facts in known.items()}


def _cached_paths(repository: str, revision: str, files: tuple[str, ...]) -> Iterator[Path]:
    """The files of the repository that the hub's store has."""
    for file in files:
        found = _hub().try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(found, str):
            yield Path(found)


def _download_from_hub(
    repository: str, revision: str, files: tuple[str, ...], weights_label: str, download: bool, log: LogFn
) -> Path:
    store = str(importlib.import_module("huggingface_hub.constants").HF_HUB_CACHE)
    step = (
        f"where there is a network, `hf download {repository} {files[0]}`, and copy what it leaves in HF_HOME to "
        f"{store}; {LOCAL_FILE_HINT}"
    )
    if not download:
        raise missing_weights_error(weights_label, repository, "downloads are switched off", step)
    log(f"downloading {repository} from the Hugging Face hub to {store}")
    errors = importlib.import_module("huggingface_hub.utils")
    for file in files:
        try:
            return Path(_hub().hf_hub_download(repository, file, revision=revision or None))
        except errors.LocalEntryNotFoundError as error:
            raise missing_weights_error(weights_label, repository, _first_line(error), step) from None
        except errors.EntryNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise missing_weights_error(weights_label, repository, _first_line(error), step) from None
    raise DownloadError(f"{repository} has no {' and no '.join(files)}", where=repository, next_step=step)


def _first_line(error: Exception) -> str:
    # The hub's own text is advice; what happened is the cause.
    cause = error.__cause__ or error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]


def _timm() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("timm")


def _hub() -> Any:
    return importlib.import_module("huggingface_hub")
