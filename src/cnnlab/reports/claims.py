"""The table of published claims: what was published, what was measured, and the verdict."""

from __future__ import annotations

from collections.abc import Iterable

from cnnlab.records import ClaimRecord
from cnnlab.render.formatting import MISSING, format_count, format_loss, shorten
from cnnlab.render.tables import TextTable

MAX_NAME_LENGTH = 60
MAX_SOURCE_LENGTH, MAX_REASON_LENGTH = 120, 300
CLAIM_COLUMNS = ("figure", "#published", "#measured", "#95 % interval", "#runs", "verdict", "why", "source")


def claims_table(claims: Iterable[ClaimRecord], of: str = "of") -> TextTable:
    """A row for each claim; for a word, measured is the arm's difference to the other arm.

    Args:
        of: the title of the column that names the recipe or the arm; "" for a table of one recipe, without it.
    """
    rows = ((*([shorten(claim.of, MAX_NAME_LENGTH)] if of else []), *_cells(claim)) for claim in claims)
    return TextTable.from_rows((*([of] if of else []), *CLAIM_COLUMNS), rows)


def _cells(claim: ClaimRecord) -> tuple[str, ...]:
    interval = claim.low is not None and claim.high is not None
    return (
        claim.name.replace("_", " ") + (f" under {shorten(claim.shift, MAX_NAME_LENGTH)}" if claim.shift else ""),
        _published(claim),
        _measured(claim, claim.measured),
        f"{_measured(claim, claim.low)} to {_measured(claim, claim.high)}" if interval else MISSING,
        format_count(claim.n),
        claim.verdict,
        shorten(claim.reason, MAX_REASON_LENGTH),
        "; ".join(shorten(text, MAX_SOURCE_LENGTH) for text in (claim.source, claim.note) if text),
    )


def _published(claim: ClaimRecord) -> str:
    if isinstance(claim.published, str):
        joint = {"better": " than ", "worse": " than ", "equal": " to "}.get(claim.published, "")
        return claim.published + (f"{joint}{shorten(claim.than, MAX_NAME_LENGTH)}" if joint and claim.than else "")
    if claim.name == "parameters" and not isinstance(claim.published, tuple):
        return format_count(claim.published)
    return format_published(claim.published)


def format_published(number: float | tuple[float, float]) -> str:
    """A published number or range.

    >>> format_published(0.66), format_published((0.61, 0.66))
    ('0.66', '0.61 to 0.66')
    """
    return f"{number[0]:g} to {number[1]:g}" if isinstance(number, tuple) else f"{number:g}"


def _measured(claim: ClaimRecord, value: float | None) -> str:
    if value is None:
        return MISSING
    if isinstance(claim.published, str):
        return f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")
    return format_count(value) if claim.name == "parameters" else format_loss(value)
