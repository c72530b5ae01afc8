"""The layers of a layer table, and its rows.

A layer's methods give its output shape, parameters and cost; `cnnlab.models.build` makes its module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator

from cnnlab.architecture.layer import (
    Layer,
    ParameterShapes,
    ReceptiveFieldPair,
    Shape,
    SlidingWindow,
    WeightedLayer,
    affine_shapes,
)
from cnnlab.errors import SpecError, read_each
from cnnlab.grammar.arguments import Count, DropRate, Margin, Momentum, Padding, Positive, Size
from cnnlab.grammar.calls import Call, parse_call
from cnnlab.grammar.registry import Registry
from cnnlab.grammar.validation_errors import format_received

# What every torch module calls its own; a row's name is its module's name.
RESERVED_MODULE_NAMES = frozenset(
    """
    T_destination add_module append apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches
    eval extend extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half insert ipu
    load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters pop
    register_backward_hook register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook
    register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook
    register_module register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
    set_extra_state set_submodule share_memory state_dict to to_empty train training type xpu zero_grad
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True)
class LayerRow:
    """One row of a table. `label` is empty for a row without a name."""

    layer: Layer
    label: str = ""

    def as_call(self) -> Call:
        """The row as a call."""
        call = layers.to_call(self.layer)
        return Call(call.name, call.positional, call.named, self.label)

    def __str__(self) -> str:
        return str(self.as_call())


def layer_arguments(layer: Layer) -> dict[str, Any]:
    """A layer's arguments by name, as JSON has them; rows within it are left out.

    >>> layer_arguments(MaxPool(2))
    {'kernel': [2, 2], 'stride': None, 'padding': [0, 0]}
    """
    values = {field.name: getattr(layer, field.name) for field in fields(layer)}  # type: ignore[arg-type]
    nested = ("body", "shortcut")
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items() if name not in nested
    }


