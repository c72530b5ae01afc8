"""The formulas of sizes as they are written, with letters and with numbers put in; what the sheets share.

W is the image's size, F the kernel's, S the stride, P the padding on each side, D the dilation, A the output padding,
O the output's size.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from cnnlab.render.document import Formula, Titled
from cnnlab.render.tables import TextTable
from cnnlab.theory.sizes.geometry import Slide
from cnnlab.theory.sizes.records import Axis, Question
from cnnlab.theory.sizes.solvers import Nearby, Puzzle
from cnnlab.theory.sizes.words import number

Rule = tuple[str, str]

LETTERS = {letter: letter for letter in "WFSPDAO"}
_SAID = {"output_padding": "output padding"}


def output_rule(slide: Slide) -> Rule:
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


def solved_rule(puzzle: Puzzle) -> Rule:
    """The same, solved for the unknown."""
    slide = puzzle.slide
    above, below = _transposed_fraction(puzzle) if slide.transposed else _fraction(puzzle)
    if not below:
        return above[0], above[1]
    over = below[0] if below[0].isalnum() or below[0] in ("{D}", "{O}") else f"({below[0]})"
    return f"({above[0]}) / {over}", rf"\frac{{{{{above[1]}}}}}{{{{{below[1]}}}}}"


def letters(slide: Slide) -> dict[str, str]:
    """The numbers that the letters stand for."""
    values = (slide.size, slide.kernel, slide.stride, slide.padding, slide.dilation, slide.output_padding)
    return dict(zip("WFSPDA", map(str, values), strict=True))


def filled(symbol: str, rule: Rule, letters: dict[str, str]) -> Formula:
    """A formula with its letters, or with numbers in their place."""
    text, latex = (side.format(**letters) for side in rule)
    # Among letters the dot of 2·P and the brackets around a single one add nothing.
    if letters is LETTERS:
        text, latex = text.replace("2·P", "2P"), latex.replace(r"2 \cdot P", "2P")
    return Formula(f"{symbol} = {text}", f"{symbol} = {latex}")


def worked(symbol: str, rule: Rule, letters: dict[str, str], exact: str, axis: Axis) -> Formula:
    """A formula with its numbers and what they come to."""
    put_in = filled(symbol, rule, letters)
    before, before_latex = ("", "") if axis == "both" else (f"{axis}: ", rf"\text{{{axis}: }} ")
    value = number(exact)
    latex = value.replace("−", "-").replace("≈", r"\approx")
    share = Fraction(exact)
    if share.denominator > 1:
        sign = "-" if share < 0 else ""
        fraction = rf"{sign}\frac{{{abs(share.numerator)}}}{{{share.denominator}}}"
        latex = fraction + latex.removeprefix(str(share))
    return Formula(f"{before}{put_in.text} = {value}", f"{before_latex}{put_in.latex} = {latex}")


def near_tables(title: str, question: Question, near: list[tuple[Axis, Nearby]]) -> tuple[Titled, ...]:
    """A table of settings that fit, or none where there are none."""
    if not near:
        return ()
    names = ["size", "kernel", "stride", "padding", *(["output_padding"] if question.transposed else []), "output"]
    titles = ["change", *(f"#{_SAID.get(name, name)}" for name in names)]
    rows = [[_SAID.get(item.change, item.change), *(str(getattr(item, name)) for name in names)] for _, item in near]
    if len(question.axes) > 1:
        titles = ["dimension", *titles]
        rows = [[axis, *row] for (axis, _), row in zip(near, rows, strict=True)]
    return ((title, TextTable.of(titles, rows)),)


def on(axis: Axis, sentence: str) -> str:
    """A sentence that says which dimension it is about, where they are told apart."""
    return sentence if axis == "both" else f"{axis.capitalize()}: {sentence[0].lower()}{sentence[1:]}"


def times(value: Any) -> str:
    """Sizes as they are written: `32`, `32×48`, `none`."""
    if isinstance(value, tuple):
        return "×".join("none" if part is None else str(part) for part in value)
    return "none" if value is None else str(value)


def _reach(slide: Slide) -> Rule:
    if slide.dilation == 1:
        return "{F}", "{F}"
    return "({D}·({F} − 1) + 1)", r"({D} \cdot ({F} - 1) + 1)"


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
