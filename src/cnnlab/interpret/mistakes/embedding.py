"""Where images lie for a network's last layer: its features on a plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cnnlab.data.loader import ImageLoader
from cnnlab.interpret.hooks import forward_hooks, module_name
from cnnlab.models.pretrained.transfer import max_resize
from cnnlab.models.train_mode import eval_mode
from cnnlab.records import LayerRecord
from cnnlab.stats.pca import nearest_centroid_accuracy, pca_2d

Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# More points hide each other, and the features of more would not fit into memory where a layer has many.
MAX_POINTS = 2000
MAX_NUMBERS = 2**24
# Images are read so many bytes at a time.
CHUNK_NUMBERS = 2**26


@dataclass(frozen=True)
class PCAEmbedding:
    """Images by their features, on the plane on which these spread most.

    Attributes:
        layer: the layer whose input the features are.
        num_features: how many numbers an image has there.
        is_averaged: whether they are means over the places of maps, or over the steps of a sequence.
        image_indices: which images of the part these are, N.
        points: N×2.
        labels: the class of each, N.
        explained_variance: of the variance of all features, along each direction.
        centroid_accuracy, centroid_accuracy_on_map: the share of images whose nearest class centre is their own
            class's, in all dimensions and on the plane.
    """

    layer: str
    num_features: int
    is_averaged: bool
    image_indices: Indices
    points: Numbers
    labels: Indices
    explained_variance: tuple[float, float]
    centroid_accuracy: float
    centroid_accuracy_on_map: float


def last_layer(network: nn.Module, layers: Sequence[LayerRecord]) -> LayerRecord | None:
    """The last dense layer or convolution, else the last layer with weights; None where there is none."""
    known = dict(network.named_modules(remove_duplicate=False))
    weighty = [layer for layer in layers if layer.parameters and module_name(layer.name) in known]
    last = weighty[-1] if weighty else None
    return next((layer for layer in reversed(weighty) if layer.kind in ("dense", "conv")), last)


def embed_images(
    network: nn.Module, layer: LayerRecord, loader: ImageLoader, max_points: int = MAX_POINTS
) -> PCAEmbedding | None:
    """Images of a part on the plane of their features, at most so many, spread evenly over the part.

    None where the features are not finite.

    Args:
        network: left as it was.
        layer: the one whose input is looked at.
        loader: the part, on the network's device.
    """
    size = layer.input[0] if len(layer.input) == 3 else layer.input[-1]
    max_points = max(2, min(max_points, len(loader), MAX_NUMBERS // size))
    image_indices = np.unique(np.linspace(0, len(loader) - 1, max_points).round().astype(np.int64))
    values = layer_inputs(network, layer.name, loader, image_indices)
    if not np.isfinite(values).all():
        return None
    labels = np.asarray(loader.labels)[image_indices].astype(np.int64)
    points, shares = pca_2d(values)
    return PCAEmbedding(
        layer=layer.name,
        num_features=values.shape[1],
        is_averaged=values.shape[1] != prod(layer.input),
        image_indices=image_indices,
        points=points,
        labels=labels,
        explained_variance=shares,
        centroid_accuracy=nearest_centroid_accuracy(values, labels),
        centroid_accuracy_on_map=nearest_centroid_accuracy(points, labels),
    )


def layer_inputs(network: nn.Module, name: str, loader: ImageLoader, image_indices: Indices) -> npt.NDArray[np.float32]:
    """What goes into the named layer for these images of a part, N×F; maps and sequences by their means.

    Images are read and shown in pieces, in eval mode; no more than these features is kept.

    Args:
        network: left as it was.
        image_indices: which images, in their order.

    Raises:
        UsageError: the network has no layer of that name.
    """
    found: list[npt.NDArray[np.float32]] = []

    def keep(_name: str, given: Tensor) -> None:
        found.append(_flatten_features(given.detach()).float().cpu().numpy())

    at_a_time = max(1, CHUNK_NUMBERS // max(prod(loader.pixels.shape[1:]), 1))
    with eval_mode(network), torch.no_grad():
        for start in range(0, len(image_indices), at_a_time):
            some = image_indices[start : start + at_a_time]
            piece = replace(loader, pixels=np.asarray(loader.pixels[some]), labels=loader.labels[some], resident=None)
            for images, _ in piece.with_input_size(max_resize(network)).eval_batches():
                # Anew for each batch: a module's second call has a name of its own.
                with forward_hooks(network, [name], lambda _name, _output: None, keep):
                    network(images)
    return np.concatenate(found)


def _flatten_features(inputs: Tensor) -> Tensor:
    """N×F of N×C×H×W maps or N×T×F sequences, by the mean over places or steps."""
    if inputs.dim() == 4:
        return inputs.mean(dim=(2, 3))
    return inputs.mean(dim=1) if inputs.dim() == 3 else inputs
