"""Rows of arrays come in the wanted order, from the device or from a memory map, of one array or of several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.data.array_store import ArrayStore

CPU = torch.device("cpu")


def arrays(count: int, rows: int, dtype: type = np.float32) -> list[np.ndarray]:
    draws = np.random.default_rng(0)
    return [(draws.normal(size=(rows, 2, 3)) * 100).astype(dtype) for _ in range(count)]


@given(data=st.data(), count=st.integers(1, 4), rows=st.integers(1, 9), workers=st.sampled_from([None, 0, 2]))
def test_rows_are_those_of_the_arrays_one_after_the_other(
    data: st.DataObject, count: int, rows: int, workers: int | None
) -> None:
    made = arrays(count, rows)
    order = np.array(data.draw(st.lists(st.integers(0, count * rows - 1), min_size=3, max_size=30)), dtype=np.int64)
    store = ArrayStore(made, CPU, resident=workers is None, num_workers=workers or 0)
    found = list(store.batches(order, [2, len(order) - 2]))
    assert [len(batch) for batch in found] == [2, len(order) - 2]
    np.testing.assert_array_equal(torch.cat(found).numpy(), np.concatenate(made)[order])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("resident", [True, False])
def test_memory_maps_give_what_arrays_give(tmp_path: Path, dtype: type, resident: bool) -> None:
    made = arrays(2, 5, dtype)
    for number, array in enumerate(made):
        np.save(tmp_path / f"{number}.npy", array)
    mapped = [np.load(tmp_path / f"{number}.npy", mmap_mode="r") for number in range(2)]
    (found,) = ArrayStore(mapped, CPU, resident=resident, num_workers=1).batches(np.array([9, 0, 4, 5, 5]), [5])
    assert found.numpy().dtype == dtype
    np.testing.assert_array_equal(found.numpy(), np.concatenate(made)[[9, 0, 4, 5, 5]])


def test_all_arrays_count_for_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    made = arrays(2, 5)
    monkeypatch.setattr("cnnlab.data.array_store.RESIDENT_BYTES", {"cpu": 2 * made[0].nbytes})
    assert ArrayStore(made, CPU).resident
    assert not ArrayStore([*made, made[0]], CPU).resident


def test_images_in_memory_are_not_copied_and_others_are(tmp_path: Path) -> None:
    """A second copy of the training images would take as much memory as all else."""
    (made,) = arrays(1, 5)
    order = np.arange(5)
    assert np.shares_memory(ArrayStore([made], CPU, resident=True)._rows.numpy(), made)
    made.flags.writeable = False
    np.save(tmp_path / "0.npy", made)
    for other in (made, np.load(tmp_path / "0.npy", mmap_mode="r")):
        store = ArrayStore([other], CPU, resident=True)
        assert not np.shares_memory(store._rows.numpy(), other)
        np.testing.assert_array_equal(next(store.batches(order, [5])).numpy(), made)
