"""How much a node really looks at each pixel, as numbers and sentences. No torch."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cnnlab.interpret.receptive_field.view import effective_svg
from cnnlab.render.document import Document, Formula
from cnnlab.render.formatting import MISSING, format_percent, format_shape, pluralize
from cnnlab.render.tables import TextTable

PixelRange = tuple[int, int]
# W. Luo, Y. Li, R. Urtasun, R. Zemel: Understanding the effective receptive field in deep convolutional neural
# networks, NeurIPS 2016, section 4: a pixel belongs to it when its gradient is above 1 − 95.45 % of the centre's.
LUO_THRESHOLD = 1 - 0.9545
ENERGY_FRACTION = 0.95
GRADIENT_FORMULA = Formula(
    "g(p) = mean over images and channels of |∂ Σ_c ±y(c) / ∂x(p)|   (y(c): the node in channel c, signs at random)",
    r"g(p) = \mathrm{mean}_{x,\,\mathrm{channels}} \left| \frac{\partial \sum_c \pm y_c}{\partial x_p} \right|",
)


@dataclass(frozen=True)
class EffectiveField:
    """How strongly one node of a layer answers to each pixel.

    Attributes:
        network: what it is called, with where its weights are from.
        layer: the node's layer.
        node: (row, column) on the layer's map.
        images: how many random images the gradient is the mean of.
        gradient: H×W, the mean of its absolute value.
        rows, columns: the first and last one of the view by the layers' windows, padding among them; None where that
            is not known, or everything.
    """

    network: str
    layer: str
    node: tuple[int, int]
    images: int
    gradient: npt.NDArray[np.float64]
    rows: PixelRange | None = None
    columns: PixelRange | None = None

    @property
    def theoretical_size(self) -> tuple[int, int] | None:
        """(height, width) of the receptive field by the layers' windows."""
        if self.rows is None or self.columns is None:
            return None
        return self.rows[1] - self.rows[0] + 1, self.columns[1] - self.columns[0] + 1

    @property
    def support_size(self) -> tuple[int, int]:
        """(height, width) of the smallest rectangle around all pixels with a gradient; (0, 0) where none has one."""
        rows, columns = (np.flatnonzero(self.gradient.any(axis=axis)) for axis in (1, 0))
        return (int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)) if rows.size else (0, 0)

    @property
    def effective_size(self) -> float:
        """The side of a square with as many pixels as have a gradient above 4.55 % of the largest one (Luo et al.).

        They compare with the pixel in the centre, which is the largest but for noise; behind strides the centre may
        be seen less than its neighbours, so the largest is taken.
        """
        largest = self.gradient.max()
        return float(np.sqrt((self.gradient > LUO_THRESHOLD * largest).sum())) if largest > 0 else 0.0

    @property
    def energy_size(self) -> int:
        """The side of the smallest square around the view's middle that holds 95 % of the gradient; 0 without one."""
        top, left = self.centre
        rows, columns = np.indices(self.gradient.shape)
        # Twice the distance from the middle: the middle may lie between two pixels.
        away = np.maximum(np.abs(2 * rows - 2 * top), np.abs(2 * columns - 2 * left)).round().astype(int).ravel()
        within = np.cumsum(np.bincount(away, self.gradient.ravel()))
        if within[-1] == 0:
            return 0
        return int(np.flatnonzero(within >= ENERGY_FRACTION * within[-1])[0]) + 1

    @property
    def centre(self) -> tuple[float, float]:
        """(row, column) of the view's middle; where the windows are not known, of the gradient."""
        if self.rows is not None and self.columns is not None:
            return (self.rows[0] + self.rows[1]) / 2, (self.columns[0] + self.columns[1]) / 2
        total = self.gradient.sum()
        if total == 0:
            height, width = self.gradient.shape
            return (height - 1) / 2, (width - 1) / 2
        high_mean, wide_mean = (
            (self.gradient.sum(axis=1 - axis) * np.arange(self.gradient.shape[axis])).sum() / total for axis in (0, 1)
        )
        return round(2 * float(high_mean)) / 2, round(2 * float(wide_mean)) / 2

    @property
    def padding_share(self) -> float | None:
        """The share of the view by the layers' windows that is padding; None where that view is not known."""
        if self.rows is None or self.columns is None:
            return None
        inside = area = 1
        for (first, last), side in zip((self.rows, self.columns), self.gradient.shape, strict=True):
            inside *= max(min(last, side - 1) - max(first, 0) + 1, 0)
            area *= last - first + 1
        return 1 - inside / area

    def metrics(self) -> dict[str, object]:
        """Its numbers by name; the gradient is left out."""
        return {
            "network": self.network,
            "layer": self.layer,
            "node": self.node,
            "images": self.images,
            "receptive_field": self.theoretical_size,
            "support": self.support_size,
            "effective_size": self.effective_size,
            "held_95": self.energy_size,
            "outside": self.padding_share,
        }

    def _repr_html_(self) -> str:
        return EffectiveFields((self,))._repr_html_()


@dataclass(frozen=True)
class EffectiveFields:
    """Effective receptive fields side by side: of trained weights, say, and of the random ones that they began as."""

    fields: tuple[EffectiveField, ...]

    def to_json(self, indent: int | None = None) -> str:
        """The numbers of each, and its gradient as rows of numbers, 1 for the largest."""
        found = [{**field.metrics(), "gradient": _scaled(field.gradient)} for field in self.fields]
        return json.dumps({"fields": found}, indent=indent, ensure_ascii=False)

    def document(self) -> Document:
        """The worked answer."""
        first = self.fields[0]
        return Document(
            title=f"Effective receptive field of {first.layer}, node ({first.node[0]}, {first.node[1]})",
            lines=(GRADIENT_FORMULA,),
            tables=(("", TextTable.from_rows(_TITLES, map(_row, self.fields))),),
            notes=tuple(_notes(self.fields)),
        )

    def svg(self) -> str:
        """The picture: each gradient as a map of heat, with both squares."""
        return effective_svg(self.fields)

    def _repr_html_(self) -> str:
        return self.document().to_html(self.svg())


_TITLES = ("network", "#theoretical", "#support", "#effective", "#holds 95 %", "#padding")


def _row(field: EffectiveField) -> tuple[str, ...]:
    theory, outside = field.theoretical_size, field.padding_share
    return (
        field.network,
        format_shape(theory) if theory else MISSING,
        format_shape(field.support_size),
        f"{field.effective_size:.1f}",
        format_shape((field.energy_size, field.energy_size)),
        MISSING if outside is None else format_percent(outside),
    )


def _notes(fields: tuple[EffectiveField, ...]) -> list[str]:
    notes = [
        f"Mean over {pluralize(fields[0].images, 'image')} of normally distributed noise, in eval mode.",
        "Theoretical: by the layers' windows; of it, padding is what lies outside the image. Support: around all "
        "pixels with a gradient. Effective: the side of a square with as many pixels as have more than 4.55 % of the "
        "largest gradient (Luo et al., 2016). Holds 95 %: the square around the middle with so much of all gradient.",
    ]
    silent = [field.network for field in fields if not field.gradient.any()]
    if silent:
        notes.append(f"No pixel changes this node: {', '.join(silent)}. Its activations may all be 0.")
    return notes


def _scaled(gradient: npt.NDArray[np.float64]) -> list[list[float]]:
    largest = gradient.max()
    scaled = gradient / largest if largest > 0 else gradient
    return [[float(f"{value:.4g}") for value in row] for row in scaled.tolist()]
