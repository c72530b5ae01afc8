"""The page on which the window moves: what it holds, that it needs nothing else, and that its script runs."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cnnlab.errors import UsageError
from cnnlab.theory.convolution_by_hand.page import step_number
from cnnlab.theory.convolution_by_hand.result import Convolution, convolve

IMAGE = [[2, 1, 2, 3, 1], [3, 9, 1, 1, 4], [4, 5, 0, 7, 0]]
KERNEL = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
OTHER = [[1, 2, 3, 4, 5], [-1, 0, 1, 0, -2], [7, 8, 9, 7, 8]]
FOUND = convolve(IMAGE, KERNEL, padding=1)
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


class Page(HTMLParser):
    """The tables' cells by class, the scripts, and every attribute of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[list[str]]]] = {}
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.open: list[str] = []
        self.kind = ""
        self.seen: set[tuple[int, int, int]] = set()
        self.feed(text)
        assert not self.open, "a tag is left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in ("meta", "input"):
            self.open.append(tag)
        if tag == "table":
            self.kind = (dict(attrs)["class"] or "").removeprefix("grid ")
            self.tables.setdefault(self.kind, []).append([])
        elif tag == "tr":
            self.tables[self.kind][-1].append([])
        elif tag == "td":
            self.tables[self.kind][-1][-1].append("")
            if "seen" in (dict(attrs).get("class") or "").split():
                rows = [row for row in self.tables[self.kind][-1] if row]
                self.seen.add((len(self.tables[self.kind]) - 1, len(rows) - 1, len(rows[-1]) - 1))
        elif tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "td":
            self.tables[self.kind][-1][-1][-1] += data
        elif self.open and self.open[-1] == "script":
            attributes, text = self.scripts.pop()
            self.scripts.append((attributes, text + data))

    def table(self, kind: str, number: int = 0) -> list[list[str]]:
        return [row for row in self.tables[kind][number] if row]


def _texts(values: list[list[int | float]]) -> list[list[str]]:
    return [[str(value) for value in row] for row in values]


def test_the_first_step_and_the_whole_output_are_there_without_a_script() -> None:
    page = Page(FOUND.page())
    padded = [[0] * 7, *([0, *row, 0] for row in IMAGE), [0] * 7]
    assert page.table("image") == _texts(padded)
    assert page.seen == {(0, row, column) for row in range(3) for column in range(3)}
    assert page.table("used") == _texts([row[::-1] for row in KERNEL[::-1]])
    assert page.table("written") == _texts(KERNEL)
    assert page.table("output") == _texts(FOUND.output)
    products = [str(product.product) for product in FOUND.step_at(0, 0).products]
    assert [cell for row in page.table("products") for cell in row] == products
    assert all(step.text in FOUND.page() for step in FOUND.steps)


def test_the_data_of_the_script_are_the_records() -> None:
    found = convolve([IMAGE, OTHER], [[KERNEL] * 2] * 3, bias=[0.5, -1, 0], stride=(1, 2), padding=1, flip=False)
    page = Page(found.page())
    data = json.loads(next(text for attributes, text in page.scripts if attributes.get("type") == "application/json"))
    assert [step["text"] for step in data["steps"]] == [step.text for step in found.steps]
    assert [[float(text) for text in step["products"]] for step in data["steps"]] == [
        [product.product for product in step.products] for step in found.steps
    ]
    places = [(step["kernel"], step["row"], step["column"]) for step in data["steps"]]
    assert places == [(step.kernel, step.row, step.column) for step in found.steps]
    assert [step_number(found, step) for step in found.steps] == list(range(1, len(places) + 1))
    assert (data["stride"], data["kernel"], data["channels"]) == ([1, 2], [3, 3], 2)
    products = [cell for number in (0, 1) for row in page.table("products", number) for cell in row]
    assert products == data["steps"][0]["products"]
    assert "written" not in page.tables  # nothing is flipped, so there is nothing to compare with
    assert len(page.tables["output"]) == 3


def test_only_this_script_may_run_and_nothing_is_loaded() -> None:
    text = FOUND.page()
    page = Page(text)
    script = next(text for attributes, text in page.scripts if "type" not in attributes)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(
        value for tag, name, value in page.attributes if (tag, name) == ("meta", "content") and "src" in value
    )
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    assert not [value for _, name, value in page.attributes if name in ("src", "href") or name.startswith("on")]
    assert not re.search(r"https?://|url\(|@import", text)
    assert not re.search(r"innerHTML|eval\(|document\.write", script)


def test_too_large_a_page_is_refused() -> None:
    with pytest.raises(UsageError, match=r"too large for a page(.|\n)*90,000 products(.|\n)*up to 50,000"):
        convolve([[1] * 102] * 102, [[1] * 3] * 3).page()
    with pytest.raises(UsageError, match=r"pixels and output elements"):
        convolve([[1] * 200] * 200, [[1]], stride=10).page()


@pytest.mark.full
@pytest.mark.skipif(BROWSER is None, reason="there is no browser")
@pytest.mark.parametrize(
    ("found", "number"),
    [
        (FOUND, 7),
        (convolve([IMAGE, OTHER], [[KERNEL] * 2, [KERNEL[::-1]] * 2], padding=2, stride=(2, 1), dilation=2), 8),
    ],
    ids=["T1", "several"],
)
def test_the_page_opens_at_a_step(found: Convolution, number: int, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(found.page(), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [str(BROWSER), *options, f"{file.as_uri()}#step={number}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    step = found.steps[number - 1]
    assert f"step {number} of {len(found.steps)}" in done.stdout
    assert f'<span id="text">{step.text}</span>' in done.stdout
    (top, _), (left, _) = found.setup.margins
    seen = {(product.channel, product.row + top, product.column + left) for product in step.products}
    page = Page(done.stdout)
    assert page.seen == seen
    assert [cell for table in page.tables["products"] for row in table for cell in row] == [
        str(product.product) for product in step.products
    ]
    assert len(re.findall(r'class="now"', done.stdout)) == 1
    assert len(re.findall(r'class="later"', done.stdout)) == len(found.steps) - number
