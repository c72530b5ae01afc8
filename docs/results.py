"""Write the tables of docs/results.md from a folder of runs: `python docs/results.py RUNS`.

They are what `cnnlab runs --claims --format markdown --runs RUNS` prints; the text around them stays.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cnnlab.reports.runs_table import ExperimentResults, collect_results

PAGE = Path(__file__).parent / "results.md"
BEGIN, END = "<!-- results -->\n", "<!-- /results -->\n"


def with_results(page: str, found: ExperimentResults) -> str:
    """Replace the tables between the two marks of the page."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{found.document().to_markdown()}\n{END}{after}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python docs/results.py RUNS")
    found = collect_results(sys.argv[1])
    if not found.experiments:
        raise SystemExit(f"no finished runs in {sys.argv[1]}")
    PAGE.write_text(with_results(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
