"""The trace: names, and the words in which a table that can't be is refused."""

from __future__ import annotations

import pytest

from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.layers import LayerRow, ReLU, Repeat
from cnnlab.architecture.trace import Trace, trace
from cnnlab.errors import Problem, SpecError


def _trace(texts: list[str], shape: tuple[int, ...] = (3, 8, 8), classes: int | None = None) -> Trace:
    return trace(read_table(texts, {}, classes=10), shape, classes)


def _refusal(texts: list[str], shape: tuple[int, ...] = (3, 8, 8), classes: int | None = None) -> Problem:
    with pytest.raises(SpecError) as caught:
        _trace(texts, shape, classes)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("texts", "where", "what", "step"),
    [
        (
            ["relu", "dense(10)"],
            "[1]",
            "dense needs a vector, but its input is an image of 3×8×8",
            "'flatten' or 'globalpool'",
        ),
        (
            ["flatten", "conv(4, 3)"],
            "[1]",
            "conv needs an image, but its input is 192 numbers",
            "move this row before",
        ),
        (["globalpool", "dropout2d"], "[1]", "dropout2d needs an image, but its input is 3 numbers", "move this row"),
        (["maxpool(2)", "conv(4, [3, 5])"], "[1]", "a 3×5 window does not fit on the 4×4 image", "add padding"),
        (["maxpool(9, padding=4)", "avgpool(4, padding=1)"], "[1]", "a 4×4 window does not fit on the 1×1", "smaller"),
        (["conv(4, 3, stride=2, padding='same')"], "[0]", "padding='same' needs stride 1", "write padding=1,"),
        (["depthwise([3, 5], stride=[1, 2], padding='same')"], "[0]", "needs stride 1", "write padding=[1, 2],"),
        (["conv(4, 3, groups=2)"], "[0]", "3 incoming channels can't be split into 2 groups", ""),
        (["conv(4, 3, groups=3)"], "[0]", "4 filters can't be split into 3 groups", ""),
        (["groupnorm(2)"], "[0]", "3 channels can't be split into 2 groups", ""),
        (["globalpool", "groupnorm(3)"], "[1]", "each group of this groupnorm has one number", "choose fewer groups"),
        (["maxpool(3, padding=2)"], "[0]", "a pool's padding may be half its kernel at most", ""),
        (["a: relu", "conv(4, 3)", "a: relu"], "[2]", "two rows have the name 'a'", "rename one"),
        (["residual([relu, conv(4, 3), dense(3)])"], "[0].body[2]", "but its input is an image of 4×6×6", "'flatten'"),
        (["repeat(2, [conv(8, 5)])"], "[0].body[0]", "a 5×5 window does not fit on the 4×4 image", "add padding"),
    ],
)
def test_a_table_that_can_not_be_is_refused(texts: list[str], where: str, what: str, step: str) -> None:
    problem = _refusal(texts)
    assert problem.where == f"layers{where}"
    assert what in problem.what
    assert step in problem.next_step


@pytest.mark.parametrize(
    ("row", "words", "remedy"),
    [
        ("residual([conv(8, 3, padding=1)])", "the body has 8×8×8, the shortcut 3×8×8", "conv(8, 1)"),
        (
            "residual([conv(8, 3, stride=2, padding=1)])",
            "the body has 8×4×4, the shortcut 3×8×8",
            "conv(8, 1, stride=2)",
        ),
        ("residual([flatten, dense(5)])", "the body has 5 numbers, the shortcut 3×8×8", "flatten, dense(5)"),
        ("residual([conv(3, 3)])", "the body has 3×6×6, the shortcut 3×8×8", None),
        ("residual([relu], shortcut=[conv(5, 1)])", "the body has 3×8×8, the shortcut 5×8×8", "conv(3, 1)"),
    ],
)
def test_paths_that_end_differently_are_refused_with_a_remedy_that_works(
    row: str, words: str, remedy: str | None
) -> None:
    problem = _refusal([row])
    assert problem.what == f"the two paths of a residual must have the same output shape: {words}"
    assert problem.received == row
    if remedy is None:
        assert problem.next_step == "keep the image's size in the body, as with padding='same'"
        return
    assert problem.next_step == f"give the shortcut the same shape, as in shortcut=[{remedy}]"
    body = row.split(", shortcut")[0].removesuffix(")")
    assert _trace([f"{body}, shortcut=[{remedy}])"]).rows[0].output


