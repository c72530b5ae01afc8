"""The memory of a network: weights, gradients, the optimizer's state, and what is saved for the backward pass.

The rule is what torch's autograd saves in 32-bit floats on the CPU, counted once for each storage:

- a row saves what its derivative is written in: a convolution, dense or normalising row, a pool and most activations
  their input; relu, tanh, sigmoid and softmax their output; upsampling, a mean and a sum nothing;
- a max pool saves, beside its input, the position of each maximum (8 bytes); dropout a number for each number (on CUDA
  a byte), dropout2d one for each channel; the norms the means and deviations they divided by;
- the output of one row and the input of the next are one storage, so relu's output is not counted again as a
  convolution's input; flatten only gives another view of its input;
- before the first row that trains nothing is saved, since nothing there needs a gradient; after it a frozen dense row
  saves nothing and a frozen batch norm its input alone, since their weights need none and the norm takes no means.

Not counted: the working space of single operations, gradients of activations, the weights that weight normalisation
makes, the border that padding='same' adds, batch normalisation's running statistics, the loss. In a traced network an
operation that no rule knows saves its inputs, and what lies inside an attention is not counted: for most convolutional
networks the sum is autograd's to the byte; for ViT-B/16 it is a quarter too small, for Swin-T and MaxViT-T up to a
tenth too large, and GoogLeNet's auxiliary classifiers, which run in training only, are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from cnnlab.architecture.layer_graph import IMAGE_KEY, execution_order, layer_from_record
from cnnlab.records import LayerRecord, Record

FLOAT_BYTES = 4
INDEX_BYTES = 8


class MemoryRecord(Record):
    """Bytes in 32-bit floats.

    `activations` is what is saved for the backward pass, and `layers` what each row adds to it. `total` is the sum of
    the four; `prediction` the weights, and the most that one row reads and writes.
    """

    batch_size: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
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
        layers: the rows, each with the names of its inputs.
        parameters: the network's learned numbers.
        batch_size: images at a time, 1 or more.
        state_per_parameter: numbers that the optimizer keeps for each parameter (`state_per_parameter` of an optimizer
            choice).
        trainable: how many of the parameters train; None: all.
    """
    trained = parameters if trainable is None else trainable
    saved = _saved_bytes(layers, batch_size)
    weights, gradients, activations = FLOAT_BYTES * parameters, FLOAT_BYTES * trained, sum(saved.values())
    return MemoryRecord(
        batch_size=batch_size,
        weights=weights,
        gradients=gradients,
        optimizer=state_per_parameter * gradients,
        activations=activations,
        total=weights + (1 + state_per_parameter) * gradients + activations,
        prediction=weights + FLOAT_BYTES * batch_size * max(map(_read_and_written, layers)),
        layers=saved,
    )


