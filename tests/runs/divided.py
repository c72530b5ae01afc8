"""Trains every recipe of a folder, each into a runs folder of its name; torchrun starts it in several processes."""

import atexit
import os
import sys
from pathlib import Path

import torch

from cnnlab import Recipe, train


def check_threads() -> None:
    """Fail if gloo's threads outlive their groups: those that work while Python shuts down abort the process."""
    names = [(thread / "comm").read_text().strip() for thread in Path("/proc/self/task").glob("*")]
    if alive := [name for name in names if "gloo" in name]:
        sys.stderr.write(f"threads at the end: {alive}\n")
        sys.stderr.flush()
        os._exit(3)


if __name__ == "__main__":
    atexit.register(check_threads)
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    for path in sorted(folder.glob("*.toml")):
        train(Recipe.read(path), runs=folder / path.stem, device="cpu")
