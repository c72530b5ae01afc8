"""The modules that torch does not have."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ResidualBlock(nn.Module):
    """The sum of two paths over the same input; an empty shortcut is the input itself.

    While training the body's part is left out for each image with probability `drop`, and made up for in the others:
    stochastic depth (G. Huang et al., 2016).
    """

    def __init__(self, body: nn.Sequential, shortcut: nn.Sequential, drop: float = 0.0) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut
        self._depth = nn.Dropout(drop) if drop else None  # over one number an image

    def forward(self, images: Tensor) -> Tensor:
        found = self.body(images)
        if self._depth is not None and self.training:
            found = found * self._depth(found.new_ones(len(found), *(1 for _ in found.shape[1:])))
        return torch.add(found, self.shortcut(images))


class SameConv2d(nn.Conv2d):
    """A convolution that keeps the size; of an odd number of padded rows the last side gets one more.

    What torch's padding='same' does, without its warning about even kernels.
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
