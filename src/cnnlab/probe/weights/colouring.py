"""Weights as colours. No torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cnnlab.probe.weights.filters import Floats


def around_grey(weights: Floats, largest: Floats | None = None) -> npt.NDArray[np.float64]:
    """F×H×W×3 colours from 0 to 1: weight 0 is mid-grey, and the largest size of weight in a filter is full range.

    Three channels are red, green and blue; one is grey; of any other number the mean over the channels is shown.

    Args:
        weights: F×C×H×W.
        largest: F sizes of weight that are full range instead, such as those before and after training together.
    """
    values = np.nan_to_num(np.asarray(weights, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if values.shape[1] not in (1, 3):
        values = values.mean(axis=1, keepdims=True)
    full = np.abs(values).max(axis=(1, 2, 3)) if largest is None else np.asarray(largest, dtype=np.float64)
    scaled = 0.5 + 0.5 * np.clip(values / np.where(full > 0, full, 1.0)[:, None, None, None], -1, 1)
    return np.broadcast_to(scaled, (len(values), 3, *values.shape[2:])).transpose(0, 2, 3, 1)


def channel_around_grey(weights: Floats, channel: int, largest: Floats | None = None) -> npt.NDArray[np.float64]:
    """One channel of each filter, F×H×W×3, on the scale that the filter has in `around_grey`."""
    whole = around_grey(weights, largest)
    return np.repeat(whole[..., channel : channel + 1], 3, axis=-1)
