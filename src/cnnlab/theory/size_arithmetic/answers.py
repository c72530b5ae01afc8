"""Answers about the sizes of a convolution, a pooling or a transposed convolution: the output, or any one unknown."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil as up
from math import floor
from typing import Any

from cnnlab.errors import UsageError
from cnnlab.records import Record
from cnnlab.render.document import Document, Formula, TitledTable
from cnnlab.render.tables import TextTable
from cnnlab.theory.size_arithmetic.solvers import (
    MAX_SIZE,
    Axis,
    AxisOutput,
    AxisSolution,
    RoundedValue,
    SizeOrPair,
    SizeQuery,
    SizeSolver,
    Unknown,
    Window,
    merge_axes,
    nearest_fits,
    nearest_solutions,
)
from cnnlab.theory.size_arithmetic.view import (
    LETTERS,
    count_text,
    draw_windows,
    format_sizes,
    nearby_tables,
    output_notes,
    output_template,
    solution_notes,
    solved_template,
    substituted_formula,
    symbol_values,
    with_axis,
    worked_formula,
)

_MAY_BE_ZERO = ("padding", "output_padding")


def validated_query(unknown: Unknown | None, **given: Any) -> SizeQuery:
    """The question, with the stride that was meant.

    Raises:
        UsageError: a quantity out of its range, or some that do not go together.
    """
    flags = {name: bool(given.pop(name)) for name in ("pool", "ceil", "transposed")}
    sizes = {name: _validated_size(name, value) for name, value in given.items() if value is not None}
    _check_kind(output_padding=sizes["output_padding"], **flags)
    tied = False
    if unknown != "stride" and "stride" not in sizes:
        tied = flags["pool"] and unknown == "kernel"
        if not tied:
            sizes["stride"] = sizes["kernel"] if flags["pool"] else 1
    query = SizeQuery(**sizes, **flags, tied=tied)
    for axis in query.axes:
        _check_paddings(query.window(axis), unknown)
    return query


def validate_channels(query: SizeQuery, channels: int | None, filters: int | None) -> None:
    """Nothing, if the channels and filters suit what slides.

    Raises:
        UsageError: one without the other, or a pool with filters.
    """
    for name, value in (("channels", channels), ("filters", filters)):
        if value is not None:
            _check_number(name, value, value)
    if query.pool and filters is not None:
        raise UsageError(
            "a pool has no filters: as many channels come out as go in",
            where="filters",
            received=str(filters),
            next_step="leave the filters out",
        )
    if not query.pool and (channels is None) != (filters is None):
        missing, there = ("filters", "channels") if filters is None else ("channels", "filters")
        raise UsageError(
            f"a {query.kind} has its parameters by channels and filters together",
            where=missing,
            received=f"{there} alone",
            next_step=f"give the {missing}, too",
        )


def validate_window(window: Window) -> None:
    """Nothing, if something comes out, and not more than is allowed.

    Raises:
        UsageError: the window is larger than its image; all of the output is cut off; the output is too large.
    """
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
        span = (
            f"{window.extent}" if window.dilation == 1 else f"{window.extent} (kernel {window.kernel}, with its gaps)"
        )
        padded = window.size + 2 * window.padding
        raise UsageError(
            f"a window of {span} pixels does not fit on {padded}",
            where="kernel",
            received=f"size {window.size}, padding {window.padding} on each side",
            allowed=f"windows of up to {padded} pixels",
            next_step=_available_text(window),
        )


def _available_text(window: Window) -> str:
    needed = -(-(window.extent - window.size) // 2)
    if window.pool and 2 * needed > window.kernel:
        return "make the kernel smaller"
    return f"make the kernel smaller, or the padding {needed}"


def _validated_size(name: str, value: Any) -> SizeOrPair:
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != 2:
            raise UsageError(
                f"{_option_text(name)} is one number or two",
                where=name,
                received=str(value),
                allowed="one for both dimensions, or (vertical, horizontal)",
            )
        return _check_number(name, value[0], value), _check_number(name, value[1], value)
    return _check_number(name, value, value)


def _check_number(name: str, number: Any, received: Any) -> int:
    lowest = 0 if name in _MAY_BE_ZERO else 1
    if isinstance(number, bool) or not isinstance(number, int) or not lowest <= number <= MAX_SIZE:
        raise UsageError(
            f"{_option_text(name)} is a whole number from {lowest} on",
            where=name,
            received=str(received),
            allowed=f"{lowest} to {MAX_SIZE:,}",
        )
    return number


def _option_text(name: str) -> str:
    return name.replace("_", " ")


def _check_kind(*, pool: bool, ceil: bool, transposed: bool, output_padding: SizeOrPair) -> None:
    if pool and transposed:
        raise UsageError(
            "a pool is not transposed",
            received="pool and transposed",
            next_step="keep one of them; an unpooling layer is no sliding window",
        )
    if ceil and not pool:
        raise UsageError(
            "only pools round up: torch's convolutions have no ceil mode",
            where="ceil",
            received="ceil without pool",
            next_step="leave ceil out, or make it a pool",
        )
    if output_padding not in (0, (0, 0)) and not transposed:
        raise UsageError(
            "output padding is of transposed convolutions",
            where="output_padding",
            received=str(output_padding),
            next_step="leave it out, or make it a transposed convolution",
        )


def _check_paddings(window: Window, unknown: Unknown | None) -> None:
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
            "output padding is less than the stride or the dilation",
            where="output_padding",
            received=f"{window.output_padding}, with stride {window.stride} and dilation {window.dilation}",
            allowed=f"0 to {largest - 1}",
            next_step="output padding chooses among the sizes that the stride makes one",
        )


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
    """What comes out of a sliding window, as the formula has it and as torch rounds it, and what it never sees.

    Every size is in pixels, one number for both dimensions or (vertical, horizontal).

    Args:
        size: the image's.
        kernel: the window's.
        stride: 1 unless given; a pool's is its kernel.
        padding: on each side.
        dilation: how far apart a window's pixels are.
        pool: a pool, whose padding is half its kernel at most.
        ceil: round up, as torch's pools can.
        transposed: a transposed convolution.
        output_padding: of a transposed convolution, rows more at the end; less than its stride or its dilation.
        channels: of the image; with it the answer has the output's shape and, of a convolution, its parameters.
        filters: of a convolution.

    Raises:
        UsageError: a quantity out of its range, some that do not go together, or a window larger than its image.

    >>> answer = solve_output(32, kernel=5, padding=2, stride=2)
    >>> answer.size, answer.exact, answer.fits
    (16, '33/2', False)
    """
    given = {"size": size, "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    kind = {"pool": pool, "ceil": ceil, "transposed": transposed, "output_padding": output_padding}
    question = validated_query(None, **given, **kind)
    validate_channels(question, channels, filters)
    for axis in question.axes:
        validate_window(question.window(axis))
    found = tuple(axis_output(question.window(axis), axis, nearest=True) for axis in question.axes)
    return OutputSizeResult(
        size=merge_axes([axis.size for axis in found]),
        exact=merge_axes([axis.exact for axis in found]),
        fits=all(axis.fits for axis in found),
        question=question,
        axes=found,
        **_with_channels(question, found, channels, filters),
    )


class OutputSizeResult(Record):
    """What comes out of a window that slides over an image.

    `size` is what torch makes of `exact`. `shape` is (channels, height, width); it, `weights`, `biases` and
    `parameters` are None where the channels were not given.
    """

    size: SizeOrPair
    exact: str | tuple[str, str]
    fits: bool
    shape: tuple[int, int, int] | None = None
    weights: int | None = None
    biases: int | None = None
    parameters: int | None = None
    channels: int | None = None
    filters: int | None = None
    question: SizeQuery
    axes: tuple[AxisOutput, ...]

    def document(self) -> Document:
        """The worked answer."""
        return _output_document(self)

    def svg(self) -> str:
        """The windows under their row of pixels, standing alone; one row of pixels a dimension."""
        return draw_windows(self.question, self.axes)

    def _repr_html_(self) -> str:
        return self.document().to_html(self.svg())


def axis_output(window: Window, axis: Axis, *, nearest: bool) -> AxisOutput:
    front, inner, behind = window.layout.untouched_pixels()
    lost = window.layout.idle_windows() if window.transposed else inner
    found = AxisOutput(
        axis=axis,
        exact=str(window.exact),
        size=window.output or 0,
        fits=window.fits,
        left_over=window.left_over,
        unseen=tuple(lost),
        unseen_padding=() if window.transposed else (*front, *behind),
        empty=tuple(inner) if window.transposed else (),
        nearest=tuple(nearest_fits(window)) if nearest and not window.fits else (),
    )
    return found.model_copy(update={"notes": tuple(output_notes(window, found))})


def _with_channels(
    query: SizeQuery, axes: tuple[AxisOutput, ...], channels: int | None, filters: int | None
) -> dict[str, Any]:
    if channels is None:
        return {}
    shape = (filters or channels, axes[0].size, axes[-1].size)
    if filters is None:
        return {"channels": channels, "shape": shape, "weights": 0, "biases": 0, "parameters": 0}
    area = query.window(query.axes[0]).kernel * query.window(query.axes[-1]).kernel
    weights = filters * channels * area
    counts = {"weights": weights, "biases": filters, "parameters": weights + filters}
    return {"channels": channels, "filters": filters, "shape": shape, **counts}


def _output_document(result: OutputSizeResult) -> Document:
    """The worked output."""
    query = result.question
    lines: list[str | Formula] = [substituted_formula("O", output_template(query.window(query.axes[0])), LETTERS)]
    for found in result.axes:
        window = query.window(found.axis)
        lines.append(worked_formula("O", output_template(window), symbol_values(window), found.exact, found.axis))
        if not found.fits:
            lines.append(_rounded_formula(window, found.size))
    if result.shape:
        lines.append(f"output: {format_sizes(result.shape)} (channels × height × width)")
    if result.filters:
        lines.append(_parameter_formula(result))
    near = [(found.axis, item) for found in result.axes for item in found.nearest]
    tables = nearby_tables("The nearest that fit exactly", query, near)
    notes = [with_axis(found.axis, note) for found in result.axes for note in found.notes]
    return Document(f"Output of a {query.kind}: {format_sizes(result.size)}", tuple(lines), tables, tuple(notes))


def _rounded_formula(window: Window, size: int) -> Formula:
    left, right = ("⌈", "⌉") if window.ceil else ("⌊", "⌋")
    side = "ceil" if window.ceil else "floor"
    exact = window.exact
    whole = -(-exact.numerator // exact.denominator) if window.ceil else exact.numerator // exact.denominator
    text = f"{left}{exact}{right} = {whole}"
    latex = rf"\l{side} {exact} \r{side} = {whole}"
    if whole == size:
        return Formula(text, latex)
    # The one exception to rounding up: a window that would begin behind the image is left out.
    return Formula(f"{text}, less 1 that begins behind the image = {size}", rf"{latex}, \quad {whole} - 1 = {size}")


def _parameter_formula(result: OutputSizeResult) -> Formula:
    axes = result.question.axes
    high, wide = (result.question.window(axis).kernel for axis in (axes[0], axes[-1]))
    factors = [str(result.filters), str(result.channels), str(high), str(wide)]
    counted = f"{result.weights:,} + {result.filters:,} = {result.parameters:,}"
    latex = " \\cdot ".join(factors)
    return Formula(
        f"parameters = {'·'.join(factors)} + {result.filters} = {counted}",
        rf"\text{{parameters}} = {latex} + {result.filters} = {counted.replace(',', '{,}')}",
    )


# A table shows so many answers; the rest are in the JSON.
_MAX_SOLUTIONS = 12


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
    """The padding on each side with which `output` comes out: the image's own size, unless given.

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
    """The kernel with which `output` comes out; a pool's stride is the kernel that is looked for, unless given.

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
    """The stride with which `output` comes out.

    Arguments and errors as `solve_output`.

    >>> found = solve_stride(32, 1, kernel=5)
    >>> found.stride, found.axes[0].any_from
    (28, 28)
    """
    given = {"size": size, "output": output, "kernel": kernel, "padding": padding, "dilation": dilation}
    kind = {"pool": pool, "ceil": ceil, "transposed": transposed, "output_padding": output_padding}
    return _solution("stride", **given, **kind)


class SizeSolution(Record):
    """The unknown of a sliding window: its value stands under its own name, beside what was given.

    `output` is the wanted size, `size` the image's; `fits` tells whether the windows end exactly at the border.
    """

    unknown: Unknown
    size: SizeOrPair
    output: SizeOrPair
    padding: int | tuple[int | None, int | None] | None
    kernel: int | tuple[int | None, int | None] | None
    stride: int | tuple[int | None, int | None] | None
    exact: str | tuple[str | None, str | None] | None
    fits: bool
    question: SizeQuery
    axes: tuple[AxisSolution, ...]

    def document(self) -> Document:
        """The worked answer."""
        return _solution_document(self)

    def _repr_html_(self) -> str:
        return self.document().to_html()


def _solution(unknown: Unknown, **given: Any) -> SizeSolution:
    question = validated_query(unknown, **given)
    found = tuple(_axis_solution(question.solver(axis, unknown), axis) for axis in question.axes)
    values = {name: getattr(question, name) for name in ("padding", "kernel", "stride")}
    if question.tied:
        values["stride"] = merge_axes([axis.value for axis in found])
    return SizeSolution(
        unknown=unknown,
        size=question.size,
        output=question.output,
        exact=merge_axes([axis.exact for axis in found]),
        fits=all(axis.fits for axis in found),
        question=question,
        axes=found,
        **{**values, unknown: merge_axes([axis.value for axis in found])},
    )


def _axis_solution(solver: SizeSolver, axis: Axis) -> AxisSolution:
    answers, any_from = solver.solutions()
    best = next((answer for answer in answers if answer.fits), answers[0] if answers else None)
    fits = best is not None and best.fits
    exact = solver.exact
    found = AxisSolution(
        axis=axis,
        value=best.value if best else None,
        exact=None if exact is None else str(exact),
        fits=fits,
        answers=tuple(answers),
        any_from=any_from,
        unequal=_unequal_padding(solver, exact),
        attempts=() if best else _rounded_values(solver, Fraction(1) if exact is None else exact),
        result=axis_output(solver.with_value(best.value), axis, nearest=False) if best else None,
        nearest=() if fits else tuple(nearest_solutions(solver)),
    )
    return found.model_copy(update={"notes": tuple(solution_notes(solver, found))})


def _unequal_padding(solver: SizeSolver, exact: Fraction | None) -> tuple[int, int] | None:
    """An odd padding, shared out as torch's 'same' does: one more behind."""
    if solver.unknown != "padding" or exact is None or exact.denominator == 1 or exact < 0:
        return None
    return (floor(exact), up(exact)) if not (solver.window.pool or solver.window.transposed) else None


