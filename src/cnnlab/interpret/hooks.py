"""Inputs and outputs of the layers of a network, read by hooks that are always removed."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cnnlab.errors import UsageError, did_you_mean
from cnnlab.models.train_mode import eval_mode
from cnnlab.training.device import disable_tf32

# Called with a layer's name and a tensor. A tensor that it returns replaces the other one.
HookFn: TypeAlias = Callable[[str, Tensor], Tensor | None]
# Before the number of a module's second and further calls, as in a traced network's rows: `layer1.0.relu#2`.
CALL_SEPARATOR = "#"


@disable_tf32()
def activations(network: nn.Module, images: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
    """Compute the outputs of the named layers, in eval mode and without gradients.

    Args:
        network: its mode is restored.
        images: N×C×H×W, on the network's device.
        names: of modules, such as "conv1" or "residual1.body.conv1"; "relu#2" is the second call of "relu".

    Returns:
        Copies by name, in the order of execution; of several outputs the first. Layers that do not run, or return no
        tensor, are missing.

    Raises:
        UsageError: the network has no module of a name.

    >>> network = nn.Sequential(nn.Flatten(), nn.ReLU())
    >>> activations(network, torch.tensor([[[[-1.0, 2.0]]]]), ["1"])["1"].tolist()
    [[0.0, 2.0]]
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        # A copy, since the next layer may change it in place.
        outputs[name] = output.detach().clone()

    with eval_mode(network), forward_hooks(network, names, keep), torch.no_grad():
        network(images)
    return outputs


@contextmanager
def forward_hooks(
    network: nn.Module, names: Iterable[str], on_output: HookFn, on_input: HookFn = lambda _name, _input: None
) -> Iterator[None]:
    """Call back with the inputs and outputs of the named layers in one forward pass; hooks are removed on exit.

    Args:
        names: as in `activations`.
        on_output: called with a layer's name and its output.
        on_input: called with a layer's name and its first input, before the layer can change it in place.

    Raises:
        UsageError: the network has no module of a name.
    """
    wanted = dict.fromkeys(names)
    modules = _modules(network, wanted)
    handles: list[RemovableHandle] = []
    try:
        for name, module in modules.items():
            handles += _add_hooks(module, name, wanted, on_output, on_input)
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def frozen_eval(network: nn.Module) -> Iterator[None]:
    """Put a network in eval mode and freeze its weights; both are restored on exit.

    A backward pass then computes the gradient of the image only.
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
    """The name of the module, without the number of the call.

    >>> module_name("layer1.0.relu#2")
    'layer1.0.relu'
    """
    return name.partition(CALL_SEPARATOR)[0]


def _modules(network: nn.Module, names: Iterable[str]) -> dict[str, nn.Module]:
    """The modules of these layer names, by module name."""
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


def _add_hooks(
    module: nn.Module, name: str, wanted: Container[str], on_output: HookFn, on_input: HookFn
) -> tuple[RemovableHandle, RemovableHandle]:
    """Add hooks that count a module's calls, and call back for those that are wanted."""
    calls = 0

    def call_name() -> str:
        return name if calls == 1 else f"{name}{CALL_SEPARATOR}{calls}"

    def before(_module: nn.Module, inputs: Any) -> Any:
        nonlocal calls
        calls += 1
        if call_name() not in wanted or not inputs or not isinstance(inputs[0], Tensor):
            return None
        replacement = on_input(call_name(), inputs[0])
        return None if replacement is None else (replacement, *inputs[1:])

    def after(_module: nn.Module, _inputs: Any, output: Any) -> Tensor | None:
        # An attention returns its weights beside its output.
        first = output[0] if isinstance(output, tuple | list) and output else output
        if call_name() not in wanted or not isinstance(first, Tensor):
            return None
        replacement = on_output(call_name(), first)
        return replacement if first is output else None

    # In front of the hook that stops a backbone at its cut.
    return module.register_forward_pre_hook(before), module.register_forward_hook(after, prepend=True)
