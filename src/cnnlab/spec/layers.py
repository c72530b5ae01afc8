"""The layers that a table may name: what each makes of a shape, and the tensors that it learns.

A shape is (channels, height, width) for an image and (features,) for a vector. Everything that is said of a layer
before training comes from its methods here; the module is built from the same row (`cnnlab.model.build`).
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator

from cnnlab.errors import SpecError
from cnnlab.spec.arguments import Count, DropRate, Margin, Momentum, Padding, Positive, Size
from cnnlab.spec.registry import Registry
from cnnlab.spec.rows import Row, read_rows
from cnnlab.theory.receptive import Field
from cnnlab.theory.sizes import OutputSize, output_size

Shape: TypeAlias = tuple[int, ...]
Tensors: TypeAlias = dict[str, Shape]


class Layer:
    """One layer of a table. The defaults are those of an activation: the shape stays, nothing is learned."""

    kind: ClassVar[str]
    needs: ClassVar[Literal["image", "vector", "any"]] = "any"

    def output(self, shape: Shape) -> Shape:
        """The shape that comes out for the shape that goes in."""
        return shape

    def tensors(self, shape: Shape) -> Tensors:
        """The learned tensors, by their names in the module, with their shapes."""
        return {}

    def macs(self, shape: Shape) -> int:
        """Multiply-adds of weights for one image; biases, norms and activations are not counted."""
        return 0

    def view(self, fields: tuple[Field, Field]) -> tuple[Field, Field] | None:
        """What a node sees of the input, vertically and horizontally; None: all of it."""
        return fields

    def windows(self, shape: Shape) -> tuple[OutputSize, OutputSize] | None:
        """How a sliding window fits, vertically and horizontally; None: no window slides."""
        return None


layers: Registry[Layer] = Registry("layer")
if TYPE_CHECKING:
    Rows: TypeAlias = tuple[Row, ...]
else:  # pydantic would look into Row, whose layer may be any class of this registry
    Rows = Annotated[Any, BeforeValidator(lambda value: read_rows(value, layers))]


class _Sliding(Layer):
    """What convolutions and pools share: a window that slides over an image."""

    needs = "image"
    kernel: Size
    dilation: Size = (1, 1)

    @property
    def steps(self) -> tuple[int, int]:
        """The stride, vertically and horizontally."""
        return self.stride  # type: ignore[attr-defined,no-any-return]

    @property
    def margins(self) -> tuple[int, int]:
        """The padding of both sides together, vertically and horizontally."""
        if self.padding == "same":  # type: ignore[attr-defined]
            return (self.dilation[0] * (self.kernel[0] - 1), self.dilation[1] * (self.kernel[1] - 1))
        return (2 * self.padding[0], 2 * self.padding[1])  # type: ignore[attr-defined]

    def windows(self, shape: Shape) -> tuple[OutputSize, OutputSize]:
        high, wide = (
            output_size(shape[1 + axis], self.kernel[axis], self.steps[axis], self.margins[axis], self.dilation[axis])
            for axis in (0, 1)
        )
        if min(high.size, wide.size) < 1:
            raise SpecError(
                f"a {_times(self.kernel)} window does not fit on the {_times(shape[1:])} image that it gets",
                allowed=f"windows up to {_times(shape[1 + axis] + self.margins[axis] for axis in (0, 1))}, with padding",
                next_step="make the kernel smaller, add padding, or pool less in front of it",
            )
        return high, wide

    def view(self, fields: tuple[Field, Field]) -> tuple[Field, Field]:
        high, wide = (fields[axis].through(self.kernel[axis], self.steps[axis], self.dilation[axis]) for axis in (0, 1))
        return high, wide

    def _out(self, channels: int, shape: Shape) -> Shape:
        high, wide = self.windows(shape)
        return (channels, high.size, wide.size)


class _Convolution(_Sliding):
    def _check(self, shape: Shape) -> None:
        if self.padding == "same" and self.steps != (1, 1):  # type: ignore[attr-defined]
            raise SpecError(
                "padding='same' needs stride 1",
                received=f"stride {_times(self.steps)}",
                next_step=f"write padding={self._even_margin()}, with which stride 2 halves an even size",
            )

    def _even_margin(self) -> str:
        sides = [margin // 2 for margin in self.margins]
        return str(sides[0] if sides[0] == sides[1] else sides)

    def macs(self, shape: Shape) -> int:
        _, high, wide = self.output(shape)
        return prod(self._weight(shape)) * high * wide

    def tensors(self, shape: Shape) -> Tensors:
        weightnorm = getattr(self, "weightnorm", False)
        return _weights(self._weight(shape), bias=self.bias, weightnorm=weightnorm)  # type: ignore[attr-defined]

    def _weight(self, shape: Shape) -> Shape:
        raise NotImplementedError


@layers.add("conv")
class Conv(_Convolution):
    """Convolution: `filters` windows slide over all channels."""

    filters: Count
    kernel: Size
    stride: Size = (1, 1)
    padding: Padding = (0, 0)
    dilation: Size = (1, 1)
    groups: Count = 1
    bias: bool = True
    weightnorm: bool = False

    def output(self, shape: Shape) -> Shape:
        self._check(shape)
        for what, channels in (("incoming channels", shape[0]), ("filters", self.filters)):
            if channels % self.groups:
                raise SpecError(f"{channels} {what} can't be split into {self.groups} groups")
        return self._out(self.filters, shape)

    def _weight(self, shape: Shape) -> Shape:
        return (self.filters, shape[0] // self.groups, *self.kernel)


@layers.add("depthwise")
class Depthwise(_Convolution):
    """Depthwise convolution: each channel has a window of its own (`multiplier` of them)."""

    kernel: Size
    stride: Size = (1, 1)
    padding: Padding = (0, 0)
    dilation: Size = (1, 1)
    multiplier: Count = 1
    bias: bool = True

    def output(self, shape: Shape) -> Shape:
        self._check(shape)
        return self._out(shape[0] * self.multiplier, shape)

    def _weight(self, shape: Shape) -> Shape:
        return (shape[0] * self.multiplier, 1, *self.kernel)


@layers.add("dense")
class Dense(Layer):
    """Fully connected layer: every unit sees every number."""

    needs = "vector"
    units: Count
    bias: bool = True
    weightnorm: bool = False

    def output(self, shape: Shape) -> Shape:
        return (self.units,)

    def tensors(self, shape: Shape) -> Tensors:
        return _weights((self.units, shape[0]), bias=self.bias, weightnorm=self.weightnorm)

    def macs(self, shape: Shape) -> int:
        return self.units * shape[0]

    def view(self, fields: tuple[Field, Field]) -> None:
        return None


class _Pool(_Sliding):
    stride: Size | None

    @property
    def steps(self) -> tuple[int, int]:
        return self.stride or self.kernel

    def output(self, shape: Shape) -> Shape:
        if any(2 * self.padding[axis] > self.kernel[axis] for axis in (0, 1)):  # type: ignore[attr-defined]
            raise SpecError(
                "a pool's padding may be half its kernel at most",
                received=f"padding {_times(self.padding)}, kernel {_times(self.kernel)}",  # type: ignore[attr-defined]
            )
        return self._out(shape[0], shape)


@layers.add("maxpool")
class MaxPool(_Pool):
    """Max pooling: the largest number of each window. The stride is the kernel unless given."""

    kernel: Size
    stride: Size | None = None
    padding: Margin = (0, 0)


@layers.add("avgpool")
class AvgPool(_Pool):
    """Average pooling: the mean of each window, padding counted as zeros."""

    kernel: Size
    stride: Size | None = None
    padding: Margin = (0, 0)


@layers.add("globalpool")
class GlobalPool(Layer):
    """Global pooling: one number a channel, its mean or maximum."""

    needs = "image"
    how: Literal["mean", "max"] = "mean"

    def output(self, shape: Shape) -> Shape:
        return (shape[0],)

    def view(self, fields: tuple[Field, Field]) -> None:
        return None


@layers.add("adaptivepool")
class AdaptivePool(Layer):
    """Adaptive pooling: windows chosen so that the result has the wanted size."""

    needs = "image"
    size: Size
    how: Literal["mean", "max"] = "mean"

    def output(self, shape: Shape) -> Shape:
        return (shape[0], *self.size)

    def view(self, fields: tuple[Field, Field]) -> None:
        return None


@layers.add("upsample")
class Upsample(Layer):
    """Enlarge an image `scale` times."""

    needs = "image"
    scale: Count
    mode: Literal["nearest", "bilinear"] = "nearest"

    def output(self, shape: Shape) -> Shape:
        return (shape[0], shape[1] * self.scale, shape[2] * self.scale)

    def view(self, fields: tuple[Field, Field]) -> tuple[Field, Field]:
        kernel = 1 if self.mode == "nearest" or self.scale == 1 else 2
        return (fields[0].upsampled(self.scale, kernel), fields[1].upsampled(self.scale, kernel))


@layers.add("flatten")
class Flatten(Layer):
    """An image as one vector."""

    def output(self, shape: Shape) -> Shape:
        return (prod(shape),)


@layers.add("batchnorm")
class BatchNorm(Layer):
    """Batch normalisation, for images (2-d) or vectors (1-d) by its place."""

    eps: Positive = 1e-5
    momentum: Momentum = 0.1
    affine: bool = True

    def tensors(self, shape: Shape) -> Tensors:
        return {"weight": shape[:1], "bias": shape[:1]} if self.affine else {}


@layers.add("layernorm")
class LayerNorm(Layer):
    """Layer normalisation over all numbers of one image, each with a scale and shift of its own."""

    eps: Positive = 1e-5
    affine: bool = True

    def tensors(self, shape: Shape) -> Tensors:
        return {"weight": shape, "bias": shape} if self.affine else {}


@layers.add("groupnorm")
class GroupNorm(Layer):
    """Group normalisation over groups of channels."""

    groups: Count
    eps: Positive = 1e-5
    affine: bool = True

    def output(self, shape: Shape) -> Shape:
        if shape[0] % self.groups:
            raise SpecError(f"{shape[0]} channels can't be split into {self.groups} groups")
        if prod(shape) == self.groups:
            raise SpecError(
                "each group of this groupnorm holds one number, which leaves nothing to compare it with",
                next_step="choose fewer groups, or put this row where the image is larger",
            )
        return shape

    def tensors(self, shape: Shape) -> Tensors:
        return {"weight": shape[:1], "bias": shape[:1]} if self.affine else {}


@layers.add("lrn")
class LocalResponseNorm(Layer):
    """Local response normalisation across `size` neighbouring channels (AlexNet's)."""

    needs = "image"
    size: Count = 5
    alpha: Positive = 1e-4
    beta: Positive = 0.75
    k: Positive = 1.0


@layers.add("dropout")
class Dropout(Layer):
    """Dropout: each number is zeroed with probability `rate` while training."""

    rate: DropRate = 0.5


@layers.add("dropout2d")
class Dropout2d(Layer):
    """Spatial dropout: whole channels are zeroed with probability `rate` while training."""

    needs = "image"
    rate: DropRate = 0.5


@layers.add("relu")
class ReLU(Layer):
    """max(x, 0)"""


@layers.add("leaky_relu")
class LeakyReLU(Layer):
    """x for positive x, slope·x for negative."""

    slope: float = 0.01


@layers.add("elu")
class ELU(Layer):
    """x for positive x, alpha·(exp(x) - 1) for negative."""

    alpha: Positive = 1.0


@layers.add("gelu")
class GELU(Layer):
    """x·Φ(x), with the normal distribution function Φ."""


@layers.add("silu")
class SiLU(Layer):
    """x·sigmoid(x)"""


@layers.add("tanh")
class Tanh(Layer):
    """The hyperbolic tangent."""


@layers.add("sigmoid")
class Sigmoid(Layer):
    """1 / (1 + exp(-x))"""


@layers.add("softmax")
class Softmax(Layer):
    """exp(x) as a share of its sum. As a table's last row it says what the output means: the loss works on logits."""


@layers.add("residual")
class Residual(Layer):
    """The sum of what `body` makes of the input and the input itself (or what `shortcut` makes of it)."""

    body: Rows
    shortcut: Rows = ()


@layers.add("repeat")
class Repeat(Layer):
    """The rows of `body`, `times` times over, each time with weights of their own."""

    times: Count
    body: Rows


def _weights(shape: Shape, *, bias: bool, weightnorm: bool) -> Tensors:
    biases: Tensors = {"bias": shape[:1]} if bias else {}
    if not weightnorm:
        return {"weight": shape, **biases}
    # T. Salimans, D. Kingma, 2016: a length for each filter beside its direction; the names are torch's.
    length = (shape[0], *(1 for _ in shape[1:]))
    return {"parametrizations.weight.original0": length, "parametrizations.weight.original1": shape, **biases}


def _times(sizes: Any) -> str:
    return "×".join(map(str, sizes))
