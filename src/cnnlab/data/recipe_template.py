"""A first recipe for a folder of images, with the reason for each choice beside it. No torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median_low

import numpy as np

from cnnlab.data.sources.base import Split
from cnnlab.data.sources.image_folder import ImageFolder
from cnnlab.data.sources.releases import CATALOGUE
from cnnlab.data.splits import TEST_FRACTION, held_out_counts

# Larger images cost much and help little in a network this small.
MAX_IMAGE_SIDE = 128
# The last maps are about this wide: enough to keep positions, small enough for the dense layer after them.
LAST_MAP_SIDE = 5
MAX_BLOCKS = 5
FIRST_FILTERS = 32
MAX_FILTERS = 256
# On fewer images than this the accuracy of several epochs is often the same.
MIN_VALIDATION_IMAGES = 200

PHOTO_BACKBONE_HINT = """# Photographs: a pretrained network may do better, in place of `layers` and of `size` above:
# backbone = "resnet18(weights='imagenet')"
"""


@dataclass(frozen=True)
class SourceSummary:
    """The facts about a source that its recipe depends on.

    Attributes:
        source: what the recipe calls it.
        sizes: how many images have each (height, width), the most first.
        split_sizes: how many images each split has.
        per_class: how many images each class has in the train split.
    """

    source: str
    channels: int
    sizes: Mapping[tuple[int, int], int]
    split_sizes: Mapping[Split, int]
    per_class: tuple[int, ...]


def summarize_source(files: ImageFolder) -> SourceSummary:
    """Summarise the listing and the headers of a source; no image is decoded.

    Raises:
        SourceError: no image's header can be read.
    """
    stats = files.scan_headers()
    # In a recipe a name of the catalogue means the catalogue's data set, and not a folder of that name.
    source = f"./{files.name}" if files.name in CATALOGUE else files.name
    counts = {split: files.num_images(split) for split in files.splits}
    per_class = np.bincount(files.labels("train"), minlength=len(files.classes)).tolist()
    return SourceSummary(source, stats.channels, stats.sizes, counts, tuple(per_class))


def recipe_template(summary: SourceSummary) -> str:
    """A recipe as TOML, each choice with its reason in a comment."""
    size, size_reason = _choose_size(summary.sizes)
    splits = ", ".join(f"{count:,} in {split}" for split, count in summary.split_sizes.items())
    held_out, num_train = _held_out_lines(summary)
    colours = "every image is grey" if summary.channels == 1 else "there are colours"
    return f"""# A first recipe for {len(summary.per_class)} classes of images: {splits}.
# `cnnlab describe` shows its layers, `cnnlab train` trains it. Change what you like; --set tries a change.

[data]
source = {json.dumps(summary.source, ensure_ascii=False)}  # a path, relative to where the command is run
{held_out}size = {list(size)}  # [height, width]: {size_reason}
channels = {summary.channels}  # {colours}
augment = ["crop(padding={max(1, round(min(size) / 12))})", "flip(0.5)"]  # shifts by up to 1/12; no flip for letters

{_model_section(size, summary)}
{_train_section(summary, num_train, has_validation="validation = 0.0" not in held_out)}"""


def _held_out_lines(summary: SourceSummary) -> tuple[str, int]:
    """The lines for splits that the source lacks, and how many images are left to train on."""
    few = summary.split_sizes["train"] < 2000
    reason = "few images: a smaller share would judge by chance" if few else "enough images to judge by"
    wanted: list[tuple[Split, float, str]] = [
        ("test", TEST_FRACTION, "the source has no test folder; the same images are held out for every seed"),
        ("validation", 0.15 if few else 0.1, f"held out of train, of each class alike; {reason}"),
    ]
    lines = ""
    counts = np.array(summary.per_class)
    for split, fraction, why in wanted:
        if split not in summary.split_sizes:
            held_out = held_out_counts(counts, fraction)
            counts = counts - held_out
            if not held_out.any():
                fraction, why = 0.0, "no class has an image to spare for it: add images"
            lines += f"{split} = {fraction}  # {why}\n"
    return lines, int(counts.sum())


def _model_section(size: tuple[int, int], summary: SourceSummary) -> str:
    blocks = num_blocks(size)
    widths = [min(FIRST_FILTERS * 2**block, MAX_FILTERS) for block in range(blocks)]
    rows = "".join(f'    "conv({width}, 3, padding=1)", "batchnorm", "relu", "maxpool(2)",\n' for width in widths)
    height, width = (side // 2**blocks for side in size)
    return f"""[model]
{PHOTO_BACKBONE_HINT if summary.channels == 3 else ""}\
# {blocks} halvings bring {size[0]}×{size[1]} to {height}×{width}; filters double as the maps shrink.
# Batch normalisation: fast learning from few images; dropout: less learning by heart.
layers = [
{rows}\
    "flatten", "dropout(0.3)", "dense(128)", "relu",
    "dense(classes)",
]
"""


def num_blocks(size: tuple[int, int]) -> int:
    """How many halvings bring the shorter side to about `LAST_MAP_SIDE`, at most `MAX_BLOCKS`."""
    return min(MAX_BLOCKS, max(0, round(math.log2(min(size) / LAST_MAP_SIDE))))


def _train_section(summary: SourceSummary, num_train: int, has_validation: bool) -> str:
    batch, epochs = (min(16, num_train), 60) if num_train < 1000 else (32, 40) if num_train < 5000 else (64, 20)
    small = "a small batch: many steps in spite of few images" if batch < 64 else "fast, and still many steps an epoch"
    smallest = min(summary.per_class)
    note = f"# The smallest class has {smallest} training images: look at balanced_accuracy too.\n"
    choice = 'weights = "last"  # there is no validation split to choose by\n'
    if has_validation:
        choice = 'weights = "best"  # of the epoch that does best on the validation split\n'
        if summary.split_sizes.get("validation", summary.split_sizes["train"] - num_train) < MIN_VALIDATION_IMAGES:
            choice += 'choose = "loss"  # so few images are often all right: their accuracy ties, their loss does not\n'
    return f"""{note if smallest < 10 else ""}[train]
epochs = {epochs}  # about {epochs * math.ceil(num_train / batch):,} steps in all
batch_size = {batch}  # {small}
optimizer = "adamw(lr=1e-3)"  # works without tuning
schedule = "cosine"  # small steps at the end
{choice}test = "end"  # the test set is opened once, at the end
"""


def _choose_size(sizes: Mapping[tuple[int, int], int]) -> tuple[tuple[int, int], str]:
    """The size that images are brought to, and why."""
    if len(sizes) > 1:
        sides = [min(size) for size, count in sizes.items() for _ in range(count)]
        side = max((side for side in (16, 32, 64, 96, MAX_IMAGE_SIDE) if side <= median_low(sides)), default=8)
        return (side, side), f"the images have {len(sizes):,} sizes; one square for all, at most {MAX_IMAGE_SIDE}"
    (height, width) = next(iter(sizes))
    if max(height, width) <= MAX_IMAGE_SIDE:
        return (height, width), "the images' own"
    scale = MAX_IMAGE_SIDE / max(height, width)
    small = (max(1, round(height * scale)), max(1, round(width * scale)))
    return small, f"the images are {height}×{width}; brought to at most {MAX_IMAGE_SIDE}, in their proportions"
