"""Shifts by name and by call: their strengths, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.config.corruptions import corruptions, default_corruptions, read_corruption, read_corruptions
from cnnlab.errors import SpecError


def test_each_kind_has_its_usual_strengths_once() -> None:
    found = default_corruptions(32, 32, 3)
    assert [shift.kind for shift in found if shift.kind in ("greyscale", "invert")] == ["greyscale", "invert"]
    for name, kind in corruptions.kinds.items():
        if name != "drawn":
            assert [shift.strength for shift in found if shift.kind == name] == list(kind.fixed.defaults or (1.0,))
    assert len({shift.title for shift in found}) == len(found) == 12 * 5 + 2


def test_grey_images_are_not_tested_for_colours() -> None:
    kinds = {shift.kind for shift in default_corruptions(32, 32, 1)}
    assert not kinds & {"saturation", "hue", "greyscale"}
    assert len(kinds) == 11


@given(st.integers(4, 512), st.integers(4, 512))
def test_pixels_grow_with_the_image_and_stay_within_it(height: int, width: int) -> None:
    for shift in default_corruptions(height, width, 3, ["translation", "occlusion", "resolution", "blur"]):
        assert 0 < shift.strength <= min(height, width)
        if shift.kind != "blur":
            assert shift.strength == int(shift.strength)


def test_blur_grows_evenly_and_stays_within_what_is_allowed() -> None:
    assert [shift.strength for shift in default_corruptions(28, 28, 3, ["blur"])] == [0.44, 0.88, 1.31, 1.75, 2.62]
    assert [shift.strength for shift in default_corruptions(3000, 3000, 3, ["blur"])] == [46.88, 93.75, 100.0]


@pytest.mark.parametrize("text", ["rotation", "blur"])
def test_a_name_for_several_strengths_is_no_one_shift(text: str) -> None:
    with pytest.raises(SpecError, match="this stands for 5 strengths, and one is meant"):
        read_corruption(text)


@pytest.mark.parametrize(
    ("text", "title", "strength"),
    [
        ("rotation(15)", "rotation 15°", 15),
        ("brightness(0.5)", "brightness ×0.5", 0.5),
        ("jpeg(10)", "jpeg 10", 10),
        ("translation(pixels=3)", "translation 3 px", 3),
        ("invert", "invert", 1),
        ("drawn([brightness(0.5)])", "drawn brightness(0.5)", 1),
        ("drawn([crop(2), flip])", "drawn crop(padding=2), flip", 1),
    ],
)
def test_a_call_has_a_title_and_comes_back(text: str, title: str, strength: float) -> None:
    (found,) = read_corruptions([text])
    assert (found.title, found.strength) == (title, strength)
    assert read_corruptions([str(found.as_call())]) == (found,)


def test_a_name_stands_for_its_strengths_and_each_counts_once() -> None:
    assert read_corruptions(["jpeg(80)", "jpeg"]) == (*default_corruptions(32, 32, 3, ["jpeg"]),)


def test_every_wrong_shift_is_told() -> None:
    with pytest.raises(SpecError) as caught:
        read_corruptions(["rotate", "jpeg(0)", "scale(2)", "drawn"])
    message = str(caught.value)
    assert "3 problems" in message
    assert "[0]: unknown shift 'rotate'" in message
    assert "[1].quality: 'quality' can't be 0" in message
    assert "[3]: drawn needs 'body'" in message
