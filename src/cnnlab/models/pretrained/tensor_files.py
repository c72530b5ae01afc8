"""Read files of tensors without running what is in them.

A pickle is read by torch with `weights_only=True` and never otherwise, so that a file that holds a program is refused
and not run.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from cnnlab.errors import RunError
from cnnlab.render.formatting import format_names, shorten

# The keys under which training scripts save the network's tensors among other things.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
# The prefixes that DistributedDataParallel and torch.compile add to every name.
_CHUNK = 2**20  # bytes of an archive's file at a time
_PREFIXES = ("module.", "_orig_mod.")
_SAVE_TENSORS = "save the tensors alone: torch.save(network.state_dict(), …), or as .safetensors"


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors file or of one that `torch.save` wrote, on the CPU, by name.

    Its first bytes decide how a file is read, not its name. Of a dictionary, the tensors under 'state_dict',
    'model_state_dict' or 'model' are taken, and a prefix 'module.' or '_orig_mod.' that all names have is removed.
    Anything that is no tensor is left out.

    Raises:
        RunError: the file is missing, damaged, no file of tensors, or one that holds a program.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            first_bytes = file.read(48)
    except OSError as error:
        step = f"check the path, which is relative to {Path.cwd()}" if not path.is_absolute() else "check the path"
        what = f"this file of weights can't be read: {error.strerror}"
        raise RunError(what, where=str(path), next_step=step) from None
    try:
        is_safetensors = first_bytes[8:9] == b"{"  # after the length of its header
        tensors = _extract_tensors(load_file(path) if is_safetensors else _load_torch(path))
    except MemoryError:
        raise
    except Exception as error:  # a damaged file may fail with anything
        raise _unreadable_file(path, first_bytes, error) from None
    _require_dense(tensors, path)
    return tensors


def abbreviate(names: Iterable[str], limit: int = 5) -> str:
    """The first `limit` names, and how many more there are.

    >>> abbreviate(["a", "b", "c", "d"], limit=2)
    'a, b and 2 more'
    """
    return format_names(map(shorten, names), max_names=limit)


def _load_torch(path: Path) -> Any:
    # An open file, since torch goes by the name of a path.
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about the ways in which it once saved
        if zipfile.is_zipfile(file):
            _check_members(zipfile.ZipFile(file))
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)


def _check_members(archive: zipfile.ZipFile) -> None:
    """Read each file of an archive, which compares its checksum; torch does not."""
    for member in archive.infolist():
        if member.CRC:  # with torch.serialization.set_crc32_options(False) there are none
            with archive.open(member) as content:
                while content.read(_CHUNK):
                    pass


def _extract_tensors(loaded: Any) -> dict[str, Tensor]:
    """The tensors of a loaded file, without wrapper and prefix; none where it holds something else."""
    if not isinstance(loaded, Mapping):
        return {}
    inner = (_filter_tensors(loaded[key]) for key in _WRAPPERS if key in loaded)
    tensors = next((one for one in inner if one), _filter_tensors(loaded))
    for prefix in _PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _filter_tensors(values: Any) -> dict[str, Tensor]:
    if not isinstance(values, Mapping):
        return {}
    return {str(name): tensor.detach() for name, tensor in values.items() if isinstance(tensor, Tensor)}


def _require_dense(tensors: Mapping[str, Tensor], path: Path) -> None:
    if not tensors:
        raise RunError(
            "this file holds no tensors by name",
            where=str(path),
            allowed="names with tensors, as network.state_dict() gives them",
            next_step=_SAVE_TENSORS,
        )
    for name, tensor in tensors.items():
        if tensor.is_quantized or tensor.is_complex() or tensor.layout is not torch.strided:
            raise RunError(
                f"'{shorten(name)}' is no dense tensor of plain numbers",
                where=str(path),
                received=f"{tensor.dtype}, {tensor.layout}",
                next_step="use the weights before they were converted",
            )


def _unreadable_file(path: Path, first_bytes: bytes, error: Exception) -> RunError:
    """The error about a file that holds more than tensors, is damaged, or is of another kind."""
    text = str(error)
    refused = re.search(r"GLOBAL (\S+)", text) if isinstance(error, pickle.UnpicklingError) else None
    if refused or "TorchScript" in text:
        needed = f"'{shorten(refused[1])}'" if refused else "its TorchScript"
        return RunError(
            f"this file holds more than tensors: to read it, {needed} would have to be run",
            where=str(path),
            allowed="tensors, and plain numbers and texts beside them",
            next_step=f"where you trust the file, {_SAVE_TENSORS}",
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["it ends too early"]
    reason = next((line for line in lines if line.startswith("Unsupported")), lines[0])  # after torch's advice
    return RunError(
        "this is no file of weights, or it is damaged",
        where=str(path),
        received=f"{shorten(reason, 100)}; it begins with {first_bytes!r}" if first_bytes else "an empty file",
        allowed="a .safetensors file, or one that torch.save wrote (.pth, .pt, .bin)",
        next_step="fetch the file again from where it came: the file itself, not a page or a pointer in its place",
    )
