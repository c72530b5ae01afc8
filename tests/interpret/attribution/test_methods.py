"""The four methods against Captum, and against loops written here where Captum can't be used."""

from __future__ import annotations

from dataclasses import replace

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.trace import Trace, trace
from cnnlab.config.recipe import Recipe
from cnnlab.interpret.attribution.methods import METHODS, AttributionConfig, max_batch_size, to_heatmap
from cnnlab.interpret.layer_index import LayerIndex, LayerRef
from cnnlab.models.build import build
from cnnlab.models.init import init_weights
from cnnlab.models.network_plan import NetworkPlan, plan_network
from cnnlab.models.tracing.trace import network_table
from cnnlab.torch_rng import fork_rng, manual_seed_torch

PLAIN = ("conv(4, 3, padding=1)", "relu", "maxpool(2)", "conv(6, 3)", "relu", "flatten", "dense(classes)")
RESIDUAL = (
    "conv(4, 3, padding=1)",
    "residual([conv(4, 3, padding=1), batchnorm, relu, conv(4, 3, padding=1)])",
    "relu",
    "globalpool",
    "dense(classes)",
)


class InPlace(nn.Module):
    """A network whose activations overwrite what is in front of them, one of them called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        first = self.relu(self.conv1(images))
        second = self.relu(self.conv2(first) + first)
        return self.head(second.mean(dim=(2, 3)))


def build_network(
    rows: tuple[str, ...], shape: tuple[int, int, int] = (3, 12, 12), seed: int = 0
) -> tuple[Trace, nn.Module]:
    traced = trace(read_table(list(rows), {}, 3), shape)
    network = build(traced)
    init_weights(network, "kaiming", seed)
    return traced, network.eval()


def transferred() -> NetworkPlan:
    fields = {"backbone": "resnet18(weights='none', cut='layer2')", "head": ["globalpool", "dense(classes)"]}
    tables = {"data": {"source": "shapes"}, "model": {**fields, "resize": "own"}}
    return plan_network(Recipe.from_tables(tables).model, (3, 16, 16), 3)


def setting(image: Tensor, **fields: object) -> AttributionConfig:
    plain = AttributionConfig(
        target=1, baseline=torch.zeros_like(image), layer=None, steps=40, window=4, stride=2, batch_size=7
    )
    return replace(plain, **fields)


@pytest.fixture(params=["plain", "residual", "in place", "transferred"])
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, LayerRef, Tensor]:
    """A network, the layer whose maps are weighed, and an image."""
    noise = torch.Generator().manual_seed(3)
    if request.param == "transferred":
        plan = transferred()
        network = plan.initialize(0, print)[0]
        layer = LayerIndex(network, plan.layers, plan.input).find("backbone.layer2")
        return network, layer, torch.randn(3, 16, 16, generator=noise)
    image = torch.randn(3, 12, 12, generator=noise)
    if request.param == "in place":
        with fork_rng():
            manual_seed_torch(5, "test")
            network = InPlace().eval()
        return network, LayerIndex(network, network_table(network, image.shape).layers, image.shape).find("add"), image
    rows, layer = (PLAIN, "relu2") if request.param == "plain" else (RESIDUAL, "relu1")
    traced, network = build_network(rows)
    return network, LayerIndex(network, traced.records(), (3, 12, 12)).find(layer), image


def test_occlusion_is_the_mean_fall_over_the_squares_on_a_pixel(case: tuple[nn.Module, LayerRef, Tensor]) -> None:
    network, _, image = case
    start, side, move, size = torch.full_like(image, -0.2), 5, 3, image.shape[1]
    result = METHODS["occlusion"](network, image, setting(image, baseline=start, window=side, stride=move))
    total, times = np.zeros((size, size)), np.zeros((size, size))
    places = range(0, size - side + move, move)  # the last square reaches beyond the edge, or ends at it
    with torch.no_grad():
        whole = float(network(image[None])[0, 1])
        for row in places:
            for column in places:
                hidden = image.clone()
                hidden[:, row : row + side, column : column + side] = start[:, row : row + side, column : column + side]
                fall = whole - float(network(hidden[None])[0, 1])
                total[row : row + side, column : column + side] += fall
                times[row : row + side, column : column + side] += 1
    assert times.min() > 0
    for channel in result.numpy():
        assert np.allclose(channel, total / times, atol=1e-5)


def test_grad_cam_is_the_sum_of_maps_weighted_by_their_mean_gradient(case: tuple[nn.Module, LayerRef, Tensor]) -> None:
    network, layer, image = case
    result = METHODS["grad-cam"](network, image, setting(image, layer=layer))
    maps, logits = halves(network, layer, image)
    (slope,) = torch.autograd.grad(logits[0, 1], maps)
    expected = F.relu((slope.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1))
    assert result.shape == expected.shape
    assert torch.allclose(result, expected, atol=1e-6)
    size = tuple(image.shape[1:])
    assert to_heatmap("grad-cam", result, size).shape == size


def halves(network: nn.Module, layer: LayerRef, image: Tensor) -> tuple[Tensor, Tensor]:
    """The maps of a layer and the logits that are made of them, the network's way cut in two by hand."""
    if isinstance(network, InPlace):
        first = network.conv1(image[None]).relu()
        # The sum, which the activation overwrites.
        maps = (network.conv2(first) + first).detach().requires_grad_(True)
        return maps, network.head(maps.relu().mean(dim=(2, 3)))
    if hasattr(network, "forward_features"):
        maps = network.forward_features(image[None]).detach().requires_grad_(True)
        return maps, network.head(maps)
    parts = list(network.named_children())
    cut = [name for name, _ in parts].index(layer.name) + 1
    maps = nn.Sequential(*(part for _, part in parts[:cut]))(image[None]).detach().requires_grad_(True)
    return maps, nn.Sequential(*(part for _, part in parts[cut:]))(maps)


