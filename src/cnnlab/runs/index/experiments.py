"""Experiments: runs that differ only in their seeds, with their published figures. No torch."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from cnnlab.config.arms import diff_recipes, experiment_settings, file_name, format_override
from cnnlab.records import ClaimRecord, PrecisionConfig, Record, Score
from cnnlab.render.formatting import format_count, format_epoch
from cnnlab.runs.claims import ClaimRun, judge_claims
from cnnlab.runs.index.run_groups import RunGroup, group_runs
from cnnlab.runs.index.run_index import FinishedRun, RunIndex, SkippedRun

# The settings that give a run fewer images, and fewer epochs.
LIMITS = ("data.limit", "data.per_class")
ENDS = ("train.epochs", "train.stop", "train.budget")


class RunMetrics(Record):
    """One run: its training time, its machine, and its final figures."""

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


class Experiment(Record):
    """Runs of one recipe that differ only in their seeds.

    `name` is the recipe's, with the settings that distinguish it from others of that name; `command` makes such a run.
    `epochs` are those of the recipe's file; `images` is the size of the training split, `limited` whether the recipe
    limits it.
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
    claims: tuple[ClaimRecord, ...]


def experiments(index: RunIndex) -> tuple[list[Experiment], list[SkippedRun]]:
    """The experiments among the runs of an index, by name, and the runs without figures.

    A run whose network is that of the recipe file of its name is described by that file and its changes.
    """
    finished, skipped = index.load()
    skipped += [SkippedRun(run=run.folder.name, reason=run.result.status) for run in finished if run.diverged]
    groups = group_runs((run for run in finished if not run.diverged), lambda run: f"{run.stem}\n{run.experiment_key}")
    return sorted(map(make_experiment, groups), key=lambda experiment: experiment.name), skipped


def make_experiment(group: RunGroup) -> Experiment:
    """Describe a group of runs, none of which diverged, and judge its recipe's claims by the last run of each seed."""
    newest, (by_seed, _) = group.runs[-1], group.one_per_seed()
    seeds = [run.seed for run in by_seed.runs]
    return Experiment(
        recipe=newest.stem,
        name=group.name,
        command=_rerun_command(newest, seeds),
        data=file_name(newest.data.source),
        images=newest.data.splits["train"],
        limited=_is_limited(newest),
        epochs=_epochs_of_file(newest),
        parameters=newest.result.parameters,
        runs=tuple(map(_run_metrics, group.runs)),
        claims=judge_claims(
            (newest.file_recipe or newest.recipe).claims,
            [ClaimRun(run.result, run.folder.epochs) for run in by_seed.runs],
            newest.data,
            of=group.name,
            seeds=seeds,
            shortened=_shortened_text(by_seed.runs),
        ),
    )


def _is_limited(run: FinishedRun) -> bool:
    return run.recipe.data.limit is not None or run.recipe.data.per_class is not None


def _is_shortened(run: FinishedRun) -> bool:
    """Whether it had fewer images or epochs than its file asks for, other than by the file's own rules.

    Where the file is gone, the run's provenance tells; a limited run without any counts as shortened.
    """
    if run.file_recipe is not None:
        file = experiment_settings(run.file_recipe)
        changed = {key for key in (*LIMITS, *ENDS) if run.settings.get(key) != file.get(key)}
    else:
        changed = set(run.provenance.overrides if run.provenance else LIMITS)
    limited = _is_limited(run) and not changed.isdisjoint(LIMITS)
    return limited or (not changed.isdisjoint(ENDS) and run.result.epochs < _epochs_of_file(run))


def _shortened_text(runs: Sequence[FinishedRun]) -> str:
    """How many epochs and images the runs had, where that is fewer than their file asks for."""
    if not any(map(_is_shortened, runs)):
        return ""
    epochs = sorted({run.result.epochs for run in runs})
    asked = _epochs_of_file(runs[0])
    texts = [f"{', '.join(map(format_epoch, epochs))} of {asked} epochs"] if epochs[0] < asked else []
    if _is_limited(runs[0]):
        texts.append(f"only {format_count(runs[0].data.splits['train'])} training images")
    return ", ".join(texts)


def _epochs_of_file(run: FinishedRun) -> int:
    asked = run.provenance.epochs if run.provenance is not None and run.file_recipe is None else None
    return asked or (run.file_recipe or run.recipe).train.epochs


def _rerun_command(run: FinishedRun, seeds: Sequence[int]) -> str:
    """The command that makes such a run, from the recipe's file if that is known, else from the run's recipe."""
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


def _run_metrics(run: FinishedRun) -> RunMetrics:
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
