"""Layers of a network by name: where their output can be read, as maps, and what their nodes see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from cnnlab.architecture.layer import Pair
from cnnlab.architecture.layer_graph import LayerGraph
from cnnlab.architecture.layer_table import MAX_LISTED, find_layer_name
from cnnlab.architecture.receptive_field.spans import SpanTracer
from cnnlab.errors import UsageError
from cnnlab.interpret.hooks import forward_hooks, module_name
from cnnlab.records import LayerRecord
from cnnlab.render.formatting import shorten

CONVOLUTIONS = ("conv", "depthwise")
# Rows that make no maps of their own.
POOLS_AND_DROPOUT = ("maxpool", "avgpool", "globalpool", "adaptivepool", "dropout", "dropout2d", "identity")


@dataclass(frozen=True)
class LayerRef:
    """A layer whose output can be read.

    Attributes:
        row: None for a module that holds rows, such as "layer4".
        hooked_module: the module whose hook reads it.
        uses_input: whether the layer's output is the input of that module: of a step that is no module, such as the
            sum in a residual block.
        channels_last: whether its maps are H×W×C, as between two layers of a ConvNeXt.
    """

    name: str
    row: LayerRecord | None
    hooked_module: str
    uses_input: bool = False
    channels_last: bool = False

    @property
    def num_units(self) -> int | None:
        """The number of maps, or numbers of a vector or token; None where the table does not say."""
        if self.row is None or not 1 <= len(self.row.output) <= 3:
            return None
        return self.row.output[0 if len(self.row.output) == 3 and not self.channels_last else -1]

    def as_feature_maps(self, output: Tensor) -> Tensor | None:
        """The layer's output as N×C×H×W: of a vector H = W = 1, of tokens W = 1; None for other shapes."""
        if output.ndim == 4:
            return output.permute(0, 3, 1, 2) if self.channels_last else output
        if output.ndim == 3:
            return output.transpose(1, 2)[..., None]
        return output[..., None, None] if output.ndim == 2 else None


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
        """Find a row, or a module that holds rows, by its name, with or without the 'backbone.' of a recipe's table.

        Args:
            option: the name of the option, for errors.

        Raises:
            UsageError: no such layer, or several; or a step that is neither the input nor the output of a module.
        """
        names = (*self.refs, *self.receptive_spans.rows, *filter(None, self._modules))
        full_name = find_layer_name(name, names, option, listed=self.refs)
        if full_name in self.refs:
            return self.refs[full_name]
        if full_name in self._modules:
            return LayerRef(full_name, None, full_name)
        raise UsageError(
            f"the output of '{full_name}' can't be read: it is no module",
            where=option,
            received=name,
            allowed=shorten(", ".join(self.refs), MAX_LISTED),
            next_step="take a name from the list; 'cnnlab describe' shows the table",
        )

    def first_and_last(self) -> tuple[LayerRef, ...]:
        """The first and the last convolution; of a network without any, the first and the last row with weights.

        The last one is that with the longest path of rows before it.
        """
        rows = [row for row in self.layers if row.name in self.refs]
        candidates = [row.name for row in rows if row.kind in CONVOLUTIONS]
        candidates = candidates or [row.name for row in rows if row.parameters] or [row.name for row in rows[:1]]
        last = max(candidates, key=lambda name: self.receptive_spans.position[name], default="")
        return tuple(self.refs[name] for name in dict.fromkeys((*candidates[:1], last)) if name)

    def last_maps(self) -> LayerRef | None:
        """The last layer that makes C×H×W maps, pools and dropout passed over; None without any."""
        rows = [row for row in self.layers if row.name in self.refs and row.kind != "upsample"]
        rows = [
            row for row in rows if len(row.output) == 3 and min(self.receptive_spans.map_size(row.name) or (1,)) > 1
        ]
        making = [row for row in rows if row.kind not in POOLS_AND_DROPOUT]
        last = max(making or rows, key=lambda row: self.receptive_spans.position[row.name], default=None)
        return None if last is None else self.refs[last.name]

    def text(self, layer_ref: LayerRef) -> str:
        """The row as a table writes it, or the class of a module that holds rows."""
        module = self._modules.get(module_name(layer_ref.name))
        if layer_ref.row is None:
            return type(module).__name__
        # A table's last softmax is left to the loss.
        if layer_ref.row.kind == "softmax" and isinstance(module, nn.Identity):
            return f"{layer_ref.row.text} (passes the logits on)"
        return layer_ref.row.text

    def receptive_field(self, layer_ref: LayerRef, node: Pair) -> tuple[Pair, Pair] | None:
        """The first and last row, and column, of the image that a node sees, padding included.

        Returns:
            None for all of it, and where it is not known: of a module that holds rows, after a resize by a fraction.
        """
        if layer_ref.row is None or layer_ref.row.receptive_field is None:
            return None
        span = self.receptive_spans.spans(layer_ref.row.name, node)[-1]
        return span.rows, span.columns

    @cached_property
    def _modules(self) -> dict[str, nn.Module]:
        return dict(self.network.named_modules(remove_duplicate=False))

    @cached_property
    def _layer_graph(self) -> LayerGraph:
        return LayerGraph(self.layers)

    def _ref_of_row(self, row: LayerRecord) -> LayerRef | None:
        last = self.receptive_spans.channels_last(row)
        if module_name(row.name) in self._modules and row.name:
            return LayerRef(row.name, row, row.name, channels_last=last)
        for name in self._layer_graph.consumers(row.name):
            reader = self._layer_graph.rows[name]
            if reader.inputs == (row.name,) and reader.input == row.output and module_name(name) in self._modules:
                return LayerRef(row.name, row, name, uses_input=True, channels_last=last)
        return None


@contextmanager
def capture_outputs(
    network: nn.Module, layer_refs: Iterable[LayerRef], hook: Callable[[LayerRef, Tensor], Tensor | None]
) -> Iterator[None]:
    """Call `hook` with the output of each of these layers during one forward pass, then remove all hooks.

    A hook that keeps the tensor must copy it, since the next layer may work in place. A tensor that it returns replaces
    the output.
    """
    outputs = {layer_ref.hooked_module: layer_ref for layer_ref in layer_refs if not layer_ref.uses_input}
    inputs = {layer_ref.hooked_module: layer_ref for layer_ref in layer_refs if layer_ref.uses_input}

    def after(name: str, tensor: Tensor) -> Tensor | None:
        return hook(outputs[name], tensor) if name in outputs else None

    def before(name: str, tensor: Tensor) -> Tensor | None:
        return hook(inputs[name], tensor) if name in inputs else None

    with forward_hooks(network, {**outputs, **inputs}, after, before):
        yield
