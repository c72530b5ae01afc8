"""Layers of a network by name: where their output can be read, as maps, and what their nodes see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor

from torch import Tensor, nn

from cnnlab.architecture.layer import Pair
from cnnlab.architecture.layer_graph import LayerGraph
from cnnlab.architecture.receptive_field.spans import SpanTracer
from cnnlab.errors import UsageError, did_you_mean
from cnnlab.interpret.hooks import forward_hooks, module_name
from cnnlab.models.pretrained.transfer import Resize, TransferModel
from cnnlab.models.tracing.trace import trace_network
from cnnlab.records import LayerRecord
from cnnlab.render.formatting import shorten

CONVOLUTIONS = ("conv", "depthwise")
MAX_LISTED = 400
# Radius of interpolation, in pixels of the image or, where those are larger, of the resized one.
INTERPOLATION_RADIUS = {"nearest": 0.5, "bilinear": 1.0, "bicubic": 2.0}


@dataclass(frozen=True)
class LayerRef:
    """A layer whose output can be read.

    Attributes:
        row: None for a module that holds rows, such as "layer4".
        hooked_module: the module whose hook reads it.
        uses_input: whether the layer's output is the input of that module: of a step that is no module, such as the
            sum in a residual block.
    """

    name: str
    row: LayerRecord | None
    hooked_module: str
    uses_input: bool = False


@dataclass(frozen=True)
class LayerIndex:
    """The layers of a network that can be read.

    Args:
        shape: (C, H, W) of the image.
    """

    network: nn.Module
    layers: Sequence[LayerRecord]
    shape: tuple[int, int, int]

    @cached_property
    def refs(self) -> dict[str, LayerRef]:
        """Every row that can be read, by name, in the order of the table."""
        refs = ((row.name, self._ref_of_row(row)) for row in self.layers)
        return {name: layer_ref for name, layer_ref in refs if layer_ref is not None}

    @cached_property
    def receptive_spans(self) -> SpanTracer:
        """The receptive fields of the layers' nodes."""
        return SpanTracer(self.layers, self.shape)

    def find(self, name: str, option: str = "--layer") -> LayerRef:
        """Find a row, or a module that holds rows, by its name.

        Args:
            option: the name of the option, for errors.

        Raises:
            UsageError: no such layer, or a step that is neither the input nor the output of a module.
        """
        if name in self.refs:
            return self.refs[name]
        if name in self._modules and name:
            return LayerRef(name, None, name)
        functional = name in self.receptive_spans.rows
        raise UsageError(
            f"the output of '{name}' can't be read: it is no module" if functional else f"there is no layer '{name}'",
            where=option,
            received=name,
            allowed=shorten(", ".join(self.refs), MAX_LISTED),
            next_step=self.repeat_option_hint(name)
            or did_you_mean(name, [*self.refs, *filter(None, self._modules)])
            or "take a name from the list; 'cnnlab describe' shows the table",
        )

    def repeat_option_hint(self, name: str) -> str:
        """The right way to write several layers, where a name is `conv1,conv2`; else ""."""
        names = [part.strip() for part in name.split(",")]
        known = len(names) > 1 and all(part in self.refs or part in self._modules for part in names)
        return f"repeat it: {' '.join(f'--layer {part}' for part in names)}" if known else ""

    def first_and_last(self) -> tuple[LayerRef, ...]:
        """The first and the last convolution; of a network without any, the first and the last row with weights.

        The last convolution is the one with the most convolutions in front of it, and of several the last row.
        """
        candidates = [
            layer_ref
            for layer_ref in self.refs.values()
            if layer_ref.row is not None and layer_ref.row.kind in CONVOLUTIONS
        ]
        candidates = candidates or [
            layer_ref for layer_ref in self.refs.values() if layer_ref.row is not None and layer_ref.row.parameters
        ]
        if not candidates:
            return tuple(self.refs.values())[:1]
        front = self._num_convolutions_before()
        last = max(enumerate(candidates), key=lambda each: (front[each[1].name], each[0]))[1]
        return (last,) if last is candidates[0] else (candidates[0], last)

    def as_feature_maps(self, layer_ref: LayerRef, output: Tensor) -> Tensor | None:
        """A layer's output as N×C×H×W: of a vector H = W = 1, of tokens W = 1; None for other shapes."""
        if output.ndim == 4:
            last = layer_ref.row is not None and self.receptive_spans.channels_last(layer_ref.row)
            return output.permute(0, 3, 1, 2) if last else output
        if output.ndim == 3:
            return output.transpose(1, 2)[..., None]
        return output[..., None, None] if output.ndim == 2 else None

    def is_identity_softmax(self, layer_ref: LayerRef) -> bool:
        """Whether it is a table's last softmax, which passes the logits on unchanged."""
        if layer_ref.row is None or layer_ref.row.kind != "softmax" or layer_ref.uses_input:
            return False
        return isinstance(self._modules.get(module_name(layer_ref.name)), nn.Identity)

    def text(self, layer_ref: LayerRef) -> str:
        """The row as a table writes it, or the class of a module that holds rows."""
        if layer_ref.row is None:
            return type(self.network.get_submodule(layer_ref.name)).__name__
        note = " (passes the logits on)" if self.is_identity_softmax(layer_ref) else ""
        return f"{layer_ref.row.text}{note}"

    def num_units(self, layer_ref: LayerRef) -> int | None:
        """The number of a layer's maps, or numbers of a vector or token; None where the table does not say."""
        if layer_ref.row is None or not 1 <= len(layer_ref.row.output) <= 3:
            return None
        first = len(layer_ref.row.output) == 3 and not self.receptive_spans.channels_last(layer_ref.row)
        return layer_ref.row.output[0 if first else -1]

    def receptive_field(self, layer_ref: LayerRef, node: Pair) -> tuple[Pair, Pair] | None:
        """The first and last row, and column, of the image that a node sees, padding included; None for all of it."""
        if layer_ref.row is None:
            return None
        if layer_ref.row.receptive_field is None:
            return self._receptive_field_before_resize(layer_ref.row.name, node)
        span = self.receptive_spans.spans(layer_ref.row.name, node)[-1]
        return span.rows, span.columns

    def _receptive_field_before_resize(self, name: str, node: Pair) -> tuple[Pair, Pair] | None:
        """The receptive field behind a resize by a fraction, which tables can't follow: mapped back from the resized
        image.
        """
        row = self._resized_spans.rows.get(name) if self._resized_spans is not None else None
        if self._resized_spans is None or row is None or row.receptive_field is None:
            return None
        span = self._resized_spans.spans(name, node)[-1]
        assert isinstance(self.network, TransferModel)
        assert self.network.resize is not None
        radius = INTERPOLATION_RADIUS[self.network.resize.mode]
        sizes = zip((span.rows, span.columns), self.shape[1:], self._resized_spans.image[1:], strict=True)
        rows, columns = (_span_before_resize(each, old, new, radius) for each, old, new in sizes)
        return rows, columns

    @cached_property
    def _resized_spans(self) -> SpanTracer | None:
        """Receptive fields on the image as a network with a backbone resizes it; None for other networks."""
        resize = getattr(self.network, "resize", None)
        if not isinstance(self.network, TransferModel) or not isinstance(resize, Resize):
            return None
        shape = (self.shape[0], *resize.size)
        # The same modules without the resize.
        bare = copy(self.network)
        bare._modules = {**self.network._modules, "resize": None}
        return SpanTracer(trace_network(bare, shape), shape)

    @cached_property
    def _modules(self) -> dict[str, nn.Module]:
        return dict(self.network.named_modules(remove_duplicate=False))

    @cached_property
    def _layer_graph(self) -> LayerGraph:
        return LayerGraph(self.layers)

    def _ref_of_row(self, row: LayerRecord) -> LayerRef | None:
        if module_name(row.name) in self._modules and row.name:
            return LayerRef(row.name, row, row.name)
        for name in self._layer_graph.consumers(row.name):
            reader = self._layer_graph.rows[name]
            if reader.inputs == (row.name,) and reader.input == row.output and module_name(name) in self._modules:
                return LayerRef(row.name, row, name, uses_input=True)
        return None

    def _num_convolutions_before(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for name in self.receptive_spans.position:
            row = self.receptive_spans.rows[name]
            is_convolution = int(row.kind in CONVOLUTIONS)
            counts[name] = is_convolution + max((counts[before] for before in row.inputs), default=0)
        return counts


def _span_before_resize(span: Pair, old: int, new: int, radius: float) -> Pair:
    """The first and last pixel of the image that a span of the resized image is interpolated from."""
    scale = old / new
    reach = radius * max(scale, 1.0)
    first, last = ((pixel + 0.5) * scale - 0.5 for pixel in span)
    return ceil(first - reach), floor(last + reach)


@contextmanager
def capture_outputs(
    network: nn.Module, layer_refs: Iterable[LayerRef], hook: Callable[[LayerRef, Tensor], None]
) -> Iterator[None]:
    """Call `hook` with the output of each of these layers during one forward pass, then remove all hooks.

    A hook that keeps the tensor must copy it: the next layer may work in place.
    """
    outputs = {layer_ref.hooked_module: layer_ref for layer_ref in layer_refs if not layer_ref.uses_input}
    inputs = {layer_ref.hooked_module: layer_ref for layer_ref in layer_refs if layer_ref.uses_input}

    def after(name: str, tensor: Tensor) -> None:
        if name in outputs:
            hook(outputs[name], tensor)

    def before(name: str, tensor: Tensor) -> None:
        if name in inputs:
            hook(inputs[name], tensor)

    with forward_hooks(network, {**outputs, **inputs}, after, before):
        yield
