"""Warnings about a layer table before training, and the names by which all warnings are switched off.

They are found from records, so that a traced network gets the same warnings as a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod

from cnnlab.architecture import layers
from cnnlab.architecture.layer import Layer, format_shape
from cnnlab.architecture.layer_graph import LayerGraph
from cnnlab.architecture.size_checks import cut_off_warning, skipped_rows_warning
from cnnlab.errors import Problem, SpecError, comma_separated, did_you_mean
from cnnlab.records import LayerRecord, WarningRecord
from cnnlab.render.formatting import format_percent, pluralize

# Each name with what it warns of. They come from the table, from the recipe, and from the images, in this order.
WARNINGS: Mapping[str, str] = {
    "one-pixel-maps": "a spatial convolution works on 1×1 maps, where most of its weights only ever meet padding",
    "cut-off-rows": "a window does not fit, and its stride leaves rows or columns at the border unseen",
    "skipped-rows": "a stride steps over rows or columns that nothing else looks at",
    "no-activation": "two linear layers follow one another without a nonlinear step, and are worth one",
    "softmax-before-loss": "a softmax stands in front of other layers, or of a loss that takes logits",
    "bias-before-batchnorm": "a bias goes straight into batch normalisation, which takes it out again",
    "dropout-before-batchnorm": "dropout stands straight before batch normalisation, whose statistics it shifts",
    "one-dense-layer": "one dense layer holds most of a convolutional network's parameters",
    "width-not-classes": "the network gives another number of outputs than there are classes",
    "very-large": "few machines can train a network of this size",
    "batchnorm-single-image": "batch normalisation works on batches of one image",
    "frozen-at-random": "a backbone begins with random weights, and some of them never train",
    "learning-rate": "the learning rate is far from what is usual for the optimizer",
    "label-changing-augmentation": "an augmentation can turn an image of one class into one of another",
    "class-imbalance": "the training part has many images of one class and few of another",
    "normalization-mismatch": "the given mean and standard deviation do not match the training images",
    "leak": "the same image is in two parts",
    "initial-loss": "the loss before the first step is far from that of guessing",
}


def check_warning_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each of which must be a warning's.

    Raises:
        SpecError: every name that is none; says the nearest.
    """
    wrong = [
        Problem(f"unknown warning '{name}'", f"[{index}]", "", comma_separated(WARNINGS), did_you_mean(name, WARNINGS))
        for index, name in enumerate(names)
        if name not in WARNINGS
    ]
    if wrong:
        raise SpecError.from_problems(wrong)
    return tuple(names)


def filter_disabled(warnings: Iterable[WarningRecord], disabled: Sequence[str]) -> tuple[WarningRecord, ...]:
    """The warnings but those whose names are switched off."""
    return tuple(warning for warning in warnings if warning.name not in disabled)


def format_warning(warning: WarningRecord) -> str:
    """One line: the name, where it is, the reason with its numbers, and what to do.

    >>> record = WarningRecord(name="learning-rate", where="train.optimizer", message="far too high", fix="lower it")
    >>> format_warning(record)
    'learning-rate (train.optimizer): far too high; lower it'
    """
    where = f" ({warning.where})" if warning.where else ""
    return f"{warning.name}{where}: {warning.message}" + (f"; {warning.fix}" if warning.fix else "")


# Few classifiers have more, and few machines can train one that has.
VERY_LARGE_PARAMETERS = 500_000_000
# A dense layer below this size is no burden, whatever its share.
LARGE_DENSE_WEIGHTS = 1_000_000
MAX_LISTED = 3


def table_warnings(
    records: Sequence[LayerRecord], classes: int | None = None, *, backbone: bool = False, backbone_prefix: str = ""
) -> list[WarningRecord]:
    """What deserves a look, one warning a name; the rows that it is about are gathered in `where`.

    Args:
        records: the rows of a table or of a traced network.
        classes: how many numbers should come out; None: nobody knows.
        backbone: the network is a known one. What its makers left out on purpose (an activation, a border of
            padding) is no news then, and its last softmax is a step of its own.
        backbone_prefix: how the names of those rows begin that a known network brought, where a person wrote the
            others.

    >>> from cnnlab.architecture.layer_table import read_table
    >>> from cnnlab.architecture.trace import trace
    >>> rows = read_table(["flatten", "dense(32)", "dense(10)"], {}, classes=10)
    >>> [(warning.name, warning.where) for warning in table_warnings(trace(rows, (3, 8, 8)).records())]
    [('no-activation', 'dense1 → dense2')]
    """
    graph = LayerGraph(records)
    found = [
        _one_pixel_maps(graph, backbone_prefix),
        cut_off_warning(graph, include_padding=not backbone),
        skipped_rows_warning(graph),
        None if backbone and not backbone_prefix else _no_activation(graph, backbone_prefix),
        _softmax_before_loss(graph, backbone, backbone_prefix),
        _bias_before_batchnorm(graph, backbone_prefix),
        _dropout_before_batchnorm(graph),
        _one_dense_layer(graph, backbone_prefix),
        _width_not_classes(graph, classes),
        _very_large(graph),
    ]
    return [warning for warning in found if warning is not None]


