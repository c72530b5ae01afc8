"""Attribution maps by four methods of Captum, an extra: pip install 'cnnlab[captum]'.

Sources: K. Simonyan, A. Vedaldi, A. Zisserman: Deep inside convolutional networks, 2013 (saliency). M. Sundararajan,
A. Taly, Q. Yan: Axiomatic attribution for deep networks, ICML 2017 (integrated gradients). M. Zeiler, R. Fergus:
Visualizing and understanding convolutional networks, ECCV 2014 (occlusion). R. Selvaraju et al.: Grad-CAM, ICCV 2017.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.data.loader import max_eval_batch_size
from cnnlab.errors import UsageError
from cnnlab.interpret.attribution.grad_cam_layers import find_hook_point
from cnnlab.models.pretrained.transfer import max_resize

Floats = npt.NDArray[np.float64]
# A backward pass takes several times the memory of a forward pass.
GRADIENT_BATCH_DIVISOR = 4


@dataclass(frozen=True)
class AttributionConfig:
    """Settings of the methods for one image.

    Attributes:
        target: the number of the class.
        baseline: C×H×W input that stands for no image.
        layer: the row whose maps Grad-CAM weighs; empty without one.
        steps: of the path of integrated gradients.
        window, stride: of occlusion's square, in pixels.
        batch_size: the largest number of images in a forward pass.
    """

    target: int
    baseline: Tensor
    layer: str
    steps: int
    window: int
    stride: int
    batch_size: int

    @property
    def gradient_batch_size(self) -> int:
        """The largest number of images in a pass with gradients."""
        return max(1, self.batch_size // GRADIENT_BATCH_DIVISOR)


Method: TypeAlias = Callable[[nn.Module, Tensor, AttributionConfig], Tensor]


def load_captum() -> Any:
    """`captum.attr`.

    Raises:
        UsageError: Captum is not installed.
    """
    try:
        return importlib.import_module("captum.attr")
    except ImportError:
        step = "pip install 'cnnlab[captum]'"
        raise UsageError("attribution needs Captum, and it is not installed", next_step=step) from None


def saliency(network: nn.Module, image: Tensor, config: AttributionConfig) -> Tensor:
    """The absolute gradient of the logit by each number of a C×H×W image, C×H×W."""
    one = image[None].detach().clone().requires_grad_(True)
    attribution: Tensor = load_captum().Saliency(network).attribute(one, target=config.target)
    return attribution[0].detach()


def integrated_gradients(network: nn.Module, image: Tensor, config: AttributionConfig) -> Tensor:
    """The mean gradient on the path from the baseline to the image, times their difference, C×H×W."""
    method = load_captum().IntegratedGradients(network)
    attribution: Tensor = method.attribute(
        image[None].detach(),
        config.baseline[None],
        target=config.target,
        n_steps=config.steps,
        internal_batch_size=config.gradient_batch_size,
    )
    # Captum computes some of it in float64.
    return attribution[0].detach().to(image.dtype)


def occlusion(network: nn.Module, image: Tensor, config: AttributionConfig) -> Tensor:
    """The fall of the logit when a square is replaced by the baseline, the mean over the squares on a pixel, C×H×W."""
    channels = len(image)
    with torch.no_grad():
        attribution: Tensor = (
            load_captum()
            .Occlusion(network)
            .attribute(
                image[None].detach(),
                sliding_window_shapes=(channels, config.window, config.window),
                strides=(channels, config.stride, config.stride),
                baselines=config.baseline[None],
                target=config.target,
                perturbations_per_eval=config.batch_size,
            )
        )
    return attribution[0].detach().to(image.dtype)


def grad_cam(network: nn.Module, image: Tensor, config: AttributionConfig) -> Tensor:
    """The sum of a layer's maps weighted by the mean gradient of the logit over each, negative values cut, 1×h×w."""
    module, by_input = find_hook_point(network, config.layer)
    method = load_captum().LayerGradCam(network, module)
    attribution: Tensor = method.attribute(
        image[None].detach(), target=config.target, attribute_to_layer_input=by_input, relu_attributions=True
    )
    return attribution[0].detach()


METHODS: Mapping[str, Method] = {
    "saliency": saliency,
    "integrated-gradients": integrated_gradients,
    "occlusion": occlusion,
    "grad-cam": grad_cam,
}


def to_heatmap(name: str, attribution: Tensor, size: tuple[int, int]) -> Floats:
    """Reduce a method's output to one number a pixel, H×W, on the CPU.

    The maximum over the channels for saliency (Simonyan et al., section 3.1), the sum for integrated gradients, which
    keeps completeness; occlusion has one number for all channels; the map of Grad-CAM is enlarged.
    """
    if name == "saliency":
        heatmap = attribution.amax(dim=0)
    elif name == "integrated-gradients":
        heatmap = attribution.sum(dim=0)
    elif name == "occlusion":
        heatmap = attribution.mean(dim=0)
    else:
        heatmap = F.interpolate(attribution[None], size, mode="bilinear", align_corners=False)[0, 0]
    # To the CPU first: MPS has no float64.
    return heatmap.cpu().double().numpy()


def max_batch_size(network: nn.Module, image: Tensor) -> int:
    """The largest number of images in a forward pass, by the size of this one and of the network's resize."""
    sizes = [tuple(image.shape[-2:]), *filter(None, [max_resize(network)])]
    return min(max_eval_batch_size(*size, device=image.device) for size in sizes)
