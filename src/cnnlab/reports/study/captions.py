"""One sentence below each picture of a study, and the figures at the head of its page."""

from __future__ import annotations

from math import inf, sqrt
from statistics import median

from cnnlab.render.formatting import MISSING, format_count, format_duration, pluralize
from cnnlab.reports.study import text as study_text
from cnnlab.reports.study.figures import MAX_LINES_NAMED, arm_colours, learning_bands
from cnnlab.reports.study.text import comparisons
from cnnlab.stats.power import detectable_difference
from cnnlab.stats.sweep import SweepCurve
from cnnlab.studies.result import StudyResult

Fact = tuple[str, str]
VERDICTS = ("better", "worse", "practically equal", "undecided", "no verdict")


def pooled_sd(result: StudyResult) -> float | None:
    """The standard deviation between the runs of an arm, of all arms together; None where no arm has two."""
    known = [(arm.sample.n - 1, arm.sample.sd) for arm in result.arms if arm.sample.sd is not None and not arm.same_as]
    freedom = sum(each for each, _ in known)
    return sqrt(sum(each * sd**2 for each, sd in known) / freedom) if freedom else None


def observed_detectable_difference(result: StudyResult) -> float | None:
    """The true difference that these runs find in 80 % of studies, at the spread seen; None where they can find none.

    Of one arm against the baseline, or of one value of a sweep against the best, at its share of alpha.
    """
    sd = pooled_sd(result)
    compared = comparisons(result)
    if sd is None:
        return None
    if result.ablation is not None and compared:
        typical = int(median(each.n_a for each in compared))
        size = len(result.ablation.arms)
        found = detectable_difference(sd, typical, result.ablation.baseline.n, alpha=result.alpha, comparisons=size)
    elif result.curve is not None and len(result.curve.samples) > 1:
        typical = int(median(sample.n for sample in result.curve.samples))
        found = detectable_difference(sd, typical, alpha=result.alpha, comparisons=len(result.curve.samples) - 1)
    else:
        return None
    return found if found < inf else None


def key_facts(result: StudyResult) -> list[Fact]:
    """What a reader weighs the answer by."""
    done, planned = study_text.runs_done(result)
    failed = sum(arm.sample.failures for arm in result.arms)
    least, metric = observed_detectable_difference(result), result.metric
    return [
        ("values" if result.curve is not None else "arms", format_count(len(result.arms))),
        ("runs", f"{done:,}" if done == planned else f"{done:,} of {planned:,}"),
        ("failed runs", format_count(failed)),
        ("measured on", pluralize(result.images, "image")),
        ("smallest difference of interest", study_text.equivalence_band(result.smallest_difference, metric)[1:]),
        (
            "difference these seeds find (80 %)",
            MISSING if least is None else study_text.format_amount(least, metric),
        ),
        ("α", f"{result.alpha:g}"),
        ("training time", format_duration(result.seconds)),
    ]


def seeds_caption(result: StudyResult) -> str:
    """Which mean is best, and how far the runs of an arm lie apart."""
    known = [arm for arm in result.arms if arm.sample.mean is not None and not arm.same_as]
    if not known:
        return "No run has a figure."
    sign = 1 if result.higher_is_better else -1
    best = max(known, key=lambda arm: sign * (arm.sample.mean or 0.0))
    sd = pooled_sd(result)
    spread = (
        f"; runs of one arm spread by {study_text.format_amount(sd, result.metric)} (pooled standard deviation)"
        if sd
        else ""
    )
    return f"The best mean, {best.sample.mean:.4f}, is that of {study_text.quoted_arm(result, best.name)}{spread}."


def forest_caption(result: StudyResult) -> str:
    """How many arms got which verdict."""
    found = [each.verdict for each in comparisons(result)]
    counts = [f"{found.count(verdict)} {verdict}" for verdict in VERDICTS if verdict in found]
    base = study_text.quoted_arm(result, result.baseline or "")
    return f"Of {pluralize(len(found), 'arm')} against {base}: {study_text.join_names(counts, 5)}."


def sweep_caption(curve: SweepCurve) -> str:
    """The best value, the plateau, and where the fitted curve turns."""
    if curve.best is None:
        return "No value has a finished run."
    best = f"The best mean is at {curve.sweep_values[curve.best]:g}"
    turn = f"; the fitted quadratic is best at {curve.optimum:.3g}" if curve.optimum is not None else ""
    if not curve.enough:
        return f"{best}{turn}; the runs are too few to tell a plateau."
    plateau = study_text.value_ranges(curve.sweep_values, curve.plateau)
    return f"{best}; the plateau, the values that can't be told from it, is {plateau}{turn}."


def learning_caption(result: StudyResult) -> str:
    """How many seeds a line is the mean of, and which lines have a colour."""
    found = learning_bands(result)
    seeds = sorted({band.seeds for band in found})
    of = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    noun = "seed" if seeds[-1] == 1 else "seeds"
    given = set(arm_colours(result, found).values())
    parts = [text for colour, text in _COLOUR_TEXT.items() if colour in given]
    if len(found) > len(parts):
        parts.append("the others grey" + (" and not named" if len(found) > MAX_LINES_NAMED else ""))
    return f"Means over {of} {noun}: {', '.join(parts)}."


_COLOUR_TEXT = {"ink": "the baseline black or white", "train": "the best mean blue", "other": "the worst violet"}
