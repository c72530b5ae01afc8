"""Answers about the sizes of a convolution, a pooling or a transposed convolution: the output, or any one unknown."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil as up
from math import floor
from typing import Any

from cnnlab.errors import UsageError
from cnnlab.records import Record
from cnnlab.render.document import Formula, Sheet, Titled
from cnnlab.render.tables import TextTable
from cnnlab.theory.size_arithmetic.arithmetic import (
    LARGEST,
    Attempt,
    Axis,
    AxisOutput,
    AxisSolution,
    Puzzle,
    Question,
    Sized,
    Slide,
    Unknown,
    nearest_fits,
    nearest_solutions,
    together,
)
from cnnlab.theory.size_arithmetic.view import (
    LETTERS,
    amount,
    draw_output,
    filled,
    letters,
    near_tables,
    on,
    output_notes,
    output_rule,
    solution_notes,
    solved_rule,
    times,
    worked,
)

_FROM_NOUGHT = ("padding", "output_padding")


def checked_question(unknown: Unknown | None, **given: Any) -> Question:
    """The question, with the stride that was meant.

    Raises:
        UsageError: a quantity out of its range, or some that do not go together.
    """
    flags = {name: bool(given.pop(name)) for name in ("pool", "ceil", "transposed")}
    sizes = {name: _checked(name, value) for name, value in given.items() if value is not None}
    _check_kind(output_padding=sizes["output_padding"], **flags)
    tied = False
    if unknown != "stride" and "stride" not in sizes:
        tied = flags["pool"] and unknown == "kernel"
        if not tied:
            sizes["stride"] = sizes["kernel"] if flags["pool"] else 1
    question = Question(**sizes, **flags, tied=tied)
    for axis in question.axes:
        _check_paddings(question.slide(axis), unknown)
    return question


def checked_channels(question: Question, channels: int | None, filters: int | None) -> None:
    """Nothing, if the channels and filters suit what slides.

    Raises:
        UsageError: one without the other, or a pool with filters.
    """
    for name, value in (("channels", channels), ("filters", filters)):
        if value is not None:
            _check_number(name, value, value)
    if question.pool and filters is not None:
        raise UsageError(
            "a pool has no filters: as many channels come out as go in",
            where="filters",
            received=str(filters),
            next_step="leave the filters out",
        )
    if not question.pool and (channels is None) != (filters is None):
        missing, there = ("filters", "channels") if filters is None else ("channels", "filters")
        raise UsageError(
            f"a {question.kind} has its parameters by channels and filters together",
            where=missing,
            received=f"{there} alone",
            next_step=f"give the {missing}, too",
        )


def check_fit(slide: Slide) -> None:
    """Nothing, if something comes out, and not more than can be looked at.

    Raises:
        UsageError: the window is larger than its image; all of the output is cut off; the output is too large.
    """
    if slide.transposed:
        whole = int(slide.exact)
        if whole > LARGEST:
            raise UsageError("the output is too large", received=f"{whole:,} pixels", allowed=f"up to {LARGEST:,}")
        if slide.output is None:
            raise UsageError(
                "the padding cuts off the whole output",
                where="padding",
                received=f"padding {slide.padding}, of {whole + 2 * slide.padding} pixels",
                allowed=f"up to {(whole + 2 * slide.padding - 1) // 2}",
            )
    elif slide.output is None:
        span = f"{slide.reach}" if slide.dilation == 1 else f"{slide.reach} (kernel {slide.kernel}, with its gaps)"
        padded = slide.size + 2 * slide.padding
        raise UsageError(
            f"a window of {span} pixels does not fit on {padded}",
            where="kernel",
            received=f"size {slide.size}, padding {slide.padding} on each side",
            allowed=f"windows of up to {padded} pixels",
            next_step=_room(slide),
        )


def _room(slide: Slide) -> str:
    needed = -(-(slide.reach - slide.size) // 2)
    if slide.pool and 2 * needed > slide.kernel:
        return "make the kernel smaller"
    return f"make the kernel smaller, or the padding {needed}"


def _checked(name: str, value: Any) -> Sized:
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != 2:
            raise UsageError(
                f"{_said(name)} is one number or two",
                where=name,
                received=str(value),
                allowed="one for both dimensions, or (vertical, horizontal)",
            )
        return _check_number(name, value[0], value), _check_number(name, value[1], value)
    return _check_number(name, value, value)


def _check_number(name: str, number: Any, received: Any) -> int:
    lowest = 0 if name in _FROM_NOUGHT else 1
    if isinstance(number, bool) or not isinstance(number, int) or not lowest <= number <= LARGEST:
        raise UsageError(
            f"{_said(name)} is a whole number from {lowest} on",
            where=name,
            received=str(received),
            allowed=f"{lowest} to {LARGEST:,}",
        )
    return number


def _said(name: str) -> str:
    return name.replace("_", " ")


def _check_kind(*, pool: bool, ceil: bool, transposed: bool, output_padding: Sized) -> None:
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


def _check_paddings(slide: Slide, unknown: Unknown | None) -> None:
    if slide.pool and unknown not in ("padding", "kernel") and 2 * slide.padding > slide.kernel:
        raise UsageError(
            "a pool's padding is half its kernel at most",
            where="padding",
            received=f"padding {slide.padding}, kernel {slide.kernel}",
            allowed=f"0 to {slide.kernel // 2}",
        )
    largest = max(slide.stride, slide.dilation)
    if unknown != "stride" and slide.output_padding >= largest and slide.output_padding:
        raise UsageError(
            "output padding is less than the stride or the dilation",
            where="output_padding",
            received=f"{slide.output_padding}, with stride {slide.stride} and dilation {slide.dilation}",
            allowed=f"0 to {largest - 1}",
            next_step="output padding chooses among the sizes that the stride makes one",
        )


def solve_output(
    size: Sized,
    kernel: Sized,
    *,
    stride: Sized | None = None,
    padding: Sized = 0,
    dilation: Sized = 1,
    pool: bool = False,
    ceil: bool = False,
    transposed: bool = False,
    output_padding: Sized = 0,
    channels: int | None = None,
    filters: int | None = None,
) -> OutputAnswer:
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
    question = checked_question(None, **given, **kind)
    checked_channels(question, channels, filters)
    for axis in question.axes:
        check_fit(question.slide(axis))
    found = tuple(axis_output(question.slide(axis), axis, nearest=True) for axis in question.axes)
    return OutputAnswer(
        size=together([axis.size for axis in found]),
        exact=together([axis.exact for axis in found]),
        fits=all(axis.fits for axis in found),
        question=question,
        axes=found,
        **_with_channels(question, found, channels, filters),
    )


class OutputAnswer(Record):
    """What comes out of a window that slides over an image.

    `size` is what torch makes of `exact`. `shape` is (channels, height, width); it, `weights`, `biases` and
    `parameters` are None where the channels were not told.
    """

    size: Sized
    exact: str | tuple[str, str]
    fits: bool
    shape: tuple[int, int, int] | None = None
    weights: int | None = None
    biases: int | None = None
    parameters: int | None = None
    channels: int | None = None
    filters: int | None = None
    question: Question
    axes: tuple[AxisOutput, ...]

    def sheet(self) -> Sheet:
        """The worked answer."""
        return _output_document(self)

    def svg(self) -> str:
        """The windows under their row of pixels, standing alone; one strip a dimension."""
        return draw_output(self.question, self.axes)

    def _repr_html_(self) -> str:
        return self.sheet().to_html(self.svg())


def axis_output(slide: Slide, axis: Axis, *, nearest: bool) -> AxisOutput:
    front, inner, behind = slide.strip.untouched()
    lost = slide.strip.idle() if slide.transposed else inner
    found = AxisOutput(
        axis=axis,
        exact=str(slide.exact),
        size=slide.output or 0,
        fits=slide.fits,
        left_over=slide.left_over,
        unseen=tuple(lost),
        unseen_padding=() if slide.transposed else (*front, *behind),
        empty=tuple(inner) if slide.transposed else (),
        nearest=tuple(nearest_fits(slide)) if nearest and not slide.fits else (),
    )
    return found.model_copy(update={"notes": tuple(output_notes(slide, found))})


def _with_channels(
    question: Question, axes: tuple[AxisOutput, ...], channels: int | None, filters: int | None
) -> dict[str, Any]:
    if channels is None:
        return {}
    shape = (filters or channels, axes[0].size, axes[-1].size)
    if filters is None:
        return {"channels": channels, "shape": shape, "weights": 0, "biases": 0, "parameters": 0}
    area = question.slide(question.axes[0]).kernel * question.slide(question.axes[-1]).kernel
    weights = filters * channels * area
    counts = {"weights": weights, "biases": filters, "parameters": weights + filters}
    return {"channels": channels, "filters": filters, "shape": shape, **counts}


def _output_document(answer: OutputAnswer) -> Sheet:
    """The worked output."""
    question = answer.question
    lines: list[str | Formula] = [filled("O", output_rule(question.slide(question.axes[0])), LETTERS)]
    for found in answer.axes:
        slide = question.slide(found.axis)
        lines.append(worked("O", output_rule(slide), letters(slide), found.exact, found.axis))
        if not found.fits:
            lines.append(_rounded(slide, found.size))
    if answer.shape:
        lines.append(f"output: {times(answer.shape)} (channels × height × width)")
    if answer.filters:
        lines.append(_parameters(answer))
    near = [(found.axis, item) for found in answer.axes for item in found.nearest]
    tables = near_tables("The nearest that fit exactly", question, near)
    notes = [on(found.axis, note) for found in answer.axes for note in found.notes]
    return Sheet(f"Output of a {question.kind}: {times(answer.size)}", tuple(lines), tables, tuple(notes))


def _rounded(slide: Slide, size: int) -> Formula:
    left, right = ("⌈", "⌉") if slide.ceil else ("⌊", "⌋")
    side = "ceil" if slide.ceil else "floor"
    exact = slide.exact
    whole = -(-exact.numerator // exact.denominator) if slide.ceil else exact.numerator // exact.denominator
    text = f"{left}{exact}{right} = {whole}"
    latex = rf"\l{side} {exact} \r{side} = {whole}"
    if whole == size:
        return Formula(text, latex)
    # The one exception to rounding up: a window that would begin behind the image is left out.
    return Formula(f"{text}, less 1 that begins behind the image = {size}", rf"{latex}, \quad {whole} - 1 = {size}")


def _parameters(answer: OutputAnswer) -> Formula:
    axes = answer.question.axes
    high, wide = (answer.question.slide(axis).kernel for axis in (axes[0], axes[-1]))
    factors = [str(answer.filters), str(answer.channels), str(high), str(wide)]
    counted = f"{answer.weights:,} + {answer.filters:,} = {answer.parameters:,}"
    latex = " \\cdot ".join(factors)
    return Formula(
        f"parameters = {'·'.join(factors)} + {answer.filters} = {counted}",
        rf"\text{{parameters}} = {latex} + {answer.filters} = {counted.replace(',', '{,}')}",
    )


# A table shows so many answers; the rest are in the JSON.
_MOST_ANSWERS = 12


def solve_padding(
    size: Sized,
    kernel: Sized,
    *,
    stride: Sized | None = None,
    output: Sized | None = None,
    dilation: Sized = 1,
    pool: bool = False,
    ceil: bool = False,
    transposed: bool = False,
    output_padding: Sized = 0,
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
    size: Sized,
    output: Sized,
    *,
    stride: Sized | None = None,
    padding: Sized = 0,
    dilation: Sized = 1,
    pool: bool = False,
    ceil: bool = False,
    transposed: bool = False,
    output_padding: Sized = 0,
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
    size: Sized,
    output: Sized,
    kernel: Sized,
    *,
    padding: Sized = 0,
    dilation: Sized = 1,
    pool: bool = False,
    ceil: bool = False,
    transposed: bool = False,
    output_padding: Sized = 0,
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
    size: Sized
    output: Sized
    padding: int | tuple[int | None, int | None] | None
    kernel: int | tuple[int | None, int | None] | None
    stride: int | tuple[int | None, int | None] | None
    exact: str | tuple[str | None, str | None] | None
    fits: bool
    question: Question
    axes: tuple[AxisSolution, ...]

    def sheet(self) -> Sheet:
        """The worked answer."""
        return _solution_document(self)

    def _repr_html_(self) -> str:
        return self.sheet().to_html()


def _solution(unknown: Unknown, **given: Any) -> SizeSolution:
    question = checked_question(unknown, **given)
    found = tuple(_axis_solution(question.puzzle(axis, unknown), axis) for axis in question.axes)
    values = {name: getattr(question, name) for name in ("padding", "kernel", "stride")}
    if question.tied:
        values["stride"] = together([axis.value for axis in found])
    return SizeSolution(
        unknown=unknown,
        size=question.size,
        output=question.output,
        exact=together([axis.exact for axis in found]),
        fits=all(axis.fits for axis in found),
        question=question,
        axes=found,
        **{**values, unknown: together([axis.value for axis in found])},
    )


def _axis_solution(puzzle: Puzzle, axis: Axis) -> AxisSolution:
    answers, any_from = puzzle.fits()
    best = next((answer for answer in answers if answer.fits), answers[0] if answers else None)
    fits = best is not None and best.fits
    exact = puzzle.exact
    found = AxisSolution(
        axis=axis,
        value=best.value if best else None,
        exact=None if exact is None else str(exact),
        fits=fits,
        answers=tuple(answers),
        any_from=any_from,
        unequal=_unequal(puzzle, exact),
        attempts=() if best else _attempts(puzzle, Fraction(1) if exact is None else exact),
        result=axis_output(puzzle.at(best.value), axis, nearest=False) if best else None,
        nearest=() if fits else tuple(nearest_solutions(puzzle)),
    )
    return found.model_copy(update={"notes": tuple(solution_notes(puzzle, found))})


def _unequal(puzzle: Puzzle, exact: Fraction | None) -> tuple[int, int] | None:
    """An odd padding, shared out as torch's 'same' does: one more behind."""
    if puzzle.unknown != "padding" or exact is None or exact.denominator == 1 or exact < 0:
        return None
    return (floor(exact), up(exact)) if not (puzzle.slide.pool or puzzle.slide.transposed) else None


