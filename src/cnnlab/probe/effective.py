"""The effective receptive field: how much one node answers to each pixel, by gradients.

Source: W. Luo, Y. Li, R. Urtasun, R. Zemel: Understanding the effective receptive field in deep convolutional neural
networks, NeurIPS 2016. They send a gradient of 1 back from one node; here it is ±1, at random, from every channel of
the node's place, so that no channel stands for all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cnnlab.architecture.receptive_field.spans import Sights
from cnnlab.errors import UsageError
from cnnlab.models.train_mode import evaluating
from cnnlab.probe.activations import module_name, watching
from cnnlab.probe.effective_answer import EffectiveField
from cnnlab.randomness import generator
from cnnlab.records import LayerRecord
from cnnlab.render import formatting
from cnnlab.training.device import whole_floats


class _Enough(Exception):  # noqa: N818  (nothing went wrong)
    """The layer that was asked for has run."""


@whole_floats()
def effective_field(
    network: nn.Module,
    layer: str,
    shape: tuple[int, int, int],
    *,
    rows: Sequence[LayerRecord] = (),
    images: int = 32,
    seed: int = 0,
    batch: int = 8,
    node: tuple[int, int] | None = None,
    name: str = "a network",
) -> EffectiveField:
    """The mean absolute gradient of one node of a layer by each pixel, over random images, in eval mode.

    Args:
        network: left as it was: its numbers, mode, gradients and hooks. Computed where it lies.
        layer: the name of a module, or of a row where the module was called again: "relu#2".
        shape: (C, H, W) of the images.
        rows: its table for such images, which tells the theoretical field, and whether a layer gives N×H×W×C.
        images: how many, of independent normally distributed numbers.
        seed: names the images and signs; image number i is the same for every `batch` and device.
        batch: how many images are computed at a time.
        node: (row, column) on the layer's map; the one in the middle where it is left out.
        name: what to call the network.

    Raises:
        UsageError: the network has no such layer, or the layer gives no map, or no such node.

    >>> field = effective_field(nn.Sequential(nn.AvgPool2d(3, 1)), "0", (1, 9, 9), images=2)
    >>> field.gradient.shape, field.support
    ((9, 9), (3, 3))
    """
    if images < 1 or batch < 1:
        raise UsageError("a mean needs one image at least", where="--images", received=str(min(images, batch)))
    sights = Sights(rows, shape)
    row = sights.rows.get(layer)
    last = row is not None and sights.channels_last(row)
    device = next((tensor.device for tensor in network.parameters()), torch.device("cpu"))
    gradient, place = np.zeros(shape[1:]), node
    with evaluating(network), torch.enable_grad():
        for start in range(0, images, batch):
            numbers = range(start, min(start + batch, images))
            pictures = torch.from_numpy(np.stack([_noise(seed, number, shape) for number in numbers]))
            pictures = pictures.to(device).requires_grad_(True)
            maps = _maps(network, pictures, layer, last)
            place = _checked(place, maps, layer)
            at_node = maps[:, :, place[0], place[1]]
            signs = np.stack([_signs(seed, number, at_node.shape[1]) for number in numbers])
            (found,) = torch.autograd.grad((at_node * torch.from_numpy(signs).to(device)).sum(), pictures)
            gradient += found.abs().mean(dim=1).cpu().double().sum(dim=0).numpy()
    assert place is not None
    seen = sights.seen(layer, place)[-1] if row is not None and row.receptive_field is not None else None
    spans = (None, None) if seen is None else (seen.rows, seen.columns)
    return EffectiveField(name, layer, place, images, gradient / images, *spans)


def last_layer(network: nn.Module, rows: Sequence[LayerRecord]) -> LayerRecord:
    """The last row that is a module of the network and gives a map whose nodes see a part of the image.

    Raises:
        UsageError: there is none.
    """
    modules = {name for name, _ in network.named_modules(remove_duplicate=False)}
    order = Sights(rows, (1, 1, 1)).order
    fitting = [row for row in rows if row.receptive_field and len(row.output) == 3 and module_name(row.name) in modules]
    if not fitting:
        raise UsageError(
            "every layer of this network sees the whole image, or gives no map",
            where="--layer",
            next_step="name a layer that gives a map",
        )
    return max(fitting, key=lambda row: order[row.name])


def _noise(seed: int, number: int, shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    return generator(seed, "effective field", number).standard_normal(shape, dtype=np.float32)


def _signs(seed: int, number: int, channels: int) -> npt.NDArray[np.float32]:
    return generator(seed, "effective field signs", number).choice(np.array([-1, 1], np.float32), channels)


def _maps(network: nn.Module, pictures: Tensor, layer: str, channels_last: bool) -> Tensor:
    """The layer's output as N×C×H×W, still tied to the pictures."""
    found: list[Tensor] = []

    def keep(_: str, output: Tensor) -> None:
        found.append(output)
        raise _Enough

    # What is behind the layer is not computed: it may want images of one size.
    with watching(network, [layer], keep), contextlib.suppress(_Enough):
        network(pictures)
    maps = found[0] if found else None
    if maps is None or maps.ndim != 4:
        gives = "does not run for these images" if maps is None else f"gives {formatting.sizes(tuple(maps.shape[1:]))}"
        raise UsageError(
            f"'{layer}' has no map to look back from: it {gives}",
            where="--layer",
            next_step="choose a layer with a map",
        )
    return maps.permute(0, 3, 1, 2) if channels_last else maps


def _checked(node: tuple[int, int] | None, maps: Tensor, layer: str) -> tuple[int, int]:
    high, wide = maps.shape[2:]
    place = node or (high // 2, wide // 2)
    if not (0 <= place[0] < high and 0 <= place[1] < wide):
        raise UsageError(
            f"the map of '{layer}' has no such node",
            where="--node",
            received=f"{place[0]},{place[1]}",
            allowed=f"rows 0 to {high - 1}, columns 0 to {wide - 1}",
        )
    return place
