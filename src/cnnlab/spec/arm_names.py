"""The names of a study's arms: what they may be, and how an error tells them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cnnlab.errors import Problem, SpecError, nearest

# So many names are shown where an error lists what is allowed.
SHOWN_NAMES = 12


def check_names(kind: str, names: Sequence[str]) -> None:
    """Each arm has a name of its own, which a table's cell can hold."""
    for name in names:
        if not name.strip() or not name.isprintable():
            what, allowed = "this can't be an arm's name", "a text on one line, not empty"
            raise SpecError(what, where=kind, received=repr(name), allowed=allowed)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SpecError("two arms are the same", where=kind, received=twice, allowed="each value once")


def no_arm(name: str, where: str, names: Iterable[str]) -> Problem:
    return Problem("the study has no such arm", where, name, some_of(names), nearest(name, names))


def some_of(names: Iterable[str]) -> str:
    """The names of arms, of which there may be hundreds, in their order."""
    names = list(names)
    rest = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {rest} more" if rest > 0 else "")
