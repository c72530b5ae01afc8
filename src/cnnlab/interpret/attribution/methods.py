"""Attribution maps by four methods.

Sources: K. Simonyan, A. Vedaldi, A. Zisserman: Deep inside convolutional networks, 2013 (saliency). M. Sundararajan,
A. Taly, Q. Yan: Axiomatic attribution for deep networks, ICML 2017 (integrated gradients). M. Zeiler, R. Fergus:
Visualizing and understanding convolutional networks, ECCV 2014 (occlusion). R. Selvaraju et al.: Grad-CAM, ICCV 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.data.loader import max_eval_batch_size
from cnnlab.errors import UsageError
from cnnlab.interpret.layer_index import LayerRef, capture_outputs
from cnnlab.models.pretrained.transfer import max_resize
from cnnlab.render.formatting import format_shape

Floats = npt.NDArray[np.float64]
# A backward pass takes several times the memory of a forward pass.
GRADIENT_BATCH_DIVISOR = 4


@dataclass(frozen=True)
class AttributionConfig:
    """Settings of the methods for one image.

    Attributes:
        target: the number of the class.
        baseline: C×H×W input that stands for no image.
        layer: whose maps Grad-CAM weighs; None without Grad-CAM.
        steps: of the path of integrated gradients.
        window, stride: of occlusion's square, in pixels.
        batch_size: the largest number of images in a forward pass.
    """

    target: int
    baseline: Tensor
    layer: LayerRef | None
    steps: int
    window: int
    stride: int
    batch_size: int


Method: TypeAlias = Callable[[nn.Module, Tensor, AttributionConfig], Tensor]


def saliency(network: nn.Module, image: Tensor, config: AttributionConfig) -> Tensor:
    """The absolute gradient of the logit by each number of a C×H×W image, C×H×W."""
    return _gradients(network, image[None], config.target)[0].abs()


def integrated_gradients(network: nn.Module, image: Tensor, config: AttributionConfig) -> Tensor:
    """The mean gradient on the path from the baseline to the image, times their difference, C×H×W.

    The integral is taken by the quadrature of Gauss and Legendre.
    """
    nodes = np.polynomial.legendre.leggauss(config.steps)
    positions, weights = (torch.tensor(each, dtype=image.dtype, device=image.device) for each in nodes)
    difference = image - config.baseline
    mean_gradient = torch.zeros_like(image)
    batch_size = max(1, config.batch_size // GRADIENT_BATCH_DIVISOR)
    for start in range(0, config.steps, batch_size):
        batch = slice(start, start + batch_size)
        # Positions and weights are those of an integral from −1 to 1.
        images = config.baseline + (positions[batch, None, None, None] + 1) / 2 * difference
        gradients = _gradients(network, images, config.target)
        mean_gradient += torch.tensordot(weights[batch] / 2, gradients, dims=1)
    return difference * mean_gradient


@torch.no_grad()
def occlusion(network: nn.Module, image: Tensor, config: AttributionConfig) -> Tensor:
    """The fall of the logit when a square is replaced by the baseline, the mean over the squares on a pixel, 1×H×W."""
    _, height, width = image.shape
    side, stride = config.window, config.stride
    # The last square may reach beyond the edge.
    rows, columns = (range(0, length - side + stride, stride) for length in (height, width))
    corners = [(row, column) for row in rows for column in columns]
    logit = network(image[None])[0, config.target]
    total, count = image.new_zeros(1, height, width), image.new_zeros(1, height, width)
    for start in range(0, len(corners), config.batch_size):
        batch = corners[start : start + config.batch_size]
        squares = torch.zeros(len(batch), 1, height, width, dtype=torch.bool, device=image.device)
        for square, (row, column) in zip(squares, batch, strict=True):
            square[:, row : row + side, column : column + side] = True
        falls = logit - network(torch.where(squares, config.baseline, image))[:, config.target]
        total += (falls[:, None, None, None] * squares).sum(dim=0)
        count += squares.sum(dim=0)
    return total / count


def grad_cam(network: nn.Module, image: Tensor, config: AttributionConfig) -> Tensor:
    """The sum of a layer's maps weighted by the mean gradient of the logit over each, negative values cut, 1×h×w.

    Raises:
        UsageError: the layer gives no maps.
    """
    assert config.layer is not None
    outputs: list[Tensor] = []

    def keep(_: LayerRef, output: Tensor) -> Tensor:
        outputs.append(output)
        # The network goes on with a copy, since the next layer may work in place.
        return output.clone()

    with capture_outputs(network, [config.layer], keep):
        logit = network(_with_gradient(image[None]))[0, config.target]
    if not outputs or outputs[0].ndim != 4:
        raise UsageError(
            "this layer gives no feature maps",
            where="--layer",
            received=f"{config.layer.name}, whose output is {format_shape(tuple(outputs[0].shape))}" if outputs else "",
            next_step="leave --layer out for the last layer that does",
        )
    gradients = torch.autograd.grad(logit, outputs)
    maps, slopes = (config.layer.as_feature_maps(each) for each in (outputs[0], gradients[0]))
    assert maps is not None
    assert slopes is not None
    return F.relu((slopes.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1)).detach()


METHODS: Mapping[str, Method] = {
    "saliency": saliency,
    "integrated-gradients": integrated_gradients,
    "occlusion": occlusion,
    "grad-cam": grad_cam,
}


def to_heatmap(name: str, attribution: Tensor, size: tuple[int, ...]) -> Floats:
    """Reduce a method's output to one number a pixel, H×W, on the CPU.

    The maximum over the channels for saliency (Simonyan et al., section 3.1), the sum for the others, which keeps the
    completeness of integrated gradients; the map of Grad-CAM is enlarged to `size`.
    """
    if name == "grad-cam":
        attribution = F.interpolate(attribution[None], size, mode="bilinear", align_corners=False)[0]
    heatmap = attribution.amax(dim=0) if name == "saliency" else attribution.sum(dim=0)
    # To the CPU first: MPS has no float64.
    return heatmap.cpu().double().numpy()


def max_batch_size(network: nn.Module, image: Tensor) -> int:
    """The largest number of images in a forward pass, by the size of this one and of the network's resize."""
    sizes = [tuple(image.shape[-2:]), *filter(None, [max_resize(network)])]
    return min(max_eval_batch_size(*size, device=image.device) for size in sizes)


def _gradients(network: nn.Module, images: Tensor, target: int) -> Tensor:
    """The gradient of each image's logit by the image, N×C×H×W."""
    points = _with_gradient(images)
    (gradients,) = torch.autograd.grad(network(points)[:, target].sum(), points)
    return gradients


def _with_gradient(images: Tensor) -> Tensor:
    return images.detach().clone().requires_grad_(True)
