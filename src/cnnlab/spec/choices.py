"""The choices of training that a recipe names: optimisers, schedules, stopping.

Here stand their names, arguments and allowed values; `cnnlab.training` carries them out. The augmentations stand in
`cnnlab.spec.augmentations`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeAlias

from cnnlab.errors import SpecError
from cnnlab.spec.arguments import Count, Momentum, NotNegative, Positive, Probability
from cnnlab.spec.registry import Registry

# The figures of a part that may stop, choose and be studied; the first is better when smaller.
Metric: TypeAlias = Literal["loss", "accuracy", "top5", "balanced_accuracy", "macro_f1"]


class Choice:
    """What every choice has: its name in a recipe.

    An optimiser may say between which learning rates people usually train with it (`usual`), and an augmentation
    that it turns left into right (`mirrors`).
    """

    kind: ClassVar[str]
    usual: ClassVar[tuple[float, float] | None] = None
    mirrors: ClassVar[bool] = False


optimizers: Registry[Any] = Registry("optimizer")
schedules: Registry[Any] = Registry("schedule")
stops: Registry[Any] = Registry("stop")


@optimizers.add("sgd")
class SGD(Choice):
    """Stochastic gradient descent, with momentum (Nesterov's on request)."""

    # 0.1 begins most published schedules (He et al., 2016), 0.001 most fine-tuning.
    usual: ClassVar[tuple[float, float]] = (1e-3, 0.1)
    lr: Positive
    momentum: Momentum = 0.0
    nesterov: bool = False
    weight_decay: NotNegative = 0.0

    @property
    def state(self) -> int:
        """Numbers kept for each parameter: the running mean of its gradients, where there is momentum."""
        return 1 if self.momentum else 0

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise SpecError(
                "Nesterov's way of looking ahead needs momentum",
                received="momentum=0",
                allowed="momentum above 0, such as momentum=0.9",
            )


@optimizers.add("adam")
class Adam(Choice):
    """Adam (Kingma, Ba, 2014); its weight decay is added to the gradient."""

    # Around the paper's own 0.001; transformers and fine-tuning take less.
    usual: ClassVar[tuple[float, float]] = (1e-4, 3e-3)
    state: ClassVar[int] = 2  # numbers kept for each parameter: running means of its gradients and of their squares
    lr: Positive = 1e-3
    beta1: Momentum = 0.9
    beta2: Momentum = 0.999
    eps: Positive = 1e-8
    weight_decay: NotNegative = 0.0


@optimizers.add("adamw")
class AdamW(Choice):
    """Adam with decoupled weight decay (Loshchilov, Hutter, 2017)."""

    usual: ClassVar[tuple[float, float]] = (1e-4, 3e-3)  # Adam's
    state: ClassVar[int] = 2
    lr: Positive = 1e-3
    beta1: Momentum = 0.9
    beta2: Momentum = 0.999
    eps: Positive = 1e-8
    weight_decay: NotNegative = 1e-2


@schedules.add("constant")
class Constant(Choice):
    """The learning rate stays."""


@schedules.add("cosine")
class Cosine(Choice):
    """Down along half a cosine, step by step, to `floor` times the first rate."""

    floor: Probability = 0.0


@schedules.add("plateau")
class Plateau(Choice):
    """Times `factor` when `metric` on the validation part has not improved for `patience` validations."""

    factor: Probability = 0.1
    patience: Count = 10
    metric: Metric = "loss"


@stops.add("never")
class Never(Choice):
    """Train for all epochs."""


@stops.add("early")
class Early(Choice):
    """Stop when `metric` on the validation part has not improved by `min_change` for `patience` validations."""

    patience: Count = 5
    metric: Metric = "loss"
    min_change: NotNegative = 0.0
