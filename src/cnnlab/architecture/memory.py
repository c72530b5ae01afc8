"""What a network takes of memory: weights, gradients, the optimizer's state, and what is kept for the backward pass.

The rule is what torch's autograd keeps in 32-bit floats on the CPU, counted once for each storage:

- a row keeps what its derivative is written in: a convolution, dense or normalising row, a pool and most activations
  their input; relu, tanh, sigmoid and softmax their output; upsampling, a mean and a sum nothing;
- a max pool keeps, beside its input, the place of each maximum (8 bytes); dropout a number for each number (on CUDA a
  byte), dropout2d one for each channel; the norms the means and deviations they divided by;
- what one row gives and the next one takes is one storage, so relu's output is not counted again as a convolution's
  input; flatten only looks at its input in another shape;
- before the first row that learns nothing is kept, since nothing there needs a gradient; behind it a frozen dense row
  keeps nothing and a frozen batch norm its input alone, since their weights need none and the norm takes no means.

Not counted: the working space of single operations, batch normalisation's running statistics, the loss. In a traced
network an operation that no rule knows keeps its inputs, and what lies inside an attention is not counted: for most
convolutional networks the sum is autograd's to the byte; for ViT-B/16 it is a quarter too small, for Swin-T and
MaxViT-T up to a tenth too large, and GoogLeNet's auxiliary classifiers, which run in training only, are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from cnnlab.architecture import layers as architecture_layers
from cnnlab.architecture.layer import Layer
from cnnlab.architecture.layer_graph import execution_order, is_inside, layer_from_record, layer_from_text
from cnnlab.records import LayerRecord, Record

FLOAT_BYTES = 4
INDEX_BYTES = 8
INPUT_NAME = ""  # the batch itself, among the names of rows


class MemoryRecord(Record):
    """Bytes in 32-bit floats.

    `activations` is what is kept for the backward pass, and `layers` what each row adds to it; `passing` is what is
    alive beside it at the fullest moment of either pass: outputs that nobody keeps, gradients on their way. `total` is
    the sum; `prediction` the weights and the most that is alive at once when nothing is kept.
    """

    batch_size: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    passing: int
    total: int
    prediction: int
    layers: dict[str, int]


def estimate_memory(
    layers: Sequence[LayerRecord],
    parameters: int,
    batch_size: int,
    state_per_parameter: int,
    trainable: int | None = None,
) -> MemoryRecord:
    """The memory of training and of prediction.

    Args:
        layers: the rows, each with the names of those in front of it.
        parameters: the network's learned numbers.
        batch_size: images at a time, 1 or more.
        state_per_parameter: numbers that the optimizer keeps for each parameter (`state_per_parameter` of an optimizer
            choice).
        trainable: how many of the parameters train; None: all.
    """
    trained = parameters if trainable is None else trainable
    kept = _saved_bytes(layers, batch_size)
    weights, gradients, activations = FLOAT_BYTES * parameters, FLOAT_BYTES * trained, sum(kept.values())
    passing = max(0, _peak_training_bytes(layers, kept, batch_size) - activations)
    return MemoryRecord(
        batch_size=batch_size,
        weights=weights,
        gradients=gradients,
        optimizer=state_per_parameter * gradients,
        activations=activations,
        passing=passing,
        total=weights + (1 + state_per_parameter) * gradients + activations + passing,
        prediction=weights + batch_size * _peak_inference_bytes(layers),
        layers=kept,
    )


@dataclass(frozen=True)
class _SavedTensors:
    """What a row keeps: its input, its output, and numbers of its own, for each image and for all together.

    `bytes_for_input_grad` bytes are kept only where the input needs a gradient.
    """

    input: bool = False
    output: bool = False
    bytes_per_image: int = 0
    bytes: int = 0
    bytes_for_input_grad: int = 0


@dataclass
class _Storages:
    """Which storage each row's output lies in, and how many numbers of one image each holds."""

    storage: dict[str, str] = field(default_factory=dict)
    size: dict[str, int] = field(default_factory=dict)

    def inputs(self, row: LayerRecord) -> list[str]:
        """The storages that go in, each once."""
        return list(dict.fromkeys(self.storage[name] for name in row.inputs or (INPUT_NAME,)))


def _saved_bytes(layers: Sequence[LayerRecord], batch_size: int) -> dict[str, int]:
    """Bytes that each row keeps and no row in front of it does."""
    rows = execution_order(layers)
    storages = _storages(rows, training=True)
    learning: set[str] = set()
    held: set[str] = set()
    found: dict[str, int] = {}
    for row in rows:
        found[row.name] = 0
        behind = not learning.isdisjoint(row.inputs)  # something in front of it learns, and needs its gradient
        if (not row.parameters or row.frozen) and not behind:
            continue
        learning.add(row.name)
        layer = layer_from_record(row)
        keeps = _SavedTensors() if row is rows[-1] and row.kind == "softmax" else _saved_tensors(row, layer)
        touched = [
            *(storages.inputs(row) if keeps.input else ()),
            *([storages.storage[row.name]] if keeps.output else ()),
        ]
        new = [name for name in dict.fromkeys(touched) if name not in held]
        held.update(new)
        per_image = FLOAT_BYTES * sum(storages.size[name] for name in new) + keeps.bytes_per_image
        found[row.name] = batch_size * per_image + keeps.bytes + (keeps.bytes_for_input_grad if behind else 0)
    return {row.name: found[row.name] for row in layers}


