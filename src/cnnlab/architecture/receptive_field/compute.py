"""What each layer of a table sees of the image: from rows or records to an answer."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from cnnlab.architecture.layer import Pair, Shape
from cnnlab.architecture.layer_graph import FRAMES
from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.layers import AdaptivePool, Row, Upsample, layers
from cnnlab.architecture.receptive_field.result import IMAGE, LayerView, Sight
from cnnlab.architecture.receptive_field.spans import Sights
from cnnlab.architecture.receptive_field.view import ReceptiveFields
from cnnlab.architecture.trace import Trace, trace
from cnnlab.errors import SpecError, UsageError, nearest
from cnnlab.records import LayerRecord
from cnnlab.render import formatting
from cnnlab.theory.size_arithmetic.arithmetic import SizeRule

# What 'classes' stands for in a table without data.
CLASSES = 10
# Sides that are tried for an image of no given size.
_SIDES = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048, 4096)
USUAL = 256
# With more rows, what each sees on each other one would be a book.
MOST_ROWS = 64
Rules = tuple[SizeRule, SizeRule]


def receptive_field(
    *layers: Any, size: int | Pair | None = None, channels: int = 3, layer: str = "", node: Pair | None = None
) -> ReceptiveFields:
    """What every layer sees of the image: size, jump, first centre, and what one node sees on each earlier map.

    Args:
        layers: the table's rows, from the image on: texts such as "conv(32, 5)", or layers; `classes` stands for 10.
        size: the image's side in pixels, or (height, width); without it, sizes are told as rules in A.
        channels: C of the image.
        layer: the row that is traced back; the last one with a map where it is left out.
        node: (row, column) on its map, from 0; the one in the middle where it is left out.

    Raises:
        SpecError: rows that are wrong or don't fit together.
        UsageError: a layer or a node that is not there, or a size below 1.

    >>> fields = receptive_field("conv(1, 5)", "conv(1, 3)")
    >>> fields.receptive_field, [sight.size for sight in fields.sees]
    ((7, 7), [(3, 3), (7, 7)])
    """
    rows = read_table([str(Row(row) if hasattr(row, "tensors") else row) for row in layers], {}, CLASSES)
    found = traced(rows, size, channels)
    return fields_of(found.records(), found.input, given=size is not None, layer=layer, node=node)


def traced(rows: Sequence[Row], size: int | Pair | None, channels: int) -> Trace:
    """A table over an image of this size, or of one that is large enough for its windows."""
    if size is not None:
        sides = (size, size) if isinstance(size, int) else size
        if min(*sides, channels) < 1:
            shape = formatting.sizes((channels, *sides))
            raise UsageError("an image has one pixel and one channel at least", where="--size", received=shape)
        return trace(rows, (channels, *sides))
    problem: SpecError | None = None
    widest = 0
    for side in _SIDES:
        if widest * 4 > side * 3 and side != _SIDES[-1]:
            continue
        try:
            found = trace(rows, (channels, side, side))
        except SpecError as error:
            # What is wrong at any size is told for one that people know.
            problem = error if side <= USUAL else problem
            if side == _SIDES[-1]:
                raise problem or error from None
            continue
        # How much a node sees is the same for every image.
        views = (row.receptive for row in found.walk() if row.receptive)
        widest = max((max(high.size, wide.size) for high, wide in views), default=1)
        if widest * 4 <= side * 3:
            break
    return found


def fields_of(
    records: Sequence[LayerRecord],
    image: Shape,
    *,
    given: bool = True,
    layer: str = "",
    node: Pair | None = None,
    title: str = "",
) -> ReceptiveFields:
    """The answer for the records of a table or of a traced network.

    Args:
        image: (C, H, W).
        given: False where nobody asked for this size of the image: sizes are told as rules, then.
        layer: as in `receptive_field`; so is `node`.
        title: what the network is called.

    Raises:
        UsageError: a layer or a node that is not there.
    """
    channels, high, wide = image
    sights = Sights(records, (channels, high, wide))
    chosen = _chosen(sights, layer)
    if node is not None and not given:
        raise UsageError(
            "where a node lies depends on the size of the image",
            where="--node",
            received=f"{node[0]},{node[1]}",
            next_step="give the size, too, or leave the node out",
        )
    place = _place(sights, chosen, node)
    rules = _rules(sights)
    several = len(records) <= MOST_ROWS
    views = {row.name: _view(sights, row, rules[row.name], given, several) for row in records}
    views[chosen.name] = views[chosen.name].model_copy(update=_of_node(sights, chosen, place, given))
    return ReceptiveFields(
        title=title,
        image=sights.image,
        given=given,
        layer=chosen.name,
        node=None if chosen.receptive_field is None else place,
        layers=tuple(views.values()),
        windows=tuple(row.name for row in sights.windows(chosen.name)),
        maps={row.name: sides for row in records if (sides := sights.sides(row.name)) is not None},
    )


def _chosen(sights: Sights, layer: str) -> LayerRecord:
    if not layer:
        return sights.last_map()
    if layer not in sights.rows:
        raise UsageError(
            f"there is no layer '{layer}'",
            where="--layer",
            allowed=formatting.shown(", ".join(sights.rows), 400),
            next_step=nearest(layer, sights.rows),
        )
    return sights.rows[layer]


def _place(sights: Sights, chosen: LayerRecord, node: Pair | None) -> Pair:
    if node is None:
        return sights.middle(chosen.name)
    sides = sights.sides(chosen.name)
    if chosen.receptive_field is None or sides is None:
        raise UsageError(
            f"'{chosen.name}' has no nodes with a place: each of them sees the whole image",
            where="--node",
            next_step="leave the node out, or choose a layer with a map",
        )
    if not all(0 <= at < side for at, side in zip(node, sides, strict=True)):
        raise UsageError(
            f"the map of '{chosen.name}' has no such node",
            where="--node",
            received=f"{node[0]},{node[1]}",
            allowed=f"rows 0 to {sides[0] - 1}, columns 0 to {sides[1] - 1}",
        )
    return node


def _view(sights: Sights, row: LayerRecord, rule: Rules | None, given: bool, several: bool) -> LayerView:
    seen = row.receptive_field
    same = rule is not None and rule[0] == rule[1]
    view = LayerView(
        name=row.name,
        kind=row.kind,
        text=row.text,
        output=row.output if given else None,
        rule=None if rule is None else (rule[0].text(), rule[1].text("A" if same else "B")),
        window=sights.window(row) if seen else None,
        receptive_field=seen,
        jump=row.jump,
        first_centre=row.first_centre,
        inputs=prod(seen) * sights.image[0] if seen else prod(sights.image) if given else None,
        path=sights.path(row),
    )
    return view.model_copy(update=_of_node(sights, row, sights.middle(row.name), given)) if several else view


def _of_node(sights: Sights, row: LayerRecord, node: Pair, given: bool) -> dict[str, Any]:
    """What depends on the node. Nodes that see everything see nothing certain of an image of unknown size."""
    if row.receptive_field is None and not given:
        return {}
    seen = sights.seen(row.name, node)
    image = next(sight for sight in seen if sight.name == IMAGE)
    inside = sights.image[0] * _inside(image, sights.image[1:])
    return {"sees": seen, "inputs_inside": inside if given else None}


def _inside(sight: Sight, sides: Pair) -> int:
    """How many pixels of the image a view has, without padding."""
    spans = zip((sight.rows, sight.columns), sides, strict=True)
    return prod(max(min(last, side - 1) - max(first, 0) + 1, 0) for (first, last), side in spans)


def _rules(sights: Sights) -> dict[str, Rules | None]:
    """Each map's sides as rules in the image's; None where no rule gives the size that the map has."""
    found: dict[str, Rules | None] = {"": (SizeRule(), SizeRule())}
    for name in sights.order:
        row = sights.rows[name]
        before = found[sights.widest(row)]
        rule = None if before is None or len(row.output) != 3 else _after(sights, row, before)
        sizes = None if rule is None else tuple(rule[axis].size(sights.image[1 + axis]) for axis in (0, 1))
        found[name] = rule if sizes == sights.sides(name) else None
    return found


def _after(sights: Sights, row: LayerRecord, before: Rules) -> Rules:
    layer = sights.layer(row)
    if layer is None or row.kind in FRAMES or len(row.inputs) > 1:
        return before
    if isinstance(layer, Upsample):
        return before[0].enlarged(layer.scale), before[1].enlarged(layer.scale)
    if isinstance(layer, AdaptivePool):
        return SizeRule.fixed(layer.size[0]), SizeRule.fixed(layer.size[1])
    window = layer.window()
    if window is None:
        return before
    high, wide = (
        before[axis].through(window.kernel[axis], window.stride[axis], window.dilation[axis], window.margins[axis])
        for axis in (0, 1)
    )
    return high, wide


def is_table(text: str) -> bool:
    """Whether a person means a row of a table by it, rather than the name of a file or a network.

    >>> is_table("conv(32, 5)"), is_table("relu"), is_table("resnet18"), is_table("lenet.toml")
    (True, True, False, False)
    """
    name = text.rpartition(":")[2] if "(" not in text else text.partition("(")[0].rpartition(":")[2]
    return "(" in text or name.strip() in layers.kinds
