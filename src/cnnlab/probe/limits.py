"""How many pictures of a kind may be asked for. No torch."""

from __future__ import annotations

from cnnlab.errors import UsageError

# More are minutes of drawing, and a picture of tens of MB in which nothing is to be seen.
MOST_SHOWN = 256
# Of each filter: several of them stand below each other.
MOST_PATCHES = 64


def require_number(option: str, given: int | None, most: int = MOST_SHOWN) -> None:
    """Refuse a number of pictures below 1 or above `most`; None is no number, and fine.

    Args:
        option: as the command writes it.

    Raises:
        UsageError: it is out of this range.
    """
    if given is not None and not 1 <= given <= most:
        what = "nothing would be shown" if given < 1 else "these are too many to be shown"
        raise UsageError(what, where=option, received=f"{given:,}", allowed=f"1 to {most:,}")
