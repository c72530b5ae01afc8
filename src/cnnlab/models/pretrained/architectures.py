"""Networks of torchvision and timm by name, with fresh weights. Nothing is downloaded.

On "meta", the default device, a network has shapes and no numbers: it is made in milliseconds and takes no memory,
which is enough for everything that is shown before training.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from cnnlab.errors import SpecError, did_you_mean
from cnnlab.torch_rng import fork_rng, manual_seed_torch

# They warn unless `init_weights` is given, whose default is to change; with published weights they replace ImageNet's
# normalisation by their own.
_INCEPTIONS = ("googlenet", "inception_v3")
_TIMM_PREFIX = "timm/"


def list_models() -> tuple[str, ...]:
    """The classification networks of torchvision, sorted. Those of timm are called `timm/NAME`."""
    models = torchvision_models()
    return tuple(models.list_models(module=models))


def create_model(
    name: str,
    num_classes: int | None = None,
    *,
    device: str | torch.device = "meta",
    seed: int = 0,
    for_weights: bool = False,
) -> nn.Module:
    """A network with fresh weights, in eval mode: N×C×H×W images to N×K logits.

    GoogLeNet and Inception v3 have the auxiliary classifiers that they are trained with: these count as parameters, and
    don't run in eval mode.

    Args:
        name: one of `list_models()`, or `timm/NAME`; a bare name that only timm has is taken from there.
        num_classes: K; by default the library's own number, 1000 for most.
        device: where the weights are made; "meta" makes none.
        seed: of the weights, which each library initialises in its own way.
        for_weights: whether pretrained weights will be loaded, for which two networks change their input.

    Raises:
        SpecError: an unknown name, or a network that can't have this number of classes.
    """
    if num_classes is not None and num_classes < 1:
        raise SpecError("a network needs at least one class", received=str(num_classes), allowed="classes from 1")
    has_numbers = torch.device(device).type != "meta"
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if name in _INCEPTIONS:
        options |= {"init_weights": has_numbers, "transform_input": for_weights}
    make = _model_factory(name, options)
    with fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own, about coming defaults
        manual_seed_torch(seed, "init")
        with nullcontext() if has_numbers else _MetaParameterMode():
            model = make()
    assert isinstance(model, nn.Module)
    return model.to(device).eval()


def default_input_size(name: str) -> tuple[int, int, int]:
    """(channels, height, width) of the images that the network was made for.

    >>> default_input_size("resnet18")
    (3, 224, 224)

    Raises:
        SpecError: an unknown name.
    """
    return _defaults(name)[0]


def default_num_classes(name: str) -> int:
    """The number of classes of the network as its library makes it; 0 for one that ends with features.

    >>> default_num_classes("resnet18")
    1000

    Raises:
        SpecError: an unknown name.
    """
    return _defaults(name)[1]


def _defaults(name: str) -> tuple[tuple[int, int, int], int]:
    """The shape of a network's images, and the number of its classes."""
    if name in list_models():
        weights = torchvision_models().get_model_weights(name)
        # Some have weights for larger images too, which not all of these networks take.
        size = min(member.transforms.keywords["crop_size"] for member in weights)
        return (3, size, size), len(weights.DEFAULT.meta["categories"])
    inner = _timm_name(name)
    config = timm_library().get_pretrained_cfg(inner)
    if config is None:
        return (3, 224, 224), 1000
    channels, height, width = config.input_size
    return (channels, height, width), int(config.num_classes)


class _MetaParameterMode(TorchFunctionMode):
    """Make weights without numbers. Other tensors are real: some networks compute their widths with them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if getattr(func, "__name__", "") == "empty" and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _model_factory(name: str, options: dict[str, Any]) -> Callable[[], Any]:
    """A function that makes the network."""
    if name in list_models():
        return partial(torchvision_models().get_model, name, weights=None, **options)
    inner = _timm_name(name)
    return partial(timm_library().create_model, inner, pretrained=False, **options)


def _timm_name(name: str) -> str:
    """timm's own name for a network; a SpecError where timm is not installed or does not know it."""
    inner = name.removeprefix(_TIMM_PREFIX)
    if importlib.util.find_spec("timm") is None or not timm_library().is_model(inner):
        raise _unknown_model(name)
    return inner


def torchvision_models() -> Any:
    """The module `torchvision.models`, imported when it is needed."""
    return importlib.import_module("torchvision.models")


def timm_library() -> Any:
    """The package timm, imported when it is needed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("timm")


def _unknown_model(name: str) -> SpecError:
    if importlib.util.find_spec("timm") is None:
        allowed, known = "a classification network of torchvision", list_models()
        install = "for the networks of timm: pip install 'cnnlab[timm]'"
    else:
        allowed, install = "a classification network of torchvision, or timm/NAME", ""
        known = (*list_models(), *(f"{_TIMM_PREFIX}{timm_name}" for timm_name in timm_library().list_models()))
    return SpecError(
        f"there is no network '{name}'",
        received=name,
        allowed=allowed,
        next_step="; ".join(step for step in (did_you_mean(name, known), install) if step),
    )
