"""A network before training: its rows, their cost, the memory, and what its backbone starts from."""

from __future__ import annotations

from cnnlab.architecture.memory import MemoryRecord
from cnnlab.records import LayerTable, Record
from cnnlab.render.formatting import format_shape, pluralize
from cnnlab.render.result import Result


class InitialWeights(Record):
    """The initial weights of a recipe's backbone.

    Attributes:
        weights: their name; empty where all begin at random.
        file: where they are, or will be when training has downloaded them; empty for a run's.
        at_hand: whether they are there.
        megabytes: the file's size in 10⁶ bytes, None where it is not known.
        features: the row whose output are the features, and `features_shape` that output's.
        resized: (H, W) of the backbone's input; None where images stay as they are.
        normalized: whose mean and standard deviation images are normalised with: weights, data or recipe.
    """

    backbone: str
    weights: str
    file: str = ""
    at_hand: bool = True
    megabytes: float | None = None
    features: str
    features_shape: tuple[int, ...]
    resized: tuple[int, int] | None = None
    interpolation: str = ""
    normalized: str


class Description(LayerTable, Result):
    """The table of a recipe's network or of a backbone, with what is known before training.

    Attributes:
        source: the data set, empty for a backbone.
        input: (C, H, W) of the images.
        classes: the names of the classes, where they are known; `num_classes` counts them.
        switched_off: the warnings that the recipe switches off.
        initial_weights: what a recipe's backbone starts from; None where it has a table.
        too_late: a warning of weights that would begin to train after the last epoch.
    """

    name: str
    source: str = ""
    input: tuple[int, int, int]
    classes: tuple[str, ...]
    num_classes: int
    optimizer: str
    trainable: int
    memory: MemoryRecord
    switched_off: tuple[str, ...] = ()
    initial_weights: InitialWeights | None = None
    too_late: str = ""

    @property
    def title(self) -> str:
        """The name, and the images and classes that it is for."""
        images = f"{format_shape(self.input)} images" + (f" of {self.source}" if self.source else "")
        end = pluralize(self.num_classes, "class", "classes") if self.num_classes else "features instead of classes"
        return f"{self.name}: {images}, {end}"
