"""The runs of a folder in tables: a list, their final figures, and what was published beside what was measured."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cnnlab.records import Record, Score
from cnnlab.render.document import Document
from cnnlab.render.formatting import (
    MISSING,
    NumberFormatter,
    format_count,
    format_duration,
    format_epoch,
    format_fraction,
    format_loss,
    shorten,
)
from cnnlab.render.result import Result, document
from cnnlab.render.tables import TextTable
from cnnlab.reports.claims import claims_table
from cnnlab.reports.run.tables import SPLITS, accuracy_interval
from cnnlab.runs.index.experiments import Experiment, RunMetrics, experiments
from cnnlab.runs.index.run_groups import format_threads
from cnnlab.runs.index.run_index import RunIndex, SkippedRun
from cnnlab.runs.index.summary import RunSummary


class ExperimentResults(Result):
    """The experiments of a folder of runs, and the runs that have no figures."""

    experiments: tuple[Experiment, ...]
    left_out: tuple[SkippedRun, ...] = ()


class RunList(Result):
    """The runs of a folder, as `cnnlab runs` lists them."""

    runs: tuple[RunSummary, ...]


class FinalScores(Record):
    """The final figures of a run's selected weights; a split that was not evaluated is None."""

    recipe: str
    seed: int
    run: str
    train: Score | None
    validation: Score | None
    test: Score | None


class FinalTable(Result):
    """The final figures of several runs, by recipe and seed, and the runs without figures."""

    runs: tuple[FinalScores, ...]
    left_out: tuple[SkippedRun, ...] = ()


@document.register
def _(results: ExperimentResults) -> Document:
    """A table of the runs, one of the claims, and one of the commands."""
    tables = [("Runs", _runs_table(results.experiments))]
    if any(experiment.claims for experiment in results.experiments):
        claims = (claim for experiment in results.experiments for claim in experiment.claims)
        tables.append(("Published and measured", claims_table(claims, of="recipe")))
    tables.append(("Commands", _commands_table(results.experiments)))
    return Document("Results", tables=tuple(tables), notes=tuple(_notes(results)))


@document.register
def _(result: RunList) -> Document:
    """A table with a row for each run."""
    heads = ("run", "status", "data", "#parameters", "#epochs", "#validation", "#test", "#time")
    rows = (
        (
            run.run,
            run.status,
            run.source,
            _cell(run.parameters, format_count),
            _cell(run.epochs, format_epoch),
            _cell(run.validation, format_fraction),
            _cell(run.test, format_fraction),
            _cell(run.seconds, format_duration),
        )
        for run in result.runs
    )
    return Document("Runs", tables=(("", TextTable.from_rows(heads, rows)),))


@document.register
def _(result: FinalTable) -> Document:
    """A row for each run: loss and accuracy of train, validation and test images."""
    heads = [f"#{split} {measure}" for split in SPLITS for measure in ("loss", "accuracy")]
    rows = (
        (
            shorten(run.run, 80),
            shorten(run.recipe, 80),
            str(run.seed),
            *(cell for split in SPLITS for cell in _final_cells(run, split)),
        )
        for run in result.runs
    )
    reading = "Of the selected weights, in eval mode, on un-augmented images; loss is the mean cross-entropy in nats."
    left_out = tuple(f"Left out: {run.run} ({run.reason})." for run in result.left_out)
    return Document(
        "Final figures",
        tables=(("", TextTable.from_rows(("run", "recipe", "#seed", *heads), rows)),),
        notes=(reading, *left_out),
    )


def _final_cells(run: FinalScores, split: str) -> tuple[str, str]:
    score: Score | None = getattr(run, split)
    return (MISSING, MISSING) if score is None else (format_loss(score.loss), format_fraction(score.accuracy))


def _cell(value: float | None, number: NumberFormatter) -> str:
    return MISSING if value is None else number(value)


