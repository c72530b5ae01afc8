"""The page: whole, self-contained, and safe with whatever names it is given."""

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from cnnlab.probe.activity.feature_maps_records import Guess
from cnnlab.records import LoadedRecord, WarningRecord
from cnnlab.report import page
from cnnlab.spec.recipe import Recipe

VOID = {"meta", "br", "img", "link", "input", "hr"}
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
    "no convolution, no claims": {"filters": None, "activations": None, "claims": ()},
}
HOSTILE = (
    "</script><img onerror=alert(1)>",
    "{{7*7}}",
    '"><svg onload=alert(1)>',
    "$x_{",
    "=cmd()",
    "\u202eright to left",
    "🐱",
    "x" * 4096,
    "a\x00b\x1b\ud800",
    "{% include '/etc/passwd' %}",
)


class Reader(HTMLParser):
    """The tags, attributes and texts of a page; tags must close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] or "" for _, attributes in self.tags if attribute in attributes]


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_kind_of_run_has_a_whole_page(make_view, variant):
    reader = Reader(page.render(make_view(**variant)))
    ids = reader.values("id")
    assert len(ids) == len(set(ids))
    links = [link[1:] for link in reader.values("href") if link.startswith("#")]
    assert links
    assert set(links) <= set(ids)
    assert not re.search(r"\bnan\b|\binf\b|None\b", reader.text)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_a_page_needs_nothing_else(make_view, variant):
    html = page.render(make_view(**variant))
    reader = Reader(html)
    assert not {"script", "link", "iframe", "object", "embed", "img"} & {tag for tag, _ in reader.tags}
    assert all(link.startswith(("#", "data:image/png")) for link in (*reader.values("href"), *reader.values("src")))
    assert "url(http" not in html
    policy = [each for tag, each in reader.tags if tag == "meta" and "http-equiv" in each]
    assert [each["content"] for each in policy] == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_references_within_figures_are_found(make_view):
    html = page.render(make_view())
    ids = set(Reader(html).values("id"))
    references = set(re.findall(r"url\(#([^)]*)\)", html))
    assert references
    assert references <= ids


def test_the_parts_stand_in_their_order(make_view):
    headings = re.findall(
        r"<h[23][^>]*>(.*?)</h", page.render(make_view(layers=["conv(4, 5, stride=4)", "flatten", "dense(10)"]))
    )
    assert headings == [
        "How often this test set was opened",
        "Learning curves",
        "Final figures",
        "The network, layer by layer",
        "Worth a look",
        "First-layer weights, before and after",
        "Activations",
        "What is taken for what",
        "Class by class, on the test images",
        "Published against measured",
        "The recipe",
        "The data",
        "How it was made",
        "What the trial measured",
        "To make it again",
    ]


def test_what_another_person_needs_is_there(make_view):
    view = make_view()
    text = Reader(page.render(view)).text
    for needed in (
        "73.2 % of 10,000 test images of cifar10 right",
        "5·5·3·32 + 32",
        "opened 2 times, by 2 runs",
        view.data.split_hash,
        view.environment.code,
        'layers = [ "first: conv(32, 5, padding=2)"',
        "the fastest of a timed trial",
        f"cnnlab train {view.name}/recipe.toml --set train.precision=bf16 --set train.memory_format=channels_last",
        "A relative source is seen from the folder where the run was started: give the command there.",
    ):
        assert needed in text


def test_hostile_class_names_are_only_text(make_view):
    view = make_view(classes=HOSTILE)
    html = page.render(view)
    html.encode("utf-8")
    reader = Reader(html)
    assert not {"script", "img"} & {tag for tag, _ in reader.tags}
    assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]
    for shown in ("</script><img onerror=alert(1)>", "{{7*7}}", "$x_{", "🐱", "{% include '/etc/passwd' %}"):
        assert shown in reader.texts
    assert "49" not in [text.strip() for text in reader.texts]
    assert "x" * 100 not in html
    assert not {"\x00", "\x1b", "\ud800"} & set(html)


def test_hostile_names_elsewhere_are_only_text(make_view):
    nasty = HOSTILE[0] + HOSTILE[8]
    view = make_view()
    view = make_view(
        name=nasty,
        data=view.data.model_copy(update={"source": nasty}),
        way=view.way.model_copy(update={"reason": nasty, "tried": {nasty: 3.0}}),
        environment=view.environment.model_copy(update={"device": nasty}),
        openings=(view.openings[0].model_copy(update={"run": nasty, "purpose": nasty}),),
        claims=(view.claims[0].model_copy(update={"source": nasty, "note": nasty}),),
        filters=type(view.filters)(nasty, view.filters.before, view.filters.after),
        activations=replace(
            view.activations,
            image=nasty,
            label=nasty,
            guesses=(Guess(name=nasty, probability=0.5),),
            layers=(replace(view.activations.layers[0], name=nasty),),
        ),
    )
    html = page.render(view)
    html.encode("utf-8")
    assert not {"script", "img"} & {tag for tag, _ in Reader(html).tags}
    assert not {"\x00", "\x1b"} & set(html)


def test_activations_stand_with_the_image_and_what_is_seen(make_view):
    view = make_view()
    html = page.render(view)
    reader = Reader(html)
    assert "The network calls the image “cat” (0.71), “dog” (0.20). It is “cat”." in reader.text
    first, last = view.activations.layers
    for layer, shown in ((first, "16 of 32 maps"), (last, "16 of 128 maps")):
        assert f"“{layer.name}”, {layer.shape_text()}: {shown}, those of the largest standard deviation" in reader.text
        assert view.activations.seen(layer) in reader.text
    assert "2 maps (4, 90) of 128 are 0 everywhere" in reader.text
    # The image and at least ten maps in each figure, as pictures of their own size.
    for number in (0, 1):
        start = html.index(f'aria-labelledby="activations-{number}-title"')
        assert html[start : html.index("</svg>", start)].count("data:image/png") == 17
    without = page.render(make_view(activations=None))
    assert "#activations" not in Reader(without).values("href")
    assert len(html) - len(without) < 250_000


def test_the_same_run_gives_the_same_page(make_view):
    assert page.render(make_view()) == page.render(make_view())


def test_light_dark_print_and_narrow_are_provided_for(make_view):
    html = page.render(make_view())
    for rule in ("prefers-color-scheme: dark", "@media print", "max-width: 560px", "width=device-width"):
        assert rule in html


def test_the_report_loads_no_torch():
    code = "import sys, cnnlab.report.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_warnings_of_a_run_are_told_and_those_that_were_switched_off(make_view):
    view = make_view()
    found = (
        WarningRecord(name="leak", where="train, <b>test</b>", message="1 of 25 images", fix="take them out"),
        WarningRecord(name="very-large", message="too many weights"),
    )
    recipe = Recipe.from_tables({**view.recipe.to_tables(), "warnings": {"off": ["initial-loss", "learning-rate"]}})
    told = make_view(table=view.table.model_copy(update={"warnings": found}), recipe=recipe)
    reader = Reader(page.render(told))
    assert "leak train, <b>test</b> 1 of 25 images take them out very-large too many weights" in reader.text
    assert "Switched off by the recipe, and not looked for: initial-loss, learning-rate." in reader.text
    assert "#warnings" in reader.values("href")
    silent = Reader(page.render(make_view(table=view.table.model_copy(update={"warnings": ()}))))
    assert "#warnings" not in silent.values("href")
    assert "Switched off" not in silent.text


@pytest.mark.parametrize("mix", ["none", "mixup(0.4)"])
def test_the_train_points_of_mixed_images_are_told_as_such(make_view, mix):
    tables = make_view().recipe.to_tables()
    tables["train"]["mix"] = mix
    html = page.render(make_view(recipe=Recipe.from_tables(tables)))
    assert ("mixed with others and count as right by their own label" in html) == (mix != "none")


@pytest.mark.parametrize("loss", ["cross_entropy", "cross_entropy(smoothing=0.1)", "focal"])
def test_the_loss_of_train_points_is_named_where_it_is_not_that_of_the_others(make_view, loss):
    tables = make_view().recipe.to_tables()
    tables["train"]["loss"] = loss
    html = page.render(make_view(recipe=Recipe.from_tables(tables)))
    assert (f"and its loss is {loss}, which was trained by" in html) == (loss != "cross_entropy")


def test_a_page_without_a_backbone_says_nothing_of_a_beginning(make_view):
    html = page.render(make_view())
    assert "Where the network began" not in html
    assert 'href="#beginning"' not in html


def test_a_page_tells_what_a_backbone_began_with(make_view):
    view = make_view()
    model = {"backbone": "resnet18(weights='IMAGENET1K_V1')", "trainable": "none"}
    recipe = Recipe.from_tables({"data": {"source": "cifar10"}, "model": model})
    first, *rest = (row.model_copy(update={"name": f"backbone.{row.name}"}) for row in view.table.layers)
    first = first.model_copy(update={"frozen": True})
    trainable = view.table.parameters - first.parameters
    table = view.table.model_copy(update={"layers": (first, *rest), "trainable": trainable})
    loaded = LoadedRecord(
        source="IMAGENET1K_V1 of torchvision's resnet18", file="/home/me/w<b>.pth", sha256="ab" * 32, published=False,
        loaded=120, missing=("<i>",),
    )  # fmt: skip
    html = page.render(make_view(recipe=recipe, table=table, loaded=loaded))
    told = " ".join(Reader(html).texts)
    assert 'href="#beginning"' in html
    for words in (
        "Where the network began", "120 loaded; 1 missing in the file, which began at random (<i>)",
        f"w<b>.pth, SHA-256 {'ab' * 32}, not the published file", "frozen", f"of {view.table.parameters:,} parameters",
    ):  # fmt: skip
        assert words in told, words
    assert "/home/me" not in html


def test_filters_that_were_loaded_say_so_whatever_is_left_of_them(make_view, make_filters):
    filters = make_filters()
    loaded = replace(filters, loaded="W of resnet18")
    both = page.render(make_view(filters=loaded))
    assert "before training: as loaded" in both
    assert "They were loaded: W of resnet18." in both
    assert "Training moved them by" in both
    lost = page.render(make_view(filters=replace(loaded, before=None)))
    assert "What they began as can&#39;t be had any more." in lost
    assert "filters-before" not in lost
    assert "First-layer weights<" in lost
    still = page.render(make_view(filters=replace(loaded, before=filters.after, frozen=True)))
    assert "They are frozen, and the same before and after training." in still
    assert "filters-before" not in still
