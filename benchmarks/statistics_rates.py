"""How often each verdict is wrong, by simulation: studies whose truth is known, thousands of each kind.

    python benchmarks/statistics_rates.py                                              # prints the table
    python benchmarks/statistics_rates.py > benchmarks/results/statistics-rates.md

Every row draws its studies from a stream of its own and judges them with the functions that judge real ones. A rate is
held against a binomial band: where a rule is wrong just as often as is allowed, 999 of 1,000 such tables lie in it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy.stats import binom, ttest_ind

from cnnlab.randomness import generator
from cnnlab.stats.ablation import baseline_seeds, family_comparisons
from cnnlab.stats.comparison import Comparison, DecisionRules, Judgement, compare, permutation_test
from cnnlab.stats.multiple_testing import MAX_ARMS, holm
from cnnlab.stats.paired import mcnemar_test
from cnnlab.stats.power import detectable_difference, seeds_for_equivalence, seeds_to_detect
from cnnlab.stats.random_effects import random_effects_interval
from cnnlab.stats.sample import Sample
from cnnlab.stats.sweep import sweep_curve
from cnnlab.stats.welch import welch_test

STUDIES = 2000
BAND = 0.999
# Accuracies of a small network: a mean, the spread between seeds, the smallest difference of interest, as fractions.
MEAN, SPREAD, DELTA = 0.75, 0.003, 0.002

Draws = np.random.Generator
Kind = Literal["=", "≤", "≥", ""]


ABLATION = "(b) Ablation"
# Families are counted more exactly: what they get wrong was once 6 to 8 %.
FAMILIES = 10_000
NOTES = {
    ABLATION: (
        f"{FAMILIES:,} studies a row. An arm has n seeds and the baseline of k arms ⌈n√k⌉, where nothing else is said.",
        "Welch's test finds too much far in its tails, so p-values are size-corrected before Holm's rule; what would",
        "be found without that stands beside.",
        "",
    )
}


class Rate(NamedTuple):
    """What was counted in how many studies. `kind`: `target` is what the rate should be, its upper or lower bound, or
    what statistics books say of a rule that is not used."""

    count: int
    studies: int
    target: tuple[float, float]
    kind: Kind

    @property
    def rate(self) -> float:
        return self.count / self.studies

    @property
    def band(self) -> tuple[float, float]:
        """The shares that a true rate at the target gives, within BAND."""
        low, high = self.target
        tail = (1 - BAND) / 2
        counts = binom.ppf(tail, self.studies, low), binom.ppf(1 - tail, self.studies, high)
        return counts[0] / self.studies, counts[1] / self.studies

    @property
    def holds(self) -> bool:
        low, high = self.band
        return (self.kind == "≤" or self.rate >= low) and (self.kind == "≥" or self.rate <= high)


class Row(NamedTuple):
    """A row of the table: `wrong` draws one study and says whether what is counted happened."""

    part: str
    what: str
    target: float | tuple[float, float] | None
    kind: Kind
    wrong: Callable[[Draws], bool]
    studies: int | None = None

    def measure(self, studies: int) -> Rate:
        draws = generator(0, f"rates: {self.part}, {self.what}")
        studies = self.studies or studies
        count = sum(self.wrong(draws) for _ in range(studies))
        target = (self.target, self.target) if isinstance(self.target, float) else self.target or (0.0, 1.0)
        return Rate(count, studies, target, self.kind)


def arm(draws: Draws, n: int, gain: float = 0.0, spread: float = SPREAD) -> Sample:
    """Runs of an arm whose true mean lies `gain` above the others'."""
    return Sample(name="arm", values=tuple(draws.normal(MEAN + gain, spread, n).tolist()))


def judged(
    verdicts: Sequence[Judgement], n: int, n_b: int, gain: float = 0.0, spread: float = SPREAD, spread_b: float = SPREAD
) -> Callable[[Draws], bool]:
    """Whether A against B ends in one of the verdicts."""

    def study(draws: Draws) -> bool:
        a, b = arm(draws, n, gain, spread), arm(draws, n_b, 0.0, spread_b)
        return compare(a, b, DecisionRules(DELTA)).verdict in verdicts

    return study


def missed(n: int, n_b: int, spread_b: float = SPREAD) -> Callable[[Draws], bool]:
    """Whether the interval of the difference leaves out the true one."""

    def study(draws: Draws) -> bool:
        test = welch_test(arm(draws, n, DELTA), arm(draws, n_b, 0.0, spread_b))
        assert test is not None
        low, high = test.interval(0.95)
        return not low <= DELTA <= high

    return study


