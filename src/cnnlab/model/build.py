"""A traced layer table to a module: the module of a row has the row's name.

build(trace).get_submodule("residual1.body.conv1")
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from cnnlab.model import blocks
from cnnlab.randomness import torch_state
from cnnlab.spec import layers as spec
from cnnlab.spec.trace import Trace, Traced


def build(trace: Trace) -> nn.Sequential:
    """The network of a table: N×C×H×W float images to N×K logits.

    A softmax in the last row is the output's meaning, not a step: it becomes an identity, and the loss works on
    logits.
    """
    with torch_state():  # each new layer draws its first weights; `initialise` draws them again, from a seed
        network = _sequence(trace.rows, prefix="")
    last = trace.rows[-1]
    if isinstance(last.layer, spec.Softmax):
        setattr(network, last.name, nn.Identity())
    return network


def _sequence(rows: Sequence[Traced], prefix: str) -> nn.Sequential:
    return nn.Sequential(OrderedDict((row.name.removeprefix(prefix), _module(row)) for row in rows))


def _module(row: Traced) -> nn.Module:
    branches = {name: _sequence(rows, f"{row.name}.{name}.") for name, rows in row.branches}
    if isinstance(row.layer, spec.Residual):
        return blocks.Residual(branches["body"], branches["shortcut"], row.layer.drop)
    if isinstance(row.layer, spec.Repeat):
        return nn.Sequential(OrderedDict(branches))
    return _BUILDERS[type(row.layer)](row.layer, row)


def _conv(layer: spec.Conv, row: Traced) -> nn.Module:
    module = _convolution(layer, row, layer.groups)
    return weight_norm(module) if layer.weightnorm else module


def _depthwise(layer: spec.Depthwise, row: Traced) -> nn.Module:
    return _convolution(layer, row, row.input[0])


def _convolution(layer: spec.Conv | spec.Depthwise, row: Traced, groups: int) -> nn.Conv2d:
    same = layer.padding == "same"
    kind = blocks.SameConv2d if same else nn.Conv2d
    padding: Any = 0 if same else layer.padding
    return kind(row.input[0], row.output[0], layer.kernel, layer.stride, padding, layer.dilation, groups, layer.bias)


def _dense(layer: spec.Dense, row: Traced) -> nn.Module:
    module = nn.Linear(row.input[0], layer.units, layer.bias)
    return weight_norm(module) if layer.weightnorm else module


def _batchnorm(layer: spec.BatchNorm, row: Traced) -> nn.Module:
    kind = nn.BatchNorm2d if len(row.input) == 3 else nn.BatchNorm1d
    return kind(row.input[0], layer.eps, layer.momentum, layer.affine)


def _adaptivepool(layer: spec.AdaptivePool, row: Traced) -> nn.Module:
    return nn.AdaptiveAvgPool2d(layer.size) if layer.how == "mean" else nn.AdaptiveMaxPool2d(layer.size)


def _upsample(layer: spec.Upsample, row: Traced) -> nn.Module:
    align = False if layer.mode == "bilinear" else None
    return nn.Upsample(scale_factor=layer.scale, mode=layer.mode, align_corners=align)


_BUILDERS: dict[type, Callable[[Any, Traced], nn.Module]] = {
    spec.Conv: _conv,
    spec.Depthwise: _depthwise,
    spec.Dense: _dense,
    spec.MaxPool: lambda layer, row: nn.MaxPool2d(layer.kernel, layer.stride, layer.padding),
    spec.AvgPool: lambda layer, row: nn.AvgPool2d(layer.kernel, layer.stride, layer.padding),
    spec.GlobalPool: lambda layer, row: blocks.GlobalMean() if layer.how == "mean" else blocks.GlobalMax(),
    spec.AdaptivePool: _adaptivepool,
    spec.Upsample: _upsample,
    spec.Flatten: lambda layer, row: nn.Flatten(),
    spec.BatchNorm: _batchnorm,
    spec.LayerNorm: lambda layer, row: nn.LayerNorm(row.input, layer.eps, layer.affine),
    spec.GroupNorm: lambda layer, row: nn.GroupNorm(layer.groups, row.input[0], layer.eps, layer.affine),
    spec.LocalResponseNorm: lambda layer, row: nn.LocalResponseNorm(layer.size, layer.alpha, layer.beta, layer.k),
    spec.Dropout: lambda layer, row: nn.Dropout(layer.rate),
    spec.Dropout2d: lambda layer, row: nn.Dropout2d(layer.rate),
    spec.ReLU: lambda layer, row: nn.ReLU(),
    spec.LeakyReLU: lambda layer, row: nn.LeakyReLU(layer.slope),
    spec.ELU: lambda layer, row: nn.ELU(layer.alpha),
    spec.GELU: lambda layer, row: nn.GELU(),
    spec.SiLU: lambda layer, row: nn.SiLU(),
    spec.Tanh: lambda layer, row: nn.Tanh(),
    spec.Sigmoid: lambda layer, row: nn.Sigmoid(),
    spec.Softmax: lambda layer, row: nn.Softmax(dim=1),
}
