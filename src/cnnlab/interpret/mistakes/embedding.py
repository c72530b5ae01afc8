"""Images on the principal components of the features that go into a network's last layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cnnlab.data.loader import ImageLoader
from cnnlab.interpret.hooks import forward_hooks, module_name
from cnnlab.interpret.mistakes.result import EmbeddingPoints, PCAEmbedding
from cnnlab.models.pretrained.transfer import max_resize
from cnnlab.models.train_mode import eval_mode
from cnnlab.records import LayerRecord
from cnnlab.stats.pca import nearest_centroid_accuracy, pca_2d

Indices = npt.NDArray[np.int64]

# More points hide each other, and the features of more images may not fit into memory.
MAX_POINTS = 2000
MAX_VALUES = 2**24
# Bytes of images that are read at a time.
CHUNK_BYTES = 2**26


def last_layer(network: nn.Module, layers: Sequence[LayerRecord]) -> LayerRecord | None:
    """The last dense layer or convolution, else the last layer with weights; None without any."""
    modules = dict(network.named_modules(remove_duplicate=False))
    weighted = [layer for layer in layers if layer.parameters and module_name(layer.name) in modules]
    last = weighted[-1] if weighted else None
    return next((layer for layer in reversed(weighted) if layer.kind in ("dense", "conv")), last)


def embed_images(
    network: nn.Module, layer: LayerRecord, loader: ImageLoader, predicted: Indices, max_points: int = MAX_POINTS
) -> PCAEmbedding | None:
    """Project images of a split, evenly spaced, onto the first two principal components of a layer's inputs.

    Args:
        network: its mode is restored.
        loader: the split, on the network's device.
        predicted: the predicted class of each image of the split.

    Returns:
        None where features are not finite.
    """
    size = layer.input[0] if len(layer.input) == 3 else layer.input[-1]
    max_points = max(2, min(max_points, len(loader), MAX_VALUES // size))
    image_indices = np.unique(np.linspace(0, len(loader) - 1, max_points).round().astype(np.int64))
    features = layer_inputs(network, layer.name, loader, image_indices)
    if not np.isfinite(features).all():
        return None
    labels = np.asarray(loader.labels)[image_indices].astype(np.int64)
    points, explained_variance = pca_2d(features)
    return PCAEmbedding(
        layer=layer.name,
        num_images=len(image_indices),
        num_features=features.shape[1],
        is_averaged=features.shape[1] != prod(layer.input),
        explained_variance=explained_variance,
        centroid_accuracy=nearest_centroid_accuracy(features, labels),
        centroid_accuracy_on_map=nearest_centroid_accuracy(points, labels),
        points=EmbeddingPoints(image_indices, points, labels, predicted[image_indices] != labels),
    )


def layer_inputs(network: nn.Module, name: str, loader: ImageLoader, image_indices: Indices) -> npt.NDArray[np.float32]:
    """The inputs of the named layer for these images, N×F; maps and sequences are averaged.

    In eval mode; images are read in chunks.

    Args:
        network: its mode is restored.
        image_indices: N indices into the split, in ascending order.

    Raises:
        UsageError: the network has no layer of that name.
    """
    features: list[npt.NDArray[np.float32]] = []

    def keep(_name: str, inputs: Tensor) -> None:
        features.append(_flatten_features(inputs.detach()).float().cpu().numpy())

    chunk = max(1, CHUNK_BYTES // max(prod(loader.pixels.shape[1:]), 1))
    with eval_mode(network), torch.no_grad():
        for start in range(0, len(image_indices), chunk):
            indices = image_indices[start : start + chunk]
            pixels, labels = np.asarray(loader.pixels[indices]), loader.labels[indices]
            chunk_loader = replace(loader, pixels=pixels, labels=labels, resident=None)
            for images, _ in chunk_loader.with_input_size(max_resize(network)).eval_batches():
                # New hooks for each batch, since a module's second call has another name.
                with forward_hooks(network, [name], lambda _name, _output: None, keep):
                    network(images)
    return np.concatenate(features)


def _flatten_features(inputs: Tensor) -> Tensor:
    """N×F from N×C×H×W maps or N×T×F sequences, by the mean over positions or steps."""
    if inputs.dim() == 4:
        return inputs.mean(dim=(2, 3))
    return inputs.mean(dim=1) if inputs.dim() == 3 else inputs
