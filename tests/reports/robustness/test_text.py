"""What is said of networks under shifts, from the figures alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnnlab.config.corruptions import read_corruptions
from cnnlab.render.plots import to_png, to_svg
from cnnlab.reports.robustness.text import invariance_summary, scope_text
from cnnlab.reports.robustness.view import ShiftView
from cnnlab.runs.robustness.result import ShiftedGroup, ShiftedRun, ShiftResult, shifted_group
from cnnlab.stats.comparison import DecisionRules
from cnnlab.stats.paired import PairedEffect


def group(verdicts: dict[str, tuple[float, str]], runs: int = 5, name: str = "net") -> ShiftedGroup:
    """A group with a row for each call: its accuracy and its verdict; 0.7 on the images as they are."""
    shifts = read_corruptions(list(verdicts), 32, 32, 3)
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


def said(found: ShiftedGroup) -> str:
    return invariance_summary(found, shifted((found,)))


EQUAL, WORSE, OPEN = "practically equal", "worse", "undecided"


def test_what_is_said_of_networks_under_shifts(golden: Callable[..., None]) -> None:
    chance = group({"invert": (0.1, EQUAL)}).model_copy(update={"accuracy": 0.11, "low": 0.09})
    found = {
        "nothing kept": group({"invert": (0.3, WORSE)}),
        "nothing lost": group({"invert": (0.7, EQUAL)}),
        "a network at chance": chance,
        "a gain, and a kind that is named once": group(
            {"blur(3)": (0.4, WORSE), "invert": (0.9, "better"), "blur(2)": (0.5, WORSE)}
        ),
        "a gain of few networks": group({"invert": (0.9, "no verdict")}, runs=3),
        "few networks": group({"invert": (0.3, "no verdict"), "blur(1)": (0.6, "no verdict")}, runs=3),
        "one network": group({"invert": (0.3, WORSE)}, runs=1),
        "a screening": group({f"brightness({number / 10})": (0.3, WORSE) for number in range(21)}),
    }
    sections = [(name, [said(one), scope_text(shifted((one,)))]) for name, one in found.items()]
    both = shifted((found["one network"], found["nothing kept"]))
    golden("shifts", [*sections, ("one network and several", [scope_text(both)])])


def test_a_summary_names_the_strengths_up_to_which_nothing_changes() -> None:
    found = said(
        group(
            {
                "brightness(0.25)": (0.2, WORSE),
                "brightness(0.5)": (0.698, EQUAL),
                "brightness(0.75)": (0.7, EQUAL),
                "brightness(1.5)": (0.7, EQUAL),
                "brightness(2)": (0.6, WORSE),
                "rotation(5)": (0.7, EQUAL),
                "rotation(10)": (0.69, OPEN),
                "rotation(20)": (0.7, EQUAL),  # beyond one that is not shown to be equal
                "jpeg(80)": (0.7, EQUAL),
                "jpeg(10)": (0.5, WORSE),
                "blur(1)": (0.69, OPEN),
                "greyscale": (0.7, EQUAL),
                "invert": (0.3, WORSE),
            }
        )
    )
    assert found == (
        "net (0.7000 on the images as they are) is shown to keep its accuracy ±1 point under brightness ×0.5 to ×1.5, "
        "rotation up to 5°, jpeg down to 80 and greyscale; it loses most under brightness ×0.25 (−50.0 points), invert "
        "(−40.0 points) and jpeg 10 (−20.0 points); 2 of 13 are undecided."
    )


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
        answer = ShiftView(shifted(tuple(group(calls, name=f"{name}{n}") for n in range(count))), example)
        for plate in answer.figures().values():
            assert to_png(plate.figure).startswith(b"\x89PNG")
            assert "<script" not in to_svg(plate.figure, "x", plate.description, standalone=True)


def test_two_draws_of_one_kind_keep_their_own_figures() -> None:
    calls = {
        "drawn([brightness(0.5), contrast(0.5)])": (0.2, WORSE),
        "drawn([brightness(0.1), contrast(0.1)])": (0.6, WORSE),
    }
    found = shifted((group(calls),))
    assert [row.title for row in found.groups[0].rows] == [
        "drawn brightness, contrast 0.5, 0.5",
        "drawn brightness, contrast 0.1, 0.1",
    ]
    (axes,) = ShiftView(found).figures()["curves"].figure.axes
    drawn = sorted(float(line.get_ydata()[0]) for line in axes.lines if len(line.get_ydata()) == 1)
    assert drawn == [0.2, 0.6]


def test_the_image_as_it_is_has_its_place_between_weaker_and_stronger() -> None:
    found = shifted((group({"contrast(0.5)": (0.5, WORSE), "contrast(1.5)": (0.6, WORSE)}),))
    (axes,) = ShiftView(found).figures()["curves"].figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.5", "1", "1.5"]
    assert [0.5, 0.7, 0.6] in [list(line.get_ydata()) for line in axes.lines]


def test_dots_of_many_groups_stay_in_their_row() -> None:
    groups = tuple(group({"invert": (0.3, WORSE), "greyscale": (0.6, WORSE)}, name=f"n{n}") for n in range(9))
    (axes,) = ShiftView(shifted(groups)).figures()["curves"].figure.axes
    heights = [float(line.get_ydata()[0]) for line in axes.lines if line.get_marker() not in ("None", "")]
    assert len(set(heights)) == 18
    assert all(abs(height - round(height)) < 0.5 for height in heights)


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
