"""A rich console that shows what names hold, and obeys none of it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from cnnlab.paper.words import clean


class Screen(Console):
    """A console whose texts hold no control characters: a file may be called what a terminal takes for an order.

    Rich's own styles and movements of the cursor are no text.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """The pieces of what is shown, cleaned."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else clean(text), style, control)
