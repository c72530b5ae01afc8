"""Known networks by name, as torchvision and timm make them, with fresh weights.

Nothing is downloaded. On "meta", the default, a network has shapes and no numbers: it is made in milliseconds and
takes no memory, which is enough for everything that is told before training.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from cnnlab.errors import SpecError, nearest
from cnnlab.randomness import seed_torch, torch_state

# They would warn that their way to begin is to change, were it not asked for.
_OWN_INIT = ("googlenet", "inception_v3")
_TIMM = "timm/"


def names() -> tuple[str, ...]:
    """The classification networks of torchvision, sorted. timm's are asked for as `timm/NAME`."""
    models = _torchvision()
    return tuple(models.list_models(module=models))


def network(name: str, classes: int | None = None, *, device: str | torch.device = "meta", seed: int = 0) -> nn.Module:
    """A network with fresh weights, in eval mode: N×C×H×W images to N×K logits.

    GoogLeNet and Inception v3 come with the auxiliary classifiers that they are trained with, as the libraries have
    them: these count as parameters, and don't run in eval mode.

    Args:
        name: one of `names()`, or `timm/NAME`; a bare name that only timm has is taken from there.
        classes: K; the library's own number (1000, for most) where it is left out.
        device: where the weights are made; "meta" makes none.
        seed: what the weights are drawn from, each library in its own way.

    Raises:
        SpecError: an unknown name, or a network that can't have this number of classes.
    """
    if classes is not None and classes < 1:
        raise SpecError("a network needs a class at least", received=str(classes), allowed="classes from 1")
    make = _maker(name, classes, begin=torch.device(device).type != "meta")
    with torch_state(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own, about how they will begin in future
        seed_torch(seed, "init")
        if torch.device(device).type != "meta":
            return make().to(device).eval()
        with _WithoutNumbers():
            return make().to("meta").eval()


def natural_shape(name: str) -> tuple[int, int, int]:
    """(channels, height, width) of the images that the network was made for.

    >>> natural_shape("resnet18")
    (3, 224, 224)

    Raises:
        SpecError: an unknown name.
    """
    if name in names():
        # Some have weights for larger images too, which not all of these networks take.
        size = min(weights.transforms.keywords["crop_size"] for weights in _torchvision().get_model_weights(name))
        return (3, size, size)
    inner = _timm_name(name)
    if inner is None:
        raise _unknown(name)
    configuration = _timm().get_pretrained_cfg(inner)
    shape = (3, 224, 224) if configuration is None else configuration.input_size
    return (shape[0], shape[1], shape[2])


def natural_classes(name: str) -> int:
    """How many classes the network tells apart as its library makes it; 0 for one that ends with features.

    >>> natural_classes("resnet18")
    1000

    Raises:
        SpecError: an unknown name.
    """
    if name in names():
        return len(_torchvision().get_model_weights(name).DEFAULT.meta["categories"])
    inner = _timm_name(name)
    if inner is None:
        raise _unknown(name)
    configuration = _timm().get_pretrained_cfg(inner)
    return 1000 if configuration is None else int(configuration.num_classes)


class _WithoutNumbers(TorchFunctionMode):
    """Weights are made without numbers. Other tensors are real: some networks compute their widths with them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if getattr(func, "__name__", "") == "empty" and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _maker(name: str, classes: int | None, begin: bool) -> Callable[[], nn.Module]:
    """What makes the network; `begin` is whether it needs numbers to begin with."""
    given: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if name in names():
        if name in _OWN_INIT:
            given["init_weights"] = begin
        return lambda: _module(_torchvision().get_model(name, weights=None, **given))
    inner = _timm_name(name)
    if inner is None:
        raise _unknown(name)
    return lambda: _module(_timm().create_model(inner, pretrained=False, **given))


def _module(made: Any) -> nn.Module:
    assert isinstance(made, nn.Module)
    return made


def _timm_name(name: str) -> str | None:
    """timm's own name for it, where timm is installed and knows it."""
    inner = name.removeprefix(_TIMM)
    return inner if importlib.util.find_spec("timm") and _timm().is_model(inner) else None


def _torchvision() -> Any:
    return importlib.import_module("torchvision.models")


def _timm() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("timm")


def _unknown(name: str) -> SpecError:
    has_timm = importlib.util.find_spec("timm") is not None
    inner = name.removeprefix(_TIMM)
    steps = []
    if not name.startswith(_TIMM):
        steps.append(nearest(name, names()))
    if has_timm and not any(steps):
        found = nearest(inner, _timm().list_models())
        steps.append(found.replace("'", f"'{_TIMM}", 1))
    if not has_timm:
        steps.append("for the networks of timm: pip install 'cnnlab[timm]'")
    return SpecError(
        f"there is no network '{name}'",
        received=name,
        allowed="a classification network of torchvision, or timm/NAME" + ("" if has_timm else ", with timm"),
        next_step="; ".join(step for step in steps if step),
    )
