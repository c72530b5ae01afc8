"""The run folder: the files of a run, written and read. No torch.

recipe.toml          the resolved recipe, with defaults
provenance.json      the recipe's file, and the settings that differ from it
environment.json     versions and machine
data.json            classes, split hash, preprocessing
layers.json          the layer table
precision.json       precision and memory format, with the benchmark
loaded.json          the pretrained weights of a backbone, if it has any
backbone/            records of the run that a backbone is from
features.json        how the features of a frozen trunk were cached
initial_weights.json the digest of the initial weights
metrics.jsonl        the learning curve, an EpochRecord a line
result.json          the final figures, once the run has finished
best.*, last.*       checkpoints
predictions-*.npz    labels and logits of a split
example.png, .json   one image, for the report
report.html          the report
lock                 held by the process that writes to the folder
"""

from __future__ import annotations

import io
import itertools
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import ValidationError

from cnnlab.atomic_io import append_line, atomic_write
from cnnlab.config.recipe import Recipe
from cnnlab.errors import RunError, did_you_mean
from cnnlab.records import (
    DataRecord,
    Environment,
    EpochRecord,
    ExampleRecord,
    FeatureCacheRecord,
    InitialWeightsRecord,
    LayerTable,
    PrecisionConfig,
    Provenance,
    Record,
    RunResult,
    WeightLoadReport,
    first_validation_error,
)

R = TypeVar("R", bound=Record)
MAX_NAME = 80
# Records of the run that a backbone is from, so that the network can be built without that run.
BACKBONE_FOLDER = "backbone"
INITIAL_WEIGHTS_FILE = "initial_weights.json"
# Folders of runs are named TIME-RECIPE, those of studies STUDY-ARM-sSEED-DIGESTS.
_NOT_RECIPE = re.compile(r"^\d{8}-\d{6}-|-s\d+-[0-9a-f]{12}-[0-9a-f]{6}$")
# The names of files in runs of earlier versions.
_EARLIER_FILES = {"precision.json": "way.json", INITIAL_WEIGHTS_FILE: "start.json"}


