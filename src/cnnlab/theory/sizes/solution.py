"""Padding, kernel or stride of a convolution, a pool or a transposed convolution, from the others and the output."""

from __future__ import annotations

from fractions import Fraction
from math import ceil as up
from math import floor
from typing import Any

from cnnlab.records import Record
from cnnlab.render.document import Formula, Sheet, Titled
from cnnlab.render.tables import TextTable
from cnnlab.theory.sizes.checks import checked_question
from cnnlab.theory.sizes.formulas import LETTERS, filled, letters, near_tables, on, solved_rule, times, worked
from cnnlab.theory.sizes.output import axis_output
from cnnlab.theory.sizes.records import Attempt, Axis, AxisSolution, Question, Sized, together
from cnnlab.theory.sizes.solvers import Puzzle, Unknown, nearest_solutions
from cnnlab.theory.sizes.words import amount, solution_notes

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
        return _sheet(self)

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


def _sheet(answer: SizeSolution) -> Sheet:
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