def abbreviated_names(names: Iterable[str]) -> str:
    """Names with their rest counted: `conv1, conv2, conv3 and 5 more`."""
    known = list(names)
    more = f" and {len(known) - MAX_LISTED} more" if len(known) > MAX_LISTED else ""
    return ", ".join(known[:MAX_LISTED]) + more


def _is_backbone_row(row: LayerRecord, backbone_prefix: str) -> bool:
    return bool(backbone_prefix) and row.name.startswith(backbone_prefix)


def _one_pixel_maps(graph: LayerGraph, backbone_prefix: str) -> WarningRecord | None:
    rows, kernels, wasted = [], [], 0
    for record in graph.records:
        layer = graph.layer(record)
        if not isinstance(layer, layers.Conv | layers.Depthwise) or record.input[1:] != (1, 1):
            continue
        met, cells = _used_kernel_cells(layer, record), prod(layer.kernel)
        if met < cells:
            rows.append(record)
            kernels.append((met, cells))
            # The kernel's cells share the weights evenly.
            wasted += _weights(layer, record) * (cells - met) // cells
    if not rows:
        return None
    met, cells = min(kernels, key=lambda kernel: kernel[0] / kernel[1])
    everything = sum(record.parameters for record in graph.records)
    views = [record.receptive_field for record in rows if record.receptive_field is not None]
    image = next((record.input for record in graph.records if not record.inputs), ())
    seen = (
        f"; a node there sees up to {format_shape(max(views))} pixels of a {format_shape(image[1:])} image"
        if views
        else ""
    )
    return WarningRecord(
        name="one-pixel-maps",
        where=abbreviated_names(record.name for record in rows),
        message=f"spatial kernels on 1×1 maps: {cells - met} of {cells} weights of a kernel only ever meet padding, "
        f"{wasted:,} weights in all ({format_percent(wasted / everything)} of the network){seen}",
        fix="bring images to the size that the backbone was made for (model.resize), or give it a stem for small ones "
        "(stem='small')"
        if all(_is_backbone_row(record, backbone_prefix) for record in rows)
        else "stride or pool less in front of them, or give larger images (data.size); "
        "a backbone made for larger images needs a stem for small ones",
    )


def _used_kernel_cells(layer: layers.Conv | layers.Depthwise, record: LayerRecord) -> int:
    """How many cells of the kernel ever lie on the one pixel."""
    window = layer.window()
    met = 1
    for axis in (0, 1):
        before = window.total_padding[axis] // 2
        starts = [place * window.stride[axis] - before for place in range(record.output[1 + axis])]
        cells = [window.dilation[axis] * cell for cell in range(window.kernel[axis])]
        met *= sum(any(start + cell == 0 for start in starts) for cell in cells)
    return met


def _weights(layer: Layer, record: LayerRecord) -> int:
    return max(map(prod, layer.parameter_shapes(record.input).values()))


_LINEAR = (layers.Conv, layers.Depthwise, layers.Dense)
_ALWAYS_AFFINE = (layers.BatchNorm, layers.Dropout, layers.Dropout2d, layers.Flatten, layers.AvgPool, layers.Upsample)


def _is_affine(layer: Layer | None) -> bool:
    """Whether a layer without weights of its own, or a batch norm in eval mode, is a linear map and a shift."""
    if isinstance(layer, layers.GlobalPool | layers.AdaptivePool):
        return layer.how == "mean"
    return isinstance(layer, _ALWAYS_AFFINE)


