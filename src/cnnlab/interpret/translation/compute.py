"""The effect of small translations of an image on the activations of every layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from math import ceil, floor, lcm

import torch
from torch import Tensor, nn

from cnnlab.architecture.layer_graph import execution_order
from cnnlab.architecture.receptive_field.spans import SpanTracer
from cnnlab.errors import UsageError
from cnnlab.interpret.hooks import forward_hooks, module_name
from cnnlab.interpret.translation.result import Direction, Fill, LayerTranslation, MapShift, TranslationSensitivity
from cnnlab.models.train_mode import eval_mode
from cnnlab.records import LayerRecord
from cnnlab.training.device import disable_tf32

Pair = tuple[int, int]


def equivariance_periods(layers: Sequence[LayerRecord], moves: Pair) -> dict[str, int | None]:
    """The shift in pixels whose multiples are whole steps on a layer's map and on all maps in front of it.

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
    axes = [_AxisGeometry.of(layer, axis, period) for axis in (0, 1)]
    inside = [axes[axis].inner_nodes(maps.shape[2 + axis], size[axis]) for axis in (0, 1)]
    compared = []
    for image, shift in enumerate(shifts):
        steps = [axes[axis].candidate_steps(shift * moves[axis]) for axis in (0, 1)]
        fits = (
            [_compare_shifted(maps, image, inside, (down, right)) for down, right in product(*steps)] if shift else []
        )
        best = min((fit for fit in fits if fit is not None), key=lambda fit: fit[1], default=None)
        if best is not None:
            best_steps, difference, nodes = best
            compared.append(MapShift(shift=shift, steps=best_steps, nodes=nodes, difference=difference))
    return tuple(compared)


@dataclass(frozen=True)
class _AxisGeometry:
    """The receptive fields of a map's nodes along one axis, in pixels of the image: first centre, jump and radius."""

    first: Fraction
    jump: Fraction
    radius: Fraction

    @classmethod
    def of(cls, layer: LayerRecord, axis: int, period: int) -> _AxisGeometry:
        assert layer.jump is not None
        assert layer.first_centre is not None
        assert layer.receptive_field is not None
        jump, reach = Fraction(layer.jump[axis]), Fraction(layer.receptive_field[axis] - 1, 2)
        # On an upsampled map the centres are uneven: a node's own centre is off by less than a period.
        uneven = period if jump < period else 0
        return cls(Fraction(layer.first_centre[axis]), jump, reach + uneven)

    def candidate_steps(self, pixels: int) -> list[int]:
        """The whole steps on the map next to a shift in pixels."""
        exact = pixels / self.jump
        return sorted({floor(exact), ceil(exact)})

    def inner_nodes(self, nodes: int, size: int) -> Pair:
        """The range of nodes, [start, end), whose receptive field lies inside the image."""
        first = ceil((self.radius - self.first) / self.jump)
        last = floor((size - 1 - self.radius - self.first) / self.jump)
        return max(first, 0), min(last + 1, nodes)


def _compare_shifted(maps: Tensor, image: int, inside: Sequence[Pair], steps: Pair) -> tuple[Pair, float, int] | None:
    """The steps, the largest difference as a share of the largest number, and the number of nodes compared."""
    original, moved = maps[0], maps[image]
    for axis, ((start, end), step) in enumerate(zip(inside, steps, strict=True)):
        if end - start - step < 1:
            return None
        original = original.narrow(1 + axis, start, end - start - step)
        moved = moved.narrow(1 + axis, start + step, end - start - step)
    difference, largest = float((moved - original).abs().max()), float(original.abs().max())
    # A map of zeros, as after a batch norm whose weights begin at zero, follows any shift.
    return (steps, difference / largest, original.shape[1] * original.shape[2]) if largest else None


