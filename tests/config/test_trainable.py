"""What trains of a backbone and from which epoch on, against a slow reading of the same words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.config.backbones import trainable_choices, unfreeze_epochs
from cnnlab.errors import SpecError

# In the order of a ResNet's modules: two blocks in two layers, and the first convolution.
OWNERS = ("conv1", "bn1", *(f"layer{n}.{b}.{own}" for n in (1, 2) for b in (0, 1) for own in ("conv1", "bn1", "conv2")))
CONVS = tuple(name for name in OWNERS if "conv" in name)

parts = st.lists(st.sampled_from(["conv1", "bn1", "layer1", "layer2", "layer1.0", "layer2.1.conv1"]), min_size=1)


def under(prefix: str) -> set[str]:
    return {name for name in OWNERS if name == prefix or name.startswith(f"{prefix}.")}


def begins(text: str) -> dict[str, int]:
    found: dict[str, int] = unfreeze_epochs(trainable_choices.read(text), OWNERS, CONVS)
    return found


def test_all_and_none() -> None:
    assert begins("all") == dict.fromkeys(OWNERS, 0)
    assert begins("none") == {}


@given(st.integers(1, len(CONVS)))
def test_the_last_convolutions(count: int) -> None:
    assert begins(f"last_convs({count})") == dict.fromkeys(CONVS[len(CONVS) - count :], 0)


@given(parts)
def test_rows_are_those_under_any_of_the_names(names: list[str]) -> None:
    expected = set().union(*map(under, names))
    assert begins(f"rows({names})") == dict.fromkeys(expected, 0)


@given(parts, st.integers(1, 9))
def test_gradual_parts_begin_one_after_the_other(names: list[str], every: int) -> None:
    """A module begins with the first of the parts that it is in, and never in epoch 0."""
    found = begins(f"gradual({names}, every={every})")
    assert found == {
        owner: every * min(place for place, name in enumerate(names, 1) if owner in under(name))
        for owner in set().union(*map(under, names))
    }


def test_patterns_cross_dots() -> None:
    assert set(begins("rows(['layer*.conv1'])")) == {name for name in OWNERS if re.fullmatch(r"layer.*\.conv1", name)}
    assert set(begins("rows(['*.1.*'])")) == {name for name in OWNERS if ".1." in name}


def test_gradual_alone_takes_the_backbones_own_parts_from_behind() -> None:
    assert begins("gradual") == {
        **dict.fromkeys(under("layer2"), 1),
        **dict.fromkeys(under("layer1"), 2),
        "bn1": 3,
        "conv1": 4,
    }


def test_numbered_modules_of_features_are_parts_of_their_own() -> None:
    owners = ("features.0", "features.1.0.block", "features.1.1.block", "classifier.0")
    found = unfreeze_epochs(trainable_choices.read("gradual(every=2)"), owners, owners)
    assert found == {"classifier.0": 2, "features.1.0.block": 4, "features.1.1.block": 4, "features.0": 6}


def test_weights_that_the_network_holds_itself_are_a_part() -> None:
    """A vision transformer's class token is of no module within it, and has an empty name."""
    assert unfreeze_epochs(trainable_choices.read("gradual"), ("", "conv", "head"), ()) == {"head": 1, "conv": 2, "": 3}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("last_convs(99)", r"the backbone has 9 convolutions\n.*received: last_convs\(99\)\n.*allowed:  up to 9"),
        ("rows(['layr2'])", "no part of the backbone with weights has this name(?s:.*)did you mean 'layer2'"),
        ("rows(['layer1', 'layer2.0.cnv1'])", r"did you mean 'layer2\.0\.conv1'"),
        ("gradual(['layer3'])", "did you mean 'layer[12]'"),
        ("rows(['relu*'])", r"no part of the backbone(?s:.*)received: relu\*"),
    ],
)
def test_names_and_numbers_that_the_backbone_lacks_are_told(text: str, words: str) -> None:
    with pytest.raises(SpecError, match=words) as told:
        begins(text)
    assert [problem.where for problem in told.value.problems] == ["model.trainable"]
