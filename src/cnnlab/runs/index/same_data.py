"""Whether runs are of the same images, by their records. No torch."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cnnlab.config.arms import file_name
from cnnlab.data.sources.releases import CATALOGUE
from cnnlab.runs.index.run_index import FinishedRun

SHOWN_DIGITS = 12


def data_name(run: FinishedRun, runs: Sequence[FinishedRun]) -> str:
    """The identity of a run's data among that of others: two names are two data sets.

    It is the test set's if all runs have one, else the digest of the content. Runs of versions that recorded neither
    are distinguished by file name and classes, and may still be of different data.
    """
    classes = ", ".join(sorted(run.data.classes))
    if all(each.data.test_set for each in runs):
        return f"{classes}: {run.data.test_set}"
    if all(each.data.content for each in runs):
        return f"{classes}: {run.data.content}"
    return f"{classes}: {file_name(run.data.source)}"


def describe_data(run: FinishedRun) -> str:
    """Describe a run's data."""
    images = sum(run.data.splits.values())
    description = f"{file_name(run.data.source)}, {len(run.data.classes)} classes, {images:,} images"
    if run.data.test_set:
        return f"{description}, test set {run.data.test_set}"
    return f"{description}, content {run.data.content[:SHOWN_DIGITS] or 'not recorded'}"


def why_data_uncertain(runs: Sequence[FinishedRun]) -> str:
    """Why the images of these runs may differ; empty if they are known to be the same."""
    if {run.data.source for run in runs} <= CATALOGUE.keys() and len({run.data.source for run in runs}) == 1:
        return ""
    contents = {run.data.content for run in runs}
    if "" in contents:
        return "some of the runs were made before a run wrote down what its data held"
    return "it was changed, packed, or copied without its times between the runs" if len(contents) > 1 else ""


def is_same_source(one: str, other: str) -> bool:
    """Whether two sources may be the same data: equal, or one path is the end of the other.

    >>> is_same_source("data/faces", "/home/me/data/faces"), is_same_source("/a/faces", "/b/faces")
    (True, False)
    """
    if one == other:
        return True
    # A folder named cifar10 is not CIFAR-10.
    if one in CATALOGUE or other in CATALOGUE:
        return False
    short, long = sorted((_path_parts(one), _path_parts(other)), key=len)
    return bool(short) and long[-len(short) :] == short


def _path_parts(path: str) -> list[str]:
    return [step for step in re.split(r"[/\\]", path) if step not in ("", ".", "..")]
