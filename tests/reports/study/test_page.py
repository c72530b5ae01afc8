"""The page of a study: whole, self-contained, and safe with whatever names it is given."""

import re
import subprocess
import sys

import pytest

from cnnlab.records import ClaimRecord
from cnnlab.reports.study.page import render_study

SWEEP = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
CLAIM = ClaimRecord(of="flips", name="test_accuracy", published=0.7, measured=0.7, n=5, verdict="reproduced")
WORD = ClaimRecord(
    of="flips", name="validation_accuracy", than="plain", published="better", measured=0.01, n=5, verdict="holds"
)
VARIANTS = {
    "arms": {},
    "two arms": {"effects": {"plain": 0.0, "flips": 0.01}},
    "one run each": {"runs": 1},
    "sweep": {"sweep": SWEEP},
    "few values": {"sweep": SWEEP[:2], "runs": 3},
    "25 arms": {"effects": {f"arm {number}": 0.001 * number for number in range(25)}, "runs": 5},
    "all failed": {"failed": dict.fromkeys(("plain", "flips", "dropout", "warm-up"), 10)},
    "values that all failed": {"sweep": SWEEP, "runs": 2, "failed": {f"{dose:g}": 2 for dose in SWEEP}},
    "in part": {"planned": 12, "failed": {"flips": 3}},
    "confirmed": {"confirm": 8, "claims": (CLAIM, WORD), "notes": ("Other code.",)},
    "a loss": {"metric": "validation_loss", "mean": 1.2},
    "no spread": {"sd": 0.0},
}
FAST = ("arms", "values that all failed", "confirmed")


@pytest.fixture
def page(read_page):
    """Reads the page of a study."""

    def make(result, toml='base = "lenet.toml"\n', command="cnnlab study augmentation.toml"):
        return read_page(render_study(result, study_toml=toml, command=command))

    return make


@pytest.mark.parametrize(
    "variant", [name if name in FAST else pytest.param(name, marks=pytest.mark.full) for name in VARIANTS]
)
def test_every_kind_of_study_has_a_whole_page_that_needs_nothing_else(make_study, page, variant):
    reader = page(make_study(**VARIANTS[variant]))
    reader.assert_whole()
    reader.assert_alone()


@pytest.mark.parametrize("sweep", [None, SWEEP[:3]], ids=["arms", "sweep"])
@pytest.mark.parametrize("chosen", ["all", *(pytest.param(number, marks=pytest.mark.full) for number in range(10))])
def test_hostile_names_stay_text(make_study, page, hostile, chosen, sweep):
    names = hostile if chosen == "all" else [hostile[chosen]]
    claims = [WORD.model_copy(update={"of": n, "than": n, "reason": n, "source": n, "shift": n}) for n in names]
    word = " ".join(names)
    words = {"question": word, "study": word, "data": word, "device": word, "notes": tuple(names)}
    effects = {"plain": 0.0, **dict.fromkeys(names, 0.01)}
    kind = {"sweep": sweep} if sweep else {"effects": effects, "confirm": 5, "failed": dict.fromkeys(names, 1)}
    result = make_study(**kind, **words, runs=5, claims=tuple(claims))
    if sweep:
        arms = tuple(arm.model_copy(update={"changes": {name: name for name in names}}) for arm in result.arms)
        result = result.model_copy(update={"arms": arms})
    reader = page(result, word, word)
    reader.assert_alone()
    assert not re.search(r"[\x00\x1b\ud800]", reader.text)
    for name in names:
        if name.startswith(("{", "$", "=")):
            assert reader.text.count(name) >= 5  # as it was written: nothing was put in its place
    longest = [text for text in reader.texts if len(max(text.split(), key=len, default="")) > 500]
    assert len(longest) <= 2  # the file and the command, as they are


def test_the_answer_stands_on_top_and_the_sections_follow_the_study(make_study, page):
    reader = page(make_study(**VARIANTS["confirmed"]))
    text = reader.text
    assert text.index("1 better") < text.index("smallest difference of interest") < text.index("All runs")
    for word in ("Confirmation on the test set", "Published claims", "Notes", "Learning curves"):
        assert word in text
    plain = page(make_study()).text
    for word in ("Confirmation on the test set", "Published claims", "Notes"):
        assert word not in plain
    assert "All runs of each value" in page(make_study(sweep=SWEEP)).text


@pytest.mark.full
def test_the_pictures_of_a_page(make_study, page):
    def pictures(result):
        return set(page(result).values("aria-labelledby"))

    assert pictures(make_study()) == {"seeds-title", "learning-title"}
    assert pictures(make_study(sweep=SWEEP)) == {"sweep-title", "learning-title"}


@pytest.mark.full
def test_sheets_need_no_matplotlib():
    sheets = "import sys, cnnlab.reports.study.view, cnnlab.reports.study.plan; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", sheets], check=True)
