"""Formats of numbers and names in tables, captions and figures."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Callable, Iterable
from math import isfinite

NumberFormatter = Callable[[float], str]
MISSING = "–"
MAX_NAME_LENGTH = 48
_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def sanitize(text: str) -> str:
    """Replace control characters, directional marks and lone surrogates by U+FFFD."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def escape_control(text: str) -> str:
    r"""Escape in JSON or TOML the characters that `sanitize` replaces.

    >>> escape_control('{"name": "\u202egnp.a"}')
    '{"name": "\\u202egnp.a"}'
    """
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def shorten(name: str, max_width: int = MAX_NAME_LENGTH) -> str:
    """A name on one line, cut off with `…` if it is wider than `max_width` columns."""
    line = " ".join(sanitize(name).split())
    if display_width(line) <= max_width:
        return line
    while display_width(line) >= max_width:
        line = line[: max(len(line) - max((display_width(line) - max_width) // 2, 1), 0)]
    return line.rstrip() + "…"


def wrap(text: str, max_width: int) -> list[str]:
    """Wrap a text to lines of at most `max_width` characters."""
    return textwrap.wrap(sanitize(text), max(max_width, 1))


def display_width(text: str) -> int:
    """The width of a text in columns of a terminal; wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def quote(name: str) -> str:
    """A name in quotes for a sentence."""
    return f"“{shorten(name, 32)}”"


def format_fraction(value: float) -> str:
    """A fraction with four digits; `–` for NaN."""
    return f"{value:.4f}" if isfinite(value) else MISSING


def format_loss(value: float) -> str:
    """A loss with four digits; large ones in short, NaN and infinity as words."""
    if not isfinite(value):
        return "not a number" if value != value else "infinite"
    return f"{value:.4f}" if abs(value) < 1e4 else f"{value:.3g}"


def format_probability(value: float) -> str:
    """A probability with three digits; one that only rounds to 1 or 0 is not shown as such.

    >>> format_probability(0.99996), format_probability(0.98), format_probability(0.0001)
    ('> 0.999', '0.980', '< 0.001')
    """
    if 0.9995 <= value <= 1:
        return "> 0.999"
    return "< 0.001" if value < 0.0005 else f"{value:.3f}"


def format_percent(value: float) -> str:
    """A fraction as a percentage with one digit; `–` for NaN."""
    return f"{100 * value:.1f} %" if isfinite(value) else MISSING


def format_count(value: float) -> str:
    """A whole number with thousands separators."""
    return f"{value:,.0f}"


def format_epoch(value: float) -> str:
    """An epoch: `6` or `6.5`."""
    return f"{value:.4g}"


def format_short(value: float, digits: int = 3) -> str:
    """A number with few digits, for a table or a tile.

    >>> format_short(0.012345), format_short(-4.5678), format_short(-4.5678, 2), format_short(123456.0)
    ('0.0123', '−4.57', '−4.6', '1.2e+05')
    """
    if not isfinite(value) or value == 0 or 1e-3 <= abs(value) < 1e5:
        text = f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
    else:
        text = f"{value:.1e}"
    return text.replace("-", "−", 1) if value < 0 else text


def format_correlation(value: float | None) -> str:
    """A correlation with its sign; `–` where there is none.

    >>> format_correlation(-0.314), format_correlation(None)
    ('−0.31', '–')
    """
    return MISSING if value is None else f"{value:+.2f}".replace("-", "−")


def format_names(names: Iterable[object], count: int | None = None, max_names: int = 12, separator: str = ", ") -> str:
    """The first names, and how many more there are.

    Args:
        count: of all names, where `names` holds only the first of them.

    >>> format_names([1, 2, 3], max_names=2)
    '1, 2 and 1 more'
    """
    every = list(map(str, names))
    more = (len(every) if count is None else count) - len(every[:max_names])
    return separator.join(every[:max_names]) + (f" and {more:,} more" if more else "")


def format_duration(seconds: float) -> str:
    """A duration: `42 s`, `3 min 20 s`, `2 h 5 min`."""
    if not isfinite(seconds):
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def format_bytes(size: float) -> str:
    """A size in B, KiB, MiB or GiB.

    >>> format_bytes(1_561_640)
    '1.5 MiB'
    """
    for unit in ("B", "KiB", "MiB"):
        if size < (999.5 if unit == "B" else 1023.95):
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"


def format_shape(shape: tuple[int, ...]) -> str:
    """A shape: `3×32×32`."""
    return "×".join(map(str, shape))


def pluralize(number: int, noun: str, plural_noun: str = "") -> str:
    """`1 image`, `2 images`."""
    return f"{number:,} {noun if number == 1 else plural_noun or noun + 's'}"