def _peak_inference_bytes(layers: Sequence[LayerRecord]) -> int:
    """The most bytes of one image that are alive at once in prediction; the image itself is alive to the end."""
    rows = execution_order(layers)
    storages = _storages(rows, training=False)
    whole = FLOAT_BYTES * storages.size[INPUT_NAME]
    steps = zip(rows, _live_storages(rows, storages), strict=True)
    return max(
        whole,
        *(FLOAT_BYTES * sum(storages.size[name] for name in alive) + _workspace_bytes(row) for row, alive in steps),
    )


def _peak_training_bytes(layers: Sequence[LayerRecord], saved: Mapping[str, int], batch_size: int) -> int:
    """The most bytes that a training step holds at once beside weights, their gradients and the optimizer's state.

    Going forward, what is kept so far and the outputs that are still to be read; going backward, what the rows in
    front still keep and the gradients of a row's output and inputs.
    """
    rows = execution_order(layers)
    storages = _storages(rows, training=True)
    number = FLOAT_BYTES * batch_size
    held: set[str] = set()
    most = so_far = 0
    for row, alive in zip(rows, _live_storages(rows, storages), strict=True):
        so_far += saved[row.name]
        if saved[row.name]:
            rule = _saved_tensors(row, layer_from_record(row))
            held.update(storages.inputs(row) if rule.input else ())
            held.update([storages.storage[row.name]] if rule.output else ())
        forward = sum(storages.size[name] for name in alive - held)
        gradients = {storages.storage[row.name], *storages.inputs(row)} - {INPUT_NAME}
        backward = sum(storages.size[name] for name in gradients) if saved[row.name] else 0
        beside = 0 if saved[row.name] else batch_size * _workspace_bytes(row)
        most = max(most, so_far + number * forward + beside, so_far + number * backward)
    return most


def _live_storages(rows: Sequence[LayerRecord], storages: _Storages) -> Iterator[set[str]]:
    """For each row the storages that are alive while it is computed; the image's is to the end."""
    done = {row.name: place for place, row in enumerate(rows)}
    last = dict.fromkeys(storages.size, 0)
    for place, row in enumerate(rows):
        # What goes into a row with rows inside is alive until that row is done.
        ends = [place, *(done[outer] for outer in _outer_names(row.name) if outer in done)]
        for name in (*storages.inputs(row), storages.storage[row.name]):
            last[name] = max(last[name], *(end for end in ends if end == place or not is_inside(name, rows[end].name)))
    alive = {INPUT_NAME}
    for place, row in enumerate(rows):
        alive.add(storages.storage[row.name])
        yield set(alive)
        alive -= {name for name in alive if name != INPUT_NAME and last[name] <= place}


def _outer_names(name: str) -> list[str]:
    pieces = name.split(".")
    return [".".join(pieces[:size]) for size in range(1, len(pieces))]


def _workspace_bytes(row: LayerRecord) -> int:
    """Bytes of one image that a row makes beside its output: a padded copy, the places of maxima."""
    return (
        0
        if row.kind.startswith(("dropout", "residual"))
        else _saved_tensors(row, layer_from_record(row)).bytes_per_image
    )


def _storages(rows: Sequence[LayerRecord], *, training: bool) -> _Storages:
    storages = _Storages({INPUT_NAME: INPUT_NAME}, {INPUT_NAME: prod(rows[0].input)})
    for row in rows:
        logits = row is rows[-1] and row.kind == "softmax"  # it says what they mean; the loss works on them
        same = logits or _is_in_place(row, training)
        storages.storage[row.name] = storages.inputs(row)[0] if same else row.name
        storages.size.setdefault(storages.storage[row.name], prod(row.output))
    return storages


def _is_in_place(row: LayerRecord, training: bool) -> bool:
    layer = layer_from_record(row)
    idle = isinstance(layer, architecture_layers.Dropout | architecture_layers.Dropout2d) and not (
        training and layer.rate
    )
    return row.kind in _VIEW_KINDS or idle


def _saved_tensors(row: LayerRecord, layer: Layer | None) -> _SavedTensors:
    rule = _RULES.get(row.kind, _SAVES_INPUT)
    return rule if isinstance(rule, _SavedTensors) else rule(row, layer)


