"""Which pixels speak for a class, by four methods of Captum, an extra: pip install 'cnnlab[captum]'.

Sources: K. Simonyan, A. Vedaldi, A. Zisserman: Deep inside convolutional networks, 2013 (saliency). M. Sundararajan,
A. Taly, Q. Yan: Axiomatic attribution for deep networks, ICML 2017 (integrated gradients). M. Zeiler, R. Fergus:
Visualizing and understanding convolutional networks, ECCV 2014 (occlusion). R. Selvaraju et al.: Grad-CAM, ICCV 2017.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.data.feed import evaluation_batch
from cnnlab.errors import UsageError, nearest
from cnnlab.model.transfer import Transfer, resized
from cnnlab.paper import words
from cnnlab.probe.activations import module_name
from cnnlab.records import LayerRecord
from cnnlab.spec.receptive.sights import Sights

# What a backward pass keeps takes several times the room of a forward pass.
GRADIENT_SHARE = 4
# No layer: what Grad-CAM looks at in a network without maps.
NO_LAYER = ""
# What only thins out the maps of the layer in front of it.
_THINNING = ("maxpool", "avgpool", "adaptivepool", "dropout", "dropout2d")


@dataclass(frozen=True)
class Setting:
    """What the methods need beside a network and an image.

    Attributes:
        target: the number of the class.
        baseline: C×H×W, what the image becomes where nothing is to be seen on it.
        layer: whose maps Grad-CAM weighs, a row's name; empty where there is none.
        steps: of the way from the baseline to the image.
        window, stride: of the square that occlusion moves, in pixels.
        batch: how many images are computed at a time.
    """

    target: int
    baseline: Tensor
    layer: str
    steps: int
    window: int
    stride: int
    batch: int

    @property
    def gradients(self) -> int:
        """How many images are computed at a time where gradients are wanted."""
        return max(1, self.batch // GRADIENT_SHARE)


Method: TypeAlias = Callable[[nn.Module, Tensor, Setting], Tensor]


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


def saliency(network: nn.Module, image: Tensor, setting: Setting) -> Tensor:
    """C×H×W, the size of the logit's gradient by each number of a C×H×W image."""
    one = image[None].detach().clone().requires_grad_(True)
    found: Tensor = load_captum().Saliency(network).attribute(one, target=setting.target)
    return found[0].detach()


def integrated_gradients(network: nn.Module, image: Tensor, setting: Setting) -> Tensor:
    """C×H×W, the mean gradient on the way from the baseline to the image, times their difference."""
    method = load_captum().IntegratedGradients(network)
    found: Tensor = method.attribute(
        image[None].detach(),
        setting.baseline[None],
        target=setting.target,
        n_steps=setting.steps,
        internal_batch_size=setting.gradients,
    )
    # Captum computes a part of this in 64-bit floats.
    return found[0].detach().to(image.dtype)


def occlusion(network: nn.Module, image: Tensor, setting: Setting) -> Tensor:
    """C×H×W, by how much the logit falls when a square is the baseline's: the mean over the squares on a pixel."""
    channels = len(image)
    with torch.no_grad():
        found: Tensor = (
            load_captum()
            .Occlusion(network)
            .attribute(
                image[None].detach(),
                sliding_window_shapes=(channels, setting.window, setting.window),
                strides=(channels, setting.stride, setting.stride),
                baselines=setting.baseline[None],
                target=setting.target,
                perturbations_per_eval=setting.batch,
            )
        )
    return found[0].detach().to(image.dtype)


def grad_cam(network: nn.Module, image: Tensor, setting: Setting) -> Tensor:
    """1×h×w, the maps of a layer, each times the mean of the logit's gradient over it, summed; nothing below 0."""
    module, by_input = _tap(network, setting.layer)
    method = load_captum().LayerGradCam(network, module)
    found: Tensor = method.attribute(
        image[None].detach(), target=setting.target, attribute_to_layer_input=by_input, relu_attributions=True
    )
    return found[0].detach()


