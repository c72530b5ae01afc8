"""The result and the plan of a study: frozen records, read from and written to JSON. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from math import nan
from typing import Annotated, Any, Literal, Self, TypeAlias, get_args

from pydantic import model_validator

from cnnlab.config.claims import Word
from cnnlab.records import ClaimRecord, PrecisionConfig, Record, SafeFilename, also_read_as
from cnnlab.render.result import Result
from cnnlab.runs.robustness.result import ShiftResult
from cnnlab.stats.ablation import Ablation
from cnnlab.stats.comparison import Comparison
from cnnlab.stats.sample import Sample
from cnnlab.stats.sweep import SweepCurve

Status: TypeAlias = Literal["finished", "stopped early", "budget spent", "diverged", "failed", "not run"]
# How a note begins that says why a confirmation, or an evaluation under shifts, could not be made.
UNCONFIRMED = "nothing is confirmed"
UNTESTED = "the test set could not be scored"
UNSHIFTED = "its networks have not been tested under its shifts"


class StudyPrecision(Record):
    """The precision of all runs of a study, kept with it so that a later benchmark does not change it.

    `speeds` are the training speeds in images/s by digest of the network; NaN where it was not benchmarked.
    """

    precision_config: Annotated[PrecisionConfig, also_read_as("precision_config", "way")]
    device: str
    speeds: dict[str, float]


class SeedRecord(Record):
    """One run of an arm. `value` is the study's metric, `train` the same on the training split.

    `made` names the code, torch version and device of the run.
    """

    seed: int
    run: SafeFilename
    status: Status
    value: float | None = None
    train: float | None = None
    epochs: float | None = None
    seconds: float | None = None
    message: str = ""
    made: str = ""


def runs_sample(name: str, runs: Iterable[SeedRecord]) -> Sample:
    """The metric of an arm's runs, NaN for a diverged or failed one; runs that have not started are left out."""
    values = (nan if run.value is None else run.value for run in runs if run.status != "not run")
    return Sample(name=name, values=tuple(values))


class CurveRecord(Record):
    """An arm's learning curve: at each epoch the metric of every seed that has one."""

    epochs: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]


class ArmRecord(Record):
    """One arm: its changes, its runs and their cost.

    `sample` has the metric of the runs, `train` the same on the training split; `seconds` is the mean training time. An
    arm that is the same experiment as an earlier one names it in `same_as`, and is not counted.
    """

    name: str
    changes: dict[str, str]
    sweep_value: Annotated[float | None, also_read_as("sweep_value", "dose")]
    same_as: str = ""
    parameters: int
    seeds: tuple[SeedRecord, ...]
    sample: Sample
    train: Sample
    seconds: float | None
    curve: CurveRecord | None = None


class Confirmation(Record):
    """The winner and the baseline with fresh seeds, on the test set.

    `looks` counts the openings of this test set in the runs folder, this one included.
    """

    winner: str
    baseline: str
    metric: str
    seeds: tuple[int, ...]
    runs: tuple[SeedRecord, ...]
    baseline_runs: tuple[SeedRecord, ...]
    comparison: Comparison
    images: int
    looks: int = 1


