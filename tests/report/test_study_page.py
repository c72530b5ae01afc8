"""The page of a study: whole, self-contained, and safe with whatever names it is given."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from cnnlab.records import ClaimRecord
from cnnlab.report.study_page import render_study
from cnnlab.study.results import ArmClaim, SayingRecord

VOID = {"meta", "br", "img", "link", "input", "hr"}
DOSES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
CLAIM = ArmClaim(
    arm="flips", claim=ClaimRecord(name="test_accuracy", published=0.7, measured=0.7, n=5, verdict="reproduced")
)
SAYING = SayingRecord(arm="flips", than="plain", published="better", answer="holds", reason="by 1 point")
VARIANTS = {
    "arms": {},
    "two arms": {"effects": {"plain": 0.0, "flips": 0.01}},
    "one run each": {"runs": 1},
    "doses": {"doses": DOSES},
    "few doses": {"doses": DOSES[:2], "runs": 3},
    "25 arms": {"effects": {f"arm {number}": 0.001 * number for number in range(25)}, "runs": 5},
    "all failed": {"failed": dict.fromkeys(("plain", "flips", "dropout", "warm-up"), 10)},
    "doses that all failed": {"doses": DOSES, "runs": 2, "failed": {f"{dose:g}": 2 for dose in DOSES}},
    "in part": {"planned": 12, "failed": {"flips": 3}},
    "confirmed": {"confirm": 8, "claims": (CLAIM,), "sayings": (SAYING,), "notes": ("Other code.",)},
    "a loss": {"metric": "validation_loss", "mean": 1.2},
    "no spread": {"sd": 0.0},
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

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
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
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def values(self, attribute):
        return [attributes[attribute] or "" for _, attributes in self.tags if attribute in attributes]


def page(result, toml='base = "lenet.toml"\n', command="cnnlab study augmentation.toml"):
    return Reader(render_study(result, study_toml=toml, command=command))


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_kind_of_study_has_a_whole_page(make_study, variant):
    reader = page(make_study(**variant))
    ids = reader.values("id")
    assert len(ids) == len(set(ids))
    links = [link[1:] for link in reader.values("href") if link.startswith("#")]
    assert links
    assert set(links) <= set(ids)
    assert "None" not in reader.text
    assert not re.search(r"\bnan\b", reader.text)


@pytest.mark.parametrize("variant", ["arms", "doses", "confirmed"])
def test_a_page_loads_nothing_and_runs_nothing(make_study, variant):
    html = render_study(make_study(**VARIANTS[variant]), study_toml="", command="")
    reader = Reader(html)
    assert "script" not in {tag for tag, _ in reader.tags}
    assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]
    assert all(value.startswith("#") for name in ("href", "src") for value in reader.values(name))
    assert "url(http" not in html
    assert "@import" not in html
    assert any("default-src 'none'" in value for value in reader.values("content"))


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("doses", [None, DOSES[:3]])
def test_hostile_names_stay_text(make_study, name, doses):
    says = SAYING.model_copy(update={"arm": name, "than": name, "reason": name, "source": name})
    claim = CLAIM.model_copy(update={"arm": name})
    words = {"question": name, "study": name, "data": name, "device": name, "notes": (name,)}
    kind = {"doses": doses} if doses else {"effects": {"plain": 0.0, name: 0.01}, "confirm": 5}
    result = make_study(**kind, **words, runs=5, failed={name: 1}, claims=(claim,), sayings=(says,))
    if doses:
        arms = tuple(arm.model_copy(update={"changes": {name: name}}) for arm in result.arms)
        result = result.model_copy(update={"arms": arms})
    reader = page(result, name, name)
    assert not {tag for tag, _ in reader.tags} & {"script", "img", "iframe"}
    assert not [attribute for _, attributes in reader.tags for attribute in attributes if attribute.startswith("on")]
    assert not re.search(r"[\x00\x1b\ud800]", reader.text)
    if name.startswith(("{", "$", "=")):
        assert reader.text.count(name) >= 5  # as it was written: nothing was put in its place
    longest = [text for text in reader.texts if len(max(text.split(), key=len, default="")) > 500]
    assert len(longest) <= 2  # the file and the command, as they are


def test_the_answer_stands_on_top_and_the_sections_follow_the_study(make_study):
    reader = page(make_study(**VARIANTS["confirmed"]))
    text = reader.text
    assert text.index("is better than") < text.index("smallest difference of interest") < text.index("Every run")
    for word in ("Confirmed on the test set", "Published, and what this study answers", "Notes", "Learning curves"):
        assert word in text
    plain = page(make_study()).text
    for word in ("Confirmed on the test set", "Published, and what", "Notes"):
        assert word not in plain
    assert "Every run at every dose" in page(make_study(doses=DOSES)).text


def test_it_says_how_to_repeat_the_study(make_study):
    text = page(make_study(), 'base = "a & b"\nseeds = 10\n', "cnnlab study 'my study.toml'").text
    assert text.count('base = "a & b" seeds = 10') == 1
    assert "cnnlab study 'my study.toml'" in text


def test_two_arms_share_a_picture_and_more_have_two(make_study):
    def pictures(result):
        return set(page(result).values("aria-labelledby"))

    assert pictures(make_study({"plain": 0.0, "flips": 0.01})) == {"seeds-title", "learning-title"}
    assert pictures(make_study()) == {"seeds-title", "forest-title", "learning-title"}
    assert pictures(make_study(doses=DOSES)) == {"doses-title", "learning-title"}


def test_the_page_of_one_study_is_always_the_same(make_study):
    first, second = (render_study(make_study(), study_toml="", command="") for _ in range(2))
    assert first == second


def test_no_torch_is_needed():
    code = "import sys, cnnlab.report.study_page, cnnlab.report.plan_tables, cnnlab.study.planning\n"
    code += "import cnnlab.report.study_overlay; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    sheets = "import sys, cnnlab.report.study_tables, cnnlab.report.plan_tables; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", sheets], check=True)
