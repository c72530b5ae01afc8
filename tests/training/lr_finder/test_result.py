"""The document of a range test: suggestion, comparison, the line to set it, and the plot."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from cnnlab.training.lr_finder.curve import analyze_curve, geometric_rates, num_valid_steps
from cnnlab.training.lr_finder.result import LRRangeResult
from cnnlab.training.lr_finder.view import headline

RATES = geometric_rates(1e-6, 1.0, 121)


def answer(own: float = 1e-3, edge: float = 0.19, middle: float = 3e-3, **fields: object) -> LRRangeResult:
    """A curve that falls around `middle` and blows up at `edge`."""
    losses = [2.3 - 1.5 / (1 + (middle / rate) ** 2) if rate < edge else math.inf for rate in RATES]
    kept = num_valid_steps(losses)
    given = {
        "recipe": "tiny",
        "optimizer": "adam",
        "own": own,
        "groups": (1.0,),
        "planned": RATES,
        "rates": RATES[:kept],
        "losses": tuple(losses[:kept]),
        "images": 1234,
        "batch": 32,
        "seed": 7,
        "precision": "fp32 on cpu",
        "reading": analyze_curve(RATES, losses),
        "suggested": "adam(lr=0.003, weight_decay=0.01)",
    }
    return LRRangeResult(**{**given, **fields})


def rules(found: LRRangeResult) -> dict[str, tuple[str, str]]:
    """The rows of the table of rates, by name."""
    tables = dict(found.document().tables)
    return {name: (rate, rule) for name, rate, rule in tables["Rates"].rows}


def test_the_table_has_a_row_for_each_rate() -> None:
    rows = rules(answer())
    assert {name: rate for name, (rate, _) in rows.items()} == {
        "suggested": "0.0032",
        "steepest fall": "0.0032",
        "upper limit": "0.18",
        "the recipe's own": "0.001",
    }
    assert rows["suggested"][1].startswith("a tenth of the upper limit, or the steepest fall if that is lower")
    assert rules(answer(middle=0.05))["suggested"][0] == "0.018"


@pytest.mark.parametrize(
    ("own", "verdict"), [(0.181, "too high"), (0.18, "within"), (0.00032, "within"), (0.0003, "too low")]
)
def test_the_own_rate_is_compared(own: float, verdict: str) -> None:
    found = answer(own=own)
    assert found.verdict == verdict
    assert headline(found) == f"Suggested rate: 0.0032. The recipe's own rate, {own:g}, is {verdict}."


def test_where_the_loss_still_falls_at_the_last_rate_no_higher_one_is_too_high() -> None:
    found = answer(own=100.0, edge=math.inf, middle=RATES[-1])
    assert found.verdict is None
    assert headline(found).endswith("The recipe's own rate, 100, is above all that were tried.")
    assert rules(found)["upper limit"] == (f"{RATES[-1]:g}", "the last rate, at which the loss still fell")


def test_the_document_has_the_line_in_every_form() -> None:
    shown = answer(remarks=("The schedule did not act.",)).document()
    lines = [getattr(line, "text", line) for line in shown.lines]
    assert 'optimizer = "adam(lr=0.003, weight_decay=0.01)"' in lines
    assert "--set 'train.optimizer=adam(lr=0.003, weight_decay=0.01)'" in lines
    assert r"weight\_decay" in shown.to_latex()
    assert "| 0.0032 | 1.5105 |" in shown.to_markdown()
    assert shown.notes[0] == "The schedule did not act."
    assert shown.notes[1].startswith("106 of 121 steps from 1e-06 to 1: at 0.2 the running mean")
    assert shown.notes[-1].startswith("1,234 images of the training split, 32 per step, seed 7, fp32 on cpu.")
    assert "data:image/svg+xml" in answer()._repr_html_()


def test_the_curve_marks_both_rates_and_the_ends() -> None:
    *_, (_, table) = answer().document().tables
    assert (table.rows[0][0], table.rows[-1][0]) == ("1e-06", "0.18")
    assert {row[3]: row[0] for row in table.rows if row[3]} == {"steepest fall": "0.0032", "lowest": "0.18"}


def test_without_a_suggestion_it_says_what_to_do() -> None:
    found = answer(middle=1e9, suggested="")
    assert found.suggestion is found.verdict is None
    assert headline(found).startswith("No rate can be suggested: the loss did not fall clearly")
    assert "Next: take more steps" in headline(found)
    assert "optimizer" not in found.document().to_markdown()
    ElementTree.fromstring(found.svg())


@pytest.mark.parametrize("own", [1e-3, 0.9, 1e-9])
def test_the_picture_marks_the_rates_where_they_are(own: float) -> None:
    found = answer(own=own)
    root = ElementTree.fromstring(found.svg())
    texts = ["".join(element.itertext()) for element in root.iter() if element.tag.endswith("text")]
    beyond = ", beyond this axis" if own < RATES[0] else ""
    assert {f"the recipe's own, {own:g}{beyond}", "suggested, 0.0032", "upper limit, 0.18"} <= set(texts)
    assert "thin: each step, bold: smoothed; it blew up at 0.2" in texts
    assert found.svg() == found.svg()
