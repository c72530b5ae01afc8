"""Windows that do not fit on what they slide over, and what is cut off for that."""

from __future__ import annotations

from dataclasses import dataclass

from cnnlab.architecture.layer import Pair, SlidingWindow, format_shape
from cnnlab.architecture.layer_graph import LayerGraph
from cnnlab.errors import SpecError
from cnnlab.records import LayerRecord, WarningRecord
from cnnlab.render.formatting import pluralize
from cnnlab.theory.output_size import OutputSize

MAX_LISTED = 3


@dataclass(frozen=True)
class SizeMismatch:
    """A row whose last window ends before the border does; each pair is (vertical, horizontal).

    `remainder` is what is left of the padded input, `uncovered` how many rows and columns of pixels no window reaches
    though those in front of them are reached.
    """

    record: LayerRecord
    window: SlidingWindow
    sizes: tuple[OutputSize, OutputSize]
    remainder: Pair
    uncovered: Pair

    def __str__(self) -> str:
        exact = format_exact_shape(self.sizes)
        size = format_shape((self.sizes[0].size, self.sizes[1].size))
        head = f"{self.record.name}: {exact} rounds down to {size}"
        if not any(self.uncovered):
            return f"{head}, and only padding is cut off"
        parts = zip(self.uncovered, self.record.input[1:], ("row", "column"), strict=True)
        cut = " and ".join(
            f"the last {f'{lost} ' if lost > 1 else ''}of {pluralize(size, what)}" for lost, size, what in parts if lost
        )
        return f"{head}, and no window reaches {cut}"

    def suggestion(self) -> str:
        """A kernel, where one will do, and the sizes of the input with which the window ends at the border."""
        (high, wide), stride, left = self.record.input[1:], self.window.stride, self.remainder
        smaller = (high - left[0], wide - left[1])
        larger = tuple(
            size + (stride[axis] - left[axis] if left[axis] else 0) for axis, size in enumerate((high, wide))
        )
        inputs = (
            f"an input of {format_shape(larger)}"
            if min(smaller) < 1
            else f"inputs of {format_shape(smaller)} and {format_shape(larger)}"
        )
        if self.window.dilation != (1, 1):
            return f"for {self.record.name}, {inputs} fit exactly"
        kernel = tuple(self.window.kernel[axis] + left[axis] for axis in (0, 1))
        step = str(stride[0]) if stride[0] == stride[1] else format_shape(stride)
        fitting = f"a {format_shape(kernel)} kernel with stride {step} fits exactly"
        return f"for {self.record.name}, {fitting}, and so do {inputs}"


def cut_off_warning(graph: LayerGraph, *, include_padding: bool) -> WarningRecord | None:
    """The warning of windows that don't fit; without `include_padding` only of those that leave out pixels."""
    found = [mismatch for record in graph.records if (mismatch := _size_mismatch(graph, record)) is not None]
    # What costs pixels first.
    found = sorted(
        (one for one in found if include_padding or any(one.uncovered)), key=lambda one: not any(one.uncovered)
    )
    if not found:
        return None
    more = f"; and {len(found) - MAX_LISTED} more" if len(found) > MAX_LISTED else ""
    if len(found) == 1:
        head, _, texts = str(found[0]).partition(": ")
    else:
        head = ", ".join(one.record.name for one in found[:MAX_LISTED])
        head += f" and {len(found) - MAX_LISTED} more" if len(found) > MAX_LISTED else ""
        texts = "; ".join(map(str, found[:MAX_LISTED])) + more
    return WarningRecord(
        name="cut-off-rows", where=head, message=f"the window does not fit: {texts}", fix=found[0].suggestion()
    )


def skipped_rows_warning(graph: LayerGraph) -> WarningRecord | None:
    """The warning of windows that step over rows or columns, where no other row reads the same map.

    A strided 1×1 shortcut steps over pixels, too, beside a body that sees them.
    """
    found = [(record, seen) for record in graph.records if (seen := _covered_size(graph, record)) is not None]
    if not found:
        return None
    texts = [
        f"{record.name} sees {seen[0]} of {record.input[1]} rows and {seen[1]} of {record.input[2]} columns"
        for record, seen in found
    ]
    more = f"; and {len(texts) - MAX_LISTED} more" if len(texts) > MAX_LISTED else ""
    return WarningRecord(
        name="skipped-rows",
        where=", ".join(record.name for record, _ in found[:MAX_LISTED]),
        message=f"the stride steps over pixels that nothing else looks at: {'; '.join(texts[:MAX_LISTED])}{more}",
        fix="make the stride no larger than the kernel, and let it share no factor with a dilation",
    )


def _covered_size(graph: LayerGraph, record: LayerRecord) -> Pair | None:
    """How many rows and columns are seen, where some between the first and the last that are seen are not."""
    layer = graph.layer(record)
    window = layer.window() if layer is not None else None
    readers = [graph.consumers(name) for name in record.inputs] or [graph.input_consumers()]
    alone = readers == [(record.name,)]
    if window is None or len(record.input) != 3 or not alone:
        return None
    seen = []
    for axis in (0, 1):
        size, before = record.input[1 + axis], window.total_padding[axis] // 2
        starts = [place * window.stride[axis] - before for place in range(record.output[1 + axis])]
        reached = {
            at
            for start in starts
            for step in range(window.kernel[axis])
            if 0 <= (at := start + step * window.dilation[axis]) < size
        }
        seen.append(reached)
    gaps = any(reached and max(reached) - min(reached) + 1 > len(reached) for reached in seen)
    return (len(seen[0]), len(seen[1])) if gaps else None


def format_exact_shape(sizes: tuple[OutputSize, OutputSize]) -> str:
    """The sizes by the formula, before they are rounded down: `3.5×3.5`."""
    return "×".join(f"{float(size.exact):g}" for size in sizes)


def _size_mismatch(graph: LayerGraph, record: LayerRecord) -> SizeMismatch | None:
    layer = graph.layer(record)
    window = layer.window() if layer is not None else None
    if window is None or len(record.input) != 3:
        return None
    try:
        fits = window.output_sizes(record.input)
    except SpecError:
        return None  # a traced layer that rounds up
    if (fits[0].size, fits[1].size) != record.output[1:]:
        return None  # as above
    left, lost = [], []
    for axis in (0, 1):
        reach = window.dilation[axis] * (window.kernel[axis] - 1) + 1
        # A window that jumps further than it reaches skips as many between any two places, and means to.
        skipped = max(0, window.stride[axis] - reach)
        beyond = max(0, fits[axis].unseen - skipped)
        left.append(fits[axis].unseen if beyond else 0)
        lost.append(max(0, beyond - window.total_padding[axis] // 2))
    if not any(left):
        return None
    return SizeMismatch(record, window, fits, (left[0], left[1]), (lost[0], lost[1]))
