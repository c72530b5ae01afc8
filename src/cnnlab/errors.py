"""Every error that cnnlab raises on purpose.

    CnnlabError                it failed; the command exits with 1
    ├── UsageError             wrong words or input; the command exits with 2
    │   ├── SpecError          a recipe, a layer table or a call is wrong (often several problems at once)
    │   └── SourceError        a data source, an image or a folder can't be used
    ├── DownloadError          no mirror answered, or what came is not what was promised
    └── RunError               a run folder or a checkpoint can't be used

An error says what is wrong, where, what was received, what is allowed, and what to do next. It holds one
`Problem` or several, so that a file with three mistakes is mended in one go.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. `what` is a sentence; the rest is left empty where it would add nothing."""

    what: str
    where: str = ""
    received: str = ""
    allowed: str = ""
    next_step: str = ""

    def with_prefix(self, prefix: str) -> Problem:
        """The same problem, seen from one level further out: `prefix` is put in front of `where`."""
        return replace(self, where=join_location(prefix, self.where))

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        details = (("received", self.received), ("allowed", self.allowed), ("next", self.next_step))
        return "\n".join([head, *(f"  {label + ':':<10}{text}" for label, text in details if text)])


class CnnlabError(Exception):
    """The root of the tree: what cnnlab raises when it can't do what was asked."""

    exit_code = 1

    def __init__(
        self, what: str | Problem, *, where: str = "", received: str = "", allowed: str = "", next_step: str = ""
    ) -> None:
        first = what if isinstance(what, Problem) else Problem(what, where, received, allowed, next_step)
        self.problems: tuple[Problem, ...] = (first,)
        super().__init__(str(first))

    @classmethod
    def from_problems(cls, problems: Iterable[Problem]) -> Self:
        """One error that reports several problems; there must be at least one."""
        found = tuple(problems)
        error = cls(found[0])
        error.problems = found
        return error

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        return "\n".join([f"{len(self.problems)} problems", *(str(problem) for problem in self.problems)])


class UsageError(CnnlabError, ValueError):
    """Wrong words or input: nothing was started. A ValueError too, which pydantic collects with the others it finds."""

    exit_code = 2


class SpecError(UsageError):
    """A recipe, a layer table or a call is wrong."""


class SourceError(UsageError):
    """A data source, an image or a folder can't be used."""


class DownloadError(CnnlabError):
    """No mirror answered, or what came is not what was promised."""


class RunError(CnnlabError):
    """A run folder or a checkpoint can't be used."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A hint that names the most alike of `names` ("did you mean 'conv'?"), or "" when none is alike."""
    written = {known.lower(): known for known in names}
    found = difflib.get_close_matches(name.lower(), written, n=1, cutoff=0.6)
    return f"did you mean '{written[found[0]]}'?" if found else ""


def comma_separated(names: Sequence[str] | Iterable[str]) -> str:
    """Names as an error shows what is allowed: sorted, with commas."""
    return ", ".join(sorted(names))


def join_location(outer: str, inner: str) -> str:
    """`model` and `layers[2]` make `model.layers[2]`; an empty side adds nothing."""
    separator = "" if not outer or not inner or inner.startswith("[") else "."
    return f"{outer}{separator}{inner}"
