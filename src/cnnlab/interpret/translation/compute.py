"""The effect of small translations of an image on the activations of every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import product
from math import ceil, floor, lcm

import torch
from torch import Tensor, nn
from torch.nn import functional

from cnnlab.architecture.layer_graph import execution_order
from cnnlab.architecture.receptive_field.spans import SpanTracer
from cnnlab.errors import UsageError
from cnnlab.interpret.hooks import forward_hooks, module_name
from cnnlab.interpret.translation.result import (
    TOLERANCE,
    Direction,
    Fill,
    LayerTranslation,
    MapShift,
    TranslationSensitivity,
)
from cnnlab.models.train_mode import eval_mode
from cnnlab.records import LayerRecord
from cnnlab.training.device import disable_tf32

Pair = tuple[int, int]


def equivariance_periods(layers: Sequence[LayerRecord], moves: Pair) -> dict[str, int | None]:
    """The shift in pixels whose multiples are whole steps on a layer's map and on all earlier maps.

    Args:
        layers: rows of `Trace.records` or `trace_network`.
        moves: whether the image moves (down, right): 1 or 0.

    Returns:
        The period by the row's name; None for a layer without a feature map.
    """
    periods: dict[str, int | None] = {}
    for layer in execution_order(layers):
        periods[layer.name] = None
        if layer.jump is not None:
            own = [Fraction(jump).numerator for jump, moving in zip(layer.jump, moves, strict=True) if moving]
            periods[layer.name] = lcm(*own, *(period for name in layer.inputs if (period := periods.get(name))))
    return periods


def compare_moved_maps(
    layer: LayerRecord, maps: Tensor, shifts: Sequence[int], moves: Pair, size: Pair, period: int
) -> tuple[MapShift, ...]:
    """Compare a layer's maps of the moved images with its map of the image.

    Args:
        maps: N×C×H×W, one for each shift.
        shifts: in pixels; the first is 0.
        moves: as in `equivariance_periods`.
        size: (height, width) of the image.
        period: the layer's, of `equivariance_periods`.

    Returns:
        For each shift but 0 the best fit of the whole steps next to shift / jump; shifts at which no receptive field
        lies inside both images, or at which the map is zero, are left out.
    """
    assert layer.jump is not None
    jumps = [Fraction(jump) for jump in layer.jump]
    inside = [_inner_nodes(layer, axis, period, maps.shape[2 + axis], size[axis]) for axis in (0, 1)]
    compared = []
    for image, shift in enumerate(shifts[1:], start=1):
        exact = [shift * moving / jump for moving, jump in zip(moves, jumps, strict=True)]
        candidates = product(*({floor(steps), ceil(steps)} for steps in exact))
        fits = [_compare_shifted(shift, maps[0], maps[image], inside, (down, right)) for down, right in candidates]
        best = min((fit for fit in fits if fit is not None), key=lambda fit: (fit.difference, fit.steps), default=None)
        if best is not None:
            compared.append(best)
    return tuple(compared)


def _inner_nodes(layer: LayerRecord, axis: int, period: int, nodes: int, size: int) -> Pair:
    """The range of a map's nodes, [start, end), whose receptive field lies inside the image."""
    assert layer.jump is not None
    assert layer.first_centre is not None
    assert layer.receptive_field is not None
    centre, jump = Fraction(layer.first_centre[axis]), Fraction(layer.jump[axis])
    radius = Fraction(layer.receptive_field[axis] - 1, 2)
    if jump < period:
        # On an upsampled map the centres are uneven: a node's own centre is off by less than a period.
        radius += period
    return max(ceil((radius - centre) / jump), 0), min(floor((size - 1 - radius - centre) / jump) + 1, nodes)


def _compare_shifted(
    shift: int, original: Tensor, moved: Tensor, inside: Sequence[Pair], steps: Pair
) -> MapShift | None:
    """Compare the map of the moved image with the original, moved by whole steps; None without nodes to compare."""
    for axis, ((start, end), step) in enumerate(zip(inside, steps, strict=True)):
        if end - start - step < 1:
            return None
        original = original.narrow(1 + axis, start, end - start - step)
        moved = moved.narrow(1 + axis, start + step, end - start - step)
    largest = float(original.abs().max())
    if not largest:
        # A map of zeros, as after a batch norm whose weights begin at zero, follows any shift.
        return None
    difference = float((moved - original).abs().max()) / largest
    return MapShift(shift=shift, steps=steps, nodes=original.shape[1] * original.shape[2], difference=difference)


# (down, right), in pixels for each pixel of a shift.
DIRECTION_STEPS: dict[Direction, Pair] = {"right": (0, 1), "down": (1, 0), "diagonal": (1, 1)}
FILLS: tuple[Fill, ...] = ("edge", "zero")
# Images in one forward pass, with as many moved ones.
OUTPUT_BATCH = 16


