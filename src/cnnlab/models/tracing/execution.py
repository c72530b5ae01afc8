"""Every call of a torch function in a network's way, seen and kept as a draft of a row."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from cnnlab.architecture.layer import Shape
from cnnlab.architecture.layers import Row
from cnnlab.models.tracing import operations
from cnnlab.models.tracing.field_map import WHOLE, Place
from cnnlab.models.tracing.layers import folded, layer_of
from cnnlab.models.tracing.operations import Operation
from cnnlab.models.tracing.propagate import COPIES, MADE_NEW, MOVES, follow

# They put numbers of several tensors together, which deserves a row, though each number stays as it is.
_JOINS = ("concatenate", "stack")


@dataclass(frozen=True, eq=False)
class ModuleCall:
    """One call of a module. A leaf has no modules within it."""

    name: str
    leaf: bool


@dataclass
class Draft:
    """A row before the names are given. `uses` are its parameters.

    `inputs` are numbers of drafts. `moves` is True of what only puts numbers elsewhere.
    """

    call: Operation
    module: ModuleCall
    kind: str
    text: str
    input: Shape
    output: Shape
    uses: tuple[str, ...]
    macs: int
    macs_formula: str
    place: Place
    inputs: tuple[int, ...]
    moves: bool
    left_out: bool = False


@dataclass(frozen=True)
class _Origin:
    """What is known of a tensor: its place (None: it does not depend on the image), the drafts and the parameters
    that it is made of, and whether it is a weight that was normalised."""

    place: Place | None
    drafts: tuple[int, ...] = ()
    parameters: tuple[str, ...] = ()
    weightnorm: bool = False


class Watch(TorchFunctionMode):
    """Within it, every call of a torch function is noted: `drafts` has the rows so far.

    `leading` has the numbers of those that lead to what the network returned, once it is `done`: all of them where a
    tensor on the way came past torch's functions, so that nobody knows what it was made of; it is `lost` then.
    `touched` are the parameters that any function was given.

    Args:
        image: the tensor that is followed.
        constants: the tensors that don't depend on it, with the name of a parameter, or "".
    """

    def __init__(self, image: Tensor, place: Place, constants: Iterable[tuple[Tensor, str]]) -> None:
        super().__init__()
        self.drafts: list[Draft] = []
        self.modules: list[ModuleCall] = []
        self.entered: list[str] = []
        self.stopped = ""  # the module in which an error arose, while nothing has come out since
        self.returned: Any = None
        self.noting = False  # whether an error is ours, and not the network's
        self.leading: set[int] = set()
        self.touched: set[str] = set()
        self.lost = False
        self._known: MutableMapping[Tensor, _Origin] = WeakIdKeyDictionary()
        for tensor, name in constants:
            self._known[tensor] = _Origin(None, parameters=(name,) if name else ())
        self._known[image] = _Origin(place)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.noting = True
        name = getattr(func, "__name__", "")
        if name == "__setitem__":
            self._change(args[0], self._origins((args, kwargs)))
        elif outputs := tensors_of(result):
            self._note(Operation.of(func, args, kwargs), outputs)
        self.noting = False
        return result

    def enter(self, module: nn.Module, name: str) -> None:
        """A module begins."""
        inner = [child for child, _ in module.named_children() if child != "parametrizations"]
        self.modules.append(ModuleCall(name, leaf=not inner))
        self.entered.append(name)

    def leave(self, arguments: Any, result: Any) -> None:
        """A module is done. What comes out of it unseen, past torch's functions, may depend on all that went in."""
        call = self.modules.pop()
        self.stopped = (self.stopped or call.name) if result is None else ""
        for tensor in tensors_of(result):
            if tensor not in self._known:
                self.lost = True
                self._known[tensor] = _Origin(WHOLE, _drafts(self._origins(arguments).values()))

    def done(self, returned: Any) -> None:
        """The network has returned: what leads to any tensor in it is known."""
        self.returned = returned
        waiting = list(_drafts(self._origins(returned).values()))
        while waiting:
            number = waiting.pop()
            if number not in self.leading:
                self.leading.add(number)
                waiting += self.drafts[number].inputs
        if self.lost or not self.leading:
            self.leading = set(range(len(self.drafts)))

    def _origins(self, value: Any) -> dict[int, _Origin]:
        """The origins of all tensors in it, by their id; one that nobody has seen may depend on the whole image."""
        found = tensors_of(value)
        self.lost = self.lost or any(tensor not in self._known for tensor in found)
        origins = {id(tensor): self._known.get(tensor, _Origin(WHOLE)) for tensor in found}
        self.touched |= {name for origin in origins.values() for name in origin.parameters}
        return origins

    def _change(self, changed: Tensor, origins: dict[int, _Origin]) -> None:
        """A part of a tensor was written to."""
        if any(origin.place is not None for origin in origins.values()):
            self._known[changed] = _Origin(WHOLE, _drafts(origins.values()))

    def _note(self, call: Operation, outputs: list[Tensor]) -> None:
        origins = self._origins((call.args, call.kwargs))
        made_of = tuple(dict.fromkeys(name for origin in origins.values() for name in origin.parameters))
        tracked = {key: origin.place for key, origin in origins.items() if origin.place is not None}
        if not tracked or call.name in MADE_NEW:
            for output in outputs:
                self._known[output] = _Origin(None, (), made_of, "weight_norm" in call.name)
            return
        places = follow(call, tracked, outputs)
        sources = _drafts(origins.values())
        if self._deserves_a_row(call, outputs[0]):
            self.drafts.append(self._draft(call, origins, made_of, outputs[0], places[0]))
            sources = (len(self.drafts) - 1,)
        for output, place in zip(outputs, places, strict=True):
            self._known[output] = _Origin(place, sources)
            whole = output._base
            if call.in_place and whole is not None:  # what it is a part of has changed too
                self._change(whole, {**self._origins(whole), id(output): self._known[output]})

    def _deserves_a_row(self, call: Operation, output: Tensor) -> bool:
        if call.name in COPIES or call.pads_nothing:
            return False
        if call.word in ("dropout", "dropout2d"):
            return bool(call.get("p", 0.5))
        return call.name not in MOVES or call.word in _JOINS or self.modules[-1].leaf or _flattens(call, output)

    def _draft(
        self, call: Operation, origins: dict[int, _Origin], made_of: tuple[str, ...], output: Tensor, place: Place
    ) -> Draft:
        first = next(tensor for tensor in tensors_of(call.args) if origins[id(tensor)].place is not None)
        incoming, outgoing, inputs = _shape(call, first), _shape(call, output), _drafts(origins.values())
        margin = self._margin(call, inputs)
        padding = None
        if margin is not None:
            padding = folded(call, margin.call)
            margin.left_out = True
            incoming, inputs = margin.input, margin.inputs
        kind = "flatten" if _flattens(call, output) else "reshape" if call.name == "flatten" else call.word
        weightnorm = any(origin.weightnorm for origin in origins.values())
        layer = layer_of(kind, call, padding=padding, weightnorm=weightnorm)
        return Draft(
            call=call,
            module=self.modules[-1],
            kind=kind,
            text=str(Row(layer)) if layer is not None else kind,
            input=incoming,
            output=outgoing,
            uses=made_of,
            macs=operations.macs(call, output),
            macs_formula=operations.used_weights(call, outgoing),
            place=place,
            inputs=inputs,
            moves=call.name in MOVES and kind not in ("flatten", *_JOINS),
        )

    def _margin(self, call: Operation, inputs: tuple[int, ...]) -> Draft | None:
        """The `pad` in front of a convolution in one module, where the two are one convolution of a table."""
        if len(inputs) != 1:
            return None
        margin = self.drafts[inputs[0]]
        if margin.call.name != "pad" or margin.module is not self.modules[-1]:
            return None
        return margin if folded(call, margin.call) is not None else None


def tensors_of(value: Any) -> list[Tensor]:
    """All tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for item in items for tensor in tensors_of(item)]


def _flattens(call: Operation, output: Tensor) -> bool:
    """Whether a map becomes a vector: also by `view` or `reshape`."""
    if call.name == "flatten":
        return output.ndim == 2
    return call.name in ("view", "reshape") and output.ndim == 2 and call.args[0].ndim == 4 and len(output) == 1


def _shape(call: Operation, tensor: Tensor) -> Shape:
    """Without N, unless N has been put into another axis; torch's own attention has it second."""
    sizes = tuple(tensor.shape)
    if call.name == "multi_head_attention_forward" and sizes[1:2] == (1,):
        return (sizes[0], *sizes[2:])
    return sizes[1:] if sizes[:1] == (1,) else sizes


def _drafts(origins: Iterable[_Origin]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(number for origin in origins for number in origin.drafts))
