"""Windows that do not fit on what they slide over, and what is cut off for that."""

from __future__ import annotations

from dataclasses import dataclass

from cnnlab.architecture.layer import Pair, Window, times
from cnnlab.architecture.layer_graph import Flow
from cnnlab.errors import SpecError
from cnnlab.records import LayerRecord, WarningRecord
from cnnlab.render import formatting
from cnnlab.theory.size_arithmetic.arithmetic import OutputSize

MOST_TOLD = 3


@dataclass(frozen=True)
class Misfit:
    """A row whose last window ends before the border does; each pair is (vertical, horizontal).

    `left` is what is left of the padded input, `lost` how many rows and columns of pixels no window reaches though
    those in front of them are reached.
    """

    record: LayerRecord
    window: Window
    fits: tuple[OutputSize, OutputSize]
    left: Pair
    lost: Pair

    def __str__(self) -> str:
        exact = times_exactly(self.fits)
        size = times((self.fits[0].size, self.fits[1].size))
        head = f"{self.record.name}: {exact} rounds down to {size}"
        if not any(self.lost):
            return f"{head}, and only padding is cut off"
        parts = zip(self.lost, self.record.input[1:], ("row", "column"), strict=True)
        cut = " and ".join(
            f"the last {f'{lost} ' if lost > 1 else ''}of {formatting.plural(size, what)}"
            for lost, size, what in parts
            if lost
        )
        return f"{head}, and no window reaches {cut}"

    def remedy(self) -> str:
        """A kernel, where one will do, and the sizes of the input with which the window ends at the border."""
        (high, wide), stride, left = self.record.input[1:], self.window.stride, self.left
        smaller = (high - left[0], wide - left[1])
        larger = tuple(
            size + (stride[axis] - left[axis] if left[axis] else 0) for axis, size in enumerate((high, wide))
        )
        inputs = (
            f"an input of {times(larger)}" if min(smaller) < 1 else f"inputs of {times(smaller)} and {times(larger)}"
        )
        if self.window.dilation != (1, 1):
            return f"for {self.record.name}, {inputs} fit exactly"
        kernel = tuple(self.window.kernel[axis] + left[axis] for axis in (0, 1))
        step = str(stride[0]) if stride[0] == stride[1] else times(stride)
        return f"for {self.record.name}, a {times(kernel)} kernel with stride {step} fits exactly, and so do {inputs}"


def cut_off_rows(flow: Flow, *, padding_counts: bool) -> WarningRecord | None:
    """The warning of windows that don't fit; without `padding_counts` only of those that leave out pixels."""
    found = [misfit for record in flow.records if (misfit := _misfit(flow, record)) is not None]
    # What costs pixels first.
    found = sorted((one for one in found if padding_counts or any(one.lost)), key=lambda one: not any(one.lost))
    if not found:
        return None
    more = f"; and {len(found) - MOST_TOLD} more" if len(found) > MOST_TOLD else ""
    if len(found) == 1:
        head, _, told = str(found[0]).partition(": ")
    else:
        head = ", ".join(one.record.name for one in found[:MOST_TOLD])
        head += f" and {len(found) - MOST_TOLD} more" if len(found) > MOST_TOLD else ""
        told = "; ".join(map(str, found[:MOST_TOLD])) + more
    return WarningRecord(
        name="cut-off-rows", where=head, message=f"the window does not fit: {told}", fix=found[0].remedy()
    )


def skipped_rows(flow: Flow) -> WarningRecord | None:
    """The warning of windows that step over rows or columns, where no other row reads the same map.

    A strided 1×1 shortcut steps over pixels, too, beside a body that sees them.
    """
    found = [(record, seen) for record in flow.records if (seen := _stepped_over(flow, record)) is not None]
    if not found:
        return None
    told = [
        f"{record.name} sees {seen[0]} of {record.input[1]} rows and {seen[1]} of {record.input[2]} columns"
        for record, seen in found
    ]
    more = f"; and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
    return WarningRecord(
        name="skipped-rows",
        where=", ".join(record.name for record, _ in found[:MOST_TOLD]),
        message=f"the stride steps over pixels that nothing else looks at: {'; '.join(told[:MOST_TOLD])}{more}",
        fix="make the stride no larger than the kernel, and let it share no factor with a dilation",
    )


def _stepped_over(flow: Flow, record: LayerRecord) -> Pair | None:
    """How many rows and columns are seen, where some between the first and the last that are seen are not."""
    layer = flow.layer(record)
    window = layer.window() if layer is not None else None
    readers = [flow.readers(name) for name in record.inputs] or [flow.readers_of_images()]
    alone = readers == [(record.name,)]
    if window is None or len(record.input) != 3 or not alone:
        return None
    seen = []
    for axis in (0, 1):
        size, before = record.input[1 + axis], window.margins[axis] // 2
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


def times_exactly(fits: tuple[OutputSize, OutputSize]) -> str:
    """The sizes by the formula, before they are rounded down: `3.5×3.5`."""
    return "×".join(f"{float(size.exact):g}" for size in fits)


def _misfit(flow: Flow, record: LayerRecord) -> Misfit | None:
    layer = flow.layer(record)
    window = layer.window() if layer is not None else None
    if window is None or len(record.input) != 3:
        return None
    try:
        fits = window.fit(record.input)
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
        lost.append(max(0, beyond - window.margins[axis] // 2))
    if not any(left):
        return None
    return Misfit(record, window, fits, (left[0], left[1]), (lost[0], lost[1]))
