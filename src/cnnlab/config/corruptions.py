"""Corruptions, which `cnnlab shift` calls shifts: image changes at one strength for all images.

A strength is physical: pixels, degrees, a factor. Where it has two directions (left or right, clockwise or
counterclockwise), each image samples its own. `drawn` samples the strength for each image too, as augmentations do: a
published ColorJitter(brightness=.5), with a factor from 0.5 to 1.5, is drawn([brightness(0.5)]).
`cnnlab.evaluation.corruptions` applies them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from cnnlab.config.image_changes import MAX_PIXELS, Augmentations, FixedStrength, Pixels, augmentations, pixel_strength
from cnnlab.errors import SpecError, read_each
from cnnlab.grammar.calls import Call, parse_call
from cnnlab.grammar.registry import Choice, Registry

corruptions: Registry[Any] = Registry("shift")

# Default strengths in pixels are given for images of this side, and grow with the image.
REFERENCE_SIDE = 32

# Changes that no recipe trains with.
_TEST_ONLY = {
    "jpeg": FixedStrength(
        "Compress as JPEG of this quality; lower is stronger.",
        "quality",
        Annotated[int, Field(ge=1, le=100)],
        identity=100.0,
        defaults=(80, 50, 25, 10, 5),
    ),
    "occlusion": pixel_strength("Cover a square of this side with black, anywhere within the image.", 4, 8, 12, 16, 24),
    "resolution": FixedStrength(
        "Shrink the shorter side to this many pixels, and enlarge again; lower is stronger.",
        "pixels",
        Pixels,
        "px",
        identity=float("inf"),
        defaults=(24, 16, 12, 8, 4),
    ),
}


class Corruption(Choice):
    """Base class of the corruptions: an image change with its strength as the only argument, or without one."""

    fixed: ClassVar[FixedStrength]

    @property
    def strength(self) -> float:
        """The strength in its unit; 1 for a change without a strength."""
        return float(getattr(self, self.fixed.argument)) if self.fixed.argument else 1.0

    @property
    def identity_strength(self) -> float:
        """The strength that leaves images unchanged."""
        return self.fixed.identity

    @property
    def name(self) -> str:
        """The name in tables, without the strength."""
        return self.kind

    @property
    def strength_text(self) -> str:
        """The strength with its unit: `3 px`, `×0.5`; "" for a change without a strength."""
        if not self.fixed.argument:
            return ""
        number = f"{self.strength:g}"
        return {"×": f"×{number}", "°": f"{number}°"}.get(self.fixed.unit, f"{number} {self.fixed.unit}".strip())

    @property
    def title(self) -> str:
        """The name with the strength: `rotation 15°`."""
        return f"{self.name} {self.strength_text}".strip()

    def as_call(self) -> Call:
        """The corruption as it is written in a study."""
        return corruptions.to_call(self)


def _register(name: str, fixed: FixedStrength) -> None:
    namespace = {
        "__module__": __name__,
        "__doc__": fixed.summary,
        "__annotations__": {fixed.argument: fixed.limits} if fixed.argument else {},
        "fixed": fixed,
    }
    corruptions.register(name)(type(f"{name.capitalize()}Corruption", (Corruption,), namespace))


for _name, _change in augmentations.kinds.items():
    if _change.fixed is not None:
        _register(_name, _change.fixed)
for _name, _fixed in _TEST_ONLY.items():
    _register(_name, _fixed)


@corruptions.register("drawn")
class AugmentationCorruption(Corruption):
    """Apply the augmentations of `body` in order, with strengths sampled for each image."""

    fixed: ClassVar[FixedStrength] = FixedStrength("")
    body: Augmentations

    @property
    def name(self) -> str:
        """`drawn` with its augmentations: `drawn brightness(0.5)`."""
        return f"drawn {', '.join(str(choice.as_call()) for choice in self.body)}"


def default_corruptions(height: int, width: int, channels: int, names: Iterable[str] = ()) -> tuple[Any, ...]:
    """Corruptions at their default strengths for images of this size.

    Args:
        channels: 1 omits those that change colours only.
        names: names of corruptions; by default all but `drawn`.

    >>> [shift.title for shift in default_corruptions(64, 64, 3, ["translation"])]
    ['translation 2 px', 'translation 4 px', 'translation 6 px', 'translation 8 px', 'translation 16 px']
    """
    wanted = list(names) or [name for name in corruptions.kinds if name != "drawn"]
    choices: list[Any] = []
    for name in wanted:
        kind = corruptions.kinds[name]
        fixed: FixedStrength = kind.fixed
        if fixed.needs_colour and channels == 1:
            continue
        if not fixed.defaults:
            choices.append(kind())
            continue
        strengths = (_scale_strength(strength, fixed, min(height, width)) for strength in fixed.defaults)
        choices += [kind(strength) for strength in dict.fromkeys(strengths)]
    return tuple(choices)


def read_corruptions(
    texts: Sequence[Any], height: int = REFERENCE_SIDE, width: int = REFERENCE_SIDE, channels: int = 3
) -> tuple[Any, ...]:
    """Read corruptions from calls, or from names, which stand for the default strengths; each is returned once.

    Raises:
        SpecError: unknown names, or strengths that are not allowed; all problems together.
    """

    def read(text: Any) -> tuple[Any, ...]:
        call = text if isinstance(text, Call) else parse_call(text)
        # `drawn` needs arguments.
        if call.positional or call.named or call.name not in corruptions.kinds or call.name == "drawn":
            return (corruptions.read(call),)
        return default_corruptions(height, width, channels, [call.name])

    return tuple(dict.fromkeys(choice for choices in read_each(texts, read) for choice in choices))


def read_corruption(text: Any) -> Any:
    """Read one corruption from a call, or from a name where that has no strength.

    Raises:
        SpecError: an unknown name, a strength that is not allowed, or a name that stands for several strengths.
    """
    choices = read_corruptions([text])
    if len(choices) != 1:
        what = f"this stands for {len(choices)} strengths, and one is meant"
        raise SpecError(what, received=str(text), allowed="one strength", next_step=f"write {choices[0].as_call()}")
    return choices[0]


def _scale_strength(strength: float, fixed: FixedStrength, side: int) -> float:
    """A default strength for images of this side; strengths in pixels grow with it, within their limits."""
    if fixed.unit != "px" or side == REFERENCE_SIDE:
        return strength
    scaled = strength * side / REFERENCE_SIDE
    return min(max(1, round(scaled)), MAX_PIXELS) if fixed.limits is Pixels else min(max(round(scaled, 2), 0.1), 100.0)
