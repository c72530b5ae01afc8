"""Warnings of windows that do not fit their input, or whose stride steps over pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cnnlab.architecture.layer import Pair, SlidingWindow, format_shape
from cnnlab.architecture.layer_graph import LayerGraph
from cnnlab.architecture.warnings import Finding
from cnnlab.errors import SpecError
from cnnlab.records import LayerRecord
from cnnlab.theory.output_size import OutputSize

MAX_LISTED = 3


@dataclass(frozen=True)
class _Mismatch:
    """A row whose last window ends before the border; pairs are (vertical, horizontal).

    `remainder` counts the rows and columns of the padded input behind the last window, `uncovered` those of pixels.
    """

    record: LayerRecord
    window: SlidingWindow
    sizes: tuple[OutputSize, OutputSize]
    remainder: Pair
    uncovered: Pair

    @property
    def message(self) -> str:
        exact = "×".join(f"{float(size.exact):g}" for size in self.sizes)
        rounded = format_shape((self.sizes[0].size, self.sizes[1].size))
        lost = [
            f"the last {count} of {size} {name}"
            for count, size, name in zip(self.uncovered, self.record.input[1:], ("rows", "columns"), strict=True)
            if count
        ]
        cut = f"no window covers {' and '.join(lost)}" if lost else "only padding is cut off"
        return f"{exact} rounds down to {rounded}, and {cut}"

    @property
    def fix(self) -> str:
        """The sizes of the input, and of the kernel, with which the window ends at the border."""
        sizes, stride = self.record.input[1:], self.window.stride
        smaller = tuple(size - left for size, left in zip(sizes, self.remainder, strict=True))
        larger = tuple(
            size + (step - left if left else 0) for size, step, left in zip(sizes, stride, self.remainder, strict=True)
        )
        fitting = [f"input {format_shape(shape)}" for shape in (smaller, larger) if min(shape) > 0]
        if self.window.dilation == (1, 1):
            kernel = tuple(size + left for size, left in zip(self.window.kernel, self.remainder, strict=True))
            fitting.append(f"kernel {format_shape(kernel)}")
        return f"{self.record.name} fits exactly with {' or '.join(fitting)}"


def cut_off_warning(graph: LayerGraph, *, include_padding: bool) -> Finding | None:
    """The warning of windows that don't fit; without `include_padding` only of those that leave out pixels."""
    mismatches = [mismatch for record in graph.records if (mismatch := _mismatch(graph, record)) is not None]
    mismatches = [one for one in mismatches if include_padding or any(one.uncovered)]
    if not mismatches:
        return None
    # What costs pixels first.
    mismatches.sort(key=lambda one: not any(one.uncovered))
    return Finding(
        where=_listed([one.record.name for one in mismatches], ", "),
        message="the window does not fit: " + _listed([_with_name(one, mismatches) for one in mismatches], "; "),
        fix=mismatches[0].fix,
    )


def skipped_rows_warning(graph: LayerGraph) -> Finding | None:
    """The warning of windows that step over rows or columns, where no other row reads the same map.

    A strided 1×1 shortcut steps over pixels, too, beside a body that sees them.
    """
    skipping = [(record, covered) for record in graph.records if (covered := _covered_size(graph, record)) is not None]
    if not skipping:
        return None
    texts = [
        f"{record.name} sees {covered[0]} of {record.input[1]} rows and {covered[1]} of {record.input[2]} columns"
        for record, covered in skipping
    ]
    return Finding(
        where=", ".join(record.name for record, _ in skipping[:MAX_LISTED]),
        message=f"the stride steps over pixels that no other layer reads: {_listed(texts, '; ')}",
        fix="make the stride no larger than the kernel, and let it share no factor with a dilation",
    )


def _with_name(one: _Mismatch, mismatches: Sequence[_Mismatch]) -> str:
    return one.message if len(mismatches) == 1 else f"{one.record.name}: {one.message}"


def _listed(texts: Sequence[str], separator: str) -> str:
    more = [f"and {len(texts) - MAX_LISTED} more"] if len(texts) > MAX_LISTED else []
    return separator.join([*texts[:MAX_LISTED], *more])


def _covered_size(graph: LayerGraph, record: LayerRecord) -> Pair | None:
    """How many rows and columns windows cover, where some between the first and the last are not covered."""
    layer = graph.layer(record)
    window = layer.window() if layer is not None else None
    readers = [graph.consumers(name) for name in record.inputs] or [graph.input_consumers()]
    if window is None or len(record.input) != 3 or readers != [(record.name,)]:
        return None
    covered = []
    for axis in (0, 1):
        size, before = record.input[1 + axis], window.total_padding[axis] // 2
        starts = range(-before, record.output[1 + axis] * window.stride[axis] - before, window.stride[axis])
        taps = range(0, window.kernel[axis] * window.dilation[axis], window.dilation[axis])
        covered.append({start + tap for start in starts for tap in taps if 0 <= start + tap < size})
    gaps = any(pixels and max(pixels) - min(pixels) + 1 > len(pixels) for pixels in covered)
    return (len(covered[0]), len(covered[1])) if gaps else None


def _mismatch(graph: LayerGraph, record: LayerRecord) -> _Mismatch | None:
    layer = graph.layer(record)
    window = layer.window() if layer is not None else None
    if window is None or len(record.input) != 3:
        return None
    try:
        sizes = window.output_sizes(record.input)
    except SpecError:
        return None  # a traced layer that rounds up
    if (sizes[0].size, sizes[1].size) != record.output[1:]:
        return None  # as above
    remainder, uncovered = [], []
    for axis in (0, 1):
        extent = window.dilation[axis] * (window.kernel[axis] - 1) + 1
        # A stride that is longer than the window leaves the same gap between any two windows.
        beyond = max(0, sizes[axis].unseen - max(0, window.stride[axis] - extent))
        remainder.append(sizes[axis].unseen if beyond else 0)
        uncovered.append(max(0, beyond - window.total_padding[axis] // 2))
    if not any(remainder):
        return None
    return _Mismatch(record, window, sizes, (remainder[0], remainder[1]), (uncovered[0], uncovered[1]))
