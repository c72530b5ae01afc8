"""Whether runs are of the same images, as far as their records tell. No torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence

from cnnlab.config.arms import file_name
from cnnlab.data.sources.releases import CATALOGUE
from cnnlab.runs.index.finished_runs import LoadedRun

SHOWN_DIGITS = 12


def data_name(run: LoadedRun, runs: Sequence[LoadedRun]) -> str:
    """What names a run's data among that of others; two names are two data sets.

    Where all have test images, those name it, wherever the files lie; else the digest of what it holds. Runs that were
    made before that was written down are told apart by the file's name, the classes, and by what must be the same for
    runs that split the same images in the same way; that they have one name is no proof that they are the same.
    """
    classes = ", ".join(sorted(run.data.classes))
    if all(each.data.test_set for each in runs):
        return f"{classes}: {run.data.test_set}"
    if all(each.data.content for each in runs):
        return f"{classes}: {run.data.content}"
    counts = _variant(run, runs, _sizes, lambda each: tuple(sorted(each.data.splits.items())))
    split = _variant(run, runs, lambda each: (_sizes(each), _split_seed(each)), lambda each: each.data.split_hash)
    return f"{classes}: {file_name(run.data.source)}, {counts}, {split}"


def describe_data(run: LoadedRun) -> str:
    """A run's data in words."""
    images = sum(run.data.splits.values())
    description = f"{file_name(run.data.source)}, {len(run.data.classes)} classes, {images:,} images"
    if run.data.test_set:
        return f"{description}, test set {run.data.test_set}"
    if run.data.content:
        return f"{description}, content {run.data.content[:SHOWN_DIGITS]}"
    return f"{description}, split {run.data.split_hash[:SHOWN_DIGITS]}"


def why_data_uncertain(runs: Sequence[LoadedRun]) -> str:
    """Why it is not known that all images of these runs are the same; empty where they are known to be."""
    if {run.data.source for run in runs} <= CATALOGUE.keys() and len({run.data.source for run in runs}) == 1:
        return ""
    contents = {run.data.content for run in runs}
    if "" in contents:
        return "some of the runs were made before a run wrote down what its data held"
    return "it was changed, packed, or copied without its times between the runs" if len(contents) > 1 else ""


def is_same_source(one: str, other: str) -> bool:
    """Whether two recipes may mean the same data by these: a path seen from elsewhere ends as the other one does.

    >>> is_same_source("data/faces", "/home/me/data/faces"), is_same_source("/a/faces", "/b/faces")
    (True, False)
    """
    if one == other:
        return True
    # A folder that is called cifar10 is not CIFAR-10.
    if one in CATALOGUE or other in CATALOGUE:
        return False
    short, long = sorted((_path_parts(one), _path_parts(other)), key=len)
    return bool(short) and long[-len(short) :] == short


def _variant(
    run: LoadedRun,
    runs: Sequence[LoadedRun],
    group_key: Callable[[LoadedRun], Hashable],
    distinguishing_value: Callable[[LoadedRun], Hashable],
) -> int:
    """Which of the different facts a run has, of those of the runs that are alike: one data set has one."""
    facts = [distinguishing_value(each) for each in runs if group_key(each) == group_key(run)]
    return list(dict.fromkeys(facts)).index(distinguishing_value(run))


def _sizes(run: LoadedRun) -> Hashable:
    data = run.recipe.data
    return data.validation, data.test, data.limit, data.per_class


def _split_seed(run: LoadedRun) -> int:
    return run.seed if run.recipe.data.split_seed is None else run.recipe.data.split_seed


def _path_parts(path: str) -> list[str]:
    return [step for step in re.split(r"[/\\]", path) if step not in ("", ".", "..")]
