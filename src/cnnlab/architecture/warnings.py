"""The registry of all warnings: their names, what each is about, and the functions that find them.

Warnings are found where the objects are that they are about: in a layer table (`architecture.table_warnings`), a recipe
(`config.warnings`), images (`data.warnings`) and a network (`runs.warnings`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cnnlab.errors import Problem, SpecError, comma_separated, did_you_mean
from cnnlab.records import WarningRecord

# Each name with what it warns of. They come from the table, from the recipe, and from the images, in this order.
WARNINGS: Mapping[str, str] = {
    "one-pixel-maps": "a spatial convolution works on 1×1 maps, where most of its weights only meet padding",
    "cut-off-rows": "a window does not fit, and its stride leaves rows or columns at the border out",
    "skipped-rows": "a stride skips rows or columns that no other layer reads",
    "no-activation": "two linear layers follow one another without a nonlinear step, and are equivalent to one",
    "softmax-before-loss": "a softmax is followed by other layers, or by a loss that takes logits",
    "bias-before-batchnorm": "a bias is followed by batch normalisation, which subtracts it again",
    "dropout-before-batchnorm": "dropout directly before batch normalisation shifts its statistics",
    "one-dense-layer": "one dense layer has most of a convolutional network's parameters",
    "width-not-classes": "the number of outputs is not the number of classes",
    "very-large": "few machines can train a network of this size",
    "batchnorm-single-image": "batch normalisation works on batches of one image",
    "frozen-at-random": "a backbone begins with random weights, and some of them never train",
    "learning-rate": "the learning rate is far from what is usual for the optimizer",
    "label-changing-augmentation": "an augmentation can turn an image of one class into one of another",
    "class-imbalance": "the training split has many images of one class and few of another",
    "normalization-mismatch": "the given mean and standard deviation do not match the training images",
    "leak": "the same image is in two splits",
    "initial-loss": "the loss before the first step is far from that of guessing",
}


@dataclass(frozen=True)
class Finding:
    """What a check has found: where, the reason with its numbers, and what to do."""

    where: str
    message: str
    fix: str

    def named(self, name: str) -> WarningRecord:
        """The warning of this name."""
        assert name in WARNINGS, name
        return WarningRecord(name=name, where=self.where, message=self.message, fix=self.fix)


class WarningChecks:
    """The checks of one kind of object, in the order of `WARNINGS`: functions of it that return a finding or None."""

    def __init__(self) -> None:
        self._checks: dict[str, Callable[..., Finding | None]] = {}

    def register(self, name: str) -> Callable[[Callable[..., Finding | None]], Callable[..., Finding | None]]:
        """Register a check under the name of its warning."""
        assert name in WARNINGS, name

        def register(check: Callable[..., Finding | None]) -> Callable[..., Finding | None]:
            self._checks[name] = check
            return check

        return register

    def find(self, *objects: object, disabled: Sequence[str] = ()) -> list[WarningRecord]:
        """The warnings about these objects; a check whose name is disabled is not run."""
        found = [(name, self._checks[name](*objects)) for name in WARNINGS if name in self._checks.keys() - {*disabled}]
        return [finding.named(name) for name, finding in found if finding is not None]


def check_warning_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each of which must be a warning's.

    Raises:
        SpecError: every name that is none; says the nearest.
    """
    wrong = [
        Problem(f"unknown warning '{name}'", f"[{index}]", "", comma_separated(WARNINGS), did_you_mean(name, WARNINGS))
        for index, name in enumerate(names)
        if name not in WARNINGS
    ]
    if wrong:
        raise SpecError.from_problems(wrong)
    return tuple(names)


def format_warning(warning: WarningRecord) -> str:
    """One line: the name, where it is, the reason with its numbers, and what to do.

    >>> record = WarningRecord(name="learning-rate", where="train.optimizer", message="far too high", fix="lower it")
    >>> format_warning(record)
    'learning-rate (train.optimizer): far too high; lower it'
    """
    where = f" ({warning.where})" if warning.where else ""
    return f"{warning.name}{where}: {warning.message}" + (f"; {warning.fix}" if warning.fix else "")
