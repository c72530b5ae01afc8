"""Warnings about a layer table before training.

They are found from records, so that a traced network gets the same warnings as a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

from cnnlab.architecture import layers
from cnnlab.architecture.layer import Layer, SlidingWindow
from cnnlab.architecture.layer_graph import CONTAINER_KINDS, LayerGraph
from cnnlab.architecture.warnings import Finding, WarningChecks
from cnnlab.errors import SpecError
from cnnlab.records import LayerRecord, WarningRecord
from cnnlab.render.formatting import format_names, format_percent, format_shape, pluralize
from cnnlab.theory.output_size import OutputSize

# Few classifiers have more, and few machines can train one that has.
VERY_LARGE_PARAMETERS = 500_000_000
# A dense layer below this size is no burden, whatever its share.
LARGE_DENSE_WEIGHTS = 1_000_000

checks = WarningChecks()
_listed = partial(format_names, max_names=3)


@dataclass(frozen=True)
class _Table:
    """A table with what is known of it; see `table_warnings`."""

    graph: LayerGraph
    classes: int | None
    backbone: bool
    backbone_prefix: str

    def is_backbone_row(self, row: LayerRecord) -> bool:
        """Whether a known network brought a row, where a person wrote the others."""
        return bool(self.backbone_prefix) and row.name.startswith(self.backbone_prefix)


def table_warnings(
    records: Sequence[LayerRecord],
    classes: int | None = None,
    *,
    backbone: bool = False,
    backbone_prefix: str = "",
    disabled: Sequence[str] = (),
) -> list[WarningRecord]:
    """The warnings about a table, at most one of each name; `where` lists the rows that it is about.

    Args:
        records: the rows of a table or of a traced network.
        classes: how many numbers should come out; None: unknown.
        backbone: the network is a known one. What its makers left out on purpose (an activation, a border of
            padding) is not warned of then, and its last softmax is a step of its own.
        backbone_prefix: how the names of those rows begin that a known network brought, where a person wrote the
            others.
        disabled: names of warnings that are not looked for.

    >>> from cnnlab.architecture.layer_table import read_table
    >>> from cnnlab.architecture.trace import trace
    >>> rows = read_table(["flatten", "dense(32)", "dense(10)"], {}, classes=10)
    >>> [(warning.name, warning.where) for warning in table_warnings(trace(rows, (3, 8, 8)).records())]
    [('no-activation', 'dense1 → dense2')]
    """
    return checks.find(_Table(LayerGraph(records), classes, backbone, backbone_prefix), disabled=disabled)


def _windows(graph: LayerGraph) -> Iterator[tuple[LayerRecord, SlidingWindow]]:
    """The rows that slide a window over maps."""
    for record in graph.records:
        layer = graph.layer(record)
        window = layer.window() if layer is not None and len(record.input) == 3 else None
        if window is not None:
            yield record, window


@checks.register("cut-off-rows")
def _cut_off_rows(table: _Table) -> Finding | None:
    """Windows that don't fit; in a known network only those that leave out pixels."""
    cut: list[tuple[bool, LayerRecord, str, str]] = []
    for record, window in _windows(table.graph):
        try:
            sizes = window.output_sizes(record.input)
        except SpecError:
            continue
        if (sizes[0].size, sizes[1].size) != record.output[1:]:
            continue  # a traced layer that rounds up
        left, lost = zip(*(_uncovered(window, sizes[axis], axis) for axis in (0, 1)), strict=True)
        if any(lost) or (any(left) and not table.backbone):
            exact = "×".join(f"{float(size.exact):g}" for size in sizes)
            lines = zip(lost, record.input[1:], ("rows", "columns"), strict=True)
            pixels = " and ".join(f"the last {count} of {size} {name}" for count, size, name in lines if count)
            text = f"{exact} rounds down to {format_shape(record.output[1:])}, and "
            text += f"no window covers {pixels}" if pixels else "only padding is cut off"
            smaller = tuple(size - rest for size, rest in zip(record.input[1:], left, strict=True))
            kernel = tuple(size + rest for size, rest in zip(window.kernel, left, strict=True))
            fits = [f"input {format_shape(smaller)}"] if min(smaller) > 0 else []
            fits += [f"kernel {format_shape(kernel)}"] if window.dilation == (1, 1) else []
            fix = " or ".join(fits) or "a larger input"
            cut.append((not pixels, record, text, f"{record.name} fits exactly with {fix}"))
    if not cut:
        return None
    cut.sort(key=lambda one: one[0])  # what costs pixels first
    texts = [text if len(cut) == 1 else f"{record.name}: {text}" for _, record, text, _ in cut]
    return Finding(
        where=_listed(record.name for _, record, _, _ in cut),
        message=f"the window does not fit: {_listed(texts, separator='; ')}",
        fix=cut[0][3],
    )