def mean_missed(draws: Draws) -> bool:
    """Whether Student's interval of an arm's mean leaves out the true one."""
    interval = arm(draws, 5).interval(0.95)
    assert interval is not None
    return not interval[0] <= MEAN <= interval[1]


def permuted(draws: Draws) -> bool:
    """Whether the permutation test finds a difference where there is none."""
    p = permutation_test(arm(draws, 5), arm(draws, 5))
    return p is not None and p <= 0.05


class Family(NamedTuple):
    """k arms of n runs against a baseline of `n_b`, or ⌈n√k⌉, whose spread is SPREAD; theirs are so many times it."""

    k: int
    n: int
    n_b: int | None = None
    spreads: tuple[float, ...] = (1.0,)

    def __str__(self) -> str:
        seeds = f"{self.n} seeds" if self.n_b is None else f"{self.n} seeds, {self.n_b} of the baseline"
        return f"k = {self.k}, {seeds}" + {
            (1.0,): "",
            (3.0,): ", arms spread 3 times as far",
            (1 / 3,): ", the baseline spreads 3 times as far",
        }.get(self.spreads, ", arms spread 1 to 6 times as far")

    def draw(self, draws: Draws, gains: Sequence[float], spread: float = SPREAD) -> tuple[Comparison, ...]:
        """The comparisons of one study; the first arms have these gains, the others the last of them."""
        baseline = arm(draws, self.n_b or baseline_seeds(self.n, self.k), 0.0, spread)
        arms = [
            arm(draws, self.n, gains[min(place, len(gains) - 1)], spread * self.spreads[place % len(self.spreads)])
            for place in range(self.k)
        ]
        return family_comparisons(baseline, arms, DecisionRules(DELTA))

    def any(self, verdicts: Sequence[Judgement], gain: float = 0.0, spread: float = SPREAD) -> Callable[[Draws], bool]:
        """Whether any arm ends in one of the verdicts. The arms all have the same true gain."""
        return lambda draws: any(each.verdict in verdicts for each in self.draw(draws, (gain,), spread))

    def first_found(self, gain: float, *, corrected: bool = True) -> Callable[[Draws], bool]:
        """Whether the first arm, the only one with a gain, is found; or would be without the size correction."""

        def study(draws: Draws) -> bool:
            found = self.draw(draws, (gain, 0.0))
            p = found[0].p_adjusted if corrected else holm([each.p or 0.0 for each in found])[0]
            return p is not None and p < 0.05

        return study

    def any_uncorrected(self, draws: Draws) -> bool:
        """Whether any arm would be found without the size correction where none differs."""
        return min(holm([each.p or 0.0 for each in self.draw(draws, (0.0,))])) < 0.05


def any_missed(k: int, n: int) -> Callable[[Draws], bool]:
    """Whether any of an ablation's simultaneous intervals leaves out the true difference."""

    def study(draws: Draws) -> bool:
        baseline, arms = arm(draws, baseline_seeds(n, k)), [arm(draws, n, DELTA) for _ in range(k)]
        found = family_comparisons(baseline, arms, DecisionRules(DELTA))
        return not all(each.low <= DELTA <= each.high for each in found)  # type: ignore[operator]

    return study


def false_share(k: int, real: int, gain: float) -> Callable[[Draws], bool]:
    """Whether one verdict of a screening, picked at random, is a false one; `real` of the arms do differ."""

    def study(draws: Draws) -> bool:
        gains = [gain] * real + [0.0] * (k - real)
        baseline = arm(draws, baseline_seeds(5, k))
        found = family_comparisons(baseline, [arm(draws, 5, each) for each in gains], DecisionRules(DELTA))
        shown = [place for place, each in enumerate(found) if each.verdict in ("better", "worse")]
        return bool(shown) and bool(shown[draws.integers(len(shown))] >= real)

    return study


def sweep_matters(spreads: Sequence[float]) -> Callable[[Draws], bool]:
    """Whether a sweep of six values without an effect seems to have one."""

    def study(draws: Draws) -> bool:
        p = sweep_curve(range(6), [arm(draws, 5, 0.0, spread) for spread in spreads]).p_any
        return p is not None and p < 0.05

    return study


def best_left_out(gains: Sequence[float], best: int) -> Callable[[Draws], bool]:
    """Whether the truly best value is not in the plateau."""

    def study(draws: Draws) -> bool:
        return best not in sweep_curve(range(len(gains)), [arm(draws, 5, gain) for gain in gains]).plateau

    return study


