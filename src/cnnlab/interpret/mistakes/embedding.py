"""Images on the principal components of the features that go into a network's last layer."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cnnlab.data.loader import ImageLoader, evenly_spaced_indices
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
    num_channels = layer.input[0] if len(layer.input) == 3 else layer.input[-1]
    max_points = max(2, min(max_points, MAX_VALUES // num_channels))
    image_indices = evenly_spaced_indices(len(loader), max_points)
    features = layer_inputs(network, layer.name, loader.subset(max_points))
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


def layer_inputs(network: nn.Module, name: str, loader: ImageLoader) -> npt.NDArray[np.float32]:
    """The inputs of the named layer for all images of a loader, N×F; maps and sequences are averaged.

    In eval mode; the network's mode is restored.

    Raises:
        UsageError: the network has no layer of that name.
    """
    features: list[npt.NDArray[np.float32]] = []

    def keep(_name: str, inputs: Tensor) -> None:
        if inputs.dim() == 4:
            inputs = inputs.mean(dim=(2, 3))
        elif inputs.dim() == 3:
            inputs = inputs.mean(dim=1)
        features.append(inputs.float().cpu().numpy())

    with eval_mode(network), torch.no_grad():
        for images, _ in loader.with_input_size(max_resize(network)).eval_batches():
            # New hooks for each batch, since a module's second call has another name.
            with forward_hooks(network, [name], lambda _name, _output: None, keep):
                network(images)
    return np.concatenate(features)
