"""The layers that a table may name: what each makes of a shape, and the tensors that it learns.

Everything that is said of a layer before training comes from its methods here; the module is built from the same row
(`cnnlab.model.build`).
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator

from cnnlab.errors import SpecError
from cnnlab.spec.arguments import Count, DropRate, Margin, Momentum, Padding, Positive, Size
from cnnlab.spec.layer import Fields, Layer, Shape, Tensors, Window, weights
from cnnlab.spec.registry import Registry
from cnnlab.spec.rows import Row, read_rows

layers: Registry[Layer] = Registry("layer")
if TYPE_CHECKING:
    Rows: TypeAlias = tuple[Row, ...]
else:  # pydantic would look into Row, whose layer may be any class of this registry
    Rows = Annotated[Any, BeforeValidator(lambda value: read_rows(value, layers))]


@layers.add("conv")
class Conv(Layer):
    """Convolution: `filters` windows slide over all channels."""

    needs = "image"
    filters: Count
    kernel: Size
    stride: Size = (1, 1)
    padding: Padding = (0, 0)
    dilation: Size = (1, 1)
    groups: Count = 1
    bias: bool = True
    weightnorm: bool = False

    def window(self) -> Window:
        return Window.of_convolution(self.kernel, self.stride, self.padding, self.dilation)

    def output(self, shape: Shape) -> Shape:
        for what, channels in (("incoming channels", shape[0]), ("filters", self.filters)):
            if channels % self.groups:
                raise SpecError(f"{channels} {what} can't be split into {self.groups} groups")
        return self.window().output(self.filters, shape)

    def tensors(self, shape: Shape) -> Tensors:
        return weights(self._weight(shape), bias=self.bias, weightnorm=self.weightnorm)

    def macs(self, shape: Shape) -> int:
        return prod(self._weight(shape)) * prod(self.output(shape)[1:])

    def _weight(self, shape: Shape) -> Shape:
        return (self.filters, shape[0] // self.groups, *self.kernel)


@layers.add("depthwise")
class Depthwise(Layer):
    """Depthwise convolution: each channel has a window of its own (`multiplier` of them)."""

    needs = "image"
    kernel: Size
    stride: Size = (1, 1)
    padding: Padding = (0, 0)
    dilation: Size = (1, 1)
    multiplier: Count = 1
    bias: bool = True

    def window(self) -> Window:
        return Window.of_convolution(self.kernel, self.stride, self.padding, self.dilation)

    def output(self, shape: Shape) -> Shape:
        return self.window().output(shape[0] * self.multiplier, shape)

    def tensors(self, shape: Shape) -> Tensors:
        return weights(self._weight(shape), bias=self.bias)

    def macs(self, shape: Shape) -> int:
        return prod(self._weight(shape)) * prod(self.output(shape)[1:])

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
        return weights((self.units, shape[0]), bias=self.bias, weightnorm=self.weightnorm)

    def macs(self, shape: Shape) -> int:
        return self.units * shape[0]

    def view(self, fields: Fields) -> None:
        return None


@layers.add("maxpool")
class MaxPool(Layer):
    """Max pooling: the largest number of each window. The stride is the kernel unless given."""

    needs = "image"
    kernel: Size
    stride: Size | None = None
    padding: Margin = (0, 0)

    def window(self) -> Window:
        return Window.of_pool(self.kernel, self.stride, self.padding)

    def output(self, shape: Shape) -> Shape:
        return self.window().output(shape[0], shape)


@layers.add("avgpool")
class AvgPool(Layer):
    """Average pooling: the mean of each window, padding counted as zeros."""

    needs = "image"
    kernel: Size
    stride: Size | None = None
    padding: Margin = (0, 0)

    def window(self) -> Window:
        return Window.of_pool(self.kernel, self.stride, self.padding)

    def output(self, shape: Shape) -> Shape:
        return self.window().output(shape[0], shape)


@layers.add("globalpool")
class GlobalPool(Layer):
    """Global pooling: one number a channel, its mean or maximum."""

    needs = "image"
    how: Literal["mean", "max"] = "mean"

    def output(self, shape: Shape) -> Shape:
        return (shape[0],)

    def view(self, fields: Fields) -> None:
        return None


@layers.add("adaptivepool")
class AdaptivePool(Layer):
    """Adaptive pooling: windows chosen so that the result has the wanted size."""

    needs = "image"
    size: Size
    how: Literal["mean", "max"] = "mean"

    def output(self, shape: Shape) -> Shape:
        return (shape[0], *self.size)

    def view(self, fields: Fields) -> None:
        return None


@layers.add("upsample")
class Upsample(Layer):
    """Enlarge an image `scale` times."""

    needs = "image"
    scale: Count
    mode: Literal["nearest", "bilinear"] = "nearest"

    def output(self, shape: Shape) -> Shape:
        return (shape[0], shape[1] * self.scale, shape[2] * self.scale)

    def view(self, fields: Fields) -> Fields:
        return (fields[0].enlarged(self.scale, self.mode), fields[1].enlarged(self.scale, self.mode))


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
    """The sum of the input (or what `shortcut` makes of it) and `body`'s part, left out with probability `drop`."""

    body: Rows
    shortcut: Rows = ()
    drop: DropRate = 0.0


@layers.add("repeat")
class Repeat(Layer):
    """The rows of `body`, `times` times over, each time with weights of their own."""

    times: Count
    body: Rows
