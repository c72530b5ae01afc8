"""The page: whole, self-contained, and safe with whatever names it is given."""

import re

import pytest

from cnnlab.config.recipe import Recipe
from cnnlab.interpret.activations.result import TopPrediction
from cnnlab.interpret.activations.view import layer_headline
from cnnlab.records import WarningRecord, WeightLoadReport
from cnnlab.render.formatting import format_shape
from cnnlab.reports.run import page

VARIANTS = {
    "a curve for each part": {},
    "a final test figure": {"curve_parts": ("validation",)},
    "a sealed test set": {"parts": ("train", "validation"), "curve_parts": ("validation",)},
    "no validation part": {"parts": ("train", "test"), "curve_parts": ()},
    "half epochs": {"points": 13, "steps": 0.5},
    "one epoch": {"points": 1},
    "diverged": {"points": 3, "broken_from": 2.5},
    "diverged at once": {"points": 1, "broken_from": 0, "epochs": ()},
    "forty classes": {"classes": tuple(f"person {number}" for number in range(40))},
    "no convolution, no claims": {"weights": None, "activations": None, "claims": ()},
}
FAST = ("no validation part", "diverged at once")


@pytest.fixture(scope="module")
def html(make_view):
    """The page of the usual run."""
    return page.render_run(make_view())


@pytest.mark.parametrize(
    "variant", [name if name in FAST else pytest.param(name, marks=pytest.mark.full) for name in VARIANTS]
)
def test_every_kind_of_run_has_a_whole_page_that_needs_nothing_else(make_view, read_page, variant):
    rendered = page.render_run(make_view(**VARIANTS[variant]))
    reader = read_page(rendered)
    reader.assert_whole()
    reader.assert_alone()
    assert "url(http" not in rendered


def test_references_within_figures_are_found(html, read_page):
    references = set(re.findall(r"url\(#([^)]*)\)", html))
    assert references
    assert references <= set(read_page(html).values("id"))


def test_the_parts_stand_in_their_order(make_view):
    headings = re.findall(
        r"<h[23][^>]*>(.*?)</h", page.render_run(make_view(layers=["conv(4, 5, stride=4)", "flatten", "dense(10)"]))
    )
    assert headings == [
        "How often this test set was opened",
        "Learning curves",
        "Final figures",
        "The network, layer by layer",
        "Warnings",
        "First-layer weights",
        "Activations",
        "Mistakes",
        "Class by class, on the test images",
        "Published against measured",
        "The recipe",
        "The data",
        "Provenance",
        "Speed of each precision",
        "Repeat",
    ]


def test_what_another_person_needs_is_there(make_view, html, read_page):
    view, text = make_view(), read_page(html).text
    for needed in (
        "73.2 % of 10,000 test images of cifar10 right",
        "5·5·3·32 + 32",
        "opened 2 times, by 2 runs",
        view.data.split_hash,
        view.environment.code,
        view.precision_config.reason,
        'layers = [ "first: conv(32, 5, padding=2)"',
        f"cnnlab train {view.name}/recipe.toml --set train.precision=bf16 --set train.memory_format=channels_last",
    ):
        assert needed in text
    assert 'id="beginning"' not in html


def test_hostile_names_are_only_text(make_view, make_weights, read_page, hostile):
    nasty = hostile[0] + hostile[8]
    view = make_view()
    rendered = page.render_run(
        make_view(
            classes=hostile,
            name=nasty,
            data=view.data.model_copy(update={"source": nasty, "classes": hostile}),
            precision_config=view.precision_config.model_copy(update={"reason": nasty, "tried": {nasty: 3.0}}),
            environment=view.environment.model_copy(update={"device": nasty}),
            openings=(view.openings[0].model_copy(update={"run": nasty, "purpose": nasty}),),
            claims=(view.claims[0].model_copy(update={"source": nasty, "note": nasty}),),
            weights=make_weights(layer=nasty),
            activations=view.activations.model_copy(
                update={
                    "image": nasty,
                    "label": nasty,
                    "guesses": (TopPrediction(name=nasty, probability=0.5),),
                    "layers": (view.activations.layers[0].model_copy(update={"name": nasty}),),
                }
            ),
        )
    )
    rendered.encode("utf-8")
    reader = read_page(rendered)
    reader.assert_alone()
    for shown in (*hostile[:2], "$x_{", "🐱", hostile[9]):
        assert shown in reader.texts
    assert "49" not in [text.strip() for text in reader.texts]
    assert "x" * 100 not in rendered
    assert not {"\x00", "\x1b", "\ud800"} & set(rendered)