@dataclass(frozen=True)
class Predictions:
    """Predictions of the selected weights on one split: `labels` N, `logits` N×K, in the order of its images."""

    labels: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]

    def is_finite(self) -> npt.NDArray[np.bool_]:
        """Whether each image's logits are all numbers, shape N."""
        return np.asarray(np.isfinite(self.logits).all(axis=1))

    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether each image is classified correctly, shape N; never where a logit is not finite."""
        return np.asarray(self.is_finite() & (self.logits.argmax(axis=1) == self.labels))

    def confusion(self) -> npt.NDArray[np.int64]:
        """K×K counts, row = true class, column = predicted class, without images that have a logit not finite."""
        classes, finite = self.logits.shape[1], self.is_finite()
        pairs = self.labels[finite] * classes + self.logits[finite].argmax(axis=1)
        return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run. A missing or damaged file is a RunError that names it."""

    path: Path

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open a folder that holds a run, by its absolute path.

        Raises:
            RunError: there is no run there.
        """
        path = Path(path)
        if not (path / "recipe.toml").is_file():
            near = [str(run.path) for run in list_runs(path.parent)] if path.parent.is_dir() else []
            hint = did_you_mean(str(path), near) or "'cnnlab runs' lists the runs"
            raise RunError("there is no run here", where=str(path), next_step=hint)
        return cls(path.resolve())

    @property
    def name(self) -> str:
        return self.path.name

    def recipe(self) -> Recipe:
        path = self.path / "recipe.toml"
        # Runs of earlier versions could cache random views of the images.
        had_views = path.is_file() and 'cache = "views(' in path.read_text(encoding="utf-8", errors="replace")
        return Recipe.read(path, {"train.cache": "auto"} if had_views else None)

    def provenance(self) -> Provenance | None:
        """What the run was made from; None in a run of an earlier version."""
        return self._optional_record("provenance.json", Provenance)

    def recipe_name(self) -> str:
        """The name of the run's recipe; in a run of an earlier version as its folder's name has it."""
        provenance = self.provenance()
        return provenance.name if provenance is not None else _NOT_RECIPE.sub("", self.name)

    def environment(self) -> Environment:
        return self._record("environment.json", Environment)

    def data(self) -> DataRecord:
        return self._record("data.json", DataRecord)

    def table(self) -> LayerTable:
        return self._record("layers.json", LayerTable)

    def precision_config(self) -> PrecisionConfig:
        return self._record("precision.json", PrecisionConfig)

    def result(self) -> RunResult | None:
        """The final figures; None while the run has not finished."""
        return self._optional_record("result.json", RunResult)

    def loaded_weights(self) -> WeightLoadReport | None:
        """The pretrained weights of its backbone; None if all weights were random."""
        return self._optional_record("loaded.json", WeightLoadReport)

    def initial_weights(self) -> InitialWeightsRecord | None:
        """The digest of its initial weights; None in the oldest runs."""
        return self._optional_record(INITIAL_WEIGHTS_FILE, InitialWeightsRecord)

    def features(self) -> FeatureCacheRecord | None:
        """How the features of its frozen trunk were cached; None if nothing is frozen."""
        return self._optional_record("features.json", FeatureCacheRecord)

    def has_progress(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        return (self.path / "last.json").exists()

    def epochs(self) -> list[EpochRecord]:
        """The learning curve, without a last line that was cut off in writing."""
        path = self.path / "metrics.jsonl"
        # Bytes: a line that was cut off may end within a character.
        lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
        try:
            return [EpochRecord.from_json(line) for line in lines[:-1]]
        except ValidationError as error:
            raise _damaged_error(path, error) from None

    def predictions(self, split: str) -> Predictions | None:
        """The predictions on a split; None if it was not evaluated."""
        path = self.path / f"predictions-{split}.npz"
        if not path.exists():
            return None
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                return Predictions(stored["labels"], stored["logits"])
        # The readers of zip and NumPy raise exceptions of many kinds for damaged bytes.
        except Exception as error:
            raise RunError(f"these predictions can't be read: {error}", where=str(path)) from None

    def example(self) -> tuple[ExampleRecord, npt.NDArray[np.uint8]] | None:
        """The example image, uint8, C×H×W; None in a run without one.

        Raises:
            RunError: it is damaged, or of another size, other channels or no class of this run's data.
        """
        path = self.path / "example.png"
        if not path.exists() or not (self.path / "example.json").exists():
            return None
        about, data = self._record("example.json", ExampleRecord), self.data()
        spec = data.preprocessing
        try:
            with Image.open(io.BytesIO(path.read_bytes())) as image:
                # Checked before its pixels are read, of which a file from elsewhere may hold very many.
                mode = "L" if spec.channels == 1 else "RGB"
                if (image.mode, image.height, image.width) != (mode, spec.height, spec.width):
                    own = f"{image.mode} pixels, {image.width}×{image.height}"
                    raise ValueError(f"it has {own}; the run's images have {mode} pixels, {spec.width}×{spec.height}")
                pixels = np.asarray(image)
            if about.split not in data.splits or not 0 <= about.label < len(data.classes):
                raise ValueError(f"{about} is not of this run's data")
        # Pillow raises exceptions of many kinds for damaged bytes.
        except Exception as error:
            what = f"the example image can't be used: {error}"
            raise RunError(what, where=str(path), next_step="name an image with --image") from None
        return about, pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def write_example(self, about: ExampleRecord, pixels: npt.NDArray[np.uint8]) -> None:
        """Write the example image; uint8, C×H×W, C = 1 or 3."""
        content = io.BytesIO()
        Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(content, "PNG")
        atomic_write(self.path / "example.png", content.getvalue())
        self.write("example.json", about.to_json(indent=2))

    def truncate_after(self, epoch: float) -> None:
        """Drop the points of the learning curve after an epoch."""
        lines = [record.to_json() + "\n" for record in self.epochs() if record.epoch <= epoch]
        self.write("metrics.jsonl", "".join(lines))

    def write_predictions(self, split: str, predictions: Predictions) -> None:
        """Write the predictions on a split."""
        content = io.BytesIO()
        np.savez_compressed(content, labels=predictions.labels, logits=predictions.logits)
        atomic_write(self.path / f"predictions-{split}.npz", content.getvalue())

    def write(self, name: str, text: str) -> None:
        """Write a text file, atomically."""
        atomic_write(self.path / name, text.encode("utf-8"))

    def append(self, record: EpochRecord) -> None:
        """Append a point to the learning curve."""
        append_line(self.path / "metrics.jsonl", record.to_json())

    def file(self, name: str) -> Path:
        """The path of a file; in a run of an earlier version that of its earlier name."""
        path = self.path / name
        earlier = self.path / _EARLIER_FILES.get(name, name)
        return earlier if earlier.exists() and not path.exists() else path

    def _optional_record(self, name: str, kind: type[R]) -> R | None:
        return self._record(name, kind) if self.file(name).exists() else None

    def _record(self, name: str, kind: type[R]) -> R:
        path = self.file(name)
        try:
            return kind.from_json(path.read_bytes())
        except FileNotFoundError:
            raise RunError(f"this run has no {name}", where=str(self.path), next_step="train it again") from None
        except ValidationError as error:
            raise _damaged_error(path, error) from None


def create_run(runs: Path, recipe_name: str, folder_path: Path | None = None) -> RunFolder:
    """Make a run folder in `runs`, named by the time and the recipe; two processes never get the same one.

    Args:
        folder_path: the folder itself, instead; it must not hold a run.

    Raises:
        RunError: the folder can't be made, or holds a run.
    """
    base = runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{slug(recipe_name)}"
    if folder_path is not None and (folder_path / "recipe.toml").exists():
        raise RunError("there is a run here already", where=str(folder_path), next_step="resume it: train --resume")
    try:
        if folder_path is not None:
            folder_path.mkdir(parents=True, exist_ok=True)
            return RunFolder(folder_path.resolve())
        runs.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            path = base if number == 1 else base.with_name(f"{base.name}-{number}")
            with suppress(FileExistsError):
                path.mkdir()
                break
    except OSError as error:
        what, step = f"a run folder can't be made: {error.strerror}", "choose another with --runs"
        raise RunError(what, where=str(folder_path or runs), next_step=step) from None
    return RunFolder(path.resolve())


def list_runs(runs: Path) -> list[RunFolder]:
    """The runs in a folder, sorted by name, and so by time."""
    return [RunFolder(path.parent) for path in sorted(runs.glob("*/recipe.toml"))]


def slug(name: str) -> str:
    """A safe file name: letters, digits, '-', '_' and '.'."""
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.")[:MAX_NAME] or "run"


def _damaged_error(path: Path, error: ValidationError) -> RunError:
    return RunError(
        f"{path.name} is damaged: {first_validation_error(error)}", where=str(path), next_step="train it again"
    )