def _uncovered(window: SlidingWindow, size: OutputSize, axis: int) -> tuple[int, int]:
    """The rows of the padded input after the last window, and how many of them are pixels."""
    extent = window.dilation[axis] * (window.kernel[axis] - 1) + 1
    # A stride that is longer than the window leaves the same gap between any two windows.
    beyond = max(0, size.unseen - max(0, window.stride[axis] - extent))
    return size.unseen if beyond else 0, max(0, beyond - window.total_padding[axis] // 2)


@checks.register("skipped-rows")
def _skipped_rows(table: _Table) -> Finding | None:
    """Windows that step over pixels of a map that no other row reads: a strided 1×1 shortcut stands beside a body."""
    graph = table.graph
    first_rows = tuple(row.name for row in graph.records if not row.inputs and row.kind not in CONTAINER_KINDS)
    skipping: list[tuple[str, str]] = []
    for record, window in _windows(graph):
        readers = [graph.consumers(name) for name in record.inputs] or [first_rows]
        covered = [_covered_pixels(window, record, axis) for axis in (0, 1)]
        if readers == [(record.name,)] and any(
            pixels and max(pixels) - min(pixels) + 1 > len(pixels) for pixels in covered
        ):
            rows, columns = map(len, covered)
            text = f"{record.name} sees {rows} of {record.input[1]} rows and {columns} of {record.input[2]} columns"
            skipping.append((record.name, text))
    if not skipping:
        return None
    return Finding(
        where=_listed(name for name, _ in skipping),
        message="the stride steps over pixels that no other layer reads: "
        + _listed((text for _, text in skipping), separator="; "),
        fix="make the stride no larger than the kernel, and let it share no factor with a dilation",
    )


def _covered_pixels(window: SlidingWindow, record: LayerRecord, axis: int) -> set[int]:
    size, before = record.input[1 + axis], window.total_padding[axis] // 2
    starts = range(-before, record.output[1 + axis] * window.stride[axis] - before, window.stride[axis])
    taps = range(0, window.kernel[axis] * window.dilation[axis], window.dilation[axis])
    return {start + tap for start in starts for tap in taps if 0 <= start + tap < size}


@checks.register("one-pixel-maps")
def _one_pixel_maps(table: _Table) -> Finding | None:
    graph = table.graph
    rows, worst, wasted = [], (1, 1), 0
    for record in graph.records:
        layer = graph.layer(record)
        if not isinstance(layer, layers.Conv | layers.Depthwise) or record.input[1:] != (1, 1):
            continue
        # At each output position one cell of the kernel at most is on the pixel, at each another one.
        met, cells = prod(record.output[1:]), prod(layer.kernel)
        if met < cells:
            rows.append(record)
            worst = min(worst, (met, cells), key=lambda kernel: kernel[0] / kernel[1])
            wasted += max(map(prod, layer.parameter_shapes(record.input).values())) * (cells - met) // cells
    if not rows:
        return None
    everything = sum(record.parameters for record in graph.records)
    return Finding(
        where=_listed(record.name for record in rows),
        message=f"spatial kernels on 1×1 maps: {worst[1] - worst[0]} of {worst[1]} weights of a kernel only meet "
        f"padding, {wasted:,} weights in all ({format_percent(wasted / everything)} of the network)",
        fix="bring images to the size that the backbone was made for (model.resize), or give it a stem for small ones "
        "(stem='small')"
        if all(table.is_backbone_row(record) for record in rows)
        else "stride or pool less before them, or give larger images (data.size); "
        "a backbone made for larger images needs a stem for small ones",
    )


_LINEAR = (layers.Conv, layers.Depthwise, layers.Dense)
_ALWAYS_AFFINE = (layers.BatchNorm, layers.Dropout, layers.Dropout2d, layers.Flatten, layers.AvgPool, layers.Upsample)


def _is_affine(layer: Layer | None) -> bool:
    """Whether a layer without weights of its own, or a batch norm in eval mode, is a linear map and a shift."""
    if isinstance(layer, layers.GlobalPool | layers.AdaptivePool):
        return layer.how == "mean"
    return isinstance(layer, _ALWAYS_AFFINE)


@checks.register("no-activation")
def _no_activation(table: _Table) -> Finding | None:
    """A residual's sum ends the search: what its two paths add is more than one layer could do.

    Nor are two layers equivalent to one where something else reads the first. Within a known network it is its makers'
    choice.
    """
    graph = table.graph
    if table.backbone and not table.backbone_prefix:
        return None

    def affine(row: LayerRecord) -> bool:
        return _is_affine(graph.layer(row))

    pairs = [
        f"{first.name} → {second.name}"
        for second in graph.records
        if isinstance(graph.layer(second), _LINEAR) and not table.is_backbone_row(second)
        for first in graph.predecessors(second, affine)
        if isinstance(graph.layer(first), _LINEAR)
        and all(isinstance(graph.layer(row), _LINEAR) for row in graph.successors(first, affine))
        and not _is_factorised_pair(graph, first, second)
    ]
    if not pairs:
        return None
    return Finding(
        where=_listed(pairs),
        message="without a nonlinear step between them, two linear layers are equivalent to one",
        fix="put an activation such as relu between them, or remove one of the two",
    )


def _is_factorised_pair(graph: LayerGraph, first: LayerRecord, second: LayerRecord) -> bool:
    """Whether a pair is a known way to write one convolution in fewer weights.

    Depthwise with pointwise (F. Chollet, 2017), a column with a row (C. Szegedy et al., 2016), and a narrow pointwise
    layer between wider ones (M. Sandler et al., 2018: linear bottlenecks).
    """
    one, two = graph.layer(first), graph.layer(second)
    if isinstance(one, layers.Dense) or isinstance(two, layers.Dense) or one is None or two is None:
        return False
    assert isinstance(one, layers.Conv | layers.Depthwise)
    assert isinstance(two, layers.Conv | layers.Depthwise)
    pointwise = [layer.kernel == (1, 1) for layer in (one, two)]
    by_channel = [isinstance(layer, layers.Depthwise) or layer.groups > 1 for layer in (one, two)]
    if (by_channel[0] and pointwise[1]) or (pointwise[0] and by_channel[1]):
        return True
    if {tuple(side == 1 for side in layer.kernel) for layer in (one, two)} == {(True, False), (False, True)}:
        return True
    return all(pointwise) and first.output[0] < min(first.input[0], second.output[0])


@checks.register("softmax-before-loss")
def _softmax_before_loss(table: _Table) -> Finding | None:
    """A table's last softmax only says what the output means; those within a backbone are its attention."""
    graph = table.graph

    def is_step(record: LayerRecord) -> bool:
        if table.backbone and record.name.startswith(table.backbone_prefix):
            return not any(graph.successors(record, lambda row: _is_affine(graph.layer(row))))
        return bool(graph.consumers(record.name))

    rows = [record for record in graph.records if record.kind == "softmax" and is_step(record)]
    if not rows:
        return None
    return Finding(
        where=_listed(record.name for record in rows),
        message="the layers after it, or the loss, get numbers between 0 and 1; the loss takes logits and computes a "
        "softmax itself",
        fix="remove it, or make it the table's last row, where it only says what the output means",
    )


def _preserves_channel_shift(layer: Layer | None) -> bool:
    """Whether adding a number to a channel adds it to that channel of the output."""
    if isinstance(layer, layers.AvgPool):
        return layer.padding == (0, 0)
    return isinstance(
        layer, layers.MaxPool | layers.GlobalPool | layers.AdaptivePool | layers.Upsample | layers.Flatten
    )


@checks.register("bias-before-batchnorm")
def _bias_before_batchnorm(table: _Table) -> Finding | None:
    graph = table.graph
    rows = []
    for record in graph.records:
        layer = graph.layer(record)
        if isinstance(layer, _LINEAR) and layer.bias and not table.is_backbone_row(record):
            readers = list(graph.successors(record, lambda row: _preserves_channel_shift(graph.layer(row))))
            if readers and all(reader.kind == "batchnorm" for reader in readers):
                rows.append(record)
    if not rows:
        return None
    idle = sum(record.output[0] for record in rows)
    return Finding(
        where=_listed(record.name for record in rows),
        message="the batch norm after it subtracts the bias with the mean: "
        f"{pluralize(idle, 'bias has', 'biases have')} no effect",
        fix="write bias=false",
    )


@checks.register("dropout-before-batchnorm")
def _dropout_before_batchnorm(table: _Table) -> Finding | None:
    graph = table.graph
    pairs = []
    for record in graph.records:
        if record.kind != "batchnorm":
            continue
        for other in graph.predecessors(record, lambda row: row.kind == "flatten"):
            layer = graph.layer(other)
            if isinstance(layer, layers.Dropout | layers.Dropout2d) and layer.rate > 0:
                pairs.append((other.name, record.name, layer.rate))
    if not pairs:
        return None
    # E[x²] grows by 1/(1 - rate) while dropout works; batch norm keeps that, and it is too large in evaluation.
    rate = max(rate for _, _, rate in pairs)
    return Finding(
        where=_listed(f"{dropout} → {batchnorm}" for dropout, batchnorm, _ in pairs),
        message=f"dropout of {rate:g} makes the mean square {1 / (1 - rate):.2f} times as large in training only, and "
        "batch norm keeps those statistics for evaluation (Li et al., 2018)",
        fix="put the dropout after the last batch norm",
    )


@checks.register("one-dense-layer")
def _one_dense_layer(table: _Table) -> Finding | None:
    graph = table.graph
    dense = [record for record in graph.records if isinstance(graph.layer(record), layers.Dense)]
    if not dense or not any(
        isinstance(graph.layer(record), layers.Conv | layers.Depthwise) for record in graph.records
    ):
        return None
    largest, everything = max(dense, key=lambda record: record.parameters), sum(r.parameters for r in graph.records)
    if largest.parameters < LARGE_DENSE_WEIGHTS or 2 * largest.parameters <= everything:
        return None
    before = graph.predecessors(largest, lambda row: row.kind in ("flatten", "dropout"))
    pooled = all(prod(row.output[1:]) == 1 for row in before)  # then there is nothing left to pool
    return Finding(
        where=largest.name,
        message=f"{largest.parameters:,} of {everything:,} parameters "
        f"({format_percent(largest.parameters / everything)}) are in this dense layer, which has "
        f"{largest.input[0]:,} inputs",
        fix="cut the backbone before it (model.cut)"
        if table.is_backbone_row(largest)
        else "give it fewer units, or fewer channels before it"
        if pooled
        else "put 'globalpool' before it, pool once more, or give it fewer units",
    )


@checks.register("width-not-classes")
def _width_not_classes(table: _Table) -> Finding | None:
    graph = table.graph
    ends = [record for record in graph.records if not graph.consumers(record.name)]
    if table.classes is None or not ends or ends[-1].output == (table.classes,):
        return None
    return Finding(
        where=ends[-1].name,
        message=f"the output has {pluralize(prod(ends[-1].output), 'number')}, but there are {table.classes} classes",
        fix="end with 'dense(classes)'; a backbone needs a new head",
    )


@checks.register("very-large")
def _very_large(table: _Table) -> Finding | None:
    graph = table.graph
    everything = sum(record.parameters for record in graph.records)
    if everything < VERY_LARGE_PARAMETERS:
        return None
    largest = max(graph.records, key=lambda record: record.parameters)
    # Weights, gradients and two moments of Adam, four bytes each; what the images take comes on top.
    needed = everything * 16 / 2**30
    return Finding(
        where=largest.name,
        message=f"the network has {everything:,} parameters, {format_percent(largest.parameters / everything)} of them "
        f"here: with adam they take {needed:,.0f} GiB before the first image",
        fix="make this layer narrower, or its input smaller",
    )
