"""Changes of images: augmentations, whose strength is sampled for each image, the same at a fixed strength, mixtures.

Each change is declared once: its name, its arguments with the allowed values, and, where networks are tested under it,
how it is used at one strength for all images (`fixed`), which makes it a corruption (`cnnlab.config.corruptions`).
`cnnlab.data.augmentation.transforms` applies both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from cnnlab.errors import SpecError, read_each
from cnnlab.grammar.arguments import Border, Count, Positive, Probability
from cnnlab.grammar.calls import Call, parse_call
from cnnlab.grammar.registry import Choice, Registry
from cnnlab.grammar.validation_errors import format_received, value_error

augmentations: Registry[Any] = Registry("augmentation")
mixing: Registry[Any] = Registry("mixture")


def read_augmentations(value: Any) -> tuple[Any, ...]:
    """Read augmentations from texts, calls or augmentations.

    Raises:
        SpecError: with the problems of all of them.
    """
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise SpecError(
            "augmentations within another are a list",
            received=format_received(value),
            allowed="[crop(4), flip, …], not empty; of several, maybe(1, [crop(4), flip])",
        )

    def read(item: Any) -> Any:
        if type(item) in augmentations.kinds.values():
            return item
        return augmentations.read(item if isinstance(item, Call) else parse_call(item))

    return tuple(read_each(value, read))


def horizontal_flips(augmentations: Iterable[Any]) -> list[Any]:
    """Augmentations that can exchange left and right, at any depth of nesting."""
    flips: list[Any] = []
    for choice in augmentations:
        if getattr(choice, "p", 1) > 0:
            flips += [choice] if choice.flips_horizontally else horizontal_flips(getattr(choice, "body", ()))
    return flips


def _check_odd(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value % 2 == 0 or not 3 <= value <= 101:
        raise value_error("an odd number from 3 to 101")
    return value


Interpolation: TypeAlias = Literal["nearest", "bilinear"]
Degrees: TypeAlias = Annotated[float, Field(ge=0, le=180)]
# At 90° a sheared image has no width.
Angle: TypeAlias = Annotated[float, Field(ge=0, lt=90)]
Factor: TypeAlias = Annotated[float, Field(ge=0.01, le=100)]
Strength: TypeAlias = Annotated[float, Field(ge=0, le=100)]
# A fraction of the hue circle; half of it in either direction reaches every hue.
Shift: TypeAlias = Annotated[float, Field(ge=0, le=0.5)]
Kernel: TypeAlias = Annotated[int, BeforeValidator(_check_odd)]
Sigma: TypeAlias = Annotated[float, Field(ge=0.01, le=100)]
Bits: TypeAlias = Annotated[int, Field(ge=1, le=8)]
Level: TypeAlias = Annotated[int, Field(ge=0, le=255)]
Magnitude: TypeAlias = Annotated[int, Field(ge=0, le=30)]
Operations: TypeAlias = Annotated[int, Field(ge=1, le=20)]
if TYPE_CHECKING:
    Augmentations: TypeAlias = tuple[Any, ...]
else:
    Augmentations = Annotated[Any, BeforeValidator(read_augmentations)]

# Limits of fixed strengths.
MAX_PIXELS = 4096
Pixels: TypeAlias = Annotated[int, Field(ge=1, le=MAX_PIXELS)]
FixedAngle: TypeAlias = Annotated[float, Field(gt=0, le=180)]
FixedFactor: TypeAlias = Annotated[float, Field(ge=0, le=100)]
Share: TypeAlias = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True)
class FixedStrength:
    """How a change is used at one strength for all images.

    Attributes:
        summary: what it does, for the documentation.
        argument: the name of the strength in a call; "" for a change without a strength.
        limits: the type of the strength with the allowed values.
        unit: the unit, written after the number; "×" is written before it.
        identity: the strength that leaves images unchanged.
        defaults: the strengths that are tested by default; those in pixels are for images of 32×32.
        needs_colour: whether grey images do not change.
    """

    summary: str
    argument: str = ""
    limits: Any = None
    unit: str = ""
    identity: float = 0.0
    defaults: tuple[float, ...] = ()
    needs_colour: bool = False


def _factor(summary: str, *defaults: float, limits: Any = FixedFactor, needs_colour: bool = False) -> FixedStrength:
    return FixedStrength(summary, "factor", limits, "×", 1.0, defaults, needs_colour)


def pixel_strength(summary: str, *defaults: float) -> FixedStrength:
    """A strength in pixels, of which 0 leaves images unchanged."""
    return FixedStrength(summary, "pixels", Pixels, "px", 0.0, defaults)


def _degrees(summary: str, *defaults: float, needs_colour: bool = False) -> FixedStrength:
    return FixedStrength(summary, "degrees", FixedAngle, "°", 0.0, defaults, needs_colour)


class ImageChange(Choice):
    """Base class of the changes."""

    fixed: ClassVar[FixedStrength | None] = None

    def as_call(self) -> Call:
        """The augmentation as it is written within another one."""
        return augmentations.to_call(self)


def _check_order(low: float, high: float, names: str = "low and high") -> None:
    if low > high:
        first, _, second = names.split()
        raise SpecError(
            f"{names} are the wrong way round",
            received=f"{first}={low:g}, {second}={high:g}",
            allowed=f"{first} up to {second}",
        )


@augmentations.register("crop")
class Crop(ImageChange):
    """Pad on all sides, with black or by reflection, then crop a random window of the original size."""

    padding: Border = 4
    fill: Literal["zero", "reflect"] = "zero"


@augmentations.register("flip")
class Flip(ImageChange):
    """Flip horizontally with probability `p`."""

    flips_horizontally: ClassVar[bool] = True
    p: Probability = 0.5


@augmentations.register("alternating_flip")
class AlternatingFlip(ImageChange):
    """Flip horizontally in every other epoch, so that any two epochs show each image both ways (Jordan, 2024)."""

    flips_horizontally: ClassVar[bool] = True


@augmentations.register("vertical_flip")
class VerticalFlip(ImageChange):
    """Flip vertically with probability `p`."""

    p: Probability = 0.5


@augmentations.register("translation")
class Translation(ImageChange):
    """Move by whole pixels, up to `fraction` of the width and of the height; black fills the gap."""

    fixed = pixel_strength("Move left, right, up or down; black fills the gap.", 1, 2, 3, 4, 8)
    fraction: Probability = 0.1


@augmentations.register("rotation")
class Rotation(ImageChange):
    """Rotate about the centre by up to `degrees` in either direction; black fills the corners."""

    fixed = _degrees("Rotate in either direction; black fills the corners.", 5, 10, 20, 45, 90)
    degrees: Degrees = 15.0
    interpolation: Interpolation = "bilinear"


@augmentations.register("scale")
class Scale(ImageChange):
    """Enlarge or shrink about the centre by a factor from `low` to `high`; the image keeps its size."""

    fixed = _factor("Enlarge or shrink; black fills the border.", 0.5, 0.75, 1.25, 1.5, 2, limits=Factor)
    low: Factor = 0.8
    high: Factor = 1.2
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        _check_order(self.low, self.high)


@augmentations.register("affine")
class Affine(ImageChange):
    """Rotate, move, scale and shear (in degrees, along the rows) in one step, each up to its argument."""

    degrees: Degrees = 15.0
    translate: Probability = 0.1
    scale_low: Factor = 0.9
    scale_high: Factor = 1.1
    shear: Angle = 10.0
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        _check_order(self.scale_low, self.scale_high, "scale_low and scale_high")


@augmentations.register("brightness")
class Brightness(ImageChange):
    """Multiply by a factor from 1 - `strength` (at least 0) to 1 + `strength`."""

    fixed = _factor("Multiply each value by the factor.", 0.25, 0.5, 0.75, 1.25, 1.5)
    strength: Strength


@augmentations.register("contrast")
class Contrast(ImageChange):
    """Scale the differences to the mean grey of the image by a factor from 1 - `strength` to 1 + `strength`."""

    fixed = _factor("Blend with the mean grey, which a factor of 0 leaves.", 0.25, 0.5, 0.75, 1.25, 1.5)
    strength: Strength


@augmentations.register("saturation")
class Saturation(ImageChange):
    """Scale the differences to grey by a factor from 1 - `strength` to 1 + `strength`."""

    fixed = _factor("Blend with grey, which a factor of 0 leaves.", 0.25, 0.5, 1.5, 2, 3, needs_colour=True)
    strength: Strength


@augmentations.register("hue")
class Hue(ImageChange):
    """Rotate the hue circle by up to the fraction `strength` in either direction; 0.5 reaches all hues."""

    fixed = _degrees("Rotate the hue circle in either direction.", 18, 36, 72, 108, 180, needs_colour=True)
    strength: Shift


@augmentations.register("jitter")
class Jitter(ImageChange):
    """Brightness, contrast, saturation and hue as above, in this order; 0 omits one."""

    brightness: Strength = 0.0
    contrast: Strength = 0.0
    saturation: Strength = 0.0
    hue: Shift = 0.0

    def __post_init__(self) -> None:
        if not (self.brightness or self.contrast or self.saturation or self.hue):
            raise SpecError(
                "jitter with four zeros changes nothing",
                received="jitter(0, 0, 0, 0)",
                allowed="one above 0 at least, such as jitter(0.4, 0.4, 0.4, 0.1)",
            )


@augmentations.register("greyscale")
class Greyscale(ImageChange):
    """Remove the colours with probability `p`; the image keeps three channels."""

    fixed = FixedStrength("Remove the colours; the image keeps three channels.", needs_colour=True)
    p: Probability = 0.1


@augmentations.register("invert")
class Invert(ImageChange):
    """Invert all values with probability `p`."""

    fixed = FixedStrength("Invert each channel.")
    p: Probability = 0.5


@augmentations.register("blur")
class Blur(ImageChange):
    """Gaussian blur over `kernel` pixels with a standard deviation from `low` to `high` pixels."""

    fixed = FixedStrength(
        "Gaussian blur of this standard deviation.", "sigma", Sigma, unit="px", defaults=(0.5, 1.0, 1.5, 2.0, 3.0)
    )
    kernel: Kernel = 3
    low: Sigma = 0.1
    high: Sigma = 2.0

    def __post_init__(self) -> None:
        _check_order(self.low, self.high)


@augmentations.register("noise")
class Noise(ImageChange):
    """Add Gaussian noise of standard deviation `std` to each value, on a scale from 0 to 1."""

    fixed = FixedStrength(
        "Add Gaussian noise, on a scale from 0 to 1.", "std", Share, defaults=(0.02, 0.05, 0.1, 0.15, 0.2)
    )
    std: Probability = 0.05


@augmentations.register("erasing")
class Erasing(ImageChange):
    """Blacken a rectangle of `low` to `high` of the area with probability `p` (Zhong et al., 2017)."""

    p: Probability = 0.5
    low: Probability = 0.02
    high: Probability = 0.33

    def __post_init__(self) -> None:
        _check_order(self.low, self.high)


@augmentations.register("cutout")
class Cutout(ImageChange):
    """Blacken a square of `size` pixels around a random pixel, clipped at the border (DeVries, Taylor, 2017)."""

    size: Count = 8


@augmentations.register("posterize")
class Posterize(ImageChange):
    """Keep the upper `bits` of each value's 8, with probability `p`."""

    bits: Bits = 4
    p: Probability = 0.5