def read_rows(value: Any, registry: Registry[Layer]) -> tuple[LayerRow, ...]:
    """Rows from texts, calls or rows; the error lists every wrong one."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise SpecError("rows are a list of layers", received=format_received(value), allowed="[conv(…), relu, …]")
    return tuple(read_each(value, lambda item: _read_row(item, registry)))


def row_names(rows: Sequence[LayerRow], prefix: str, where: str) -> list[str]:
    """The names of a table's rows: their labels, and `kind` with a running number for rows without one.

    Args:
        prefix: the name of the outer row, for a table within another one.
        where: the name of the table in errors.

    Raises:
        SpecError: two rows of one name, or a name that a module can't have.
    """
    for index, row in enumerate(rows):
        if row.label in RESERVED_MODULE_NAMES or row.label.startswith("_"):
            what = f"'{row.label}' can't be a row's name: torch's modules use it themselves"
            raise SpecError(what, where=f"{where}[{index}]", received=str(row), next_step="rename it")
    labels = [row.label for row in rows if row.label]
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        places = [index for index, row in enumerate(rows) if row.label == twice[0]]
        raise SpecError(f"two rows have the name '{twice[0]}'", where=f"{where}[{places[1]}]", next_step="rename one")
    counts: Counter[str] = Counter()
    names = []
    for row in rows:
        name = row.label
        while not name or (not row.label and name in labels):
            counts[row.layer.kind] += 1
            name = f"{row.layer.kind}{counts[row.layer.kind]}"
        names.append(prefix + name)
    return names


def _read_row(item: Any, registry: Registry[Layer]) -> LayerRow:
    if isinstance(item, LayerRow):
        return item
    if isinstance(item, str):
        item = parse_call(item)
    if isinstance(item, Call):
        return LayerRow(registry.read(item), item.label)
    raise SpecError("a row is a layer", received=format_received(item), allowed="conv(32, 5), relu, …")


layers: Registry[Layer] = Registry("layer")
if TYPE_CHECKING:
    Rows: TypeAlias = tuple[LayerRow, ...]
else:  # pydantic would look into Row, whose layer may be any class of this registry
    Rows = Annotated[Any, BeforeValidator(lambda value: read_rows(value, layers))]


@layers.register("conv")
class Conv(WeightedLayer):
    """Convolution: `filters` windows slide over all channels."""

    input_kind = "image"
    filters: Count
    kernel: Size
    stride: Size = (1, 1)
    padding: Padding = (0, 0)
    dilation: Size = (1, 1)
    groups: Count = 1
    bias: bool = True
    weightnorm: bool = False

    def window(self) -> SlidingWindow:
        return SlidingWindow.for_convolution(self.kernel, self.stride, self.padding, self.dilation)

    def output_channels(self, shape: Shape) -> int:
        for what, channels in (("incoming channels", shape[0]), ("filters", self.filters)):
            if channels % self.groups:
                raise SpecError(f"{channels} {what} can't be split into {self.groups} groups")
        return self.filters

    def weight_shape(self, shape: Shape) -> Shape:
        return (self.filters, shape[0] // self.groups, *self.kernel)


@layers.register("depthwise")
class Depthwise(WeightedLayer):
    """Depthwise convolution: each channel has its own `multiplier` windows."""

    input_kind = "image"
    kernel: Size
    stride: Size = (1, 1)
    padding: Padding = (0, 0)
    dilation: Size = (1, 1)
    multiplier: Count = 1
    bias: bool = True

    def window(self) -> SlidingWindow:
        return SlidingWindow.for_convolution(self.kernel, self.stride, self.padding, self.dilation)

    def output_channels(self, shape: Shape) -> int:
        return shape[0] * self.multiplier

    def weight_shape(self, shape: Shape) -> Shape:
        return (self.output_channels(shape), 1, *self.kernel)


@layers.register("dense")
class Dense(WeightedLayer):
    """Fully connected layer: every unit is connected to every input."""

    input_kind = "vector"
    units: Count
    bias: bool = True
    weightnorm: bool = False

    def output_shape(self, shape: Shape) -> Shape:
        return (self.units,)

    def weight_shape(self, shape: Shape) -> Shape:
        return (self.units, shape[0])

    def receptive_field(self, fields: ReceptiveFieldPair) -> None:
        return None


@layers.register("maxpool")
class MaxPool(Layer):
    """Max pooling: the maximum of each window. The stride is the kernel unless given."""

    input_kind = "image"
    kernel: Size
    stride: Size | None = None
    padding: Margin = (0, 0)

    def window(self) -> SlidingWindow:
        return SlidingWindow.for_pool(self.kernel, self.stride, self.padding)


@layers.register("avgpool")
class AvgPool(Layer):
    """Average pooling: the mean of each window, padding counted as zeros."""

    input_kind = "image"
    kernel: Size
    stride: Size | None = None
    padding: Margin = (0, 0)

    def window(self) -> SlidingWindow:
        return SlidingWindow.for_pool(self.kernel, self.stride, self.padding)


@layers.register("globalpool")
class GlobalPool(Layer):
    """Global pooling: one number a channel, its mean or maximum."""

    input_kind = "image"
    how: Literal["mean", "max"] = "mean"

    def output_shape(self, shape: Shape) -> Shape:
        return (shape[0],)

    def receptive_field(self, fields: ReceptiveFieldPair) -> None:
        return None


@layers.register("adaptivepool")
class AdaptivePool(Layer):
    """Adaptive pooling: windows chosen so that the output has this size."""

    input_kind = "image"
    size: Size
    how: Literal["mean", "max"] = "mean"

    def output_shape(self, shape: Shape) -> Shape:
        return (shape[0], *self.size)

    def receptive_field(self, fields: ReceptiveFieldPair) -> None:
        return None


@layers.register("upsample")
class Upsample(Layer):
    """Enlarge an image `scale` times."""

    input_kind = "image"
    scale: Count
    mode: Literal["nearest", "bilinear"] = "nearest"

    def output_shape(self, shape: Shape) -> Shape:
        return (shape[0], shape[1] * self.scale, shape[2] * self.scale)

    def receptive_field(self, fields: ReceptiveFieldPair) -> ReceptiveFieldPair:
        return (fields[0].after_upsample(self.scale, self.mode), fields[1].after_upsample(self.scale, self.mode))


@layers.register("flatten")
class Flatten(Layer):
    """An image as one vector."""

    def output_shape(self, shape: Shape) -> Shape:
        return (prod(shape),)


@layers.register("batchnorm")
class BatchNorm(Layer):
    """Batch normalisation of images (2-d) or vectors (1-d), whichever is its input."""

    eps: Positive = 1e-5
    momentum: Momentum = 0.1
    affine: bool = True

    def parameter_shapes(self, shape: Shape) -> ParameterShapes:
        return affine_shapes(shape[:1], self.affine)


@layers.register("layernorm")
class LayerNorm(Layer):
    """Layer normalisation over all numbers of one image, with a scale and a shift for each."""

    eps: Positive = 1e-5
    affine: bool = True

    def parameter_shapes(self, shape: Shape) -> ParameterShapes:
        return affine_shapes(shape, self.affine)


@layers.register("groupnorm")
class GroupNorm(Layer):
    """Group normalisation over groups of channels."""

    groups: Count
    eps: Positive = 1e-5
    affine: bool = True

    def output_shape(self, shape: Shape) -> Shape:
        if shape[0] % self.groups:
            raise SpecError(f"{shape[0]} channels can't be split into {self.groups} groups")
        if prod(shape) == self.groups:
            raise SpecError(
                "each group of this groupnorm has one number, which can't be normalised",
                next_step="choose fewer groups, or put this row where the image is larger",
            )
        return shape

    def parameter_shapes(self, shape: Shape) -> ParameterShapes:
        return affine_shapes(shape[:1], self.affine)


@layers.register("lrn")
class LocalResponseNorm(Layer):
    """Local response normalisation across `size` neighbouring channels (AlexNet's)."""

    input_kind = "image"
    size: Count = 5
    alpha: Positive = 1e-4
    beta: Positive = 0.75
    k: Positive = 1.0


@layers.register("dropout")
class Dropout(Layer):
    """Dropout: each number is zeroed with probability `rate` while training."""

    rate: DropRate = 0.5


@layers.register("dropout2d")
class Dropout2d(Layer):
    """Spatial dropout: whole channels are zeroed with probability `rate` while training."""

    input_kind = "image"
    rate: DropRate = 0.5


@layers.register("relu")
class ReLU(Layer):
    """max(x, 0)"""


@layers.register("leaky_relu")
class LeakyReLU(Layer):
    """x for positive x, slope·x for negative."""

    slope: float = 0.01


@layers.register("elu")
class ELU(Layer):
    """x for positive x, alpha·(exp(x) - 1) for negative."""

    alpha: Positive = 1.0


@layers.register("gelu")
class GELU(Layer):
    """x·Φ(x), with the normal distribution function Φ."""


@layers.register("silu")
class SiLU(Layer):
    """x·sigmoid(x)"""


@layers.register("tanh")
class Tanh(Layer):
    """The hyperbolic tangent."""


@layers.register("sigmoid")
class Sigmoid(Layer):
    """1 / (1 + exp(-x))"""


@layers.register("softmax")
class Softmax(Layer):
    """exp(x) / Σ exp(x). As a table's last row it only says what the output means: the loss takes logits."""


@layers.register("residual")
class Residual(Layer):
    """`body`, dropped with probability `drop`, added to the input, or to `shortcut`'s output where one is given."""

    body: Rows
    shortcut: Rows = ()
    drop: DropRate = 0.0


@layers.register("repeat")
class Repeat(Layer):
    """The rows of `body`, `times` times in sequence, each time with new weights."""

    times: Count
    body: Rows
