"""Results that a view shows: as a document, as a picture, in a notebook.

A result holds data. Its view, a module beside it, registers how the result is shown:

    @document.register
    def _(result: LrRange) -> Document: ...
"""

from __future__ import annotations

from functools import singledispatch
from typing import TYPE_CHECKING, Any

from cnnlab.records import Record
from cnnlab.render.document import Document

if TYPE_CHECKING:
    from cnnlab.render.plots import CaptionedFigure


@singledispatch
def document(result: Result) -> Document:
    """The document of a result: formulas, tables and notes."""
    raise TypeError(f"no view has registered a document of {type(result).__name__}")


@singledispatch
def figures(result: Result, **options: Any) -> dict[str, CaptionedFigure]:  # noqa: ARG001
    """The figures of a result by name, the main one first; none where its view registers none."""
    return {}


@singledispatch
def svg(result: Result) -> str:
    """The picture of a result as SVG that stands alone: its main figure; "" where its view draws none."""
    for name, captioned in figures(result).items():
        from cnnlab.render.plots import to_svg

        return to_svg(captioned.figure, name, captioned.description, standalone=True)
    return ""


class Result(Record):
    """A record with a view."""

    def document(self) -> Document:
        """The document that its view makes."""
        return document(self)

    def figures(self, **options: Any) -> dict[str, CaptionedFigure]:
        """The figures that its view draws, by name, the main one first."""
        return figures(self, **options)

    def svg(self) -> str:
        """The picture that its view draws as SVG; "" where it draws none."""
        return svg(self)

    def _repr_html_(self) -> str:
        return self.document().to_html(self.svg())
