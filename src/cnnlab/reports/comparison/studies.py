"""Several studies side by side: the arms that they share, and one figure. No torch."""

from __future__ import annotations

from collections.abc import Iterator

from cnnlab.records import Record
from cnnlab.render.document import Document
from cnnlab.render.formatting import MISSING, format_count, format_loss, pluralize, quote, shorten
from cnnlab.render.plots import to_svg
from cnnlab.render.tables import TextTable
from cnnlab.reports.comparison.view import format_difference
from cnnlab.reports.study import text
from cnnlab.stats.comparison import Judgement
from cnnlab.studies.result import StudyResult

MAX_NAMED = 8


class SharedArm(Record):
    """What one study says of an arm that others have, too.

    `low` and `high` bound the mean at 95 %; `difference` to the study's own baseline has `difference_low` and
    `difference_high`, and the verdict.
    """

    arm: str
    study: str
    n: int
    failures: int
    mean: float | None
    low: float | None
    high: float | None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    verdict: Judgement | None = None


class ComparedStudies(Record):
    """Studies side by side; nothing is judged between them."""

    studies: tuple[StudyResult, ...]
    arms: tuple[SharedArm, ...]
    notes: tuple[str, ...] = ()

    def document(self) -> Document:
        """The arms that they share, a row for each study."""
        metric = text.metric_name(self.studies[0].metric)
        names = [shorten(study.study) for study in self.studies]
        shared = len({one.arm for one in self.arms})
        line = f"{metric}; {pluralize(shared, 'arm')} of more than one study: each difference is to its own baseline."
        heads = ("arm", "study", "#n", "#failed", "#mean", "#95 % interval", "#difference", "#its interval", "verdict")
        rows = (_row(one, self.studies[0].metric) for one in self.arms)
        tables = (("Arms that they share", TextTable.from_rows(heads, rows)),) if self.arms else ()
        return Document(f"Studies {text.join_names(names)}", (line,), tables, self.notes)

    def svg(self) -> str:
        """All arms of all studies, each study in a colour and a shape of its own."""
        from cnnlab.reports.comparison.studies_figure import overlay_figure

        names = text.join_names([study.study for study in self.studies])
        return to_svg(overlay_figure(self.studies), "studies", f"The arms of the studies {names}.", standalone=True)

    def _repr_html_(self) -> str:
        return self.document().to_html(self.svg())


def _notes(results: tuple[StudyResult, ...], shared: list[str]) -> Iterator[str]:
    notes = {
        "data": [result.data for result in results],
        "numbers of images": [format_count(result.images) for result in results],
        "smallest differences of interest": [
            MISSING if result.smallest_difference is None else f"{result.smallest_difference:g}" for result in results
        ],
        "baselines": [result.baseline or "none" for result in results],
        "precision": [result.precision for result in results],
        "devices": [result.device for result in results],
    }
    for what, values in notes.items():
        if len(set(values)) > 1:
            each = ", ".join(f"{result.study}: {value}" for result, value in zip(results, values, strict=True))
            yield f"The studies have different {what}: {each}."
    for name in shared:
        changes = [result.arm(name).changes for result in results if name in arm_names(result)]
        if any(each != changes[0] for each in changes):
            yield f"{quote(name)} is called alike in all, and changes other things of the base."
    for result in results:
        own = [name for name in arm_names(result) if name not in shared]
        if own:
            yield f"Only in {result.study}: {text.join_names(own, MAX_NAMED)}."
        if not result.complete:
            yield f"{result.study} is not complete: runs are missing."
    yield (
        "Arms of two studies are not judged against each other: what else differs between the studies is not known. "
        "A study with all arms answers that."
    )


def _row(arm: SharedArm, metric: str) -> tuple[str, ...]:
    def pair(low: float | None, high: float | None) -> str:
        return MISSING if low is None or high is None else f"{format_loss(low)} to {format_loss(high)}"

    known = arm.difference_low is not None and arm.difference_high is not None
    return (
        shorten(arm.arm, 60),
        shorten(arm.study),
        str(arm.n),
        str(arm.failures),
        MISSING if arm.mean is None else format_loss(arm.mean),
        pair(arm.low, arm.high),
        MISSING if arm.difference is None else format_difference(arm.difference, metric),
        text.format_interval(arm.difference_low or 0.0, arm.difference_high or 0.0, metric) if known else MISSING,
        arm.verdict or MISSING,
    )


def arm_names(result: StudyResult) -> list[str]:
    return [arm.name for arm in result.arms]
