"""What keeping the features of a frozen part saves: one recipe trained with and without, start to end.

    python benchmarks/features.py                                     # 2,000 of the built-in shapes
    python benchmarks/features.py --source path/to/cifar10-jpeg.zip --output benchmarks/results/features

VGG11 with batch norm at 32×32, frozen up to its `features`, with a head of two dense layers, ten epochs. Its weights
are random: what they are costs nothing, and none have to be downloaded. Ratios count: the two take turns, so that a
machine whose speed drifts slows them alike. Images are decoded before, and each run with kept features makes them anew.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from cnnlab.config.recipe import Recipe
from cnnlab.context import RunContext
from cnnlab.data.decoding.cache import features_dir
from cnnlab.runs.run import run
from cnnlab.storage.run_folder import RunFolder
from cnnlab.training.device import choose_device, device_name

MODEL = {
    "backbone": "vgg11_bn(weights='none')",
    "cut": "features",
    "trainable": "none",
    "resize": "own",
    "head": ["globalpool", "dense(256)", "batchnorm", "relu", "dense(classes)"],
}
TRAIN = {"epochs": 10, "batch_size": 64, "optimizer": "adam(1e-3)", "test": "sealed", "predictions": "all"}
WAYS = {"anew for each batch": "never", "kept": "auto"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="shapes")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--validation", type=float, default=0.02, help="share of the source; 1,000 images of CIFAR-10")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--augment", action="append", default=[], help="such as flip")
    parser.add_argument("--output", type=Path, help="a file without its ending: .json and .md are written")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        # The first round without kept features decodes the images and times the ways of computing.
        _trained("never", options, Path(folder), epochs=1)
        for _ in range(options.rounds):
            found = {}
            for name, cache in WAYS.items():
                took, found[name] = _trained(cache, options, Path(folder))
                seconds[name].append(took)
        figures = _figures(options, seconds, found)
    print(_page(figures))
    if options.output:
        options.output.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")
        options.output.with_suffix(".md").write_text(_page(figures))


def _trained(
    cache: str, options: argparse.Namespace, folder: Path, epochs: int | None = None
) -> tuple[float, RunFolder]:
    """How long a run took from the recipe to its result, in seconds."""
    for path in features_dir().glob("*.npy"):
        path.unlink()
    train = {**TRAIN, "cache": cache, "precision": "fp32", "memory_format": "channels_last"}
    data = {
        "source": options.source,
        "limit": options.images,
        "augment": options.augment,
        "validation": options.validation,
    }
    made = Recipe.from_tables({"data": data, "model": MODEL, "train": train | ({"epochs": epochs} if epochs else {})})
    began = time.perf_counter()
    ended = run(made, RunContext(folder, device="cpu"), name=cache)
    return time.perf_counter() - began, ended


def _figures(
    options: argparse.Namespace, seconds: dict[str, list[float]], found: dict[str, RunFolder]
) -> dict[str, object]:
    anew, kept = found.values()
    record = kept.features()
    assert record is not None
    assert record.cached
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    parts = {part: [one.predictions(part).logits for one in (anew, kept)] for part in ("train", "validation")}
    device = choose_device("cpu")
    return {
        "command": f"python benchmarks/features.py --source {Path(options.source).name} --rounds {options.rounds}",
        "machine": device_name(device),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "threads": options.threads,
        "images": {part: len(logits[0]) for part, logits in parts.items()},
        "epochs": TRAIN["epochs"],
        "augment": options.augment,
        "seconds": seconds,
        "ratio": medians["anew for each batch"] / medians["kept"],
        "seconds_computing_features": record.seconds,
        "numbers_per_image": int(np.prod(record.shape)),
        "views": record.views,
        "bytes": record.bytes,
        "largest_difference_of_logits": {
            part: float(np.abs(one - other).max()) for part, (one, other) in parts.items()
        },
        "largest_logit": {part: float(np.abs(logits[0]).max()) for part, logits in parts.items()},
        "validation_accuracy": {name: one.result().validation.accuracy for name, one in found.items()},
    }


def _page(figures: dict[str, object]) -> str:
    seconds, differences, largest = (
        figures[name] for name in ("seconds", "largest_difference_of_logits", "largest_logit")
    )
    rows = [
        f"| {name} | {statistics.median(each) / 60:.2f} | {figures['validation_accuracy'][name]:.4f} |"
        for name, each in seconds.items()
    ]
    sizes = figures["images"]
    threads = f"{figures['threads']} thread{'s' if figures['threads'] > 1 else ''}"
    lines = [
        "# Features of a frozen part, kept or computed anew",
        "",
        f"`{figures['command']}` on {figures['machine']}, {threads}, torch {figures['torch']}: "
        f"VGG11_bn at 32×32, frozen; the head globalpool, dense(256), batchnorm, relu, dense(10); {figures['epochs']} "
        f"epochs on {sizes['train']:,} images, {sizes['validation']:,} to validate on. From the recipe to the result, "
        "decoding left out.",
        "",
        "| features | minutes | validation accuracy |",
        "|---|---:|---:|",
        *rows,
        "",
        f"Ratio: **{figures['ratio']:.1f}**. {figures['numbers_per_image']:,} numbers an image, {figures['views']} "
        f"view{'s' if figures['views'] > 1 else ''}, {figures['bytes'] / 1e6:.1f} MB, computed in "
        f"{figures['seconds_computing_features']:.0f} s, which is in the time above.",
        "",
        "Largest difference of the final logits, after both trainings: "
        + ", ".join(f"{differences[part]:.1e} of {largest[part]:.1f} ({part})" for part in differences)
        + ".",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
