"""Search spaces: read, written back, and refused with a place and a next step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.config.search_space import pruners, read_space, write_space
from cnnlab.errors import SpecError

texts = st.text(st.characters(codec="ascii", categories=("L", "N", "Zs")), min_size=1, max_size=8)
values = st.one_of(st.integers(-1000, 1000), st.floats(-1e6, 1e6), texts)


@given(st.lists(values, min_size=1, max_size=6, unique=True))
def test_a_choice_is_written_and_read_back(options: list[object]) -> None:
    space = read_space(options)
    assert space.values() == tuple(options)
    assert read_space(write_space(space)) == space


@given(st.floats(1e-9, 1e9), st.floats(1.01, 1e6))
def test_a_log_space_is_written_and_read_back(low: float, ratio: float) -> None:
    space = read_space(f"log({low!r}, {low * ratio!r})")
    assert read_space(write_space(space)) == space
    assert space.bounds() == (low, low * ratio)


@given(st.integers(-50, 50), st.integers(1, 60), st.integers(1, 20))
def test_whole_numbers_are_those_that_are_whole_steps_above_the_lowest(low: int, length: int, step: int) -> None:
    if step > length:
        return
    space = read_space(f"integer({low}, {low + length}, step={step})")
    assert space.values() == tuple(range(low, low + length + 1, step))
    assert space.bounds() == (space.values()[0], space.values()[-1])


@given(st.integers(0, 9), st.integers(1, 30), st.sampled_from(["0.1", "0.05", "0.3", "0.125"]))
def test_numbers_with_a_step_are_as_a_person_writes_them(first: int, count: int, step: str) -> None:
    low = first / 10
    high = low + count * float(step)
    found = read_space(f"uniform({low}, {high}, step={step})").values()
    assert len(found) == count + 1
    assert all(len(str(value)) <= 6 for value in found)
    assert found == pytest.approx([low + number * float(step) for number in range(count + 1)])


def test_a_choice_may_hold_lists_and_calls_with_arguments() -> None:
    space = read_space("choice(adam(lr=1e-3), 'sgd(0.1)', [flip(0.5), crop(4)], [])")
    assert space.values() == ("adam(lr=0.001)", "sgd(0.1)", "[flip(0.5), crop(4)]", "[]")
    assert read_space(write_space(space)) == space
    assert read_space("choice([16, 32])") == read_space("choice(16, 32)") == read_space([16, 32])


def test_only_spaces_with_an_end_of_values_are_for_a_grid() -> None:
    spaces = ("choice(1, 2)", "integer(1, 9)", "uniform(0, 1, step=0.5)", "uniform(0, 1)", "log(1, 2)")
    assert [read_space(text).values() is not None for text in spaces] == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lgo(1e-4, 1e-1)", "did you mean 'log'"),
        ("log(1e-1, 1e-4)", "from a low value to a higher one"),
        ("log(0, 1)", "can't be 0"),
        ("uniform(0, 0.5, step=0.6)", "the step is larger than the range"),
        ("integer(1, 4, step=4)", "the step is larger than the range"),
        ("integer(0, 8, log=true)", "begin at 1 and have no step"),
        ("choice(1, 1)", "values, each once"),
        ("choice(1, true)", "values, each once"),
        ("choice(none, 1)", "and not none"),
        (3, "this is no search space"),
    ],
)
def test_what_is_wrong_with_a_space_is_said(text: object, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        read_space(text)


def test_pruners_are_read_with_their_defaults() -> None:
    assert (pruners.read("median(warmup=2)").warmup, pruners.read("median").startup) == (2, 5)
    with pytest.raises(SpecError, match="did you mean 'halving'"):
        pruners.read("halvin")
