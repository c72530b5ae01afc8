"""What of a backbone trains, and from which epoch on. What begins anew, the head above all, always trains."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cnnlab.errors import SpecError, nearest
from cnnlab.spec.arguments import Count
from cnnlab.spec.choices import Choice
from cnnlab.spec.patterns import matches
from cnnlab.spec.registry import Registry

policies: Registry[Any] = Registry("choice of what trains")
_WHERE = "model.trainable"


@policies.add("all")
class All(Choice):
    """Everything: the backbone's weights are where training begins."""

    def begins(self, owners: Sequence[str], convs: Sequence[str]) -> dict[str, int]:  # noqa: ARG002
        """For each module that trains the epoch from which on it does, counted from 0.

        Args:
            owners: the backbone's modules with parameters of their own, by name, in their order.
            convs: its convolutions, in the order of the data.

        Raises:
            SpecError: a name or a number that the backbone does not have.
        """
        return dict.fromkeys(owners, 0)


@policies.add("none")
class Nothing(Choice):
    """Nothing of the backbone: the head alone trains, on features that stay as they are."""

    def begins(self, owners: Sequence[str], convs: Sequence[str]) -> dict[str, int]:  # noqa: ARG002
        """As for `all`."""
        return {}


@policies.add("last_convs")
class LastConvs(Choice):
    """The last `count` convolutions, without their norms, which stay as they are."""

    count: Count

    def begins(self, owners: Sequence[str], convs: Sequence[str]) -> dict[str, int]:  # noqa: ARG002
        """As for `all`."""
        if self.count > len(convs):
            what = f"the backbone has {len(convs)} convolutions"
            raise SpecError(what, where=_WHERE, received=f"last_convs({self.count})", allowed=f"up to {len(convs)}")
        return dict.fromkeys(convs[-self.count :], 0)


@policies.add("rows")
class Rows(Choice):
    """The modules of these names, or of these patterns such as 'layer4.*.conv1', with all that is in them."""

    names: tuple[str, ...]

    def begins(self, owners: Sequence[str], convs: Sequence[str]) -> dict[str, int]:  # noqa: ARG002
        """As for `all`."""
        return dict.fromkeys((name for pattern in self.names for name in _matching(pattern, owners)), 0)


@policies.add("gradual")
class Gradual(Choice):
    """The head alone at first; every `every` epochs the next of `parts` joins in (Howard, Ruder, 2018).

    Without `parts` these are the backbone's own parts, the last one first.
    """

    parts: tuple[str, ...] = ()
    every: Count = 1

    def begins(self, owners: Sequence[str], convs: Sequence[str]) -> dict[str, int]:  # noqa: ARG002
        """As for `all`."""
        parts = self.parts or tuple(reversed(dict.fromkeys(_part(name) for name in owners)))
        found: dict[str, int] = {}
        for place, part in enumerate(parts, start=1):
            for name in _matching(part, owners):
                found.setdefault(name, place * self.every)
        return found


def _part(name: str) -> str:
    """A module's part of the network: its first name, or its first two where that holds numbered modules."""
    pieces = name.split(".")
    return ".".join(pieces[:2]) if len(pieces) > 1 and pieces[1].isdigit() and pieces[0] == "features" else pieces[0]


def _matching(pattern: str, owners: Sequence[str]) -> list[str]:
    # The table of a recipe has 'backbone.' in front of these names.
    written = (pattern, pattern.removeprefix("backbone."))
    found = next((found for text in written if (found := [name for name in owners if matches(text, name)])), [])
    if not found:
        raise SpecError(
            "no part of the backbone with weights has this name",
            where=_WHERE,
            received=pattern,
            allowed="names and patterns such as 'layer4' or 'layer4.*.conv1'",
            next_step=nearest(pattern, _prefixes(owners)) or "see the names: cnnlab describe",
        )
    return found


def _prefixes(names: Iterable[str]) -> list[str]:
    pieces = [name.split(".") for name in names]
    return list(dict.fromkeys(".".join(piece[:size]) for piece in pieces for size in range(1, len(piece) + 1)))