def _rounded_values(solver: SizeSolver, exact: Fraction) -> tuple[RoundedValue, ...]:
    near = sorted({max(floor(exact), solver.min_value), max(up(exact), solver.min_value)})
    return tuple(RoundedValue(value=value, output=solver.with_value(value).output) for value in near)


def _solution_document(result: SizeSolution) -> Document:
    """The worked unknown."""
    query, unknown = result.question, result.unknown
    first = query.solver(query.axes[0], unknown)
    symbol = {"padding": "P", "kernel": "F", "stride": "S"}[unknown]
    lines: list[str | Formula] = [substituted_formula(symbol, solved_template(first), LETTERS)]
    for found in result.axes:
        solver = query.solver(found.axis, unknown)
        numbers = symbol_values(solver.window) | {"O": str(solver.output)}
        if found.exact is not None:
            lines.append(worked_formula(symbol, solved_template(solver), numbers, found.exact, found.axis))
    tables = [_solutions_table(result, found) for found in result.axes if len(found.answers) > 1]
    near = [(found.axis, item) for found in result.axes for item in found.nearest]
    tables += nearby_tables("The nearest that fit exactly", query, near)
    notes = [with_axis(found.axis, note) for found in result.axes for note in found.notes]
    title = f"{unknown.capitalize()} of a {query.kind}, {format_sizes(result.size)} → {format_sizes(result.output)}"
    return Document(f"{title}: {format_sizes(getattr(result, unknown))}", tuple(lines), tuple(tables), tuple(notes))


def _solutions_table(result: SizeSolution, solution: AxisSolution) -> TitledTable:
    shown = solution.answers[:_MAX_SOLUTIONS]
    rows = [
        (str(fit.value), "yes" if fit.fits else "no", _remainder_text(fit.left_over, solution.axis)) for fit in shown
    ]
    if len(solution.answers) > len(shown):
        rows.append((f"… {solution.answers[-1].value}", "", f"{len(solution.answers) - len(shown)} more"))
    title = with_axis(solution.axis, f"Every {result.unknown} with which torch gives the wanted output")
    return title, TextTable.from_rows([f"#{result.unknown}", "fits exactly", "left over"], rows)


def _remainder_text(left_over: int, axis: Axis) -> str:
    if left_over < 0:
        return f"sticks out by {count_text(-left_over, axis)}"
    return count_text(left_over, axis) if left_over else "nothing"