def _attempts(puzzle: Puzzle, exact: Fraction) -> tuple[Attempt, ...]:
    near = sorted({max(floor(exact), puzzle.lowest), max(up(exact), puzzle.lowest)})
    return tuple(Attempt(value=value, output=puzzle.at(value).output) for value in near)


def _solution_document(answer: SizeSolution) -> Sheet:
    """The worked unknown."""
    question, unknown = answer.question, answer.unknown
    first = question.puzzle(question.axes[0], unknown)
    symbol = {"padding": "P", "kernel": "F", "stride": "S"}[unknown]
    lines: list[str | Formula] = [filled(symbol, solved_rule(first), LETTERS)]
    for found in answer.axes:
        puzzle = question.puzzle(found.axis, unknown)
        numbers = letters(puzzle.slide) | {"O": str(puzzle.output)}
        if found.exact is not None:
            lines.append(worked(symbol, solved_rule(puzzle), numbers, found.exact, found.axis))
    tables = [_answers_table(answer, found) for found in answer.axes if len(found.answers) > 1]
    near = [(found.axis, item) for found in answer.axes for item in found.nearest]
    tables += near_tables("The nearest that fit exactly", question, near)
    notes = [on(found.axis, note) for found in answer.axes for note in found.notes]
    title = f"{unknown.capitalize()} of a {question.kind}, {times(answer.size)} → {times(answer.output)}"
    return Sheet(f"{title}: {times(getattr(answer, unknown))}", tuple(lines), tuple(tables), tuple(notes))


def _answers_table(answer: SizeSolution, found: AxisSolution) -> Titled:
    shown = found.answers[:_MOST_ANSWERS]
    rows = [(str(fit.value), "yes" if fit.fits else "no", _left(fit.left_over, found.axis)) for fit in shown]
    if len(found.answers) > len(shown):
        rows.append((f"… {found.answers[-1].value}", "", f"{len(found.answers) - len(shown)} more"))
    title = on(found.axis, f"Every {answer.unknown} with which torch gives the wanted output")
    return title, TextTable.of([f"#{answer.unknown}", "fits exactly", "left over"], rows)


def _left(left_over: int, axis: Axis) -> str:
    if left_over < 0:
        return f"sticks out by {amount(-left_over, axis)}"
    return amount(left_over, axis) if left_over else "nothing"
