"""How often each unit behind an activation function is active over a part of the data, and which never are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cnnlab.data.loader import Feed
from cnnlab.errors import UsageError, nearest
from cnnlab.interpret.activations.layer_index import MOST_LISTED, Spot, Spots
from cnnlab.interpret.activations.units_result import FLAT, SATURATED, LayerUnits, UnitActivity
from cnnlab.interpret.hooks import module_name, probing, watching
from cnnlab.interpret.loaded_model import Subject, as_subject
from cnnlab.interpret.targets import one_or_more
from cnnlab.models.pretrained.transfer import resized
from cnnlab.render import formatting
from cnnlab.runs.callbacks import NOBODY
from cnnlab.training.device import whole_floats

# By the kind of a traced row; what is not here, as a softmax, is no function of one number.
FUNCTIONS = (
    *("relu", "relu6", "leaky_relu", "rrelu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish", "softplus"),
    *("hardswish", "hardtanh", "hardsigmoid", "tanh", "sigmoid", "softsign", "logsigmoid"),
)
# A unit of theirs is dead when it is never above 0: behind it, nothing is ever changed by it.
CUT_AT_ZERO = ("relu", "relu6")
# (middle, half of the range)
RANGES = {"tanh": (0.0, 1.0), "hardtanh": (0.0, 1.0), "sigmoid": (0.5, 0.5), "hardsigmoid": (0.5, 0.5)}


@whole_floats()
def inspect_units(
    subject: Subject | str | Path,
    part: str = "validation",
    *,
    layers: str | Sequence[str] = (),
    limit: int | None = None,
    say: Callable[[str], None] = NOBODY.say,
) -> UnitActivity:
    """Which units are dead or saturated over a part of the data, and how often each is active.

    A unit is a channel of a map, or one number of a vector; its cases are all places of all images. It is dead where it
    is never above 0, behind a ReLU, and where the function's |derivative| is below 0.001 in every case, behind
    another one; it is saturated where, behind a tanh or a sigmoid, it is farther from the middle of the range than
    0.99 of half the range in more than 99 % of its cases.

    Args:
        subject: of `open_subject`, or a name as it takes them; its network is left as it was.
        part: train, validation or test; a look at the test part is written into the ledger.
        layers: names of rows with activation functions; by default all.
        limit: at most so many images, spread evenly over the part.
        say: told of images and layers that are left out.

    Raises:
        UsageError: no such part or layer, or no activation function that is a module.
        SourceError: the data can't be used.
    """
    subject = as_subject(subject)
    if limit is not None and limit < 1:
        raise UsageError("no image is looked at", where="--limit", received=str(limit), allowed="1 or more")
    shape = (subject.form.channels, subject.form.height, subject.form.width)
    spots = Spots(subject.network, subject.layers, shape)
    chosen = _chosen(spots, one_or_more(layers), say)
    feed = subject.part(part, "inspect activations --units", limit, say)
    counts = count_units(subject.network, spots, chosen, feed)
    return UnitActivity(
        network=subject.name,
        part=part,
        images=len(feed),
        layers=tuple(_layer(spot, counts[spot.name]) for spot in chosen if spot.name in counts),
    )


@dataclass
class Counts:
    """Of every unit of a layer, over all images so far; tensors lie on the device.

    Attributes:
        cases: places of all images.
        sums: 3×F: cases above 0, with a derivative, and far from the middle of the range.
        highest: F.
    """

    cases: int = 0
    sums: Tensor | None = None
    highest: Tensor | None = None


def count_units(network: nn.Module, spots: Spots, chosen: Iterable[Spot], feed: Feed) -> dict[str, Counts]:
    """Count over a whole part, batch by batch; nothing of a batch is held."""
    by_name = {spot.name: spot for spot in chosen}
    modules = dict(network.named_modules(remove_duplicate=False))
    counts: dict[str, Counts] = {}
    given: dict[str, Tensor] = {}

    def before(name: str, tensor: Tensor) -> None:
        # A copy, since the function may work in place.
        given[name] = tensor.detach().clone()

    def after(name: str, output: Tensor) -> None:
        slopes = _slopes(modules[module_name(name)], given.pop(name))
        maps, steep = spots.maps(by_name[name], output), spots.maps(by_name[name], slopes)
        if maps is not None and steep is not None:
            _add(counts.setdefault(name, Counts()), by_name[name], maps, steep)

    with probing(network), torch.no_grad():
        for images, _ in feed.enlarged(resized(network)).evaluation():
            # Hooks of one pass: the calls of a module are counted within it.
            with watching(network, by_name, after, before):
                network(images)
    return counts


def _slopes(module: nn.Module, given: Tensor) -> Tensor:
    """The derivative of an elementwise function at every number; its own `forward`, so that no hook is called."""
    with torch.enable_grad():
        point = given.requires_grad_(True)
        # Not the point itself, which a function in place would overwrite.
        (slopes,) = torch.autograd.grad(module.forward(point.clone()).sum(), point)
    return slopes


def _add(counts: Counts, spot: Spot, maps: Tensor, slopes: Tensor) -> None:
    over = (0, 2, 3)
    middle, half = RANGES.get(_kind(spot), (0.0, float("inf")))
    seen = (maps > 0, slopes.abs() >= FLAT, (maps - middle).abs() > SATURATED * half)
    sums, highest = torch.stack([each.sum(over) for each in seen]), maps.amax(over)
    counts.cases += maps.shape[0] * maps.shape[2] * maps.shape[3]
    counts.sums = sums if counts.sums is None else counts.sums + sums
    counts.highest = highest if counts.highest is None else torch.maximum(counts.highest, highest)


def _layer(spot: Spot, counts: Counts) -> LayerUnits:
    assert counts.sums is not None
    assert counts.highest is not None
    # To the CPU before they become float64, which an Apple GPU has none of.
    above, steep, far = (counts.sums.cpu().double() / counts.cases).numpy()
    highest = counts.highest.cpu().double().numpy()
    kind = _kind(spot)
    return LayerUnits(
        name=spot.name,
        kind=kind,
        text=spot.row.text if spot.row is not None else "",
        cases=counts.cases,
        above=above,
        steep=steep,
        far=far if kind in RANGES else None,
        highest=highest,
        dead_by="output" if kind in CUT_AT_ZERO else "derivative",
    )


def _kind(spot: Spot) -> str:
    return spot.row.kind if spot.row is not None else ""


def _chosen(spots: Spots, layers: Sequence[str], say: Callable[[str], None]) -> list[Spot]:
    modules = dict(spots.network.named_modules(remove_duplicate=False))
    rows = [row.name for row in spots.layers if row.kind in FUNCTIONS]
    # The function itself is called again for its derivative, so that its module is needed.
    known = [name for name in rows if isinstance(modules.get(module_name(name)), nn.Module)]
    if not known:
        raise UsageError(
            "this network has no activation function that is a module of its own",
            where="--layer",
            received=", ".join(rows) or "no activation function at all",
            next_step="look at the maps: cnnlab inspect activations",
        )
    for name in layers:
        if name not in known:
            raise UsageError(
                f"'{name}' is no activation function that can be read",
                where="--layer",
                received=name,
                allowed=formatting.shown(", ".join(known), MOST_LISTED),
                next_step=spots.apart(name) or nearest(name, known) or "leave --layer out for all of them",
            )
    left_out = [name for name in rows if name not in known]
    if left_out and not layers:
        say(f"! left out, as they are no modules: {formatting.shown(', '.join(left_out), MOST_LISTED)}")
    return [spots.named(name) for name in (dict.fromkeys(layers) if layers else known)]
