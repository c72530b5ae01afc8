"""Named random streams: random numbers depend on (seed, purpose, indices), never on the order of calls.

All generators are made here. A name gives the same numbers whatever was drawn before, in every process and batch, and
after any number of interruptions.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

# SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def stream_key(seed: int, purpose: str, *indices: int) -> int:
    """Return a 63-bit key that identifies a stream."""
    name = "/".join([str(seed), purpose, *map(str, indices)])
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """Return a NumPy generator for one purpose.

    >>> bool(generator(0, "split").integers(10) == generator(0, "split").integers(10))
    True
    """
    return np.random.Generator(np.random.Philox(key=stream_key(seed, purpose, *indices)))


def uniforms(
    seed: int, purpose: str, epoch: int, images: npt.NDArray[np.int64], num_draws: int
) -> npt.NDArray[np.float64]:
    """Return numbers in [0, 1) that depend on (seed, purpose, epoch, image, draw) alone.

    Args:
        images: the indices of the images in their data set, shape N.
        num_draws: the number of random numbers per image.

    Returns:
        Shape N×draws. The row of an image does not depend on its batch.
    """
    state = images.astype(np.uint64)[:, None] * _GOLDEN + np.uint64(stream_key(seed, purpose, epoch))
    state = _splitmix64(state) + np.arange(1, num_draws + 1, dtype=np.uint64)[None, :] * _GOLDEN
    return (_splitmix64(state) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _splitmix64(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return state ^ (state >> np.uint64(31))