def right(
    draws: Draws, runs: int, other: int, images: int, taste: float, spread: float = 0.005
) -> tuple[np.ndarray, np.ndarray]:
    """Two arms as good as each other on new images, right or wrong, runs × images. By `taste` A is better on some
    images and worse on others; runs differ by `spread` beyond the chance of single images."""
    easy = draws.uniform(0.35, 0.65, images)
    likes = draws.choice((-taste, taste), images)
    seeds = [draws.normal(0, spread, (count, 1)) for count in (runs, other)]
    return (
        draws.random((runs, images)) < easy + likes + seeds[0],
        draws.random((other, images)) < easy + seeds[1],
    )


def new_images_missed(runs: int, other: int, taste: float) -> Callable[[Draws], bool]:
    """Whether the interval for new seeds and new images leaves out the true difference, 0."""

    def study(draws: Draws) -> bool:
        a, b = right(draws, runs, other, 400, taste)
        low, high = random_effects_interval(a, b, level=0.95)
        return not low <= 0 <= high

    return study


def plainly_resampled(runs: int, spread: float) -> Callable[[Draws], bool]:
    """Whether the percentiles of plainly resampled runs and images leave out the true difference, 0."""

    def study(draws: Draws) -> bool:
        a, b = right(draws, runs, runs, 400, 0.0, spread)
        images = draws.multinomial(400, np.full(400, 1 / 400), size=300)
        rows = [draws.multinomial(runs, np.full(runs, 1 / runs), size=300) for _ in (a, b)]
        drawn = ((rows[0] @ a - rows[1] @ b) * images).sum(axis=1) / (400 * runs)
        low, high = np.quantile(drawn, (0.025, 0.975))
        return not low <= 0 <= high

    return study


def welch_on_new_images(draws: Draws) -> bool:
    """Whether Welch's interval, of new seeds only, leaves out the true difference on new images."""
    a, b = right(draws, 5, 5, 400, 0.3)
    arms = [Sample(name="arm", values=tuple(runs.mean(axis=1).tolist())) for runs in (a, b)]
    test = welch_test(*arms)
    assert test is not None
    return test.p < 0.05


def paired_missed(draws: Draws) -> bool:
    """Whether the interval of two models' difference leaves out the true one on new images."""
    a, b = right(draws, 1, 1, 100, 0.3)
    found = mcnemar_test(a[0], b[0])
    return not found.low <= 0 <= found.high


def paired_found(draws: Draws) -> bool:
    """Whether McNemar's test tells two models apart that are as good as each other."""
    a, b = right(draws, 1, 1, 500, 0.0)
    return mcnemar_test(a[0], b[0]).p < 0.05


def percentile_missed(n: int) -> Callable[[Draws], bool]:
    """Whether the percentile bootstrap's interval of a difference leaves out the true one, 0."""

    def study(draws: Draws) -> bool:
        a, b = draws.normal(size=n), draws.normal(size=n)
        drawn = [runs[draws.integers(n, size=(1000, n))].mean(axis=1) for runs in (a, b)]
        low, high = np.quantile(drawn[0] - drawn[1], (0.025, 0.975))
        return not low <= 0 <= high

    return study


def uncorrected(k: int, *, welchs: bool) -> Callable[[Draws], bool]:
    """Whether any of k arms without an effect differs 'significantly' from a baseline, 5 seeds each."""

    def study(draws: Draws) -> bool:
        baseline, *arms = draws.normal(size=(k + 1, 5))
        return bool(ttest_ind(arms, baseline[None, :], axis=1, equal_var=not welchs).pvalue.min() < 0.05)

    return study


DIFFERS: tuple[Judgement, ...] = ("better", "worse")
EQUAL: tuple[Judgement, ...] = ("practically equal",)


def rows() -> Iterator[Row]:
    """All that is measured."""
    for part in (rows_of_two, rows_of_power, rows_of_families, rows_of_sweeps, rows_of_images, rows_of_others):
        yield from part()


