"""Seed and restore torch's global random state."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from cnnlab.randomness import stream_key


@contextlib.contextmanager
def fork_rng() -> Iterator[None]:
    """Context that restores torch's global random state on every device; inside, `manual_seed_torch` may set it."""
    before = torch.get_rng_state()
    on_cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    on_mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        yield
    finally:
        torch.set_rng_state(before)
        if on_cuda is not None:
            torch.cuda.set_rng_state(on_cuda)
        if on_mps is not None:
            torch.mps.set_rng_state(on_mps)


def manual_seed_torch(seed: int, purpose: str, *indices: int) -> None:
    """Seed torch's global generators, which `nn.Dropout` and `nn.init` use, from a named stream.

    Devices that have not been used are left alone: `torch.manual_seed` would keep the seed for them.
    """
    number = stream_key(seed, purpose, *indices)
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed(number)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(number)
