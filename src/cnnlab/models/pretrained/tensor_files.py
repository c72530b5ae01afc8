"""Read files of tensors without running what is in them.

The first bytes of a file decide how it is read, not its name. A pickle is read by torch with `weights_only=True` and
never otherwise, so that a file that holds a program is refused and not run.
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
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cnnlab.errors import RunError
from cnnlab.render.formatting import format_names, shorten

# The keys under which training scripts save the network's tensors among other things.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
# The prefixes that DistributedDataParallel and torch.compile add to every name.
_PREFIXES = ("module.", "_orig_mod.")
_CHUNK = 1 << 20
_SAVE_TENSORS = "save the tensors alone: torch.save(network.state_dict(), …), or as .safetensors"
_FETCH_AGAIN = "fetch the file again from where it came"


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors file or of one that `torch.save` wrote, on the CPU, by name.

    Of a dictionary, the tensors under 'state_dict', 'model_state_dict' or 'model' are taken, and a prefix 'module.' or
    '_orig_mod.' that all names have is removed. Anything that is no tensor is left out.

    Raises:
        RunError: the file is missing, empty, damaged, no file of tensors, or one that holds a program.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            header = file.read(512)
    except OSError as error:
        step = f"check the path, which is relative to {Path.cwd()}" if not path.is_absolute() else "check the path"
        what = f"this file of weights can't be read: {error.strerror}"
        raise RunError(what, where=str(path), next_step=step) from None
    if header[8:9] == b"{":  # behind the length of its header
        loaded = _load_safetensors(path)
    elif header[:4] == b"PK\x03\x04":
        _check_torch_archive(path)
        loaded = _load_torch(path)
    elif header[:2] == b"\x80\x02":  # before torch 1.6, and with _use_new_zipfile_serialization=False
        loaded = _load_torch(path)
    else:
        raise RunError(
            "this is no file of weights, or its beginning is damaged",
            where=str(path),
            received=f"a file that begins with {header[:48]!r}" if header else "an empty file",
            allowed="a .safetensors file, or one that torch.save wrote (.pth, .pt, .bin)",
            next_step=f"{_FETCH_AGAIN}: the file itself, not a page or a pointer that stands for it",
        )
    tensors = _extract_tensors(loaded)
    _require_dense(tensors, path)
    return tensors


def abbreviate(names: Iterable[str], limit: int = 5) -> str:
    """The first `limit` names, and how many more there are.

    >>> abbreviate(["a", "b", "c", "d"], limit=2)
    'a, b and 2 more'
    """
    return format_names(map(shorten, names), max_names=limit)


def _load_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise _damaged_file(path, error) from None


def _check_torch_archive(path: Path) -> None:
    """Refuse programs, and verify the checksums within the archive, which torch does not."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = {member.filename.rpartition("/")[2] for member in members}
            if "constants.pkl" in names:
                raise _unsafe_file(path, "this is TorchScript: a program with its tensors, which is not run")
            if "data.pkl" not in names:
                raise RunError(
                    "this archive is not one that torch.save wrote",
                    where=str(path),
                    received=abbreviate(member.filename for member in members),
                    next_step=_SAVE_TENSORS,
                )
            for member in members:
                if member.CRC:  # with torch.serialization.set_crc32_options(False) there are none
                    with archive.open(member) as content:
                        while content.read(_CHUNK):
                            pass
    except RunError:
        raise
    except Exception as error:  # damaged archives fail with bad names, unknown methods, passwords
        raise _damaged_file(path, error) from None


def _load_torch(path: Path) -> Any:
    try:
        # An open file, since torch goes by the name of a path.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about the ways in which it once saved
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if wanted := re.search(r"GLOBAL (\S+)", str(error)):
            what = f"this file holds more than tensors: to read it, '{shorten(wanted[1])}' would have to be run"
            raise _unsafe_file(path, what) from None
        raise _damaged_file(path, error) from None
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle may fail with anything
        raise _damaged_file(path, error) from None


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


def _unsafe_file(path: Path, what: str) -> RunError:
    return RunError(
        what,
        where=str(path),
        allowed="tensors, and plain numbers and texts beside them",
        next_step=f"where you trust the file, {_SAVE_TENSORS}",
    )


def _damaged_file(path: Path, error: Exception) -> RunError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["it ends too early"]
    reason = next(
        (line for line in lines if line.startswith("Unsupported")), lines[0]
    )  # behind a page of torch's advice
    return RunError("this file is damaged", where=str(path), received=shorten(reason, 160), next_step=_FETCH_AGAIN)
