"""The measurements by which a study's claims are judged. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from cnnlab.config.claims import SUPERLATIVES, Claim, parse_claim_metric
from cnnlab.config.corruptions import read_corruption
from cnnlab.config.recipe import Recipe
from cnnlab.config.study import Study
from cnnlab.errors import CnnlabError
from cnnlab.records import ClaimRecord, DataRecord
from cnnlab.runs.claims import ArmDifference, ClaimRun, Measurements, judge_claim, judge_claims, study_delta
from cnnlab.stats.ablation import family_comparisons
from cnnlab.stats.comparison import Comparison, compare
from cnnlab.stats.sample import Sample
from cnnlab.stats.welch import family_level
from cnnlab.storage.run_folder import RunFolder
from cnnlab.studies.result import ArmRecord, SeedRecord, StudyResult

OPPOSITE = {"better": "worse", "worse": "better"}
ALL_OTHERS = "all others"


def judge_study_claims(study: Study, result: StudyResult, runs: Path) -> tuple[ClaimRecord, ...]:
    """Judge the claims of a study by its result, in the order of its file.

    Numbers are judged by the arms' runs; those of the test set by the runs with fresh seeds alone, unless the runs of
    all arms were tested after every choice. Words are judged by comparisons of arms: those with the baseline hold for
    all arms together, the other pairs share alpha. Claims under a shift are judged by the networks that were tested
    under it.

    Args:
        runs: the folder of runs.
    """
    comparisons = _ArmComparisons(study, result)

    def judge(claim: Claim) -> ClaimRecord:
        if claim.kind == "numeric":
            return _judge_number(claim, study, result, runs)
        judge_comparison = _judge_word if claim.kind == "ordinal" else _judge_under_shift
        return judge_comparison(claim, study, result, comparisons)

    return tuple(map(judge, study.claims))


def missing_runs(study: Study, result: StudyResult, runs: Path) -> set[str]:
    """The runs of arms with published numbers that are no longer in the folder of runs."""
    needed = [seed for claim in study.claims if claim.kind == "numeric" for seed in _claim_seeds(claim, study, result)]
    return {seed.run for seed in needed if seed.run} - set(_read_runs(needed, runs))


class _ArmComparisons:
    """The arms of a study against each other, seen from the arm that a word is about."""

    def __init__(self, study: Study, result: StudyResult) -> None:
        self.study = study
        self.same = {arm.name: arm.same_as for arm in result.arms if arm.same_as}
        self.samples = {arm.name: arm.sample for arm in result.arms if not arm.same_as}

    @cached_property
    def with_baseline(self) -> dict[str, Comparison]:
        """Each other arm against the baseline, by name."""
        baseline = self.samples.get(self.study.baseline or "")
        others = [sample for name, sample in self.samples.items() if name != self.study.baseline]
        if baseline is None or not others:
            return {}
        return {one.a: one for one in family_comparisons(baseline, others, self.study.rules)}

    @cached_property
    def num_pairs(self) -> int:
        """The number of claims that compare two arms neither of which is the baseline."""
        base = self.study.baseline
        words = [claim for claim in self.study.claims if claim.kind == "ordinal"]
        pairs = [(self.name(claim.arm or base), self.name(claim.than) if claim.than else None) for claim in words]
        return sum(than not in (None, base) and arm != base for arm, than in pairs)

    def name(self, arm: str | None) -> str:
        """The arm that was run, where this is a second name for it."""
        return self.same.get(arm or "", arm or "")

    def differences(self, arm: str, than: str) -> list[ArmDifference]:
        """The arm against another one, or against all others, for which the verdicts hold together."""
        if than == ALL_OTHERS:
            others = [sample for name, sample in self.samples.items() if name != arm]
            found = family_comparisons(self.samples[arm], others, self.study.rules) if others else ()
            return [_reversed(one) for one in found]
        if arm == than:
            return [ArmDifference(than, "practically equal", 0.0)]
        if than == self.study.baseline and arm in self.with_baseline:
            return [_difference(self.with_baseline[arm])]
        if arm == self.study.baseline and than in self.with_baseline:
            return [_reversed(self.with_baseline[than])]
        return [_difference(self._pair(self.samples[arm], self.samples[than]))]

    def _pair(self, first: Sample, second: Sample) -> Comparison:
        alpha = family_level(self.study.alpha, max(self.num_pairs, 1), first.n, second.n)
        return compare(first, second, self.study.rules._replace(alpha=alpha))


def _judge_word(claim: Claim, study: Study, result: StudyResult, comparisons: _ArmComparisons) -> ClaimRecord:
    than = ALL_OTHERS if claim.published in SUPERLATIVES else claim.than or study.baseline or ""
    arm, other = comparisons.name(claim.arm or study.baseline), comparisons.name(than)
    found = comparisons.differences(arm, other)
    reason = "the two are one experiment" if arm == other else "" if found else "there is no other arm"
    measured = Measurements(result.data, differences=found, reason=reason, shortened=_shortened(study))
    return judge_claim(claim, study.metric, measured, of=claim.arm or study.baseline or "", than=than)


def _judge_under_shift(claim: Claim, study: Study, result: StudyResult, comparisons: _ArmComparisons) -> ClaimRecord:
    shift, of = read_corruption(claim.shift or ""), claim.arm or study.baseline or ""
    groups = result.shifted.groups if result.shifted is not None else ()
    rows = {(group.name, row.call): row for group in groups for row in group.rows}
    row = rows.get((comparisons.name(of), str(shift.as_call())))
    if row is None or result.shifted is None:
        why = "no network of this arm was tested under it"
        if result.shifted is None:
            why = "the networks have not been tested under shifts yet"
        measured = Measurements(result.data, reason=why)
    else:
        effect = row.effect
        difference = ArmDifference("", effect.verdict, effect.difference, effect.low, effect.high, len(row.values))
        measured = Measurements(
            result.data,
            values=row.values,
            images=result.shifted.images,
            differences=[difference],
            shortened=_shortened(study),
        )
    return judge_claim(claim, "test_accuracy", measured, of=of, shift=shift.title)


def _judge_number(claim: Claim, study: Study, result: StudyResult, runs: Path) -> ClaimRecord:
    """By the runs; where some are gone, by what the study itself has kept of all of them."""
    metric, of = claim.metric or "", claim.arm or study.baseline or ""
    recipe = next(arm.recipe for arm in study.list_arms() if arm.name == of)
    seeds = _claim_seeds(claim, study, result)
    read = _read_runs(seeds, runs)
    shortened = _shortened(study, recipe)
    if not read or {seed.run for seed in seeds if seed.run} - set(read):
        measured = _stored_measurements(metric, study, result, result.arm(of), seeds, shortened)
        return judge_claim(claim, metric, measured, of=of)
    return judge_claims(
        {metric: claim},
        [each for each, _ in read.values()],
        next(iter(read.values()))[1],
        of=of,
        seeds=[seed.seed for seed in seeds if seed.run in read],
        study=study,
        shortened=shortened,
    )[0]


def _claim_seeds(claim: Claim, study: Study, result: StudyResult) -> list[SeedRecord]:
    """The runs that measure a number: of the test set those with fresh seeds, none where the arm was not tested."""
    of = claim.arm or study.baseline or ""
    if result.tested or parse_claim_metric(claim.metric or "").split != "test":
        return list(result.arm(of).seeds)
    stage = result.confirmation
    if stage is None:
        return []
    return list({stage.winner: stage.runs, stage.baseline: stage.baseline_runs}.get(of, ()))


def _read_runs(seeds: Sequence[SeedRecord], runs: Path) -> dict[str, tuple[ClaimRun, DataRecord]]:
    """The runs that are there and have ended, by name."""
    found = {}
    for seed in seeds:
        try:
            folder = RunFolder.open(runs / seed.run) if seed.run else None
            result = folder.result() if folder is not None else None
            if folder is not None and result is not None:
                found[seed.run] = (ClaimRun(result, folder.epochs), folder.data())
        except CnnlabError:
            continue
    return found


def _stored_measurements(
    metric: str, study: Study, result: StudyResult, arm: ArmRecord, seeds: Sequence[SeedRecord], shortened: str
) -> Measurements:
    """What the study's result holds of a metric: its own, the same of the train split, and parameters."""
    own, images = result.metric, result.images
    if metric.startswith("test_"):
        stage = None if result.tested else result.confirmation
        own, images = (stage.metric, stage.images) if stage is not None else ("", 0)
    values: list[float | None] = []
    if metric == "parameters":
        values = [float(arm.parameters)] if seeds else []
    elif metric == own:
        values = [seed.value for seed in seeds]
    elif metric == f"train_{result.metric.partition('_')[2]}":
        values = [seed.train for seed in seeds]
    return Measurements(
        result.data,
        values=[value for value in values if value is not None],
        images=images if metric == own else None,
        delta=study_delta(metric, study),
        shortened=shortened,
    )


def _shortened(study: Study, recipe: Recipe | None = None) -> str:
    """What makes a study's runs shorter, or their images fewer, than published ones; "" for a whole study."""
    keys = list(study.shortened)
    if recipe is not None:
        limits = {"data.limit": recipe.data.limit, "data.per_class": recipe.data.per_class}
        keys += [key for key, limit in limits.items() if limit is not None and key not in keys]
    return f"shortened by {', '.join(keys)}" if keys else ""


def _difference(found: Comparison) -> ArmDifference:
    n = min(found.n_a, found.n_b)
    return ArmDifference(found.b, found.verdict, found.difference, found.low, found.high, n)


def _reversed(found: Comparison) -> ArmDifference:
    """The same comparison, seen from the other arm."""
    difference, low, high = (None if x is None else -x for x in (found.difference, found.high, found.low))
    n = min(found.n_a, found.n_b)
    return ArmDifference(found.a, OPPOSITE.get(found.verdict, found.verdict), difference, low, high, n)
