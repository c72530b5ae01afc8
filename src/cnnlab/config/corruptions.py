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
from cnnlab.errors import Problem, SpecError
from cnnlab.grammar.calls import Call, parse_call
from cnnlab.grammar.registry import Choice, Registry

corruptions: Registry[Any] = Registry("shift")

# Strengths in pixels are given for images of this side, and grow with the image.
REFERENCE_SIDE = 32
MAX_PIXELS = 4096
Pixels: TypeAlias = Annotated[int, Field(ge=1, le=MAX_PIXELS)]
Degrees: TypeAlias = Annotated[float, Field(gt=0, le=180)]
Zoom: TypeAlias = Annotated[float, Field(ge=0.01, le=100)]
Factor: TypeAlias = Annotated[float, Field(ge=0, le=100)]
Sigma: TypeAlias = Annotated[float, Field(ge=0.01, le=100)]
Share: TypeAlias = Annotated[float, Field(gt=0, le=1)]
Quality: TypeAlias = Annotated[int, Field(ge=1, le=100)]


class Corruption(Choice):
    """What every shift has.

    Attributes:
        unit: of its strength, as it stands behind the number; "×" stands before it.
        identity_strength: the strength that would leave an image as it is.
        default_strengths: those that are tested where none is given; in pixels they are for images of 32×32.
        is_integer: whether its pixels are whole ones.
        needs_colour: whether grey images stay as they are.
    """

    unit: ClassVar[str] = ""
    identity_strength: ClassVar[float] = 0.0
    default_strengths: ClassVar[tuple[float, ...]] = ()
    is_integer: ClassVar[bool] = False
    needs_colour: ClassVar[bool] = False

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
    def strength_text(self) -> str:
        """Its strength as people say it: `3 px`, `×0.5`; empty for what has no degrees."""
        if not dataclasses.fields(self):  # type: ignore[arg-type]
            return ""
        number = f"{self.strength:g}"
        return {"×": f"×{number}", "°": f"{number}°"}.get(self.unit, f"{number} {self.unit}".strip())

    @property
    def title(self) -> str:
        """Its name with its strength: `rotation 15°`."""
        return f"{self.name} {self.strength_text}".strip()

    def as_call(self) -> Call:
        """The shift as a person writes it."""
        return corruptions.to_call(self)


@corruptions.register("translation")
class TranslationCorruption(Corruption):
    """Move by whole pixels to the left, to the right, up or down; black comes in."""

    unit: ClassVar[str] = "px"
    default_strengths: ClassVar[tuple[float, ...]] = (1, 2, 3, 4, 8)
    is_integer: ClassVar[bool] = True
    pixels: Pixels


@corruptions.register("rotation")
class RotationCorruption(Corruption):
    """Turn about the centre, with the clock or against it; black comes in at the corners."""

    unit: ClassVar[str] = "°"
    default_strengths: ClassVar[tuple[float, ...]] = (5, 10, 20, 45, 90)
    degrees: Degrees


@corruptions.register("scale")
class ScaleCorruption(Corruption):
    """Enlarge (above 1) or shrink about the centre; the size of the image stays, and black comes in."""

    unit: ClassVar[str] = "×"
    identity_strength: ClassVar[float] = 1.0
    default_strengths: ClassVar[tuple[float, ...]] = (0.5, 0.75, 1.25, 1.5, 2)
    factor: Zoom


@corruptions.register("brightness")
class BrightnessCorruption(Corruption):
    """Each number times the factor."""

    unit: ClassVar[str] = "×"
    identity_strength: ClassVar[float] = 1.0
    default_strengths: ClassVar[tuple[float, ...]] = (0.25, 0.5, 0.75, 1.25, 1.5)
    factor: Factor


@corruptions.register("contrast")
class ContrastCorruption(Corruption):
    """Away from or towards the mean grey of the image, by the factor; at 0 only that is left."""

    unit: ClassVar[str] = "×"
    identity_strength: ClassVar[float] = 1.0
    default_strengths: ClassVar[tuple[float, ...]] = (0.25, 0.5, 0.75, 1.25, 1.5)
    factor: Factor


@corruptions.register("saturation")
class SaturationCorruption(Corruption):
    """Away from or towards grey, by the factor; at 0 no colour is left."""

    unit: ClassVar[str] = "×"
    identity_strength: ClassVar[float] = 1.0
    default_strengths: ClassVar[tuple[float, ...]] = (0.25, 0.5, 1.5, 2, 3)
    needs_colour: ClassVar[bool] = True
    factor: Factor


@corruptions.register("hue")
class HueCorruption(Corruption):
    """Turn the circle of hues, one way or the other."""

    unit: ClassVar[str] = "°"
    default_strengths: ClassVar[tuple[float, ...]] = (18, 36, 72, 108, 180)
    needs_colour: ClassVar[bool] = True
    degrees: Degrees


@corruptions.register("greyscale")
class GreyscaleCorruption(Corruption):
    """Take the colours out; the channels stay three."""

    needs_colour: ClassVar[bool] = True


@corruptions.register("invert")
class InvertCorruption(Corruption):
    """Turn light into dark, each channel by itself."""


