"""Trains every recipe of a folder, each into a runs folder of its name; torchrun starts it in several processes."""

import sys
from pathlib import Path

import torch

from cnnlab import Recipe, train

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    for path in sorted(folder.glob("*.toml")):
        train(Recipe.read(path), runs=folder / path.stem, device="cpu")
