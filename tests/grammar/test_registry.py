"""Registries: every choice of every kind is read and written back, and every wrong argument refused by name."""

from __future__ import annotations

import dataclasses
import typing
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from cnnlab.architecture.layers import LayerRow, ReLU, Rows, layers
from cnnlab.config.image_changes import (
    Angle,
    Augmentations,
    Bits,
    Degrees,
    Factor,
    Kernel,
    Level,
    Magnitude,
    Operations,
    Shift,
    Sigma,
    Strength,
    augmentations,
    mixing,
)
from cnnlab.config.losses import ClassWeights, losses
from cnnlab.config.optimizers import averaging, optimizers
from cnnlab.config.schedules import Divisor, OpenFraction, schedules
from cnnlab.config.stopping import ImageCount, budgets, stopping_rules
from cnnlab.errors import Problem, SpecError
from cnnlab.grammar.arguments import (
    MAX_COUNT,
    Border,
    Count,
    DropRate,
    Margin,
    Momentum,
    NonNegative,
    Padding,
    Positive,
    Probability,
    Size,
)
from cnnlab.grammar.calls import Call, format_value, parse_call
from cnnlab.grammar.registry import Registry

REGISTRIES = [
    *(layers, optimizers, schedules, stopping_rules, augmentations),
    *(losses, averaging, mixing, budgets),
]
KINDS = [
    pytest.param(registry, name, id=f"{registry.noun} {name}") for registry in REGISTRIES for name in registry.kinds
]

COUNTS = st.integers(1, MAX_COUNT)
MARGINS = st.tuples(st.integers(0, MAX_COUNT), st.integers(0, MAX_COUNT))
BY_TYPE: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Count, COUNTS),
    (ImageCount, st.integers(1, 10**12)),
    (Border, st.integers(1, 1000)),
    (Size, st.tuples(COUNTS, COUNTS)),
    (Size | None, st.none() | st.tuples(COUNTS, COUNTS)),
    (Margin, MARGINS),
    (Padding, st.just("same") | MARGINS),
    (Probability, st.floats(0, 1)),
    (DropRate, st.floats(0, 1, exclude_max=True)),
    (Momentum, st.floats(0, 1, exclude_max=True)),
    (Positive, st.floats(0, exclude_min=True, allow_infinity=False)),
    (NonNegative, st.floats(0, allow_infinity=False)),
    (Degrees, st.floats(0, 180)),
    (Angle, st.floats(0, 90, exclude_max=True)),
    (Factor, st.floats(0.01, 100)),
    (Strength, st.floats(0, 100)),
    (Shift, st.floats(0, 0.5)),
    (Kernel, st.integers(1, 50).map(lambda half: 2 * half + 1)),
    (Sigma, st.floats(0.01, 100)),
    (Bits, st.integers(1, 8)),
    (Level, st.integers(0, 255)),
    (Magnitude, st.integers(0, 30)),
    (Operations, st.integers(1, 20)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (ClassWeights, st.none() | st.just("balanced") | st.lists(st.floats(1e-9, 1e9), min_size=2).map(tuple)),
    (OpenFraction, st.floats(0, 1, exclude_min=True, exclude_max=True)),
    (Divisor, st.floats(1, allow_infinity=False)),
    (tuple[Count, ...], st.sets(st.integers(1, 99), min_size=1).map(sorted).map(tuple)),
]


def _values(annotation: Any) -> st.SearchStrategy[Any]:
    """Allowed values of a field."""
    if annotation == Rows:
        leaf = st.deferred(lambda: st.sampled_from(["relu", "conv", "maxpool"]).flatmap(_of_layer))
        return st.lists(st.builds(LayerRow, leaf, st.sampled_from(["", "a", "first"])), max_size=3).map(tuple)
    if annotation == Augmentations:
        # Two levels: the grammar reads ten, and a strategy that calls itself would now and then go deeper.
        plain = st.sampled_from(["flip", "crop"]).flatmap(_of_augmentation)
        inside = st.lists(plain, min_size=1, max_size=3).map(tuple)
        nested = st.builds(augmentations.kinds["maybe"], p=st.floats(0, 1), body=inside)
        return st.lists(plain | nested, min_size=1, max_size=3).map(tuple)
    if typing.get_origin(annotation) is Literal:
        return st.sampled_from(typing.get_args(annotation))
    if annotation == Annotated[Any, schedules]:
        names = st.sampled_from(sorted({*schedules.kinds} - {"warmup"}))
        return names.flatmap(lambda name: _choices(schedules, name))
    if annotation == Annotated[Any, optimizers]:
        return st.sampled_from(["sgd", "adam", "lion"]).flatmap(lambda name: _choices(optimizers, name))
    return next(strategy for known, strategy in BY_TYPE if known == annotation)


