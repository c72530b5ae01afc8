"""Mean and standard deviation of each channel, exactly, without a copy of the images in floats. No torch."""

from __future__ import annotations

import numpy as np

from cnnlab.data.sources.base import Pixels

_CHUNK = 4096


def mean_and_std(pixels: Pixels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and (population) standard deviation of each channel, of pixels scaled to 0–1, from exact sums.

    A constant channel gets 1 as its standard deviation, so that it can be divided by.
    """
    channels = pixels.shape[1]
    total, squares = [0] * channels, [0] * channels
    for start in range(0, len(pixels), _CHUNK):
        for channel in range(channels):
            values = pixels[start : start + _CHUNK, channel]
            total[channel] += int(values.sum(dtype=np.uint64))
            squares[channel] += int(np.square(values, dtype=np.uint16).sum(dtype=np.uint64))
    count = pixels.size // channels
    mean = tuple(value / count / 255 for value in total)
    variance = [square * count - value**2 for square, value in zip(squares, total, strict=True)]
    return mean, tuple(value**0.5 / count / 255 if value else 1.0 for value in variance)
