"""A memory that is too small, told as what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnnlab.errors import RunError

# torch tells a full memory of the CPU and of MPS with a plain RuntimeError of these words.
WORDS = ("out of memory", "can't allocate memory", "ALLOC_FAILED")


@contextmanager
def memory_watched(batch_size: int, folder: Path | None = None, command: str = "train") -> Iterator[None]:
    """Turn what Python and torch say of a full memory into one error.

    Args:
        batch_size: the recipe's.
        folder: the run's, which is kept; None before there is one.
        command: what the person would give again.

    Raises:
        RunError: the memory is full.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if isinstance(error, RuntimeError) and not any(word in str(error) for word in WORDS):
            raise
        recipe = str(folder / "recipe.toml") if folder else "RECIPE"
        smaller = f"cnnlab {command} {recipe} --set train.batch_size={batch_size // 2}"
        raise RunError(
            f"the memory is full: {str(error).partition(chr(10))[0] or 'nothing more can be had'}",
            where=str(folder or "train.batch_size"),
            received=f"batches of {batch_size}",
            next_step=f"{smaller}, or a smaller network" if batch_size > 1 else "take a smaller network",
        ) from error
