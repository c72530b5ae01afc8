"""Numbers of filters, maps and units. They count from 1, as papers and reports do; indices of arrays count from 0."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnnlab.errors import UsageError
from cnnlab.interpret.limits import MAX_SHOWN

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_NUMBERS = re.compile(r"\d{1,9}(,\d{1,9})*", re.ASCII)


def flagged_numbers(flags: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    """The numbers, from 1, of the filters with a flag.

    >>> import numpy as np
    >>> flagged_numbers(np.array([True, False, True]))
    (1, 3)
    """
    return tuple(int(index) + 1 for index in flags.nonzero()[0])


def parse_numbers(text: str, option: str, received: str = "") -> tuple[int, ...]:
    """Read `25,111,112`; a number that is repeated counts once.

    Args:
        option: as written, for errors.
        received: what the user wrote, where that is more than the numbers.

    Raises:
        UsageError: something other than numbers with commas between them.

    >>> parse_numbers("3,7,3", "--filters")
    (3, 7)
    """
    if not _NUMBERS.fullmatch(text):
        raise UsageError(
            "these are no numbers of filters",
            where=option,
            received=received or text,
            allowed="whole numbers from 1, with commas between them",
            next_step="write them as in --filters 25,111 or --patches conv1:3,7",
        )
    return tuple(dict.fromkeys(map(int, text.split(","))))


def validate_numbers(numbers: Sequence[int], count: int, layer: str, option: str, noun: str = "filter") -> list[int]:
    """Check numbers of a layer's filters, and return each once.

    Args:
        count: how many filters the layer has.
        layer: its name, for errors.
        option: as written, for errors.
        noun: what is numbered, for errors.

    Raises:
        UsageError: none, more than can be shown, or a number that no filter has.
    """
    chosen = list(dict.fromkeys(numbers))
    for number in chosen:
        if not 1 <= number <= count:
            raise UsageError(
                f"'{layer}' has no {noun} {number}",
                where=option,
                received=str(number),
                allowed=f"1 to {count}",
                next_step=f"{noun}s are numbered from 1",
            )
    if not 1 <= len(chosen) <= MAX_SHOWN:
        raise UsageError(
            f"too many {noun}s to show" if chosen else f"no {noun} is chosen",
            where=option,
            received=f"{len(chosen):,}",
            allowed=f"1 to {MAX_SHOWN:,} numbers",
        )
    return chosen