def test_methods_agree_with_captum(case: tuple[nn.Module, LayerRef, Tensor]) -> None:
    network, layer, image = case
    # Batches of one or two steps at a time.
    mine = setting(image, layer=layer)
    one = image[None].clone().requires_grad_(True)
    attr = captum.attr
    theirs = {
        "saliency": attr.Saliency(network).attribute(one, target=1),
        "integrated-gradients": attr.IntegratedGradients(network).attribute(one, target=1, n_steps=40),
        "occlusion": attr.Occlusion(network).attribute(image[None], (3, 4, 4), (3, 2, 2), target=1),
    }
    # Captum's hook would stand behind the one that stops the backbone, and it has no steps that are no module.
    if not layer.uses_input and not hasattr(network, "forward_features"):
        module = network.get_submodule(layer.hooked_module)
        theirs["grad-cam"] = attr.LayerGradCam(network, module).attribute(one, target=1, relu_attributions=True)
    for name, expected in theirs.items():
        result = METHODS[name](network, image, mine)
        assert np.allclose(result.detach(), expected[0].detach(), atol=1e-6), name


def test_the_batch_size_follows_the_size_of_images() -> None:
    _, network = build_network(PLAIN)
    assert max_batch_size(network, torch.zeros(3, 12, 12)) == 500
    assert max_batch_size(network, torch.zeros(3, 224, 224)) == 10
    fields = {"backbone": "squeezenet1_1(weights='none')", "head": ["globalpool", "dense(classes)"]}
    tables = {"data": {"source": "shapes"}, "model": {**fields, "resize": [224, 224]}}
    enlarging = plan_network(Recipe.from_tables(tables).model, (3, 32, 32), 3).build(0, "cpu")
    assert max_batch_size(enlarging, torch.zeros(3, 32, 32)) == 10


@pytest.mark.parametrize("name", list(METHODS))
def test_no_batch_is_larger_than_asked(name: str) -> None:
    traced, network = build_network(PLAIN)
    layer = LayerIndex(network, traced.records(), (3, 12, 12)).find("relu2")
    image = torch.randn(3, 12, 12, generator=torch.Generator().manual_seed(0))
    sizes = []
    handle = network.conv1.register_forward_pre_hook(lambda _module, given: sizes.append(len(given[0])))
    METHODS[name](network, image, setting(image, layer=layer, batch_size=8))
    handle.remove()
    most = 8 if name == "occlusion" else 2
    assert 0 < max(sizes) <= most
    if name in ("occlusion", "integrated-gradients"):
        assert max(sizes) == most
