"""The base class of layers: shapes, parameters, multiply-adds and receptive fields before training.

A shape is (channels, height, width) for an image and (features,) for a vector.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Literal, Self, TypeAlias

from cnnlab.errors import SpecError
from cnnlab.render.formatting import format_shape
from cnnlab.theory.output_size import OutputSize, output_size
from cnnlab.theory.receptive_field import ReceptiveField1d

Shape: TypeAlias = tuple[int, ...]
ParameterShapes: TypeAlias = dict[str, Shape]
Pair: TypeAlias = tuple[int, int]
ReceptiveFieldPair: TypeAlias = tuple[ReceptiveField1d, ReceptiveField1d]


@dataclass(frozen=True)
class SlidingWindow:
    """A window that slides over an image; pairs are (vertical, horizontal). `total_padding` sums both sides."""

    kernel: Pair
    stride: Pair
    total_padding: Pair
    dilation: Pair = (1, 1)

    @classmethod
    def for_convolution(cls, kernel: Pair, stride: Pair, padding: Pair | Literal["same"], dilation: Pair) -> Self:
        """The window of a convolution; 'same' keeps the size, as in torch, and needs stride 1.

        Raises:
            SpecError: 'same' with another stride.
        """
        if padding != "same":
            return cls(kernel, stride, (2 * padding[0], 2 * padding[1]), dilation)
        margins = (dilation[0] * (kernel[0] - 1), dilation[1] * (kernel[1] - 1))
        if stride != (1, 1):
            sides = [margin // 2 for margin in margins]
            padding_text = sides[0] if sides[0] == sides[1] else sides
            raise SpecError(
                "padding='same' needs stride 1",
                received=f"stride {format_shape(stride)}",
                next_step=f"write padding={padding_text}, with which stride 2 halves an even size",
            )
        return cls(kernel, stride, margins, dilation)

    @classmethod
    def for_pool(cls, kernel: Pair, stride: Pair | None, padding: Pair) -> Self:
        """The window of a pool, whose stride is its kernel unless given.

        Raises:
            SpecError: more padding than torch allows.
        """
        if any(2 * padding[axis] > kernel[axis] for axis in (0, 1)):
            raise SpecError(
                "a pool's padding may be half its kernel at most",
                received=f"padding {format_shape(padding)}, kernel {format_shape(kernel)}",
            )
        return cls(kernel, stride or kernel, (2 * padding[0], 2 * padding[1]))

    def output_sizes(self, shape: Shape) -> tuple[OutputSize, OutputSize]:
        """The sizes of the output, vertically and horizontally, for an image of this shape.

        Raises:
            SpecError: it is larger than the image with its padding.
        """
        high, wide = (
            output_size(
                shape[1 + axis], self.kernel[axis], self.stride[axis], self.total_padding[axis], self.dilation[axis]
            )
            for axis in (0, 1)
        )
        if min(high.size, wide.size) < 1:
            padded = tuple(shape[1 + axis] + self.total_padding[axis] for axis in (0, 1))
            raise SpecError(
                f"a {format_shape(self.kernel)} window does not fit on the {format_shape(shape[1:])} image before it",
                allowed=f"windows up to {format_shape(padded)}, with padding",
                next_step="make the kernel smaller, add padding, or pool less before it",
            )
        return high, wide

    def output_shape(self, channels: int, shape: Shape) -> Shape:
        """The shape of the output; errors as `output_sizes`."""
        high, wide = self.output_sizes(shape)
        return (channels, high.size, wide.size)

    def receptive_field(self, fields: ReceptiveFieldPair) -> ReceptiveFieldPair:
        """The receptive field of an output node, given that of an input node."""
        high, wide = (
            fields[axis].after_window(
                self.kernel[axis], self.stride[axis], self.dilation[axis], self.total_padding[axis] // 2
            )
            for axis in (0, 1)
        )
        return high, wide


class Layer:
    """One layer of a table. The defaults are those of an activation: the shape stays, nothing is learned."""

    kind: ClassVar[str]
    input_kind: ClassVar[Literal["image", "vector", "any"]] = "any"

    def output_shape(self, shape: Shape) -> Shape:
        """The output shape for an input shape."""
        window = self.window()
        return shape if window is None else window.output_shape(self.output_channels(shape), shape)

    def output_channels(self, shape: Shape) -> int:
        """The channels of the output of a sliding window."""
        return shape[0]

    def parameter_shapes(self, shape: Shape) -> ParameterShapes:
        """The shapes of the learned tensors, by their names in the module."""
        return {}

    def macs(self, shape: Shape) -> int:
        """Multiply-adds of weights for one image; biases, norms and activations are not counted."""
        return 0

    def window(self) -> SlidingWindow | None:
        """The sliding window, if the layer has one."""
        return None

    def receptive_field(self, fields: ReceptiveFieldPair) -> ReceptiveFieldPair | None:
        """The receptive field of an output node, vertically and horizontally; None: the whole image."""
        window = self.window()
        return fields if window is None else window.receptive_field(fields)


class WeightedLayer(Layer):
    """A layer that multiplies its input by a weight at every output position."""

    bias: bool
    weightnorm = False

    def weight_shape(self, shape: Shape) -> Shape:
        """The shape of the weight: outputs, inputs, window."""
        raise NotImplementedError

    def parameter_shapes(self, shape: Shape) -> ParameterShapes:
        return weight_shapes(self.weight_shape(shape), bias=self.bias, weightnorm=self.weightnorm)

    def macs(self, shape: Shape) -> int:
        return prod(self.weight_shape(shape)) * prod(self.output_shape(shape)[1:])


def affine_shapes(shape: Shape, affine: bool) -> ParameterShapes:
    """The tensors of a norm: a scale and a shift of this shape."""
    return {"weight": shape, "bias": shape} if affine else {}


def weight_shapes(shape: Shape, *, bias: bool, weightnorm: bool = False) -> ParameterShapes:
    """The tensors of a convolution or a dense layer whose weight has this shape."""
    biases: ParameterShapes = {"bias": shape[:1]} if bias else {}
    if not weightnorm:
        return {"weight": shape, **biases}
    # T. Salimans, D. Kingma, 2016: a length and a direction for each filter; the names are torch's.
    length = (shape[0], *(1 for _ in shape[1:]))
    return {"parametrizations.weight.original0": length, "parametrizations.weight.original1": shape, **biases}


def parameter_formula(shapes: Iterable[Shape]) -> str:
    """The number of parameters as a formula: each tensor's sizes multiplied, the window first.

    >>> parameter_formula([(32, 3, 5, 5), (32,)])
    '5·5·3·32 + 32'
    """
    return " + ".join("·".join(map(str, (*shape[2:], *shape[1:2], *shape[:1]))) or "1" for shape in shapes)


def macs_formula(weight: Shape, positions: Shape) -> str:
    """The number of multiply-adds as a formula: each weight is used once at every output position.

    >>> macs_formula((32, 3, 5, 5), (28, 28))
    '5·5·3·32 × 28·28'
    """
    return parameter_formula([weight]) + (f" × {'·'.join(map(str, positions))}" if positions else "")


def field_columns(fields: ReceptiveFieldPair | None) -> dict[str, Any]:
    """The fields of a `LayerRecord` about a receptive field; None is the whole image."""
    if fields is None:
        return {"receptive_field": None, "jump": None, "first_centre": None}
    return {
        "receptive_field": tuple(field.size for field in fields),
        "jump": tuple(str(field.jump) for field in fields),
        "first_centre": tuple(str(field.first_centre) for field in fields),
    }
