"""Every error that cnnlab raises on purpose.

    CnnlabError                something failed; the command exits with 1
    ├── UsageError             wrong usage or input; the command exits with 2
    │   ├── SpecError          a recipe, a layer table or a call is wrong (often several problems at once)
    │   └── SourceError        a data source, an image or a folder can't be used
    ├── DownloadError          no mirror answered, or a download is not the published file
    └── RunError               a run folder or a checkpoint can't be used

An error says what is wrong, where, what was received, what is allowed, and what to do next. It holds one or several
`Problem`s, so that a file with three mistakes can be corrected at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeVar

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """One problem. `what` is a sentence; the other fields are empty where they would add nothing."""

    what: str
    where: str = ""
    received: str = ""
    allowed: str = ""
    next_step: str = ""

    def with_prefix(self, prefix: str) -> Problem:
        """Return the same problem with `prefix` before `where`."""
        return replace(self, where=join_location(prefix, self.where))

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        details = (("received", self.received), ("allowed", self.allowed), ("next", self.next_step))
        return "\n".join([head, *(f"  {label + ':':<10}{text}" for label, text in details if text)])


class CnnlabError(Exception):
    """The base class of all errors that cnnlab raises on purpose."""

    exit_code = 1

    def __init__(
        self, what: str | Problem, *, where: str = "", received: str = "", allowed: str = "", next_step: str = ""
    ) -> None:
        first = what if isinstance(what, Problem) else Problem(what, where, received, allowed, next_step)
        self.problems: tuple[Problem, ...] = (first,)
        super().__init__(str(first))

    @classmethod
    def from_problems(cls, problems: Iterable[Problem]) -> Self:
        """Return one error that reports several problems; there must be at least one."""
        every = tuple(problems)
        error = cls(every[0])
        error.problems = every
        return error

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        return "\n".join([f"{len(self.problems)} problems", *(str(problem) for problem in self.problems)])


class UsageError(CnnlabError, ValueError):
    """Wrong usage or input; nothing was started. A ValueError, so that pydantic collects it with others."""

    exit_code = 2


class SpecError(UsageError):
    """A recipe, a layer table or a call is wrong."""


class SourceError(UsageError):
    """A data source, an image or a folder can't be used."""


class DownloadError(CnnlabError):
    """No mirror answered, or a download is not the published file."""


class RunError(CnnlabError):
    """A run folder or a checkpoint can't be used."""


def read_each(values: Iterable[S], read: Callable[[S], T]) -> list[T]:
    """Read each of several values.

    Raises:
        SpecError: with the problems of all of them, each at its number: `[2]`.
    """
    results: list[T] = []
    problems: list[Problem] = []
    for index, value in enumerate(values):
        try:
            results.append(read(value))
        except SpecError as error:
            problems += [problem.with_prefix(f"[{index}]") for problem in error.problems]
    if problems:
        raise SpecError.from_problems(problems)
    return results


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a hint with the closest of `names` ("did you mean 'conv'?"), or "" if none is close."""
    spellings = {known.lower(): known for known in names}
    nearest = difflib.get_close_matches(name.lower(), spellings, n=1, cutoff=0.6)
    return f"did you mean '{spellings[nearest[0]]}'?" if nearest else ""


def comma_separated(names: Sequence[str] | Iterable[str]) -> str:
    """Return names for the `allowed` line of an error: sorted, with commas."""
    return ", ".join(sorted(names))


def join_location(outer: str, inner: str) -> str:
    """Join `model` and `layers[2]` to `model.layers[2]`; an empty side adds nothing."""
    separator = "" if not outer or not inner or inner.startswith("[") else "."
    return f"{outer}{separator}{inner}"
