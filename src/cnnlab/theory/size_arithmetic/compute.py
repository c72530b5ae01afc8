"""The output size, padding, kernel or stride of a convolution, a pooling or a transposed convolution."""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import Any, TypedDict, Unpack

from cnnlab.errors import UsageError
from cnnlab.theory.output_size import MAX_SIZE, SizeOrPair, validated_size
from cnnlab.theory.size_arithmetic.result import (
    Axis,
    AxisResult,
    NearbySetting,
    OutputSizeResult,
    SizeSolution,
)
from cnnlab.theory.size_arithmetic.window import SizeSolver, Unknown, Window, runs


class WindowOptions(TypedDict, total=False):
    """Options of every window.

    Attributes:
        dilation: distance between neighbouring pixels of a window, 1 by default.
        pool: a pool, whose padding is half its kernel at most, and whose stride is its kernel by default.
        ceil: round up, as torch's pools can.
        transposed: a transposed convolution.
        output_padding: rows added at the end of a transposed convolution's output, fewer than its stride or dilation.
    """

    dilation: SizeOrPair
    pool: bool
    ceil: bool
    transposed: bool
    output_padding: SizeOrPair


def solve_output(
    size: SizeOrPair,
    kernel: SizeOrPair,
    *,
    stride: SizeOrPair | None = None,
    padding: SizeOrPair = 0,
    channels: int | None = None,
    filters: int | None = None,
    **options: Unpack[WindowOptions],
) -> OutputSizeResult:
    """Compute the output size of a sliding window, as the formula has it and as torch rounds it.

    Every size is in pixels, one number for both dimensions or (vertical, horizontal).

    Args:
        size: of the image.
        kernel: of the window.
        stride: 1 by default; a pool's is its kernel.
        padding: on each side.
        channels: of the image; with it the result has the output's shape and, with `filters`, the parameters.
        filters: of a convolution.
        **options: `dilation`, `pool`, `ceil`, `transposed`, `output_padding`, as in `WindowOptions`.

    Raises:
        UsageError: a quantity out of its range, some that do not go together, or a window larger than its image.

    >>> result = solve_output(32, kernel=5, padding=2, stride=2)
    >>> result.size, result.exact, result.fits
    (16, '33/2', False)
    """
    _check_counts(channels, filters, options.get("pool", False))
    solvers = _solvers("output", size=size, kernel=kernel, stride=stride, padding=padding, **options)
    for solver in solvers.values():
        _check_output(solver.window)
    axes = tuple(_axis_result(axis, solver) for axis, solver in solvers.items())
    shape = weights = None
    if channels is not None:
        shape = (filters or channels, axes[0].value or 0, axes[-1].value or 0)
        weights = (filters or 0) * channels * axes[0].window.kernel * axes[-1].window.kernel
    return OutputSizeResult(
        size=_merged([item.value for item in axes]),
        exact=_merged([item.exact for item in axes]),
        fits=all(item.fits for item in axes),
        shape=shape,
        weights=weights,
        biases=None if weights is None else filters or 0,
        parameters=None if weights is None else weights + (filters or 0),
        channels=channels,
        filters=filters,
        axes=axes,
    )


def solve_padding(
    size: SizeOrPair,
    kernel: SizeOrPair,
    *,
    stride: SizeOrPair | None = None,
    output: SizeOrPair | None = None,
    **options: Unpack[WindowOptions],
) -> SizeSolution:
    """Solve for the padding on each side that gives `output`, by default the image's own size.

    Arguments and errors as `solve_output`.

    >>> solve_padding(32, kernel=7).padding
    3
    """
    output = size if output is None else output
    return _solution("padding", size=size, kernel=kernel, stride=stride, output=output, **options)


def solve_kernel(
    size: SizeOrPair,
    output: SizeOrPair,
    *,
    stride: SizeOrPair | None = None,
    padding: SizeOrPair = 0,
    **options: Unpack[WindowOptions],
) -> SizeSolution:
    """Solve for the kernel that gives `output`; a pool's stride is that kernel by default.

    Arguments and errors as `solve_output`.

    >>> solve_kernel(512, 508).kernel
    5
    """
    return _solution("kernel", size=size, stride=stride, padding=padding, output=output, **options)


def solve_stride(
    size: SizeOrPair,
    output: SizeOrPair,
    kernel: SizeOrPair,
    *,
    padding: SizeOrPair = 0,
    **options: Unpack[WindowOptions],
) -> SizeSolution:
    """Solve for the stride that gives `output`.

    Arguments and errors as `solve_output`.

    >>> solve_stride(32, 16, kernel=4, padding=1).stride
    2
    """
    return _solution("stride", size=size, kernel=kernel, padding=padding, output=output, **options)


