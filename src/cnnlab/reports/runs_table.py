"""All runs of a folder in two tables: what came out of each, and what was published beside what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from pathlib import Path

from cnnlab.records import ClaimRecord, Record, Score
from cnnlab.render import formatting
from cnnlab.render.document import Sheet
from cnnlab.render.formatting import NONE
from cnnlab.render.tables import TextTable
from cnnlab.reports.run.tables import accuracy_interval
from cnnlab.runs.index.experiments import ClaimFigures, Experiment, RunFigures, experiments
from cnnlab.runs.index.finished_runs import LeftOut


class Results(Record):
    """The experiments of a folder of runs, and the runs that have no figures."""

    experiments: tuple[Experiment, ...]
    left_out: tuple[LeftOut, ...] = ()

    def sheet(self) -> Sheet:
        """A table of the runs, one of the claims, and one of the commands."""
        tables = [("Runs", _runs_table(self.experiments))]
        if any(experiment.claims for experiment in self.experiments):
            tables.append(("Published and measured", _claims_table(self.experiments)))
        tables.append(("Commands", _commands_table(self.experiments)))
        return Sheet("Results", tables=tuple(tables), notes=tuple(_notes(self)))

    def _repr_html_(self) -> str:
        return self.sheet().to_html()


def results(runs: str | Path = "runs", recipes: str | Path | None = None) -> Results:
    """The finished runs of a folder, those of one recipe and several seeds together.

    Args:
        recipes: the folder of the files that were trained; by default those that come with cnnlab. Against them a
            shortened run is seen to be one.
    """
    found, left_out = experiments(Path(runs), Path(recipes) if recipes is not None else None)
    return Results(experiments=tuple(found), left_out=tuple(left_out))


def _runs_table(found: Iterable[Experiment]) -> TextTable:
    measures = ("#train", "#validation", "#test", "#95 % interval")
    heads = ("recipe", "#seed", "trained on", "#epochs", "#minutes", "#images/s", "precision", *measures)
    return TextTable.of(heads, (_run_row(experiment, run) for experiment in found for run in experiment.runs))


def _run_row(experiment: Experiment, run: RunFigures) -> tuple[str, ...]:
    bounds = accuracy_interval(run.test)
    return (
        formatting.shown(experiment.name, 80),
        str(run.seed),
        f"{'only ' if experiment.limited else ''}{formatting.count(experiment.images)} of {formatting.shown(experiment.data)}",
        _epochs(experiment, run),
        f"{run.seconds / 60:.1f}",
        formatting.count(run.images_per_second),
        run.way.precision,
        *map(_accuracy, (run.train, run.validation, run.test)),
        NONE if bounds is None else f"{formatting.fraction(bounds[0])} to {formatting.fraction(bounds[1])}",
    )


def _accuracy(score: Score | None) -> str:
    return NONE if score is None else formatting.fraction(score.accuracy)


def _epochs(experiment: Experiment, run: RunFigures) -> str:
    """`10`, or `10 of 50` where the recipe's file asks for another number."""
    done = formatting.epoch(run.epochs)
    if run.epochs == experiment.epochs:
        return done
    asked = f"{done} of {experiment.epochs}" if run.epochs < experiment.epochs else f"{done}, not {experiment.epochs}"
    return f"{asked}{' (stopped early)' if run.status == 'stopped early' else ''}"


def _claims_table(found: Iterable[Experiment]) -> TextTable:
    heads = ("recipe", "figure", "#published", "#measured", "#interval or range", "seeds", "remarks")
    return TextTable.of(heads, (_claim_row(experiment, claim) for experiment in found for claim in experiment.claims))


def _claim_row(experiment: Experiment, figures: ClaimFigures) -> tuple[str, ...]:
    claim = figures.claim
    number = formatting.count if claim.name == "parameters" else formatting.loss
    return (
        formatting.shown(experiment.name, 80),
        claim.name.replace("_", " "),
        formatting.count(claim.published) if claim.name == "parameters" else f"{claim.published:g}",
        NONE if claim.measured is None else number(claim.measured),
        _spread(figures, number),
        ", ".join(map(str, figures.seeds)) or NONE,
        "; ".join(_remarks(experiment, figures)),
    )


def _spread(figures: ClaimFigures, number: formatting.Number) -> str:
    """Of one run the interval of its images, of several the smallest and the largest."""
    values = [value for value in figures.values if isfinite(value)]
    several = (min(values), max(values)) if len(values) > 1 else None
    low, high = several or (figures.claim.low, figures.claim.high)
    if low is None or high is None or figures.claim.name == "parameters":
        return NONE
    return f"{number(low)} to {number(high)}"


def _remarks(experiment: Experiment, figures: ClaimFigures) -> Iterable[str]:
    """Why the two figures need not agree, and whose the published one is."""
    claim = figures.claim
    if claim.name == "parameters":
        yield claim.verdict
    else:
        if claim.verdict == "reproduced":
            yield "reproduced: within the interval of one more run"
        if claim.verdict == "differs":
            yield f"differs: {differs(claim)}"
        if claim.verdict == "other data":
            yield f"other data: published for {formatting.shown(figures.data)}"
        elif not figures.data:
            yield "data not stated"
        counted = {run.seed: run for run in experiment.runs if run.seed in figures.seeds}
        other = [run for run in counted.values() if run.epochs != experiment.epochs]
        yield from sorted({f"epochs: {_epochs(experiment, run)}" for run in other})
        if experiment.limited:
            yield f"only {formatting.count(experiment.images)} training images"
    yield from (formatting.shown(text, 120) for text in (claim.note, claim.source) if text)


def differs(claim: ClaimRecord) -> str:
    """By how much, and to which side."""
    gap = claim.difference or 0.0
    number = formatting.count if claim.name == "parameters" else formatting.loss
    return f"ours is {number(abs(gap))} {'higher' if gap > 0 else 'lower'}"


def _commands_table(found: Iterable[Experiment]) -> TextTable:
    rows = ((formatting.shown(experiment.name, 80), _seeds(experiment), experiment.command) for experiment in found)
    return TextTable.of(("recipe", "seeds", "`command"), rows)


def _seeds(experiment: Experiment) -> str:
    return ", ".join(str(seed) for seed in sorted({run.seed for run in experiment.runs}))


def _notes(found: Results) -> Iterable[str]:
    if found.experiments:
        yield (
            "Accuracies are of the selected weights, in eval mode, on un-augmented images; minutes are of training "
            "alone, without validations. The interval of a test accuracy is Wilson's, of so many test images. Beside a "
            "published figure stands the same for one seed; for several seeds the mean, the smallest and the largest."
        )
    yield from _machines(found.experiments)
    for run in found.left_out:
        yield f"Left out: {run.run} ({run.reason})."


def _machines(found: Sequence[Experiment]) -> Iterable[str]:
    """Where the runs were made; with several machines, which recipes on which."""
    made: dict[str, list[str]] = {}
    for experiment in found:
        for run in experiment.runs:
            threads = formatting.plural(run.threads, "thread")
            computed = f"{run.processes} processes of {threads}" if run.processes > 1 else threads
            where = f"{run.device}, {computed}, torch {run.torch}"
            names = made.setdefault(where, [])
            if experiment.name not in names:
                names.append(experiment.name)
    for where, names in made.items():
        yield f"Machine: {where}." if len(made) == 1 else f"Machine: {where}: {', '.join(names)}."
