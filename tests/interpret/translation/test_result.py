"""Tables and the plot of measured shifts follow from the numbers."""

from __future__ import annotations

import math
from typing import Any
from xml.etree import ElementTree

import pytest

from cnnlab.interpret.translation.result import LayerTranslation, MapShift, TranslationSensitivity
from cnnlab.interpret.translation.view import headline


def layer(name: str, before: float, after: float, kind: str = "maxpool", **fields: Any) -> LayerTranslation:
    sizes: dict[str, Any] = {"input": (4, 8, 8), "output": (4, 4, 4), "map": (4, 4), "period": 2}
    changes = {"before": (0.0, before, 2 * before), "after": (0.0, after, 2 * after)}
    return LayerTranslation(name=name, kind=kind, text=f"{kind}(2)", **{**sizes, **changes, **fields})


def translation(*layers: LayerTranslation) -> TranslationSensitivity:
    shared: dict[str, Any] = {"network": "net_1", "image": "an image", "direction": "down", "fill": "zero"}
    return TranslationSensitivity(size=(3, 32, 32), shifts=(0, 1, 2), changes=(0.0, 0.4, 0.8), layers=layers, **shared)


CONV = layer("conv1", 0.5, 0.55, "conv", period=1)


def test_the_headline_names_the_kind_that_lowers_the_change_most() -> None:
    dense = layer("d", 0.5, 0.01, "dense", input=(4,))
    result = translation(CONV, layer("p1", 0.4, 0.2), layer("p2", 0.4, 0.3), layer("r", 0.4, 0.2, "relu"), dense)
    assert [(each.kind, each.layers) for each in result.kinds] == [("relu", 1), ("maxpool", 2), ("conv", 1)]
    assert [each.mean for each in result.kinds] == pytest.approx([0.5, math.sqrt(0.5 * 0.75), 1.1])
    most = "At a shift of 1 px relu lowers the change most, to 0.50 of the change before it"
    assert headline(result) == f"{most}; maxpool to 0.61."
    assert headline(translation(CONV, layer("r", 0.4, 0.2, "relu"))) == f"{most}."
    assert headline(translation(CONV, layer("p", 0.4, 0.4))).endswith("no kind of layer lowers the change.")
    assert headline(translation(dense)).endswith("no kind of layer lowers the change.")


def test_a_pool_that_gives_what_it_gets_is_none() -> None:
    same = layer("avgpool", 0.4, 0.4, "adaptivepool", input=(4, 7, 7), output=(4, 7, 7))
    assert translation(CONV, same).pools == ()
    one = layer("globalpool", 0.4, 0.4, "globalpool", input=(4, 1, 1), output=(4,))
    assert translation(CONV, one).pools == ()


def test_stages_are_pools_or_else_all_layers() -> None:
    strided = layer("conv2", 0.5, 0.4, "conv", period=2)
    assert translation(CONV, strided, layer("pool", 0.4, 0.3)).stages == (layer("pool", 0.4, 0.3),)
    assert translation(CONV, strided).stages == (CONV, strided)
    assert translation(CONV).stages == (CONV,)


def moves(*differences: float) -> tuple[MapShift, ...]:
    return tuple(
        MapShift(shift=shift, steps=(0, 0), nodes=9 - shift, difference=difference)
        for shift, difference in enumerate(differences, start=1)
    )


def test_the_document_has_every_layers_change_and_exact_shifts() -> None:
    found = translation(
        CONV,
        layer("pool", 0.4, 0.3, moves=moves(0.5, 0.0)),
        layer("vector", 0.2, 0.1, "dense", input=(4,), period=None),
    )
    document = found.document()
    changes, kinds, kept = (table for _, table in document.tables)
    assert kinds.rows == (("maxpool", "1", "0.75", "–"), ("conv", "1", "1.10", "–"))
    titles = ["layer", "row", "1 px", "2 px", "after/before", "output without it"]
    assert [column.title for column in changes.columns] == titles
    assert changes.rows[0] == ("image", "", "0.40", "0.80", "", "")
    assert changes.rows[2] == ("pool", "maxpool(2)", "0.30", "0.60", "0.75", "–")
    assert kept.rows[1] == ("pool", "4×4", "2", "1, 2", "2", "7", "0", "0.5")
    assert len(kept.rows) == 2
    assert "moved down, the freed border is zero" in document.notes[0]
    assert "net\\_1" in document.to_latex()


def test_many_shifts_share_few_columns() -> None:
    wide = {"before": tuple(n / 20 for n in range(12)), "after": tuple(n / 20 for n in range(12))}
    found = translation().model_copy(
        update={"shifts": tuple(range(12)), "changes": wide["after"], "layers": (CONV.model_copy(update=wide),)}
    )
    titles = [column.title for column in found.document().tables[0][1].columns]
    assert titles[2:-2] == ["1 px", "3 px", "5 px", "7 px", "9 px", "11 px"]


def test_the_plot_draws_the_numbers_of_each_stage() -> None:
    found = translation(CONV, layer("pool", 0.4, 0.3), layer("last", 0.3, 0.2))
    (axes,) = found.figures()["translation"].figure.axes
    assert [list(line.get_ydata()) for line in axes.get_lines()] == [
        [0.0, 0.4, 0.8],
        [0.0, 0.4, 0.8],
        [0.0, 0.3, 0.6],
        [0.0, 0.3, 0.6],
        [0.0, 0.2, 0.4],
    ]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["the image", "pool", "last"]


def test_of_many_stages_some_are_drawn() -> None:
    found = translation(*(layer(f"pool_{n}", 0.4, 0.3) for n in range(9)))
    (axes,) = found.figures()["translation"].figure.axes
    assert len(axes.get_lines()) == 1 + 2 * 3
    assert any("3 of 9 layers" in text.get_text() for text in axes.texts)


def test_the_picture_stands_alone_in_light_and_dark() -> None:
    found = translation(CONV, layer("pool", 0.4, 0.3))
    root = ElementTree.fromstring(found.svg())
    children = [child.tag.rpartition("}")[2] for child in root]
    assert children[:3] == ["title", "style", "rect"]
    assert "prefers-color-scheme: dark" in (root[1].text or "")
    assert headline(found) in (root[0].text or "")
    assert found.svg() == found.svg()
    assert found._repr_html_().count("data:image/svg+xml;base64,") == 1


def test_a_record_survives_json() -> None:
    unknown = layer("none", 0.4, 0.3).model_copy(update={"after": (0.0, None, None)})
    found = translation(CONV, layer("pool", 0.4, 0.3, moves=moves(0.5, 0.0)), unknown)
    assert TranslationSensitivity.from_json(found.to_json()) == found
    assert found.layers[2].factor() is None
    assert found.document().tables[0][1].rows[3][2:] == ("–", "–", "–", "–")
    assert found.svg()
