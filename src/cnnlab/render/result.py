"""Results that a view shows: as a document, as a picture, in a notebook.

A result holds data. Its view, a module beside it, registers how the result is shown:

    @document.register
    def _(result: LrRange) -> Document: ...
"""

from __future__ import annotations

from functools import singledispatch

from cnnlab.records import Record
from cnnlab.render.document import Document


@singledispatch
def document(result: Result) -> Document:
    """The document of a result: formulas, tables and notes."""
    raise TypeError(f"no view has registered a document of {type(result).__name__}")


@singledispatch
def svg(result: Result) -> str:  # noqa: ARG001
    """The picture of a result as SVG that stands alone; "" where its view draws none."""
    return ""


class Result(Record):
    """A record with a view."""

    def document(self) -> Document:
        """The document that its view makes."""
        return document(self)

    def svg(self) -> str:
        """The picture that its view draws as SVG; "" where it draws none."""
        return svg(self)

    def _repr_html_(self) -> str:
        return self.document().to_html(self.svg())
