"""A reader for the pickles that CIFAR comes in, which runs nothing: it knows the few opcodes of those files by heart.

Python's own `pickle` calls whatever a file names. Here a file's opcodes build plain values (numbers, texts, lists,
dictionaries, arrays of bytes) and any other opcode or name is refused, so a forged file can do no more than be wrong.
The files were written by Python 2 with protocol 2; the same contents written again by Python 3 with protocol 2 or 3
are read as well. Opcodes: `pickletools` in the standard library.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cnnlab.data.sources.base import Pixels
from cnnlab.errors import SourceError

_NAMES = {
    "numpy.core.multiarray _reconstruct": "array",
    "numpy._core.multiarray _reconstruct": "array",
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "_codecs encode": "encode",
}
_BYTES = {"SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES"}
_VALUES = {"BININT", "BININT1", "BININT2", "BINUNICODE"}
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_cifar_pickle(data: bytes, where: str) -> dict[str, Any]:
    """The dictionary that a CIFAR batch or meta file holds; its keys as str, byte arrays as uint8 arrays.

    Raises:
        SourceError: the file is cut short, isn't a pickle, or holds anything that CIFAR's don't; nothing of it has run.
    """
    stack = _Stack()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                break
            _execute(stack, opcode.name, argument)
        (found,) = stack.values
        if not isinstance(found, dict):
            raise _UnexpectedContentError(f"a {type(found).__name__}, not a dictionary")
        return {key.decode("latin-1") if isinstance(key, bytes) else str(key): value for key, value in found.items()}
    except _UnexpectedContentError as refused:
        raise SourceError(
            "this pickle holds what CIFAR's files don't; nothing of it was run",
            where=where,
            received=str(refused),
            allowed="texts, numbers, lists, dictionaries and arrays of bytes, pickled with protocol 2 or 3",
            next_step="get the published archive again and don't unpickle this file elsewhere",
        ) from None
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as broken:
        raise SourceError(
            "this pickle is broken or cut short",
            where=where,
            received=f"{len(data):,} bytes; {broken}",
            allowed="a batch file of CIFAR's python version",
            next_step="get the file again, or use the binary version of the data set",
        ) from broken


class _UnexpectedContentError(Exception):
    """Something that the published files don't hold."""


@dataclass
class _GlobalName:
    """A name that the file mentions; it stands for itself and is never looked up."""

    meaning: str


@dataclass
class _PendingObject:
    """An array or a dtype between its REDUCE and its BUILD."""

    meaning: str
    pixels: Pixels = field(default_factory=lambda: np.empty(0, np.uint8))


@dataclass
class _Stack:
    values: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def pop_to_mark(self) -> list[Any]:
        start = self.marks.pop()
        taken, self.values[start:] = self.values[start:], []
        return taken


def _execute(stack: _Stack, opcode: str, argument: Any) -> None:
    values = stack.values
    if opcode in _BYTES:
        values.append(argument.encode("latin-1") if isinstance(argument, str) else argument)
    elif opcode in _VALUES:
        values.append(argument)
    elif opcode in _CONSTANTS:
        values.append(_CONSTANTS[opcode])
    elif opcode in _TUPLES:
        values.append(tuple(_pop(values, _TUPLES[opcode])))
    elif opcode in ("BINPUT", "LONG_BINPUT"):
        stack.memo[argument] = values[-1]
    elif opcode in ("BINGET", "LONG_BINGET"):
        values.append(stack.memo[argument])
    elif opcode == "GLOBAL":
        if argument not in _NAMES:
            raise _UnexpectedContentError(f"the name {str(argument).replace(' ', '.')[:100]}")
        values.append(_GlobalName(_NAMES[argument]))
    elif not _execute_container(stack, opcode):
        raise _UnexpectedContentError(f"the opcode {opcode}")


def _execute_container(stack: _Stack, opcode: str) -> bool:
    """The opcodes that make and fill containers; False when it is none of these."""
    values = stack.values
    match opcode:
        case "PROTO":
            pass
        case "MARK":
            stack.marks.append(len(values))
        case "EMPTY_DICT":
            values.append({})
        case "EMPTY_LIST":
            values.append([])
        case "TUPLE":
            values.append(tuple(stack.pop_to_mark()))
        case "APPEND":
            item = values.pop()
            _top(values, list).append(item)
        case "APPENDS":
            items = stack.pop_to_mark()
            _top(values, list).extend(items)
        case "SETITEM":
            key, value = _pop(values, 2)
            _top(values, dict)[key] = value
        case "SETITEMS":
            pairs = stack.pop_to_mark()
            _top(values, dict).update(zip(pairs[::2], pairs[1::2], strict=True))
        case "REDUCE":
            name, arguments = _pop(values, 2)
            values.append(_reduce(name, arguments))
        case "BUILD":
            state = values.pop()
            values[-1] = _build(values[-1], state)
        case _:
            return False
    return True


def _pop(values: list[Any], number: int) -> list[Any]:
    if number > len(values):
        raise ValueError("the file takes more values than it has given")
    taken = values[len(values) - number :]
    del values[len(values) - number :]
    return taken


def _top(values: list[Any], kind: type) -> Any:
    if not isinstance(values[-1], kind):
        raise _UnexpectedContentError(f"items for a {type(values[-1]).__name__}")
    return values[-1]


def _reduce(name: Any, arguments: Any) -> Any:
    """What a call would give, for the three calls that the files hold."""
    meaning = name.meaning if isinstance(name, _GlobalName) else ""
    if meaning == "array" and isinstance(arguments[0], _GlobalName) and arguments[0].meaning == "ndarray":
        return _PendingObject("array")
    if meaning == "dtype" and arguments[0] in ("u1", b"u1", "|u1", b"|u1"):
        return _PendingObject("dtype")
    if meaning == "encode" and arguments[1] == "latin1":
        return arguments[0].encode("latin-1")
    raise _UnexpectedContentError(f"a call of {meaning or type(name).__name__}")


def _build(pending: Any, state: Any) -> Any:
    """A dtype stays a dtype; an array gets its shape and bytes, and becomes the numpy array that it stands for."""
    if not isinstance(pending, _PendingObject):
        raise _UnexpectedContentError(f"a state for a {type(pending).__name__}")
    if pending.meaning == "dtype":
        return pending
    _version, shape, dtype, by_columns, content = state
    if not (isinstance(dtype, _PendingObject) and dtype.meaning == "dtype" and isinstance(content, bytes)):
        raise _UnexpectedContentError("an array of something else than bytes")
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_columns else "C")
