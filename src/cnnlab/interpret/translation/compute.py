"""How far the activations of every layer move when the image is moved by some pixels."""

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
    """For each row the pixels whose multiples are whole steps on its map and on every map in front of it.

    Args:
        layers: rows, as `Trace.records` or `trace_network` give them.
        moves: whether the image moves (down, right): 1 or 0.

    Returns:
        By the row's name; None for one that gives no map.
    """
    found: dict[str, int | None] = {}
    for layer in execution_order(layers):
        found[layer.name] = None
        if layer.jump is not None:
            own = [Fraction(jump).numerator for jump, moving in zip(layer.jump, moves, strict=True) if moving]
            found[layer.name] = lcm(*own, *(period for name in layer.inputs if (period := found.get(name))))
    return found


def compare_moved_maps(
    layer: LayerRecord, maps: Tensor, shifts: Sequence[int], moves: Pair, size: Pair, period: int
) -> tuple[MapShift, ...]:
    """A layer's maps of the moved images against its map of the image.

    Args:
        maps: N×C×H×W, one for each shift.
        shifts: in pixels; the first is 0.
        moves: as in `equivariance_periods`.
        size: (height, width) of the image.
        period: the layer's, of `equivariance_periods`.

    Returns:
        For each shift but 0 the best fit of the moves by whole nodes next to it; none where no node's view lies inside
        both images, or where the map is zero.
    """
    axes = [_AxisGeometry.of(layer, axis, period) for axis in (0, 1)]
    inside = [axes[axis].inner_nodes(maps.shape[2 + axis], size[axis]) for axis in (0, 1)]
    found = []
    for image, shift in enumerate(shifts):
        ways = [axes[axis].candidate_steps(shift * moves[axis]) for axis in (0, 1)]
        fits = [_best_alignment(maps, image, inside, (down, right)) for down, right in product(*ways)] if shift else []
        best = min((fit for fit in fits if fit is not None), key=lambda fit: fit[1], default=None)
        if best is not None:
            steps, difference, nodes = best
            found.append(MapShift(shift=shift, steps=steps, nodes=nodes, difference=difference))
    return tuple(found)


@dataclass(frozen=True)
class _AxisGeometry:
    """Where the nodes of a map look along one axis of the image, in pixels."""

    first: Fraction
    jump: Fraction
    radius: Fraction

    @classmethod
    def of(cls, layer: LayerRecord, axis: int, period: int) -> _AxisGeometry:
        assert layer.jump is not None
        assert layer.first_centre is not None
        assert layer.receptive_field is not None
        jump, reach = Fraction(layer.jump[axis]), Fraction(layer.receptive_field[axis] - 1, 2)
        # On an enlarged map the views lie unevenly: a node's own centre is off by less than a period.
        uneven = period if jump < period else 0
        return cls(Fraction(layer.first_centre[axis]), jump, reach + uneven)

    def candidate_steps(self, pixels: int) -> list[int]:
        """The whole steps on the map next to a shift: one, or the two around it."""
        exact = pixels / self.jump
        return sorted({floor(exact), ceil(exact)})

    def inner_nodes(self, nodes: int, size: int) -> Pair:
        """From and to which node the whole view lies in the image; the end is not part of it."""
        first = ceil((self.radius - self.first) / self.jump)
        last = floor((size - 1 - self.radius - self.first) / self.jump)
        return max(first, 0), min(last + 1, nodes)


def _best_alignment(maps: Tensor, image: int, inside: Sequence[Pair], steps: Pair) -> tuple[Pair, float, int] | None:
    """The steps, the largest difference as a share of the largest number, and the nodes that were compared."""
    here, there = maps[0], maps[image]
    for axis, ((start, end), step) in enumerate(zip(inside, steps, strict=True)):
        if end - start - step < 1:
            return None
        here = here.narrow(1 + axis, start, end - start - step)
        there = there.narrow(1 + axis, start + step, end - start - step)
    difference, largest = float((there - here).abs().max()), float(here.abs().max())
    # Zeros everywhere, as after a batch norm that begins with weights of zero, follow any shift: that tells nothing.
    return (steps, difference / largest, here.shape[1] * here.shape[2]) if largest else None