@disable_tf32()
def translation_sensitivity(
    network: nn.Module,
    image: Tensor,
    layers: Sequence[LayerRecord],
    *,
    shifts: int = 4,
    direction: Direction = "right",
    fill: Fill = "edge",
    name: str = "a network",
    image_name: str = "an image",
    images: Tensor | None = None,
) -> TranslationSensitivity:
    """Measure how the activations of every layer change when the image is moved by 0, 1, …, `shifts` pixels.

    For each layer: the relative change ‖a(moved) − a(image)‖ / ‖a(image)‖ of its input and its output, and whether its
    map follows the shift exactly, as a map of stride 1 does (R. Zhang: Making convolutional networks shift-invariant
    again, ICML 2019). Shifts by the layers' periods are compared too, up to half the image.

    For each max or average pool also the change of the network's output at a shift of 1 pixel, as it is and with the
    pool replaced by a subsampling of the same stride, which takes one pixel of each window; the weights stay.

    Args:
        network: computed in eval mode, and left unchanged.
        image: C×H×W floats, after preprocessing.
        layers: the network's rows for such an image, of `Trace.records` or `network_table`; rows that are no modules
            are left out.
        shifts: the largest shift, in pixels; smaller than the image.
        direction: right, down, or diagonal (both).
        fill: of the freed border: "edge" repeats the edge pixels, "zero" is zero padding.
        name, image_name: names of the network and the image in the result.
        images: N×C×H×W floats, the images over which the change of the output is averaged; None: the image alone.

    Raises:
        UsageError: a shift as large as the image, or an unknown direction or fill.
    """
    height, width = image.shape[1:]
    moves = validate_shifts((height, width), shifts, direction, fill)
    rows, periods = _measurable(network, layers), equivariance_periods(layers, moves)
    room = min(size for size, moving in zip((height, width), moves, strict=True) if moving) // 2
    longer = {period for period in periods.values() if period and shifts < period <= room}
    all_shifts = (*range(shifts + 1), *sorted(longer))
    device = next((tensor.device for tensor in network.parameters()), image.device)
    shifted = torch.stack([shift_image(image, shift, direction, fill) for shift in all_shifts]).to(
        device, torch.float32
    )
    tracer = SpanTracer(layers, (image.shape[0], height, width))
    input_changes: dict[str, tuple[float | None, ...]] = {}
    measured: list[LayerTranslation] = []

    def is_per_image(tensor: Tensor) -> bool:
        """Whether the first axis is the images: not where windows of all images share one axis."""
        return len(tensor) == len(all_shifts) and tensor.is_floating_point()

    def on_input(layer: str, inputs: Tensor) -> None:
        if is_per_image(inputs):
            input_changes[layer] = _relative_changes(inputs[: shifts + 1])

    def on_output(layer: str, outputs: Tensor) -> None:
        if layer not in input_changes or not is_per_image(outputs):
            return
        row, period = rows[layer], periods[layer]
        maps = None
        if outputs.ndim == 4 and row.receptive_field is not None and period is not None:
            maps = outputs.permute(0, 3, 1, 2) if tracer.channels_last(row) else outputs
        measured.append(
            LayerTranslation(
                name=layer,
                kind=row.kind,
                text=row.text,
                input=row.input,
                output=tuple(outputs.shape[1:]),
                before=input_changes[layer],
                after=_relative_changes(outputs[: shifts + 1]),
                map=None if maps is None else (maps.shape[2], maps.shape[3]),
                period=None if maps is None else period,
                moves=()
                if maps is None or period is None
                else compare_moved_maps(row, maps, all_shifts, moves, (height, width), period),
            )
        )

    with eval_mode(network), forward_hooks(network, rows, on_output, on_input), torch.no_grad():
        network(shifted)
    used = (image[None] if images is None else images).to(device, torch.float32)
    pairs = used, torch.stack([shift_image(each, 1, direction, fill) for each in used])
    output_change = _output_change(network, *pairs, ())
    replaceable = _replaceable_pools(network, rows) if output_change is not None else []
    without = {layer: _output_change(network, *pairs, (layer,)) for layer in replaceable}
    kinds = {
        kind: _output_change(network, *pairs, [layer for layer in replaceable if rows[layer].kind == kind])
        for kind in dict.fromkeys(rows[layer].kind for layer in replaceable)
    }
    return TranslationSensitivity(
        network=name,
        image=image_name,
        size=(image.shape[0], height, width),
        direction=direction,
        fill=fill,
        shifts=tuple(range(shifts + 1)),
        changes=_relative_changes(shifted[: shifts + 1]),
        layers=tuple(each.model_copy(update={"output_change_without": without.get(each.name)}) for each in measured),
        output_change=output_change,
        output_changes_without={kind: change for kind, change in kinds.items() if change is not None},
        num_images=len(used),
    )


def shift_image(image: Tensor, shift: int, direction: Direction = "right", fill: Fill = "edge") -> Tensor:
    """The image moved by `shift` pixels, of the same size.

    Args:
        image: C×H×W.

    >>> shift_image(torch.tensor([[[1.0, 2.0, 3.0]]]), 1).tolist()
    [[[1.0, 1.0, 2.0]]]
    """
    down, right = (shift * moves for moves in DIRECTION_STEPS[direction])
    padded = functional.pad(image[None], (right, 0, down, 0), "replicate" if fill == "edge" else "constant")[0]
    return padded[:, : image.shape[1], : image.shape[2]]


