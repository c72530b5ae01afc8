"""Whether the features of a frozen part are computed once and kept, as a recipe says it."""

from __future__ import annotations

from typing import Any, Literal

from cnnlab.spec.arguments import Count
from cnnlab.spec.choices import Choice
from cnnlab.spec.registry import Registry

keepings: Registry[Any] = Registry("way of keeping features")


@keepings.add("auto")
class Auto(Choice):
    """Keep them where that changes nothing and saves time: without augmentation, or with flips alone."""

    dtype: Literal["fp32", "bf16"] = "fp32"


@keepings.add("never")
class Never(Choice):
    """Compute them anew for each batch."""


@keepings.add("views")
class Views(Choice):
    """Keep those of `count` augmented views of each image; epochs take turns with them, which is not quite the same."""

    count: Count
    dtype: Literal["fp32", "bf16"] = "fp32"
