"""Which runs of a study are there: a runs folder listed once, and looked up by task. No torch."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from cnnlab.errors import CnnlabError
from cnnlab.records import Environment, RunResult
from cnnlab.storage.run_folder import RunFolder

# A study's run is called by its study, arm and seed, and ends in its task's id: the work, and what makes it.
_ID = re.compile(r"-(?P<work>[0-9a-f]{12})-(?P<made>[0-9a-f]{6})$")


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, read."""

    folder: RunFolder
    result: RunResult
    environment: Environment


class RunIndex:
    """The runs in a folder at one moment; `damaged` says what is wrong with those that can't be read.

    With `any_code` a finished run of the same work counts that another version of cnnlab or torch made, or another
    device.
    """

    def __init__(self, runs: Path, any_code: bool = False) -> None:
        self.any_code = any_code
        self.damaged: dict[str, str] = {}
        self._by_id: dict[str, Path] = {}
        self._by_work: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(runs.iterdir()) if runs.is_dir() else []:
            if named := _ID.search(path.name):
                self._by_id.setdefault(named[0][1:], path)
                self._by_work[named["work"]].append(path)

    def find_finished(self, task: str) -> FinishedRun | None:
        """The finished run of a task's id; None where there is none that can be read."""
        own = self._by_id.get(task)
        others = self._by_work[task.rpartition("-")[0]] if self.any_code else []
        for path in [own, *others] if own is not None else others:
            folder = RunFolder(path.resolve())
            try:
                if (result := folder.result()) is not None:
                    return FinishedRun(folder, result, folder.environment())
            except CnnlabError as error:
                self.damaged[task] = f"{folder.name}: {error.problems[0].what}; remove it to have it made again"
        return None
