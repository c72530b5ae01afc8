"""Frozen records that cross packages, with JSON in and out.

A record holds numbers and text, not how they are shown. Accuracies are fractions.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, ValidationError

Verdict = Literal[
    "equal",
    "not equal",
    "reproduced",
    "differs",
    "holds",
    "contradicted",
    "not enough evidence",
    "other data",
    "shortened",
    "not measured",
]


def _check_safe_filename(name: str) -> str:
    if name in (".", "..") or set(name) & set("/\\\0"):
        raise ValueError(f"{name!r} leads out of its folder: a plain name is wanted, without '/' and '\\'")
    return name


# The name of a file or folder beside a record. It is joined to a path when the record is read from a folder of
# unknown origin, so it must not lead out of that folder; "" if there is none.
SafeFilename: TypeAlias = Annotated[str, AfterValidator(_check_safe_filename)]


def first_validation_error(error: ValidationError) -> str:
    """Return the first problem of a record and the field that it is in."""
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    return f"{field}: {first['msg']}" if field else first["msg"]


def also_read_as(*names: str) -> Any:
    """A field that had other names in earlier versions: its name, then the older ones."""
    return Field(validation_alias=AliasChoices(*names))


class Record(BaseModel):
    """A frozen pydantic model. NaN and ±Inf are kept in JSON, as strings."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    def to_json(self, indent: int | None = None) -> str:
        """Return this record as JSON."""
        return self.model_dump_json(indent=indent)

    def __eq__(self, other: object) -> bool:
        """Whether all fields are equal; fields that are not in JSON, such as arrays of pixels, are not compared."""
        if type(self) is not type(other):
            return NotImplemented
        names = [name for name, field in type(self).model_fields.items() if not field.exclude]
        return {name: getattr(self, name) for name in names} == {name: getattr(other, name) for name in names}

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read the record that `to_json` wrote.

        Raises:
            pydantic.ValidationError: the text is not such a record.
        """
        return cls.model_validate_json(text)


class LayerRecord(Record):
    """One row of a traced layer table; shapes are (channels, height, width) or (features,).

    `text` is the row as a call, and `arguments` the call's arguments by name, defaults included, without nested rows;
    empty in files of earlier versions, and for an operation that no table can have.
    `receptive_field` is in input pixels, (vertical, horizontal), None where a node sees the whole image; `jump` and
    `first_centre` are fractions as text, in pixels, the latter from the middle of the first pixel. `macs` counts
    multiply-adds of weights for one image, `activations` the numbers that come out for one. `inputs` names the rows
    whose outputs go in; empty: the image. `frozen` is True of a row with weights that never train; `unfreeze_at` counts
    the epochs for which one that trains is frozen at first.
    """

    name: str
    kind: str
    text: str
    arguments: dict[str, Any] = {}
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

    def __hash__(self) -> int:
        return hash((self.name, self.text))  # its arguments are a dictionary, which has no hash


class WarningRecord(Record):
    """Something that is allowed but may be a mistake.

    Attributes:
        name: by which a recipe switches it off.
        where: the rows or the key.
        message: the reason, with its numbers.
        fix: what to do.
    """

    name: str
    where: str = ""
    message: str
    fix: str = ""


class LayerTable(Record):
    """A traced network. `trainable` counts the trainable parameters; None: all are trainable."""

    parameters: int
    trainable: int | None = None
    macs: int
    layers: tuple[LayerRecord, ...]
    warnings: tuple[WarningRecord, ...]


class ClassScore(Record):
    """Scores of one class: the number of its images, and of images predicted as it."""

    name: str
    images: int
    recall: float
    precision: float


class Score(Record):
    """Scores of a network on one split. `loss` is the mean cross-entropy in nats."""

    images: int
    loss: float
    accuracy: float
    top5: float
    balanced_accuracy: float
    macro_f1: float
    per_class: tuple[ClassScore, ...] = ()

    def metric(self, name: str) -> float:
        """Return the score of this name."""
        return float(getattr(self, name))


class StepMeans(Record):
    """Running means over the training steps since the last record, in train mode and with augmentation."""

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
    """Where a run was made. `cwd` is the folder that relative sources refer to; no report shows it."""

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


class Provenance(Record):
    """The recipe that a run was made from, written at its start.

    Attributes:
        name: of the run; that of its recipe's file, or of its study and arm.
        file: the path of the recipe's file; "" for a recipe made in Python and for an arm of a study.
        digest: of the settings in that file, without its seed and claims.
        overrides: the settings that the run has otherwise than the file, by dotted key, as `--set` takes them.
        epochs: as many as the file asks for.
    """

    name: str
    file: str = ""
    digest: str = ""
    overrides: dict[str, str] = {}
    epochs: int | None = None


class Preprocessing(Record):
    """How an image becomes the network's input, in training, prediction and export alike.

    `fit` says how images of another aspect ratio get this size: stretched, or cropped to their middle. `mean` and `std`
    are per channel, of pixels scaled to 0–1.
    """

    channels: int
    height: int
    width: int
    interpolation: Literal["nearest", "bilinear", "bicubic"]
    fit: Literal["stretch", "crop"] = "stretch"
    mean: tuple[float, ...]
    std: tuple[float, ...]


class DataRecord(Record):
    """The data of a run: classes, images of each split, the hash of the split, and the id of the test set.

    `content` is the digest of the whole source; empty in runs of versions that did not record it.
    """

    source: str
    classes: tuple[str, ...]
    splits: Annotated[dict[str, int], also_read_as("splits", "parts")]
    split_hash: str
    test_set: str = ""
    content: str = ""
    preprocessing: Preprocessing


class PrecisionConfig(Record):
    """How a step is computed, and images/s of each setting if several were benchmarked."""

    precision: Literal["fp32", "bf16"]
    memory_format: Literal["contiguous", "channels_last"]
    tried: dict[str, float] = {}
    reason: str = ""


class WeightLoadReport(Record):
    """How a backbone's weights were loaded, counted in tensors.

    Attributes:
        published: whether the file has the checksum that its library publishes; None where none is published.
        missing: tensors of the backbone that the file lacks, which are initialized at random.
        ignored: tensors of the file that the network lacks.
        behind: tensors of the file for the layers after the cut.
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
    """The initial state of a training: the digest of all parameters and buffers, and their number."""

    sha256: str
    tensors: int