# (down, right), in pixels for each pixel of a shift.
DIRECTION_STEPS: dict[Direction, Pair] = {"right": (0, 1), "down": (1, 0), "diagonal": (1, 1)}
FILLS: tuple[Fill, ...] = ("edge", "zero")


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
) -> TranslationSensitivity:
    """Measure how the activations of every layer change when the image is moved by 0, 1, …, `shifts` pixels.

    For each layer: the relative change ‖a(moved) − a(image)‖ / ‖a(image)‖ of its input and its output, and whether its
    map follows the shift exactly, as a map of stride 1 does (R. Zhang: Making convolutional networks shift-invariant
    again, ICML 2019). Shifts by the layers' periods are compared too, up to half the image.

    Args:
        network: computed in eval mode, and left unchanged.
        image: C×H×W floats, after preprocessing.
        layers: the network's rows for such an image, of `Trace.records` or `network_table`; rows that are no modules
            are left out.
        shifts: the largest shift, in pixels; smaller than the image.
        direction: right, down, or diagonal (both).
        fill: of the freed border: "edge" repeats the edge pixels, "zero" is zero padding.
        name, image_name: names of the network and the image in the result.

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
    spans = SpanTracer(layers, (image.shape[0], height, width))
    recorder = _ShiftRecorder(rows, spans, periods, all_shifts, shifts + 1, moves, (height, width))
    with eval_mode(network), forward_hooks(network, rows, recorder.on_output, recorder.on_input), torch.no_grad():
        network(shifted)
    return TranslationSensitivity(
        network=name,
        image=image_name,
        size=(image.shape[0], height, width),
        direction=direction,
        fill=fill,
        shifts=tuple(range(shifts + 1)),
        changes=_relative_changes(shifted[: shifts + 1]),
        layers=tuple(recorder.layers),
    )


def shift_image(image: Tensor, shift: int, direction: Direction = "right", fill: Fill = "edge") -> Tensor:
    """The image moved by `shift` pixels, of the same size.

    Args:
        image: C×H×W.

    >>> shift_image(torch.tensor([[[1, 2, 3]]]), 1).tolist()
    [[[1, 1, 2]]]
    """
    result = image
    for axis, moves in zip((1, 2), DIRECTION_STEPS[direction], strict=True):
        indices = torch.arange(image.shape[axis], device=image.device) - shift * moves
        result = result.index_select(axis, indices.clamp(min=0))
        if fill == "zero":
            result.narrow(axis, 0, shift * moves).zero_()
    return result


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
            "the shift must be smaller than the image" if shifts > largest else "the shift must be at least one pixel",
            where="--shifts",
            received=f"{shifts} px",
            allowed=f"1 to {largest} px, for an image of {height}×{width}",
            next_step=f"--shifts {min(4, largest)}",
        )
    return down, right


def _measurable(network: nn.Module, layers: Sequence[LayerRecord]) -> dict[str, LayerRecord]:
    """The rows that are modules other than identities, by name: a functional step takes no hook."""
    modules = dict(network.named_modules(remove_duplicate=False))
    named = ((layer, modules.get(module_name(layer.name))) for layer in layers if layer.name)
    return {layer.name: layer for layer, module in named if not isinstance(module, nn.Identity | None)}


@dataclass
class _ShiftRecorder:
    """Hooks that measure each layer while the network runs on the moved images."""

    rows: dict[str, LayerRecord]
    receptive_spans: SpanTracer
    periods: dict[str, int | None]
    shifts: tuple[int, ...]
    num_shown: int
    moves: Pair
    size: Pair
    layers: list[LayerTranslation] = field(default_factory=list)
    _input_changes: dict[str, tuple[float | None, ...]] = field(default_factory=dict)

    def on_input(self, name: str, inputs: Tensor) -> None:
        """Record the change of a layer's input."""
        if self._is_per_image(inputs):
            self._input_changes[name] = _relative_changes(inputs[: self.num_shown])

    def on_output(self, name: str, outputs: Tensor) -> None:
        """Record the change of its output, and compare its maps."""
        if name not in self._input_changes or not self._is_per_image(outputs):
            return
        row, period = self.rows[name], self.periods[name]
        maps = self._as_feature_maps(row, outputs)
        compared = (
            ()
            if maps is None or period is None
            else compare_moved_maps(row, maps, self.shifts, self.moves, self.size, period)
        )
        self.layers.append(
            LayerTranslation(
                name=name,
                kind=row.kind,
                text=row.text,
                input=row.input,
                output=tuple(outputs.shape[1:]),
                before=self._input_changes[name],
                after=_relative_changes(outputs[: self.num_shown]),
                map=None if maps is None else (maps.shape[2], maps.shape[3]),
                period=None if maps is None else period,
                moves=compared,
            )
        )

    def _is_per_image(self, tensor: Tensor) -> bool:
        """Whether the first axis is the images: not where windows of all images share one axis."""
        return len(tensor) == len(self.shifts) and tensor.is_floating_point()

    def _as_feature_maps(self, row: LayerRecord, outputs: Tensor) -> Tensor | None:
        """The layer's output as N×C×H×W; None where it is no feature map."""
        if outputs.ndim != 4 or row.jump is None or row.first_centre is None or row.receptive_field is None:
            return None
        return outputs.permute(0, 3, 1, 2) if self.receptive_spans.channels_last(row) else outputs


def _relative_changes(tensor: Tensor) -> tuple[float | None, ...]:
    """The distance of each image's activations from the first one's, divided by the norm of those."""
    flat = tensor.detach().flatten(1).float()
    norm = float(torch.linalg.vector_norm(flat[0]))
    distances = torch.linalg.vector_norm(flat - flat[:1], dim=1).tolist()
    return tuple(distance / norm if norm else (None if distance else 0.0) for distance in distances)
