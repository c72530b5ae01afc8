"""A first recipe for a folder of images, with the reason for each choice beside it. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low

import tomli_w

from cnnlab.data.imagefiles import ImageFiles
from cnnlab.data.source import Part

# Larger images cost much and say little more to a network this small.
LARGEST_SIDE = 128
# The last maps are about this wide: enough to keep where things are, few enough for the dense layer behind them.
LAST_MAP = 5
MOST_BLOCKS = 5
FIRST_FILTERS = 32
MOST_FILTERS = 256


@dataclass(frozen=True)
class Glimpse:
    """What a recipe for a source depends on.

    Attributes:
        sizes: how many images have each (height, width), the most first.
        images: how many images each part has.
        smallest: how many training images the smallest class has.
    """

    source: str
    channels: int
    sizes: Mapping[tuple[int, int], int]
    images: Mapping[Part, int]
    classes: int
    smallest: int


def glimpse(files: ImageFiles) -> Glimpse:
    """The listing and the headers of a source; no image is decoded.

    Raises:
        SourceError: no image's header can be read.
    """
    looked = files.look()
    labels = files.layout.labels
    smallest = min(labels["train"].count(label) for label in range(len(files.classes)))
    counts = {part: len(labels[part]) for part in files.parts}
    return Glimpse(files.name, looked.channels, looked.sizes, counts, len(files.classes), smallest)


def starter_recipe(seen: Glimpse) -> str:
    """A recipe as TOML, each choice with its reason in a comment."""
    size, why = _size(seen.sizes)
    return "\n\n".join(["\n".join(_head(seen)), _data(seen, size, why), _model(size), _train(seen)]) + "\n"


def _head(seen: Glimpse) -> Sequence[str]:
    parts = ", ".join(f"{count:,} in {part}" for part, count in seen.images.items())
    return (
        f"# A first recipe for {seen.classes} classes of images: {parts}.",
        "# `cnnlab describe` shows its layers, `cnnlab train` trains it. Change what you like; --set tries a change.",
    )


def _data(seen: Glimpse, size: tuple[int, int], why: str) -> str:
    padding = max(1, round(min(size) / 12))
    colours = "every image is grey" if seen.channels == 1 else "there are colours"
    return _table(
        "data",
        [
            ("source", seen.source, "a path, seen from where the command is run"),
            *_shares(seen),
            ("size", list(size), f"[height, width]: {why}"),
            ("channels", seen.channels, colours),
            (
                "augment",
                [f"crop(padding={padding})", "flip(0.5)"],
                "shifts by up to 1/12; no flip for letters or digits",
            ),
        ],
    )


def _shares(seen: Glimpse) -> list[tuple[str, float, str]]:
    shares: list[tuple[str, float, str]] = []
    if "validation" not in seen.images:
        few = seen.images["train"] < 2000
        reason = "few images: a smaller share would judge by chance" if few else "enough images to judge by"
        shares.append(("validation", 0.15 if few else 0.1, f"held out of train, of each class alike; {reason}"))
    if "test" not in seen.images:
        shares.append(("test", 0.2, "the source has no test folder; the same images are held out for every seed"))
    return shares


def _model(size: tuple[int, int]) -> str:
    blocks = depth(size)
    widths = [min(FIRST_FILTERS * 2**block, MOST_FILTERS) for block in range(blocks)]
    rows = [f'    "conv({width}, 3, padding=1)", "batchnorm", "relu", "maxpool(2)",' for width in widths]
    last = tuple(side // 2**blocks for side in size)
    return "\n".join(
        [
            "[model]",
            f"# {blocks} halvings bring {size[0]}×{size[1]} to {last[0]}×{last[1]}; filters double as the maps shrink.",
            "# Batch normalisation: fast learning from few images; dropout: less learning by heart.",
            "layers = [",
            *rows,
            '    "flatten", "dropout(0.3)", "dense(128)", "relu",',
            '    "dense(classes)",',
            "]",
        ]
    )


def depth(size: tuple[int, int]) -> int:
    """How many halvings bring the shorter side to about `LAST_MAP`, at most `MOST_BLOCKS`."""
    return min(MOST_BLOCKS, max(0, round(math.log2(min(size) / LAST_MAP))))


def _train(seen: Glimpse) -> str:
    images = round(seen.images["train"] * math.prod(1 - share for _, share, _ in _shares(seen)))
    batch, epochs = (16, 60) if images < 1000 else (32, 40) if images < 5000 else (64, 20)
    small = "a small batch: many steps in spite of few images" if batch < 64 else "fast, and still many steps an epoch"
    rows: list[tuple[str, object, str]] = [
        ("epochs", epochs, f"about {epochs * math.ceil(images / batch):,} steps in all"),
        ("batch_size", batch, small),
        ("optimizer", "adamw(lr=1e-3)", "works without tuning"),
        ("schedule", "cosine", "small steps at the end"),
        ("weights", "best", "of the epoch with the best validation accuracy"),
        ("test", "end", "the test set is opened once, at the end"),
    ]
    if seen.smallest < 10:
        note = f"# The smallest class has {seen.smallest} training images: look at balanced_accuracy too."
        return f"{note}\n{_table('train', rows)}"
    return _table("train", rows)


def _table(name: str, rows: Sequence[tuple[str, object, str]]) -> str:
    written = [(_line(key, value), reason) for key, value, reason in rows]
    width = min(44, max(len(line) for line, _ in written))
    return "\n".join([f"[{name}]", *(f"{line:<{width}}  # {reason}" for line, reason in written)])


def _line(key: str, value: object) -> str:
    if isinstance(value, list):
        return f"{key} = [{', '.join(_line('x', item)[4:] for item in value)}]"
    return tomli_w.dumps({key: value}).strip()


def _size(sizes: Mapping[tuple[int, int], int]) -> tuple[tuple[int, int], str]:
    """The size that images are brought to, and why."""
    if len(sizes) > 1:
        sides = [min(size) for size, count in sizes.items() for _ in range(count)]
        side = max((side for side in (16, 32, 64, 96, LARGEST_SIDE) if side <= median_low(sides)), default=8)
        return (side, side), f"the images have {len(sizes):,} sizes; one square for all, at most {LARGEST_SIDE}"
    (height, width) = next(iter(sizes))
    if max(height, width) <= LARGEST_SIDE:
        return (height, width), "the images' own"
    scale = LARGEST_SIDE / max(height, width)
    small = (max(1, round(height * scale)), max(1, round(width * scale)))
    return small, f"the images are {height}×{width}; brought to at most {LARGEST_SIDE}, in their proportions"
