"""The optimizers of recipes, and averages of the weights; `cnnlab.training` builds them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from cnnlab.errors import SpecError
from cnnlab.grammar.arguments import Momentum, NonNegative, Positive
from cnnlab.grammar.registry import Choice, Registry

optimizers: Registry[Any] = Registry("optimizer")
averaging: Registry[Any] = Registry("average")


@optimizers.register("sgd")
class SGDConfig(Choice):
    """Stochastic gradient descent, with momentum and Nesterov momentum."""

    # Most published schedules start at 0.1 (He et al., 2016), most fine-tuning at 0.001.
    typical_lr: ClassVar[tuple[float, float]] = (1e-3, 0.1)
    lr: Positive
    momentum: Momentum = 0.0
    nesterov: bool = False
    weight_decay: NonNegative = 0.0

    @property
    def state_per_parameter(self) -> int:
        """Values kept per parameter: the momentum buffer, if there is momentum."""
        return 1 if self.momentum else 0

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise SpecError(
                "Nesterov momentum needs a momentum",
                received="momentum=0",
                allowed="momentum above 0, such as momentum=0.9",
            )


@optimizers.register("adam")
class AdamConfig(Choice):
    """Adam (Kingma, Ba, 2014); weight decay is added to the gradient."""

    # Around the paper's 0.001; transformers and fine-tuning use less.
    typical_lr: ClassVar[tuple[float, float]] = (1e-4, 3e-3)
    # Values kept per parameter: running means of the gradients and of their squares.
    state_per_parameter: ClassVar[int] = 2
    lr: Positive = 1e-3
    beta1: Momentum = 0.9
    beta2: Momentum = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0


@optimizers.register("adamw")
class AdamWConfig(AdamConfig):
    """Adam with decoupled weight decay (Loshchilov, Hutter, 2017)."""

    weight_decay: NonNegative = 1e-2


@optimizers.register("nadam")
class NAdamConfig(AdamConfig):
    """Adam with Nesterov momentum (Dozat, 2016)."""

    lr: Positive = 2e-3


@optimizers.register("radam")
class RAdamConfig(AdamConfig):
    """Adam with a rectified variance in the first steps (Liu et al., 2019)."""


@optimizers.register("adamax")
class AdamaxConfig(AdamConfig):
    """Adam with the infinity norm of recent gradients (Kingma, Ba, 2014)."""

    lr: Positive = 2e-3


@optimizers.register("rmsprop")
class RMSpropConfig(Choice):
    """Gradients divided by the root of their running mean square (Hinton, 2012); `centered` uses their variance."""

    # Hinton's lecture uses 0.001, torch's default is 0.01.
    typical_lr: ClassVar[tuple[float, float]] = (1e-4, 1e-2)
    lr: Positive = 1e-3
    alpha: Momentum = 0.99
    momentum: Momentum = 0.0
    centered: bool = False
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0

    @property
    def state_per_parameter(self) -> int:
        """Values kept per parameter: the mean square, and what momentum and centering add."""
        return 1 + bool(self.momentum) + self.centered


@optimizers.register("adagrad")
class AdagradConfig(Choice):
    """Gradients divided by the root of the sum of their squares (Duchi et al., 2011)."""

    typical_lr: ClassVar[tuple[float, float]] = (1e-3, 0.1)  # around torch's default of 0.01
    state_per_parameter: ClassVar[int] = 1
    lr: Positive = 1e-2
    eps: Positive = 1e-10
    weight_decay: NonNegative = 0.0


@optimizers.register("adadelta")
class AdadeltaConfig(Choice):
    """Steps scaled by the size of recent steps (Zeiler, 2012), times a rate that the paper does not have."""

    typical_lr: ClassVar[tuple[float, float]] = (0.1, 1.0)  # 1 is as in the paper
    state_per_parameter: ClassVar[int] = 2
    lr: Positive = 1.0
    rho: Momentum = 0.9
    eps: Positive = 1e-6
    weight_decay: NonNegative = 0.0


@optimizers.register("lion")
class LionConfig(Choice):
    """The sign of a running mean of the gradients, with decoupled weight decay (Chen et al., 2023)."""

    # The paper: a third to a tenth of AdamW's rate, with a weight decay larger by the same factor.
    typical_lr: ClassVar[tuple[float, float]] = (1e-5, 1e-3)
    state_per_parameter: ClassVar[int] = 1
    lr: Positive = 1e-4
    beta1: Momentum = 0.9
    beta2: Momentum = 0.99
    weight_decay: NonNegative = 0.0


@optimizers.register("muon")
class MuonConfig(Choice):
    """Orthogonalized steps for hidden weights (Jordan, 2024); `companion` updates all other parameters."""

    typical_lr: ClassVar[tuple[float, float]] = (1e-3, 0.1)  # around Jordan's 0.02
    state_per_parameter: ClassVar[int] = 1  # of the hidden weights, which are most; the companion has its own
    lr: Positive = 0.02
    momentum: Momentum = 0.95
    weight_decay: NonNegative = 0.0
    companion: Annotated[Any, optimizers] = optimizers.read("adamw(3e-4)")

    def __post_init__(self) -> None:
        if isinstance(self.companion, MuonConfig):
            raise SpecError("muon can't be its own companion", received="companion=muon(…)")


@averaging.register("never")
class NoAveraging(Choice):
    """No average is kept."""


@averaging.register("ema")
class EMA(Choice):
    """An exponential moving average of the weights, updated by 1 - `decay` each step; buffers are the latest."""

    decay: Momentum = 0.999


@averaging.register("swa")
class SWA(Choice):
    """The mean of the weights at the ends of epochs, from the fraction `start` of all epochs (Izmailov, 2018)."""

    start: Momentum = 0.75
