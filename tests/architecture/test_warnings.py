"""The warnings of tables and recipes: each speaks where it must, with its numbers, and is silent where it must be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.table_warnings import table_warnings
from cnnlab.architecture.trace import trace
from cnnlab.architecture.warnings import WARNINGS, format_warning
from cnnlab.config.recipe import Recipe
from cnnlab.config.warnings import recipe_warnings, summarize
from cnnlab.errors import SpecError
from cnnlab.records import LayerRecord, WarningRecord
from cnnlab.theory.output_size import output_size

LENET = [
    *("conv(32, 5, padding=2)", "relu", "maxpool(2)", "conv(64, 5, padding=2)", "relu", "maxpool(2)"),
    *("conv(128, 5, padding=2)", "relu", "maxpool(2)", "flatten", "dense(64)", "relu", "dense(10)", "softmax"),
]
# conv → batch norm → sum → activation (He et al., 2016a), and everything in front of the convolution (2016b).
RESNET = [
    *("conv(8, 3, padding=1, bias=false)", "batchnorm", "relu"),
    "residual([conv(8, 3, padding=1, bias=false), batchnorm, relu, conv(8, 3, padding=1, bias=false), batchnorm])",
    *("relu", "globalpool", "dense(10)"),
]
PRE_ACTIVATION = [
    "conv(8, 3, padding=1)",
    "repeat(2, [residual([batchnorm, relu, conv(8, 3, padding=1), batchnorm, relu, conv(8, 3, padding=1)])])",
    *("batchnorm", "relu", "globalpool", "dense(10)"),
]
BOTTLENECKS = [
    *("conv(8, 3, padding=1, bias=false)", "batchnorm", "relu"),
    *("conv(32, 1, bias=false)", "batchnorm", "relu", "depthwise(3, padding=1, bias=false)", "batchnorm", "relu"),
    *("conv(8, 1, bias=false)", "batchnorm", "conv(48, 1, bias=false)", "batchnorm", "relu"),
    *("globalpool", "dense(10)"),
]


def rows(texts: Sequence[str], shape: tuple[int, ...] = (3, 32, 32)) -> list[LayerRecord]:
    return trace(read_table(texts, {}, classes=10), shape).records()


def found(texts: Sequence[str], shape: tuple[int, ...] = (3, 32, 32), **how: Any) -> dict[str, WarningRecord]:
    warnings = table_warnings(rows(texts, shape), **how)
    names = [warning.name for warning in warnings]
    assert len(names) == len(set(names)), "one warning a name"
    assert set(names) <= set(WARNINGS)
    return {warning.name: warning for warning in warnings}


@pytest.mark.parametrize("table", [LENET, RESNET, ["flatten", "dense(10)"]], ids=["lenet", "resnet", "linear"])
def test_plain_networks_give_none(table: list[str]) -> None:
    assert found(table, classes=10) == {}


def test_what_a_sum_reads_too_is_worth_more_than_the_layer_behind_it() -> None:
    inner = "residual([conv(8, 3, padding=1), relu, conv(8, 3, padding=1)])"
    assert "no-activation" not in found(["conv(8, 3, padding=1)", inner, "relu", "flatten", "dense(10)"])
    assert "no-activation" in found(["conv(8, 3, padding=1)", "conv(8, 3, padding=1)", inner, "flatten", "dense(10)"])


def test_a_stride_that_steps_over_nothing_or_beside_a_body_is_silent() -> None:
    beside = "residual([conv(3, 3, stride=2, padding=1)], shortcut=[conv(3, 1, stride=2)])"
    for rows in (["conv(4, 3, stride=3)"], ["maxpool(2)"], ["conv(4, 3, dilation=2)"], [beside]):
        assert "skipped-rows" not in found([*rows, "relu", "flatten", "dense(10)"])


def test_pre_activation_and_linear_bottlenecks_lack_no_activation() -> None:
    assert set(found(PRE_ACTIVATION)) == {"bias-before-batchnorm"}
    assert found(BOTTLENECKS) == {}


SPEAKS: list[tuple[str, list[str], str]] = [
    ("no-activation", ["conv(4, 3)", "conv(4, 3)", "relu", "flatten", "dense(10)"], "conv1 → conv2"),
    ("no-activation", ["conv(4, 3)", "avgpool(2)", "batchnorm", "dropout", "flatten", "dense(10)"], "conv1 → dense1"),
    ("no-activation", ["flatten", "repeat(2, [dense(9)])"], "repeat1.0.dense1 → repeat1.1.dense1"),
    ("no-activation", ["residual([conv(3, 1), conv(3, 1)])"], "residual1.body.conv1 → residual1.body.conv2"),
    ("skipped-rows", ["conv(4, 2, stride=6)", "relu", "flatten", "dense(10)"], "conv1"),
    ("softmax-before-loss", ["flatten", "dense(10)", "softmax", "relu"], "softmax1"),
    ("softmax-before-loss", ["flatten", "dense(10)", "repeat(1, [softmax])"], "repeat1.0.softmax1"),
    ("bias-before-batchnorm", ["conv(4, 3)", "batchnorm", "relu"], "conv1"),
    ("bias-before-batchnorm", ["repeat(2, [depthwise(3)])", "batchnorm"], "repeat1.1.depthwise1"),
    ("dropout-before-batchnorm", ["dropout2d(0.1)", "batchnorm"], "dropout2d1 → batchnorm1"),
    ("dropout-before-batchnorm", ["repeat(1, [dropout])", "residual([batchnorm])"],
        "repeat1.0.dropout1 → residual1.body.batchnorm1"),
    ("one-dense-layer", ["conv(32, 3)", "relu", "flatten", "dense(100)"], "dense1"),
    ("one-pixel-maps", ["maxpool(32)", "conv(4, 3, padding=1)"], "conv1"),
    ("one-pixel-maps", ["maxpool(32)", "repeat(5, [conv(4, [1, 3], padding=[0, 1])])"],
        "repeat1.0.conv1, repeat1.1.conv1, repeat1.2.conv1 and 2 more"),
    ("one-dense-layer", ["conv(32, 3)", "relu", "flatten", "dense(100)", "relu", "dense(10)"], "dense1"),
    ("cut-off-rows", ["maxpool(3)"], "maxpool1"),
    ("cut-off-rows", ["conv(8, 5, stride=2, padding=2)", "maxpool(3)"], "maxpool1, conv1"),  # lost pixels come first
    ("cut-off-rows", ["conv(8, 5, stride=2, padding=2)"], "conv1"),
    ("very-large", ["flatten", "dense(1000)", "wide: dense(1000000)", "relu", "dense(10)"], "wide"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "texts", "where"), SPEAKS)
def test_it_speaks(name: str, texts: list[str], where: str) -> None:
    warning = found(texts)[name]
    assert warning.where == where
    assert warning.fix


SILENT: list[tuple[str, list[str]]] = [
    ("skipped-rows", ["conv(4, 3, stride=3)", "relu", "flatten", "dense(10)"]),
    ("no-activation", ["conv(4, 3)", "maxpool(2)", "conv(4, 3)"]),
    ("no-activation", ["conv(4, 3)", "globalpool('max')", "dense(10)"]),
    ("no-activation", ["depthwise(3)", "batchnorm", "conv(4, 1)", "relu", "depthwise(3)"]),
    ("no-activation", ["conv(4, [1, 7])", "conv(4, [7, 1])"]),
    ("no-activation", ["residual([conv(3, 1)])", "conv(4, 3)"]),
    ("no-activation", ["flatten", "dense(10)", "softmax"]),
    ("softmax-before-loss", ["flatten", "dense(10)", "softmax"]),
    ("bias-before-batchnorm", ["conv(4, 3, bias=false)", "batchnorm"]),
    ("bias-before-batchnorm", ["conv(4, 3)", "relu", "batchnorm"]),
    ("bias-before-batchnorm", ["conv(4, 3)", "dropout2d", "batchnorm"]),
    ("bias-before-batchnorm", ["conv(4, 3)", "avgpool(3, padding=1)", "batchnorm"]),
    ("bias-before-batchnorm", ["conv(3, 1)", "residual([batchnorm])"]),  # the shortcut keeps the bias
    ("bias-before-batchnorm", ["batchnorm", "conv(4, 3)"]),
    ("dropout-before-batchnorm", ["batchnorm", "dropout2d(0.1)"]),
    ("dropout-before-batchnorm", ["dropout2d(0)", "batchnorm"]),
    ("dropout-before-batchnorm", ["dropout2d(0.1)", "conv(4, 3)", "batchnorm"]),
    ("dropout-before-batchnorm", ["residual([dropout], shortcut=[batchnorm])"]),  # side by side
    ("one-dense-layer", ["flatten", "dense(1000)"]),  # nothing but dense layers
    ("one-dense-layer", ["conv(8, 3)", "relu", "flatten", "dense(100)"]),  # under a million
    ("one-dense-layer", ["conv(999, 19)", "relu", "maxpool(14)", "flatten", "dense(1002)"]),  # under half
    ("one-pixel-maps", ["maxpool(32)", "conv(4, 1)"]),
    ("one-pixel-maps", ["maxpool(32)", "conv(4, 3, padding=2)"]),  # each cell meets the pixel somewhere
    ("cut-off-rows", ["maxpool(2)", "conv(8, 4, stride=2, padding=1)"]),
    ("cut-off-rows", ["conv(8, 1, stride=2)"]),  # as many rows are skipped between any two places
    ("very-large", ["flatten", "dense(160000)"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "texts"), SILENT)
def test_it_is_silent(name: str, texts: list[str]) -> None:
    assert name not in found(texts)


def test_there_is_a_case_for_every_name_of_a_table() -> None:
    of_tables = list(WARNINGS)[: list(WARNINGS).index("batchnorm-single-image")]
    assert {name for name, *_ in SPEAKS} == {name for name, _ in SILENT} == set(of_tables) - {"width-not-classes"}


def test_another_width_than_classes_speaks_of_networks_that_are_no_tables() -> None:
    warning = found(["flatten", "dense(1000)"], classes=10)["width-not-classes"]
    assert (warning.where, warning.message) == ("dense1", "the output has 1,000 numbers, but there are 10 classes")
    assert "width-not-classes" not in found(["flatten", "dense(10)"], classes=10)
    assert "width-not-classes" not in found(["flatten", "dense(1000)"])


def test_what_the_makers_of_a_backbone_meant_is_no_news() -> None:
    table = ["conv(4, 3)", "conv(4, 5, stride=2, padding=2)", "softmax", "relu", "flatten", "dense(10)", "softmax"]
    assert set(found(table)) == {"no-activation", "cut-off-rows", "softmax-before-loss"}
    known = found(table, backbone=True)
    assert set(known) == {"softmax-before-loss"}
    assert known["softmax-before-loss"].where == "softmax2"
    assert "cut-off-rows" in found(["maxpool(3)"], backbone=True)


def test_rows_of_unknown_kinds_and_those_that_round_up_are_passed_by() -> None:
    sure, pool = rows(["conv(4, 3)", "maxpool(2, stride=2)"], (3, 9, 9))
    up = pool.model_copy(update={"output": (4, 4, 4)})
    assert "cut-off-rows" in {warning.name for warning in table_warnings([sure, pool])}
    strange = up.model_copy(update={"name": "add", "kind": "add", "text": "add(…)", "inputs": ("maxpool1",)})
    assert table_warnings([sure, up, strange]) == []


def test_the_messages_have_their_numbers() -> None:
    said = format_warning(found(["maxpool([2, 3])"], (3, 8, 8))["cut-off-rows"])
    assert said.startswith("cut-off-rows (maxpool1): the window does not fit: 4×2.66667 rounds down to 4×2")
    assert "the last 2 of 8 columns" in said
    assert "maxpool1 fits exactly with input 8×6 or kernel 2×5" in said
    message = found(["conv(4, 5, stride=2, padding=2)"])["cut-off-rows"].message
    assert message.endswith("16.5×16.5 rounds down to 16×16, and only padding is cut off")
    deep = ["stem: conv(4, 3, stride=2, padding=1)", *["conv(4, 3, stride=2, padding=1)"] * 3]
    numbers = {
        "one-pixel-maps": (deep, (3, 8, 8), ["8 of 9 weights", "128 weights in all", "23.0 %"]),
        "one-dense-layer": (
            ["conv(32, 3)", "relu", "flatten", "dense(100)"],
            (3, 32, 32),
            ["2,880,100 of 2,880,996 parameters", "100.0 %", "28,800"],
        ),
        "very-large": (
            ["flatten", "dense(1000)", "relu", "wide: dense(1000000)"],
            (3, 32, 32),
            ["1,004,073,000 parameters", "99.7 %", "with adam", "15 GiB"],
        ),
        "dropout-before-batchnorm": (["dropout2d(0.2)", "batchnorm"], (3, 32, 32), ["1.25 times"]),
    }
    for name, (texts, shape, words) in numbers.items():
        message = found(texts, shape)[name].message
        assert all(word in message for word in words), message


SIZES = st.integers(1, 12)


@given(size=SIZES, kernel=SIZES, stride=SIZES, padding=st.integers(0, 4), dilation=st.integers(1, 3))
def test_cut_off_rows_are_those_that_no_window_touches(
    size: int, kernel: int, stride: int, padding: int, dilation: int
) -> None:
    """Held against windows that are laid down one by one."""
    reach = dilation * (kernel - 1) + 1
    places = [start for start in range(-padding, size + padding) if start + reach <= size + padding]
    if not places or (dilation > 1 and kernel == 1):
        return
    starts = range(-padding, places[-1] + 1, stride)
    last = starts[-1] + reach - 1
    untouched = max(0, size - 1 - max(last, -1))
    gap = max(0, stride - reach)
    text = f"conv(1, [{kernel}, 1], stride=[{stride}, 1], padding=[{padding}, 0], dilation=[{dilation}, 1])"
    warning = found([text], (1, size, 1)).get("cut-off-rows")
    rest = size + padding - 1 - last
    assert (warning is not None) == (rest > gap)
    if warning is None:
        return
    expected = untouched if stride <= reach else None
    if "only padding" in warning.message:
        assert expected in (0, None)
    elif expected is not None:
        lost = re.search(r"the last (\d+) of", warning.message)
        assert lost
        assert int(lost[1]) == expected
    inputs = re.findall(r"input (\d+)×1", warning.fix)
    assert inputs or size <= rest
    for height in inputs:
        assert output_size(int(height), kernel, stride, 2 * padding, dilation).fits
    for height in re.findall(r"kernel (\d+)×1", warning.fix):
        assert output_size(size, int(height), stride, 2 * padding, dilation).fits


def recipe(**changes: Any) -> Recipe:
    tables: dict[str, Any] = {
        "data": {"source": "shapes"},
        "model": {"layers": ["conv(4, 3)", "batchnorm", "relu", "flatten", "dense(classes)"]},
        "train": {},
    }
    for key, value in changes.items():
        section, _, name = key.partition("_")
        tables.setdefault(section, {})[name] = value
    return Recipe.from_tables(tables)


def choices(known: Recipe, classes: Sequence[str] = ("bird", "cat")) -> dict[str, WarningRecord]:
    return {warning.name: warning for warning in recipe_warnings(known, rows(known.model.layers), classes)}


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        ("sgd(5)", "5 is 50 times above the highest that is usual for sgd"),
        ("adam(0.1)", "0.1 is 33 times above the highest that is usual for adam"),
        ("adamw(1e-6)", "1e-06 is 100 times below the lowest that is usual for adamw"),
    ],
)
def test_a_learning_rate_far_from_the_usual_speaks(optimizer: str, words: str) -> None:
    warning = choices(recipe(train_optimizer=optimizer))["learning-rate"]
    assert warning.where == "train.optimizer"
    assert words in warning.message
    assert re.fullmatch(r"begin between [\d.e-]+ and [\d.e-]+", warning.fix)


@pytest.mark.parametrize("optimizer", ["sgd(1.0)", "sgd(1e-4)", "adam(1e-5)", "adamw(2e-2)"])
def test_a_learning_rate_near_the_usual_does_not(optimizer: str) -> None:
    assert choices(recipe(train_optimizer=optimizer)) == {}


def test_batch_norm_with_batches_of_one_image_speaks() -> None:
    warning = choices(recipe(train_batch_size=1))["batchnorm-single-image"]
    assert (warning.where, warning.message[:39]) == ("train.batch_size", "with batches of 1 image batchnorm1 norm")
    assert choices(recipe(train_batch_size=2)) == {}
    assert choices(recipe(train_batch_size=1, model_layers=["flatten", "dense(classes)"])) == {}


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (tuple("0123456789"), "the names of 10 classes (0, 1, 2, …) are digits"),
        (("b", "d", "none"), "the names of 2 classes (b, d) are letters"),
        (("Turn Left", "Turn Right", "stop"), "'Turn Left' and 'Turn Right' are two classes"),
    ],
)
def test_a_flip_that_changes_the_class_speaks(classes: tuple[str, ...], words: str) -> None:
    warning = choices(recipe(data_augment=["crop", "flip(0.5)"]), classes)["label-changing-augmentation"]
    assert warning.where == "data.augment"
    assert warning.message.startswith(f"flip turns left into right, and {words}")
    for harmless in (["crop"], ["flip(0)"]):
        assert choices(recipe(data_augment=harmless), classes) == {}


@pytest.mark.parametrize("classes", [("cat", "dog"), ("s1", "s10"), ("right whale", "left shoe"), ("x", "circle")])
def test_a_flip_of_other_things_does_not(classes: tuple[str, ...]) -> None:
    assert choices(recipe(data_augment=["flip"]), classes) == {}


def test_an_overview_has_both_kinds_but_those_that_are_off() -> None:
    def names(known: Recipe) -> list[str]:
        traced = known.model.trace((3, 32, 32), 10)
        return [warning.name for warning in summarize(traced.records(), known, tuple("0123456789")).warnings]

    loud = {"train_optimizer": "sgd(50)", "data_augment": ["flip"]}
    assert names(recipe(**loud)) == ["bias-before-batchnorm", "learning-rate", "label-changing-augmentation"]
    off = ["learning-rate", "bias-before-batchnorm"]
    assert names(recipe(**loud, warnings_off=off)) == ["label-changing-augmentation"]


def test_a_wrong_name_to_switch_off_is_told_with_the_nearest() -> None:
    with pytest.raises(SpecError) as caught:
        recipe(warnings_off=["leak", "bias-before-batchnrm", "nonsense"])
    first, second = caught.value.problems
    assert (first.what, first.where) == ("unknown warning 'bias-before-batchnrm'", "warnings.off[1]")
    assert first.next_step == "did you mean 'bias-before-batchnorm'?"
    assert first.allowed == ", ".join(sorted(WARNINGS))
    assert (second.what, second.where, second.next_step) == ("unknown warning 'nonsense'", "warnings.off[2]", "")
    with pytest.raises(SpecError, match=r"warnings\.off\[0\]: unknown warning 'leaks'"):
        recipe(warnings_off="leaks")