@augmentations.register("solarize")
class Solarize(ImageChange):
    """Invert all values of at least `threshold` (of 255), with probability `p`."""

    threshold: Level = 128
    p: Probability = 0.5


@augmentations.register("randaugment")
class RandAugment(ImageChange):
    """Apply `operations` random operations of 14, all of one `magnitude` from 0 to 30 (Cubuk et al., 2020)."""

    operations: Operations = 2
    magnitude: Magnitude = 9


@augmentations.register("trivialaugment")
class TrivialAugment(ImageChange):
    """Apply one of 14 operations with a random magnitude from a wide range (Müller, Hutter, 2021)."""


@augmentations.register("maybe")
class Maybe(ImageChange):
    """Apply all of `body` in order, with probability `p`; otherwise leave the image unchanged."""

    p: Probability
    body: Augmentations


@augmentations.register("one_of")
class OneOf(ImageChange):
    """Apply one of `body`, all with equal probability."""

    body: Augmentations


@mixing.register("none")
class NoMixing(Choice):
    """Images are not mixed."""


@mixing.register("mixup")
class MixUp(Choice):
    """Weighted sums of two images and of their labels, the weight from Beta(alpha, alpha) (Zhang et al., 2018)."""

    alpha: Positive = 0.2


@mixing.register("cutmix")
class CutMix(Choice):
    """A rectangle of another image with its share of the label, from Beta(alpha, alpha) (Yun et al., 2019)."""

    alpha: Positive = 1.0
