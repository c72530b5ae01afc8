"""Where in a network a layer of a given name can be read, and its output as maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor

from torch import Tensor, nn

from cnnlab.architecture.layer import Pair
from cnnlab.architecture.layer_graph import Flow
from cnnlab.architecture.receptive_field.spans import Sights
from cnnlab.errors import UsageError, nearest
from cnnlab.interpret.hooks import module_name, watching
from cnnlab.models.pretrained.transfer import Resize, Transfer
from cnnlab.models.tracing.trace import trace_network
from cnnlab.records import LayerRecord
from cnnlab.render import formatting

CONVOLUTIONS = ("conv", "depthwise")
MOST_LISTED = 400
# How far around its place a pixel of a resized image reaches, in pixels of the image, or of its own where it is larger.
REACHES = {"nearest": 0.5, "bilinear": 1.0, "bicubic": 2.0}


@dataclass(frozen=True)
class Spot:
    """A layer that can be read.

    Attributes:
        name: as it is asked for.
        row: None for a module that holds rows, such as "layer4".
        watched: the module that tells of it; `before` is True where its input is the layer's output: of a step that is
            no module, such as the sum in a residual block.
    """

    name: str
    row: LayerRecord | None
    watched: str
    before: bool = False


@dataclass(frozen=True)
class Spots:
    """The layers of a network that can be read.

    Args:
        shape: (C, H, W) of the image.
    """

    network: nn.Module
    layers: Sequence[LayerRecord]
    shape: tuple[int, int, int]

    @cached_property
    def all(self) -> dict[str, Spot]:
        """Every row that can be read, by name, in the order of the table."""
        found = ((row.name, self._of_row(row)) for row in self.layers)
        return {name: spot for name, spot in found if spot is not None}

    @cached_property
    def sights(self) -> Sights:
        """What the layers' nodes see of the image."""
        return Sights(self.layers, self.shape)

    def named(self, name: str, option: str = "--layer") -> Spot:
        """The layer of this name: a row's, or a module's that holds rows.

        Args:
            option: that names it, for errors.

        Raises:
            UsageError: there is none, or it is a step that no module's input or output shows.
        """
        if name in self.all:
            return self.all[name]
        if name in self._modules and name:
            return Spot(name, None, name)
        functional = name in self.sights.rows
        raise UsageError(
            f"the output of '{name}' can't be read: it is no module" if functional else f"there is no layer '{name}'",
            where=option,
            received=name,
            allowed=formatting.shown(", ".join(self.all), MOST_LISTED),
            next_step=self.apart(name)
            or nearest(name, [*self.all, *filter(None, self._modules)])
            or "take a name from the list; 'cnnlab describe' shows the table",
        )

    def apart(self, name: str) -> str:
        """How several layers that were written as one, `conv1,conv2`, are asked for; "" where it is not that."""
        several = [part.strip() for part in name.split(",")]
        known = len(several) > 1 and all(part in self.all or part in self._modules for part in several)
        return f"repeat it: {' '.join(f'--layer {part}' for part in several)}" if known else ""

    def ends(self) -> tuple[Spot, ...]:
        """The first and the last convolution; of a network without any, the first and the last row with weights.

        The last one is that with the most convolutions in front of it; of several the one that stands last.
        """
        chosen = [spot for spot in self.all.values() if spot.row is not None and spot.row.kind in CONVOLUTIONS]
        chosen = chosen or [spot for spot in self.all.values() if spot.row is not None and spot.row.parameters]
        if not chosen:
            return tuple(self.all.values())[:1]
        front = self._convolutions_in_front()
        last = max(enumerate(chosen), key=lambda each: (front[each[1].name], each[0]))[1]
        return tuple(dict.fromkeys((chosen[0], last)))

    def maps(self, spot: Spot, output: Tensor) -> Tensor | None:
        """A layer's output as N×C×H×W: a vector's numbers are maps of one place, and tokens are a column of places.

        Returns:
            None for numbers of another form.
        """
        if output.ndim == 4:
            last = spot.row is not None and self.sights.channels_last(spot.row)
            return output.permute(0, 3, 1, 2) if last else output
        if output.ndim == 3:
            return output.transpose(1, 2)[..., None]
        return output[..., None, None] if output.ndim == 2 else None

    def passes_on(self, spot: Spot) -> bool:
        """Whether it is a softmax that hands on the logits as they are, as a table's last row does."""
        if spot.row is None or spot.row.kind != "softmax" or spot.before:
            return False
        return isinstance(self._modules.get(module_name(spot.name)), nn.Identity)

    def units(self, spot: Spot) -> int | None:
        """How many maps, or numbers of a vector or token, a layer gives; None where only a pass would tell."""
        if spot.row is None or not 1 <= len(spot.row.output) <= 3:
            return None
        first = len(spot.row.output) == 3 and not self.sights.channels_last(spot.row)
        return spot.row.output[0 if first else -1]

    def seen(self, spot: Spot, node: Pair) -> tuple[Pair, Pair] | None:
        """The first and last row, and column, of the image that a node sees, padding included; None for all of it."""
        if spot.row is None:
            return None
        if spot.row.receptive_field is None:
            return self._through_resize(spot.row.name, node)
        view = self.sights.seen(spot.row.name, node)[-1]
        return view.rows, view.columns

    def _through_resize(self, name: str, node: Pair) -> tuple[Pair, Pair] | None:
        """What a node sees through a resizing that is no whole number of times, of which tables have no word: its view
        of the resized image, brought back.
        """
        row = self._resized.rows.get(name) if self._resized is not None else None
        if self._resized is None or row is None or row.receptive_field is None:
            return None
        view = self._resized.seen(name, node)[-1]
        assert isinstance(self.network, Transfer)
        assert self.network.resize is not None
        reach = REACHES[self.network.resize.mode]
        sizes = zip((view.rows, view.columns), self.shape[1:], self._resized.image[1:], strict=True)
        rows, columns = (_before_resize(span, old, new, reach) for span, old, new in sizes)
        return rows, columns

    @cached_property
    def _resized(self) -> Sights | None:
        """The views on the image as a network with a backbone resizes it; None of other networks."""
        resize = getattr(self.network, "resize", None)
        if not isinstance(self.network, Transfer) or not isinstance(resize, Resize):
            return None
        shape = (self.shape[0], *resize.size)
        # The same modules under one that resizes nothing: no table can follow every way of resizing.
        bare = copy(self.network)
        bare._modules = {**self.network._modules, "resize": None}
        return Sights(trace_network(bare, shape), shape)

    @cached_property
    def _modules(self) -> dict[str, nn.Module]:
        return dict(self.network.named_modules(remove_duplicate=False))

    @cached_property
    def _flow(self) -> Flow:
        return Flow(self.layers)

    def _of_row(self, row: LayerRecord) -> Spot | None:
        if module_name(row.name) in self._modules and row.name:
            return Spot(row.name, row, row.name)
        for name in self._flow.readers(row.name):
            reader = self._flow.rows[name]
            if reader.inputs == (row.name,) and reader.input == row.output and module_name(name) in self._modules:
                return Spot(row.name, row, name, before=True)
        return None

    def _convolutions_in_front(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for name in self.sights.order:
            row = self.sights.rows[name]
            own = int(row.kind in CONVOLUTIONS)
            found[name] = own + max((found[before] for before in row.inputs), default=0)
        return found


def _before_resize(span: Pair, old: int, new: int, reach: float) -> Pair:
    """The first and last pixel of the image that those of the resized one are made of."""
    scale = old / new
    around = reach * max(scale, 1.0)
    first, last = ((place + 0.5) * scale - 0.5 for place in span)
    return ceil(first - around), floor(last + around)


@contextmanager
def reading(network: nn.Module, spots: Iterable[Spot], see: Callable[[Spot, Tensor], None]) -> Iterator[None]:
    """Within it, each spot tells its output, for one forward pass; then no hook is left. The tensor is to be copied
    by who keeps it, since the next layer may work in place.
    """
    outputs = {spot.watched: spot for spot in spots if not spot.before}
    inputs = {spot.watched: spot for spot in spots if spot.before}

    def after(name: str, tensor: Tensor) -> None:
        if name in outputs:
            see(outputs[name], tensor)

    def before(name: str, tensor: Tensor) -> None:
        if name in inputs:
            see(inputs[name], tensor)

    with watching(network, {**outputs, **inputs}, after, before):
        yield
