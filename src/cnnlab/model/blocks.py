"""The modules that torch does not have."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Residual(nn.Module):
    """The sum of two paths over the same input; an empty shortcut is the input itself."""

    def __init__(self, body: nn.Sequential, shortcut: nn.Sequential) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, images: Tensor) -> Tensor:
        return torch.add(self.body(images), self.shortcut(images))


class SameConv2d(nn.Conv2d):
    """A convolution that keeps the size; of an odd number of padded rows the last side gets one more.

    What torch's padding='same' does, without its warning about even kernels.
    """

    def forward(self, images: Tensor) -> Tensor:
        margins = [dilation * (kernel - 1) for kernel, dilation in zip(self.kernel_size, self.dilation, strict=True)]
        high, wide = margins
        padded = functional.pad(images, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        return super().forward(padded)


class GlobalMean(nn.Module):
    """The mean of each channel: N×C×H×W to N×C. A plain mean, whose gradient is deterministic on every device."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


class GlobalMax(nn.Module):
    """The maximum of each channel: N×C×H×W to N×C."""

    def forward(self, images: Tensor) -> Tensor:
        return images.amax(dim=(2, 3))
