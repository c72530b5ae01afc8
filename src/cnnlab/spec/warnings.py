"""The warnings before training: their names, by which they are switched off, and how one is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cnnlab.errors import Problem, SpecError, listed, nearest
from cnnlab.records import WarningRecord

# Each name with what it warns of. They come from the table, from the recipe, and from the images, in this order.
WARNINGS: Mapping[str, str] = {
    "one-pixel-maps": "a spatial convolution works on 1×1 maps, where most of its weights only ever meet padding",
    "cut-off-rows": "a window does not fit, and its stride leaves rows or columns at the border unseen",
    "skipped-rows": "a stride steps over rows or columns that nothing else looks at",
    "no-activation": "two linear layers follow one another without a nonlinear step, and are worth one",
    "softmax-before-loss": "a softmax stands in front of other layers, or of a loss that takes logits",
    "bias-before-batchnorm": "a bias goes straight into batch normalisation, which takes it out again",
    "dropout-before-batchnorm": "dropout stands straight before batch normalisation, whose statistics it shifts",
    "one-dense-layer": "one dense layer holds most of a convolutional network's parameters",
    "width-not-classes": "the network gives another number of outputs than there are classes",
    "very-large": "few machines can train a network of this size",
    "batchnorm-single-image": "batch normalisation works on batches of one image",
    "frozen-at-random": "a backbone begins with random weights, and some of them never train",
    "learning-rate": "the learning rate is far from what is usual for the optimizer",
    "label-changing-augmentation": "an augmentation can turn an image of one class into one of another",
    "class-imbalance": "the training part has many images of one class and few of another",
    "normalization-mismatch": "the given mean and standard deviation do not match the training images",
    "leak": "the same image is in two parts",
    "initial-loss": "the loss before the first step is far from that of guessing",
}


def known_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each of which must be a warning's.

    Raises:
        SpecError: every name that is none; says the nearest.
    """
    wrong = [
        Problem(f"unknown warning '{name}'", f"[{index}]", "", listed(WARNINGS), nearest(name, WARNINGS))
        for index, name in enumerate(names)
        if name not in WARNINGS
    ]
    if wrong:
        raise SpecError.together(wrong)
    return tuple(names)


def without(found: Iterable[WarningRecord], off: Sequence[str]) -> tuple[WarningRecord, ...]:
    """The warnings but those whose names are switched off."""
    return tuple(warning for warning in found if warning.name not in off)


def in_words(warning: WarningRecord) -> str:
    """One line: the name, where it is, the reason with its numbers, and what to do.

    >>> in_words(WarningRecord(name="learning-rate", where="train.optimizer", message="far too high", fix="lower it"))
    'learning-rate (train.optimizer): far too high; lower it'
    """
    where = f" ({warning.where})" if warning.where else ""
    return f"{warning.name}{where}: {warning.message}" + (f"; {warning.fix}" if warning.fix else "")