class FeatureCacheRecord(Record):
    """Whether a training used cached features of its frozen trunk, and how exact they are.

    Attributes:
        cut_point: the first module that takes the features.
        shape: of the features of one image.
        views: the number of cached views per image.
        exact: whether training equals that without a cache, up to rounding.
        reason: why it is not exact, or why nothing is cached.
        bitwise: of earlier versions: whether the first images gave the same bits without a cache.
        seconds: the time to compute the features; None if they were in the cache.
        files: the files of the cache.
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
    """The example image that a run stores: image number `place` of a split, from 0; `label` is its class index."""

    split: Annotated[str, also_read_as("split", "part")]
    place: int
    label: int


class ClaimRecord(Record):
    """A published claim, what runs measured of it, and the verdict.

    Attributes:
        of: the recipe or the arm that it is about.
        name: the metric: parameters, or split_metric, with "best_" or "last_" before it for one of an epoch.
        than: the other arm of a word, or "all others"; "" for a number.
        shift: under which it was measured; "" for images as they are.
        published: a number, the ends of a range, or a word.
        measured: of a number the mean over the runs, of a word the arm's difference to the other arm.
        low, high: the 95 % interval, of one more run for a number, of the difference for a word.
        n: the number of runs, of the smaller arm for a word.
        values, seeds: of a number, what each run measured, and its seed.
        delta: half the width of the widest interval that can show a number to be reproduced.
        difference: measured − published, of a number; of a range, − its nearest number.
        data: that it was published for; "" where the claim does not say.
        reason: why this verdict.
    """

    of: str = ""
    name: str
    than: str = ""
    shift: str = ""
    published: float | tuple[float, float] | str
    measured: float | None
    low: float | None = None
    high: float | None = None
    n: int
    values: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    delta: float | None = None
    difference: float | None = None
    data: str = ""
    verdict: Verdict
    reason: str = ""
    source: str = ""
    note: str = ""


class LedgerEntry(Record):
    """One evaluation on a test set, a line of the ledger. Runs that test on the same images share `test_set`."""

    time: str
    run: str
    test_set: str
    purpose: str


class RunResult(Record):
    """The result of a finished run. Scores are of the selected weights, without augmentation."""

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
    """The state of early stopping; `best` is None before the first validation."""

    best: float | None = None
    num_bad_validations: Annotated[int, also_read_as("num_bad_validations", "waited")] = 0