def validate_shifts(size: Pair, shifts: int, direction: str, fill: str) -> Pair:
    """The (down, right) step of a direction; errors as `translation_sensitivity`."""
    for what, given, allowed in (("direction", direction, tuple(DIRECTION_STEPS)), ("fill", fill, FILLS)):
        if given not in allowed:
            raise UsageError(
                f"unknown {what} '{given}'",
                where=f"--{what}",
                allowed=", ".join(allowed),
                next_step=f"--{what} {allowed[0]}",
            )
    down, right = DIRECTION_STEPS[direction]  # type: ignore[index]
    height, width = size
    largest = min(size for size, moves in ((height, down), (width, right)) if moves) - 1
    if not 1 <= shifts <= largest:
        raise UsageError(
            "the shift must be smaller than the image, and at least one pixel",
            where="--shifts",
            received=f"{shifts} px",
            allowed=f"1 to {largest} px, for an image of {height}×{width}",
            next_step=f"--shifts {min(4, largest)}",
        )
    return down, right


def _output_change(network: nn.Module, images: Tensor, moved: Tensor, replaced: Sequence[str]) -> float | None:
    """The mean relative change of the network's output from N images to N moved ones.

    Args:
        replaced: names of pools that are replaced by a subsampling.

    Returns:
        None where the output is no tensor, zero, or the same but for rounding.
    """
    inputs: dict[str, Tensor] = {}
    changes: list[Tensor] = []

    def keep_input(layer: str, maps: Tensor) -> None:
        inputs[layer] = maps

    def subsampled(layer: str, output: Tensor) -> Tensor:
        return subsample(network.get_submodule(module_name(layer)), inputs.pop(layer), output.shape)

    for pair in zip(torch.split(images, OUTPUT_BATCH), torch.split(moved, OUTPUT_BATCH), strict=True):
        batch = torch.cat(pair)
        # Hooks for each pass: the calls of a module are numbered within it.
        with eval_mode(network), forward_hooks(network, replaced, subsampled, keep_input), torch.no_grad():
            output = network(batch)
        if not isinstance(output, Tensor) or len(output) != len(batch):
            return None
        before, after = output.float().flatten(1).chunk(2)
        changes.append(torch.linalg.vector_norm(after - before, dim=1) / torch.linalg.vector_norm(before, dim=1))
    change = float(torch.cat(changes).mean())
    return change if TOLERANCE < change < float("inf") else None


def subsample(pool: nn.Module, maps: Tensor, shape: Sequence[int]) -> Tensor:
    """One pixel of each window of a pool, the one in its middle, or before the middle: of a window of 2 the first.

    Args:
        pool: of torch's `MaxPool2d` or `AvgPool2d`.
        maps: its input, N×C×H×W.
        shape: of its output.

    >>> subsample(nn.MaxPool2d(2), torch.arange(16.0).reshape(1, 1, 4, 4), (1, 1, 2, 2)).tolist()
    [[[[0.0, 2.0], [8.0, 10.0]]]]
    """
    for axis in (0, 1):
        kernel, stride, padding, dilation = (
            value[axis] if isinstance(value, tuple) else value
            for value in (getattr(pool, name, 1) for name in ("kernel_size", "stride", "padding", "dilation"))
        )
        first = dilation * ((kernel - 1) // 2) - padding
        pixels = torch.arange(shape[2 + axis], device=maps.device) * stride + first
        maps = maps.index_select(2 + axis, pixels.clamp(0, maps.shape[2 + axis] - 1))
    return maps


def _replaceable_pools(network: nn.Module, rows: Mapping[str, LayerRecord]) -> list[str]:
    """The pools with a window and a stride, by name."""
    modules = dict(network.named_modules(remove_duplicate=False))
    return [name for name in rows if isinstance(modules[module_name(name)], nn.MaxPool2d | nn.AvgPool2d)]


def _measurable(network: nn.Module, layers: Sequence[LayerRecord]) -> dict[str, LayerRecord]:
    """The rows that are modules other than identities, by name: a functional step takes no hook."""
    modules = dict(network.named_modules(remove_duplicate=False))
    named = ((layer, modules.get(module_name(layer.name))) for layer in layers if layer.name)
    return {layer.name: layer for layer, module in named if not isinstance(module, nn.Identity | None)}


def _relative_changes(tensor: Tensor) -> tuple[float | None, ...]:
    """The distance of each image's activations from the first one's, divided by the norm of those."""
    flat = tensor.detach().flatten(1).float()
    norm = float(torch.linalg.vector_norm(flat[0]))
    distances = torch.linalg.vector_norm(flat - flat[:1], dim=1).tolist()
    return tuple(distance / norm if norm else (None if distance else 0.0) for distance in distances)
