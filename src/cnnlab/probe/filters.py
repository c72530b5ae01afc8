"""What the weights of a convolution are known by. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Filters:
    """The weights of one convolution, before and after training; both F×C×H×W. `layer` is its name in the table."""

    layer: str
    before: npt.NDArray[np.floating]
    after: npt.NDArray[np.floating]
