"""What a search found, in words, tables and pictures: numbers in, the same numbers out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

from cnnlab.reports.tuning.figures import history_figure, slice_figure
from cnnlab.reports.tuning.page import render_tuning
from cnnlab.reports.tuning.text import headline
from cnnlab.reports.tuning.view import MAX_TRIALS, column_notes, parameter_table, ranked_trials, trial_table
from cnnlab.stats.comparison import DecisionRules, compare
from cnnlab.stats.sample import Sample
from cnnlab.studies.result import Confirmation, SeedRecord
from cnnlab.tuning.result import (
    BaselineRecord,
    ImportanceRecord,
    ParameterRecord,
    TrialRecord,
    TuningPlanSummary,
    TuningResult,
)

PARAMETERS = (
    ParameterRecord(name="lr", space="log(0.0001, 0.1)", log=True),
    ParameterRecord(name="train.batch_size", space="choice(16, 32)", log=False, options=("16", "32")),
    ParameterRecord(name="model.values.p", space="uniform(0, 0.6)", log=False),
)


def trial(number: int, value: float | None = None, status: str = "finished", **fields: Any) -> TrialRecord:
    params = {
        "lr": 0.001 * (number + 1),
        "train.batch_size": (16, 32)[number % 2],
        "model.values.p": 0.1 * (number % 6),
    }
    return TrialRecord(number=number, params=params, changes={}, status=status, value=value, **fields)


TRIALS = (
    trial(0, 0.61, epochs=4, seconds=20, runs=("a",)),
    trial(1, 0.55, epochs=4, seconds=20, runs=("b",)),
    trial(2, None, "pruned", last=0.7, epochs=1, message="ended after epoch 1"),
    trial(3, None, "diverged", message="the loss stopped being a number"),
    trial(4, 0.66, epochs=4, seconds=20, runs=("c",), found=True),
    trial(5, 0.66, epochs=4, seconds=20, runs=("d",)),
    trial(6, None, "running"),
)


def result(trials: tuple[TrialRecord, ...] = TRIALS, **fields: Any) -> TuningResult:
    finished = [one for one in trials if one.value is not None]
    higher = fields.get("higher_is_better", True)
    best = min(finished, key=lambda one: -one.value if higher else one.value, default=None)
    usual: dict[str, Any] = {
        "study": "tune-lenet", "question": "Which <rate>?", "metric": "validation_accuracy", "higher_is_better": True,
        "smallest_difference": 0.01, "alpha": 0.05, "data": "cifar10", "images": 5000, "sampler": "tpe",
        "pruner": "median", "seeds": 1, "wanted": len(trials), "parameters": PARAMETERS, "trials": trials, "best": best,
        "chosen_from": len(finished), "precision": "fp32", "memory_format": "contiguous", "device": "cpu",
        "baseline": BaselineRecord(status="finished", value=0.6, seconds=20, runs=("e",)), "seconds": 80.0,
        "complete": True,
    }  # fmt: skip
    return TuningResult(**{**usual, **fields})


def confirmation(ours: tuple[float, ...], theirs: tuple[float, ...]) -> Confirmation:
    arms = [Sample(name=name, values=values) for name, values in (("trial 4", ours), ("baseline", theirs))]
    runs = [
        tuple(
            SeedRecord(seed=seed, run=f"r{seed}", status="finished", value=value)
            for seed, value in enumerate(arm.values)
        )
        for arm in arms
    ]
    return Confirmation(
        winner="trial 4",
        baseline="baseline",
        metric="test_accuracy",
        seeds=tuple(range(len(ours))),
        runs=runs[0],
        baseline_runs=runs[1],
        comparison=compare(*arms, DecisionRules(0.01)),
        images=10000,
    )


def test_what_is_said_of_a_search(golden: Callable[..., None]) -> None:
    better = confirmation((0.65, 0.66, 0.655, 0.66, 0.65), (0.60, 0.61, 0.60, 0.605, 0.6))
    searches = {
        "a search": result(),
        "a loss": result(metric="validation_loss", higher_is_better=False),
        "confirmed": result(confirmation=better),
        "worse than the baseline": result(baseline=BaselineRecord(status="finished", value=0.7, seconds=1, runs=())),
        "without a baseline": result(baseline=BaselineRecord(status="diverged", value=None, seconds=1, runs=())),
        "nothing begun": result(()),
        "nothing finished": result((trial(0, None, "failed"),)),
    }
    plan = TuningPlanSummary(
        study="x", question="Which?", parameters=PARAMETERS, trials=30, seeds=1, confirm=5, sampler="tpe",
        pruner="none", runs=41, images=1000, seconds=3600.0, basis="a trial", detectable=0.0072,
    )  # fmt: skip
    plans = {"a plan": plan, "a plan without a time": plan.model_copy(update={"seconds": None})}
    golden("searches", ((name, [one.document().to_markdown()]) for name, one in {**searches, **plans}.items()))
    assert "<svg" in searches["nothing begun"].svg()


def test_of_losses_the_lowest_is_the_best() -> None:
    found = result(metric="validation_loss", higher_is_better=False)
    assert "Trial 1 is the best" in headline(found)
    assert [one.number for one in ranked_trials(found)[:4]] == [1, 0, 4, 5]
    assert list(found.best_so_far()) == [(0, 0.61), (1, 0.55)]


def test_trials_stand_in_the_order_of_their_figures_and_pruned_ones_after_them() -> None:
    table = trial_table(result())
    assert [row[0] for row in table.rows] == ["4", "5", "0", "1", "6", "2", "3"]
    assert [row[4] for row in table.rows] == ["0.6600", "0.6600", "0.6100", "0.5500", "–", "(0.7000)", "–"]
    assert [row[7] for row in table.rows][:3] == ["–", "20 s", "20 s"], "what was found took no time"
    assert any("in brackets" in note for note in column_notes(result()))


def test_a_long_search_shows_its_best_trials() -> None:
    many = result(tuple(trial(number, number / 100) for number in range(50)))
    sheet = many.document()
    assert [row[0] for row in sheet.tables[0][1].rows] == [str(49 - number) for number in range(MAX_TRIALS)]
    assert "20 of 50 trials are shown; --json has all." in sheet.notes
    assert len(trial_table(many).rows) == 50


def test_importance_stands_beside_the_best_values() -> None:
    shares = (
        ImportanceRecord(name="lr", share=0.75, best=5),
        ImportanceRecord(name="model.values.p", share=0.25, best=5),
    )
    assert [row[2:] for row in parameter_table(result(importance=shares)).rows] == [
        ("0.005", "75.0 %"),
        ("16", "–"),
        ("0.4", "25.0 %"),
    ]
    assert any("the best 5 of 4 trials" in note for note in column_notes(result(importance=shares)))
    labels = [axes.get_xlabel() for axes in slice_figure(result(importance=shares)).axes]
    assert labels == ["lr (log scale), importance 75.0 %", "batch_size", "p, importance 25.0 %"]


def test_each_trial_is_a_dot_and_the_best_so_far_a_line() -> None:
    found = result()
    (axes,) = history_figure(found).axes
    # A pruned trial's value is higher, and does not count.
    assert list(zip(*axes.lines[0].get_data(), strict=True)) == [(0, 0.61), (4, 0.66), (6, 0.66)]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["finished", "pruned, last value", "diverged", "best", "baseline"]
    dots = {tuple(map(float, offset)) for dots in axes.collections for offset in dots.get_offsets()}
    assert {(0.0, 0.61), (1.0, 0.55), (2.0, 0.7), (4.0, 0.66), (5.0, 0.66)} <= dots
    assert (3.0, axes.get_ylim()[0]) in dots, "one without a figure stands at the lower edge"


def test_each_parameter_has_a_panel_on_its_own_scale() -> None:
    rate, batch, dropout = slice_figure(result()).axes
    assert (rate.get_xscale(), dropout.get_xscale()) == ("log", "linear")
    assert [*rate.get_xticks()] == [0.001, 0.002, 0.005], "less than a decade of values has ticks too"
    assert [label.get_text() for label in batch.get_xticklabels()] == ["16", "32"]
    seen = {tuple(map(float, offset)) for dots in batch.collections for offset in dots.get_offsets()}
    assert {(0.0, 0.61), (1.0, 0.55), (0.0, 0.66)} <= seen


def test_a_loss_that_blew_up_hides_no_other() -> None:
    values = (2.0, 1.9, 400.0, 1.8)
    blown = result(
        tuple(trial(number, value) for number, value in enumerate(values)),
        metric="validation_loss",
        higher_is_better=False,
        baseline=BaselineRecord(status="finished", value=2.1, seconds=1, runs=()),
    )
    assert history_figure(blown).axes[0].get_ylim()[1] < 3


def test_the_page_is_whole_and_a_persons_words_are_no_markup() -> None:
    page = render_tuning(result(), search_toml="a = '<b>'", command="cnnlab tune x", train="cnnlab train best.toml")
    assert "Which &lt;rate&gt;?" in page
    assert "<rate>" not in page
    assert page.count("<figure") == 2
    assert "cnnlab train best.toml" in page
    assert "<script" not in page
    assert "https://" not in page
    assert " src=" not in page


def test_an_answer_is_drawn_and_dumped() -> None:
    answer = result()
    assert ElementTree.fromstring(answer.svg()).tag.endswith("svg")
    dumped = json.loads(answer.to_json())
    assert (dumped["best"]["number"], len(dumped["trials"])) == (4, 7)
    assert TuningResult.from_json(answer.to_json()) == answer
    assert "<table" in answer._repr_html_()
