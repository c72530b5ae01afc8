"""The output size, padding, kernel or stride of a convolution, a pooling or a transposed convolution."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil as round_up
from math import floor
from typing import Any

from cnnlab.errors import UsageError
from cnnlab.theory.size_arithmetic.result import (
    Axis,
    AxisOutput,
    AxisSolution,
    NearbySetting,
    OutputSizeResult,
    SizeOrPair,
    SizeQuery,
    SizeSolution,
    SolverValue,
)
from cnnlab.theory.size_arithmetic.solver import MAX_SIZE, SizeSolver, Unknown
from cnnlab.theory.size_arithmetic.window import Window, runs


def solve_output(
    size: SizeOrPair,
    kernel: SizeOrPair,
    *,
    stride: SizeOrPair | None = None,
    padding: SizeOrPair = 0,
    dilation: SizeOrPair = 1,
    pool: bool = False,
    ceil: bool = False,
    transposed: bool = False,
    output_padding: SizeOrPair = 0,
    channels: int | None = None,
    filters: int | None = None,
) -> OutputSizeResult:
    """Compute the output size of a sliding window, as the formula has it and as torch rounds it.

    Every size is in pixels, one number for both dimensions or (vertical, horizontal).

    Args:
        size: of the image.
        kernel: of the window.
        stride: 1 by default; a pool's is its kernel.
        padding: on each side.
        dilation: distance between neighbouring pixels of a window.
        pool: a pool, whose padding is half its kernel at most.
        ceil: round up, as torch's pools can.
        transposed: a transposed convolution.
        output_padding: rows added at the end of a transposed convolution's output, fewer than its stride or dilation.
        channels: of the image; with it the result has the output's shape and, with `filters`, the parameters.
        filters: of a convolution.

    Raises:
        UsageError: a quantity out of its range, some that do not go together, or a window larger than its image.

    >>> result = solve_output(32, kernel=5, padding=2, stride=2)
    >>> result.size, result.exact, result.fits
    (16, '33/2', False)
    """
    given = {"size": size, "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    kind = {"pool": pool, "ceil": ceil, "transposed": transposed, "output_padding": output_padding}
    query = _validated_query("output", **given, **kind)
    _check_channels(query, channels, filters)
    for axis in query.axes:
        _check_output(query.window(axis))
    axes = tuple(_axis_output(query.window(axis), axis) for axis in query.axes)
    return OutputSizeResult(
        size=_merged([axis.size for axis in axes]),
        exact=_merged([axis.exact for axis in axes]),
        fits=all(axis.fits for axis in axes),
        question=query,
        axes=axes,
        **_shape_and_parameters(query, axes, channels, filters),
    )


def solve_padding(
    size: SizeOrPair,
    kernel: SizeOrPair,
    *,
    stride: SizeOrPair | None = None,
    output: SizeOrPair | None = None,
    dilation: SizeOrPair = 1,
    pool: bool = False,
    ceil: bool = False,
    transposed: bool = False,
    output_padding: SizeOrPair = 0,
) -> SizeSolution:
    """Solve for the padding on each side that gives `output`, by default the image's own size.

    Arguments and errors as `solve_output`.

    >>> solve_padding(32, kernel=7).padding
    3
    """
    given = {"size": size, "kernel": kernel, "stride": stride, "dilation": dilation}
    kind = {"pool": pool, "ceil": ceil, "transposed": transposed, "output_padding": output_padding}
    return _solution("padding", output=size if output is None else output, **given, **kind)


def solve_kernel(
    size: SizeOrPair,
    output: SizeOrPair,
    *,
    stride: SizeOrPair | None = None,
    padding: SizeOrPair = 0,
    dilation: SizeOrPair = 1,
    pool: bool = False,
    ceil: bool = False,
    transposed: bool = False,
    output_padding: SizeOrPair = 0,
) -> SizeSolution:
    """Solve for the kernel that gives `output`; a pool's stride is that kernel by default.

    Arguments and errors as `solve_output`.

    >>> solve_kernel(512, 508).kernel
    5
    """
    given = {"size": size, "output": output, "stride": stride, "padding": padding, "dilation": dilation}
    kind = {"pool": pool, "ceil": ceil, "transposed": transposed, "output_padding": output_padding}
    return _solution("kernel", **given, **kind)


def solve_stride(
    size: SizeOrPair,
    output: SizeOrPair,
    kernel: SizeOrPair,
    *,
    padding: SizeOrPair = 0,
    dilation: SizeOrPair = 1,
    pool: bool = False,
    ceil: bool = False,
    transposed: bool = False,
    output_padding: SizeOrPair = 0,
) -> SizeSolution:
    """Solve for the stride that gives `output`.

    Arguments and errors as `solve_output`.

    >>> solve_stride(32, 16, kernel=4, padding=1).stride
    2
    """
    given = {"size": size, "output": output, "kernel": kernel, "padding": padding, "dilation": dilation}
    kind = {"pool": pool, "ceil": ceil, "transposed": transposed, "output_padding": output_padding}
    return _solution("stride", **given, **kind)


def _axis_output(window: Window, axis: Axis) -> AxisOutput:
    uncovered = window.uncovered()
    inner = runs(pixel for pixel in uncovered if 0 <= pixel < window.num_pixels)
    outer = runs(pixel for pixel in uncovered if not 0 <= pixel < window.num_pixels)
    return AxisOutput(
        axis=axis,
        exact=str(window.exact),
        size=window.output or 0,
        fits=window.fits,
        left_over=window.left_over,
        unseen=runs(window.cut_off()) if window.transposed else inner,
        unseen_padding=() if window.transposed else outer,
        empty=inner if window.transposed else (),
        nearest=() if window.fits else _nearest(SizeSolver(window, "output")),
    )


def _shape_and_parameters(
    query: SizeQuery, axes: tuple[AxisOutput, ...], channels: int | None, filters: int | None
) -> dict[str, Any]:
    if channels is None:
        return {}
    shape = (filters or channels, axes[0].size, axes[-1].size)
    if filters is None:
        return {"channels": channels, "shape": shape, "weights": 0, "biases": 0, "parameters": 0}
    weights = filters * channels * query.window(query.axes[0]).kernel * query.window(query.axes[-1]).kernel
    counts = {"weights": weights, "biases": filters, "parameters": weights + filters}
    return {"channels": channels, "filters": filters, "shape": shape, **counts}


def _solution(unknown: Unknown, **given: Any) -> SizeSolution:
    query = _validated_query(unknown, **given)
    axes = tuple(_axis_solution(query.solver(axis, unknown), axis) for axis in query.axes)
    values = {name: getattr(query, name) for name in ("padding", "kernel", "stride")}
    values[unknown] = _merged([axis.value for axis in axes])
    if query.tied:
        values["stride"] = values["kernel"]
    return SizeSolution(
        unknown=unknown,
        size=query.size,
        output=query.output,
        exact=_merged([axis.exact for axis in axes]),
        fits=all(axis.fits for axis in axes),
        question=query,
        axes=axes,
        **values,
    )


def _axis_solution(solver: SizeSolver, axis: Axis) -> AxisSolution:
    windows = [(value, solver.with_value(value)) for value in solver.values()]
    answers = [SolverValue(value=value, fits=window.fits, left_over=window.left_over) for value, window in windows]
    best = next((answer for answer in answers if answer.fits), answers[0] if answers else None)
    fits = best is not None and best.fits
    exact = solver.exact
    unequal = None
    # An odd padding in all, divided as torch's padding='same' divides it: one more behind.
    plain = not (solver.window.pool or solver.window.transposed)
    if solver.unknown == "padding" and plain and exact is not None and exact.denominator > 1 and exact > 0:
        unequal = (floor(exact), round_up(exact))
    return AxisSolution(
        axis=axis,
        value=best.value if best else None,
        exact=None if exact is None else str(exact),
        fits=fits,
        answers=tuple(answers),
        unequal=unequal,
        nearest=() if fits else _nearest(solver),
    )


def _nearest(solver: SizeSolver) -> tuple[NearbySetting, ...]:
    return tuple(
        NearbySetting(
            change=change,
            size=window.size,
            kernel=window.kernel,
            stride=window.stride,
            padding=window.padding,
            output=window.output or 0,
            output_padding=window.output_padding,
        )
        for change, window in solver.nearest()
    )


def _merged(values: list[Any]) -> Any:
    """One value for both dimensions, or a pair, as the question was asked."""
    return values[0] if len(values) == 1 else tuple(values)


def _validated_query(unknown: Unknown, **given: Any) -> SizeQuery:
    """The question, with the stride's default.

    Raises:
        UsageError: a quantity out of its range, or some that do not go together.
    """
    flags = {name: bool(given.pop(name)) for name in ("pool", "ceil", "transposed")}
    sizes = {name: _validated_size(name, value) for name, value in given.items() if value is not None}
    _check_kind(output_padding=sizes["output_padding"], **flags)
    tied = unknown == "kernel" and flags["pool"] and "stride" not in sizes
    if unknown != "stride" and not tied:
        sizes.setdefault("stride", sizes["kernel"] if flags["pool"] else 1)
    query = SizeQuery(**sizes, **flags, tied=tied)
    for axis in query.axes:
        _check_paddings(query.window(axis), unknown)
    return query


def _validated_size(name: str, value: Any) -> SizeOrPair:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return _validated_number(name, value, value)
    if len(value) != 2:
        raise UsageError(
            f"{name.replace('_', ' ')} is one number or two",
            where=name,
            received=str(value),
            allowed="one for both dimensions, or (vertical, horizontal)",
        )
    return _validated_number(name, value[0], value), _validated_number(name, value[1], value)


def _validated_number(name: str, number: Any, received: Any) -> int:
    lowest = 0 if name in ("padding", "output_padding") else 1
    if isinstance(number, bool) or not isinstance(number, int) or not lowest <= number <= MAX_SIZE:
        raise UsageError(
            f"{name.replace('_', ' ')} must be a whole number",
            where=name,
            received=str(received),
            allowed=f"{lowest} to {MAX_SIZE:,}",
        )
    return number


def _check_kind(*, pool: bool, ceil: bool, transposed: bool, output_padding: SizeOrPair) -> None:
    if pool and transposed:
        raise UsageError("a pool is not transposed", received="pool and transposed", next_step="keep one of them")
    if ceil and not pool:
        raise UsageError(
            "only pools round up: torch's convolutions have no ceil mode",
            where="ceil",
            received="ceil without pool",
            next_step="leave ceil out, or add pool",
        )
    if output_padding not in (0, (0, 0)) and not transposed:
        raise UsageError(
            "only transposed convolutions have output padding",
            where="output_padding",
            received=str(output_padding),
            next_step="leave it out, or add transposed",
        )


def _check_paddings(window: Window, unknown: Unknown) -> None:
    if window.pool and unknown not in ("padding", "kernel") and 2 * window.padding > window.kernel:
        raise UsageError(
            "a pool's padding is half its kernel at most",
            where="padding",
            received=f"padding {window.padding}, kernel {window.kernel}",
            allowed=f"0 to {window.kernel // 2}",
        )
    largest = max(window.stride, window.dilation)
    if unknown != "stride" and window.output_padding >= largest and window.output_padding:
        raise UsageError(
            "output padding must be less than the stride or the dilation",
            where="output_padding",
            received=f"{window.output_padding}, with stride {window.stride} and dilation {window.dilation}",
            allowed=f"0 to {largest - 1}",
        )


def _check_channels(query: SizeQuery, channels: int | None, filters: int | None) -> None:
    for name, value in (("channels", channels), ("filters", filters)):
        if value is not None:
            _validated_number(name, value, value)
    if query.pool and filters is not None:
        raise UsageError(
            "a pool has no filters: it keeps the channels",
            where="filters",
            received=str(filters),
            next_step="leave the filters out",
        )
    if not query.pool and (channels is None) != (filters is None):
        missing, present = ("filters", "channels") if filters is None else ("channels", "filters")
        raise UsageError(
            f"the parameters of a {query.kind} need channels and filters",
            where=missing,
            received=f"{present} alone",
            next_step=f"give the {missing}, too",
        )


def _check_output(window: Window) -> None:
    padded = window.size + 2 * window.padding
    if window.transposed:
        whole = int(window.exact)
        if whole > MAX_SIZE:
            raise UsageError("the output is too large", received=f"{whole:,} pixels", allowed=f"up to {MAX_SIZE:,}")
        if window.output is None:
            raise UsageError(
                "the padding cuts off the whole output",
                where="padding",
                received=f"padding {window.padding}, of {whole + 2 * window.padding} pixels",
                allowed=f"up to {(whole + 2 * window.padding - 1) // 2}",
            )
    elif window.output is None:
        raise UsageError(
            f"a window of {window.extent} pixels does not fit on {padded}",
            where="kernel",
            received=f"size {window.size}, padding {window.padding}, "
            f"kernel {window.kernel}, dilation {window.dilation}",
            allowed=f"windows of up to {padded} pixels",
            next_step="make the kernel smaller or the padding larger",
        )
