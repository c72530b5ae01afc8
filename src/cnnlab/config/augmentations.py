"""The augmentations that a recipe names: how training images may be changed, epoch by epoch.

Here stand their names, arguments and allowed values; `cnnlab.data.augmentation.augment` carries them out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from cnnlab.errors import Problem, SpecError
from cnnlab.grammar.arguments import Border, Count, Probability
from cnnlab.grammar.calls import Call, parse_call
from cnnlab.grammar.registry import Choice, Registry
from cnnlab.grammar.validation_errors import format_received, value_error

augmentations: Registry[Any] = Registry("augmentation")


def read_augmentations(value: Any) -> tuple[Any, ...]:
    """Augmentations from texts, calls or themselves; every wrong one is reported."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise SpecError(
            "augmentations within another are a list",
            received=format_received(value),
            allowed="[crop(4), flip, …], not empty; of several, maybe(1, [crop(4), flip])",
        )
    found: list[Any] = []
    problems: list[Problem] = []
    for index, item in enumerate(value):
        try:
            known = type(item) in augmentations.kinds.values()
            found.append(item if known else augmentations.read(item if isinstance(item, Call) else parse_call(item)))
        except SpecError as error:
            problems += [problem.with_prefix(f"[{index}]") for problem in error.problems]
    if problems:
        raise SpecError.from_problems(problems)
    return tuple(found)


def horizontal_flips(augmentations: Iterable[Any]) -> list[Any]:
    """Those that can turn left into right, and those within others in their place."""
    found: list[Any] = []
    for choice in augmentations:
        if getattr(choice, "p", 1) > 0:
            found += [choice] if choice.flips_horizontally else horizontal_flips(getattr(choice, "body", ()))
    return found


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
# A share of the circle of hues; half of it reaches all of them.
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


class Augmentation(Choice):
    """What every augmentation has: the call that names it."""

    def as_call(self) -> Call:
        """The augmentation as a person writes it, within another one."""
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
class Crop(Augmentation):
    """Pad on all sides, with black or by reflection, then cut an image of the old size from a random place."""

    padding: Border = 4
    fill: Literal["zero", "reflect"] = "zero"


@augmentations.register("flip")
class Flip(Augmentation):
    """Mirror left and right with probability `p`."""

    flips_horizontally: ClassVar[bool] = True
    p: Probability = 0.5


@augmentations.register("alternating_flip")
class AlternatingFlip(Augmentation):
    """Mirror left and right in every other epoch: each image is seen both ways in any two (Jordan, 2024)."""

    flips_horizontally: ClassVar[bool] = True


@augmentations.register("vertical_flip")
class VerticalFlip(Augmentation):
    """Mirror top and bottom with probability `p`."""

    p: Probability = 0.5


@augmentations.register("rotation")
class Rotation(Augmentation):
    """Turn about the centre by up to `degrees` either way; black comes in at the corners."""

    degrees: Degrees = 15.0
    interpolation: Interpolation = "bilinear"


@augmentations.register("translation")
class Translation(Augmentation):
    """Move by whole pixels, up to `fraction` of the width and the height either way; black comes in."""

    fraction: Probability = 0.1


@augmentations.register("scale")
class Scale(Augmentation):
    """Enlarge or shrink about the centre by a factor from `low` to `high`; the size of the image stays."""

    low: Factor = 0.8
    high: Factor = 1.2
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        _check_order(self.low, self.high)


@augmentations.register("affine")
class Affine(Augmentation):
    """Turn, move, scale and shear (in degrees, along the rows) in one step, each as far as it is given."""

    degrees: Degrees = 15.0
    translate: Probability = 0.1
    scale_low: Factor = 0.9
    scale_high: Factor = 1.1
    shear: Angle = 10.0
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        _check_order(self.scale_low, self.scale_high, "scale_low and scale_high")


@augmentations.register("brightness")
class Brightness(Augmentation):
    """Times a factor from 1 - `strength` (0 at least) to 1 + `strength`."""

    strength: Strength


@augmentations.register("contrast")
class Contrast(Augmentation):
    """Away from or towards the mean grey of the image, by a factor from 1 - `strength` to 1 + `strength`."""

    strength: Strength


@augmentations.register("saturation")
class Saturation(Augmentation):
    """Away from or towards grey, by a factor from 1 - `strength` to 1 + `strength`."""

    strength: Strength


@augmentations.register("hue")
class Hue(Augmentation):
    """Turn the circle of hues by up to `strength` of it either way; 0.5 reaches all hues."""

    strength: Shift


@augmentations.register("jitter")
class Jitter(Augmentation):
    """Brightness, contrast, saturation and hue as above, always in this order; 0 leaves one out."""

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
class Greyscale(Augmentation):
    """Take the colours out with probability `p`; the channels stay three."""

    p: Probability = 0.1


@augmentations.register("invert")
class Invert(Augmentation):
    """Turn light into dark with probability `p`."""

    p: Probability = 0.5


@augmentations.register("blur")
class Blur(Augmentation):
    """Gaussian blur over `kernel` pixels, of a standard deviation from `low` to `high` pixels."""

    kernel: Kernel = 3
    low: Sigma = 0.1
    high: Sigma = 2.0

    def __post_init__(self) -> None:
        _check_order(self.low, self.high)


@augmentations.register("noise")
class Noise(Augmentation):
    """Add Gaussian noise to each number; `std` is of pixels from 0 to 1."""

    std: Probability = 0.05


@augmentations.register("erasing")
class Erasing(Augmentation):
    """Blacken a rectangle of `low` to `high` of the area with probability `p` (Zhong et al., 2017)."""

    p: Probability = 0.5
    low: Probability = 0.02
    high: Probability = 0.33

    def __post_init__(self) -> None:
        _check_order(self.low, self.high)


@augmentations.register("cutout")
class Cutout(Augmentation):
    """Blacken a square of `size` pixels about a random pixel, cut off at the border (DeVries, Taylor, 2017)."""

    size: Count = 8


@augmentations.register("posterize")
class Posterize(Augmentation):
    """Keep the upper `bits` of each number's 8, with probability `p`."""

    bits: Bits = 4
    p: Probability = 0.5


@augmentations.register("solarize")
class Solarize(Augmentation):
    """Invert all numbers from `threshold` (of 255) on, with probability `p`."""

    threshold: Level = 128
    p: Probability = 0.5


@augmentations.register("randaugment")
class RandAugment(Augmentation):
    """`operations` of 14, drawn one after the other, each of one `magnitude` from 0 to 30 (Cubuk et al., 2020)."""

    operations: Operations = 2
    magnitude: Magnitude = 9


@augmentations.register("trivialaugment")
class TrivialAugment(Augmentation):
    """One of 14 operations, of a drawn magnitude out of a wide range (Müller, Hutter, 2021)."""


@augmentations.register("maybe")
class Maybe(Augmentation):
    """All of `body`, one after the other, with probability `p`; the image as it is otherwise."""

    p: Probability
    body: Augmentations


@augmentations.register("one_of")
class OneOf(Augmentation):
    """One of `body`, each as likely as the others."""

    body: Augmentations
