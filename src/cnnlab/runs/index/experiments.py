"""The runs of a folder as experiments: recipe, changes, and what came out beside what was published. No torch.

Runs of one recipe that differ in nothing but their seeds are one experiment.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cnnlab.config.arms import diff_recipes, file_name, format_override
from cnnlab.records import ClaimRecord, PrecisionConfig, Record, Score
from cnnlab.runs.claims import judge_claims, measured_value
from cnnlab.runs.index.finished_runs import LoadedRun, SkippedRun, group_names, group_runs, load_runs
from cnnlab.storage.run_folder import list_runs


class RunMetrics(Record):
    """One run: how long it trained, on what machine, and its final figures."""

    run: str
    seed: int
    status: str
    epochs: float
    seconds: float
    images_per_second: float
    precision_config: PrecisionConfig
    device: str
    threads: int
    processes: int = 1
    torch: str
    train: Score | None
    validation: Score | None
    test: Score | None


class ClaimMeasurements(Record):
    """One published figure and what each seed measured; of a seed that was run again, the last run counts."""

    claim: ClaimRecord
    data: str
    values: tuple[float, ...]
    seeds: tuple[int, ...]


class Experiment(Record):
    """Runs of one recipe, which differ in their seeds alone.

    `name` is the recipe's and what tells it from others of that name; `command` makes a run like these. `epochs` are
    those that the recipe's own file asks for; `images` were trained on, `limited` where they are not all there are.
    """

    recipe: str
    name: str
    command: str
    data: str
    images: int
    limited: bool
    epochs: int
    parameters: int
    runs: tuple[RunMetrics, ...]
    claims: tuple[ClaimMeasurements, ...]


def experiments(runs: Path, recipes: Path | None = None) -> tuple[list[Experiment], list[SkippedRun]]:
    """The experiments in a folder, by name, and the runs that have no figures.

    Args:
        recipes: the folder of the files that were trained; by default those that come with cnnlab. A run whose layers
            are those of the file of its name is told as that file and what was changed.
    """
    read, left_out = load_runs(list_runs(runs), recipes)
    left_out += [SkippedRun(run=run.folder.name, reason=run.result.status) for run in read if run.diverged]
    return group_experiments(run for run in read if not run.diverged), left_out


def group_experiments(runs: Iterable[LoadedRun], key: Callable[[LoadedRun], str] | None = None) -> list[Experiment]:
    """Runs that did not diverge as experiments, by name.

    Args:
        key: the same for runs of one experiment; by default two recipes of one content are two, each with its claims.
    """
    groups = group_runs(runs, key or (lambda run: f"{run.stem}\n{run.experiment_key}"))
    made = [_make_experiment(name, group) for name, group in zip(group_names(groups), groups, strict=True)]
    return sorted(made, key=lambda experiment: experiment.name)


def _make_experiment(name: str, group: Sequence[LoadedRun]) -> Experiment:
    *_, newest = group
    by_seed = {run.recipe.train.seed: run for run in group}
    return Experiment(
        recipe=newest.stem,
        name=name,
        command=_rerun_command(newest, sorted(by_seed)),
        data=file_name(newest.data.source),
        images=newest.data.splits["train"],
        limited=_is_limited(newest),
        epochs=_epochs_of_file(newest),
        parameters=newest.result.parameters,
        runs=tuple(map(_run_metrics, group)),
        claims=tuple(_claim_measurements(newest, dict(sorted(by_seed.items())))),
    )


def _is_limited(run: LoadedRun) -> bool:
    return run.recipe.data.limit is not None or run.recipe.data.per_class is not None


def _is_shortened(run: LoadedRun) -> bool:
    """Whether it trained on fewer images or for fewer epochs than its file asks, and not by the file's own rules."""
    file = run.file_recipe or run.recipe
    own_limits = [(recipe.data.limit, recipe.data.per_class) for recipe in (run.recipe, file)]
    if _is_limited(run) and (run.file_recipe is None or own_limits[0] != own_limits[1]):
        return True
    ends = [(recipe.train.epochs, recipe.train.stop, recipe.train.budget) for recipe in (run.recipe, file)]
    return run.result.epochs < file.train.epochs and ends[0] != ends[1]


def _epochs_of_file(run: LoadedRun) -> int:
    return (run.file_recipe or run.recipe).train.epochs


def _rerun_command(run: LoadedRun, seeds: Sequence[int]) -> str:
    """What makes such a run: of the recipe's own file where it is known, else of the run's."""
    changed = diff_recipes(run.recipe, run.file_recipe) if run.file_recipe else None
    if changed is None or run.file is None:
        words = ["cnnlab", "train", f"{run.folder.path.parent.name}/{run.folder.name}/recipe.toml"]
        changed = {}
    else:
        words = ["cnnlab", "train", f"{run.file.parent.name}/{run.file.name}"]
    for key, value in changed.items():
        words += ["--set", format_override(key, value)]
    own = run.file_recipe.train.seed if run.file_recipe and changed is not None else run.recipe.train.seed
    seeded = "" if list(seeds) == [own] else f" --seed {seeds[0] if len(seeds) == 1 else 'SEED'}"
    processes = run.environment.processes
    if processes > 1:
        words[:1] = ["torchrun", "--nproc-per-node", str(processes), "-m", "cnnlab"]
    return shlex.join(words) + seeded


def _run_metrics(run: LoadedRun) -> RunMetrics:
    result = run.result
    scores = {split: getattr(result, split) for split in ("train", "validation", "test")}
    return RunMetrics(
        run=run.folder.name,
        seed=run.recipe.train.seed,
        status=result.status,
        epochs=result.epochs,
        seconds=result.seconds,
        images_per_second=result.images_per_second,
        precision_config=run.precision_config,
        device=run.environment.device,
        threads=run.environment.threads,
        processes=run.environment.processes,
        torch=run.environment.torch,
        **{split: score.model_copy(update={"per_class": ()}) if score else None for split, score in scores.items()},
    )


def _claim_measurements(newest: LoadedRun, by_seed: dict[int, LoadedRun]) -> Iterable[ClaimMeasurements]:
    """The claims of the recipe's file, or of the run where that is not known, with the data each was published for."""
    recipe = newest.recipe.model_copy(update={"claims": (newest.file_recipe or newest.recipe).claims})
    results = {seed: run.result for seed, run in by_seed.items()}
    shortened = any(map(_is_shortened, by_seed.values()))
    for record in judge_claims(recipe, list(results.values()), newest.data):
        if record.verdict in ("reproduced", "differs") and shortened:
            record = record.model_copy(update={"verdict": "shortened"})
        values = {
            seed: value
            for seed, result in results.items()
            if (value := measured_value(record.name, result)) is not None
        }
        yield ClaimMeasurements(
            claim=record,
            data=recipe.claims[record.name].data or "",
            values=tuple(values.values()),
            seeds=tuple(values),
        )
