"""A column of a progress bar that shows speed in the task's own unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import ProgressColumn
from rich.progress import Task as RichTask
from rich.text import Text

if TYPE_CHECKING:
    pass


class SpeedColumn(ProgressColumn):
    """`1,234 images/s`, or `5.6 MB/s` for bytes."""

    def render(self, task: RichTask) -> Text:
        speed = task.finished_speed or task.speed
        unit = task.fields["unit"]
        if speed is None:
            return Text("")
        return Text(
            f"{speed / 1e6:.1f} MB/s" if unit == "bytes" else f"{speed:,.0f} {unit}/s", style="progress.data.speed"
        )
