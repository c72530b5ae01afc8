"""Numbers and names as a reader sees them."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.render.formatting import (
    display_width,
    format_bytes,
    format_duration,
    format_fraction,
    format_loss,
    format_percent,
    pluralize,
    sanitize,
    shorten,
)


@given(st.text(st.characters()), st.integers(2, 60))
def test_a_shown_name_fits_on_one_line_and_can_be_written(name, longest):
    shown = shorten(name, longest)
    assert display_width(shown) <= longest
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")


@given(st.text(st.characters(categories=["L", "N"]), max_size=20))
def test_a_short_name_is_shown_as_it_is(name):
    assert shorten(name, 40) == name


def test_long_names_are_cut_and_say_so():
    assert shorten("x" * 4096, 10) == "x" * 9 + "…"
    assert shorten("猫" * 40, 10) == "猫" * 4 + "…"


def test_control_characters_are_replaced():
    assert sanitize("a\x00b\x1bc\ud800d") == "a\ufffdb\ufffdc\ufffdd"
    assert sanitize("tab\tline\n") == "tab\tline\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0 s"), (9.94, "9.9 s"), (42.4, "42 s"), (59.7, "1 min 0 s"), (7500, "2 h 5 min"), (nan, "–")],
)
def test_durations(value, text):
    assert format_duration(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.80241, "0.8024"), (123456.0, "1.23e+05"), (nan, "not a number"), (inf, "infinite")]
)
def test_losses(value, text):
    assert format_loss(value) == text


def test_what_is_not_a_number_is_a_dash_in_a_fraction():
    assert format_fraction(nan) == format_percent(nan) == "–"
    assert format_percent(0.715) == "71.5 %"


def test_one_thing_and_many():
    assert pluralize(1, "run") == "1 run"
    assert pluralize(2000, "run") == "2,000 runs"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (768 * 1024, "768.0 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (1_561_640, "1.5 MiB"),
        (5000 * 1024**3, "5,000.0 GiB"),
    ],
)
def test_bytes_have_the_unit_that_suits_them(size, text):
    assert format_bytes(size) == text
