"""Augmentations as a recipe names them: what is refused and in which words, nesting, and which ones mirror."""

from __future__ import annotations

import pytest

from cnnlab.config.image_changes import Flip, Maybe, augmentations, horizontal_flips
from cnnlab.config.recipe import Data
from cnnlab.errors import Problem, SpecError


def refusals(text: str) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as caught:
        augmentations.read(text)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "where", "what", "allowed"),
    [
        ("crop(fill='mirror')", "fill", "'fill' can't be 'mirror'", "'zero' or 'reflect'"),
        ("flip(1.5)", "p", "'p' can't be 1.5", "a number from 0 to 1"),
        ("affine(shear=90)", "shear", "'shear' can't be 90", "below 90"),
        ("blur(4)", "kernel", "'kernel' can't be 4", "an odd number from 3 to 101"),
        ("brightness", "", "brightness needs 'strength'", "brightness(strength)"),
        ("scale(2, 0.5)", "", "low and high are the wrong way round", "low up to high"),
        ("blur(3, 2, 1)", "", "low and high are the wrong way round", "low up to high"),
        ("erasing(1, 0.5, 0.1)", "", "low and high are the wrong way round", "low up to high"),
        ("affine(scale_low=2)", "", "scale_low and scale_high are the wrong way", "scale_low up to scale_high"),
        ("jitter", "", "jitter with four zeros changes nothing", "jitter(0.4, 0.4, 0.4, 0.1)"),
        ("maybe(0.5, [])", "body", "augmentations within another are a list", "[crop(4), flip, …], not empty"),
        ("one_of([flip, flop])", "body[1]", "unknown augmentation 'flop'", "alternating_flip"),
        ("one_of([flip, 3])", "body[1]", "a call is a text", "name(arguments)"),
        ("maybe(0.5, [one_of([flip(2)])])", "body[0].body[0].p", "'p' can't be 2", "a number from 0 to 1"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, where: str, what: str, allowed: str) -> None:
    (problem,) = refusals(text)
    assert problem.where == where
    assert what in problem.what
    assert allowed in problem.allowed


def test_all_that_is_wrong_within_another_is_told() -> None:
    assert [problem.where for problem in refusals("maybe(2, [flip(2), crop, blur(2)])")] == [
        "p", "body[0].p", "body[2].kernel",
    ]  # fmt: skip


def test_nested_ones_are_written_as_a_person_writes_them() -> None:
    text = "maybe(0.5, [one_of([flip, crop(2)]), rotation(30)])"
    choice = augmentations.read(text)
    assert str(augmentations.to_call(choice)) == "maybe(0.5, [one_of([flip, crop(padding=2)]), rotation(degrees=30.0)])"
    assert choice == Maybe(0.5, [augmentations.read("one_of([flip, crop(2)])"), "rotation(30)"])  # type: ignore[list-item]
    assert Data(source="x", augment=[text]).augment == (choice,)


def test_what_mirrors_is_found_at_any_depth() -> None:
    def found(*calls: str) -> list[str]:
        return [
            str(augmentations.to_call(choice)) for choice in horizontal_flips(Data(source="x", augment=calls).augment)
        ]

    assert found("crop", "rotation", "vertical_flip", "randaugment") == []
    assert found("crop", "alternating_flip", "flip(0.2)") == ["alternating_flip", "flip(p=0.2)"]
    assert found("maybe(0.5, [crop, one_of([hue(0.1), flip])])") == ["flip"]
    assert found("maybe(0, [flip])", "maybe(1, [flip(0)])") == []
    assert horizontal_flips([Flip()]) == [Flip()]