def collect_results(
    runs: str | Path = "runs", recipes: str | Path | None = None, chosen: Iterable[Path] = ()
) -> ExperimentResults:
    """The finished runs of a folder, those of one recipe and several seeds together.

    Args:
        recipes: the folder of the files that were trained; by default those that come with cnnlab. Against them a
            shortened run is seen to be one.
        chosen: paths of run folders, or of folders that hold runs; these are taken instead of the folder's.
    """
    paths = list(chosen)
    index = RunIndex.of_paths(paths) if paths else RunIndex(Path(runs))
    index.recipes = Path(recipes) if recipes is not None else None
    found, left_out = experiments(index)
    return ExperimentResults(experiments=tuple(found), left_out=tuple(left_out))


def collect_final_table(runs: str | Path = "runs", chosen: Iterable[Path] = ()) -> FinalTable:
    """The final figures of the finished runs of a folder.

    Args:
        chosen: paths of run folders, or of folders that hold runs; these are taken instead of the folder's.

    Raises:
        RunError: there is no run at a path of `chosen`.
    """
    results = collect_results(runs, chosen=chosen)
    rows = (
        FinalScores(
            recipe=experiment.name,
            seed=run.seed,
            run=run.run,
            train=run.train,
            validation=run.validation,
            test=run.test,
        )
        for experiment in results.experiments
        for run in sorted(experiment.runs, key=lambda run: run.seed)
    )
    return FinalTable(runs=tuple(rows), left_out=results.left_out)


def _runs_table(experiments: Iterable[Experiment]) -> TextTable:
    measures = ("#train", "#validation", "#test", "#95 % interval")
    heads = ("recipe", "#seed", "trained on", "#epochs", "#minutes", "#images/s", "precision", *measures)
    return TextTable.from_rows(
        heads, (_run_row(experiment, run) for experiment in experiments for run in experiment.runs)
    )


def _run_row(experiment: Experiment, run: RunMetrics) -> tuple[str, ...]:
    bounds = accuracy_interval(run.test)
    return (
        shorten(experiment.name, 80),
        str(run.seed),
        f"{'only ' if experiment.limited else ''}{format_count(experiment.images)} of {shorten(experiment.data)}",
        _epochs(experiment, run),
        f"{run.seconds / 60:.1f}",
        format_count(run.images_per_second),
        run.precision_config.precision,
        *(
            MISSING if score is None else format_fraction(score.accuracy)
            for score in (run.train, run.validation, run.test)
        ),
        MISSING if bounds is None else f"{format_fraction(bounds[0])} to {format_fraction(bounds[1])}",
    )


def _epochs(experiment: Experiment, run: RunMetrics) -> str:
    """`10`, or `10 of 50` where the recipe's file asks for another number."""
    done = format_epoch(run.epochs)
    if run.epochs == experiment.epochs:
        return done
    epochs_text = (
        f"{done} of {experiment.epochs}" if run.epochs < experiment.epochs else f"{done}, not {experiment.epochs}"
    )
    return f"{epochs_text}{f' ({run.status})' if run.status in ('stopped early', 'budget spent') else ''}"


def _commands_table(experiments: Iterable[Experiment]) -> TextTable:
    rows = (
        (
            shorten(experiment.name, 80),
            ", ".join(str(seed) for seed in sorted({run.seed for run in experiment.runs})),
            experiment.command,
        )
        for experiment in experiments
    )
    return TextTable.from_rows(("recipe", "seeds", "`command"), rows)


def _notes(results: ExperimentResults) -> Iterable[str]:
    if results.experiments:
        yield (
            "Accuracies are of the selected weights, in eval mode, on un-augmented images; minutes are of training "
            "alone, without validations. The interval of one run's accuracy is Wilson's, of so many images; that of "
            "five runs or more, beside a published figure, is the prediction interval of one more run."
        )
    machines: dict[str, list[str]] = {}
    for experiment in results.experiments:
        for run in experiment.runs:
            where = f"{run.device}, {format_threads(run.processes, run.threads)}, torch {run.torch}"
            machines.setdefault(where, []).append(experiment.name)
    for where, names in machines.items():
        yield f"Machine: {where}: {', '.join(dict.fromkeys(names))}."
    yield from (f"Left out: {run.run} ({run.reason})." for run in results.left_out)
