"""Read the pickles that CIFAR comes in without running anything of them.

Python's own `pickle` calls whatever a file names. Here the instructions of a file are held against those of the
published files first, and each of the four names in them stands for a method below, so that a forged file can do no
more than be wrong ("Restricting Globals" in the documentation of `pickle`). The files were written by Python 2 with
protocol 2; the same contents written again by Python 3 with protocol 2 or 3 are read as well.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnlab.data.sources.base import Pixels
from cnnlab.errors import SourceError

# The instructions that the published files use.
_OPCODES = (
    "PROTO STOP MARK EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 APPEND APPENDS SETITEM SETITEMS "
    "NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 SHORT_BINSTRING BINSTRING SHORT_BINBYTES BINBYTES BINUNICODE "
    "BINPUT LONG_BINPUT BINGET LONG_BINGET GLOBAL REDUCE BUILD"
)


def read_cifar_pickle(data: bytes, where: str) -> dict[str, Any]:
    """The dictionary that a CIFAR batch or meta file holds; its keys as str, byte arrays as uint8 arrays.

    Raises:
        SourceError: the file is cut short, isn't a pickle, or holds anything that CIFAR's don't; nothing of it has run.
    """
    try:
        _check_opcodes(data)
        content = _CifarUnpickler(io.BytesIO(data), encoding="bytes").load()
        if not isinstance(content, dict):
            raise _UnexpectedContentError(f"a {type(content).__name__}, not a dictionary")
        names = (key.decode("latin-1") if isinstance(key, bytes) else str(key) for key in content)
        values = (value.pixels if isinstance(value, _Array) else value for value in content.values())
        return dict(zip(names, values, strict=True))
    except _UnexpectedContentError as refused:
        raise SourceError(
            "this pickle holds what CIFAR's files don't; nothing of it was run",
            where=where,
            received=str(refused),
            allowed="texts, numbers, lists, dictionaries and arrays of bytes, pickled with protocol 2 or 3",
            next_step="get the published archive again and don't unpickle this file elsewhere",
        ) from None
    except Exception as broken:  # a damaged pickle may fail with almost any exception
        raise SourceError(
            "this pickle is broken or cut short",
            where=where,
            received=f"{len(data):,} bytes; {broken}",
            allowed="a batch file of CIFAR's python version",
            next_step="get the file again, or use the binary version of the data set",
        ) from broken


class _UnexpectedContentError(Exception):
    """Something that the published files don't hold."""


def _check_opcodes(data: bytes) -> None:
    allowed = set(_OPCODES.split())
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name not in allowed:
            raise _UnexpectedContentError(f"the opcode {opcode.name}")
        # The unpickler allocates memory for this many entries.
        if opcode.name == "LONG_BINPUT" and (argument is None or argument > len(data)):
            raise _UnexpectedContentError(f"memo index {argument} in {len(data)} bytes")


class _Dtype:
    """Stands for numpy.dtype("u1")."""

    def __setstate__(self, state: Any) -> None:
        pass


@dataclass
class _Array:
    """Stands for a numpy array of bytes."""

    pixels: Pixels | None = None

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, by_columns, content = state
        if not (isinstance(dtype, _Dtype) and isinstance(content, bytes)):
            raise _UnexpectedContentError("an array whose elements are no bytes")
        self.pixels = np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_columns else "C")


class _CifarUnpickler(pickle.Unpickler):
    """An unpickler whose names are its own methods: nothing is imported, and no class can be reached or changed."""

    def find_class(self, module: str, name: str) -> Any:
        methods = {
            "numpy.core.multiarray._reconstruct": self._reconstruct,
            "numpy._core.multiarray._reconstruct": self._reconstruct,
            "numpy.ndarray": self._ndarray,
            "numpy.dtype": self._dtype,
            "_codecs.encode": self._encode,
        }
        if f"{module}.{name}" not in methods:
            raise _UnexpectedContentError(f"the name {module}.{name}"[:100])
        return methods[f"{module}.{name}"]

    def _reconstruct(self, kind: Any, *_: Any) -> _Array:
        if kind != self._ndarray:
            raise _UnexpectedContentError("a call of _reconstruct for no array")
        return _Array()

    def _ndarray(self, *_: Any) -> None:
        raise _UnexpectedContentError("a call of ndarray")

    def _dtype(self, name: Any, *_: Any) -> _Dtype:
        if name not in ("u1", b"u1", "|u1", b"|u1"):
            raise _UnexpectedContentError("a call of dtype")
        return _Dtype()

    def _encode(self, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise _UnexpectedContentError("a call of encode")
        return text.encode("latin-1")
