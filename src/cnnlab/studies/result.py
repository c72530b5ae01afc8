"""What a study found: frozen records, JSON in and out. No torch."""

from __future__ import annotations

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
# How the note of a study begins that asks for a confirmation, or a look under shifts, which could not be had.
UNCONFIRMED = "nothing is confirmed"
UNTESTED = "the test set could not be scored"
UNSHIFTED = "its networks have not been tested under its shifts"


class StudyPrecision(Record):
    """How all runs of a study compute, kept with it so that a later trial can't make two of its runs differ.

    `speeds` has each network's images/s of training steps in a trial, by its digest; not a number where none was made.
    """

    precision_config: Annotated[PrecisionConfig, also_read_as("precision_config", "way")]
    device: str
    speeds: dict[str, float]


class SeedRecord(Record):
    """One run of an arm. `value` is the study's metric; it and the others are None where there is none.

    `made` names what made the run beside its recipe: code, torch, device.
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


class CurveRecord(Record):
    """An arm's learning curve: at each epoch the metric's figure for every seed that has one there."""

    epochs: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]


class ArmRecord(Record):
    """One arm: what it changes, its runs, and what they cost.

    `train` are the train figures of the finished runs (the metric's figure on the training images), `seconds` the
    mean training time. An arm that is the same experiment as an earlier one names that in `same_as`, and is no
    evidence of its own.
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
    """The second stage: the winner and the baseline with fresh seeds, on the test set.

    `looks` is how often this test set has been looked at in this runs folder, this time included.
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
    """All that a study found.

    Attributes:
        metric: part_figure, such as validation_accuracy; `higher_is_better` says how it is read.
        images: how many images the metric is measured on.
        smallest_difference: of interest; None of a loss for which none was given: nothing is called practically equal.
        ablation: the arms against the baseline, in a study with one; else None.
        curve: the sweep, in a sweep; else None.
        claims: the published claims of its file, judged.
        shifted: the arms' networks under the study's shifts, on the test split.
        notes: what a reader must know: identical arms, runs of other code, a spent budget, what was changed after the
            first run had begun.
        declared: a digest of what was declared before the first run; empty: the study is older than that.
        trials: how many arms the winner was chosen from.
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
        """Whether the study asks for a confirmation, or a look under shifts, that could not be had."""
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
