"""Networks under shifts as tables and figures, from the records alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnnlab.config.corruptions import read_corruptions
from cnnlab.render.plots import to_png, to_svg
from cnnlab.reports.robustness.view import method_note
from cnnlab.runs.robustness.compute import ShiftedRun, shifted_group
from cnnlab.runs.robustness.result import ShiftedGroup, ShiftResult
from cnnlab.stats.comparison import DecisionRules
from cnnlab.stats.paired import PairedEffect


def group(verdicts: dict[str, tuple[float, str]], runs: int = 5, name: str = "net") -> ShiftedGroup:
    """A group with a row for each call: its accuracy and its verdict; 0.7 on the images as they are."""
    shifts = read_corruptions(list(verdicts))
    rows = []
    for shift, (accuracy, verdict) in zip(shifts, verdicts.values(), strict=True):
        effect = PairedEffect(
            n=runs, difference=accuracy - 0.7, low=accuracy - 0.71, high=accuracy - 0.69, verdict=verdict
        )
        rows.append(
            {
                "shift": shift.name,
                "strength": shift.strength,
                "unchanged": shift.identity_strength,
                "title": shift.title,
                "call": str(shift.as_call()),
                "accuracy": accuracy,
                "low": accuracy - 0.01,
                "high": accuracy + 0.01,
                "values": (accuracy,) * runs,
                "effect": effect,
            }
        )
    names = tuple(f"run{number}" for number in range(runs))
    whole: dict[str, Any] = {"name": name, "runs": names, "accuracy": 0.7, "low": 0.69, "high": 0.71}
    return ShiftedGroup(**whole, values=(0.7,) * runs, rows=tuple(rows))


EQUAL, WORSE, OPEN = "practically equal", "worse", "undecided"


def verdicts(found: ShiftedGroup) -> tuple[str, ...]:
    """The row of a group in the table of verdicts, without its name."""
    return shifted((found,)).document().tables[0][1].rows[0][1:]


@pytest.mark.parametrize(
    ("found", "row"),
    [
        ({"invert": (0.3, WORSE)}, ("0.7000", "0", "0", "1", "0", "invert (−40.0 points)")),
        ({"invert": (0.7, EQUAL)}, ("0.7000", "1", "0", "0", "0", "–")),
        (
            {"blur(3)": (0.4, WORSE), "invert": (0.9, "better"), "blur(2)": (0.5, OPEN)},
            ("0.7000", "0", "1", "1", "1", "blur 3 px (−30.0 points)"),
        ),
    ],
)
def test_verdicts_are_counted(found: dict[str, tuple[float, str]], row: tuple[str, ...]) -> None:
    assert verdicts(group(found)) == row


def test_few_networks_have_no_verdicts_and_chance_is_marked() -> None:
    few = group({"invert": (0.3, "no verdict")}, runs=3)
    assert verdicts(few) == ("0.7000", "–", "–", "–", "–", "invert (−40.0 points)")
    chance = group({"invert": (0.1, EQUAL)}).model_copy(update={"accuracy": 0.11, "low": 0.09})
    assert verdicts(chance)[0] == "0.1100 (chance)"


def test_the_note_names_the_rule() -> None:
    one, several = group({"invert": (0.3, WORSE)}, runs=1), group({"invert": (0.3, WORSE)})
    assert "(Holm)" in method_note(shifted((one, several)))
    many = group({f"brightness({number / 10})": (0.3, WORSE) for number in range(21)})
    assert "false discovery rate of 5 %" in method_note(shifted((many,)))


def shifted(groups: tuple[ShiftedGroup, ...]) -> ShiftResult:
    return ShiftResult(split="test", images=100, chance=0.1, seed=0, delta=0.01, alpha=0.05, groups=groups)


@pytest.mark.full
@pytest.mark.parametrize(
    "name",
    ["</text><script>", *(pytest.param(name, marks=pytest.mark.full) for name in ("$x_{", "שלום", "a" * 300))],
)
def test_pictures_hold_hostile_names_and_every_number_of_groups(name: str) -> None:
    calls = {"jpeg(5)": (0.3, WORSE), "jpeg(50)": (0.6, WORSE), "invert": (0.2, WORSE), "greyscale": (0.7, EQUAL)}
    example = np.zeros((5, 1, 8, 8), np.uint8)
    for count in (1, 2, 7):
        answer = shifted(tuple(group(calls, name=f"{name}{n}") for n in range(count)))
        answer = answer.model_copy(update={"example": example})
        for plate in answer.figures().values():
            assert to_png(plate.figure).startswith(b"\x89PNG")
            assert "<script" not in to_svg(plate.figure, "x", plate.description, standalone=True)


def test_the_image_as_it_is_has_its_place_between_weaker_and_stronger() -> None:
    found = shifted((group({"contrast(0.5)": (0.5, WORSE), "contrast(1.5)": (0.6, WORSE)}),))
    (axes,) = found.figures()["curves"].figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.5", "1", "1.5"]
    assert [0.5, 0.7, 0.6] in [list(line.get_ydata()) for line in axes.lines]


def test_results_with_an_image_can_be_compared() -> None:
    found = shifted((group({"invert": (0.3, WORSE)}),))
    pictured = found.model_copy(update={"example": np.zeros((2, 3, 8, 8), np.uint8)})
    assert found == pictured == pictured.model_copy()
    assert found != shifted((group({"invert": (0.4, WORSE)}),))


def test_a_group_is_its_runs_means_and_their_spread() -> None:
    drawn = np.random.default_rng(0)
    shifts = read_corruptions(["invert", "greyscale"], 8, 8, 3)
    runs = []
    for number in range(6):
        right = drawn.random((3, 500)) < np.array([0.8, 0.3, 0.8])[:, None]
        labels, example = np.zeros(500, np.int64), np.zeros((3, 3, 8, 8), np.uint8)
        runs.append(ShiftedRun(f"r{number}", shifts, right, labels, example, 10))
    found = shifted_group("net", runs, DecisionRules(0.05))
    values = [float(run.correct[1].mean()) for run in runs]
    assert found.rows[0].values == tuple(values)
    assert found.rows[0].accuracy == pytest.approx(np.mean(values))
    half = 2.5705818 * np.std(values, ddof=1) / np.sqrt(6)  # Student's t at 97.5 %, 5 degrees of freedom
    assert (found.rows[0].low, found.rows[0].high) == (
        pytest.approx(np.mean(values) - half),
        pytest.approx(np.mean(values) + half),
    )
    assert found.rows[0].effect.verdict == "worse"
