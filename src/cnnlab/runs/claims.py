"""A recipe's published figures against those of its runs. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from cnnlab.config.arms import file_name
from cnnlab.config.recipe import Claim, Recipe
from cnnlab.config.study import Study
from cnnlab.data.sources.releases import CATALOGUE
from cnnlab.records import ClaimRecord, DataRecord, RunResult, Score
from cnnlab.stats.claim_test import judge_claim


def judge_claims(
    recipe: Recipe, results: Sequence[RunResult], data: DataRecord, study: Study | None = None
) -> tuple[ClaimRecord, ...]:
    """Every claim of a recipe, judged by runs of it on the same data.

    Args:
        study: that the runs are of: its smallest difference counts for the claims that have none.
    """
    records = []
    for name, claim in recipe.claims.items():
        scores = [score for result in results if (score := _score(name, result)) is not None]
        records.append(
            judge_claim(
                name,
                claim.published,
                [value for result in results if (value := measured_value(name, result)) is not None],
                images=claim.images,
                claim_data=claim.data,
                data=data.source if _is_full_name(claim.data, data.source) else file_name(data.source),
                measured_images=scores[0].images if scores else None,
                delta=smallest_difference(name, claim, study),
                source=claim.source,
                note=claim.note,
            )
        )
    return tuple(records)


def smallest_difference(name: str, claim: Claim, study: Study | None) -> float | None:
    """That of a claim, or else of a loss that of its study of losses; None: the usual one, which losses have none of.

    A study's own is of means, which many seeds make certain. No number of them makes one more run certain, so that of
    shares the usual one of `stats.claim_test` holds, in a study as by itself.
    """
    if claim.smallest_difference is not None or study is None:
        return claim.smallest_difference
    return study.smallest_difference if name.endswith("loss") and study.split_metric == "loss" else None


def measured_value(name: str, result: RunResult) -> float | None:
    """What a run measured of a claim's figure; None where it did not look."""
    if name == "parameters":
        return float(result.parameters)
    score = _score(name, result)
    return score.metric(name.partition("_")[2]) if score is not None else None


def _is_full_name(name: str | None, source: str) -> bool:
    """A claim names its data as a person does, or by its path; a folder that is called cifar10 is not CIFAR-10."""
    return name == source or name in CATALOGUE


def _score(name: str, result: RunResult) -> Score | None:
    score = getattr(result, name.partition("_")[0], None)
    return score if isinstance(score, Score) else None
