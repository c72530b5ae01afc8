"""Averages of the weights, and mixtures of images, that a recipe names; `cnnlab.training` carries them out."""

from __future__ import annotations

from typing import Any

from cnnlab.grammar.arguments import Momentum, Positive
from cnnlab.grammar.registry import Choice, Registry

averaging: Registry[Any] = Registry("average")
mixing: Registry[Any] = Registry("mixture")


@averaging.register("never")
class NoAveraging(Choice):
    """No average is kept."""


@averaging.register("ema")
class EMA(Choice):
    """A running mean of the weights, of which each step replaces the share 1 - `decay`; buffers are the newest."""

    decay: Momentum = 0.999


@averaging.register("swa")
class SWA(Choice):
    """The mean of the weights at the end of each epoch from the share `start` of all epochs on (Izmailov, 2018)."""

    start: Momentum = 0.75


@mixing.register("none")
class NoMixing(Choice):
    """Images stay by themselves."""


@mixing.register("mixup")
class MixUp(Choice):
    """Sums of two images and of their labels, weighted by a draw of Beta(alpha, alpha) (Zhang et al., 2018)."""

    alpha: Positive = 0.2


@mixing.register("cutmix")
class CutMix(Choice):
    """A rectangle of another image, and as large a share of its label, by Beta(alpha, alpha) (Yun et al., 2019)."""

    alpha: Positive = 1.0
