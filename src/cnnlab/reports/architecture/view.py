"""The document and the drawing of a network before training."""

from __future__ import annotations

from cnnlab.architecture.warnings import format_warning
from cnnlab.render.document import Document
from cnnlab.render.formatting import MISSING, format_bytes, format_count, pluralize
from cnnlab.render.result import document, svg
from cnnlab.render.tables import TextTable
from cnnlab.reports.architecture.layer_table import layer_table
from cnnlab.reports.architecture.pretraining import initial_weights_facts, trainable_text
from cnnlab.reports.architecture.result import Description


@document.register
def _(description: Description) -> Document:
    images = pluralize(description.memory.batch_size, "image")
    tables = [
        ("", layer_table(description, description.memory)),
        (f"Memory with {images} at a time, in 32-bit floats", _memory_table(description)),
    ]
    if description.initial_weights is not None:
        facts = initial_weights_facts(description.initial_weights)
        tables.append(("Backbone", TextTable.from_rows(["", ""], facts)))
    notes = [_totals_text(description)]
    if description.too_late:
        notes.append(f"! {description.too_late}")
    notes += [f"! {format_warning(warning)}" for warning in description.warnings]
    if description.switched_off:
        notes.append(f"Warnings switched off: {', '.join(description.switched_off)}.")
    return Document(description.title, tables=tuple(tables), notes=tuple(notes))


@svg.register
def _(description: Description) -> str:
    from cnnlab.reports.architecture.drawing import draw_architecture

    return draw_architecture(description, description.title).to_svg(standalone=True)


def _totals_text(description: Description) -> str:
    total = f"{format_count(description.parameters)} parameters"
    trained = "all trained"
    if description.trainable != description.parameters:
        trained = f"{format_count(description.trainable)} of them trained"
    if named := trainable_text(description.layers):
        trained += f": {named}"
    return f"{total}, {trained}; {format_count(description.macs)} multiply-adds an image."


def _memory_table(description: Description) -> TextTable:
    memory = description.memory
    titles = ["to", "#weights", "#gradients", f"#{description.optimizer}'s state", "#activations", "#total"]
    sizes = {
        "train": (memory.weights, memory.gradients, memory.optimizer, memory.activations, memory.total),
        "predict": (memory.weights, 0, 0, memory.prediction - memory.weights, memory.prediction),
    }
    rows = [(what, *(format_bytes(size) if size else MISSING for size in row)) for what, row in sizes.items()]
    return TextTable.from_rows(titles, rows)