def rows_of_two() -> Iterator[Row]:
    """A against B."""
    part = "(a) A against B"
    for n in (5, 10):
        yield Row(part, f"better or worse where there is no difference, {n} seeds", 0.05, "≤", judged(DIFFERS, n, n))
    what = "better or worse where there is none, 5 against 15 seeds, spreads 3 to 1"
    yield Row(part, what, 0.05, "≤", judged(DIFFERS, 5, 15, spread=3 * SPREAD))
    for n, spread in ((5, 0.0005), (10, 0.001), (40, 0.003)):
        what = f"practically equal where the difference is δ, {n} seeds, σ = {100 * spread:g} points"
        yield Row(part, what, 0.05, "≤", judged(EQUAL, n, n, DELTA, spread, spread))
    yield Row(part, "the interval misses the true difference, 5 seeds", 0.05, "≤", missed(5, 5))
    what = "the interval misses the true difference, 5 against 10 seeds, spreads 1 to 3"
    yield Row(part, what, 0.05, "=", missed(5, 10, 3 * SPREAD))
    yield Row(part, "the interval of one arm's mean misses the true one, 5 seeds", 0.05, "=", mean_missed)
    yield Row(part, "the permutation test finds a difference where there is none, 5 seeds", 0.05, "≤", permuted)


def rows_of_families() -> Iterator[Row]:
    """Arms against a baseline."""
    part = ABLATION
    alike = [Family(k, n) for n in (5, 10) for k in (2, 4, 6, 8, 10, 12)]
    same_seeds = [Family(k, 5, 5) for k in (2, 6, 12)]
    wider, narrower, mixed = (3.0,), (1 / 3,), tuple(float(each) for each in range(1, 7))
    unlike = [
        *(Family(k, n, None, wider) for k, n in ((2, 5), (6, 5), (12, 5), (6, 7), (12, 10))),
        *(Family(k, 5, 5, spreads) for spreads in (wider, narrower) for k in (2, 12)),
        *(Family(k, 5, None, narrower) for k in (2, 12)),
        *(Family(k, 5, None, mixed) for k in (6, 12)),
    ]
    for each in (*alike, *same_seeds, *unlike):
        yield Row(part, f"better or worse where no arm differs: {each}", 0.05, "≤", each.any(DIFFERS), FAMILIES)
    for each in (Family(6, 5), Family(10, 5), Family(12, 5), Family(12, 10)):
        what = f"the same without the size correction: {each}"
        yield Row(part, what, None, "", each.any_uncorrected, FAMILIES)
    yield Row(part, "any interval of 6 misses the true difference, 10 seeds", 0.05, "≤", any_missed(6, 10), FAMILIES)
    for each in (Family(6, 5), Family(12, 5), Family(12, 5, None, wider)):
        what = f"practically equal where all differ by δ, σ = 0.05 points: {each}"
        yield Row(part, what, 0.05, "≤", each.any(EQUAL, DELTA, 0.0005), FAMILIES)
    for each in (Family(2, 5), Family(6, 5), Family(12, 5), Family(6, 10), Family(12, 10)):
        n_b = baseline_seeds(each.n, each.k)
        gain = detectable_difference(SPREAD, each.n, n_b, comparisons=each.k)
        what = f"an arm {100 * gain:.2f} points better, which the plan finds 80 % of the time, is found: {each}"
        yield Row(part, what, 0.8, "≥", each.first_found(gain))
        what = f"the same {100 * gain:.2f} points, without the size correction: {each}"
        yield Row(part, what, None, "", each.first_found(gain, corrected=False))
    what = f"screening, {MAX_ARMS + 1} arms, 8 of them 1 point better: a verdict picked at random is false"
    yield Row(part, what, 0.05, "≤", false_share(MAX_ARMS + 1, 8, 0.01))


def rows_of_sweeps() -> Iterator[Row]:
    """Dose curves."""
    part = "(c) Dose curve, 6 doses, 5 seeds each"
    yield Row(part, "an effect where there is none", 0.05, "=", sweep_matters([SPREAD] * 6))
    what = "an effect where there is none, spreads 1 to 6"
    yield Row(part, what, 0.05, "=", sweep_matters([SPREAD * place for place in range(1, 7)]))
    what = "the best dose is not in the plateau: a hill, its neighbours 0.1 points lower"
    hill = [-0.001 * (place - 3) ** 2 for place in range(6)]
    yield Row(part, what, 0.05, "≤", best_left_out(hill, 3))
    what = "the best dose is not in the plateau: two equal ones, the others 2 points lower"
    yield Row(part, what, 0.05, "≤", best_left_out([-0.02, -0.02, 0, 0, -0.02, -0.02], 2))


