"""What a network is before anything is trained: every row, its cost, its memory, its drawing."""

from __future__ import annotations

from cnnlab.architecture.memory import MemoryRecord
from cnnlab.architecture.warnings import format_warning
from cnnlab.records import LayerRecord, LayerTable, Record, WarningRecord
from cnnlab.render.document import Document
from cnnlab.render.formatting import format_bytes, format_count, format_shape, pluralize
from cnnlab.reports.architecture.pretraining import (
    InitialWeights,
    trainable_text,
)
from cnnlab.reports.run.tables import layer_table


class Description(Record):
    """A recipe's network or a backbone. `classes` holds their names, where they are known; `num_classes` counts them.

    `input` is (channels, height, width); `source` is what the images are of, empty for a backbone.
    `describe_initial_weights` are what a recipe's backbone starts from, None where it has a table.
    `late_unfreeze_warning` tells of weights that would begin to train after the last epoch.
    """

    name: str
    source: str = ""
    input: tuple[int, int, int]
    classes: tuple[str, ...]
    num_classes: int
    optimizer: str
    parameters: int
    trainable: int
    macs: int
    layers: tuple[LayerRecord, ...]
    warnings: tuple[WarningRecord, ...]
    memory: MemoryRecord
    switched_off: tuple[str, ...] = ()
    initial_weights: InitialWeights | None = None
    too_late: str = ""

    @property
    def table(self) -> LayerTable:
        """The rows and their sums."""
        trainable = None if self.trainable == self.parameters else self.trainable
        return LayerTable(
            parameters=self.parameters,
            trainable=trainable,
            macs=self.macs,
            layers=self.layers,
            warnings=self.warnings,
        )

    @property
    def title(self) -> str:
        """What this is, for which images."""
        images = f"{format_shape(self.input)} images" + (f" of {self.source}" if self.source else "")
        end = pluralize(self.num_classes, "class", "classes") if self.num_classes else "features instead of classes"
        return f"{self.name}: {images}, {end}"

    def document(self) -> Document:
        """The table, with the sums and the warnings under it."""
        rows = layer_table(self.table, self.memory)
        warned = [f"! {format_warning(warning)}" for warning in self.warnings]
        off = [f"Warnings switched off: {', '.join(self.switched_off)}."] if self.switched_off else []
        initial = self.initial_weights.lines() if self.initial_weights is not None else []
        if self.too_late:
            initial.append(f"! {self.too_late}")
        notes = (_totals_text(self), *initial, *_memory_lines(self), *warned, *off)
        return Document(self.title, tables=(("", rows),), notes=notes)

    def svg(self) -> str:
        """The drawing of the network, standing alone."""
        from cnnlab.reports.architecture.drawing import draw_architecture

        return draw_architecture(self.table, self.title).to_svg(standalone=True)

    def _repr_html_(self) -> str:
        return self.document().to_html(self.svg())


def _totals_text(description: Description) -> str:
    is_whole = description.trainable == description.parameters
    named = trainable_text(description.layers)
    which = ("all trained" if is_whole else f"{format_count(description.trainable)} of them trained") + (
        f": {named}" if named else ""
    )
    return (
        f"{format_count(description.parameters)} parameters, {which}; {format_count(description.macs)} "
        "multiply-adds an image."
    )


def _memory_lines(description: Description) -> tuple[str, str]:
    taken = description.memory
    parts = {
        "weights": taken.weights,
        "gradients": taken.gradients,
        f"{description.optimizer}'s state": taken.optimizer,
        "activations": taken.activations,
    }
    batch = f"with {pluralize(taken.batch_size, 'image')} at a time, in 32-bit floats"
    summed = " + ".join(f"{format_bytes(size)} of {what}" for what, size in parts.items() if size)
    return (
        f"Memory to train {batch}: {format_bytes(taken.total)} = {summed}.",
        f"Memory to predict {batch}: {format_bytes(taken.prediction)}.",
    )