class StudyResult(Result):
    """The result of a study.

    Attributes:
        metric: SPLIT_METRIC, such as validation_accuracy.
        images: the number of images that the metric is measured on.
        smallest_difference: of interest; None for a loss without one: no arm is called practically equal.
        ablation: the comparisons with the baseline; None without a baseline.
        curve: the sweep; None in other studies.
        claims: the published claims of its file, judged.
        tested: whether the runs of all arms were evaluated on the test set, after every choice (`test = "after"`).
        shifted: the arms' networks under the study's shifts, on the test split.
        notes: identical arms, runs of other code, a spent budget, changes of the preregistration.
        declared: a digest of the preregistration; empty in studies of versions without one.
        trials: the number of arms that the winner was chosen from.
    """

    study: str
    question: str
    metric: str
    higher_is_better: bool
    smallest_difference: float | None
    alpha: float
    data: str
    images: int
    baseline: str | None
    arms: tuple[ArmRecord, ...]
    ablation: Ablation | None
    curve: SweepCurve | None
    confirmation: Confirmation | None = None
    claims: tuple[ClaimRecord, ...] = ()
    tested: bool = False
    shifted: ShiftResult | None = None
    notes: tuple[str, ...] = ()
    declared: str = ""
    trials: int
    precision: str
    memory_format: str
    device: str
    seconds: float
    complete: bool

    @model_validator(mode="before")
    @classmethod
    def _read_earlier_claims(cls, value: Any) -> Any:
        """The claims of a result that an earlier version wrote: it had a list for each of three kinds."""
        if not isinstance(value, dict):
            return value
        kept = dict(value)
        claims = [_upgraded_claim(one, kept.get("metric", "")) for one in kept.get("claims", ())]
        for key in ("ordinal_claims", "sayings", "shift_claims", "under"):
            claims += [_upgraded_claim(one, kept.get("metric", "")) for one in kept.pop(key, ())]
        return kept | {"claims": claims}

    @property
    def result(self) -> Self:
        """The result itself: earlier versions returned it within a view."""
        return self

    @property
    def is_untested(self) -> bool:
        """Whether a confirmation, or an evaluation under shifts, that was requested could not be made."""
        return any(note.startswith((UNCONFIRMED, UNTESTED, UNSHIFTED)) for note in self.notes)

    def arm(self, name: str) -> ArmRecord:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)


def _upgraded_claim(claim: Any, metric: str) -> Any:
    if not isinstance(claim, dict) or "arm" not in claim:
        return claim
    old = dict(claim)
    of, number = old.pop("arm"), old.pop("claim", None)
    if number is not None:
        measured = number.get("measured")
        return {"of": of, **number, "difference": None if measured is None else measured - number["published"]}
    verdict = old.pop("answer", None) or old.pop("verdict", None)
    published, name = old.pop("published"), "test_accuracy" if "shift" in old else metric
    if published not in get_args(Word):
        published = float(published)
    return {"of": of, "name": name, "published": published, "measured": None, "n": 0, "verdict": verdict, **old}


class ArmPlan(Record):
    """The planned runs of an arm: seeds, finished runs, and the seconds of a run, where known.

    An arm that is the same experiment as another names it in `same_as`, and needs no runs.
    """

    name: str
    seeds: int
    done: int = 0
    seconds: float | None = None
    same_as: str = ""

    @property
    def to_do(self) -> int:
        """Runs still to make."""
        return 0 if self.same_as else max(self.seeds - self.done, 0)


class SeedsNeeded(Record):
    """The seeds an arm that find a true difference, in the metric's units; None where the spread is not known."""

    difference: float
    seeds: int | None


class PlanSummary(Result):
    """The plan of a study.

    Attributes:
        baseline: the arm that the others are compared with; None in a sweep.
        runs, done, to_do: of all arms, equal ones counted once.
        seconds: expected for the runs to do, one after the other; None where the speed of an arm is not known.
        basis: where the seconds come from.
        images: the number that the metric is measured on.
        sd: the assumed standard deviation between runs, in the metric's units; None: unknown. `sd_reason`: its source.
        comparisons: k, the size of the family: arms against the baseline, or values against the best.
        seeds, baseline_seeds: of the smallest arm, and of what it is compared with.
        detectable: the smallest true difference that these seeds find; this and what follows at a power of 80 % and a
            level of alpha/k, None where it is not known.
        needed: the seeds for the study's smallest difference and for usual ones.
        equal: the seeds an arm that show equivalence within ±delta where there is no difference.
        confirm: the fresh seeds of the winner and the baseline in the confirmation; None: there is none.
    """

    name: str
    question: str
    arms: tuple[ArmPlan, ...]
    baseline: str | None
    runs: int
    done: int
    to_do: int
    seconds: float | None
    basis: str
    metric: str
    images: int
    sd: float | None
    sd_reason: str
    delta: float | None
    alpha: float
    comparisons: int
    seeds: int
    baseline_seeds: int
    detectable: float | None
    needed: tuple[SeedsNeeded, ...]
    equal: int | None
    confirm: int | None = None

    @property
    def plan(self) -> Self:
        """The plan itself: earlier versions returned it within a view."""
        return self
