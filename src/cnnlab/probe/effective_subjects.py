"""Effective receptive fields of what a person names: rows, a recipe, a run or a backbone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from cnnlab.errors import UsageError
from cnnlab.model.build import build
from cnnlab.model.initialise import initialise
from cnnlab.probe.effective import effective_field, last_layer
from cnnlab.probe.effective_answer import EffectiveFields
from cnnlab.probe.subjects import open_subject
from cnnlab.probe.views import recipe_meant, rows_meant, traced_recipe
from cnnlab.records import LayerRecord
from cnnlab.runs.folder import RunFolder
from cnnlab.runs.run import NOBODY
from cnnlab.spec.layer import Pair
from cnnlab.spec.recipe import Init
from cnnlab.spec.sights import Sights
from cnnlab.spec.table import read_table
from cnnlab.spec.trace import Trace
from cnnlab.spec.views import CLASSES, traced
from cnnlab.training.machine import choose_device

Image = tuple[int, int, int]


@dataclass(frozen=True)
class _Found:
    """The networks by name, and their rows for images of the shape that they were traced for (C, H, W)."""

    networks: Sequence[tuple[str, nn.Module]]
    rows: Sequence[LayerRecord]
    traced: Image


def named_effective_fields(
    what: Sequence[str],
    *,
    size: Pair | None = None,
    channels: int | None = None,
    layer: str = "",
    node: Pair | None = None,
    data: Path | None = None,
    images: int = 32,
    seed: int | None = None,
    device: str = "auto",
    say: Callable[[str], None] = NOBODY.say,
) -> EffectiveFields:
    """How much a node looks at each pixel: with a run's trained weights and those it began with, or random ones.

    Args:
        what: the rows of a table, or one path of a recipe or a run, or one name of a backbone.
        size: (height, width) of the images, instead of their own; for rows, one that is large enough.
        channels: C of the images for rows, 3 where it is left out, or for a recipe, instead of its own.
        data: where catalogue data lives.
        layer: the node's; the last one with a map where it is left out.
        node: (row, column); the one in the middle where it is left out.
        images: how many random ones.
        seed: of images and random weights; where it is left out, 0 for images and a recipe's own for its weights.
        device: auto, cpu, cuda or mps.
        say: told of anything odd about a run's weights.

    Raises:
        SpecError, SourceError, RunError: it can't be used, or nothing of this name is known.
        UsageError: a layer or a node that is not there, or channels for what has its own.
    """
    found = _found(what, size, channels, data, seed, device, say)
    named = next((row for row in found.rows if row.name == layer), layer)
    chosen = named or last_layer(found.networks[0][1], found.rows)
    last = isinstance(chosen, LayerRecord) and Sights(found.rows, found.traced).channels_last(chosen)
    high, wide = size or found.traced[1:]
    shape = (found.traced[0], high, wide)
    return EffectiveFields(
        tuple(
            effective_field(
                network, chosen, shape, images=images, seed=seed or 0, node=node, channels_last=last, name=name
            )
            for name, network in found.networks
        )
    )


def random_start(folder: RunFolder) -> nn.Module:
    """A run's network with the weights that its training began with, made anew from its seed."""
    recipe, data = folder.recipe(), folder.data()
    form = data.preprocessing
    network = build(recipe.model.trace((form.channels, form.height, form.width), len(data.classes)))
    initialise(network, recipe.model.init, recipe.train.seed)
    return network


def _found(
    what: Sequence[str],
    size: Pair | None,
    channels: int | None,
    data: Path | None,
    seed: int | None,
    device: str,
    say: Callable[[str], None],
) -> _Found:
    target, path = choose_device(device), Path(what[0] if what else "")
    if rows_meant(what):
        table = traced(read_table(what, {}, CLASSES), size, channels or 3)
        return _random(table, "", "default", seed or 0, target)
    if recipe_meant(path):
        recipe, table = traced_recipe(path, size, channels, data)
        weights = recipe.train.seed if seed is None else seed
        return _random(table, path.stem, recipe.model.init, weights, target)
    if channels is not None:
        raise UsageError("this network has its channels", where="--channels", next_step="leave --channels out")
    subject = open_subject(what[0], seed=None if path.is_dir() else seed, device=device, say=say)
    networks = [(subject.name, subject.network)]
    if path.is_dir():
        networks.append(("before training", random_start(RunFolder.open(path)).to(target)))
    return _Found(networks, subject.layers, (subject.form.channels, subject.form.height, subject.form.width))


def _random(table: Trace, name: str, init: Init, seed: int, device: torch.device) -> _Found:
    network = build(table)
    initialise(network, init, seed)
    channels, high, wide = table.input
    title = f"{name} (random weights, seed {seed})" if name else f"random weights, seed {seed}"
    return _Found([(title, network.to(device))], table.records(), (channels, high, wide))
