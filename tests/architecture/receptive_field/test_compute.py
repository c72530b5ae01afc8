"""What each layer sees, against sets of places that are followed one by one. No torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from math import prod
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.layers import Conv, layers
from cnnlab.architecture.receptive_field.compute import fields_from_records, is_layer_row, receptive_field, trace_table
from cnnlab.architecture.receptive_field.result import MapSpan
from cnnlab.errors import CnnlabError, SpecError, UsageError

LENET = [
    *("conv(32, 5, padding=2)", "relu", "maxpool(2)", "conv(64, 5, padding=2)", "relu", "maxpool(2)"),
    *("conv(128, 5, padding=2)", "relu", "maxpool(2)", "flatten", "dense(64)", "relu", "dense(classes)", "softmax"),
]
ALEXNET = [
    *("conv(64, 11, stride=4, padding=2)", "relu", "maxpool(3, stride=2)", "conv(192, 5, padding=2)", "relu"),
    *("maxpool(3, stride=2)", "conv(384, 3, padding=1)", "relu", "conv(256, 3, padding=1)", "relu"),
    *("conv(256, 3, padding=1)", "relu", "maxpool(3, stride=2)"),
]


def _vgg(*counts: int) -> list[str]:
    return [row for count in counts for row in [*["conv(8, 3, padding=1)"] * count, "maxpool(2)"]]


def _resnet18() -> list[str]:
    rows = ["conv(8, 7, stride=2, padding=3)", "maxpool(3, stride=2, padding=1)"]
    body = "conv(8, 3, stride={0}, padding=1), relu, conv(8, 3, padding=1)"
    for stage in range(4):
        stride = 1 if stage == 0 else 2
        shortcut = "" if stride == 1 else ", shortcut=[conv(8, 1, stride=2)]"
        rows += [f"residual([{body.format(stride)}]{shortcut})", f"residual([{body.format(1)}])"]
    return rows


@pytest.mark.parametrize(
    ("rows", "size", "jump"),
    [
        # A. Araujo, W. Norris, J. Sim, Distill, 2019, table 1.
        (ALEXNET, 195, 32),
        (_vgg(1, 1, 2, 2, 2), 150, 32),
        (_vgg(2, 2, 3, 3, 3), 212, 32),
        (_resnet18(), 435, 32),
        (LENET, 36, 8),
        (["conv(1, 5)", "conv(1, 3)"], 7, 1),
    ],
)
def test_known_networks(rows: list[str], size: int, jump: int) -> None:
    found = receptive_field(*rows)
    assert (found.receptive_field, found.jump) == ((size, size), (jump, jump))


def test_two_convolutions_worked_out() -> None:
    """The assignment's own: conv 5×5 and conv 3×3 on A×A."""
    message = json.loads(receptive_field("conv(1, 5)", "conv(1, 3)", channels=1).to_json())
    assert (message["receptive_field"], message["jump"], message["first_centre"], message["inputs"]) == (7, 1, 3, 49)
    assert [layer["rule"] for layer in message["layers"]] == ["A − 4", "A − 6"]
    assert [(sight["name"], sight["size"]) for sight in message["sees"]] == [("conv1", 3), ("input", 7)]
    assert [layer["output"] for layer in message["layers"]] == [None, None]
    given = json.loads(receptive_field("conv(1, 5)", "conv(1, 3)", size=32, channels=1).to_json())
    assert [layer["output"] for layer in given["layers"]] == [[1, 28, 28], [1, 26, 26]]


def test_two_sides_that_differ_are_told_apart() -> None:
    found = receptive_field("conv(1, [3, 5], stride=[1, 2])", "conv(1, [3, 1])", size=(20, 31))
    message = json.loads(found.to_json())
    assert (message["receptive_field"], message["jump"], message["first_centre"]) == (5, [1, 2], 2)
    assert message["rule"] == ["A − 4", "⌊(B − 3)/2⌋"]
    assert found.selected.output == (1, 16, 14)
    wide = receptive_field("conv(1, [1, 5])")
    assert json.loads(wide.to_json())["receptive_field"] == [1, 5]


