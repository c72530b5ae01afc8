"""The optimizers that a recipe names; `cnnlab.training.optimizers` makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from cnnlab.errors import SpecError
from cnnlab.grammar.arguments import Momentum, NonNegative, Positive
from cnnlab.grammar.registry import Choice, Registry

optimizers: Registry[Any] = Registry("optimizer")


@optimizers.register("sgd")
class SGDConfig(Choice):
    """Stochastic gradient descent, with momentum (Nesterov's on request)."""

    # 0.1 begins most published schedules (He et al., 2016), 0.001 most fine-tuning.
    typical_lr: ClassVar[tuple[float, float]] = (1e-3, 0.1)
    lr: Positive
    momentum: Momentum = 0.0
    nesterov: bool = False
    weight_decay: NonNegative = 0.0

    @property
    def state_per_parameter(self) -> int:
        """Numbers kept for each parameter: the running mean of its gradients, where there is momentum."""
        return 1 if self.momentum else 0

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise SpecError(
                "Nesterov's way of looking ahead needs momentum",
                received="momentum=0",
                allowed="momentum above 0, such as momentum=0.9",
            )


@optimizers.register("adam")
class AdamConfig(Choice):
    """Adam (Kingma, Ba, 2014); its weight decay is added to the gradient."""

    # Around the paper's own 0.001; transformers and fine-tuning take less.
    typical_lr: ClassVar[tuple[float, float]] = (1e-4, 3e-3)
    state_per_parameter: ClassVar[int] = (
        2  # numbers kept for each parameter: running means of its gradients and of their squares
    )
    lr: Positive = 1e-3
    beta1: Momentum = 0.9
    beta2: Momentum = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0


@optimizers.register("adamw")
class AdamWConfig(Choice):
    """Adam with decoupled weight decay (Loshchilov, Hutter, 2017)."""

    typical_lr: ClassVar[tuple[float, float]] = (1e-4, 3e-3)  # Adam's
    state_per_parameter: ClassVar[int] = 2
    lr: Positive = 1e-3
    beta1: Momentum = 0.9
    beta2: Momentum = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative = 1e-2


@optimizers.register("nadam")
class NAdamConfig(Choice):
    """Adam with Nesterov's way of looking ahead (Dozat, 2016)."""

    typical_lr: ClassVar[tuple[float, float]] = (1e-4, 3e-3)  # Adam's
    state_per_parameter: ClassVar[int] = 2
    lr: Positive = 2e-3
    beta1: Momentum = 0.9
    beta2: Momentum = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0


@optimizers.register("radam")
class RAdamConfig(Choice):
    """Adam whose first steps are held back until its variance is known (Liu et al., 2019)."""

    typical_lr: ClassVar[tuple[float, float]] = (1e-4, 3e-3)  # Adam's
    state_per_parameter: ClassVar[int] = 2
    lr: Positive = 1e-3
    beta1: Momentum = 0.9
    beta2: Momentum = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0


@optimizers.register("adamax")
class AdamaxConfig(Choice):
    """Adam with the largest recent gradient in place of their mean square (Kingma, Ba, 2014)."""

    typical_lr: ClassVar[tuple[float, float]] = (1e-4, 3e-3)  # Adam's; 0.002 is the paper's
    state_per_parameter: ClassVar[int] = 2
    lr: Positive = 2e-3
    beta1: Momentum = 0.9
    beta2: Momentum = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0


@optimizers.register("rmsprop")
class RMSpropConfig(Choice):
    """Gradients divided by the root of their running mean square (Hinton, 2012); `centered` takes their variance."""

    # Hinton's lecture names 0.001, torch begins at 0.01.
    typical_lr: ClassVar[tuple[float, float]] = (1e-4, 1e-2)
    lr: Positive = 1e-3
    alpha: Momentum = 0.99
    momentum: Momentum = 0.0
    centered: bool = False
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0

    @property
    def state_per_parameter(self) -> int:
        """Numbers kept for each parameter: the mean square, and what momentum and centring add."""
        return 1 + bool(self.momentum) + self.centered


@optimizers.register("adagrad")
class AdagradConfig(Choice):
    """Gradients divided by the root of the sum of all their squares (Duchi et al., 2011)."""

    typical_lr: ClassVar[tuple[float, float]] = (1e-3, 0.1)  # around torch's own 0.01
    state_per_parameter: ClassVar[int] = 1
    lr: Positive = 1e-2
    eps: Positive = 1e-10
    weight_decay: NonNegative = 0.0


@optimizers.register("adadelta")
class AdadeltaConfig(Choice):
    """Steps as large as the recent ones (Zeiler, 2012), times a rate that the paper does without."""

    typical_lr: ClassVar[tuple[float, float]] = (0.1, 1.0)  # 1 is the paper's
    state_per_parameter: ClassVar[int] = 2
    lr: Positive = 1.0
    rho: Momentum = 0.9
    eps: Positive = 1e-6
    weight_decay: NonNegative = 0.0


@optimizers.register("lion")
class LionConfig(Choice):
    """The sign of a running mean of gradients, with decoupled weight decay (Chen et al., 2023)."""

    # The paper: a third to a tenth of AdamW's rate, with a weight decay as much larger.
    typical_lr: ClassVar[tuple[float, float]] = (1e-5, 1e-3)
    state_per_parameter: ClassVar[int] = 1
    lr: Positive = 1e-4
    beta1: Momentum = 0.9
    beta2: Momentum = 0.99
    weight_decay: NonNegative = 0.0


if TYPE_CHECKING:
    AnyOptimizer: TypeAlias = Any
else:
    AnyOptimizer = optimizers.field_type()


@optimizers.register("muon")
class MuonConfig(Choice):
    """Orthogonal steps for hidden layers' weights (Jordan, 2024); `companion` for the first, the last and the rest."""

    typical_lr: ClassVar[tuple[float, float]] = (1e-3, 0.1)  # around Jordan's own 0.02
    state_per_parameter: ClassVar[int] = 1  # of hidden weights, which are most; the companion keeps its own
    lr: Positive = 0.02
    momentum: Momentum = 0.95
    weight_decay: NonNegative = 0.0
    companion: AnyOptimizer = optimizers.read("adamw(3e-4)")

    def __post_init__(self) -> None:
        if isinstance(self.companion, MuonConfig):
            raise SpecError("muon can't be its own companion", received="companion=muon(…)")