def _read_and_written(row: LayerRecord) -> int:
    """The numbers of one image that a row reads, of every input, and writes.

    A max pool writes the position of each maximum, too.
    """
    read = prod(row.output) if row.kind == "concatenate" else max(1, len(row.inputs)) * prod(row.input)
    written = 0 if row.kind in (*_VIEW_KINDS, "dropout", "dropout2d") else prod(row.output)  # dropout is off
    return read + written * (1 + INDEX_BYTES // FLOAT_BYTES if row.kind == "maxpool" else 1)


@dataclass(frozen=True)
class _SavedTensors:
    """What a row saves: its input, its output, and bytes of its own, for each image and for all together."""

    input: bool = False
    output: bool = False
    bytes_per_image: int = 0
    bytes: int = 0


def _saved_bytes(layers: Sequence[LayerRecord], batch_size: int) -> dict[str, int]:
    """Bytes that each row saves and no earlier row does."""
    rows = execution_order(layers)
    storage = {IMAGE_KEY: IMAGE_KEY}  # the row whose output lies in the same memory
    numbers = {IMAGE_KEY: prod(rows[0].input)}  # of one image, in each storage
    needs_gradient: set[str] = set()
    held: set[str] = set()
    saved: dict[str, int] = {}
    for row in rows:
        layer = layer_from_record(row)
        inputs = list(dict.fromkeys(storage[name] for name in row.inputs or (IMAGE_KEY,)))
        is_last_softmax = row is rows[-1] and row.kind == "softmax"  # the loss takes logits
        storage[row.name] = inputs[0] if is_last_softmax or _is_view(row, layer) else row.name
        numbers.setdefault(storage[row.name], prod(row.output))
        saved[row.name] = 0
        reads_gradient = not needs_gradient.isdisjoint(row.inputs)
        if (not row.parameters or row.frozen) and not reads_gradient:
            continue
        needs_gradient.add(row.name)
        rule = _SAVES_NOTHING if is_last_softmax else _saved_tensors(row, layer)
        touched = [*(inputs if rule.input else ()), *([storage[row.name]] if rule.output else ())]
        new = [name for name in dict.fromkeys(touched) if name not in held]
        held.update(new)
        per_image = FLOAT_BYTES * sum(numbers[name] for name in new) + rule.bytes_per_image
        saved[row.name] = batch_size * per_image + rule.bytes
    return {row.name: saved[row.name] for row in layers}


def _is_view(row: LayerRecord, layer: Any) -> bool:
    """Whether a row's output is its input in another shape, or the same."""
    return row.kind in _VIEW_KINDS or (row.kind in ("dropout", "dropout2d") and layer is not None and not layer.rate)


def _saved_tensors(row: LayerRecord, layer: Any) -> _SavedTensors:
    rule = _RULES.get(row.kind, _SAVES_INPUT)
    return rule if isinstance(rule, _SavedTensors) else rule(row, layer)


def _dense(row: LayerRecord, _layer: Any) -> _SavedTensors:
    return _SavedTensors(input=not row.frozen)


def _max_pool(row: LayerRecord, _layer: Any) -> _SavedTensors:
    return _SavedTensors(input=True, bytes_per_image=INDEX_BYTES * prod(row.output))


def _global_pool(_row: LayerRecord, layer: Any) -> _SavedTensors:
    return _SAVES_BOTH if layer is not None and layer.how == "max" else _SAVES_NOTHING


def _batch_norm(row: LayerRecord, _layer: Any) -> _SavedTensors:
    return _SavedTensors(input=True, bytes=0 if row.frozen else 2 * FLOAT_BYTES * row.input[0])


def _group_norm(_row: LayerRecord, layer: Any) -> _SavedTensors:
    """Layer normalisation is that of one group."""
    return _SavedTensors(input=True, bytes_per_image=2 * FLOAT_BYTES * getattr(layer, "groups", 1))


def _response_norm(row: LayerRecord, layer: Any) -> _SavedTensors:
    """Its input, the squares padded with channels of zeros, what they are raised from and what comes of it."""
    size = layer.size if layer is not None else 1
    squares = (row.input[0] + size - 1) * prod(row.input[1:])
    return _SavedTensors(input=True, bytes_per_image=FLOAT_BYTES * (squares + 2 * prod(row.input)))


def _dropout(row: LayerRecord, layer: Any) -> _SavedTensors:
    drawn = prod(row.output) if row.kind == "dropout" else row.output[0]
    return _SavedTensors(bytes_per_image=FLOAT_BYTES * drawn if layer is not None and layer.rate else 0)


_SAVES_NOTHING, _SAVES_INPUT, _SAVES_OUTPUT = _SavedTensors(), _SavedTensors(input=True), _SavedTensors(output=True)
_SAVES_BOTH = _SavedTensors(input=True, output=True)
_VIEW_KINDS = frozenset(
    {"flatten", "repeat", "permute", "transpose", "reshape", "view", "unflatten", "squeeze", "identity"}
)
_RULES: dict[str, _SavedTensors | Callable[[LayerRecord, Any], _SavedTensors]] = {
    "dense": _dense,
    "maxpool": _max_pool,
    "globalpool": _global_pool,
    # A pool to one pixel is a plain mean.
    "adaptivepool": lambda row, _: _SAVES_NOTHING if row.output[1:] == (1, 1) else _SAVES_INPUT,
    "batchnorm": _batch_norm,
    **dict.fromkeys(("layernorm", "groupnorm"), _group_norm),
    "lrn": _response_norm,
    **dict.fromkeys(("dropout", "dropout2d"), _dropout),
    **dict.fromkeys(("relu", "tanh", "sigmoid", "softmax"), _SAVES_OUTPUT),
    **dict.fromkeys(
        ("upsample", "residual", "add", "concatenate", "pad", "split", "mean", *_VIEW_KINDS), _SAVES_NOTHING
    ),
}
