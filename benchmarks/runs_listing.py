"""How long `cnnlab runs` takes over many run folders: the first time, when it reads every one, and from then on.

    python benchmarks/runs_listing.py RUN [N …]

The records of RUN are copied into N folders (2,000 and 10,000) in a temporary place. Times are of whole
processes; where other programs compute, too, the processor's time is the fairer one.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECORDS = ("recipe.toml", "result.json")
REPEATS = 3


def listing_seconds(runs: Path) -> tuple[float, float]:
    """The wall time and the processor's time of one `cnnlab runs` in a process of its own, start of Python included."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "cnnlab", "runs", "--runs", str(runs)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def make_runs(run: Path, runs: Path, number: int) -> None:
    """Copy the records of a run into so many folders."""
    for index in range(number):
        folder = runs / f"20260101-{index:06}-copy"
        folder.mkdir()
        for name in RECORDS:
            shutil.copyfile(run / name, folder / name)


def main() -> None:
    run, numbers = Path(sys.argv[1]), [int(word) for word in sys.argv[2:]] or [2_000, 10_000]
    for number in numbers:
        with tempfile.TemporaryDirectory() as place:
            make_runs(run, Path(place), number)
            time.sleep(3)  # what was just written is not trusted by its time stamp
            first = listing_seconds(Path(place))
            times = (("first", *first), ("again", *min(listing_seconds(Path(place)) for _ in range(REPEATS))))
            told = (f"{name} {wall:.2f} s ({processor:.2f} s of the processor)" for name, wall, processor in times)
            print(f"{number:,} runs: {', '.join(told)}, best of {REPEATS}", flush=True)


if __name__ == "__main__":
    main()
