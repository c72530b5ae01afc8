"""What is measured on a device becomes float64 on the CPU only: an Apple GPU has no float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cnnlab.config.recipe import Recipe
from cnnlab.interpret.activations.feature_maps import inspect_activations
from cnnlab.interpret.activations.units import inspect_units
from cnnlab.interpret.attribution.compute import inspect_attribution
from cnnlab.interpret.loaded_model import LoadedModel


class WithoutDoubles(TorchFunctionMode):
    """Tensors that nobody has brought to the CPU do not become float64, as on an Apple GPU."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func is Tensor.double:
            assert getattr(args[0], "brought", False), "float64 on the device"
        found = func(*args, **(kwargs or {}))
        if func is Tensor.cpu:
            found.brought = True
        return found


@pytest.mark.parametrize(
    "look",
    [
        lambda subject: inspect_activations(subject, "validation:0"),
        lambda subject: inspect_units(subject),
        lambda subject: inspect_attribution(subject, ["validation:0"], draws=1, orders=1, steps=16),
    ],
    ids=["maps", "units", "attribution"],
)
def test_nothing_becomes_float64_on_the_device(
    recipe: Callable[..., Recipe], subject_of: Callable[[Recipe], LoadedModel], look: Callable[[LoadedModel], object]
) -> None:
    subject = subject_of(recipe())
    with WithoutDoubles():
        assert look(subject)
        with pytest.raises(AssertionError, match="float64 on the device"):
            torch.ones(1).double()
