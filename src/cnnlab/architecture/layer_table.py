"""Read a layer table into rows, and select rows by their names or by patterns of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import accumulate
from typing import TypeVar

from cnnlab.architecture.layers import LayerRow, layers
from cnnlab.errors import Problem, SpecError, UsageError, comma_separated, did_you_mean
from cnnlab.grammar.calls import Call, Value, bare_words, parse_call, substitute
from cnnlab.grammar.validation_errors import format_received
from cnnlab.render.formatting import shorten

CLASSES_NAME = "classes"
# In front of the names of a backbone's rows in the table of a recipe.
BACKBONE_PREFIX = "backbone."
# Characters of a list of names in a message.
MAX_LISTED = 400


def read_table(texts: Sequence[str], values: Mapping[str, Value], classes: int) -> tuple[LayerRow, ...]:
    """The rows of a table, with the values of its names substituted.

    Args:
        texts: one call a row, such as "first: conv(32, 5)".
        values: the values of the names in the table.
        classes: the number of classes, the value of the name `classes`.

    Raises:
        SpecError: every wrong row and every value that is not used, at once; `where` is `layers[i]` or `values.name`.
    """
    rows: list[LayerRow] = []
    problems: list[Problem] = _value_problems(values)
    used: set[str] = set()
    for index, text in enumerate(texts):
        try:
            call = _parsed(text)
            used |= bare_words(call)
            rows.append(_read_row(call, values, classes))
        except SpecError as error:
            problems += [problem.with_prefix(f"layers[{index}]") for problem in error.problems]
    problems += [_unused_problem(name, used) for name in values if name not in {CLASSES_NAME, *used, *layers.kinds}]
    if not texts:
        problems.append(Problem("the table has no rows", "layers", allowed='["conv(32, 5)", "relu", …]'))
    if problems:
        raise SpecError.from_problems(problems)
    return tuple(rows)


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Call:
    """A recipe's table is read when it is checked, and again when the classes are known."""
    return parse_call(text)


def _read_row(call: Call, values: Mapping[str, Value], classes: int) -> LayerRow:
    filled = substitute(call, {**values, CLASSES_NAME: classes})
    try:
        return LayerRow(layers.read(filled), filled.label)
    except SpecError as error:
        # The row as it was written, with its names.
        written = {format_received(filled): format_received(call)}
        raise SpecError.from_problems(
            replace(problem, received=written.get(problem.received, problem.received)) for problem in error.problems
        ) from None


def _value_problems(values: Mapping[str, Value]) -> list[Problem]:
    taken = [name for name in values if name == CLASSES_NAME or name in layers.kinds]
    return [
        Problem(f"'{name}' is a reserved name", f"values.{name}", next_step="choose another name") for name in taken
    ]


def _unused_problem(name: str, used: set[str]) -> Problem:
    names = used - set(layers.kinds) - {CLASSES_NAME}
    return Problem(
        f"'{name}' is not used in the table",
        f"values.{name}",
        "",
        f"the table's names: {comma_separated(names) or 'none'}",
        did_you_mean(name, names),
    )


T = TypeVar("T")


def name_prefixes(name: str) -> list[str]:
    """The names of the rows or modules that contain one, the outermost first, and its own name last.

    >>> name_prefixes("layer1.0.conv1")
    ['layer1', 'layer1.0', 'layer1.0.conv1']
    """
    return list(accumulate(name.split("."), "{}.{}".format))


def matching_names(name: str, names: Iterable[str]) -> list[str]:
    """The layers that a name may mean: the one of this very name, or else those with `backbone.` in front of it.

    >>> matching_names("layer4.0.conv1", ["backbone.layer4.0.conv1", "head.dense1"])
    ['backbone.layer4.0.conv1']
    """
    known = list(dict.fromkeys(names))
    if name in known:
        return [name]
    # A run may be the backbone of another one: `backbone.backbone.conv1`.
    meant = re.compile(rf"({re.escape(BACKBONE_PREFIX)})+{re.escape(name)}")
    return [each for each in known if name and meant.fullmatch(each)]


def find_layer_name(
    name: str, names: Iterable[str], where: str = "--layer", what: str = "layer", listed: Collection[str] | None = None
) -> str:
    """The full name of a layer, which may be given without the `backbone.` of a recipe's table.

    Args:
        names: of all layers.
        where: the option, for errors.
        what: the kind of layer, for errors.
        listed: the names that an error lists; None: all.

    Raises:
        UsageError: no layer, or several, may be meant.

    >>> find_layer_name("conv1", ["backbone.conv1", "backbone.bn1"])
    'backbone.conv1'
    """
    known = list(dict.fromkeys(names))
    found = matching_names(name, known)
    if len(found) > 1:
        raise UsageError(
            f"several layers are called '{name}'",
            where=where,
            received=name,
            allowed=", ".join(found),
            next_step=f"write the whole name, as in '{found[0]}'",
        )
    if not found:
        spellings = [*known, *(each.rpartition(BACKBONE_PREFIX)[2] for each in known)]
        raise UsageError(
            f"there is no {what} '{name}'",
            where=where,
            received=name,
            allowed=shorten(", ".join(known if listed is None else listed), MAX_LISTED) or "none",
            next_step=did_you_mean(name, spellings) or "take a name from the list; 'cnnlab describe' shows the table",
        )
    return found[0]


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern matches a row or one that contains it; `*` is any text, dots included.

    >>> matches("residual1", "residual1.body.conv1"), matches("*.conv1", "residual1.body.conv1")
    (True, True)
    """
    return any(fnmatchcase(outer, pattern) for outer in name_prefixes(name))


def last_match(patterns: Mapping[str, T], name: str, default: T) -> T:
    """The value of the last pattern that matches a row; `default` if none does."""
    found = [value for pattern, value in patterns.items() if matches(pattern, name)]
    return found[-1] if found else default
