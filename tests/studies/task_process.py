"""Carries out the study of a file, and writes down how each run ended; see test_faults.py."""

import sys
from pathlib import Path

from cnnlab.config.study import Study
from cnnlab.context import Callbacks, RunContext
from cnnlab.studies.study import execute_study

if __name__ == "carrier":
    file, runs, journal = map(Path, sys.argv[1:])

    def note(_: object, outcome: object) -> None:
        with journal.open("a") as lines:
            lines.write(f"{outcome.id} {outcome.status}\n")

    execute_study(
        Study.read(file), "colours", RunContext(runs=runs, device="cpu", callbacks=Callbacks(on_task_end=note))
    )