def test_fractions_are_told_as_text() -> None:
    found = receptive_field("maxpool(2)", "upsample(4)")
    message = json.loads(found.to_json())
    assert (message["jump"], found.jump) == ("1/2", (Fraction(1, 2), Fraction(1, 2)))
    assert message["layers"][0]["first_centre"] == "1/2"
    assert message["rule"] is None  # a rounded size that is enlarged


WINDOW = st.tuples(st.integers(1, 4), st.integers(1, 2), st.integers(0, 2), st.integers(1, 2))


@st.composite
def _rows(draw: st.DrawFn) -> list[str]:
    """Rows with sliding windows of any kind, residuals and enlargements among them."""
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["conv", "depthwise", "maxpool", "avgpool", "relu", "residual", "upsample"]))
        kernel, stride, padding, dilation = draw(WINDOW)
        if kind == "conv":
            rows.append(f"conv(1, {kernel}, stride={stride}, padding={padding}, dilation={dilation})")
        elif kind == "depthwise":
            rows.append(f"depthwise({kernel}, padding={padding})")
        elif kind in ("maxpool", "avgpool"):
            rows.append(f"{kind}({kernel}, stride={stride}, padding={min(padding, kernel // 2)})")
        elif kind == "residual":
            rows.append(f"residual([conv(1, {2 * kernel - 1}, padding='same'), relu, conv(1, 3, padding=1)])")
        else:
            rows.append("upsample(2, 'bilinear')" if kind == "upsample" else "relu")
    return rows


