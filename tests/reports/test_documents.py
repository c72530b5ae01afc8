"""All words and tables of runs, studies and plans, as somebody read them and found them right.

That the numbers are right is tested elsewhere, against scipy and statsmodels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cnnlab.records import ClaimRecord, StepMeans
from cnnlab.records import LedgerEntry as Opening
from cnnlab.reports.run import captions
from cnnlab.reports.run.contents import ConfusionMatrix, RunView
from cnnlab.reports.study import page
from cnnlab.reports.study.plan import plan_document
from cnnlab.reports.study.text import headline
from cnnlab.reports.study.view import study_document
from cnnlab.studies.forecast import plan_summary
from cnnlab.studies.result import ArmPlan, StudyResult

Golden = Callable[..., None]
SWEEP = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def words_of_run(view: RunView) -> Iterator[str]:
    yield from captions.headline(view)
    yield captions.ledger_text(view)
    yield captions.loss_caption(view.epochs, view.result)
    yield captions.accuracy_caption(view.epochs, view.result)
    yield captions.selection_note(view)


def with_losses(view: RunView, train: list[float], validation: list[float]) -> Iterator[Any]:
    for record, one, other in zip(view.epochs, train, validation, strict=True):
        means = StepMeans(images=1, loss=one, accuracy=0.5)
        score = record.validation.model_copy(update={"loss": other})
        yield record.model_copy(update={"train": means, "validation": score})


def test_what_is_said_of_a_run(make_view: Callable[..., RunView], golden: Golden) -> None:
    view = make_view()
    runs = {
        "a run": view,
        "a sealed test set": make_view(parts=("train", "validation")),
        "training images only": make_view(parts=("train",), curve_parts=()),
        "no test part": make_view(
            parts=("train",), data=view.data.model_copy(update={"splits": {"train": 5}}), curve_parts=(), claims=()
        ),
        "an opening that is not written down": make_view(openings=()),
        "one point": make_view(points=1),
        "as good on new images": make_view(
            result=view.result.model_copy(update={"train": view.result.validation}),
            openings=(Opening(time="2026-01-01T12:00:00", run="a", test_set="x", purpose="end of the recipe"),),
        ),
        "diverged": make_view(points=3, broken_from=2),
    }
    curves = {
        "overfitting": ([1.5, 0.9, 0.5, 0.3], [1.4, 0.8, 0.9, 1.1]),
        "a rise of both": ([1.5, 0.9, 1.9, 1.9], [1.4, 0.8, 1.1, 1.1]),
        "still falling": ([1.5, 1.2, 1.0, 0.9], [1.4, 1.3, 1.2, 1.1]),
    }
    short = make_view(points=4)
    golden(
        "runs",
        [
            *((name, words_of_run(view)) for name, view in runs.items()),
            *((name, [captions.loss_caption([*with_losses(short, *c)], short.result)]) for name, c in curves.items()),
        ],
    )


def test_the_caption_of_a_confusion_matrix(golden: Golden) -> None:
    mistakes = ConfusionMatrix("test", np.array([[8, 2, 0], [5, 5, 0], [0, 1, 9]]))
    none = ConfusionMatrix("test", np.eye(3, dtype=int))
    names = ("cat", "dog", "ship")
    golden("pictures", [("mistakes", [captions.confusion_caption(each, names)]) for each in (mistakes, none)])


def words_of_study(result: StudyResult) -> Iterator[str]:
    yield headline(result)
    yield from (f"{name}: {value}" for name, value in page.key_facts(result))


def same_as(result: StudyResult, name: str, other: str, **fields: Any) -> StudyResult:
    arms = tuple(arm.model_copy(update={"same_as": other if arm.name == name else ""}) for arm in result.arms)
    return result.model_copy(update={"arms": arms, **fields})


def test_what_is_said_of_a_study(make_study: Callable[..., StudyResult], golden: Golden) -> None:
    all_failed = dict.fromkeys(("plain", "flips", "dropout", "warm-up"), 3)
    long = [f"optimizer=sgd(lr=0.1, momentum=0.9), dropout={rate}" for rate in (0.1, 0.2, 0.3)]
    alike = make_study({"plain": 0.0, "again": 0.0})
    studies = {
        "four arms": make_study(),
        "two arms": make_study({"plain": 0.0, "flips": 0.02}, runs=8),
        "undecided": make_study({"plain": 0.0, "same": 0.0}, runs=5),
        "practically equal": make_study({"plain": 0.0, "same": 0.0}, runs=20, delta=0.01),
        "one run an arm": make_study({"plain": 0.0, "flips": 0.05, "noise": -0.05}, runs=1),
        "four runs an arm": make_study({"plain": 0.0, "flips": 0.05, "noise": -0.05}, runs=4),
        "a loss": make_study({"plain": 0, "low": -0.1, "high": 0.1}, metric="validation_loss", mean=1.2, runs=6),
        "23 arms": make_study({"plain": 0.0, **{f"arm {number}": 0.05 for number in range(22)}}, runs=6),
        "names that begin alike": make_study(dict(zip(long, (0.0, 0.02, -0.02), strict=True))),
        "some failed": make_study(runs=10, planned=12, failed={"flips": 3, "dropout": 10}),
        "all failed": make_study(runs=3, failed=all_failed),
        "in part": make_study(runs=6, planned=9),
        "confirmed": make_study(confirm=8),
        "confirmed with few": make_study(confirm=3),
        "one arm under two names": same_as(make_study(), "flips", "plain"),
        "one experiment": same_as(alike, "again", "plain", ablation=None),
        "sweep": make_study(sweep=SWEEP, runs=8, sd=0.006),
        "values without an effect": make_study({f"{dose:g}": 0.0 for dose in SWEEP}, sweep=SWEEP, runs=5),
        "values with too few runs": make_study(sweep=SWEEP, runs=4),
        "a value with too few runs": make_study(sweep=SWEEP, runs=6, failed={"0.6": 3}),
        "two runs a value": make_study(sweep=SWEEP, runs=2),
    }
    golden("studies", ((name, words_of_study(result)) for name, result in studies.items()))


def test_the_sheet_of_a_study(make_study: Callable[..., StudyResult], golden: Golden) -> None:
    claim = ClaimRecord(
        of="flips", name="test_accuracy", published=0.73, measured=0.731, n=8, source="A paper", verdict="reproduced"
    )
    word = ClaimRecord(
        of="flips", name="validation_accuracy", than="plain", published="better", measured=0.0104, low=0.002, high=0.02,
        n=8, verdict="holds", reason="better", source="Page 3",
    )  # fmt: skip
    judged = {"confirm": 8, "claims": (claim, word)}
    studies = {
        "judged": make_study(**judged, notes=("other code & 100 %",)),
        "some failed": make_study(runs=10, planned=12, failed={"flips": 3, "dropout": 10}),
        "one arm under two names": same_as(make_study(), "flips", "plain"),
        "23 arms": make_study({f"arm {number}": 0.0 for number in range(23)}, runs=5),
        "values in any order": make_study(sweep=(0.3, 0.0, 0.6, 0.1, 0.5, 0.2, 0.4), runs=6),
        "three values": make_study(sweep=SWEEP[:3], runs=6),
        "one run an arm": make_study(runs=1),
    }
    golden("sheets", ((name, [study_document(result).to_markdown()]) for name, result in studies.items()))


def test_the_sheet_of_a_plan(golden: Golden) -> None:
    def sheet(count: int = 3, seeds: int = 10, more: tuple[ArmPlan, ...] = (), told: Any = (), **fields: Any) -> str:
        names = ("plain", *(f"arm {number}" for number in range(1, count)))
        arms = [*(ArmPlan(name=name, seeds=seeds, seconds=90.0, **dict(told)) for name in names), *more]
        known = {"metric": "validation_accuracy", "images": 5000, "delta": 0.002, "baseline": "plain"}
        known |= {"question": "Does it help?", "basis": "a trial", **fields}
        return plan_document(plan_summary("flips", arms, **known)).to_markdown()

    plans = {
        "three arms and a copy": sheet(more=(ArmPlan(name="copy", seeds=10, same_as="plain"),)),
        "two arms": sheet(2),
        "all is done": sheet(told={"done": 10}),
        "how long is not known": sheet(more=(ArmPlan(name="b", seeds=2),)),
        "enough seeds": sheet(delta=0.05),
        "few seeds": sheet(seeds=4),
        "a loss": sheet(metric="validation_loss", delta=0.01),
    }
    golden("plans", ((name, [text]) for name, text in plans.items()))
