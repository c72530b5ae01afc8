"""Where images lie for a network's last layer: its features on a plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cnnlab.data.loader import Feed
from cnnlab.interpret.hooks import module_name, watching
from cnnlab.models.pretrained.transfer import resized
from cnnlab.models.train_mode import evaluating
from cnnlab.records import LayerRecord
from cnnlab.stats.pca import nearest_centre_share, principal_plane

Numbers = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

# More points hide each other, and the features of more would not fit into memory where a layer has many.
MOST_POINTS = 2000
MOST_NUMBERS = 2**24
# Images are read so many bytes at a time.
PIECE = 2**26


@dataclass(frozen=True)
class Embedding:
    """Images by their features, on the plane on which these spread most.

    Attributes:
        layer: the layer whose input the features are.
        size: how many numbers an image has there.
        averaged: whether they are means over the places of maps, or over the steps of a sequence.
        places: which images of the part these are, N.
        points: N×2.
        labels: the class of each, N.
        shares: of the variance of all features, along each direction.
        apart, apart_on_map: the share of images whose nearest class centre is their own class's, in all dimensions
            and on the plane.
    """

    layer: str
    size: int
    averaged: bool
    places: Places
    points: Numbers
    labels: Places
    shares: tuple[float, float]
    apart: float
    apart_on_map: float


def last_layer(network: nn.Module, layers: Sequence[LayerRecord]) -> LayerRecord | None:
    """The last dense layer or convolution, else the last layer with weights; None where there is none."""
    known = dict(network.named_modules(remove_duplicate=False))
    weighty = [layer for layer in layers if layer.parameters and module_name(layer.name) in known]
    last = weighty[-1] if weighty else None
    return next((layer for layer in reversed(weighty) if layer.kind in ("dense", "conv")), last)


def embedding(network: nn.Module, layer: LayerRecord, feed: Feed, most: int = MOST_POINTS) -> Embedding | None:
    """Images of a part on the plane of their features, at most so many, spread evenly over the part.

    None where the features are not finite.

    Args:
        network: left as it was.
        layer: the one whose input is looked at.
        feed: the part, on the network's device.
    """
    size = layer.input[0] if len(layer.input) == 3 else layer.input[-1]
    most = max(2, min(most, len(feed), MOST_NUMBERS // size))
    places = np.unique(np.linspace(0, len(feed) - 1, most).round().astype(np.int64))
    values = features(network, layer.name, feed, places)
    if not np.isfinite(values).all():
        return None
    labels = np.asarray(feed.labels)[places].astype(np.int64)
    points, shares = principal_plane(values)
    return Embedding(
        layer=layer.name,
        size=values.shape[1],
        averaged=values.shape[1] != prod(layer.input),
        places=places,
        points=points,
        labels=labels,
        shares=shares,
        apart=nearest_centre_share(values, labels),
        apart_on_map=nearest_centre_share(points, labels),
    )


def features(network: nn.Module, name: str, feed: Feed, places: Places) -> npt.NDArray[np.float32]:
    """What goes into the named layer for these images of a part, N×F; maps and sequences by their means.

    Images are read and shown in pieces, in eval mode; no more than these features is kept.

    Args:
        network: left as it was.
        places: which images, in their order.

    Raises:
        UsageError: the network has no layer of that name.
    """
    found: list[npt.NDArray[np.float32]] = []

    def keep(_name: str, given: Tensor) -> None:
        found.append(_one_row_each(given.detach()).float().cpu().numpy())

    at_a_time = max(1, PIECE // max(prod(feed.pixels.shape[1:]), 1))
    with evaluating(network), torch.no_grad():
        for start in range(0, len(places), at_a_time):
            some = places[start : start + at_a_time]
            piece = replace(feed, pixels=np.asarray(feed.pixels[some]), labels=feed.labels[some], resident=None)
            for images, _ in piece.enlarged(resized(network)).evaluation():
                # Anew for each batch: a module's second call has a name of its own.
                with watching(network, [name], lambda _name, _output: None, keep):
                    network(images)
    return np.concatenate(found)


def _one_row_each(given: Tensor) -> Tensor:
    """N×F of N×C×H×W maps or N×T×F sequences, by the mean over places or steps."""
    if given.dim() == 4:
        return given.mean(dim=(2, 3))
    return given.mean(dim=1) if given.dim() == 3 else given
