"""The tables of many runs: what a cell says of the records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cnnlab.records import ClaimRecord, PrecisionConfig, Score
from cnnlab.reports.runs_table import ExperimentResults
from cnnlab.runs.index.experiments import Experiment, RunMetrics
from cnnlab.runs.index.run_index import SkippedRun


def score(accuracy: float) -> Score:
    return Score(images=1000, loss=1.25, accuracy=accuracy, top5=1.0, balanced_accuracy=accuracy, macro_f1=accuracy)


def run(seed: int = 0, **fields: Any) -> RunMetrics:
    known: dict[str, Any] = {
        "run": f"20260101-00000{seed}-net",
        "status": "finished",
        "epochs": 10.0,
        "seconds": 90.0,
        "images_per_second": 1234.5,
        "precision_config": PrecisionConfig(precision="bf16", memory_format="channels_last"),
        "device": "cpu: Abacus",
        "threads": 2,
        "torch": "2.15.0",
        "train": score(0.9),
        "validation": None,
        "test": score(0.7),
    }
    return RunMetrics(seed=seed, **{**known, **fields})


def claim(*values: float, name: str = "test_accuracy", **fields: Any) -> ClaimRecord:
    measured = sum(values) / len(values) if values else None
    known: dict[str, Any] = {"of": "net", "published": 0.715, "verdict": "not enough evidence", "n": len(values)}
    return ClaimRecord(name=name, measured=measured, **{**known, **fields})


def experiment(*runs: RunMetrics, claims: tuple[ClaimRecord, ...] = (), **fields: Any) -> Experiment:
    known: dict[str, Any] = {"recipe": "net", "name": "net", "command": "cnnlab train recipes/net.toml"}
    known |= {"data": "faces.zip", "images": 45000, "limited": False, "epochs": 10, "parameters": 5}
    return Experiment(runs=runs or (run(),), claims=claims, **{**known, **fields})


def rows(found: ExperimentResults, title: str) -> list[dict[str, str]]:
    (table,) = [table for named, table in found.document().tables if named == title]
    return [dict(zip([column.title for column in table.columns], row, strict=True)) for row in table.rows]


def test_a_row_has_a_runs_figures() -> None:
    (row,) = rows(ExperimentResults(experiments=(experiment(),)), "Runs")
    assert row == {
        "recipe": "net",
        "seed": "0",
        "trained on": "45,000 of faces.zip",
        "epochs": "10",
        "minutes": "1.5",
        "images/s": "1,234",
        "precision": "bf16",
        "train": "0.9000",
        "validation": "–",
        "test": "0.7000",
        "95 % interval": "0.6709 to 0.7276",  # Wilson's, of 700 in 1,000
    }


def test_a_claim_stands_beside_what_was_measured() -> None:
    alone = claim(0.7, low=0.67, high=0.73, reason="1 run of 5")
    several = claim(0.7, 0.72, 0.68)
    none = claim(n=0, verdict="not measured")
    count = claim(5.0, 5.0, name="parameters", published=5, verdict="equal")
    found = rows(
        ExperimentResults(experiments=(experiment(claims=(alone, several, none, count)),)), "Published and measured"
    )
    assert [row["95 % interval"] for row in found] == ["0.6700 to 0.7300", "–", "–", "–"]
    assert [row["measured"] for row in found] == ["0.7000", "0.7000", "–", "5"]
    assert [row["published"] for row in found] == ["0.715", "0.715", "0.715", "5"]
    assert [row["runs"] for row in found] == ["1", "3", "0", "2"]
    assert [row["figure"] for row in found] == ["test accuracy"] * 3 + ["parameters"]
    assert [row["verdict"] for row in found] == ["not enough evidence"] * 2 + ["not measured", "equal"]
    assert found[0]["why"] == "1 run of 5"


def test_what_is_said_of_many_runs(golden: Callable[..., None]) -> None:
    claims = (claim(0.7),)
    cut = [run(epochs=4.0), run(epochs=6.5, status="stopped early"), run(epochs=12.0)]
    other = claim(0.7, data="cifar10", verdict="other data", note="last epoch", source="someone")
    results = {
        "no claims, and one left out": ExperimentResults(
            experiments=(experiment(run(), run(1)),), left_out=(SkippedRun(run="x", reason="unfinished"),)
        ),
        "fewer epochs than the recipe asks for": ExperimentResults(
            experiments=tuple(experiment(each, claims=claims) for each in (run(), *cut))
        ),
        "fewer images": ExperimentResults(experiments=(experiment(claims=claims, images=20000, limited=True),)),
        "other data": ExperimentResults(experiments=(experiment(claims=(other,)),)),
        "two machines": ExperimentResults(
            experiments=(experiment(run(), run(1, device="cuda: Loom", threads=1)), experiment(name="other"))
        ),
    }
    golden("results", ((name, [found.document().to_markdown()]) for name, found in results.items()))
