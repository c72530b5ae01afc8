"""The rich console of the commands, which prints no control characters."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from cnnlab.render.formatting import clean


class Screen(Console):
    """A rich console that replaces control characters in what it prints: the name of a file may hold escape sequences.

    The styles and cursor movements of rich itself are kept.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """The pieces of what is shown, cleaned."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else clean(text), style, control)
