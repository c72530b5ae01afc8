"""Training speed, in images/s, against a plain tutorial loop on the same images and network, in one run.

    python benchmarks/throughput.py                                   # the built-in shapes
    python benchmarks/throughput.py --source path/to/cifar10-jpeg.zip

The tutorial loop is what PyTorch's own beginners' tutorial does: PIL images, torchvision's transforms, a DataLoader
with two workers, 32-bit floats, `loss.item()` in every step. Both crop (padding 4) and flip. The contenders take turns,
round by round, so that a machine whose speed drifts slows them alike; what is reported are medians and ratios.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from cnnlab.config.recipe import Recipe
from cnnlab.context import NO_CALLBACKS
from cnnlab.data.dataset import open_dataset
from cnnlab.data.loader import ImageLoader
from cnnlab.models.build import build
from cnnlab.models.init import init_weights
from cnnlab.records import PrecisionConfig
from cnnlab.training.device import choose_device, device_name
from cnnlab.training.loop import SplitLoaders, TrainingState, fit
from cnnlab.training.precision import autotune_precision

RECIPE = Path(__file__).parents[1] / "recipes" / "lenet.toml"
AUGMENT = ["crop(padding=4)", "flip(0.5)"]
Contender = Iterator[float]


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """A tutorial's data set: a PIL image an item, changed by torchvision's transforms."""

    def __init__(self, feed: ImageLoader) -> None:
        self.images = [Image.fromarray(image.transpose(1, 2, 0)) for image in feed.pixels]
        self.labels = feed.labels.tolist()
        self.change = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(feed.mean, feed.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.change(self.images[index]), self.labels[index]


def tutorial(recipe: Recipe, feed: ImageLoader, network: nn.Module) -> Contender:
    """Epochs of the tutorial loop; yields images/s of each."""
    loader = DataLoader(Pictures(feed), batch_size=recipe.train.batch_size, shuffle=True, num_workers=2)
    network = network.to(feed.device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    while True:
        began, seen, running = time.perf_counter(), 0, 0.0
        for images, labels in loader:
            images, labels = images.to(feed.device), labels.to(feed.device)
            optimizer.zero_grad()
            loss = criterion(network(images), labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
            seen += len(labels)
        yield seen / (time.perf_counter() - began)


def ours(recipe: Recipe, feed: ImageLoader, network: nn.Module, way: PrecisionConfig) -> Contender:
    """Epochs of cnnlab's loop; yields images/s of each."""
    feed.memory_format = way.memory_format
    training = TrainingState(
        network, recipe.train, recipe.data, way, feed.device, feed.num_batches(recipe.train.batch_size)
    )
    for record in fit(training, SplitLoaders(feed, None, None, ()), NO_CALLBACKS.on_step):
        yield record.images_per_second


def main() -> None:
    options = _options()
    device = choose_device(options.device)
    overrides = {"data.source": options.source, "data.limit": options.images, "data.augment": AUGMENT}
    recipe = Recipe.read(RECIPE, {**overrides, "train.epochs": options.rounds + 1})
    dataset = open_dataset(recipe.data, seed=0)
    trace = recipe.model.trace(dataset.image_spec.shape, len(dataset.classes))

    def feed() -> ImageLoader:
        return ImageLoader(dataset.pixels("train"), dataset.labels("train"), dataset.mean, dataset.std, device)

    def network() -> nn.Module:
        made = build(trace)
        init_weights(made, "default", 0)
        return made.to(device)

    batch = next(feed().train_batches(recipe.train.batch_size, 0, 0))
    chosen = autotune_precision(recipe.train, network(), *batch)
    plain = PrecisionConfig(precision="fp32", memory_format="contiguous")
    layout = PrecisionConfig(precision="fp32", memory_format="channels_last")
    contenders: dict[str, Callable[[], Contender]] = {
        "tutorial fp32": lambda: tutorial(recipe, feed(), network()),
        "cnnlab fp32": lambda: ours(recipe, feed(), network(), plain),
        "cnnlab fp32 channels_last": lambda: ours(recipe, feed(), network(), layout),
        "cnnlab chosen": lambda: ours(recipe, feed(), network(), chosen),
    }
    speeds = _take_turns(contenders, options.rounds)
    _report(speeds, chosen, options, device)


def _take_turns(contenders: dict[str, Callable[[], Contender]], rounds: int) -> dict[str, list[float]]:
    running = {name: start() for name, start in contenders.items()}
    for contender in running.values():
        next(contender)  # the first epoch warms up
    return {
        name: list(speeds)
        for name, speeds in zip(
            running, zip(*([next(one) for one in running.values()] for _ in range(rounds)), strict=True), strict=True
        )
    }


def _report(
    speeds: dict[str, list[float]], chosen: PrecisionConfig, options: argparse.Namespace, device: torch.device
) -> None:
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    base = speeds["tutorial fp32"]
    source, threads = Path(options.source).name, torch.get_num_threads()
    print(f"LeNet, batch 64, crop + flip, {options.images:,} images of {source}, {device_name(device)}")
    print(f"torch {torch.__version__}, {threads} threads; chosen: {chosen.precision} {chosen.memory_format}")
    print(f"{'':<28}{'images/s':>10}{'lowest':>10}{'highest':>10}{'ratio':>8}  (medians of {options.rounds} rounds)")
    ratios = {}
    for name, values in speeds.items():
        ratios[name] = statistics.median(value / other for value, other in zip(values, base, strict=True))
        print(f"{name:<28}{medians[name]:>10,.0f}{min(values):>10,.0f}{max(values):>10,.0f}{ratios[name]:>8.2f}")
    if options.save:
        result = {
            "command": f"python benchmarks/throughput.py --source {source} --images {options.images}",
            "machine": device_name(device),
            "platform": platform.platform(),
            "torch": torch.__version__,
            "threads": threads,
            "chosen": chosen.model_dump(),
            "images_per_second": speeds,
            "median_ratio_to_tutorial": ratios,
        }
        options.save.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="shapes", help="a data source")
    parser.add_argument("--images", type=int, default=6400, help="training images an epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--save", type=Path, help="write the figures to this JSON file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