def _solution(unknown: Unknown, *, size: SizeOrPair, output: SizeOrPair, **given: Any) -> SizeSolution:
    solvers = _solvers(unknown, size=size, output=output, **given)
    axes = tuple(_axis_result(axis, solver) for axis, solver in solvers.items())
    values = {name: given.get(name) for name in ("padding", "kernel", "stride")}
    values[unknown] = _merged([item.value for item in axes])
    if values["stride"] is None and unknown != "stride":
        values["stride"] = values["kernel"] if given.get("pool") else 1
    return SizeSolution(
        unknown=unknown,
        size=size,
        output=output,
        **values,
        exact=_merged([item.exact for item in axes]),
        fits=all(item.fits for item in axes),
        axes=axes,
    )


def _axis_result(axis: Axis, solver: SizeSolver) -> AxisResult:
    formula, exact = solver.formula()
    windows = [(value, solver.with_value(value)) for value in solver.values()]
    value, window = next((pair for pair in windows if pair[1].fits), windows[0] if windows else (None, solver.window))
    fits = value is not None and window.fits
    unequal = None
    # An odd total is divided as torch's padding='same' divides it: one more at the end.
    plain = not (window.pool or window.transposed)
    if solver.unknown == "padding" and plain and exact is not None and exact.denominator > 1 and exact > 0:
        unequal = (floor(exact), floor(exact) + 1)
    return AxisResult(
        axis=axis,
        window=window,
        formula=formula,
        numbers="" if exact is None else f"{solver.substituted()} = {format_fraction(exact)}",
        exact=None if exact is None else str(exact),
        value=value,
        fits=fits,
        left_over=window.left_over if windows else 0,
        uncovered=runs(window.uncovered()) if windows else (),
        answers=tuple(value for value, _ in windows),
        unequal=unequal,
        nearest=() if fits else _nearest(solver),
    )


def format_fraction(value: Fraction) -> str:
    """A fraction with its decimals; a whole number as it is.

    >>> format_fraction(Fraction(33, 2)), format_fraction(Fraction(95, 3))
    ('33/2 = 16.5', '95/3 ≈ 31.67')
    """
    decimals = f"{round(float(value), 2):g}"
    equal = "=" if Fraction(decimals) == value else "≈"
    text = str(value) if value.denominator == 1 else f"{value} {equal} {decimals}"
    return text.replace("-", "−")


def _nearest(solver: SizeSolver) -> tuple[NearbySetting, ...]:
    names = ("size", "kernel", "stride", "padding", "output", "output_padding")
    return tuple(
        NearbySetting(change=change, **{name: getattr(window, name) for name in names})
        for change, window in solver.nearest()
    )


def _merged(values: list[Any]) -> Any:
    """One value for both dimensions, or a pair, as the question was asked."""
    return values[0] if len(values) == 1 else tuple(values)


def _solvers(
    unknown: Unknown, *, pool: bool = False, ceil: bool = False, transposed: bool = False, **given: Any
) -> dict[Axis, SizeSolver]:
    """The question along each dimension that differs, with the stride's default.

    Raises:
        UsageError: a quantity out of its range, or some that do not go together.
    """
    sizes = {name: validated_size(name, value) for name, value in given.items() if value is not None}
    output_padding = sizes.get("output_padding", 0) not in (0, (0, 0))
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
    ]
    for broken, message, next_step in rules:
        if broken:
            raise UsageError(message, next_step=next_step)
    tied = unknown == "kernel" and pool and "stride" not in sizes
    # The unknown has its smallest value, which does not count.
    sizes = {"kernel": 1, "padding": 0, "stride": sizes.get("kernel", 1) if pool else 1, **sizes}
    solvers = {}
    axes: tuple[Axis, ...] = (
        ("rows", "columns") if any(isinstance(size, tuple) for size in sizes.values()) else ("both",)
    )
    for number, axis in enumerate(axes):
        along = {name: size[number] if isinstance(size, tuple) else size for name, size in sizes.items()}
        output = along.pop("output", 0)
        window = Window(**along, pool=pool, ceil=ceil, transposed=transposed)
        _check_paddings(window, unknown)
        solvers[axis] = SizeSolver(window, unknown, output, tied)
    return solvers


def _check_counts(channels: int | None, filters: int | None, pool: bool) -> None:
    for name, count in (("channels", channels), ("filters", filters)):
        if count is not None:
            validated_size(name, count)
    if pool and filters is not None:
        raise UsageError("a pool has no filters: it keeps the channels", next_step="leave the filters out")
    if not pool and (channels is None) != (filters is None):
        raise UsageError("the parameters of a convolution need channels and filters", next_step="give both, or neither")


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
