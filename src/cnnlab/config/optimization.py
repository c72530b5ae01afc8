"""The choices of training that a recipe names: optimisers, schedules, stopping.

Here stand their names, arguments and allowed values; `cnnlab.training` carries them out. The augmentations stand in
`cnnlab.config.augmentations`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field

from cnnlab.errors import SpecError
from cnnlab.grammar.arguments import Count, Momentum, NonNegative, Positive, Probability
from cnnlab.grammar.registry import Registry

# The metrics of a split that may stop, choose and be studied; the first is better when smaller.
Metric: TypeAlias = Literal["loss", "accuracy", "top5", "balanced_accuracy", "macro_f1"]


class Choice:
    """What every choice has: its name in a recipe.

    An optimiser may say between which learning rates people usually train with it (`typical_lr`), and an augmentation
    that it turns left into right (`flips_horizontally`).
    """

    kind: ClassVar[str]
    typical_lr: ClassVar[tuple[float, float] | None] = None
    flips_horizontally: ClassVar[bool] = False


optimizers: Registry[Any] = Registry("optimizer")
schedules: Registry[Any] = Registry("schedule")
stopping_rules: Registry[Any] = Registry("stop")


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


OpenFraction: TypeAlias = Annotated[float, Field(gt=0, lt=1)]
Divisor: TypeAlias = Annotated[float, Field(ge=1)]
if TYPE_CHECKING:
    AnySchedule: TypeAlias = Any
else:
    AnySchedule = schedules.field_type()


@schedules.register("constant")
class ConstantSchedule(Choice):
    """The learning rate stays."""


@schedules.register("step")
class StepSchedule(Choice):
    """Times `factor` after every `epochs` epochs."""

    epochs: Count = 30
    factor: Probability = 0.1


@schedules.register("multistep")
class MultiStepSchedule(Choice):
    """Times `factor` after each of these epochs."""

    epochs: tuple[Count, ...]
    factor: Probability = 0.1

    def __post_init__(self) -> None:
        if not self.epochs or list(self.epochs) != sorted(set(self.epochs)):
            raise SpecError("these epochs don't rise", received=str(list(self.epochs)), allowed="such as [30, 60]")


@schedules.register("exponential")
class ExponentialSchedule(Choice):
    """Times `factor` after every epoch."""

    factor: Probability = 0.95


@schedules.register("linear")
class LinearSchedule(Choice):
    """Down along a line, step by step, to `floor` times the first rate."""

    floor: Probability = 0.0


@schedules.register("cosine")
class CosineSchedule(Choice):
    """Down along half a cosine, step by step, to `floor` times the first rate."""

    floor: Probability = 0.0


@schedules.register("restarts")
class CosineRestartsSchedule(Choice):
    """Cosine that restarts (Loshchilov, Hutter, 2016): after `epochs` epochs, then each time `growth` times more."""

    epochs: Count = 10
    growth: Count = 1
    floor: Probability = 0.0


@schedules.register("onecycle")
class OneCycleSchedule(Choice):
    """From rate/first up to the rate, for the share `rise` of all steps, then down to rate/first/last (Smith, 2017)."""

    rise: OpenFraction = 0.3
    first: Divisor = 25.0
    last: Divisor = 1e4


@schedules.register("plateau")
class PlateauSchedule(Choice):
    """Times `factor` when `metric` on the validation split has not improved for `patience` validations."""

    factor: Probability = 0.1
    patience: Count = 10
    metric: Metric = "loss"


@schedules.register("warmup")
class WarmupSchedule(Choice):
    """Up along a line from `start` times the rate, for `epochs` epochs; then another schedule, which begins there."""

    epochs: Positive = 1.0
    then: AnySchedule = ConstantSchedule()
    start: Probability = 0.01

    @property
    def metric(self) -> str | None:
        """The figure that the schedule behind it watches, if it watches one."""
        return getattr(self.then, "metric", None)

    def __post_init__(self) -> None:
        if isinstance(self.then, WarmupSchedule):
            raise SpecError("a warm-up has no other one behind it", received="then=warmup(…)")


@stopping_rules.register("never")
class NoEarlyStopping(Choice):
    """Train for all epochs."""


@stopping_rules.register("early")
class EarlyStoppingConfig(Choice):
    """Stop when `metric` on the validation split has not improved by `min_change` for `patience` validations."""

    patience: Count = 5
    metric: Metric = "loss"
    min_change: NonNegative = 0.0
