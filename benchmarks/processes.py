"""Two processes against one: the loss curves side by side, and images/s.

    python benchmarks/processes.py                                   # the built-in shapes
    python benchmarks/processes.py --source path/to/cifar10-jpeg.zip --output benchmarks/results/processes.json

Both train LeNet with crop, flip and a fixed way of computing, 32-bit floats, on the same images; one process with all
of the machine's threads, then torchrun's processes with their share of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from cnnlab.records import EpochRecord
from cnnlab.storage.run_folder import RunFolder, list_runs

RECIPE = Path(__file__).parents[1] / "recipes" / "lenet.toml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="shapes")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--limit", type=int, default=10_000, help="training images, at most")
    parser.add_argument("--output", type=Path, help="a .json file for the figures")
    options = parser.parse_args()
    threads = max(1, torch.get_num_threads() // options.processes)
    with tempfile.TemporaryDirectory() as folder:
        one = _train([sys.executable, "-m", "cnnlab"], Path(folder, "one"), options, {})
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        launcher += ["--nproc-per-node", str(options.processes), "-m", "cnnlab"]
        many = _train(launcher, Path(folder, "many"), options, {"OMP_NUM_THREADS": str(threads)})
        figures = {
            "machine": one.environment().processor,
            "torch": torch.__version__,
            "source": one.data().source,
            "images": one.data().splits["train"],
            "threads": {"one": torch.get_num_threads(), "each of many": threads},
            "processes": options.processes,
            "epochs": [_together(*pair) for pair in zip(one.epochs(), many.epochs(), strict=True)],
        }
    _show(figures)
    if options.output:
        options.output.write_text(json.dumps(figures, indent=2) + "\n")


def _train(command: list[str], runs: Path, options: argparse.Namespace, extra: dict[str, str]) -> RunFolder:
    settings = [f"data.source={options.source}", f"data.limit={options.limit}", f"train.epochs={options.epochs}"]
    settings += ["data.augment=['crop(4)', 'flip(0.5)']", "train.precision=fp32", "train.test=sealed"]
    arguments = [word for setting in settings for word in ("--set", setting)]
    whole = [*command, "train", str(RECIPE), "--runs", str(runs), "--device", "cpu", *arguments]
    subprocess.run(whole, check=True, env={**os.environ, **extra}, stdout=subprocess.DEVNULL)
    return list_runs(runs)[0]


def _together(one: EpochRecord, many: EpochRecord) -> dict[str, object]:
    assert one.validation is not None
    assert many.validation is not None
    return {
        "epoch": one.epoch,
        "train_loss": [one.train.loss, many.train.loss],
        "validation_loss": [one.validation.loss, many.validation.loss],
        "images_per_second": [round(one.images_per_second), round(many.images_per_second)],
    }


def _show(figures: dict[str, object]) -> None:
    many = figures["processes"]
    print(f"| epoch | train loss, 1 process | {many} processes | validation loss, 1 process | {many} processes |")
    print("|---|---|---|---|---|")
    for point in figures["epochs"]:
        losses = [*point["train_loss"], *point["validation_loss"]]
        print(f"| {point['epoch']:g} | " + " | ".join(f"{loss:.6f}" for loss in losses) + " |")
    speeds = [point["images_per_second"] for point in figures["epochs"]]
    print("\nimages/s, epoch by epoch: " + ", ".join(f"{one:,} and {many:,}" for one, many in speeds))


if __name__ == "__main__":
    main()
