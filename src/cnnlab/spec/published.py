"""What documents say of the arms of a study: the document, and its answers in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal, TypeVar

from cnnlab.errors import Problem
from cnnlab.spec.recipe import Claim
from cnnlab.spec.section import Section

# Words that speak of all the other arms.
AGAINST_ALL = ("best", "worst")


class Saying(Section):
    """What a document says in words of an arm: judged by the comparisons of a study.

    `than` is the other arm, by default the baseline; "best" and "worst" speak of all the others.
    """

    named: ClassVar[tuple[str, ...]] = ("than",)

    arm: str
    published: Literal["better", "worse", "equal", "best", "worst"]
    than: str | None = None
    source: str = ""
    data: str | None = None
    note: str = ""


AnswerT = TypeVar("AnswerT", Claim, Saying)


class Document(Section):
    """Where a study's published answers stand: what its claims and sayings leave out of source, data and note.

    >>> Document(source="sapienza-2021", data="cifar10").fill(Claim(published=0.817)).source
    'sapienza-2021'
    """

    source: str
    data: str | None = None
    note: str = ""

    def fill(self, answer: AnswerT) -> AnswerT:
        """The answer with what it does not say itself."""
        return answer.model_copy(update={key: value for key, value in self if not getattr(answer, key)})


def misread(saying: Saying, baseline: str | None, place: str) -> Iterator[Problem]:
    """What keeps a saying from being judged, though the study has its arms."""
    if saying.published in AGAINST_ALL:
        if saying.than is not None:
            what = f"'{saying.published}' speaks of all the other arms"
            yield Problem(what, f"{place}.than", saying.than, next_step="leave `than` out, or write better or worse")
        return
    than = saying.than or baseline
    if than is None:
        step = "name the other arm: than = …"
        yield Problem("it is not said than which arm", f"{place}.than", next_step=step)
    elif than == saying.arm:
        step = "name another one: than = …"
        yield Problem("an arm is not compared with itself", f"{place}.than", than, next_step=step)
