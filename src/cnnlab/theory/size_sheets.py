"""Answers about sizes, written on a sheet: the formula, the numbers put in, every answer, the nearest that fit.

W is the image's size, F the kernel's, S the stride, P the padding on each side, D the dilation, A the output padding,
O the output's size.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from cnnlab.paper.sheet import Formula, Sheet, Titled
from cnnlab.paper.tables import TextTable
from cnnlab.theory.geometry import Slide
from cnnlab.theory.size_solvers import Nearby, Puzzle
from cnnlab.theory.size_words import amount, number

if TYPE_CHECKING:
    from cnnlab.theory.size_records import Axis, AxisSolution, OutputAnswer, Question, SizeSolution

_LETTERS = {letter: letter for letter in "WFSPDAO"}
# A table shows so many answers; the rest are in the JSON.
_MOST_ANSWERS = 12
_SAID = {"output_padding": "output padding"}


def output_sheet(answer: OutputAnswer) -> Sheet:
    """The worked output."""
    question = answer.question
    lines: list[str | Formula] = [_filled("O", _output_rule(question.slide(question.axes[0])), _LETTERS)]
    for found in answer.axes:
        slide = question.slide(found.axis)
        lines.append(_worked("O", _output_rule(slide), _letters(slide), found.exact, found.axis))
        if not found.fits:
            lines.append(_rounded(slide, found.size))
    if answer.shape:
        lines.append(f"output: {_times(answer.shape)} (channels × height × width)")
    if answer.filters:
        lines.append(_parameters(answer))
    near = [(found.axis, item) for found in answer.axes for item in found.nearest]
    tables = _near_tables("The nearest that fit exactly", question, near)
    notes = [_on(found.axis, note) for found in answer.axes for note in found.notes]
    return Sheet(f"Output of a {question.kind}: {_times(answer.size)}", tuple(lines), tables, tuple(notes))


def solution_sheet(answer: SizeSolution) -> Sheet:
    """The worked unknown."""
    question, unknown = answer.question, answer.unknown
    first = question.puzzle(question.axes[0], unknown)
    symbol = {"padding": "P", "kernel": "F", "stride": "S"}[unknown]
    lines: list[str | Formula] = [_filled(symbol, _solved_rule(first), _LETTERS)]
    for found in answer.axes:
        puzzle = question.puzzle(found.axis, unknown)
        letters = _letters(puzzle.slide) | {"O": str(puzzle.output)}
        if found.exact is not None:
            lines.append(_worked(symbol, _solved_rule(puzzle), letters, found.exact, found.axis))
    tables = [_answers_table(answer, found) for found in answer.axes if len(found.answers) > 1]
    near = [(found.axis, item) for found in answer.axes for item in found.nearest]
    tables += _near_tables("The nearest that fit exactly", question, near)
    notes = [_on(found.axis, note) for found in answer.axes for note in found.notes]
    title = f"{unknown.capitalize()} of a {question.kind}, {_times(answer.size)} → {_times(answer.output)}"
    return Sheet(f"{title}: {_times(getattr(answer, unknown))}", tuple(lines), tuple(tables), tuple(notes))


Rule = tuple[str, str]


def _output_rule(slide: Slide) -> Rule:
    """The right side of a formula, as text and as LaTeX, with letters in braces."""
    reach, reach_latex = _reach(slide)
    if slide.transposed:
        more = " + {A}" if slide.output_padding else ""
        return (
            f"({{W}} − 1)·{{S}} − 2·{{P}} + {reach}{more}",
            rf"({{W}} - 1) \cdot {{S}} - 2 \cdot {{P}} + {reach_latex}{more}",
        )
    return (
        f"({{W}} − {reach} + 2·{{P}}) / {{S}} + 1",
        rf"\frac{{{{{{W}} - {reach_latex} + 2 \cdot {{P}}}}}}{{{{{{S}}}}}} + 1",
    )


def _reach(slide: Slide) -> Rule:
    if slide.dilation == 1:
        return "{F}", "{F}"
    return "({D}·({F} − 1) + 1)", r"({D} \cdot ({F} - 1) + 1)"


def _solved_rule(puzzle: Puzzle) -> Rule:
    slide = puzzle.slide
    above, below = _transposed_fraction(puzzle) if slide.transposed else _fraction(puzzle)
    if not below:
        return above[0], above[1]
    over = below[0] if below[0].isalnum() or below[0] in ("{D}", "{O}") else f"({below[0]})"
    return f"({above[0]}) / {over}", rf"\frac{{{{{above[1]}}}}}{{{{{below[1]}}}}}"


def _fraction(puzzle: Puzzle) -> tuple[Rule, Rule | None]:
    slide, (reach, reach_latex) = puzzle.slide, _reach(puzzle.slide)
    if puzzle.unknown == "padding":
        # The way in which it is taught where the size is kept.
        if puzzle.output == slide.size:
            above = (f"({{S}} − 1)·{{W}} − {{S}} + {reach}", rf"({{S}} - 1) \cdot {{W}} - {{S}} + {reach_latex}")
        else:
            above = (f"({{O}} − 1)·{{S}} + {reach} − {{W}}", rf"({{O}} - 1) \cdot {{S}} + {reach_latex} - {{W}}")
        return above, ("2", "2")
    if puzzle.unknown == "stride":
        return _pair(f"{{W}} + 2·{{P}} − {reach}", rf"{{W}} + 2 \cdot {{P}} - {reach_latex}"), _pair("{O} − 1")
    if puzzle.tied:
        if slide.dilation == 1:
            return _pair("{W} + 2·{P}", r"{W} + 2 \cdot {P}"), _pair("{O}")
        return _pair("{W} + 2·{P} + {D} − 1", r"{W} + 2 \cdot {P} + {D} - 1"), _pair("{O} − 1 + {D}")
    plain = _pair("{W} + 2·{P} − ({O} − 1)·{S}", r"{W} + 2 \cdot {P} - ({O} - 1) \cdot {S}")
    return _undilated(slide, plain)


def _transposed_fraction(puzzle: Puzzle) -> tuple[Rule, Rule | None]:
    slide, (reach, reach_latex) = puzzle.slide, _reach(puzzle.slide)
    more, less = (" + {A}", " − {A}") if slide.output_padding else ("", "")
    fewer = less.replace("−", "-")
    if puzzle.unknown == "padding":
        text = f"({{W}} − 1)·{{S}} + {reach}{more} − {{O}}"
        return _pair(text, rf"({{W}} - 1) \cdot {{S}} + {reach_latex}{more} - {{O}}"), ("2", "2")
    if puzzle.unknown == "stride":
        latex = rf"{{O}} + 2 \cdot {{P}} - {reach_latex}{fewer}"
        return _pair(f"{{O}} + 2·{{P}} − {reach}{less}", latex), _pair("{W} − 1")
    text = f"{{O}} + 2·{{P}}{less} − ({{W}} − 1)·{{S}}"
    return _undilated(slide, _pair(text, rf"{{O}} + 2 \cdot {{P}}{fewer} - ({{W}} - 1) \cdot {{S}}"))


def _undilated(slide: Slide, reach: Rule) -> tuple[Rule, Rule | None]:
    """The kernel from what it spans."""
    if slide.dilation == 1:
        return reach, None
    return _pair(f"{reach[0]} + {{D}} − 1", f"{reach[1]} + {{D}} - 1"), _pair("{D}")


def _pair(text: str, latex: str = "") -> Rule:
    return text, latex or text.replace("−", "-")


def _letters(slide: Slide) -> dict[str, str]:
    values = (slide.size, slide.kernel, slide.stride, slide.padding, slide.dilation, slide.output_padding)
    return dict(zip("WFSPDA", map(str, values), strict=True))


def _filled(symbol: str, rule: Rule, letters: dict[str, str]) -> Formula:
    text, latex = (side.format(**letters) for side in rule)
    # Among letters the dot of 2·P and the brackets around a single one add nothing.
    if letters is _LETTERS:
        text, latex = text.replace("2·P", "2P"), latex.replace(r"2 \cdot P", "2P")
    return Formula(f"{symbol} = {text}", f"{symbol} = {latex}")


def _worked(symbol: str, rule: Rule, letters: dict[str, str], exact: str, axis: Axis) -> Formula:
    filled = _filled(symbol, rule, letters)
    before, before_latex = ("", "") if axis == "both" else (f"{axis}: ", rf"\text{{{axis}: }} ")
    value = number(exact)
    latex = value.replace("−", "-").replace("≈", r"\approx")
    share = Fraction(exact)
    if share.denominator > 1:
        sign = "-" if share < 0 else ""
        fraction = rf"{sign}\frac{{{abs(share.numerator)}}}{{{share.denominator}}}"
        latex = fraction + latex.removeprefix(str(share))
    return Formula(f"{before}{filled.text} = {value}", f"{before_latex}{filled.latex} = {latex}")


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


def _answers_table(answer: SizeSolution, found: AxisSolution) -> Titled:
    shown = found.answers[:_MOST_ANSWERS]
    rows = [(str(fit.value), "yes" if fit.fits else "no", _left(fit.left_over, found.axis)) for fit in shown]
    if len(found.answers) > len(shown):
        rows.append((f"… {found.answers[-1].value}", "", f"{len(found.answers) - len(shown)} more"))
    title = _on(found.axis, f"Every {answer.unknown} with which torch gives the wanted output")
    return title, TextTable.of([f"#{answer.unknown}", "fits exactly", "left over"], rows)


def _left(left_over: int, axis: Axis) -> str:
    if left_over < 0:
        return f"sticks out by {amount(-left_over, axis)}"
    return amount(left_over, axis) if left_over else "nothing"


def _near_tables(title: str, question: Question, near: list[tuple[Axis, Nearby]]) -> tuple[Titled, ...]:
    if not near:
        return ()
    names = ["size", "kernel", "stride", "padding", *(["output_padding"] if question.transposed else []), "output"]
    titles = ["change", *(f"#{_SAID.get(name, name)}" for name in names)]
    rows = [[_SAID.get(item.change, item.change), *(str(getattr(item, name)) for name in names)] for _, item in near]
    if len(question.axes) > 1:
        titles = ["dimension", *titles]
        rows = [[axis, *row] for (axis, _), row in zip(near, rows, strict=True)]
    return ((title, TextTable.of(titles, rows)),)


def _on(axis: Axis, sentence: str) -> str:
    return sentence if axis == "both" else f"{axis.capitalize()}: {sentence[0].lower()}{sentence[1:]}"


def _times(value: Any) -> str:
    if isinstance(value, tuple):
        return "×".join("none" if part is None else str(part) for part in value)
    return "none" if value is None else str(value)
