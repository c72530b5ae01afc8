"""The call grammar: what is written is read back, and what can't be read is refused with its column."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.errors import Problem, SpecError
from cnnlab.grammar.calls import Call, bare_words, parse_call, substitute

CONSTANTS = {"true", "false", "none", "True", "False", "None"}
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(lambda name: name not in CONSTANTS)
TEXTS = st.text(st.characters(exclude_characters="\n'", exclude_categories=["Cs"]), max_size=12) | st.text(
    st.characters(exclude_characters='\n"', exclude_categories=["Cs"]), max_size=12
)
LITERALS = (
    st.booleans()
    | st.none()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)


def _calls(values: st.SearchStrategy[object]) -> st.SearchStrategy[Call]:
    positional = st.lists(values, max_size=3).map(tuple)
    return st.builds(Call, NAMES, positional, st.dictionaries(NAMES, values, max_size=3), st.just("") | NAMES)


VALUES = st.recursive(LITERALS, lambda inner: st.lists(inner, max_size=3).map(tuple) | _calls(inner), max_leaves=12)


def _refusal(text: str) -> Problem:
    with pytest.raises(SpecError) as caught:
        parse_call(text)
    (problem,) = caught.value.problems
    return problem


def _alike(one: object, other: object) -> bool:
    """Equal, and of the same types: 1 is not 1.0 and not true."""
    return repr(one) == repr(other)


@given(_calls(VALUES))
def test_what_is_written_is_read_back(call: Call) -> None:
    assert _alike(parse_call(str(call)), call)


@given(_calls(VALUES), st.sampled_from([" ", "\n", "\t", "  \r\n"]))
def test_space_between_the_words_means_nothing(call: Call, space: str) -> None:
    if not any(mark in str(call) for mark in "'\""):
        spaced = "".join(f"{space}{letter}{space}" if letter in "()[],=:" else letter for letter in str(call))
        assert _alike(parse_call(space + spaced + space), call)


@given(st.text(max_size=40) | st.text("()[],=:'\"ab1.-e \n", max_size=40))
def test_any_text_is_a_call_or_a_refusal(text: str) -> None:
    try:
        call = parse_call(text)
    except SpecError as error:
        assert "column" in str(error)
    else:
        assert _alike(parse_call(str(call)), call)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("+7", 7),
        ("1.", 1.0),
        ("1e-3", 1e-3),
        ("-2.5E+2", -250.0),
        ("'a\"b'", 'a"b'),
        ('"a\'b"', "a'b"),
        ("true", True),
        ("False", False),
        ("none", None),
        ("[]", ()),
        ("[1, [2, 'x'],]", (1, (2, "x"))),
        ("relu", Call("relu")),
        ("a: conv(3)", Call("conv", (3,), {}, "a")),
    ],
)
def test_each_kind_of_value(text: str, value: object) -> None:
    assert _alike(parse_call(f"f({text})").positional, (value,))
    assert _alike(parse_call(str(Call("f", (value,)))).positional, (value,))  # type: ignore[arg-type]
    assert _alike(parse_call(f"f(x={text})").named, {"x": value})


def test_a_row_with_everything() -> None:
    call = parse_call("deep: residual([conv(8, [3, 5], padding='same'), relu], shortcut=[c: conv(8, 1)],)")
    body = (Call("conv", (8, (3, 5)), {"padding": "same"}), Call("relu"))
    assert call == Call("residual", (body,), {"shortcut": (Call("conv", (8, 1), {}, "c"),)}, "deep")


@pytest.mark.parametrize(
    ("text", "what", "column", "allowed"),
    [
        ("", "this call can't be read", 1, "a name"),
        ("'conv'", "this call can't be read", 1, "a name"),
        ("conv(3, 3) relu", "this call can't be read", 12, "nothing after the call"),
        ("conv(3, 3", "this call can't be read", 10, "',' or ')'"),
        ("conv(3 3)", "this call can't be read", 8, "',' or ')'"),
        ("conv([3, 3)", "this call can't be read", 11, "',' or ']'"),
        ("conv(,)", "a value is missing here", 6, "a number, a 'text', true, false, none, a [list] or a name"),
        ("conv(k=1, 3)", "an argument without a name follows one with a name", 12, "positional arguments first"),
        ("conv(k=1, k=2)", "'k' is given twice", 13, "each argument once"),
        ("conv('abc)", "this character has no meaning here", 6, "names, numbers, 'texts', lists and calls"),
        ("conv(‘same’)", "this character has no meaning here", 6, "names, numbers, 'texts', lists and calls"),
        ("conv(٣)", "this character has no meaning here", 6, "names, numbers, 'texts', lists and calls"),
        ("os.system('ls')", "this character has no meaning here", 3, "names, numbers, 'texts', lists and calls"),
    ],
)
def test_a_refusal_gives_the_column(text: str, what: str, column: int, allowed: str) -> None:
    problem = _refusal(text)
    assert (problem.what, problem.allowed) == (f"{what} (column {column})", allowed)


def test_a_text_is_as_long_as_it_may_be_and_no_longer() -> None:
    fits = f"f('{'x' * 19_995}')"
    assert len(fits) == 20_000
    assert parse_call(fits).positional == ("x" * 19_995,)
    problem = _refusal(fits + " ")
    assert (problem.what, problem.received) == ("this call is too long", "20,001 characters")
    assert problem.allowed == "up to 20,000"


def test_a_call_is_as_deep_as_it_may_be_and_no_deeper() -> None:
    assert parse_call("f(" * 20 + ")" * 20).name == "f"
    assert parse_call("f(" + "[" * 19 + "]" * 19 + ")").name == "f"
    for text in ("f(" * 21 + ")" * 21, "f(" + "[" * 20 + "]" * 20 + ")", "f(" * 6000):
        problem = _refusal(text)
        assert problem.what.startswith("nested too deeply (column ")
        assert problem.allowed == "up to 20 levels"


@pytest.mark.parametrize("value", [5, ["conv(3, 3)"]])
def test_only_a_text_is_parsed(value: object) -> None:
    with pytest.raises(SpecError, match="a call is a text") as caught:
        parse_call(value)  # type: ignore[arg-type]
    assert caught.value.problems[0].received == repr(value)


def test_values_stand_where_their_names_stood() -> None:
    call = parse_call("residual([conv(f, k, bias=b), p], p, f(3), p: p, x=p)")
    filled = substitute(call, {"f": 8, "k": 3, "p": "same"})
    assert str(filled) == "residual([conv(8, 3, bias=b), 'same'], 'same', f(3), p: p, x='same')"
    assert str(call) == "residual([conv(f, k, bias=b), p], p, f(3), p: p, x=p)"


def test_bare_words_are_found_at_any_depth() -> None:
    assert bare_words(parse_call("a(b, c(d), [e, [f]], g=h, i=true, j='k')")) == {"b", "d", "e", "f", "h"}
