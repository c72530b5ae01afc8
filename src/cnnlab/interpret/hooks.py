"""Reading what the layers of a network give, without leaving a trace in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from cnnlab.errors import UsageError, did_you_mean
from cnnlab.models.train_mode import eval_mode
from cnnlab.training.device import disable_tf32

HookFn: TypeAlias = Callable[[str, Tensor], None]
# Parts the second call of one module from the first, as in a traced network's rows: `layer1.0.relu#2`.
CALL_SEPARATOR = "#"


def _ignore(_name: str, _tensor: Tensor) -> None:
    """What a caller does with what it does not want."""


@disable_tf32()
def activations(network: nn.Module, images: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
    """What the named layers give for these images, in eval mode and without gradients.

    Args:
        network: left as it was, its mode included.
        images: N×C×H×W, on the network's device.
        names: of modules, such as "conv1" or "residual1.body.conv1"; "relu#2" is the second call of "relu".

    Returns:
        Copies, by name, in the order in which the layers were computed; of several outputs the first. A layer that does
        not run, or gives no tensor, is not among them.

    Raises:
        UsageError: the network has no module of a name.

    >>> network = nn.Sequential(nn.Flatten(), nn.ReLU())
    >>> activations(network, torch.tensor([[[[-1.0, 2.0]]]]), ["1"])["1"].tolist()
    [[0.0, 2.0]]
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        # A copy, since the next layer may work in place.
        outputs[name] = output.detach().clone()

    with eval_mode(network), forward_hooks(network, names, keep), torch.no_grad():
        network(images)
    return outputs


@contextmanager
def forward_hooks(
    network: nn.Module, names: Iterable[str], on_output: HookFn, on_input: HookFn = _ignore
) -> Iterator[None]:
    """Within it, each named layer tells what goes in and what comes out, for one forward pass; then no hook is left.

    Args:
        names: as in `activations`.
        on_output: called with a layer's name and its output.
        on_input: called with a layer's name and its first input, before the layer can change it.

    Raises:
        UsageError: the network has no module of a name.
    """
    wanted = dict.fromkeys(names)
    modules = _modules(network, wanted)
    handles = []
    try:
        for name, module in modules.items():
            handles.append(module.register_forward_pre_hook(_input_hook(name, wanted, on_input)))
            handles.append(module.register_forward_hook(_output_hook(name, wanted, on_output)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def frozen_eval(network: nn.Module) -> Iterator[None]:
    """Within it the network is in eval mode and no weight wants a gradient, so that a backward pass reaches the image
    alone and leaves nothing on the weights; afterwards both are as they were, also after an error.
    """
    before = {parameter: parameter.requires_grad for parameter in network.parameters()}
    try:
        with eval_mode(network):
            network.requires_grad_(False)
            yield
    finally:
        for parameter, wanted in before.items():
            parameter.requires_grad_(wanted)


def module_name(name: str) -> str:
    """The module's name, of a layer's that may be one of several calls.

    >>> module_name("layer1.0.relu#2")
    'layer1.0.relu'
    """
    return name.partition(CALL_SEPARATOR)[0]


def _modules(network: nn.Module, names: Iterable[str]) -> dict[str, nn.Module]:
    """The modules of these names, by theirs."""
    known = dict(network.named_modules(remove_duplicate=False))
    modules = {}
    for name in map(module_name, names):
        if name not in known:
            raise UsageError(
                f"the network has no layer '{name}'",
                allowed=", ".join(list(filter(None, known))[:20]) + (", …" if len(known) > 21 else ""),
                next_step=did_you_mean(name, known) or "take a name from the list",
            )
        modules[name] = known[name]
    return modules


def _calls(name: str, wanted: Iterable[str]) -> Callable[[], str]:
    """Gives a module's name for its first call, `name#2` for its second; "" for one that nobody wants."""
    calls: Counter[str] = Counter()
    asked = set(wanted)

    def next_name() -> str:
        calls[name] += 1
        called = name if calls[name] == 1 else f"{name}{CALL_SEPARATOR}{calls[name]}"
        return called if called in asked else ""

    return next_name


def _input_hook(name: str, wanted: Iterable[str], callback: HookFn) -> Callable[[nn.Module, Any], None]:
    next_name = _calls(name, wanted)

    def hook(_module: nn.Module, inputs: Any) -> None:
        called = next_name()
        if called and inputs and isinstance(inputs[0], Tensor):
            callback(called, inputs[0])

    return hook


def _output_hook(name: str, wanted: Iterable[str], callback: HookFn) -> Callable[[nn.Module, Any, Any], None]:
    next_name = _calls(name, wanted)

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        called = next_name()
        # An attention gives its weights beside its output.
        first = output[0] if isinstance(output, tuple | list) and output else output
        if called and isinstance(first, Tensor):
            callback(called, first)

    return hook
