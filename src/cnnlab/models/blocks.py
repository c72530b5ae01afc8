"""Modules of layers that torch does not have."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ResidualBlock(nn.Module):
    """The sum of two paths over the same input; an empty shortcut is the input itself.

    In training the body is dropped for each image with probability `drop`, and scaled up for the others: stochastic
    depth (G. Huang et al., 2016).
    """

    def __init__(self, body: nn.Sequential, shortcut: nn.Sequential, drop: float = 0.0) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut
        self._depth = nn.Dropout(drop) if drop else None  # over one number an image

    def forward(self, images: Tensor) -> Tensor:
        outputs = self.body(images)
        if self._depth is not None and self.training:
            outputs = outputs * self._depth(outputs.new_ones(len(outputs), *(1 for _ in outputs.shape[1:])))
        return torch.add(outputs, self.shortcut(images))


class SameConv2d(nn.Conv2d):
    """A convolution that keeps the size; an odd number of padded rows has one more at the end.

    The same as torch's padding='same', without its warning about even kernels.
    """

    def forward(self, images: Tensor) -> Tensor:
        margins = [dilation * (kernel - 1) for kernel, dilation in zip(self.kernel_size, self.dilation, strict=True)]
        high, wide = margins
        padded = functional.pad(images, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        return super().forward(padded)


class GlobalAvgPool2d(nn.Module):
    """The mean of each channel: N×C×H×W to N×C. A plain mean, whose gradient is deterministic on every device."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


class GlobalMaxPool2d(nn.Module):
    """The maximum of each channel: N×C×H×W to N×C."""

    def forward(self, images: Tensor) -> Tensor:
        return images.amax(dim=(2, 3))
