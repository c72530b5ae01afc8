"""Build the module of a traced layer table; the module of a row has the row's name.

build(trace).get_submodule("residual1.body.conv1")
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from cnnlab.architecture import layers
from cnnlab.architecture.trace import Trace, TracedLayer
from cnnlab.models import blocks
from cnnlab.torch_rng import fork_rng


def build(trace: Trace) -> nn.Sequential:
    """Build the network of a table: N×C×H×W float images to N×K logits.

    A softmax in the last row becomes an identity, since the loss takes logits.
    """
    with fork_rng():  # new layers draw weights, which `init_weights` replaces
        network = _build_sequential(trace.rows, prefix="")
    last = trace.rows[-1]
    if isinstance(last.layer, layers.Softmax):
        setattr(network, last.name, nn.Identity())
    return network


def _build_sequential(rows: Sequence[TracedLayer], prefix: str) -> nn.Sequential:
    return nn.Sequential(OrderedDict((row.name.removeprefix(prefix), _build_module(row)) for row in rows))


def _build_module(row: TracedLayer) -> nn.Module:
    branches = {name: _build_sequential(rows, f"{row.name}.{name}.") for name, rows in row.branches}
    if isinstance(row.layer, layers.Residual):
        return blocks.ResidualBlock(branches["body"], branches["shortcut"], row.layer.drop)
    if isinstance(row.layer, layers.Repeat):
        return nn.Sequential(OrderedDict(branches))
    return _BUILDERS[type(row.layer)](row.layer, row)


def _conv(layer: layers.Conv, row: TracedLayer) -> nn.Module:
    module = _convolution(layer, row, layer.groups)
    return weight_norm(module) if layer.weightnorm else module


def _depthwise(layer: layers.Depthwise, row: TracedLayer) -> nn.Module:
    return _convolution(layer, row, row.input[0])


def _convolution(layer: layers.Conv | layers.Depthwise, row: TracedLayer, groups: int) -> nn.Conv2d:
    same = layer.padding == "same"
    kind = blocks.SameConv2d if same else nn.Conv2d
    padding: Any = 0 if same else layer.padding
    return kind(row.input[0], row.output[0], layer.kernel, layer.stride, padding, layer.dilation, groups, layer.bias)


def _dense(layer: layers.Dense, row: TracedLayer) -> nn.Module:
    module = nn.Linear(row.input[0], layer.units, layer.bias)
    return weight_norm(module) if layer.weightnorm else module


def _batchnorm(layer: layers.BatchNorm, row: TracedLayer) -> nn.Module:
    kind = nn.BatchNorm2d if len(row.input) == 3 else nn.BatchNorm1d
    return kind(row.input[0], layer.eps, layer.momentum, layer.affine)


def _adaptivepool(layer: layers.AdaptivePool, row: TracedLayer) -> nn.Module:
    return nn.AdaptiveAvgPool2d(layer.size) if layer.how == "mean" else nn.AdaptiveMaxPool2d(layer.size)


def _upsample(layer: layers.Upsample, row: TracedLayer) -> nn.Module:
    align = False if layer.mode == "bilinear" else None
    return nn.Upsample(scale_factor=layer.scale, mode=layer.mode, align_corners=align)


_BUILDERS: dict[type, Callable[[Any, TracedLayer], nn.Module]] = {
    layers.Conv: _conv,
    layers.Depthwise: _depthwise,
    layers.Dense: _dense,
    layers.MaxPool: lambda layer, row: nn.MaxPool2d(layer.kernel, layer.stride, layer.padding),
    layers.AvgPool: lambda layer, row: nn.AvgPool2d(layer.kernel, layer.stride, layer.padding),
    layers.GlobalPool: lambda layer, row: blocks.GlobalAvgPool2d() if layer.how == "mean" else blocks.GlobalMaxPool2d(),
    layers.AdaptivePool: _adaptivepool,
    layers.Upsample: _upsample,
    layers.Flatten: lambda layer, row: nn.Flatten(),
    layers.BatchNorm: _batchnorm,
    layers.LayerNorm: lambda layer, row: nn.LayerNorm(row.input, layer.eps, layer.affine),
    layers.GroupNorm: lambda layer, row: nn.GroupNorm(layer.groups, row.input[0], layer.eps, layer.affine),
    layers.LocalResponseNorm: lambda layer, row: nn.LocalResponseNorm(layer.size, layer.alpha, layer.beta, layer.k),
    layers.Dropout: lambda layer, row: nn.Dropout(layer.rate),
    layers.Dropout2d: lambda layer, row: nn.Dropout2d(layer.rate),
    layers.ReLU: lambda layer, row: nn.ReLU(),
    layers.LeakyReLU: lambda layer, row: nn.LeakyReLU(layer.slope),
    layers.ELU: lambda layer, row: nn.ELU(layer.alpha),
    layers.GELU: lambda layer, row: nn.GELU(),
    layers.SiLU: lambda layer, row: nn.SiLU(),
    layers.Tanh: lambda layer, row: nn.Tanh(),
    layers.Sigmoid: lambda layer, row: nn.Sigmoid(),
    layers.Softmax: lambda layer, row: nn.Softmax(dim=1),
}
