"""The drawing of a network: every row once, sizes that follow the shapes, nothing outside, lines that lead on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.trace import trace
from cnnlab.config.recipe import Recipe
from cnnlab.config.warnings import summarize
from cnnlab.records import LayerRecord, LayerTable
from cnnlab.reports.architecture.drawing import draw_architecture
from cnnlab.reports.architecture.layout import PAGE, NetworkDiagram, lay_out_network, short_label

ROOT = Path(__file__).parents[3]
SVG = "{http://www.w3.org/2000/svg}"
LENET = Recipe.read(ROOT / "recipes" / "lenet.toml").model.layers
BLOCK = "residual([conv(16, 3, padding=1), batchnorm, relu, conv(16, 3, padding=1), batchnorm])"
DOWN = "residual([conv(32, 3, padding=1, stride=2), batchnorm], shortcut=[conv(32, 1, stride=2)])"
DEEP = [
    "conv(16, 3, padding=1)", "batchnorm", "relu", f"repeat(3, [{BLOCK}, relu])", DOWN, "relu",
    "repeat(2, [conv(32, 3, padding=1), repeat(2, [depthwise(3, padding=1), gelu])])",
    "globalpool", "dropout(0.1)", "dense(10)",
]  # fmt: skip
SIXTY = [*(["conv(32, 3, padding=1)", "batchnorm", "relu"] * 19), "globalpool", "dropout", "dense(10)"]
TABLES = {"lenet": list(LENET), "deep": DEEP, "sixty": SIXTY, "flat": ["batchnorm", "flatten", "dense(10)"]}


def table(rows: list[str]) -> LayerTable:
    return summarize(trace(read_table(rows, {}, 10), (3, 32, 32)).records())


def shapes(svg: str) -> list[ElementTree.Element]:
    return [element for element in ElementTree.fromstring(svg).iter() if element.tag != f"{SVG}style"]


def titles(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [element.find(f"{SVG}title").text for element in root.iter(f"{SVG}rect") if len(element)]


def boxes(placed: NetworkDiagram) -> list[tuple[int, float, float]]:
    return [(item.line, item.left, item.left + item.slot) for item in placed.items]


@pytest.mark.parametrize("name", TABLES)
def test_every_row_is_drawn_once_under_its_name_and_nothing_over_the_edge(name: str) -> None:
    known = table(TABLES[name])
    svg = draw_architecture(known, name).to_svg(standalone=True)
    named = Counter(title.partition(": ")[0] for title in titles(svg))
    assert named == Counter(["images of 3×32×32", *(row.name for row in known.layers if row.kind != "repeat")])
    root = ElementTree.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    assert width <= PAGE
    for element in shapes(svg):
        if element.tag in (f"{SVG}polyline", f"{SVG}polygon"):
            places = [tuple(map(float, point.split(","))) for point in element.attrib["points"].split()]
        elif element.tag == f"{SVG}rect" and element.get("width") != "100%":
            x, y, wide, high = (float(element.attrib[key]) for key in ("x", "y", "width", "height"))
            places = [(x, y), (x + wide, y + high)]
        elif element.tag == f"{SVG}text":
            places = [(float(element.attrib["x"]), float(element.attrib["y"]))]
        else:
            continue
        assert all(0 <= x <= width and 0 <= y <= height for x, y in places), element.attrib


@given(
    st.lists(
        st.sampled_from(["conv(24, 3, padding=1)", "maxpool(2, 1)", "relu", "batchnorm", BLOCK.replace("16", "24")]),
        max_size=40,
    )
)
def test_items_stand_side_by_side_in_the_order_of_the_data(rows: list[str]) -> None:
    known = table(["conv(24, 3, padding=1)", *rows, "flatten", "dense(10)"])
    placed = lay_out_network(known.layers)
    assert placed.width <= PAGE
    for before, after in zip(boxes(placed), boxes(placed)[1:], strict=False):
        assert after[0] == before[0] + 1 or (after[0] == before[0] and after[1] > before[2])
    for item in placed.items:
        assert item.left <= item.x <= item.end <= item.left + item.slot + 1e-6
    drawn = [row.name for item in placed.items for row in (item.row, *item.strips) if row is not None]
    assert sorted(drawn) == sorted(row.name for row in known.layers)


def test_blocks_follow_their_own_outputs() -> None:
    by_name = {item.row.name: item for item in lay_out_network(table(list(LENET)).layers).items if item.row is not None}
    assert by_name["conv1"].height > by_name["maxpool1"].height > by_name["maxpool2"].height
    assert by_name["conv1"].height == lay_out_network(table(list(LENET)).layers).items[0].height
    assert by_name["conv1"].width == by_name["maxpool1"].width < by_name["conv2"].width < by_name["flatten1"].width
    assert [row.name for row in by_name["dense2"].strips] == ["softmax1"]


def test_an_arc_leads_from_what_goes_in_to_the_sum() -> None:
    placed = lay_out_network(table(["conv(8, 3)", "relu", "residual([conv(8, 3, padding=1), relu])", "flatten"]).layers)
    names = [item.row.name if item.row else "images" for item in placed.items]
    assert names == ["images", "conv1", "residual1.body.conv1", "residual1", "flatten1"]
    (arc,) = placed.arcs
    # Behind the relu, the second piece of conv1, over the body's convolution.
    assert (names[arc.start], arc.strip_index, names[arc.end]) == ("conv1", 1, "residual1")


def test_a_shortcut_of_its_own_is_a_way_past_the_body() -> None:
    placed = lay_out_network(table(["conv(8, 3)", DOWN, "flatten"]).layers)
    names = [item.row.name if item.row else "images" for item in placed.items]
    assert {(names[arc.start], names[arc.end]) for arc in placed.arcs} == {
        ("conv1", "residual1.shortcut.conv1"),
        ("residual1.body.conv1", "residual1"),
    }
    assert [item.row.name for item in placed.items if not item.follows] == ["residual1.shortcut.conv1"]


def test_arcs_over_the_same_items_have_lanes_of_their_own() -> None:
    lanes = lay_out_network(table(DEEP).layers).arcs
    for one, lane in lanes.items():
        for other, second in lanes.items():
            assert one == other or lane != second or one.end <= other.start or other.end <= one.start


def test_a_block_is_not_parted_from_its_sum_where_it_fits_on_a_line() -> None:
    placed = lay_out_network(table(["conv(16, 3, padding=1)", *[BLOCK, "relu"] * 8, "flatten", "dense(10)"]).layers)
    assert placed.items[-1].line > 1
    for arc in placed.arcs:
        assert placed.items[arc.start + 1].line == placed.items[arc.end].line


def test_few_layers_make_a_small_drawing_and_many_a_high_one() -> None:
    def size(rows: list[str]) -> tuple[float, float]:
        root = ElementTree.fromstring(draw_architecture(table(rows), "a network").to_svg(standalone=True))
        return float(root.attrib["width"]), float(root.attrib["height"])

    few, many = size(["conv(8, 3)", "relu", "maxpool(2)", "flatten", "dense(10)"]), size(SIXTY)
    assert few[0] < 600
    assert few[1] < 260 < many[1] < 800


@pytest.mark.parametrize(
    ("row", "label"),
    [
        ("conv(32, 5, padding=2)", "conv 5×5, 32"),
        ("conv(8, [3, 1], stride=2)", "conv 3×1, 8 /2"),
        ("depthwise(3)", "depthw. 3×3"),
        ("maxpool(2)", "maxpool 2"),
        ("maxpool(3, 2)", "maxpool 3 /2"),
        ("globalpool", "global pool"),
        ("upsample(2)", "upsample ×2"),
    ],
)
def test_a_label_says_what_a_row_is_in_short(row: str, label: str) -> None:
    assert short_label(table([row, "flatten", "dense(10)"]).layers[0]) == label


def test_long_names_are_cut_and_told_in_full_where_the_pointer_rests() -> None:
    name = "a_very_long_name_of_a_row_that_nobody_reads"
    svg = draw_architecture(table([f"{name}: conv(8, 3)", "flatten", "dense(10)"]), "x" * 300).to_svg(standalone=True)
    texts = [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert name not in texts
    assert "…at_nobody_reads" in texts
    assert any(title.startswith(f"{name}: conv(8, 3) → 8×30×30, 224 parameters") for title in titles(svg))
    assert all(len(text) < 100 for text in texts)


def test_operations_that_no_table_has_are_drawn_too() -> None:
    def record(name: str, kind: str, inputs: tuple[str, ...], parameters: int = 0) -> LayerRecord:
        return LayerRecord(
            name=name, kind=kind, text=kind, input=(8, 4, 4), output=(8, 4, 4), parameters=parameters, formula="",
            macs=0, receptive_field=None, jump=None, inputs=inputs,
        )  # fmt: skip

    many = tuple(f"a{number}" for number in range(8))
    rows = [
        record(name, "attention", (before,) if before else (), 5)
        for name, before in zip(many, ("", *many), strict=False)
    ]
    rows += [record("act", "quick_gelu", (many[-1],)), record("all", "concatenate", (*many[:-1], "act"))]
    placed = lay_out_network(rows)
    # What keeps the shape and learns nothing is a strip; what takes very many rows says how many.
    assert [row.name for row in placed.items[8].strips] == ["act"]
    assert placed.items[9].label == "concatenate 8"
    assert not placed.arcs
    svg = draw_architecture(LayerTable(parameters=0, macs=0, layers=tuple(rows), warnings=()), "rows").to_svg(
        standalone=True
    )
    assert {title.partition(":")[0] for title in titles(svg)} >= {*many, "act", "all"}


def test_what_is_frozen_is_pale_and_the_legend_says_so() -> None:
    known = table(list(LENET))
    plain = draw_architecture(known, "lenet").to_svg(standalone=True)
    assert "opacity" not in plain
    assert "frozen" not in plain
    still = {"conv1", "dense1"}
    rows = [
        row.model_copy(update={"frozen": row.name in still, "unfreeze_at": 2 * (row.name == "conv2")})
        for row in known.layers
    ]
    drawn = draw_architecture(known.model_copy(update={"layers": tuple(rows)}), "lenet").to_svg(standalone=True)
    boxes = [box for box in ElementTree.fromstring(drawn).iter(f"{SVG}rect") if len(box)]
    pale = {box.find(f"{SVG}title").text for box in boxes if "opacity" in box.attrib["style"]}
    assert {title.partition(":")[0] for title in pale} == still
    assert all(title.endswith(", frozen") for title in pale)
    assert [title for title in titles(drawn) if title.endswith("trains after epoch 2")] != []
    assert "pale: frozen" in drawn
