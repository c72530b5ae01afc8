"""The call grammar: every choice in a recipe is a call, `name(arguments)`.

    row       = [label ":"] call
    call      = name [ "(" [argument {"," argument}] ")" ]
    argument  = [name "="] value
    value     = number | string | true | false | none | list | row
    list      = "[" [value {"," value}] "]"

A bare word is a call without arguments: `relu` is a layer, `classes` a name whose value is substituted later. Nothing
is evaluated and nothing is imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn, TypeAlias

from cnnlab.errors import Problem, SpecError

MAX_LENGTH = 20_000
MAX_DEPTH = 20
MAX_DIGITS = 100

_CONSTANTS = {"true": True, "false": False, "none": None, "True": True, "False": False, "None": None}
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?) |
        (?P<string>'[^'\n]*'|"[^"\n]*") |
        (?P<word>[A-Za-z_][A-Za-z0-9_]*) |
        (?P<mark>[()\[\],=:]) |
        (?P<end>$)
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Call:
    """A name with its arguments, as written. `label` is the name of a row."""

    name: str
    positional: tuple[Value, ...] = ()
    named: Mapping[str, Value] = field(default_factory=dict)
    label: str = ""

    @property
    def is_bare(self) -> bool:
        """True for a word without arguments."""
        return not self.positional and not self.named and not self.label

    def __str__(self) -> str:
        label = f"{self.label}: " if self.label else ""
        arguments = [
            *map(format_value, self.positional),
            *(f"{name}={format_value(value)}" for name, value in self.named.items()),
        ]
        return f"{label}{self.name}({', '.join(arguments)})" if arguments else f"{label}{self.name}"


Value: TypeAlias = "int | float | str | bool | Call | tuple[Value, ...] | None"


def parse_call(text: str) -> Call:
    """Parse one row.

    >>> parse_call("first: conv(32, 5, padding='same')").label
    'first'

    Raises:
        SpecError: the text can't be parsed; gives the column.
    """
    if not isinstance(text, str):
        raise SpecError("a call is a text", received=repr(text), allowed="name(arguments)")
    if len(text) > MAX_LENGTH:
        raise SpecError("this call is too long", received=f"{len(text):,} characters", allowed=f"up to {MAX_LENGTH:,}")
    reader = _Parser(text)
    call = reader.parse_row()
    reader.expect("end", "nothing after the call")
    return call


def format_value(value: Value) -> str:
    """The text of a value, which `parse_call` parses to the same value."""
    if isinstance(value, Call):
        return str(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(format_value, value))}]"
    if isinstance(value, str):
        return f'"{value}"' if "'" in value else f"'{value}'"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return repr(value)


def substitute(call: Call, values: Mapping[str, Value]) -> Call:
    """Replace bare words among the arguments by the values of these names."""

    def fill(value: Value) -> Value:
        if isinstance(value, tuple):
            return tuple(map(fill, value))
        if not isinstance(value, Call):
            return value
        if value.is_bare and value.name in values:
            return values[value.name]
        return substitute(value, values)

    return replace(
        call,
        positional=tuple(map(fill, call.positional)),
        named={name: fill(value) for name, value in call.named.items()},
    )


def bare_words(call: Call) -> set[str]:
    """The bare words among a call's arguments, at any depth."""
    found: set[str] = set()
    pending: list[Value] = [*call.positional, *call.named.values()]
    while pending:
        value = pending.pop()
        if isinstance(value, tuple):
            pending.extend(value)
        elif isinstance(value, Call):
            found |= {value.name} if value.is_bare else bare_words(value)
    return found


class _Parser:
    """A recursive-descent parser of one text, with one token of look-ahead."""

    def __init__(self, text: str) -> None:
        self.text, self.position, self.depth = text, 0, 0
        self.kind, self.token, self.start = "", "", 0
        self.advance()

    def advance(self) -> None:
        found = _TOKEN.match(self.text, self.position)
        if found is None:
            self.start = len(self.text) - len(self.text[self.position :].lstrip())
            self.fail("this character has no meaning here", "names, numbers, 'texts', lists and calls")
        assert found.lastgroup is not None
        self.kind, self.token = found.lastgroup, found[found.lastgroup]
        self.start, self.position = found.start(found.lastgroup), found.end()

    def fail(self, message: str, allowed: str) -> NoReturn:
        pointer = " " * self.start + "^"
        fits_a_line = "\n" not in self.text and len(self.text) < 200
        received = f"{self.text}\n{' ' * 12}{pointer}" if fits_a_line else self.token[:80]
        raise SpecError(Problem(f"{message} (column {self.start + 1})", received=received, allowed=allowed))

    def expect(self, wanted: str, allowed: str) -> str:
        if wanted not in (self.kind, self.token) or (self.kind == "string" and wanted != "string"):
            self.fail("this call can't be read", allowed)
        token = self.token
        if self.kind != "end":
            self.advance()
        return token

    def is_next(self, mark: str) -> bool:
        return self.kind == "mark" and self.token == mark

    def parse_row(self) -> Call:
        name = self.expect("word", "a name")
        if not self.is_next(":"):
            return self.parse_arguments(Call(name))
        self.advance()
        return replace(self.parse_arguments(Call(self.expect("word", "a name after the label"))), label=name)

    def parse_arguments(self, call: Call) -> Call:
        if not self.is_next("("):
            return call
        self.enter()
        positional: list[Value] = []
        named: dict[str, Value] = {}
        while not self.is_next(")"):
            value = self.parse_value()
            if self.is_next("=") and isinstance(value, Call) and value.is_bare:
                self.advance()
                if value.name in named:
                    self.fail(f"'{value.name}' is given twice", "each argument once")
                named[value.name] = self.parse_value()
            elif named:
                self.fail("an argument without a name follows one with a name", "positional arguments first")
            else:
                positional.append(value)
            if not self.is_next(")"):
                self.expect(",", "',' or ')'")
        self.leave()
        return replace(call, positional=tuple(positional), named=named)

    def parse_value(self) -> Value:
        kind, token = self.kind, self.token
        if kind == "number":
            if len(token) > MAX_DIGITS:
                self.fail("this number is too long", f"up to {MAX_DIGITS} digits")
            self.advance()
            return float(token) if re.search(r"[.eE]", token) else int(token)
        if kind == "string":
            self.advance()
            return token[1:-1]
        if self.is_next("["):
            return self.parse_list()
        if kind == "word" and token in _CONSTANTS:
            self.advance()
            return _CONSTANTS[token]
        if kind != "word":
            self.fail("a value is missing here", "a number, a 'text', true, false, none, a [list] or a name")
        return self.parse_row()

    def parse_list(self) -> tuple[Value, ...]:
        self.enter()
        items: list[Value] = []
        while not self.is_next("]"):
            items.append(self.parse_value())
            if not self.is_next("]"):
                self.expect(",", "',' or ']'")
        self.leave()
        return tuple(items)

    def enter(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail("nested too deeply", f"up to {MAX_DEPTH} levels")
        self.advance()

    def leave(self) -> None:
        self.depth -= 1
        self.advance()