def _choices(registry: Registry[Any], name: str) -> st.SearchStrategy[Any]:
    kind = registry.kinds[name]
    hints = typing.get_type_hints(kind, include_extras=True)

    def make(**values: Any) -> Any:
        try:
            return kind(**values)
        except SpecError:  # each value is allowed, but not all of them together
            reject()

    return st.builds(make, **{field.name: _values(hints[field.name]) for field in dataclasses.fields(kind)})


def _of_layer(name: str) -> st.SearchStrategy[Any]:
    return _choices(layers, name)


def _of_augmentation(name: str) -> st.SearchStrategy[Any]:
    return _choices(augmentations, name)


def _refusals(registry: Registry[Any], text: str) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as caught:
        registry.read(text)
    return caught.value.problems


@pytest.mark.parametrize(("registry", "name"), KINDS)
@settings(max_examples=5)
@given(data=st.data())
def test_a_choice_is_read_back_from_every_way_to_write_it(
    registry: Registry[Any], name: str, data: st.DataObject
) -> None:
    choice = data.draw(_choices(registry, name))
    shortest, whole = registry.to_call(choice), registry.to_call(choice, defaults=True)
    values = [*whole.positional, *whole.named.values()]
    names = [field.name for field in dataclasses.fields(choice)]
    for call in (
        shortest,
        whole,
        Call(name, tuple(values)),
        Call(name, (), dict(zip(names, values, strict=True))),
        Call(name, (), dict(reversed(list(zip(names, values, strict=True))))),
    ):
        assert registry.read(call) == choice
        assert registry.read(str(call)) == choice
    assert len(str(shortest)) <= len(str(whole))


@pytest.mark.parametrize(("registry", "name"), KINDS)
def test_a_signature_names_each_argument_and_none_reaches_the_machinery(registry: Registry[Any], name: str) -> None:
    signature = parse_call(registry.signature(name))
    fields = dataclasses.fields(registry.kinds[name])
    required = [field.name for field in fields if field.default is dataclasses.MISSING]
    assert [format_value(value) for value in signature.positional] == required
    assert [*required, *signature.named] == [field.name for field in fields]
    assert registry.describe(name)
    assert registry.kinds[name].kind == name
    assert registry.kinds[name].__dataclass_params__.frozen
    for argument in ("__dataclass_self__", "self", "kind"):
        problems = _refusals(registry, f"{name}({argument}=1)")
        assert f"{name} has no argument '{argument}'" in [problem.what for problem in problems]


def test_signatures_say_arguments_in_the_order_of_the_design() -> None:
    assert layers.signature("conv") == (
        "conv(filters, kernel, stride=1, padding=0, dilation=1, groups=1, bias=true, weightnorm=false)"
    )
    assert optimizers.signature("sgd") == "sgd(lr, momentum=0.0, nesterov=false, weight_decay=0.0)"


CONV = layers.signature("conv")
WHOLE = "a whole number from 1 to 1,000,000 or [height, width]"


