"""Effective receptive fields as records. No torch."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import InstanceOf, model_serializer

from cnnlab.render.result import Result

PixelRange: TypeAlias = tuple[int, int]
# W. Luo, Y. Li, R. Urtasun, R. Zemel: Understanding the effective receptive field in deep convolutional neural
# networks, NeurIPS 2016, section 4: a pixel belongs to it when its gradient is above 1 − 95.45 % of the centre's.
LUO_THRESHOLD = 1 - 0.9545


class EffectiveField(Result):
    """The gradient of one node of a layer by each pixel.

    Attributes:
        network: its name, with the origin of its weights.
        layer: the node's layer.
        node: (row, column) on the layer's map.
        images: how many random images the gradient is the mean of.
        gradient: H×W, the mean absolute gradient.
        rows, columns: first and last one of the theoretical receptive field, padding included; None where it is
            unknown or the whole image.
    """

    network: str
    layer: str
    node: tuple[int, int]
    images: int
    gradient: Annotated[npt.NDArray[np.float64], InstanceOf]
    rows: PixelRange | None = None
    columns: PixelRange | None = None

    @property
    def theoretical_size(self) -> tuple[int, int] | None:
        """(height, width) of the theoretical receptive field."""
        if self.rows is None or self.columns is None:
            return None
        return self.rows[1] - self.rows[0] + 1, self.columns[1] - self.columns[0] + 1

    @property
    def support_size(self) -> tuple[int, int]:
        """(height, width) of the smallest rectangle around all pixels with a gradient; (0, 0) without any."""
        rows, columns = (np.flatnonzero(self.gradient.any(axis=axis)) for axis in (1, 0))
        return (int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)) if rows.size else (0, 0)

    @property
    def effective_size(self) -> float:
        """Side of a square with as many pixels as have a gradient above 4.55 % of the largest one (Luo et al.).

        They compare with the pixel in the centre, which is the largest but for noise; after strides the centre may
        have less than its neighbours, so the largest is used here.
        """
        largest = self.gradient.max()
        return float(np.sqrt((self.gradient > LUO_THRESHOLD * largest).sum())) if largest > 0 else 0.0

    @model_serializer(when_used="json")
    def _json_fields(self) -> dict[str, Any]:
        """The numbers, and the gradient as rows of numbers, 1 for the largest."""
        largest = self.gradient.max()
        scaled = self.gradient / largest if largest > 0 else self.gradient
        return {
            "network": self.network,
            "layer": self.layer,
            "node": self.node,
            "images": self.images,
            "receptive_field": self.theoretical_size,
            "support": self.support_size,
            "effective_size": self.effective_size,
            "gradient": [[float(f"{value:.4g}") for value in row] for row in scaled.tolist()],
        }


class EffectiveFields(Result):
    """Effective receptive fields side by side, such as of trained and of initial weights."""

    fields: tuple[EffectiveField, ...]
