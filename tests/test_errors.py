"""Errors: their words, their places, and how several are told together."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab import errors
from cnnlab.errors import CnnlabError, Problem, SpecError, UsageError, comma_separated, did_you_mean, join_location

FULL = Problem("it is wrong", "train.epochs", "0", "1 or more", "write 1")
EVERY = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CnnlabError)]


def test_a_problem_says_what_where_received_allowed_and_next() -> None:
    assert str(FULL) == ("train.epochs: it is wrong\n  received: 0\n  allowed:  1 or more\n  next:     write 1")
    assert str(Problem("it is wrong")) == "it is wrong"
    assert str(Problem("it is wrong", next_step="stop")) == "it is wrong\n  next:     stop"


def test_one_problem_is_told_without_a_count() -> None:
    assert str(SpecError(FULL)) == str(FULL)
    assert SpecError("it is wrong", where="here").problems == (Problem("it is wrong", "here"),)


def test_several_problems_are_told_together_in_their_order() -> None:
    error = SpecError.from_problems(iter([FULL, Problem("second")]))
    assert isinstance(error, SpecError)
    assert str(error).splitlines()[0] == "2 problems"
    assert str(error).endswith("second")
    assert error.problems == (FULL, Problem("second"))


@pytest.mark.parametrize("kind", EVERY)
def test_an_error_has_its_exit_code_and_survives_the_way_out_of_a_worker_process(kind: type[CnnlabError]) -> None:
    assert kind.exit_code == (2 if issubclass(kind, UsageError) else 1)
    error = kind.from_problems([FULL, Problem("second")])
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert back.problems == error.problems
    assert str(back) == str(error)


@pytest.mark.parametrize(
    ("outer", "inner", "place"),
    [
        ("model", "layers[2]", "model.layers[2]"),
        ("layers", "[2]", "layers[2]"),
        ("", "layers", "layers"),
        ("model", "", "model"),
        ("", "", ""),
    ],
)
def test_places_are_joined_as_a_person_writes_them(outer: str, inner: str, place: str) -> None:
    assert join_location(outer, inner) == place
    assert Problem("wrong", inner).with_prefix(outer).where == place


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cnov", "did you mean 'conv'?"),
        ("CONV", "did you mean 'conv'?"),
        ("batch_norm", "did you mean 'BatchNorm'?"),
        ("zebra", ""),
        ("", ""),
    ],
)
def test_the_nearest_name_is_given_as_it_is_written(name: str, hint: str) -> None:
    assert did_you_mean(name, ["conv", "BatchNorm", "dense"]) == hint


@given(st.lists(st.text(min_size=1), unique_by=str.lower, min_size=1), st.data())
def test_a_known_name_is_nearest_to_itself(names: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(names))
    assert did_you_mean(name, names) == f"did you mean '{name}'?"


def test_names_are_listed_in_order() -> None:
    assert comma_separated({"relu": 1, "conv": 2}) == "conv, relu"
    assert comma_separated([]) == ""
