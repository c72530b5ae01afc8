"""What a question about sizes may hold; what does not go together is told before anything is worked out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnnlab.errors import UsageError
from cnnlab.theory.sizes.geometry import Slide
from cnnlab.theory.sizes.records import Question, Sized
from cnnlab.theory.sizes.solvers import LARGEST, Unknown

_FROM_NOUGHT = ("padding", "output_padding")


def checked_question(unknown: Unknown | None, **given: Any) -> Question:
    """The question, with the stride that was meant.

    Raises:
        UsageError: a quantity out of its range, or some that do not go together.
    """
    flags = {name: bool(given.pop(name)) for name in ("pool", "ceil", "transposed")}
    sizes = {name: _checked(name, value) for name, value in given.items() if value is not None}
    _check_kind(output_padding=sizes["output_padding"], **flags)
    tied = False
    if unknown != "stride" and "stride" not in sizes:
        tied = flags["pool"] and unknown == "kernel"
        if not tied:
            sizes["stride"] = sizes["kernel"] if flags["pool"] else 1
    question = Question(**sizes, **flags, tied=tied)
    for axis in question.axes:
        _check_paddings(question.slide(axis), unknown)
    return question


def checked_channels(question: Question, channels: int | None, filters: int | None) -> None:
    """Nothing, if the channels and filters suit what slides.

    Raises:
        UsageError: one without the other, or a pool with filters.
    """
    for name, value in (("channels", channels), ("filters", filters)):
        if value is not None:
            _check_number(name, value, value)
    if question.pool and filters is not None:
        raise UsageError(
            "a pool has no filters: as many channels come out as go in",
            where="filters",
            received=str(filters),
            next_step="leave the filters out",
        )
    if not question.pool and (channels is None) != (filters is None):
        missing, there = ("filters", "channels") if filters is None else ("channels", "filters")
        raise UsageError(
            f"a {question.kind} has its parameters by channels and filters together",
            where=missing,
            received=f"{there} alone",
            next_step=f"give the {missing}, too",
        )


def check_fit(slide: Slide) -> None:
    """Nothing, if something comes out, and not more than can be looked at.

    Raises:
        UsageError: the window is larger than its image; all of the output is cut off; the output is too large.
    """
    if slide.transposed:
        whole = int(slide.exact)
        if whole > LARGEST:
            raise UsageError("the output is too large", received=f"{whole:,} pixels", allowed=f"up to {LARGEST:,}")
        if slide.output is None:
            raise UsageError(
                "the padding cuts off the whole output",
                where="padding",
                received=f"padding {slide.padding}, of {whole + 2 * slide.padding} pixels",
                allowed=f"up to {(whole + 2 * slide.padding - 1) // 2}",
            )
    elif slide.output is None:
        span = f"{slide.reach}" if slide.dilation == 1 else f"{slide.reach} (kernel {slide.kernel}, with its gaps)"
        padded = slide.size + 2 * slide.padding
        raise UsageError(
            f"a window of {span} pixels does not fit on {padded}",
            where="kernel",
            received=f"size {slide.size}, padding {slide.padding} on each side",
            allowed=f"windows of up to {padded} pixels",
            next_step=_room(slide),
        )


def _room(slide: Slide) -> str:
    needed = -(-(slide.reach - slide.size) // 2)
    if slide.pool and 2 * needed > slide.kernel:
        return "make the kernel smaller"
    return f"make the kernel smaller, or the padding {needed}"


def _checked(name: str, value: Any) -> Sized:
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != 2:
            raise UsageError(
                f"{_said(name)} is one number or two",
                where=name,
                received=str(value),
                allowed="one for both dimensions, or (vertical, horizontal)",
            )
        return _check_number(name, value[0], value), _check_number(name, value[1], value)
    return _check_number(name, value, value)


def _check_number(name: str, number: Any, received: Any) -> int:
    lowest = 0 if name in _FROM_NOUGHT else 1
    if isinstance(number, bool) or not isinstance(number, int) or not lowest <= number <= LARGEST:
        raise UsageError(
            f"{_said(name)} is a whole number from {lowest} on",
            where=name,
            received=str(received),
            allowed=f"{lowest} to {LARGEST:,}",
        )
    return number


def _said(name: str) -> str:
    return name.replace("_", " ")


def _check_kind(*, pool: bool, ceil: bool, transposed: bool, output_padding: Sized) -> None:
    if pool and transposed:
        raise UsageError(
            "a pool is not transposed",
            received="pool and transposed",
            next_step="keep one of them; an unpooling layer is no sliding window",
        )
    if ceil and not pool:
        raise UsageError(
            "only pools round up: torch's convolutions have no ceil mode",
            where="ceil",
            received="ceil without pool",
            next_step="leave ceil out, or make it a pool",
        )
    if output_padding not in (0, (0, 0)) and not transposed:
        raise UsageError(
            "output padding is of transposed convolutions",
            where="output_padding",
            received=str(output_padding),
            next_step="leave it out, or make it a transposed convolution",
        )


def _check_paddings(slide: Slide, unknown: Unknown | None) -> None:
    if slide.pool and unknown not in ("padding", "kernel") and 2 * slide.padding > slide.kernel:
        raise UsageError(
            "a pool's padding is half its kernel at most",
            where="padding",
            received=f"padding {slide.padding}, kernel {slide.kernel}",
            allowed=f"0 to {slide.kernel // 2}",
        )
    largest = max(slide.stride, slide.dilation)
    if unknown != "stride" and slide.output_padding >= largest and slide.output_padding:
        raise UsageError(
            "output padding is less than the stride or the dilation",
            where="output_padding",
            received=f"{slide.output_padding}, with stride {slide.stride} and dilation {slide.dilation}",
            allowed=f"0 to {largest - 1}",
            next_step="output padding chooses among the sizes that the stride makes one",
        )
