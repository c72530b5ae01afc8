"""The weights of one layer of what a person names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cnnlab.probe.limits import require_number
from cnnlab.probe.subjects import Subject, open_subject
from cnnlab.probe.weights.answer import LayerWeights
from cnnlab.probe.weights.measures import measure
from cnnlab.probe.weights.ordering import Order, check_order, chosen
from cnnlab.probe.weights.reading import read_filters
from cnnlab.runs.callbacks import NOBODY


def inspect_weights(
    what: Subject | str | Path,
    layer: str = "",
    *,
    most: int | None = None,
    order: Order | None = None,
    seed: int | None = None,
    data: str | Path | None = None,
    say: Callable[[str], None] = NOBODY.say,
) -> LayerWeights:
    """The filters of one layer: measured, and drawn before and after training.

    The state before training is made anew from the run's seed, and held to the digest that the run wrote down when it
    began; where they differ, or the weights can't be had any more, there is none, and the answer says why.

    Args:
        what: a subject of `open_subject`, or what that takes: a recipe, a run or a backbone.
        layer: the name of a convolution or a dense layer; "": the first convolution, or the first dense layer of a
            network without any.
        most: how many filters tables and pictures show, 1 to 256; None: 64 pictures, 12 rows of kernels, 256 rows of
            a matrix.
        order: number, orientation, colour or norm; None: by norm for rows of kernels, else by number.
        seed: of random weights, where `what` is a name.
        data: where catalogue data lives, where `what` is a name.
        say: told of anything odd about a run's weights.

    Raises:
        UsageError: there is no such layer, it has no filters, or no such order.
        SpecError, SourceError, RunError: as `open_subject`.
    """
    require_number("--most", most)
    if isinstance(what, Subject):
        subject = what
    else:
        root = Path(data) if data is not None else None
        subject = open_subject(str(what), seed=seed, device="cpu", data=root, say=say)
    filters = read_filters(subject.network, subject.layers, layer, subject.folder)
    ordered = check_order(order, filters)
    measures = measure(filters)
    shown = chosen(filters, measures, ordered, most)
    return LayerWeights(subject.name, filters, measures, tuple(shown), ordered)
