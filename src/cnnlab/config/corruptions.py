"""The shifts that a trained network is tested under: their names, strengths in physical units, and what leaves an
image as it is. `cnnlab.evaluation.corruptions` carries them out.

A shift has one strength for all images. Where a strength has two directions (left or right, with the clock or against
it), each image draws its own. `drawn` has its strength drawn image by image, as augmentations do: a published
ColorJitter(brightness=.5), whose factor is drawn from 0.5 to 1.5, is drawn([brightness(0.5)]).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import Field

from cnnlab.config.augmentations import Augmentations
from cnnlab.config.optimization import Choice
from cnnlab.errors import Problem, SpecError
from cnnlab.grammar.calls import Call, parse
from cnnlab.grammar.registry import Registry

shifts: Registry[Any] = Registry("shift")

# Strengths in pixels are given for images of this side, and grow with the image.
SIDE = 32
LARGEST_PIXELS = 4096
Pixels: TypeAlias = Annotated[int, Field(ge=1, le=LARGEST_PIXELS)]
Degrees: TypeAlias = Annotated[float, Field(gt=0, le=180)]
Zoom: TypeAlias = Annotated[float, Field(ge=0.01, le=100)]
Factor: TypeAlias = Annotated[float, Field(ge=0, le=100)]
Sigma: TypeAlias = Annotated[float, Field(ge=0.01, le=100)]
Share: TypeAlias = Annotated[float, Field(gt=0, le=1)]
Quality: TypeAlias = Annotated[int, Field(ge=1, le=100)]


class Shift(Choice):
    """What every shift has.

    Attributes:
        unit: of its strength, as it stands behind the number; "×" stands before it.
        unchanged: the strength that would leave an image as it is.
        strengths: those that are tested where none is given; in pixels they are for images of 32×32.
        whole: whether its pixels are whole ones.
        colour: whether grey images stay as they are.
    """

    unit: ClassVar[str] = ""
    unchanged: ClassVar[float] = 0.0
    strengths: ClassVar[tuple[float, ...]] = ()
    whole: ClassVar[bool] = False
    colour: ClassVar[bool] = False

    @property
    def strength(self) -> float:
        """How strong it is, in its unit; 1 for what has no degrees."""
        first = next(iter(dataclasses.fields(self)), None)  # type: ignore[arg-type]
        return 1.0 if first is None else float(getattr(self, first.name))

    @property
    def name(self) -> str:
        """What its rows are called, whatever their strength."""
        return self.kind

    @property
    def amount(self) -> str:
        """Its strength as people say it: `3 px`, `×0.5`; empty for what has no degrees."""
        if not dataclasses.fields(self):  # type: ignore[arg-type]
            return ""
        number = f"{self.strength:g}"
        return {"×": f"×{number}", "°": f"{number}°"}.get(self.unit, f"{number} {self.unit}".strip())

    @property
    def title(self) -> str:
        """Its name with its strength: `rotation 15°`."""
        return f"{self.name} {self.amount}".strip()

    def as_call(self) -> Call:
        """The shift as a person writes it."""
        return shifts.write(self)


@shifts.add("translation")
class Translation(Shift):
    """Move by whole pixels to the left, to the right, up or down; black comes in."""

    unit: ClassVar[str] = "px"
    strengths: ClassVar[tuple[float, ...]] = (1, 2, 3, 4, 8)
    whole: ClassVar[bool] = True
    pixels: Pixels


@shifts.add("rotation")
class Rotation(Shift):
    """Turn about the centre, with the clock or against it; black comes in at the corners."""

    unit: ClassVar[str] = "°"
    strengths: ClassVar[tuple[float, ...]] = (5, 10, 20, 45, 90)
    degrees: Degrees


@shifts.add("scale")
class Scale(Shift):
    """Enlarge (above 1) or shrink about the centre; the size of the image stays, and black comes in."""

    unit: ClassVar[str] = "×"
    unchanged: ClassVar[float] = 1.0
    strengths: ClassVar[tuple[float, ...]] = (0.5, 0.75, 1.25, 1.5, 2)
    factor: Zoom


@shifts.add("brightness")
class Brightness(Shift):
    """Each number times the factor."""

    unit: ClassVar[str] = "×"
    unchanged: ClassVar[float] = 1.0
    strengths: ClassVar[tuple[float, ...]] = (0.25, 0.5, 0.75, 1.25, 1.5)
    factor: Factor


@shifts.add("contrast")
class Contrast(Shift):
    """Away from or towards the mean grey of the image, by the factor; at 0 only that is left."""

    unit: ClassVar[str] = "×"
    unchanged: ClassVar[float] = 1.0
    strengths: ClassVar[tuple[float, ...]] = (0.25, 0.5, 0.75, 1.25, 1.5)
    factor: Factor


@shifts.add("saturation")
class Saturation(Shift):
    """Away from or towards grey, by the factor; at 0 no colour is left."""

    unit: ClassVar[str] = "×"
    unchanged: ClassVar[float] = 1.0
    strengths: ClassVar[tuple[float, ...]] = (0.25, 0.5, 1.5, 2, 3)
    colour: ClassVar[bool] = True
    factor: Factor


@shifts.add("hue")
class Hue(Shift):
    """Turn the circle of hues, one way or the other."""

    unit: ClassVar[str] = "°"
    strengths: ClassVar[tuple[float, ...]] = (18, 36, 72, 108, 180)
    colour: ClassVar[bool] = True
    degrees: Degrees


@shifts.add("greyscale")
class Greyscale(Shift):
    """Take the colours out; the channels stay three."""

    colour: ClassVar[bool] = True


@shifts.add("invert")
class Invert(Shift):
    """Turn light into dark, each channel by itself."""


@shifts.add("blur")
class Blur(Shift):
    """Gaussian blur of this standard deviation; the border is reflected."""

    unit: ClassVar[str] = "px"
    strengths: ClassVar[tuple[float, ...]] = (0.5, 1.0, 1.5, 2.0, 3.0)
    sigma: Sigma


@shifts.add("noise")
class Noise(Shift):
    """Add Gaussian noise of this standard deviation to each number; of pixels from 0 to 1."""

    strengths: ClassVar[tuple[float, ...]] = (0.02, 0.05, 0.1, 0.15, 0.2)
    std: Share


@shifts.add("jpeg")
class Jpeg(Shift):
    """Store as JPEG of this quality, and read again; lower is stronger."""

    unchanged: ClassVar[float] = 100.0
    strengths: ClassVar[tuple[float, ...]] = (80, 50, 25, 10, 5)
    quality: Quality


@shifts.add("occlusion")
class Occlusion(Shift):
    """Cover a square of this side with black, wherever it has room in the image."""

    unit: ClassVar[str] = "px"
    strengths: ClassVar[tuple[float, ...]] = (4, 8, 12, 16, 24)
    whole: ClassVar[bool] = True
    pixels: Pixels


@shifts.add("resolution")
class Resolution(Shift):
    """Shrink until the shorter side has so many pixels, and enlarge again; lower is stronger."""

    unit: ClassVar[str] = "px"
    unchanged: ClassVar[float] = float("inf")
    strengths: ClassVar[tuple[float, ...]] = (24, 16, 12, 8, 4)
    whole: ClassVar[bool] = True
    pixels: Pixels


@shifts.add("drawn")
class Drawn(Shift):
    """The augmentations of `body`, one after the other, each drawn anew for each image."""

    body: Augmentations

    @property
    def strength(self) -> float:
        """The first number of its one augmentation; 1 for several, and for one without a number."""
        found = _first_number(self.body[0]) if len(self.body) == 1 else None
        return 1.0 if found is None else found

    @property
    def name(self) -> str:
        """`drawn` with the names of its augmentations."""
        return f"drawn {', '.join(choice.kind for choice in self.body)}"

    @property
    def amount(self) -> str:
        """The first number of each of its augmentations that has one."""
        return ", ".join(f"{number:g}" for number in map(_first_number, self.body) if number is not None)


def usual(height: int, width: int, channels: int, names: Iterable[str] = ()) -> tuple[Any, ...]:
    """The shifts that images of this size are tested under, each kind at its usual strengths.

    Args:
        channels: grey images are not tested for what only moves colours.
        names: of kinds; without any all.

    >>> [shift.title for shift in usual(64, 64, 3, ["translation"])]
    ['translation 2 px', 'translation 4 px', 'translation 6 px', 'translation 8 px', 'translation 16 px']
    """
    wanted = list(names) or [name for name, kind in shifts.kinds.items() if name != "drawn"]
    found: list[Any] = []
    for name in wanted:
        kind = shifts.kinds[name]
        if kind.colour and channels == 1:
            continue
        if not kind.strengths:
            found.append(kind())
            continue
        scaled = (_scaled(strength, kind, min(height, width)) for strength in kind.strengths)
        found += [kind(strength) for strength in dict.fromkeys(scaled)]
    return tuple(found)


def read_shifts(texts: Sequence[Any], height: int, width: int, channels: int) -> tuple[Any, ...]:
    """Shifts from calls, or from names, which stand for the usual strengths; each once, every wrong one told.

    Raises:
        SpecError: an unknown name, or a strength that is not allowed.
    """
    found: list[Any] = []
    problems: list[Problem] = []
    for number, text in enumerate(texts):
        try:
            call = text if isinstance(text, Call) else parse(text)
            # `drawn` needs to be told what.
            bare = not call.positional and not call.named and call.name in shifts.kinds and call.name != "drawn"
            found += usual(height, width, channels, [call.name]) if bare else [shifts.read(call)]
        except SpecError as error:
            problems += [problem.within(f"[{number}]") for problem in error.problems]
    if problems:
        raise SpecError.together(problems)
    return tuple(dict.fromkeys(found))


def read_shift(text: Any) -> Any:
    """The one shift that a call names; a name alone is enough for what has no strengths.

    Raises:
        SpecError: an unknown name, a strength that is not allowed, or a name that stands for several strengths.
    """
    found = read_shifts([text], SIDE, SIDE, 3)
    if len(found) != 1:
        what = f"this stands for {len(found)} strengths, and one is meant"
        raise SpecError(what, received=str(text), allowed="one strength", next_step=f"write {found[0].as_call()}")
    return found[0]


def _first_number(choice: Any) -> float | None:
    values = [getattr(choice, field.name) for field in dataclasses.fields(choice)]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return float(numbers[0]) if numbers else None


def _scaled(strength: float, kind: type[Shift], side: int) -> float:
    """A usual strength for images of this side; what is in pixels stays within what is allowed."""
    if kind.unit != "px" or side == SIDE:
        return strength
    scaled = strength * side / SIDE
    return min(max(1, round(scaled)), LARGEST_PIXELS) if kind.whole else min(max(round(scaled, 2), 0.1), 100.0)