def test_activations_stand_with_the_image_and_what_is_seen(make_view, html, read_page):
    view, text = make_view(), read_page(html).text
    assert "Predicted: “cat” (0.71), “dog” (0.20); true class: “cat”." in text
    for layer, shown in zip(view.activations.layers, ("16 of 32 maps", "16 of 128 maps"), strict=True):
        assert f"“{layer.name}”, {format_shape(layer.batch_shape)}: {shown}" in text
        assert layer_headline(layer) in text
    # The image and at least ten maps in each figure, as pictures of their own size.
    for number in (0, 1):
        start = html.index(f'aria-labelledby="activations-{number}-title"')
        assert html[start : html.index("</svg>", start)].count("data:image/png") == 17


@pytest.mark.full
def test_the_same_run_gives_the_same_page(make_view, html):
    assert page.render_run(make_view()) == html


def test_light_dark_print_and_narrow_are_provided_for(html):
    for rule in ("prefers-color-scheme: dark", "@media print", "max-width: 560px", "width=device-width"):
        assert rule in html


def test_the_warnings_of_a_run_are_told_and_those_that_were_switched_off(make_view, html, read_page):
    view = make_view()
    found = (
        WarningRecord(name="leak", where="train, <b>test</b>", message="1 of 25 images", fix="take them out"),
        WarningRecord(name="very-large", message="too many weights"),
    )
    recipe = Recipe.from_tables({**view.recipe.to_tables(), "warnings": {"off": ["initial-loss", "learning-rate"]}})
    told = make_view(table=view.table.model_copy(update={"warnings": found}), recipe=recipe)
    reader = read_page(page.render_run(told))
    assert "leak train, <b>test</b> 1 of 25 images take them out very-large too many weights" in reader.text
    assert "Switched off by the recipe, and not looked for: initial-loss, learning-rate." in reader.text
    assert "#warnings" in reader.values("href")
    assert "Switched off" not in html


@pytest.mark.full
def test_how_a_train_point_differs_from_the_others_is_told(make_view, html):
    tables = make_view().recipe.to_tables()
    tables["train"] |= {"mix": "mixup(0.4)", "loss": "cross_entropy(smoothing=0.1)"}
    other = page.render_run(make_view(recipe=Recipe.from_tables(tables)))
    for words in ("mixed with others", "its loss is the training loss, cross_entropy(smoothing=0.1)"):
        assert words in other
        assert words.partition("(")[0] not in html


def test_a_page_tells_what_a_backbone_began_with(make_view, read_page):
    view = make_view()
    model = {"backbone": "resnet18(weights='IMAGENET1K_V1')", "trainable": "none"}
    recipe = Recipe.from_tables({"data": {"source": "cifar10"}, "model": model})
    first, *rest = (
        row.model_copy(
            update={"name": f"backbone.{row.name}", "inputs": tuple(f"backbone.{name}" for name in row.inputs)}
        )
        for row in view.table.layers
    )
    first = first.model_copy(update={"frozen": True})
    trainable = view.table.parameters - first.parameters
    table = view.table.model_copy(update={"layers": (first, *rest), "trainable": trainable})
    loaded = WeightLoadReport(
        source="IMAGENET1K_V1 of torchvision's resnet18", file="/home/me/w<b>.pth", sha256="ab" * 32, published=False,
        loaded=120, missing=("<i>",),
    )  # fmt: skip
    html = page.render_run(make_view(recipe=recipe, table=table, loaded=loaded))
    told = " ".join(read_page(html).texts)
    assert 'href="#beginning"' in html
    for words in (
        "Initial weights", "120 loaded; 1 missing in the file, random at first (<i>)",
        f"w<b>.pth, SHA-256 {'ab' * 32}, not the published file", "frozen", f"of {view.table.parameters:,} parameters",
    ):  # fmt: skip
        assert words in told, words
    assert "/home/me" not in html


def test_the_first_filters_before_and_after_training(make_view, make_weights):
    def section(**fields):
        html = page.render_run(make_view(weights=make_weights(**fields)))
        return html[html.index('<section id="weights">') :].partition("</section>")[0]

    loaded = section(loaded="W of resnet18")
    assert loaded.count("data:image/png") == 64
    assert "before training" in loaded
    assert "Median change" in loaded
    assert "Initial weights: not verified" in loaded
    lost = section(before=None, reason="the file has changed")
    assert lost.count("data:image/png") == 32
    assert "before training" not in lost
    assert "Initial weights: not available: the file has changed." in lost