# Down and to the right, in pixels for each pixel of a shift.
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
    """Move an image by 0, 1, …, `shifts` pixels, and measure what every layer makes of it.

    For each layer: how far what goes in and what comes out moves, ‖a(moved) − a(image)‖ / ‖a(image)‖; and whether its
    map follows the shift exactly, as one of stride 1 does (R. Zhang: Making convolutional networks shift-invariant
    again, ICML 2019). Shifts as long as the layers' own periods are compared too, where the image has the room.

    Args:
        network: left as it was; computed in eval mode.
        image: C×H×W floats, after preprocessing.
        layers: the network's rows for such an image, as `Trace.records` or `network_table` give them; those that are
            no modules of it are left out.
        shifts: the largest shift, in pixels; below the image's size.
        direction: right, down, or diagonal (both).
        fill: of the border that becomes free: "edge" repeats the pixels at the edge, "zero" is what padding is.
        name: what to call the network.
        image_name: what to call the image.

    Raises:
        UsageError: a shift that is larger than the image, or an unknown direction or fill.
    """
    height, width = image.shape[1:]
    moves = validate_shifts((height, width), shifts, direction, fill)
    rows, found = _measurable(network, layers), equivariance_periods(layers, moves)
    room = min(size for size, moving in zip((height, width), moves, strict=True) if moving) // 2
    longer = {period for period in found.values() if period and shifts < period <= room}
    tried = (*range(shifts + 1), *sorted(longer))
    device = next((tensor.device for tensor in network.parameters()), image.device)
    shifted = torch.stack([shift_image(image, shift, direction, fill) for shift in tried]).to(device, torch.float32)
    sights = SpanTracer(layers, (image.shape[0], height, width))
    notes = _ShiftRecorder(rows, sights, found, tried, shifts + 1, moves, (height, width))
    with eval_mode(network), forward_hooks(network, rows, notes.on_output, notes.on_input), torch.no_grad():
        network(shifted)
    return TranslationSensitivity(
        network=name,
        image=image_name,
        size=(image.shape[0], height, width),
        direction=direction,
        fill=fill,
        shifts=tuple(range(shifts + 1)),
        changes=_relative_changes(shifted[: shifts + 1]),
        layers=tuple(notes.layers),
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
        places = torch.arange(image.shape[axis], device=image.device) - shift * moves
        result = result.index_select(axis, places.clamp(min=0))
        if fill == "zero":
            result.narrow(axis, 0, shift * moves).zero_()
    return result


def validate_shifts(size: Pair, shifts: int, direction: str, fill: str) -> Pair:
    """How far one step goes down and to the right in an image of this size; errors as `translation_sensitivity`."""
    for what, given, allowed in (("direction", direction, tuple(DIRECTION_STEPS)), ("fill", fill, FILLS)):
        if given not in allowed:
            raise UsageError(f"unknown {what} '{given}'", where=f"--{what}", allowed=", ".join(allowed))
    down, right = DIRECTION_STEPS[direction]  # type: ignore[index]
    height, width = size
    largest = min(size for size, moves in ((height, down), (width, right)) if moves) - 1
    if not 1 <= shifts <= largest:
        raise UsageError(
            "a shift must leave some of the image in sight" if shifts > largest else "nothing is moved",
            where="--shifts",
            received=f"{shifts} px",
            allowed=f"1 to {largest} px, for an image of {height}×{width}",
        )
    return down, right


def _measurable(network: nn.Module, layers: Sequence[LayerRecord]) -> dict[str, LayerRecord]:
    """The rows that are modules, by name: a functional step has no place for a hook, an identity nothing to tell."""
    modules = dict(network.named_modules(remove_duplicate=False))
    found = ((layer, modules.get(module_name(layer.name))) for layer in layers if layer.name)
    return {layer.name: layer for layer, module in found if not isinstance(module, nn.Identity | None)}


@dataclass
class _ShiftRecorder:
    """What is noted of each layer while the network runs over the moved images."""

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
        """What goes into a layer."""
        if self._is_per_image(inputs):
            self._input_changes[name] = _relative_changes(inputs[: self.num_shown])

    def on_output(self, name: str, outputs: Tensor) -> None:
        """What comes out of it."""
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
        """Whether each image has its own numbers: not where windows of all images are put into one axis."""
        return len(tensor) == len(self.shifts) and tensor.is_floating_point()

    def _as_feature_maps(self, row: LayerRecord, outputs: Tensor) -> Tensor | None:
        """The layer's output as N×C×H×W; None where it is no map."""
        if outputs.ndim != 4 or row.jump is None or row.first_centre is None or row.receptive_field is None:
            return None
        return outputs.permute(0, 3, 1, 2) if self.receptive_spans.channels_last(row) else outputs


def _relative_changes(tensor: Tensor) -> tuple[float | None, ...]:
    """How far each image's numbers are from the first one's, as a share of their length."""
    numbers = tensor.detach().flatten(1).float()
    length = float(torch.linalg.vector_norm(numbers[0]))
    away = torch.linalg.vector_norm(numbers - numbers[:1], dim=1).tolist()
    return tuple(distance / length if length else (None if distance else 0.0) for distance in away)