def _weighted(row: LayerRecord, layer: Any) -> _SavedTensors:
    """Its input, or the padded copy of it; with weight normalisation the lengths and the weight that it made, too."""
    lengths = weight = 0
    if getattr(layer, "weightnorm", False):
        lengths = FLOAT_BYTES * row.output[0]
        weight = FLOAT_BYTES * row.parameters - lengths * (2 if layer.bias else 1)
    padded = _padded_size(row, layer)
    if row.frozen:
        lengths = 0
    if row.kind == "dense":  # a convolution keeps its input and its weight in any case
        return _SavedTensors(input=not row.frozen, bytes=lengths, bytes_for_input_grad=weight)
    return _SavedTensors(input=not padded, bytes_per_image=FLOAT_BYTES * padded, bytes=lengths + weight)


def _padded_size(row: LayerRecord, layer: Any) -> int:
    """Numbers of the padded copy that padding='same' makes of an image; 0 without."""
    if layer is None or getattr(layer, "padding", None) != "same":
        return 0
    high, wide = layer.window().total_padding
    return row.input[0] * (row.input[1] + int(high)) * (row.input[2] + int(wide))


def _max_pool(row: LayerRecord, _layer: Any) -> _SavedTensors:
    return _SavedTensors(input=True, bytes_per_image=INDEX_BYTES * prod(row.output))


def _global_pool(_row: LayerRecord, layer: Any) -> _SavedTensors:
    return _SAVES_BOTH if layer is not None and layer.how == "max" else _SAVES_NOTHING


def _adaptive_pool(row: LayerRecord, layer: Any) -> _SavedTensors:
    if layer is not None and layer.how == "max":
        return _max_pool(row, layer)
    return _SAVES_NOTHING if row.output[1:] == (1, 1) else _SAVES_INPUT  # torch takes a plain mean there


def _batch_norm(row: LayerRecord, _layer: Any) -> _SavedTensors:
    return _SavedTensors(input=True, bytes=0 if row.frozen else 2 * FLOAT_BYTES * row.input[0])


def _layer_norm(_row: LayerRecord, _layer: Any) -> _SavedTensors:
    return _SavedTensors(input=True, bytes_per_image=2 * FLOAT_BYTES)


def _group_norm(_row: LayerRecord, layer: Any) -> _SavedTensors:
    return _SavedTensors(input=True, bytes_per_image=2 * FLOAT_BYTES * (layer.groups if layer is not None else 1))


def _response_norm(row: LayerRecord, layer: Any) -> _SavedTensors:
    """Its input, the squares with channels of zeros on either side, what they are raised from and what comes of it."""
    size = layer.size if layer is not None else 1
    squares = (row.input[0] + size - 1) * prod(row.input[1:])
    return _SavedTensors(input=True, bytes_per_image=FLOAT_BYTES * (squares + 2 * prod(row.input)))


def _dropout(row: LayerRecord, layer: Any) -> _SavedTensors:
    rate = layer.rate if layer is not None else 0.0
    return _SavedTensors(bytes_per_image=FLOAT_BYTES * prod(row.output) if rate else 0)


def _dropout2d(row: LayerRecord, layer: Any) -> _SavedTensors:
    return _SavedTensors(bytes_per_image=FLOAT_BYTES * row.output[0] if layer is not None and layer.rate else 0)


def _residual(row: LayerRecord, _layer: Any) -> _SavedTensors:
    """With stochastic depth a number for each image."""
    layer = layer_from_text(row.text)
    return _SavedTensors(
        bytes_per_image=FLOAT_BYTES if isinstance(layer, architecture_layers.Residual) and layer.drop else 0
    )


_SAVES_NOTHING, _SAVES_INPUT, _SAVES_OUTPUT = _SavedTensors(), _SavedTensors(input=True), _SavedTensors(output=True)
_SAVES_BOTH = _SavedTensors(input=True, output=True)
# What only looks at its input in another shape or order, and gives no numbers of its own.
_VIEW_KINDS = frozenset(
    {"flatten", "repeat", "permute", "transpose", "reshape", "view", "unflatten", "squeeze", "identity"}
)
_RULES: dict[str, _SavedTensors | Callable[[LayerRecord, Any], _SavedTensors]] = {
    "conv": _weighted,
    "depthwise": _weighted,
    "dense": _weighted,
    "maxpool": _max_pool,
    "globalpool": _global_pool,
    "adaptivepool": _adaptive_pool,
    "batchnorm": _batch_norm,
    "layernorm": _layer_norm,
    "groupnorm": _group_norm,
    "lrn": _response_norm,
    "dropout": _dropout,
    "dropout2d": _dropout2d,
    **dict.fromkeys(("relu", "tanh", "sigmoid", "softmax"), _SAVES_OUTPUT),
    "residual": _residual,
    **dict.fromkeys(("upsample", "add", "concatenate", "pad", "split", "mean", *_VIEW_KINDS), _SAVES_NOTHING),
}
