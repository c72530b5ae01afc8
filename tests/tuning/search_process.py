"""A process that carries a search out; given as: python search_process.py SEARCH.toml RUNS [JOBS]."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from cnnlab.config.search import Search
from cnnlab.context import Callbacks, RunContext
from cnnlab.tuning.search import execute_search

if __name__ == "__main__":
    torch.set_num_threads(1)

    def say(*words: object) -> None:
        sys.stdout.write(" ".join(map(str, words)) + "\n")
        sys.stdout.flush()

    told = Callbacks(on_trial_progress=say, on_trial_end=lambda trial: say("ended", trial.number))
    search = Search.from_toml(Path(sys.argv[1]).read_text(encoding="utf-8"))
    jobs = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    execute_search(search, "search", RunContext(runs=Path(sys.argv[2]), device="cpu", callbacks=told), jobs=jobs)
