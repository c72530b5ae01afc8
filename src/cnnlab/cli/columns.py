"""A column of a progress bar that shows speed in the task's own unit."""

from __future__ import annotations

from rich.progress import ProgressColumn, Task
from rich.text import Text


class SpeedColumn(ProgressColumn):
    """`1,234 images/s`, or `5.6 MB/s` for bytes."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        unit = task.fields["unit"]
        if speed is None:
            return Text("")
        return Text(
            f"{speed / 1e6:.1f} MB/s" if unit == "bytes" else f"{speed:,.0f} {unit}/s", style="progress.data.speed"
        )
