"""The speed of each augmentation, in images/s, against torchvision's transform image by image, in one run.

    python benchmarks/augmentation.py
    python benchmarks/augmentation.py --save benchmarks/results/augmentation.json

Random images of 32×32, on one thread. Ours is a batch with its draws; torchvision's is what a data loader's worker does
with one uint8 tensor after the other. The two take turns, round by round, so that a machine whose speed drifts slows
them alike; what is reported are medians.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torchvision.transforms import v2

from cnnlab.config.recipe import Data
from cnnlab.data.augmentation.augment import augment, sample_params
from cnnlab.training.device import choose_device, device_name

SMOOTH = v2.InterpolationMode.BILINEAR
SIZES = (64, 512)
# Images that torchvision changes one by one in a round.
ONE_BY_ONE = 256

THEIRS: dict[str, Callable[[torch.Tensor], torch.Tensor] | None] = {
    "crop(4)": v2.RandomCrop(32, padding=4),
    "crop(4, fill='reflect')": v2.RandomCrop(32, padding=4, padding_mode="reflect"),
    "flip": v2.RandomHorizontalFlip(),
    "alternating_flip": None,
    "vertical_flip": v2.RandomVerticalFlip(),
    "rotation(15)": v2.RandomRotation(15, SMOOTH),
    "rotation(15, 'nearest')": v2.RandomRotation(15),
    "translation(0.1)": v2.RandomAffine(0, (0.1, 0.1)),
    "scale(0.8, 1.2)": v2.RandomAffine(0, scale=(0.8, 1.2), interpolation=SMOOTH),
    "affine": v2.RandomAffine(15, (0.1, 0.1), (0.9, 1.1), 10, SMOOTH),
    "brightness(0.4)": v2.ColorJitter(brightness=0.4),
    "contrast(0.4)": v2.ColorJitter(contrast=0.4),
    "saturation(0.4)": v2.ColorJitter(saturation=0.4),
    "hue(0.1)": v2.ColorJitter(hue=0.1),
    "jitter(0.4, 0.4, 0.4, 0.1)": v2.ColorJitter(0.4, 0.4, 0.4, 0.1),
    "greyscale(0.2)": v2.RandomGrayscale(0.2),
    "invert": v2.RandomInvert(),
    "blur": v2.GaussianBlur(3),
    "blur(9)": v2.GaussianBlur(9),
    "noise(0.05)": v2.GaussianNoise(sigma=0.05),
    "erasing": v2.RandomErasing(),
    "cutout(8)": None,
    "posterize": v2.RandomPosterize(4),
    "solarize": v2.RandomSolarize(128),
    "randaugment": v2.RandAugment(),
    "trivialaugment": v2.TrivialAugmentWide(),
    "maybe(0.5, [crop(4), flip])": v2.RandomApply([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()]),
    "one_of([hue(0.1), blur, noise(0.05)])": v2.RandomChoice(
        [v2.ColorJitter(hue=0.1), v2.GaussianBlur(3), v2.GaussianNoise(sigma=0.05)]
    ),
}


def ours(call: str, images: torch.Tensor) -> float:
    """Images/s of a batch, with what it takes to draw for it."""
    choices = Data(source="benchmark", augment=[call]).augment
    began, rounds = time.perf_counter(), 0
    while (seconds := time.perf_counter() - began) < 0.1:
        augment(images, choices, sample_params(choices, 0, rounds, np.arange(len(images))))
        rounds += 1
    if images.device.type == "cuda":
        torch.cuda.synchronize()
        seconds = time.perf_counter() - began
    return rounds * len(images) / seconds


def one_by_one(change: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> float:
    """Images/s of torchvision's transform."""
    began = time.perf_counter()
    for image in images[:ONE_BY_ONE]:
        change(image)
    return min(ONE_BY_ONE, len(images)) / (time.perf_counter() - began)


def measure(rounds: int, device: torch.device) -> dict[str, dict[str, float | None]]:
    """For each augmentation its images/s by batch size, torchvision's, and the ratio at the smaller batch."""
    pixels = np.random.default_rng(0).integers(0, 256, (max(SIZES), 3, 32, 32), dtype=np.uint8)
    images = torch.from_numpy(pixels)
    there = images.to(device)
    found: dict[str, dict[str, float | None]] = {}
    for call, theirs in THEIRS.items():
        speeds: dict[str, list[float]] = {}
        for _ in range(rounds + 1):
            for size in SIZES:
                speeds.setdefault(f"batch {size}", []).append(ours(call, there[:size]))
            if theirs is not None:
                speeds.setdefault("torchvision", []).append(one_by_one(theirs, images))
        # The first round warms up.
        row: dict[str, float | None] = {name: statistics.median(values[1:]) for name, values in speeds.items()}
        ratios = zip(speeds[f"batch {SIZES[0]}"][1:], speeds.get("torchvision", [])[1:], strict=False)
        row["ratio"] = statistics.median(one / other for one, other in ratios) if theirs is not None else None
        found[call] = row
        print(_line(call, row), flush=True)
    return found


def _line(call: str, row: dict[str, float | None]) -> str:
    cells = [f"{row[f'batch {size}']:>12,.0f}" for size in SIZES]
    theirs = f"{row['torchvision']:>13,.0f}{row['ratio']:>9.1f}" if row["ratio"] is not None else f"{'–':>13}{'–':>9}"
    return f"{call:<40}{''.join(cells)}{theirs}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="of our batches; torchvision's images stay on the CPU")
    parser.add_argument("--save", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = choose_device(options.device)
    print(f"images/s, 3×32×32, {device_name(device)}, torch {torch.__version__}, 1 thread")
    heads = "".join(f"{f'batch {size}':>12}" for size in SIZES)
    print(f"{'':<40}{heads}{'torchvision':>13}{'ratio':>9}  (medians of {options.rounds} rounds)")
    speeds = measure(options.rounds, device)
    if options.save:
        result = {
            "command": f"python benchmarks/augmentation.py --rounds {options.rounds} --device {options.device}",
            "machine": device_name(device),
            "platform": platform.platform(),
            "torch": torch.__version__,
            "threads": 1,
            "images_per_second": speeds,
        }
        options.save.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
