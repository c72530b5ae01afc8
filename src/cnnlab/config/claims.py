"""What documents say of the arms of a study: the document, and its answers in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import Field

from cnnlab.config.corruptions import REFERENCE_SIDE, read_corruption, read_corruptions
from cnnlab.config.recipe import Claim
from cnnlab.errors import Problem, SpecError, did_you_mean
from cnnlab.grammar.calls import parse_call
from cnnlab.grammar.section import Section

# Words that speak of all the other arms.
SUPERLATIVES = ("best", "worst")


class OrdinalClaim(Section):
    """A published word on an arm ("better", "best"): decided by the comparisons of a study.

    `than` is the other arm, by default the baseline; "best" and "worst" speak of all the others.
    """

    name_keys: ClassVar[tuple[str, ...]] = ("than",)

    arm: str
    published: Literal["better", "worse", "equal", "best", "worst"]
    than: str | None = None
    source: str = ""
    data: str | None = None
    note: str = ""


class ShiftClaim(Section):
    """What a document says of networks under a shift: a word, against the images as they are, or an accuracy.

    `shift` is a call, one of the study's; `arm` by default the baseline.
    """

    name_keys: ClassVar[tuple[str, ...]] = ("arm",)

    shift: str
    published: Literal["better", "worse", "equal"] | Annotated[float, Field(ge=0, le=1)]
    arm: str | None = None
    images: Annotated[int, Field(ge=1)] | None = None
    source: str = ""
    data: str | None = None
    note: str = ""


ClaimT = TypeVar("ClaimT", Claim, OrdinalClaim, ShiftClaim)


class ClaimSource(Section):
    """Where a study's published answers stand: what its claims and sayings leave out of source, data and note.

    >>> ClaimSource(source="sapienza-2021", data="cifar10").with_defaults(Claim(published=0.817)).source
    'sapienza-2021'
    """

    source: str
    data: str | None = None
    note: str = ""

    def with_defaults(self, claim: ClaimT) -> ClaimT:
        """The answer with what it does not say itself."""
        return claim.model_copy(update={key: value for key, value in self if not getattr(claim, key)})


def ordinal_claim_problems(claim: OrdinalClaim, baseline: str | None, key: str) -> Iterator[Problem]:
    """The problems that keep an ordinal claim from a verdict, though the study has its arms."""
    if claim.published in SUPERLATIVES:
        if claim.than is not None:
            what = f"'{claim.published}' speaks of all the other arms"
            yield Problem(what, f"{key}.than", claim.than, next_step="leave `than` out, or write better or worse")
        return
    than = claim.than or baseline
    if than is None:
        step = "name the other arm: than = …"
        yield Problem("it is not said than which arm", f"{key}.than", next_step=step)
    elif than == claim.arm:
        step = "name another one: than = …"
        yield Problem("an arm is not compared with itself", f"{key}.than", than, next_step=step)


def shift_claim_problems(
    claims: Iterable[ShiftClaim], shifts: Sequence[str], arms: Sequence[str], baseline: str | None
) -> Iterator[Problem]:
    """The problems that keep claims under a shift from a verdict: an arm or a shift that the study does not have."""
    calls = [parse_call(text) for text in shifts]
    # A name stands for strengths that depend on the size of the images.
    names = {call.name for call in calls if not call.positional and not call.named}
    known = [str(shift.as_call()) for shift in read_corruptions(shifts, REFERENCE_SIDE, REFERENCE_SIDE, 3)]
    for number, answer in enumerate(claims):
        place, arm = f"under[{number}]", answer.arm or baseline
        if arm is None:
            yield Problem("it is not said of which arm", f"{place}.arm", next_step="name it: arm = …")
        elif arm not in arms:
            yield Problem("the study has no such arm", f"{place}.arm", arm, ", ".join(arms), did_you_mean(arm, arms))
        try:
            shift = read_corruption(answer.shift)
        except SpecError as error:
            yield from (problem.with_prefix(f"{place}.shift") for problem in error.problems)
            continue
        call = str(shift.as_call())
        if call not in known and shift.kind not in names:
            step = did_you_mean(call, known) or "add it to the study's shifts"
            what = "the study does not test under this shift"
            yield Problem(what, f"{place}.shift", call, ", ".join(known) or "shifts = [...]", step)