@pytest.mark.parametrize(
    ("registry", "text", "where", "words"),
    [
        (layers, "conv(3, 3, kernal=3)", "", ["conv has no argument 'kernal'", CONV, "did you mean 'kernel'?"]),
        (layers, "conv(3)", "", ["conv needs 'kernel'", "received: conv(3)", CONV]),
        (layers, "conv(3, 3, kernel=3)", "", ["'kernel' is given twice", CONV]),
        (layers, "relu(3)", "", ["relu takes at most 0 arguments, not 1", "relu()"]),
        (layers, "conv(3, true)", "kernel", ["'kernel' can't be true", WHOLE]),
        (layers, "conv(3, [3, 0])", "kernel", ["'kernel' can't be [3, 0]", WHOLE]),
        (layers, "conv(0, 3)", "filters", ["'filters' can't be 0", "a whole number from 1 to 1,000,000"]),
        (layers, "conv(3, 3, bias=1)", "bias", ["'bias' can't be 1", "true or false"]),
        (layers, "conv(3, 3, padding=-1)", "padding", ["can't be -1", "'same', a whole number from 0 to 1,000,000"]),
        (layers, "dropout(1)", "rate", ["'rate' can't be 1", "a number from 0, below 1"]),
        (layers, "elu(1e999)", "alpha", ["'alpha' can't be inf", "a finite number"]),
        (layers, "globalpool('sum')", "how", ["'how' can't be 'sum'", "'mean' or 'max'"]),
        (layers, "residual(relu)", "body", ["rows are a list of layers", "[conv(…), relu, …]"]),
        (layers, "residual([3])", "body[0]", ["a row is a layer", "conv(32, 5), relu, …"]),
        (schedules, "multistep([])", "", ["the epochs must increase", "such as [30, 60]"]),
        (schedules, "multistep([3, 3])", "", ["the epochs must increase", "[3, 3]"]),
        (schedules, "multistep([0, 1])", "epochs[0]", ["'epochs[0]' can't be 0"]),
        (schedules, "warmup(2, warmup(1))", "", ["a warm-up can't be followed by another one", "then=warmup(…)"]),
        (schedules, "warmup(2, cosine(2))", "then.floor", ["'floor' can't be 2"]),
        (optimizers, "muon(companion=muon)", "", ["muon can't be its own companion", "companion=muon(…)"]),
        (optimizers, "sgd(0.1, nesterov=true)", "", ["Nesterov momentum needs a momentum"]),
        (optimizers, "adam_w(lr=0.1)", "", ["unknown optimizer 'adam_w'", "adam, ", "did you mean 'adamw'?"]),
        (augmentations, "flop", "", ["unknown augmentation 'flop'"]),
        *(
            (losses, f"focal(weights={value})", "weights", ["none, 'balanced', or a [list] with a number above 0 for"])
            for value in ("even", "[1]", "[1, 0]", "[1, true]", "[1, 1e999]")
        ),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_refused(registry: Registry[Any], text: str, where: str, words: list[str]) -> None:
    (problem,) = _refusals(registry, text)
    assert problem.where == where
    assert all(word in str(problem) for word in words), str(problem)


def test_a_name_without_a_value_is_told_how_to_get_one() -> None:
    (problem,) = _refusals(layers, "conv(f, 3)")
    assert (problem.where, problem.what) == ("filters", "'f' has no value")
    assert problem.allowed == "a whole number from 1 to 1,000,000"
    assert problem.next_step.endswith("values = { f = … }; a text stands in quotes: 'f'")
    (problem,) = _refusals(layers, "dropout(nan)")
    assert (problem.what, problem.received) == ("'rate' can't be nan", "dropout(nan)")


def test_all_wrong_arguments_are_told_together() -> None:
    assert [problem.where for problem in _refusals(layers, "conv(0, 0, bias=3, groups=-1)")] == [
        "filters", "kernel", "groups", "bias",
    ]  # fmt: skip
    deep = _refusals(layers, "residual([relu, conv(0, 3)], shortcut=[repeat(2, [dense(0), blur])])")
    assert [problem.where for problem in deep] == [
        "body[1].filters",
        "shortcut[0].body[0].units",
        "shortcut[0].body[1]",
    ]


def test_a_choice_within_a_choice_is_written_with_its_defaults_too() -> None:
    choice = schedules.read("warmup(2, restarts(5))")
    assert str(schedules.to_call(choice)) == "warmup(epochs=2.0, then=restarts(epochs=5))"
    assert str(schedules.to_call(choice, defaults=True)) == (
        "warmup(epochs=2.0, then=restarts(epochs=5, growth=1, floor=0.0), start=0.01)"
    )


def test_rows_are_taken_as_texts_calls_and_rows() -> None:
    row = LayerRow(ReLU(), "a")
    made = layers.kinds["repeat"](2, ["a: relu", parse_call("a: relu"), row])  # type: ignore[call-arg]
    assert made.body == (row, row, row)  # type: ignore[attr-defined]
    assert str(row) == "a: relu"
