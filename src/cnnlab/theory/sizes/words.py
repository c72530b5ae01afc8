"""What is said of sizes that fit and of those that do not, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Context, Decimal
from fractions import Fraction
from functools import partial
from itertools import count

from cnnlab.theory.sizes.geometry import Slide, Stretch
from cnnlab.theory.sizes.records import Axis, AxisOutput, AxisSolution
from cnnlab.theory.sizes.solvers import Puzzle

_ONE = {"rows": "row", "columns": "column", "both": "row and column"}
_MANY = {"rows": "rows", "columns": "columns", "both": "rows and columns"}
_ORDINALS = ("", "", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
# A sentence names so many places; the rest are in the JSON.
_NAMED = 4


def number(value: Fraction | str) -> str:
    """A fraction with its decimals: `33/2 = 16.5`, `95/3 ≈ 31.67`; a whole number as it is.

    Four digits, or as many as it takes for the decimals not to look like a whole number.

    >>> number("33/2"), number("131063/65532")
    ('33/2 = 16.5', '131063/65532 ≈ 1.99998')
    """
    value = Fraction(value)
    if value.denominator == 1:
        return str(value).replace("-", "−")
    decimals = next(found for found in map(partial(_rounded, value), count(4)) if found != found.to_integral_value())
    return f"{value} {'=' if Fraction(decimals) == value else '≈'} {decimals:f}".replace("-", "−")


def amount(count: int, axis: Axis) -> str:
    """So many rows, columns, or rows and columns."""
    return f"{count:,} {_ONE[axis] if count == 1 else _MANY[axis]}"


def output_notes(slide: Slide, found: AxisOutput) -> list[str]:
    """What is to be said of one dimension of an output."""
    if slide.transposed:
        return _transposed_notes(slide, found)
    notes = []
    if not found.fits:
        way = "up" if slide.ceil else "down"
        notes.append(f"{number(found.exact)} is no size: torch rounds {way} and makes {found.size}.")
    if found.left_over < 0:
        count = amount(-found.left_over, found.axis)
        notes.append(f"The last window sticks out by {count} behind the image and its padding; a pool leaves them out.")
    return [*notes, *_unseen_notes(slide, found)]


def _rounded(value: Fraction, digits: int) -> Decimal:
    return Context(prec=digits).divide(Decimal(value.numerator), Decimal(value.denominator))


def _unseen_notes(slide: Slide, found: AxisOutput) -> list[str]:
    one, padding = _ONE[found.axis], sum(stretch.count for stretch in found.unseen_padding)
    if not found.unseen and not padding:
        return [f"Every {one} of the image is seen{', and all of its padding' if slide.padding else ''}."]
    behind = slide.size + slide.padding
    if not found.unseen:
        what = _edge(found.unseen_padding, behind, found.axis) or amount(padding, found.axis)
        return [f"Only padding is left over: {what} of padding. No pixel of the image is lost."]
    notes = [f"Never seen: {described(found.unseen, slide.size, found.axis, 'of the image')}."]
    reason = _reason(slide, found.unseen)
    if reason:
        notes.append(reason)
    if padding:
        what = _edge(found.unseen_padding, behind, found.axis) or amount(padding, found.axis)
        notes.append(f"Nor is {what} of the padding." if padding == 1 else f"Nor are {what} of the padding.")
    return notes


def _reason(slide: Slide, unseen: Sequence[Stretch]) -> str:
    last = slide.strip.window((slide.output or 1) - 1)[-1]
    if unseen[0].first > last:
        return ""
    if slide.stride > slide.reach:
        return f"The windows span {slide.reach} and move by {slide.stride}: they step over what lies between."
    return f"The window's pixels lie {slide.dilation} apart, and steps of {slide.stride} leave some of the gaps open."


def _transposed_notes(slide: Slide, found: AxisOutput) -> list[str]:
    notes = []
    if found.empty:
        what = described(found.empty, found.size, found.axis, "of the output")
        notes.append(f"No input reaches {what}: only the bias stands there.")
    else:
        notes.append(f"Every {_ONE[found.axis]} of the output is reached.")
    if found.unseen:
        what = described(found.unseen, slide.size, found.axis, "of the input")
        notes.append(f"The padding cuts off all that comes of {what}.")
    if slide.stride > 1 and slide.kernel > 1 and slide.dilation == 1 and slide.kernel % slide.stride:
        notes.append(
            f"Kernel {slide.kernel} is no multiple of stride {slide.stride}: some pixels of the output get more "
            "windows than their neighbours, which can show as a checkerboard."
        )
    return notes


def described(found: Iterable[Stretch], size: int, axis: Axis, of: str) -> str:
    """Pixels that were found, in words; counted from 0 where they have numbers.

    >>> described([Stretch(first=30, last=31)], 32, "rows", "of the image")
    'the last 2 rows of the image (30–31)'
    """
    places = list(found)
    edge = _edge(places, size, axis)
    if edge:
        return f"{edge} {of} ({_span(places[0])})"
    many = _MANY[axis]
    only = places[0]
    if len(places) == 1 and only.times > 2 and only.first == only.last:
        which = _ORDINALS[only.every] if only.every < len(_ORDINALS) else f"{only.every}th"
        return f"every {which} {_ONE[axis]} {of}, from {only.first} to {only.end} (counted from 0)"
    count = sum(stretch.count for stretch in places)
    if count == 1:
        return f"{_ONE[axis]} {only.first} {of} (counted from 0)"
    named = ", ".join(map(_repeated, places[:_NAMED])) + (", …" if len(places) > _NAMED else "")
    return f"{count:,} {many} {of}: {named} (counted from 0)"


def _edge(places: Sequence[Stretch], size: int, axis: Axis) -> str:
    """`the last 2 rows`, where the places are just that."""
    if len(places) != 1 or places[0].times != 1 or places[0].last != size - 1:
        return ""
    count = places[0].count
    return f"the last {_ONE[axis]}" if count == 1 else f"the last {amount(count, axis)}"


def _repeated(stretch: Stretch) -> str:
    if stretch.times == 1:
        return _span(stretch)
    later = [
        stretch.model_copy(
            update={"first": stretch.first + turn * stretch.every, "last": stretch.last + turn * stretch.every}
        )
        for turn in (1, stretch.times - 1)
    ]
    if stretch.times == 2:
        return f"{_span(stretch)}, {_span(later[0])}"
    dots = "" if stretch.times == 3 else " …,"
    return f"{_span(stretch)}, {_span(later[0])},{dots} {_span(later[1])}"


def _span(stretch: Stretch) -> str:
    return f"{stretch.first}" if stretch.first == stretch.last else f"{stretch.first}–{stretch.last}"


def solution_notes(puzzle: Puzzle, found: AxisSolution) -> list[str]:
    """What is to be said of one dimension of a solution."""
    unknown, notes = puzzle.unknown, []
    if found.exact is None:
        single = "one pixel goes in" if puzzle.slide.transposed else "one window is wanted"
        notes.append(f"Where {single}, the stride drops out of the formula.")
    elif not found.fits:
        notes.append(_no_exact(puzzle, found))
    notes += _answers(puzzle, found)
    if found.unequal:
        front, behind = found.unequal
        same = "padding='same' puts" if _is_same(puzzle) else "padding by hand can put"
        notes.append(
            f"The padding is odd, {front + behind} in all, so that no equal padding fits; {same} {front} in front and "
            f"{behind} behind{', as torch does' if _is_same(puzzle) else ''}."
        )
    if found.result is not None and (not found.fits or found.result.unseen or found.result.empty):
        notes += [f"With {unknown} {found.value}: {_lower(note)}" for note in found.result.notes]
    if unknown == "padding" and found.value is not None and found.value >= puzzle.slide.reach:
        notes.append(
            f"Padding {found.value} is as wide as the window or wider: the outermost windows see nothing else."
        )
    return notes


def _no_exact(puzzle: Puzzle, found: AxisSolution) -> str:
    exact = Fraction(found.exact or 0)
    said = f"Exactly, the {puzzle.unknown} would be {number(exact)}"
    if exact.denominator > 1 and exact > 0:
        return f"{said}, which is no whole number."
    if exact < puzzle.lowest:
        return f"{said}, which is below {puzzle.lowest}."
    if puzzle.slide.pool and puzzle.unknown == "padding":
        return f"{said}, but a pool's padding is half its kernel at most: {puzzle.slide.kernel // 2}."
    return f"{said}, which torch does not take here."


def _answers(puzzle: Puzzle, found: AxisSolution) -> list[str]:
    unknown = puzzle.unknown
    if found.any_from is not None:
        return [f"Any {unknown} from {found.any_from} on gives {puzzle.output}."]
    if len(found.answers) > 1:
        exact = sum(answer.fits for answer in found.answers)
        which = "only one of them fits exactly" if exact == 1 else "none of them fits exactly"
        rounded = "up" if puzzle.slide.ceil else "down"
        return [
            f"As torch rounds {rounded}, {len(found.answers)} values of the {unknown} give {puzzle.output}; {which}."
        ]
    if found.answers:
        return []
    tried = [
        f"{unknown} {attempt.value} {'is refused' if attempt.output is None else f'gives {attempt.output}'}"
        for attempt in found.attempts
    ]
    return [f"No {unknown} gives {puzzle.output}: in torch " + " and ".join(tried) + "."]


def _is_same(puzzle: Puzzle) -> bool:
    slide = puzzle.slide
    return slide.stride == 1 and puzzle.output == slide.size


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
