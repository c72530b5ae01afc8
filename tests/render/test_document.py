"""Sheets in HTML, Markdown and LaTeX, read back by parsers that are not ours."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cnnlab.render.document import Document, Formula
from cnnlab.render.tables import TextTable

NASTY = "a_b*c* `d` <e> &lt; f|g $h$ #i [j](k) ~~l~~ {m} \\n"
TABLE = TextTable.from_rows(
    ["name", "`layer", "#size"], [["conv1", "conv(8, 3)", "1,000"], ["    body", "a|b`c", "–"], ["sum", "", "1"]],
    total=True,
)  # fmt: skip
SHEET = Document(
    "An answer",
    lines=("Words first.", Formula("(32 − 5) / 1 + 1 = 28", r"\frac{32 - 5}{1} + 1 = 28")),
    tables=(("Sizes", TABLE),),
    notes=("A note.",),
)
# What a cell may hold; code cells hold calls and formulas, without backslashes and backticks.
CELLS = st.text("ab1 _*<>&|$#~[]{}()-+.!`\\×–", max_size=12).map(lambda text: " ".join(text.split()))
CODE = st.text("ab1 _*<>&|$#~[]{}()-+.!×", max_size=12).map(lambda text: " ".join(text.split()))


class Reader(HTMLParser):
    """The texts of a page, by the innermost element that they stand in."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, _attributes: object) -> None:
        if tag not in ("img", "br", "hr"):
            self.open.append(tag)
            self.found.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.found.append((self.open[-1] if self.open else "", data))

    def cells(self) -> list[list[str]]:
        """The texts of the rows of all tables, heads first."""
        rows: list[list[str]] = []
        for tag, text in self.found:
            if tag == "tr" and not text:
                rows.append([])
            elif tag in ("th", "td") and not text:
                rows[-1].append("")
            elif text and rows and rows[-1] and tag in ("th", "td", "code"):
                rows[-1][-1] += text
        return rows


def as_html(markdown: str) -> Reader:
    return Reader(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown))


@pytest.mark.parametrize(
    "read", [lambda document: as_html(document.to_markdown()), lambda document: Reader(document.to_html())]
)
@given(rows=st.lists(st.tuples(CELLS, CODE, CELLS), min_size=1, max_size=4))
def test_a_table_reads_back(read: Callable[[Document], Reader], rows: list[tuple[str, str, str]]) -> None:
    head, *body = read(Document("x", tables=(("", TextTable.from_rows(["name", "`layer", "#size"], rows)),))).cells()
    assert head == ["name", "layer", "size"]
    assert [tuple(row) for row in body] == rows


def test_markdown_has_everything_in_order() -> None:
    text = SHEET.to_markdown()
    parts = ["**An answer**", "Words first.", r"$$\frac{32 - 5}{1} + 1 = 28$$", "Sizes", "| name |", "A note."]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "|---|---|---:|" in text
    assert "| &emsp;body | `a\\|b'c` | – |" in text


def test_signs_of_markdown_are_words_in_a_text() -> None:
    shown = as_html(Document(NASTY, lines=(NASTY,), notes=(NASTY,)).to_markdown())
    texts = "".join(text for _, text in shown.found)
    assert texts.count(NASTY) == 3
    assert {tag for tag, _ in shown.found} <= {"p", "strong", ""}


def test_a_cell_with_a_line_break_is_one_row() -> None:
    table = TextTable.from_rows(["name", "`layer"], [["a\nb", "c\nd"]])
    assert as_html(Document("x", tables=(("", table),)).to_markdown()).cells() == [["name", "layer"], ["a b", "c d"]]


def test_html_escapes_what_it_is_given() -> None:
    evil = "<script>alert(1)</script>"
    table = TextTable.from_rows([evil, f"`{evil}"], [[evil, evil]])
    made = Document(evil, (evil, Formula(evil, "x")), ((evil, table),), (evil,)).to_html()
    assert "<script" not in made
    assert sum(text == evil for _, text in Reader(made).found) == 9


def test_html_shows_a_drawing_as_a_picture_of_its_own() -> None:
    drawing = '<svg xmlns="http://www.w3.org/2000/svg"/>'
    coded = re.search(r"data:image/svg\+xml;base64,([^\"]+)", SHEET.to_html(drawing))
    assert coded is not None
    assert base64.b64decode(coded[1]).decode() == drawing
    assert "<img" not in SHEET.to_html()
    assert "&emsp;body" in SHEET.to_html()


def test_latex_has_everything_in_order() -> None:
    text = SHEET.to_latex()
    parts = [
        r"\paragraph{An answer}", "Words first.", r"\[ \frac{32 - 5}{1} + 1 = 28 \]", r"\begin{tabular}{llr}",
        r"\toprule", r"name & layer & size \\", r"conv1 & \texttt{conv(8, 3)} & 1,000 \\",
        r"\quad{}body & \texttt{a\textbar{}b`c} & -- \\", "\\midrule\nsum &  & 1 \\\\", r"\bottomrule", "A note.",
    ]  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


@given(st.text("ab&%$#_{}\\~^<>|×·−–≤≥≈⌊⌋→…“”", max_size=30))
def test_latex_has_no_special_sign_that_is_not_meant(text: str) -> None:
    made = Document("x", notes=(text,)).to_latex().split("\n\n", 1)[1]
    assert made.isascii()
    # Commands, escaped signs and mathematics apart, only plain signs are left.
    rest = re.sub(r"\\[a-z]+\{\}|\\[&%$#_{}]|\$(?:\\[a-zA-Z]+|[<>-])\$", "", made)
    assert not set(rest) & set("&%$#_{}\\~^<>|")
    assert sum(sign in "ab" for sign in rest) == sum(sign in "ab" for sign in text)
