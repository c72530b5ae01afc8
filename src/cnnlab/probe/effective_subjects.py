"""Effective receptive fields of what a person names: rows, a recipe, a run or a backbone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from cnnlab.architecture.layer import Pair
from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.receptive_field.compute import CLASSES, traced
from cnnlab.architecture.trace import Trace
from cnnlab.errors import UsageError
from cnnlab.models.build import build
from cnnlab.models.init import initialise
from cnnlab.models.network_plan import plan_network
from cnnlab.models.pretrained.transfer import Transfer
from cnnlab.models.tracing.trace import backbone_table
from cnnlab.probe.effective import effective_field, last_layer
from cnnlab.probe.effective_answer import EffectiveFields
from cnnlab.probe.naming import (
    Backbone,
    Image,
    Named,
    RecipeFile,
    Rows,
    Traced,
    resolve,
    shaped,
    traced_recipe,
    traced_run,
)
from cnnlab.probe.subjects import begun, subject_of
from cnnlab.probe.weights.beginning import loaded_start
from cnnlab.records import LayerRecord
from cnnlab.runs.callbacks import NOBODY
from cnnlab.training.device import choose_device, whole_floats


@dataclass(frozen=True)
class _Found:
    """The networks by name, and their rows for images of this shape (C, H, W)."""

    networks: Sequence[tuple[str, nn.Module]]
    rows: Sequence[LayerRecord]
    shape: Image


@whole_floats()
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
    found = _found(resolve(what), size, channels, data, seed, device, say)
    chosen = layer or last_layer(found.networks[0][1], found.rows).name
    return EffectiveFields(
        tuple(
            effective_field(
                network, chosen, found.shape, rows=found.rows, images=images, seed=seed or 0, node=node, name=name
            )
            for name, network in found.networks
        )
    )


def _found(
    named: Rows | Named,
    size: Pair | None,
    channels: int | None,
    data: Path | None,
    seed: int | None,
    device: str,
    say: Callable[[str], None],
) -> _Found:
    target = choose_device(device)
    if isinstance(named, Rows):
        table = traced(read_table(named.texts, {}, CLASSES), size, channels or 3)
        return _random(table, seed or 0, target)
    if isinstance(named, RecipeFile):
        recipe = traced_recipe(named, size, channels, data)
        name, network = begun(recipe, named.path.stem, seed, say)
        return _Found([(name, network.to(target))], recipe.rows, recipe.input)
    if channels is not None:
        raise UsageError("this network has its channels", where="--channels", next_step="leave --channels out")
    if isinstance(named, Backbone):
        subject = subject_of(named, seed=seed, device=device, data=data, say=say)
        shape = shaped(named.shape, size)
        rows = backbone_table(named.name, shape).layers if size else subject.layers
        return _Found([(subject.name, subject.network)], rows, shape)
    # A run has its weights; the seed is that of the images.
    subject = subject_of(named, seed=None, device=device, data=data, say=say)
    run = traced_run(named, size)
    networks = [(subject.name, subject.network)]
    start = loaded_start(named, say)
    if start is not None:
        networks.append(("before training", start.to(target)))
    for _, network in networks:
        _fit_resize(network, run)
    return _Found(networks, run.rows, run.input)


def _fit_resize(network: nn.Module, run: Traced) -> None:
    """A backbone's images are brought to its size from whatever size they have."""
    if isinstance(network, Transfer):
        planned = plan_network(run.recipe.model, run.input, run.classes, run.kept).make(0, "meta")
        assert isinstance(planned, Transfer)
        network.resize = planned.resize


def _random(table: Trace, seed: int, device: torch.device) -> _Found:
    network = build(table)
    initialise(network, "default", seed)
    channels, high, wide = table.input
    return _Found([(f"random weights, seed {seed}", network.to(device))], table.records(), (channels, high, wide))
