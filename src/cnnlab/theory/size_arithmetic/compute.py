"""The output size, padding, kernel or stride of a convolution, a pooling or a transposed convolution."""

from __future__ import annotations

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
from cnnlab.theory.size_arithmetic.window import MAX_SIZE, SizeSolver, Unknown, Window, runs


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
    query = _validated_query("output", channels=channels, filters=filters, **given, **kind)
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
    # An odd total is divided as torch's padding='same' divides it: one more at the end.
    plain = not (solver.window.pool or solver.window.transposed)
    if solver.unknown == "padding" and plain and exact is not None and exact.denominator > 1 and exact > 0:
        unequal = (floor(exact), floor(exact) + 1)
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
    names = ("size", "kernel", "stride", "padding", "output", "output_padding")
    return tuple(
        NearbySetting(change=change, **{name: getattr(window, name) for name in names})
        for change, window in solver.nearest()
    )


def _merged(values: list[Any]) -> Any:
    """One value for both dimensions, or a pair, as the question was asked."""
    return values[0] if len(values) == 1 else tuple(values)


def _validated_query(
    unknown: Unknown, *, channels: int | None = None, filters: int | None = None, **given: Any
) -> SizeQuery:
    """The question, with the stride's default.

    Raises:
        UsageError: a quantity out of its range, or some that do not go together.
    """
    pool, ceil, transposed = (bool(given.pop(name)) for name in ("pool", "ceil", "transposed"))
    sizes = {name: _validated_size(name, value) for name, value in given.items() if value is not None}
    for name, count in (("channels", channels), ("filters", filters)):
        if count is not None:
            _validated_size(name, count)
    output_padding = sizes["output_padding"] not in (0, (0, 0))
    rules = [
        (pool and transposed, "a pool is not transposed", "keep one of them"),
        (
            ceil and not pool,
            "only pools round up: torch's convolutions have no ceil mode",
            "leave ceil out, or add pool",
        ),
        (
            output_padding and not transposed,
            "only transposed convolutions have output padding",
            "leave it out, or add transposed",
        ),
        (pool and filters is not None, "a pool has no filters: it keeps the channels", "leave the filters out"),
        (
            not pool and (channels is None) != (filters is None),
            "the parameters of a convolution need channels and filters",
            "give both, or neither",
        ),
    ]
    for broken, message, next_step in rules:
        if broken:
            raise UsageError(message, next_step=next_step)
    tied = unknown == "kernel" and pool and "stride" not in sizes
    if unknown != "stride" and not tied and "stride" not in sizes:
        sizes["stride"] = sizes["kernel"] if pool else 1
    query = SizeQuery(**sizes, pool=pool, ceil=ceil, transposed=transposed, tied=tied)
    for axis in query.axes:
        _check_paddings(query.window(axis), unknown)
    return query


def _validated_size(name: str, value: Any) -> SizeOrPair:
    numbers = tuple(value) if isinstance(value, list | tuple) else (value,)
    lowest = 0 if "padding" in name else 1
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
    if not whole or len(numbers) not in (1, 2) or not lowest <= min(numbers) <= max(numbers) <= MAX_SIZE:
        raise UsageError(
            f"{name.replace('_', ' ')} must be a whole number, or two",
            where=name,
            received=str(value),
            allowed=f"{lowest} to {MAX_SIZE:,}: one for both dimensions, or (vertical, horizontal)",
        )
    return numbers if len(numbers) == 2 else numbers[0]


def _check_paddings(window: Window, unknown: Unknown) -> None:
    if window.pool and unknown not in ("padding", "kernel") and 2 * window.padding > window.kernel:
        raise UsageError(
            "a pool's padding is half its kernel at most",
            where="padding",
            received=f"padding {window.padding}, kernel {window.kernel}",
            allowed=f"0 to {window.kernel // 2}",
        )
    largest = max(window.stride, window.dilation)
    if unknown != "stride" and window.output_padding >= largest:
        raise UsageError(
            "output padding must be less than the stride or the dilation",
            where="output_padding",
            received=f"{window.output_padding}, with stride {window.stride} and dilation {window.dilation}",
            allowed=f"0 to {largest - 1}",
        )


def _check_output(window: Window) -> None:
    if window.transposed and not 1 <= window.exact <= MAX_SIZE:
        raise UsageError(
            "the output of the transposed convolution has no possible size",
            where="padding" if window.exact < 1 else "size",
            received=f"{int(window.exact):,} pixels, with padding {window.padding} cut off on each side",
            allowed=f"1 to {MAX_SIZE:,} pixels",
        )
    if window.output is None:
        padded = window.size + 2 * window.padding
        raise UsageError(
            f"a window of {window.extent} pixels does not fit on {padded}",
            where="kernel",
            received=f"size {window.size}, padding {window.padding}, "
            f"kernel {window.kernel}, dilation {window.dilation}",
            allowed=f"windows of up to {padded} pixels",
            next_step="make the kernel smaller or the padding larger",
        )
