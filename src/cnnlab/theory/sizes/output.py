"""What comes out of a convolution, a pool or a transposed convolution, and what it never sees."""

from __future__ import annotations

from typing import Any

from cnnlab.records import Record
from cnnlab.render.document import Formula, Sheet
from cnnlab.theory.sizes.checks import check_fit, checked_channels, checked_question
from cnnlab.theory.sizes.formulas import LETTERS, filled, letters, near_tables, on, output_rule, times, worked
from cnnlab.theory.sizes.geometry import Slide
from cnnlab.theory.sizes.records import Axis, AxisOutput, Question, Sized, together
from cnnlab.theory.sizes.solvers import nearest_fits
from cnnlab.theory.sizes.strip import draw_output
from cnnlab.theory.sizes.words import output_notes


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
        return _sheet(self)

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


def _sheet(answer: OutputAnswer) -> Sheet:
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