METHODS: Mapping[str, Method] = {
    "saliency": saliency,
    "integrated-gradients": integrated_gradients,
    "occlusion": occlusion,
    "grad-cam": grad_cam,
}
# What has no sign: a gradient's size, and what is cut off below 0.
UNSIGNED = frozenset({"saliency", "grad-cam"})


def heat(name: str, found: Tensor, size: tuple[int, int]) -> Tensor:
    """One number for each pixel, H×W, of what a method gives.

    The largest over the channels for saliency (Simonyan et al., section 3.1), the sum for integrated gradients, which
    keeps what all add up to; occlusion has one number for all channels; the maps of Grad-CAM are enlarged.
    """
    if name == "saliency":
        return found.amax(dim=0)
    if name == "integrated-gradients":
        return found.sum(dim=0)
    if name == "occlusion":
        return found.mean(dim=0)
    return F.interpolate(found[None], size, mode="bilinear", align_corners=False)[0, 0]


def at_a_time(network: nn.Module, image: Tensor) -> int:
    """How many images of this one's size, as it is and as the network resizes it, are computed at a time."""
    sizes = [tuple(image.shape[-2:]), *filter(None, [resized(network)])]
    return min(evaluation_batch(*size) for size in sizes)


def layers_with_maps(network: nn.Module, rows: Sequence[LayerRecord], shape: tuple[int, int, int]) -> list[str]:
    """The rows whose maps Grad-CAM can weigh, in the order of the data: C×H×W with more than one row and column.

    Of a module that is called several times the last call is meant.
    """
    modules = {name for name, _ in network.named_modules(remove_duplicate=False) if name}
    sights = Sights(rows, shape)
    last = {module_name(row.name): row.name for row in sorted(rows, key=lambda row: sights.order[row.name])}
    return [
        name
        for module, name in last.items()
        if module in modules
        and len(output := sights.rows[name].output) == 3
        and min(output[1:]) > 1
        and not sights.channels_last(sights.rows[name])
    ]


def choose_layer(
    network: nn.Module, rows: Sequence[LayerRecord], shape: tuple[int, int, int], layer: str | None
) -> str:
    """The layer that Grad-CAM looks at: the one that was asked for, or the last with maps; `NO_LAYER` without any.

    Pools and dropout behind the last layer that makes maps are passed over: its own have more places.

    Args:
        rows: the network's, for images of this shape, (C, H, W).

    Raises:
        UsageError: the network has no such layer, or it gives no maps that Grad-CAM could weigh.
    """
    fitting = layers_with_maps(network, rows, shape)
    if layer is None:
        kinds = {row.name: row.kind for row in rows}
        making = [name for name in fitting if kinds[name] not in _THINNING]
        return (making or fitting or [NO_LAYER])[-1]
    if layer in fitting:
        return layer
    row = next((row for row in rows if row.name == layer), None)
    again = next((name for name in fitting if module_name(name) == module_name(layer)), "")
    if row is None and not again:
        what, received = "the network has no layer of this name", layer
    elif again:
        what, received = "this layer is called again further on, and Grad-CAM sees its last call", layer
    else:
        assert row is not None
        what, received = "this layer gives no maps of places", f"{layer}, which gives {words.sizes(row.output)}"
    raise UsageError(
        what,
        where="layer",
        received=received,
        allowed=", ".join(fitting[-20:]) or "none: no layer of this network gives maps",
        next_step=f"write it as '{again}'" if again else nearest(layer, fitting) or "take a name from the list",
    )


def _tap(network: nn.Module, layer: str) -> tuple[nn.Module, bool]:
    """The module whose maps are wanted, and whether they are what goes into it.

    Behind the module at which a backbone is cut nothing of it runs, hooks either: its maps are what the head gets.
    """
    name = module_name(layer)
    for outer, part in network.named_modules():
        if isinstance(part, Transfer) and part.place.module and not part.place.before:
            prefix = f"{outer}." if outer else ""
            if name == f"{prefix}backbone.{part.place.module}":
                return part.head, True
    return network.get_submodule(name), False
