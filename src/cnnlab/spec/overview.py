"""A traced table as `describe` and the report show it, with what deserves a look before training."""

from __future__ import annotations

from math import prod

from cnnlab.records import Table, WarningRecord
from cnnlab.spec.layers import Softmax
from cnnlab.spec.trace import Trace

# Few classifiers have more, and few machines can train one that has.
VERY_LARGE = 500_000_000


def overview(found: Trace) -> Table:
    """Every layer, the sums, and warnings: of windows that leave rows unseen, of a softmax in the midst of the table,
    of a network made for larger images, and of one that hardly any machine can train.
    """
    return Table(
        parameters=found.parameters,
        macs=found.macs,
        layers=tuple(found.records()),
        warnings=(*_unseen(found), *_inner_softmax(found), *_wide_views(found), *_very_large(found)),
    )


def _unseen(found: Trace) -> list[WarningRecord]:
    warnings = []
    for row in found.walk():
        window = row.layer.window()
        fits = window.fit(row.input) if window is not None else ()
        if all(size.fits for size in fits):
            continue
        exact = "×".join(f"{float(size.exact):g}" for size in fits)
        cut = " and ".join(
            what if size.unseen == 1 else f"{size.unseen} {what}s"
            for what, size in zip(("row", "column"), fits, strict=True)
            if size.unseen
        )
        message = (
            f"the window does not fit: {exact} rounds down to {'×'.join(str(size.size) for size in fits)}; "
            f"no window reaches the last {cut} of the padded input"
        )
        warnings.append(WarningRecord(name=row.name, message=message))
    return warnings


def _inner_softmax(found: Trace) -> list[WarningRecord]:
    message = (
        "a softmax in front of other layers squeezes what they see; it belongs at the end of the table, if anywhere"
    )
    inner = [row for row in found.walk() if isinstance(row.layer, Softmax) and row is not found.rows[-1]]
    return [WarningRecord(name=row.name, message=message) for row in inner]


def _wide_views(found: Trace) -> list[WarningRecord]:
    _, high, wide = found.input
    for row in found.rows:
        if (
            row.receptive
            and row.output[1:] == (1, 1)
            and row.receptive[0].size > 2 * high
            and row.receptive[1].size > 2 * wide
        ):
            message = (
                f"a node sees {row.receptive[0].size}×{row.receptive[1].size} pixels of a {high}×{wide} image, "
                "mostly padding: this network was made for larger images"
            )
            return [WarningRecord(name=row.name, message=message)]
    return []


def _very_large(found: Trace) -> list[WarningRecord]:
    if found.parameters < VERY_LARGE:
        return []
    largest = max(found.walk(), key=lambda row: sum(map(prod, row.tensors.values())))
    # Weights, gradients and two moments of Adam, four bytes each.
    needed = found.parameters * 16 / 2**30
    message = f"the network has {found.parameters:,} parameters, most of them here: training needs {needed:,.0f} GiB"
    return [WarningRecord(name=largest.name, message=message)]