def rows_of_images() -> Iterator[Row]:
    """New images."""
    part = "New seeds and new images, 400 of them"
    for runs, other, taste in ((5, 5, 0.3), (5, 5, 0.0), (3, 3, 0.3), (5, 12, 0.3)):
        tastes = f"arms {'prefer other' if taste else 'find the same'} images{'' if taste else ' easy'}"
        what = f"the random-effects interval misses, {runs} against {other} seeds, {tastes}"
        yield Row(part, what, 0.05, "≤", new_images_missed(runs, other, taste))
    part = "Two trained models"
    yield Row(part, "McNemar's exact test tells equal models apart, 500 images", 0.05, "≤", paired_found)
    yield Row(part, "the paired interval misses the true difference, 100 images", 0.05, "=", paired_missed)


def rows_of_power() -> Iterator[Row]:
    """What must be found as often as was planned."""
    part = "(a) A against B"
    n = seeds_to_detect(0.0015, DELTA)
    what = f"better where A is δ better, the {n} seeds that 80 % take at σ = 0.15 points"
    yield Row(part, what, 0.8, "≥", judged(("better",), n, n, DELTA, 0.0015, 0.0015))
    n = seeds_for_equivalence(0.0015, DELTA)
    what = f"practically equal where there is no difference, the {n} seeds that 80 % take at σ = 0.15 points"
    yield Row(part, what, 0.8, "≥", judged(EQUAL, n, n, 0.0, 0.0015, 0.0015))
    gain = detectable_difference(SPREAD, 10, 25)
    what = f"better or worse at the {100 * gain:.2f} points that 10 against 25 seeds are to find 80 % of the time"
    yield Row(part, what, 0.8, "=", judged(DIFFERS, 10, 25, gain))


def rows_of_others() -> Iterator[Row]:
    """Rules that are not used, and what is said of them."""
    part = "What is not done"
    said = {3: (0.18, 0.19), 5: (0.12, 0.13)}
    for n, target in said.items():
        yield Row(part, f"the percentile bootstrap's interval misses, {n} seeds", target, "", percentile_missed(n))
    for n in said:
        yield Row(part, f"Welch's interval misses, {n} seeds", (0.03, 0.05), "", missed(n, n))
    for k, target in ((6, (0.17, 0.19)), (10, (0.27, 0.28))):
        for test in ("Welch", "Student"):
            what = f"any of {k} arms 'significant' where none differs, 5 seeds each, {test}'s test, not corrected"
            yield Row(part, what, target, "", uncorrected(k, welchs=test == "Welch"))
    what = "Welch's interval read as one for new images misses, arms prefer other images"
    yield Row(part, what, None, "", welch_on_new_images)
    for spread in (0.005, 0.05):
        what = f"percentiles of plainly resampled seeds and images miss, 3 seeds, {100 * spread:g} points apart"
        yield Row(part, what, None, "", plainly_resampled(3, spread))


def table(studies: int) -> str:
    """The table in Markdown."""
    lines = [
        "# How often the verdicts are wrong",
        "",
        f"{studies:,} simulated studies a row; `python benchmarks/statistics_rates.py` makes this page. The band holds",
        f"{100 * BAND:g} % of such tables where the true rate is the one in the column before. Normal data, α = 5 %,",
        f"σ between seeds {100 * SPREAD:g} points and δ = {100 * DELTA:g} points where nothing else is said.",
    ]
    part = ""
    for row in rows():
        if row.part != part:
            part = row.part
            head = "said to be" if part == "What is not done" else "should be"
            lines += [
                "",
                f"## {part}",
                "",
                *NOTES.get(part, ()),
                f"| what | rate | {head} | band | inside |",
                "|---|--:|--:|--:|:-:|",
            ]
        lines.append(line(row, row.measure(studies)))
    return "\n".join(lines)


def line(row: Row, rate: Rate) -> str:
    """A row of the table, in percent."""
    if row.target is None:
        return f"| {row.what} | {100 * rate.rate:.1f} % | | | |"
    low, high = rate.target
    target = f"{row.kind} {100 * low:g} %".strip() if low == high else f"{100 * low:g} to {100 * high:g} %"
    ends = [f"{100 * end:.1f}" for end in rate.band]
    band = {"≤": f"up to {ends[1]} %", "≥": f"from {ends[0]} %"}.get(row.kind, f"{ends[0]} to {ends[1]} %")
    return f"| {row.what} | {100 * rate.rate:.1f} % | {target} | {band} | {'yes' if rate.holds else 'no'} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=STUDIES, help=f"simulated studies a row (default {STUDIES})")
    print(table(parser.parse_args().studies))
