"""The pickle reader that runs nothing, against Python's own pickle and against forged files."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.data.sources.cifar_pickles import read_cifar_pickle
from cnnlab.errors import SourceError


def text(value: bytes) -> bytes:
    """A Python 2 text, as cPickle writes it with protocol 2."""
    short = len(value) < 256
    return (b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<i", len(value))) + value


def python2_batch(rows: np.ndarray, labels: list[int], by_columns: bool = False) -> bytes:
    """A batch as Python 2's cPickle wrote the published ones, opcode by opcode."""
    content = rows.tobytes("F" if by_columns else "C")
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x08cnumpy\nndarray\nq\tK\x00\x85U\x01b\x87Rq\n("
        + b"K\x01M" + struct.pack("<H", rows.shape[0]) + b"M" + struct.pack("<H", rows.shape[1]) + b"\x86"
        + b"cnumpy\ndtype\nq\x0bU\x02u1K\x00K\x01\x87Rq\x0c(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + (b"\x88" if by_columns else b"\x89") + text(content) + b"tb"
    )  # fmt: skip
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    names = b"".join(text(b"%d.png" % number) for number in range(len(labels)))
    return (
        b"\x80\x02}q\x01(" + text(b"batch_label") + b"q\x02" + text(b"training batch 1 of 5") + b"q\x03"
        + text(b"labels") + b"q\x04]q\x05(" + numbers + b"e" + text(b"data") + b"q\x06" + array
        + text(b"filenames") + b"r\x00\x01\x00\x00](" + names + b"eu."
    )  # fmt: skip


def rows_of(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (number, 3072), dtype=np.uint8)


@pytest.mark.parametrize("by_columns", [False, True])
def test_python2_batch_gives_what_pickle_gives(by_columns: bool) -> None:
    stream = python2_batch(rows_of(3), [9, 0, 4], by_columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        truth = pickle.loads(stream, encoding="bytes")
    found = read_cifar_pickle(stream, "data_batch_1")
    assert sorted(found) == ["batch_label", "data", "filenames", "labels"]
    np.testing.assert_array_equal(truth[b"data"], rows_of(3))
    np.testing.assert_array_equal(found["data"], rows_of(3))
    for key in ("labels", "batch_label", "filenames"):
        assert found[key] == truth[key.encode()]


@pytest.mark.parametrize("protocol", [2, 3])
def test_batch_written_again_by_python3_is_read(protocol: int) -> None:
    batch = {b"data": rows_of(2), b"labels": [1, 2], b"batch_label": b"one", b"filenames": [b"a.png", b"b.png"]}
    found = read_cifar_pickle(pickle.dumps(batch, protocol=protocol), "batch")
    np.testing.assert_array_equal(found["data"], batch[b"data"])
    assert found["labels"] == [1, 2]


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31 - 1) | st.text() | st.binary(max_size=300),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), plain))
def test_plain_values_are_what_they_were(values: dict[str, Any]) -> None:
    assert read_cifar_pickle(pickle.dumps(values, protocol=3), "file") == values


class Malice:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call = (call, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("how", ["system", "eval", "getattr", "load"])
def test_forged_pickle_is_refused_and_runs_nothing(how: str, protocol: int, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    forged = {
        "system": Malice(os.system, f"touch {trace}"),
        "eval": Malice(eval, f"open({str(trace)!r}, 'w')"),
        "getattr": Malice(getattr, "text", "upper"),
        "load": Malice(np.load, str(trace)),
    }[how]
    stream = pickle.dumps({b"data": forged, b"labels": [0]}, protocol=protocol)
    with pytest.raises(SourceError, match=r"holds what CIFAR's files don't; nothing of it was run(.|\n)*published"):
        read_cifar_pickle(stream, "data_batch_1")
    assert not trace.exists()


@pytest.mark.parametrize(
    ("stream", "received"),
    [
        (b"\x80\x02cos\nsystem\n.", "the name os.system"),
        (b"\x80\x02c__builtin__\neval\n.", "the name __builtin__.eval"),
        (b"\x80\x02cnumpy\nload\n.", "the name numpy.load"),
        (b"\x80\x02}(U\x01acnumpy\nndarray\n)Ru.", "a call of ndarray"),
        (b"\x80\x02}(U\x01acnumpy\ndtype\nU\x01OK\x00K\x01\x87Ru.", "a call of dtype"),
        (b"\x80\x02}(U\x01a(ios\nsystem\nu.", "the opcode INST"),
        (b"\x80\x02}(U\x01acnumpy\nndarray\n)\x81u.", "the opcode NEWOBJ"),
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "memo index 2147483647 in 9 bytes"),
        (b"\x80\x02].", "a list, not a dictionary"),
    ],
)
def test_what_the_files_never_hold_is_named(stream: bytes, received: str) -> None:
    with pytest.raises(SourceError) as raised:
        read_cifar_pickle(stream, "batch")
    assert received in raised.value.problems[0].received
    assert raised.value.problems[0].where == "batch"


def test_a_file_changes_nothing_for_the_next_one() -> None:
    """BUILD sets attributes of whatever lies on the stack."""
    state = b"N}" + text(b"__defaults__") + b"NU\x08__func__NU\x01xN"
    for name in (b"numpy\ndtype\n", b"numpy.core.multiarray\n_reconstruct\n"):
        with pytest.raises(SourceError):
            read_cifar_pickle(b"\x80\x02}(U\x01ac" + name + state[:1] + b"}(" + state[2:] + b"u\x86bu.", "batch")
    assert read_cifar_pickle(python2_batch(rows_of(2), [1, 2]), "batch")["labels"] == [1, 2]


@given(st.integers(0, 7000))
def test_cut_short_at_any_byte_is_a_source_error(length: int) -> None:
    stream = python2_batch(rows_of(2), [1, 2])
    with pytest.raises(SourceError, match=r"broken or cut short|nothing of it was run"):
        read_cifar_pickle(stream[: min(length, len(stream) - 1)], "data_batch_1")


@given(st.binary(max_size=200))
def test_any_bytes_give_a_dictionary_or_a_source_error(stream: bytes) -> None:
    with contextlib.suppress(SourceError):
        assert isinstance(read_cifar_pickle(b"\x80\x02" + stream, "file"), dict)