def test_the_remedy_for_same_with_a_stride_works() -> None:
    for kernel in (2, 3, 4, 5):
        step = _refusal([f"conv(4, {kernel}, stride=2, padding='same')"]).next_step
        padding = step.removeprefix("write padding=").split(",")[0]
        assert _trace([f"conv(4, {kernel}, stride=2, padding={padding})"]).output == (4, 4, 4)


@pytest.mark.parametrize(
    ("texts", "what", "next_step"),
    [
        (["flatten", "dense(9)"], "the output of the last layer is 9 numbers, but there are 10 classes", "end the table with 'dense(classes)'"),  # noqa: E501
        (["conv(10, 3)"], "the output of the last layer is 10×6×6, but there are 10 classes", "end the table with 'dense(classes)' after 'flatten'"),  # noqa: E501
        (["conv(10, 8)"], "the output of the last layer is 10×1×1, but there are 10 classes", "end the table with 'dense(classes)' after 'flatten'"),  # noqa: E501
    ],
)  # fmt: skip
def test_the_last_layer_gives_as_many_numbers_as_there_are_classes(texts: list[str], what: str, next_step: str) -> None:
    assert _refusal(texts, classes=10) == Problem(what, f"layers[{len(texts) - 1}]", texts[-1], "10 numbers", next_step)
    assert _trace(["globalpool", "dense(classes)", "softmax"], classes=10).output == (10,)


def test_tables_beyond_all_sense_are_refused_at_once() -> None:
    problem = _refusal(["repeat(1000000, [repeat(1000000, [relu, residual([relu], shortcut=[tanh])])])"])
    assert problem.what == "this table has 5,000,002,000,001 layers, repeats counted"
    assert (problem.where, problem.allowed) == ("layers", "up to 10,000")
    assert (
        len(trace([LayerRow(Repeat(4999, [LayerRow(ReLU())])), LayerRow(ReLU())], (3, 8, 8)).rows[0].branches) == 4999
    )


def test_rows_have_the_names_they_were_given_and_running_numbers() -> None:
    traced = _trace(
        ["conv(3, 1)", "conv2: relu", "conv(3, 1)", "residual([relu, in: relu])", "repeat(2, [relu, x: residual([])])"]
    )
    assert [row.name for row in traced.walk()] == [
        "conv1", "conv2", "conv3",
        "residual1", "residual1.body.relu1", "residual1.body.in",
        "repeat1", "repeat1.0.relu1", "repeat1.0.x", "repeat1.1.relu1", "repeat1.1.x",
    ]  # fmt: skip
    (found,) = [row for row in traced.walk() if row.name == "residual1.body.in"]
    assert found.output == (3, 8, 8)


def test_a_residual_sees_as_far_as_its_widest_path() -> None:
    traced = _trace(
        ["residual([conv(3, 3, padding=1), conv(3, 3, padding=1)], shortcut=[conv(3, 7, padding=3)])", "conv(3, 3)"]
    )
    assert [record.receptive_field for record in traced.records() if record.kind in ("residual", "conv")] == [
        (7, 7), (3, 3), (5, 5), (7, 7), (9, 9),
    ]  # fmt: skip


def test_records_show_the_sizes_that_are_multiplied() -> None:
    records = _trace(["conv(4, [5, 3])", "batchnorm", "flatten", "dense(10, bias=false)"]).records()
    assert [(record.text, record.formula, record.parameters) for record in records] == [
        ("conv(4, [5, 3])", "5·3·3·4 + 4", 184),
        ("batchnorm", "4 + 4", 8),
        ("flatten", "", 0),
        ("dense(10, bias=false)", "96·10", 960),
    ]


@pytest.mark.parametrize("name", ["forward", "_modules"])
def test_a_name_that_torch_uses_itself_is_refused(name: str) -> None:
    with pytest.raises(SpecError) as caught:
        _trace(["a: relu", f"{name}: relu"])
    (problem,) = caught.value.problems
    assert problem.what == f"'{name}' can't be a row's name: torch's modules use it themselves"
    assert (problem.where, problem.received, problem.next_step) == ("layers[1]", f"{name}: relu", "rename it")
    with pytest.raises(SpecError, match=f"'{name}' can't be a row's name"):
        _trace([f"residual([{name}: relu])"])