def _places(text: str, nodes: set[int]) -> set[int]:
    """The places of its input that these nodes of a row's output take, by the definition of each layer."""
    layer = layers.read(text)
    if layer.kind == "relu":
        return nodes
    if layer.kind == "residual":
        inner = nodes
        for row in reversed(layer.body):
            inner = _places(str(row), inner)
        return nodes | inner
    if layer.kind == "upsample":
        return {place for node in nodes for place in {(2 * node - 1) // 4, -(-(2 * node - 1) // 4)}}
    kernel, stride = layer.kernel[0], (layer.stride or layer.kernel)[0]
    dilation = layer.dilation[0] if hasattr(layer, "dilation") else 1
    padding = dilation * (kernel - 1) // 2 if layer.padding == "same" else layer.padding[0]
    return {node * stride - padding + step * dilation for node in nodes for step in range(kernel)}


@given(_rows(), st.integers(0, 9), st.integers(0, 9))
def test_what_a_node_sees_on_each_map_is_what_it_reaches(rows: list[str], row: int, column: int) -> None:
    found = receptive_field(*rows, size=280, channels=1, node=(row, column))
    names = [view.name for view in found.layers if "." not in view.name]
    sees = {sight.name: sight for sight in found.spans}
    for axis, node in ((0, row), (1, column)):
        nodes = {node}
        for place in reversed(range(len(rows))):
            nodes = _places(rows[place], nodes)
            sight = sees[names[place - 1] if place else "input"]
            assert (sight.rows, sight.columns)[axis] == (min(nodes), max(nodes))
            assert sight.size[axis] == max(nodes) - min(nodes) + 1


@given(_rows().filter(lambda rows: not any("upsample" in row for row in rows)), st.integers(0, 9))
def test_rows_of_kinds_that_no_table_has_are_followed_by_their_views(rows: list[str], node: int) -> None:
    found = trace_table(read_table(rows, {}, 10), 280, 1)
    own = fields_from_records(found.records(), found.input, node=(node, 0))
    others = [record.model_copy(update={"text": "a kind of its own", "arguments": {}}) for record in found.records()]
    frames = {record.name for record in found.records() if record.kind == "residual"}
    others = [old if old.name in frames else new for old, new in zip(found.records(), others, strict=True)]
    assert fields_from_records(others, found.input, layer=own.layer, node=(node, 0)).spans == own.spans


@given(_rows())
def test_rules_give_the_sizes_of_any_image_that_fits(rows: list[str]) -> None:
    small = receptive_field(*rows, channels=1)
    for side in (130, 131, 132, 147):
        large = receptive_field(*rows, size=side, channels=1)
        for one, other in zip(small.layers, large.layers, strict=True):
            if one.rule is None:  # enlarged after rounding
                continue
            # What holds at one size holds at all: eval what is written.
            text = one.rule[0].replace("⌊", "int(").replace("⌋", ")").replace("−", "-")
            for digit in "0123456789":
                text = text.replace(f"{digit}A", f"{digit}*A")
            assert other.output[1] == eval(text.replace("/", "//"), {"A": side})


@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.integers(6, 14), st.integers(1, 3))
def test_inputs_are_counted_with_padding_and_without(
    kernel: int, stride: int, padding: int, side: int, channels: int
) -> None:
    found = receptive_field(
        f"conv(1, {kernel}, stride={stride}, padding={padding})", size=side, channels=channels, node=(0, 0)
    )
    rows = range(-padding, kernel - padding)
    inside = [place for place in rows if 0 <= place < side]
    assert found.inputs == channels * len(rows) ** 2
    assert found.inputs_inside == channels * len(inside) ** 2
    end = found.maps["conv1"][0] - 1
    last = receptive_field(found.selected.text, size=side, channels=channels, node=(end, end))
    inside = [place for place in range(end * stride - padding, end * stride - padding + kernel) if 0 <= place < side]
    assert last.inputs_inside == channels * len(inside) ** 2


def test_what_sees_everything_says_so() -> None:
    found = receptive_field(*LENET, size=32)
    last = found.row("dense2")
    assert (last.receptive_field, last.jump, last.inputs) == (None, None, 3072)
    assert found.layer == "maxpool3"
    everything = [row[0] for row in found.document().tables[0][1].rows if row[3] == "everything"]
    assert everything == ["dense1", "relu4", "dense2", "softmax1"]
    dense = receptive_field(*LENET, size=32, layer="dense1")
    assert dense.receptive_field is dense.node is None
    assert dense.inputs_inside == 3072
    assert {sight.name: sight.size for sight in dense.spans}["maxpool3"] == (4, 4)
    assert dense.spans[-1] == MapSpan(name="input", size=(32, 32), rows=(0, 31), columns=(0, 31))
    assert "A node of dense1 sees the whole image" in dense.document().title
    unknown = receptive_field(*LENET, layer="dense1")
    assert (unknown.inputs, unknown.spans) == (None, ())
    assert receptive_field("globalpool").receptive_field is None


def test_a_flattened_map_still_has_its_places() -> None:
    found = receptive_field(*LENET, size=32, layer="flatten1", node=(3, 0))
    assert found.receptive_field == (36, 36)
    assert found.spans[0] == MapSpan(name="maxpool3", size=(1, 1), rows=(3, 3), columns=(0, 0))


def test_the_widest_path_of_a_residual_is_named() -> None:
    wide_body = receptive_field("residual([conv(3, 5, padding=2)], shortcut=[conv(3, 1)])")
    assert wide_body.row("residual1").path == "residual1.body.conv1"
    wide_shortcut = receptive_field("residual([conv(3, 1)], shortcut=[conv(3, 3, padding=1), conv(3, 3, padding=1)])")
    assert wide_shortcut.row("residual1").path == "residual1.shortcut.conv2"
    assert wide_shortcut.receptive_field == (5, 5)
    assert wide_shortcut.windows == ("residual1.shortcut.conv1", "residual1.shortcut.conv2")
    row = next(row for row in wide_shortcut.document().tables[0][1].rows if row[0] == "residual1")
    assert row[-1] == "residual1.shortcut.conv2"


def test_the_sum_is_written_out() -> None:
    def formulas(*rows: str) -> list[str]:
        return [line.text for line in receptive_field(*rows).document().lines if hasattr(line, "text")][1:]

    assert formulas("conv(1, 5)", "conv(1, 3)") == ["r = 1 + (5 − 1)·1 + (3 − 1)·1 = 7"]
    assert formulas("maxpool(2)", "conv(1, 3, dilation=2)") == ["r = 1 + (2 − 1)·1 + (5 − 1)·2 = 10"]
    assert formulas(*["conv(1, 3)"] * 9) == ["r = 1 + 9·(3 − 1)·1 = 19"]
    assert formulas("conv(1, [3, 5])") == ["r (vertical) = 1 + (3 − 1)·1 = 3", "r (horizontal) = 1 + (5 − 1)·1 = 5"]
    # An enlarged map's nodes see differently much.
    assert formulas("maxpool(2)", "upsample(2)", "conv(1, 2)") == []


def test_rows_may_be_layers_of_python() -> None:
    assert receptive_field(Conv(1, 5), "conv(1, 3)").receptive_field == (7, 7)


def test_the_answer_takes_every_form() -> None:
    found = receptive_field(*LENET, size=32)
    markdown = found.document().to_markdown()
    assert "| maxpool3 | `maxpool(2)` | 128×4×4 | 36×36 | 8 | 7/2 | 3,888 |" in markdown
    assert r"\toprule" in found.document().to_latex()
    assert "data:image/svg+xml" in found._repr_html_()


def _texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [element.text or "" for element in root.iter() if element.tag.endswith("text")]


def _svg(*rows: str, **options: object) -> list[str]:
    return _texts(receptive_field(*rows, **options).svg())


def test_the_picture_names_layers_sizes_and_views() -> None:
    texts = _svg("conv(1, 5)", "relu", "conv(1, 3)", size=32)
    for words in ("input", "3×32×32", "sees 7×7", "conv1", "conv(1, 5)", "28×28", "sees 3×3", "conv2", "one node"):
        assert words in texts
    assert "relu1" not in texts
    assert "A − 4" in _svg("conv(1, 5)", "conv(1, 3)")


def test_the_picture_of_many_layers_leaves_some_out() -> None:
    texts = _svg(*["conv(1, 3)"] * 20)
    assert sum(text.startswith("sees") for text in texts) == 7
    assert {"conv1", "conv20"} <= set(texts)


def test_a_picture_of_a_view_far_beyond_the_image_keeps_its_size() -> None:
    near, far = (receptive_field(*["conv(1, 7, padding=3)"] * count, size=16).svg() for count in (6, 6 * 20))
    heights = [float(ElementTree.fromstring(svg).get("height", "0")) for svg in (near, far)]
    assert heights[1] <= 1.2 * heights[0]


def test_hidden_sizes_are_large_enough_for_every_window() -> None:
    found = receptive_field(*ALEXNET)
    assert found.image[1] >= 195
    assert not found.size_given
    assert prod(found.maps[found.layer]) > 1


@pytest.mark.parametrize(
    ("kind", "rows", "options", "words"),
    [
        (UsageError, ["conv(1, 5)"], {"layer": "conv2"}, "there is no layer 'conv2'.*did you mean 'conv1'"),
        (UsageError, ["conv(1, 5)"], {"size": 8, "node": (4, 0)}, "has no such node.*rows 0 to 3, columns 0 to 3"),
        (UsageError, ["conv(1, 5)"], {"size": 8, "node": (-1, 0)}, "has no such node"),
        (UsageError, ["flatten", "dense(2)"], {"size": 8, "layer": "dense1", "node": (0, 0)}, "sees the whole image"),
        (UsageError, ["conv(1, 5)"], {"node": (0, 0)}, "the image has no size.*give the size, too"),
        (UsageError, ["conv(1, 5)"], {"size": 0}, "one pixel and one channel at least"),
        (SpecError, ["cov(1, 5)"], {}, "did you mean 'conv'"),
        (SpecError, ["conv(1, 5)"], {"size": 3}, "does not fit"),
    ],
)
def test_faults_are_told(kind: type[CnnlabError], rows: Sequence[str], options: dict, words: str) -> None:
    with pytest.raises(kind, match=f"(?s){words}"):
        receptive_field(*rows, **options)


def test_rows_are_told_from_names() -> None:
    assert all(map(is_layer_row, ("relu", "conv(3, 5)", "first: conv(3, 5)", "first: relu", "cov(3)")))
    assert not any(map(is_layer_row, ("resnet18", "timm/convnext_tiny", "lenet.toml", "runs/x")))
