"""The progress bar of a run: loss, accuracy, images/s and time left, and a line for each epoch."""

from __future__ import annotations

from cnnlab.cli.output.console import ProgressReporter
from cnnlab.context import Callbacks
from cnnlab.records import EpochRecord, StepMeans
from cnnlab.storage.run_folder import RunFolder


class RunProgressBar:
    """Shows the progress of a run as a bar and lines on stderr."""

    def __init__(self, reporter: ProgressReporter) -> None:
        self.reporter = reporter
        self.note = ""
        self.started: list[RunFolder] = []

    def callbacks(self) -> Callbacks:
        """Return the callbacks of a run."""
        return Callbacks(
            progress=self.reporter,
            log=self.reporter.log,
            on_run_start=self.started.append,
            on_step=self.on_step,
            on_validation=self.on_validation,
        )

    def on_step(self, images: int, total: int, means: StepMeans | None) -> None:
        """Called after every step."""
        if means is not None:
            self.note = f"loss {means.loss:.3f}, accuracy {means.accuracy:.3f}"
        self.reporter("training", images, total, "images", self.note)

    def on_validation(self, record: EpochRecord) -> None:
        """Called after every validation."""
        parts = [f"epoch {record.epoch:g}", f"train {record.train.loss:.3f} / {record.train.accuracy:.3f}"]
        for name, score in (("validation", record.validation), ("test", record.test)):
            if score is not None:
                parts.append(f"{name} {score.loss:.3f} / {score.accuracy:.3f}")
        self.reporter.log(", ".join(parts) + f" (loss / accuracy), {record.images_per_second:,.0f} images/s")