@corruptions.register("blur")
class BlurCorruption(Corruption):
    """Gaussian blur of this standard deviation; the border is reflected."""

    unit: ClassVar[str] = "px"
    default_strengths: ClassVar[tuple[float, ...]] = (0.5, 1.0, 1.5, 2.0, 3.0)
    sigma: Sigma


@corruptions.register("noise")
class NoiseCorruption(Corruption):
    """Add Gaussian noise of this standard deviation to each number; of pixels from 0 to 1."""

    default_strengths: ClassVar[tuple[float, ...]] = (0.02, 0.05, 0.1, 0.15, 0.2)
    std: Share


@corruptions.register("jpeg")
class JpegCorruption(Corruption):
    """Store as JPEG of this quality, and read again; lower is stronger."""

    identity_strength: ClassVar[float] = 100.0
    default_strengths: ClassVar[tuple[float, ...]] = (80, 50, 25, 10, 5)
    quality: Quality


@corruptions.register("occlusion")
class OcclusionCorruption(Corruption):
    """Cover a square of this side with black, wherever it has room in the image."""

    unit: ClassVar[str] = "px"
    default_strengths: ClassVar[tuple[float, ...]] = (4, 8, 12, 16, 24)
    is_integer: ClassVar[bool] = True
    pixels: Pixels


@corruptions.register("resolution")
class ResolutionCorruption(Corruption):
    """Shrink until the shorter side has so many pixels, and enlarge again; lower is stronger."""

    unit: ClassVar[str] = "px"
    identity_strength: ClassVar[float] = float("inf")
    default_strengths: ClassVar[tuple[float, ...]] = (24, 16, 12, 8, 4)
    is_integer: ClassVar[bool] = True
    pixels: Pixels


@corruptions.register("drawn")
class AugmentationCorruption(Corruption):
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
    def strength_text(self) -> str:
        """The first number of each of its augmentations that has one."""
        return ", ".join(f"{number:g}" for number in map(_first_number, self.body) if number is not None)


def default_corruptions(height: int, width: int, channels: int, names: Iterable[str] = ()) -> tuple[Any, ...]:
    """The shifts that images of this size are tested under, each kind at its usual strengths.

    Args:
        channels: grey images are not tested for what only moves colours.
        names: of kinds; without any all.

    >>> [shift.title for shift in default_corruptions(64, 64, 3, ["translation"])]
    ['translation 2 px', 'translation 4 px', 'translation 6 px', 'translation 8 px', 'translation 16 px']
    """
    wanted = list(names) or [name for name, kind in corruptions.kinds.items() if name != "drawn"]
    found: list[Any] = []
    for name in wanted:
        kind = corruptions.kinds[name]
        if kind.needs_colour and channels == 1:
            continue
        if not kind.default_strengths:
            found.append(kind())
            continue
        scaled = (_scale_strength(strength, kind, min(height, width)) for strength in kind.default_strengths)
        found += [kind(strength) for strength in dict.fromkeys(scaled)]
    return tuple(found)


def read_corruptions(texts: Sequence[Any], height: int, width: int, channels: int) -> tuple[Any, ...]:
    """Corruptions from calls, or from names, which stand for the default strengths; each once, all errors together.

    Raises:
        SpecError: an unknown name, or a strength that is not allowed.
    """
    found: list[Any] = []
    problems: list[Problem] = []
    for number, text in enumerate(texts):
        try:
            call = text if isinstance(text, Call) else parse_call(text)
            # `drawn` needs arguments.
            bare = not call.positional and not call.named and call.name in corruptions.kinds and call.name != "drawn"
            found += default_corruptions(height, width, channels, [call.name]) if bare else [corruptions.read(call)]
        except SpecError as error:
            problems += [problem.with_prefix(f"[{number}]") for problem in error.problems]
    if problems:
        raise SpecError.from_problems(problems)
    return tuple(dict.fromkeys(found))


def read_corruption(text: Any) -> Any:
    """The one shift that a call names; a name alone is enough for what has no strengths.

    Raises:
        SpecError: an unknown name, a strength that is not allowed, or a name that stands for several strengths.
    """
    found = read_corruptions([text], REFERENCE_SIDE, REFERENCE_SIDE, 3)
    if len(found) != 1:
        what = f"this stands for {len(found)} strengths, and one is meant"
        raise SpecError(what, received=str(text), allowed="one strength", next_step=f"write {found[0].as_call()}")
    return found[0]


def _first_number(choice: Any) -> float | None:
    values = [getattr(choice, field.name) for field in dataclasses.fields(choice)]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return float(numbers[0]) if numbers else None


def _scale_strength(strength: float, kind: type[Corruption], side: int) -> float:
    """A usual strength for images of this side; what is in pixels stays within what is allowed."""
    if kind.unit != "px" or side == REFERENCE_SIDE:
        return strength
    scaled = strength * side / REFERENCE_SIDE
    return min(max(1, round(scaled)), MAX_PIXELS) if kind.is_integer else min(max(round(scaled, 2), 0.1), 100.0)
