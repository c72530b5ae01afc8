"""The console of the commands: results to stdout, progress and messages to stderr. Nothing prompts.

Control characters in names are never printed.
"""

from __future__ import annotations

import contextlib
import json
import math
import textwrap
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from cnnlab.errors import CnnlabError
from cnnlab.render.formatting import escape_control, sanitize

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from cnnlab.context import Callbacks


class SafeConsole(Console):
    """A rich console that replaces control characters: a file name may hold escape sequences.

    Styles and cursor movements of rich itself are kept.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yield the segments, cleaned."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else sanitize(text), style, control)


PLAIN_EVERY_S = 5.0
# In a file or pipe, tables are not squeezed into 80 columns.
WIDTH_WITHOUT_TERMINAL = 120
# The width of "  received: ", by which folded lines are indented.
DETAIL_INDENT = 12


def console(*, stderr: bool = False) -> Console:
    """Return the rich console of stdout or stderr."""
    terminal = SafeConsole(stderr=stderr, highlight=False)
    if terminal.is_terminal:
        return terminal
    return SafeConsole(stderr=stderr, highlight=False, width=WIDTH_WITHOUT_TERMINAL)


def show(*what: RenderableType) -> None:
    """Print a result: text or tables."""
    out = console()
    for item in what:
        out.print(item, markup=False) if isinstance(item, str) else out.print(item)


def show_json(value: Any) -> None:
    """Print JSON. NaN and ±Inf become null."""
    print(escape_control(json.dumps(_nan_to_none(value), indent=2, ensure_ascii=False, allow_nan=False)))


def write(text: str) -> None:
    """Print text as it is: Markdown, LaTeX, SVG."""
    print(sanitize(text), end="")


def log(text: str) -> None:
    """Print a message on stderr."""
    console(stderr=True).print(text, markup=False, soft_wrap=True)


def show_error(error: CnnlabError) -> None:
    """Print an error on stderr: what and where in bold, the rest below."""
    out = console(stderr=True)
    count = len(error.problems)
    if count > 1:
        out.print(Text(f"{count} problems", style="bold red"))
    for problem in error.problems:
        head, *details = str(problem).split("\n")
        out.print(Text.assemble(("✗ ", "bold red"), (head, "bold")), soft_wrap=True)
        for detail in details:
            if out.is_terminal and len(detail) > out.width:
                detail = textwrap.fill(detail, out.width, subsequent_indent=" " * DETAIL_INDENT)
            out.print(Text(detail), soft_wrap=True)


def _nan_to_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _nan_to_none(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class ProgressReporter:
    """Shows the progress of long work: a bar on a terminal, plain lines elsewhere."""

    def __init__(self, bars: Progress | None) -> None:
        self.bars = bars
        self.tasks: dict[str, TaskID] = {}
        self.began: dict[str, tuple[float, int]] = {}
        self.last_printed: dict[str, float] = {}
        self.done: dict[str, int] = {}

    def __call__(self, what: str, done: int, total: int, unit: str, note: str = "") -> None:
        """Report that `done` of `total` units of `what` are done; `note` is shown as it is."""
        if self.bars is not None:
            if what not in self.tasks:
                self.tasks[what] = self.bars.add_task(what, total=total or None, unit=unit, note="")
            self.bars.update(self.tasks[what], completed=done, total=total or None, note=note)
        else:
            self._plain(what, done, total, unit, note)

    def callbacks(self) -> Callbacks:
        """Return callbacks that show progress and messages."""
        from cnnlab.context import Callbacks

        return Callbacks(progress=self, log=self.log)

    def log(self, text: str) -> None:
        """Print a message above the bars."""
        if self.bars is not None:
            self.bars.console.print(text, markup=False, soft_wrap=True)
        else:
            log(text)

    def _plain(self, what: str, done: int, total: int, unit: str, note: str) -> None:
        now = time.monotonic()
        if done < self.done.get(what, 0):
            del self.began[what]  # the same work has started again
            self.last_printed.pop(what, None)
        self.done[what] = done
        began, at_first = self.began.setdefault(what, (now, done))
        if done < total and now - self.last_printed.get(what, began) < PLAIN_EVERY_S:
            return
        self.last_printed[what] = now
        speed = f", {_format_amount((done - at_first) / (now - began), unit)}/s" if now > began else ""
        of = f" of {_format_amount(total, unit)}" if total else ""
        count = f"{done:,}" if of and unit != "bytes" else _format_amount(done, unit)
        log(f"{what}: {count}{of}{speed}{', ' + note if note else ''}")


@contextlib.contextmanager
def progress_reporter() -> Iterator[ProgressReporter]:
    """Context with a reporter of progress."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield ProgressReporter(None)
        return
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn

    class SpeedColumn(ProgressColumn):
        """The speed in the unit of the task."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            text = "" if speed is None else f"{_format_amount(speed, task.fields['unit'])}/s"
            return Text(text, style="progress.data.speed")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        SpeedColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=out) as bars:
        yield ProgressReporter(bars)


def _format_amount(number: float, unit: str) -> str:
    return f"{number / 1e6:.1f} MB" if unit == "bytes" else f"{number:,.0f} {unit}"
