"""What the weights of a convolution are known by. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Filters:
    """The weights of one convolution, before and after training; both F×C×H×W.

    Attributes:
        layer: its name in the table.
        before: None where the weights that it began with can't be had any more.
        loaded: which weights it began with; empty where they were random.
        frozen: whether they never trained, so that before and after are the same.
    """

    layer: str
    before: npt.NDArray[np.floating] | None
    after: npt.NDArray[np.floating]
    loaded: str = ""
    frozen: bool = False
