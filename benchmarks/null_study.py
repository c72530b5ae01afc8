"""How often a comparison of an experiment with itself finds a difference, on real runs: those of benchmarks/null.toml.

    python -m cnnlab study benchmarks/null.toml --runs RUNS          # 48 runs of seconds
    python benchmarks/null_study.py RUNS --output benchmarks/results/null-study.md

The seeds' figures are drawn into arms, without replacement, again and again; each draw is judged as a study is.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cnnlab.randomness import generator
from cnnlab.stats.ablation import baseline_seeds, family_comparisons
from cnnlab.stats.comparison import Comparison, DecisionRules, compare
from cnnlab.stats.sample import Sample
from cnnlab.studies.folder import read_result, study_folder
from cnnlab.studies.result import StudyResult
from statistics_rates import BAND, Rate

DRAWS = 2000
ARMS, ARM_SEEDS = 6, 5  # with their baseline of 13 they take 43 of the 48 runs
FOUND = ("better", "worse")


class Row(NamedTuple):
    """A kind of study: the sizes of its arms, the baseline first, and how it is judged."""

    what: str
    sizes: tuple[int, ...]
    judged: Callable[[list[Sample], DecisionRules], tuple[Comparison, ...]]


class Found(NamedTuple):
    """What the draws of a row came to: studies in which a difference was found, and all comparisons by verdict."""

    wrong: Rate
    verdicts: Counter[str]

    def share(self, verdict: str) -> float:
        return self.verdicts[verdict] / self.verdicts.total()


def pair(arms: list[Sample], rules: DecisionRules) -> tuple[Comparison, ...]:
    """A against B."""
    return (compare(arms[1], arms[0], delta=rules.delta, alpha=rules.alpha),)


def ablation(arms: list[Sample], rules: DecisionRules) -> tuple[Comparison, ...]:
    """Each arm against the baseline, for all of them together."""
    return family_comparisons(arms[0], arms[1:], rules)


ROWS = (
    Row("A against B, 5 seeds each", (5, 5), pair),
    Row("A against B, 10 seeds each", (10, 10), pair),
    Row(
        f"{ARMS} arms of {ARM_SEEDS} seeds against a baseline of {baseline_seeds(ARM_SEEDS, ARMS)}",
        (baseline_seeds(ARM_SEEDS, ARMS), *[ARM_SEEDS] * ARMS),
        ablation,
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="the folder of runs")
    parser.add_argument("--study", default="null", help="what the study is called")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--output", type=Path, help="a .md file for the page")
    options = parser.parse_args()
    result = read_result(study_folder(options.runs, options.study))
    page = "\n".join(written(result, options.draws))
    print(page)
    if options.output:
        options.output.write_text(page + "\n", encoding="utf-8")


def measured(row: Row, figures: npt.NDArray[np.float64], rules: DecisionRules, draws: int) -> Found:
    """Draw the figures into arms of the row's sizes, and judge each draw."""
    stream = generator(0, f"null study: {row.what}")
    wrong, verdicts = 0, Counter[str]()
    ends = np.cumsum(row.sizes)
    for _ in range(draws):
        parts = np.split(stream.permutation(figures)[: ends[-1]], ends[:-1])
        arms = [Sample(name=str(number), values=tuple(part.tolist())) for number, part in enumerate(parts)]
        found = [comparison.verdict for comparison in row.judged(arms, rules)]
        verdicts.update(found)
        wrong += any(verdict in FOUND for verdict in found)
    return Found(Rate(wrong, draws, (rules.alpha, rules.alpha), "="), verdicts)


def written(result: StudyResult, draws: int) -> Iterator[str]:
    """The page."""
    sample = result.arms[0].sample
    figures = np.array(sample.finite)
    rules = DecisionRules(result.smallest_difference, result.alpha)
    yield "# A comparison of an experiment with itself"
    yield ""
    yield "`python benchmarks/null_study.py RUNS`, on the runs of benchmarks/null.toml."
    yield ""
    yield f"{len(sample.values)} runs of one recipe on {result.data}, which differ by their seed only;"
    yield f"{sample.failures} diverged. {result.metric.replace('_', ' ').capitalize()} on {result.images:,} images:"
    yield f"mean {figures.mean():.2%}, standard deviation {100 * figures.std(ddof=1):.2f} points,"
    yield f"{figures.min():.2%} to {figures.max():.2%}. δ is {rules.delta:.1%}, α {rules.alpha:.0%}."
    yield from (f"The study said: {note}." for note in result.notes)
    yield ""
    yield f"Drawn into arms {draws:,} times:"
    yield ""
    yield "| Study | better or worse | band | practically equal | undecided |"
    yield "|---|---:|---:|---:|---:|"
    for row in ROWS:
        found = measured(row, figures, rules, draws)
        low, high = found.wrong.band
        rate = f"{found.wrong.rate:.2%}{'' if found.wrong.holds else ' (outside)'}"
        shares = [f"{found.share(verdict):.1%}" for verdict in ("practically equal", "undecided")]
        yield f"| {' | '.join([row.what, rate, f'{low:.2%} to {high:.2%}', *shares])} |"
    yield ""
    yield "*Better or worse* counts the draws with such a verdict, in the last row on any of the arms; each is a"
    yield "mistake. The other two count comparisons."
    yield ""
    yield f"*What the band means.* Where the procedure errs in exactly {rules.alpha:.0%} of the draws from these runs,"
    yield f"{BAND:.1%} of such tables have their count in it: it is the exact binomial band of {draws:,} draws. The"
    yield "draws are independent of each other once the runs are given, but they share the runs: the band says nothing"
    yield f"of how much the rate would differ with {len(figures)} other runs, or with another recipe. Since the arms of"
    yield "a draw share no run, the variance of their difference is that of independent arms."


if __name__ == "__main__":
    main()
