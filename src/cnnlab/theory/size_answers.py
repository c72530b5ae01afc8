"""Output, padding, kernel and stride of a convolution, a pool or a transposed convolution: any one from the others."""

from __future__ import annotations

from fractions import Fraction
from math import ceil as up
from math import floor
from typing import Any

from cnnlab.theory import size_words
from cnnlab.theory.geometry import Slide
from cnnlab.theory.size_checks import check_fit, checked_channels, checked_question
from cnnlab.theory.size_records import (
    Attempt,
    Axis,
    AxisOutput,
    AxisSolution,
    OutputAnswer,
    Question,
    Sized,
    SizeSolution,
)
from cnnlab.theory.size_solvers import Puzzle, Unknown, nearest_fits, nearest_solutions


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
    found = tuple(_axis_output(question.slide(axis), axis, nearest=True) for axis in question.axes)
    return OutputAnswer(
        size=_together([axis.size for axis in found]),
        exact=_together([axis.exact for axis in found]),
        fits=all(axis.fits for axis in found),
        question=question,
        axes=found,
        **_with_channels(question, found, channels, filters),
    )


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


def _solution(unknown: Unknown, **given: Any) -> SizeSolution:
    question = checked_question(unknown, **given)
    found = tuple(_axis_solution(question.puzzle(axis, unknown), axis) for axis in question.axes)
    values = {name: getattr(question, name) for name in ("padding", "kernel", "stride")}
    if question.tied:
        values["stride"] = _together([axis.value for axis in found])
    return SizeSolution(
        unknown=unknown,
        size=question.size,
        output=question.output,
        exact=_together([axis.exact for axis in found]),
        fits=all(axis.fits for axis in found),
        question=question,
        axes=found,
        **{**values, unknown: _together([axis.value for axis in found])},
    )


def _axis_output(slide: Slide, axis: Axis, *, nearest: bool) -> AxisOutput:
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
    return found.model_copy(update={"notes": tuple(size_words.output_notes(slide, found))})


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
        result=_axis_output(puzzle.at(best.value), axis, nearest=False) if best else None,
        nearest=() if fits else tuple(nearest_solutions(puzzle)),
    )
    return found.model_copy(update={"notes": tuple(size_words.solution_notes(puzzle, found))})


def _unequal(puzzle: Puzzle, exact: Fraction | None) -> tuple[int, int] | None:
    """An odd padding, shared out as torch's 'same' does: one more behind."""
    if puzzle.unknown != "padding" or exact is None or exact.denominator == 1 or exact < 0:
        return None
    return (floor(exact), up(exact)) if not (puzzle.slide.pool or puzzle.slide.transposed) else None


def _attempts(puzzle: Puzzle, exact: Fraction) -> tuple[Attempt, ...]:
    near = sorted({max(floor(exact), puzzle.lowest), max(up(exact), puzzle.lowest)})
    return tuple(Attempt(value=value, output=puzzle.at(value).output) for value in near)


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


def _together(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else tuple(values)