def _no_activation(graph: LayerGraph, backbone_prefix: str) -> WarningRecord | None:
    """A residual's sum ends the search: what its two paths add is more than one layer could do.

    A first row that something else reads, too, is worth more than a part of the second. Within a known network it is
    its makers' choice.
    """

    def affine(row: LayerRecord) -> bool:
        return _is_affine(graph.layer(row))

    pairs = [
        f"{first.name} → {second.name}"
        for second in graph.records
        if isinstance(graph.layer(second), _LINEAR) and not _is_backbone_row(second, backbone_prefix)
        for first in graph.predecessors(second, affine)
        if isinstance(graph.layer(first), _LINEAR)
        and all(isinstance(graph.layer(row), _LINEAR) for row in graph.successors(first, affine))
        and not _is_factorised_pair(graph, first, second)
    ]
    if not pairs:
        return None
    return WarningRecord(
        name="no-activation",
        where=abbreviated_names(pairs),
        message="nothing nonlinear lies between "
        + ("these two linear layers, which are" if len(pairs) == 1 else "these pairs of linear layers, each")
        + " worth one",
        fix="put an activation such as relu between them, or take one of the two out",
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


def _softmax_before_loss(graph: LayerGraph, backbone: bool, backbone_prefix: str) -> WarningRecord | None:
    """A table's last softmax is the output's meaning and no step; a backbone's inner ones are its attention."""

    def is_step(record: LayerRecord) -> bool:
        if backbone and record.name.startswith(backbone_prefix):
            return graph.reaches_output(record, lambda row: _is_affine(graph.layer(row)))
        return graph.has_consumers(record)

    rows = [record for record in graph.records if record.kind == "softmax" and is_step(record)]
    if not rows:
        return None
    return WarningRecord(
        name="softmax-before-loss",
        where=abbreviated_names(record.name for record in rows),
        message="its outputs lie between 0 and 1, and so do those that the layers behind it see; "
        "the loss takes logits and does a softmax of its own",
        fix="take it out, or make it the table's last row, where it only says what the output means",
    )


def _preserves_channel_shift(layer: Layer | None) -> bool:
    """Whether a number added to each place of a channel comes out as added to each place of it."""
    if isinstance(layer, layers.AvgPool):
        return layer.padding == (0, 0)
    return isinstance(
        layer, layers.MaxPool | layers.GlobalPool | layers.AdaptivePool | layers.Upsample | layers.Flatten
    )


def _bias_before_batchnorm(graph: LayerGraph, backbone_prefix: str) -> WarningRecord | None:
    rows = []
    for record in graph.records:
        layer = graph.layer(record)
        if isinstance(layer, _LINEAR) and layer.bias and not _is_backbone_row(record, backbone_prefix):
            readers = list(graph.successors(record, lambda row: _preserves_channel_shift(graph.layer(row))))
            if readers and all(reader.kind == "batchnorm" for reader in readers):
                rows.append(record)
    if not rows:
        return None
    idle = sum(record.output[0] for record in rows)
    return WarningRecord(
        name="bias-before-batchnorm",
        where=abbreviated_names(record.name for record in rows),
        message=f"the batch norm behind it takes its mean away again: {pluralize(idle, 'bias', 'biases')} "
        "never learn anything",
        fix="write bias=false",
    )


def _dropout_before_batchnorm(graph: LayerGraph) -> WarningRecord | None:
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
    return WarningRecord(
        name="dropout-before-batchnorm",
        where=abbreviated_names(f"{dropout} → {batchnorm}" for dropout, batchnorm, _ in pairs),
        message=f"dropout of {rate:g} makes the mean square {1 / (1 - rate):.2f} times as large in training only, and "
        "batch norm keeps those statistics for evaluation (Li et al., 2018)",
        fix="put the dropout behind the batch norm, or behind the last one",
    )


_PASS_THROUGH_KINDS = ("flatten", "dropout")


def _one_dense_layer(graph: LayerGraph, backbone_prefix: str) -> WarningRecord | None:
    dense = [record for record in graph.records if isinstance(graph.layer(record), layers.Dense)]
    if not dense or not any(
        isinstance(graph.layer(record), layers.Conv | layers.Depthwise) for record in graph.records
    ):
        return None
    largest, everything = max(dense, key=lambda record: record.parameters), sum(r.parameters for r in graph.records)
    if largest.parameters < LARGE_DENSE_WEIGHTS or 2 * largest.parameters <= everything:
        return None
    # Behind one number a channel there is nothing left to pool.
    pooled = all(
        prod(row.output[1:]) == 1 for row in graph.predecessors(largest, lambda row: row.kind in _PASS_THROUGH_KINDS)
    )
    return WarningRecord(
        name="one-dense-layer",
        where=largest.name,
        message=f"{largest.parameters:,} of {everything:,} parameters "
        f"({format_percent(largest.parameters / everything)}) are in this dense layer, which sees "
        f"{largest.input[0]:,} numbers",
        fix="cut the backbone in front of it (model.cut)"
        if _is_backbone_row(largest, backbone_prefix)
        else "give it fewer units, or fewer channels in front of it"
        if pooled
        else "put 'globalpool' in front of it, pool once more, or give it fewer units",
    )


def _width_not_classes(graph: LayerGraph, classes: int | None) -> WarningRecord | None:
    ends = [record for record in graph.records if not graph.has_consumers(record)]
    if classes is None or not ends or ends[-1].output == (classes,):
        return None
    return WarningRecord(
        name="width-not-classes",
        where=ends[-1].name,
        message=f"{pluralize(prod(ends[-1].output), 'number')} come out, but there are {classes} classes",
        fix="end with 'dense(classes)'; a backbone needs a new head",
    )


def _very_large(graph: LayerGraph) -> WarningRecord | None:
    everything = sum(record.parameters for record in graph.records)
    if everything < VERY_LARGE_PARAMETERS:
        return None
    largest = max(graph.records, key=lambda record: record.parameters)
    # Weights, gradients and two moments of Adam, four bytes each; what the images take comes on top.
    needed = everything * 16 / 2**30
    return WarningRecord(
        name="very-large",
        where=largest.name,
        message=f"the network has {everything:,} parameters, {format_percent(largest.parameters / everything)} of them "
        f"here: with adam they take {needed:,.0f} GiB before the first image",
        fix="make this layer narrower, or what it gets smaller",
    )
