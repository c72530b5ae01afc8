"""Frozen results that cross layers, JSON in and out.

A record holds what was found, in plain numbers and texts; whoever shows it only draws. Accuracies are fractions.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, ValidationError

Verdict = Literal[
    "equal", "not equal", "reproduced", "differs", "not enough evidence", "other data", "shortened", "not measured"
]


def _check_safe_filename(name: str) -> str:
    if name in (".", "..") or set(name) & set("/\\\0"):
        raise ValueError(f"{name!r} leads out of its folder: a plain name is wanted, without '/' and '\\'")
    return name


# A name that a record gives to a file or a folder beside it. It is joined to a path when the record is read from a
# folder that came from elsewhere, and is not to lead out of there; "" where there is none.
SafeFilename: TypeAlias = Annotated[str, AfterValidator(_check_safe_filename)]


def first_validation_error(error: ValidationError) -> str:
    """The first thing that is wrong with a record, and where in it."""
    found = error.errors(include_url=False)[0]
    place = ".".join(map(str, found["loc"]))
    return f"{place}: {found['msg']}" if place else found["msg"]


def also_read_as(*names: str) -> Any:
    """A field that was called otherwise in files of earlier versions: its name, then the older ones."""
    return Field(validation_alias=AliasChoices(*names))


class Record(BaseModel):
    """A frozen record. NaN and ±Inf survive the way through JSON, as texts."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    def to_json(self, indent: int | None = None) -> str:
        """This record as JSON text."""
        return self.model_dump_json(indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The record that `to_json` wrote.

        Raises:
            pydantic.ValidationError: the text is not such a record.
        """
        return cls.model_validate_json(text)


class LayerRecord(Record):
    """One row of a layer table in its place; shapes are (channels, height, width) or (features,).

    `receptive_field` is in input pixels, (vertical, horizontal), None where a node sees the whole image; `jump` and
    `first_centre` are fractions as text, in pixels, the latter from the middle of the first pixel. `macs` counts
    multiply-adds of weights for one image, `activations` the numbers that come out for one. `inputs` names the rows
    whose outputs go in; empty: the image. `frozen` is True of a row with weights that never train; `unfreeze_at` counts
    the epochs for which one that trains is frozen at first.
    """

    name: str
    kind: str
    text: str
    input: tuple[int, ...]
    output: tuple[int, ...]
    parameters: int
    formula: str
    macs: int
    macs_formula: str = ""
    activations: int = 0
    receptive_field: tuple[int, int] | None
    jump: tuple[str, str] | None
    first_centre: tuple[str, str] | None = None
    inputs: tuple[str, ...] = ()
    frozen: bool = False
    unfreeze_at: Annotated[int, also_read_as("unfreeze_at", "begins")] = 0


class WarningRecord(Record):
    """Something that is allowed but deserves a look.

    `name` is what it is switched off by; `where` names the rows or the key; `message` gives the reason with its
    numbers, `fix` what to do.
    """

    name: str
    where: str = ""
    message: str
    fix: str = ""


class LayerTable(Record):
    """A traced network. `trainable` counts the parameters that train; None: all."""

    parameters: int
    trainable: int | None = None
    macs: int
    layers: tuple[LayerRecord, ...]
    warnings: tuple[WarningRecord, ...]


class ClassScore(Record):
    """How one class fared: of `images` of it, and of those called it."""

    name: str
    images: int
    recall: float
    precision: float


class Score(Record):
    """How a network fares on one part of the data. `loss` is the mean cross-entropy in nats."""

    images: int
    loss: float
    accuracy: float
    top5: float
    balanced_accuracy: float
    macro_f1: float
    per_class: tuple[ClassScore, ...] = ()

    def metric(self, name: str) -> float:
        """The figure of that name."""
        return float(getattr(self, name))


class StepMeans(Record):
    """Running means over the training steps since the last record, in train mode, on augmented images."""

    images: int
    loss: float
    accuracy: float


class EpochRecord(Record):
    """One point of a learning curve; `epoch` counts from 0 and may be a fraction."""

    epoch: float
    step: int
    train: StepMeans
    validation: Score | None
    test: Score | None
    learning_rate: float
    seconds: float
    images_per_second: float


class Environment(Record):
    """Where a run was made. `cwd` is the folder from which a relative source is seen; no report shows it."""

    cnnlab: str
    python: str
    torch: str
    platform: str
    processor: str
    device: str
    threads: int
    processes: int = 1
    code: str
    cwd: str = ""


class Preprocessing(Record):
    """What an image goes through between file and network; training, prediction and export do the same.

    `mean` and `std` are per channel, of pixels scaled to 0–1.
    """

    channels: int
    height: int
    width: int
    interpolation: Literal["nearest", "bilinear", "bicubic"]
    mean: tuple[float, ...]
    std: tuple[float, ...]


class DataRecord(Record):
    """The data of a run: classes, images of each part, the hash of the split, and what names the test set.

    `content` is the digest of all that the source held; empty in runs that were made before it was written down.
    """

    source: str
    classes: tuple[str, ...]
    splits: Annotated[dict[str, int], also_read_as("splits", "parts")]
    split_hash: str
    test_set: str = ""
    content: str = ""
    preprocessing: Preprocessing


class PrecisionConfig(Record):
    """How a step is computed and, where it was tried, images/s of each setting that was tried."""

    precision: Literal["fp32", "bf16"]
    memory_format: Literal["contiguous", "channels_last"]
    tried: dict[str, float] = {}
    reason: str = ""


class WeightLoadReport(Record):
    """The weights that a backbone began with, counted in tensors.

    `published` is whether the file is the one that its library publishes, by its checksum; None where none is
    published. `missing` names what the backbone has and the file lacks, which begins at random; `ignored` what the
    file has and the network does not; `behind` what the file has for the part behind the cut.
    """

    source: str
    file: str
    sha256: str
    published: bool | None
    loaded: int
    missing: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()


class InitialWeightsRecord(Record):
    """The state that a training began with: the digest of all its tensors, parameters and buffers, and their number."""

    sha256: str
    tensors: int


class FeatureCacheRecord(Record):
    """How a training had the features of its frozen part: computed once and kept, or for every batch.

    `cut_point` is the first module that takes them, `shape` that of one image's, `views` how many of each image there
    are. `exact` is whether training is, up to rounding, that without kept features; `reason` says why it is not, or why
    none are kept. `bitwise` is whether a training without them gave the same bits for the first images, at all batch
    sizes that are used. `seconds` is what computing them took, None where they were found. `files` are those of the
    cache.
    """

    cached: Annotated[bool, also_read_as("cached", "kept")]
    reason: str = ""
    cut_point: Annotated[str, also_read_as("cut_point", "place")] = ""
    shape: tuple[int, ...] = ()
    views: int = 0
    dtype: Literal["fp32", "bf16"] = "fp32"
    bytes: int = 0
    exact: bool = False
    bitwise: bool = False
    seconds: float | None = None
    files: tuple[str, ...] = ()


class ExampleRecord(Record):
    """The example image that a run keeps: image number `place` of a split, from 0; `label` indexes its class."""

    split: Annotated[str, also_read_as("split", "part")]
    place: int
    label: int


class ClaimRecord(Record):
    """A published figure and what was measured.

    `low` and `high` bound it at 95 %, where they apply; an interval wider than ±`delta` can't show that the figure is
    reproduced, and without a `delta` none can.
    """

    name: str
    published: float
    measured: float | None
    low: float | None = None
    high: float | None = None
    n: int
    delta: float | None = None
    source: str = ""
    note: str = ""
    verdict: Verdict

    @property
    def difference(self) -> float | None:
        """Measured − published: above 0 where ours is higher."""
        return None if self.measured is None else self.measured - self.published


class LedgerEntry(Record):
    """One look at a test set: a line of the ledger. `test_set` is the same for every run that tests on these images."""

    time: str
    run: str
    test_set: str
    purpose: str


class RunResult(Record):
    """What a finished run is remembered by. Scores are of the selected weights, on un-augmented images."""

    run: str
    status: Literal["finished", "stopped early", "budget spent", "diverged"]
    parameters: int
    epochs: float
    selected_epoch: float
    train: Score | None
    validation: Score | None
    test: Score | None
    seconds: float
    images_per_second: float
    message: str = ""


class EarlyStoppingState(Record):
    """How long a figure has not improved; `best` is None before the first validation."""

    best: float | None = None
    num_bad_validations: Annotated[int, also_read_as("num_bad_validations", "waited")] = 0
