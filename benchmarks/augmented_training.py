"""What augmentation costs a training, in images/s: LeNet with none, crop and flip, and sapienza-2021's full list.

    python benchmarks/augmented_training.py                                   # the built-in shapes
    python benchmarks/augmented_training.py --source path/to/cifar10-jpeg.zip --output figures.json

The three take turns, round by round, so that a machine whose speed drifts slows them alike; medians and ratios count.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch

from cnnlab.config.recipe import Recipe
from cnnlab.context import RunContext
from cnnlab.runs.setup import TrainingSetup
from cnnlab.training.device import choose_device, device_name
from cnnlab.training.loop import SplitLoaders, fit

RECIPE = Path(__file__).parents[1] / "recipes" / "lenet.toml"
CROP_AND_FLIP = ["crop(padding=4)", "flip(0.5)"]
LISTS = {
    "none": [],
    "crop + flip": CROP_AND_FLIP,
    "crop + flip + greyscale + jitter + blur": [
        *CROP_AND_FLIP,
        "greyscale(0.2)",
        "maybe(0.4, [jitter(0.4, 0.4, 0.4, 0.1)])",
        "blur",
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="shapes")
    parser.add_argument("--images", type=int, default=6400, help="of an epoch, which is a round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, help="a .json file for the figures")
    options = parser.parse_args()
    device = choose_device(options.device)
    setups = {name: _bench(calls, options, device) for name, calls in LISTS.items()}
    speeds: dict[str, list[float]] = {name: [] for name in LISTS}
    for turn in range(options.rounds + 1):
        for name, setup in setups.items():
            speed = _round(setup)
            if turn:  # the first one warms up
                speeds[name].append(speed)
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    for name, median in medians.items():
        print(f"{name:42}{median:8,.0f} images/s{median / medians['none']:8.2f}")
    if options.output:
        figures = {
            "command": f"python benchmarks/augmented_training.py --source {Path(options.source).name}",
            "machine": device_name(device),
            "platform": platform.platform(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "way": setups["none"].precision_config.model_dump(),
            "images_per_second": speeds,
        }
        options.output.write_text(json.dumps(figures, indent=2) + "\n")


def _bench(calls: list[str], options: argparse.Namespace, device: torch.device) -> TrainingSetup:
    changes = {"data.source": options.source, "data.limit": options.images, "data.augment": calls}
    recipe = Recipe.read(RECIPE, {**changes, "train.epochs": 1})
    return TrainingSetup.prepare(recipe, RunContext(device=device.type))


def _round(setup: TrainingSetup) -> float:
    """Images/s of one epoch from the start, without validation."""
    training = setup.training()
    began = time.perf_counter()
    for _ in fit(training, SplitLoaders(setup.train_loader, None, None, setup.dataset.classes), lambda *_: None):
        pass
    return len(setup.train_loader) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
