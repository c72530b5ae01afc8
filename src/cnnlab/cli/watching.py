"""What a person sees while a run goes on: a bar with loss, accuracy, images/s and time left, a line an epoch."""

from __future__ import annotations

from cnnlab.cli.console import Progressing
from cnnlab.records import EpochRecord, StepMeans
from cnnlab.runs.callbacks import Listener


class Watching:
    """Turns the reports of a run into a bar and lines on stderr."""

    def __init__(self, progressing: Progressing) -> None:
        self.progressing = progressing
        self.note = ""

    def listener(self) -> Listener:
        """What a run calls."""
        return Listener(progress=self.progressing, watch=self.watch, point=self.point, say=self.progressing.say)

    def watch(self, images: int, total: int, means: StepMeans | None) -> None:
        """Called after every step."""
        if means is not None:
            self.note = f"loss {means.loss:.3f}, accuracy {means.accuracy:.3f}"
        self.progressing("training", images, total, "images", self.note)

    def point(self, record: EpochRecord) -> None:
        """Called after every validation."""
        parts = [f"epoch {record.epoch:g}", f"train {record.train.loss:.3f} / {record.train.accuracy:.3f}"]
        for name, score in (("validation", record.validation), ("test", record.test)):
            if score is not None:
                parts.append(f"{name} {score.loss:.3f} / {score.accuracy:.3f}")
        self.progressing.say(", ".join(parts) + f" (loss / accuracy), {record.images_per_second:,.0f} images/s")
