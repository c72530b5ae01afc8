"""A memory that is too small, told as what to do about it."""

from __future__ import annotations

import pytest
import torch

from cnnlab.errors import RunError
from cnnlab.runs.checks import explain_out_of_memory


def test_what_torch_says_of_the_cpus_memory_is_understood() -> None:
    what = r"train\.batch_size: the memory is full: .*can't allocate memory"
    with pytest.raises(RunError, match=what), explain_out_of_memory(8):
        torch.empty(2**60, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (MemoryError(), "no more can be allocated"),
        (torch.OutOfMemoryError("CUDA out of memory."), "CUDA out of memory."),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), "MPS backend out of memory (MPS allocated"),
    ],
)
def test_every_full_memory_is_one_error(error: Exception, what: str) -> None:
    with pytest.raises(RunError) as caught, explain_out_of_memory(1):
        raise error
    (problem,) = caught.value.problems
    assert problem.what.startswith(f"the memory is full: {what}")
    assert (problem.received, problem.next_step) == ("batches of 1", "take a smaller network")


def test_other_errors_go_through() -> None:
    with pytest.raises(RuntimeError, match=r"^broken$"), explain_out_of_memory(8):
        raise RuntimeError("broken")
