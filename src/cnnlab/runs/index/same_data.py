"""Whether runs are of the same images, as far as their records tell. No torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence

from cnnlab.config.arms import file_name
from cnnlab.data.sources.releases import CATALOGUE
from cnnlab.runs.index.finished_runs import ReadRun

SHOWN_DIGITS = 12


def name_of_data(run: ReadRun, among: Sequence[ReadRun]) -> str:
    """What names a run's data among that of others; two names are two data sets.

    Where all have test images, those name it, wherever the files lie; else the digest of what it holds. Runs that were
    made before that was written down are told apart by the file's name, the classes, and by what must be the same for
    runs that split the same images in the same way; that they have one name is no proof that they are the same.
    """
    classes = ", ".join(sorted(run.data.classes))
    if all(each.data.test_set for each in among):
        return f"{classes}: {run.data.test_set}"
    if all(each.data.content for each in among):
        return f"{classes}: {run.data.content}"
    counts = _variant(run, among, _sizes, lambda each: tuple(sorted(each.data.parts.items())))
    split = _variant(run, among, lambda each: (_sizes(each), _split_seed(each)), lambda each: each.data.split_hash)
    return f"{classes}: {file_name(run.data.source)}, {counts}, {split}"


def told_data(run: ReadRun) -> str:
    """A run's data in words."""
    images = sum(run.data.parts.values())
    told = f"{file_name(run.data.source)}, {len(run.data.classes)} classes, {images:,} images"
    if run.data.test_set:
        return f"{told}, test set {run.data.test_set}"
    if run.data.content:
        return f"{told}, content {run.data.content[:SHOWN_DIGITS]}"
    return f"{told}, split {run.data.split_hash[:SHOWN_DIGITS]}"


def why_unsure(runs: Sequence[ReadRun]) -> str:
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
    short, long = sorted((_steps(one), _steps(other)), key=len)
    return bool(short) and long[-len(short) :] == short


def _variant(
    run: ReadRun, among: Sequence[ReadRun], alike: Callable[[ReadRun], Hashable], fact: Callable[[ReadRun], Hashable]
) -> int:
    """Which of the different facts a run has, of those of the runs that are alike: one data set has one."""
    facts = [fact(each) for each in among if alike(each) == alike(run)]
    return list(dict.fromkeys(facts)).index(fact(run))


def _sizes(run: ReadRun) -> Hashable:
    data = run.recipe.data
    return data.validation, data.test, data.limit, data.per_class


def _split_seed(run: ReadRun) -> int:
    return run.seed if run.recipe.data.split_seed is None else run.recipe.data.split_seed


def _steps(path: str) -> list[str]:
    return [step for step in re.split(r"[/\\]", path) if step not in ("", ".", "..")]
