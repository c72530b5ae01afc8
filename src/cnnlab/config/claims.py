"""Published claims: what a document says of a recipe or of a study's arms, in a number or a word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeAlias, get_args

from pydantic import AfterValidator, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from cnnlab.config.corruptions import read_corruption, read_corruptions
from cnnlab.config.stopping import Metric, is_fraction
from cnnlab.errors import Problem, SpecError, did_you_mean, read_each
from cnnlab.grammar.arguments import Count
from cnnlab.grammar.section import Section
from cnnlab.grammar.validation_errors import value_error

Word: TypeAlias = Literal["better", "worse", "equal", "best", "worst"]
# Words that compare an arm with all the others.
SUPERLATIVES = ("best", "worst")
_WORDS = "'better', 'worse', 'equal', 'best' or 'worst'"
SPLITS = ("train", "validation", "test")
METRICS = tuple(f"{split}_{metric}" for split in SPLITS for metric in get_args(Metric))
# The epoch of a figure: that with the highest (of a loss, the lowest) one, or the last; by default that of the selected
# weights.
EPOCHS = ("best", "last")
CLAIM_METRICS = (
    "parameters",
    *METRICS,
    *(f"best_validation_{metric}" for metric in get_args(Metric)),  # no epoch is chosen by the test split
    *(f"last_{metric}" for metric in METRICS),
)


class ClaimMetric(NamedTuple):
    """The metric of a claim in its parts; all are empty for `parameters`."""

    epoch: str
    split: str
    metric: str


def parse_claim_metric(name: str) -> ClaimMetric:
    """Split the name of a claim's metric.

    >>> parse_claim_metric("best_validation_loss")
    ClaimMetric(epoch='best', split='validation', metric='loss')
    >>> parse_claim_metric("test_accuracy")
    ClaimMetric(epoch='', split='test', metric='accuracy')
    """
    epoch, _, rest = name.partition("_")
    if epoch not in EPOCHS:
        epoch, rest = "", name
    split, _, metric = rest.partition("_")
    return ClaimMetric(epoch, split, metric) if metric else ClaimMetric("", "", "")


def _published(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """One problem where pydantic would give one for each type."""
    try:
        return check(tuple(value) if isinstance(value, list) else value)
    except ValidationError:
        raise value_error(f"a finite number, a range with the lower number first, or {_WORDS}") from None


def _check_range(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("the lower number comes first")
    return bounds


Range: TypeAlias = Annotated[tuple[float, float], AfterValidator(_check_range)]


class Claim(Section):
    """A published claim: a number, or a word that compares arms; on the images as they are, or under a shift.

    Attributes:
        published: the number; the range that it was published to lie in; or the word: "better", "worse" or "equal"
            (than one other arm, or under a shift than on the images as they are), "best" or "worst" (of all arms).
        metric: what the number is: parameters, or split_metric of the selected weights; "last_" before it means the
            last epoch, and "best_" before a validation metric its best value of all epochs. A recipe has it as the
            claim's key.
        arm: of a study; by default its baseline.
        than: the arm that a word compares with; by default the baseline.
        shift: a call, one of the study's `shifts`. A number is then an accuracy on the test split.
        images: the number of images that a published share was measured on, where known.
        smallest_difference: in the metric's units; the widest interval that can show a number to be reproduced.
        source: where it was published. data: on which data, by default the recipe's.
    """

    name_keys: ClassVar[tuple[str, ...]] = ("arm", "than")

    published: Annotated[float | Range | Word, WrapValidator(_published)] = Field(
        description="write published = 0.71, or whatever was published"
    )
    metric: str | None = None
    arm: str | None = None
    than: str | None = None
    shift: str | None = None
    images: Count | None = None
    smallest_difference: Annotated[float, Field(gt=0)] | None = None
    source: str = ""
    data: str | None = None
    note: str = ""

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest number that it claims."""
        assert not isinstance(self.published, str)
        return self.published if isinstance(self.published, tuple) else (self.published, self.published)

    @property
    def kind(self) -> Literal["numeric", "ordinal", "shift"]:
        """Whether it is a number, a word on an arm, or either under a shift."""
        if self.shift is not None:
            return "shift"
        return "ordinal" if isinstance(self.published, str) else "numeric"


class ClaimSource(Section):
    """The document that a study's claims are from: source, data and note of those that name none.

    >>> ClaimSource(source="sapienza-2021", data="cifar10").with_defaults(Claim(published=0.817)).source
    'sapienza-2021'
    """

    source: str
    data: str | None = None
    note: str = ""

    def with_defaults(self, claim: Claim) -> Claim:
        """The claim with the fields that it leaves out."""
        return claim.model_copy(update={key: value for key, value in self if not getattr(claim, key)})


def read_claims(tables: Sequence[Any]) -> tuple[Claim, ...]:
    """The claims in the tables of `[[claims]]`.

    A table of numbers is short for a claim each: `published = { train_accuracy = 0.8, test_accuracy = 0.7 }`.

    Raises:
        SpecError: a table is no claim; with its number, from 0.
    """

    def read(table: Any) -> list[Claim]:
        return [claim if isinstance(claim, Claim) else Claim(**claim) for claim in _expanded(table)]

    return tuple(claim for claims in read_each(tables, read) for claim in claims)


def read_stored_claims(tables: Mapping[str, Any]) -> list[Any]:
    """The tables of `[[claims]]` in a stored study, which had three keys for them in earlier versions."""
    numbers = tables.get("claims", [])
    if isinstance(numbers, dict):
        numbers = [{"arm": arm, "published": known} for arm, known in numbers.items()]
    return [*numbers, *tables.get("says", ()), *tables.get("under", ())]


def recipe_claim_problems(claims: Mapping[str, Claim]) -> Iterator[Problem]:
    """The problems of a recipe's claims, which are numbers by metric."""
    for name, claim in claims.items():
        if isinstance(claim.published, str) or claim.arm or claim.than or claim.shift or claim.metric:
            step = "write it in a study: [[claims]]"
            yield Problem("a recipe claims numbers, by metric, and has no arms or shifts", name, next_step=step)
        else:
            yield from _number_problems(name, claim, name)


def claim_location(claim: Claim, baseline: str | None) -> str:
    """Where a claim of a study stands, for messages: by its arm and what it says, since a table may hold several."""
    return f"claims[{claim.arm or baseline or '?'}: {claim.metric or claim.shift or claim.published}]"


def study_claim_problems(claims: Sequence[Claim], baseline: str | None, shifts: Sequence[str]) -> Iterator[Problem]:
    """The problems that keep claims from a verdict in a study of these shifts that has the arms that they name."""
    for claim in claims:
        where = claim_location(claim, baseline)
        if claim.arm is None and baseline is None:
            what = "the claim names no arm, and the study has no baseline"
            yield Problem(what, f"{where}.arm", next_step="name the arm: arm = …")
        if claim.kind == "shift":
            yield from _shift_problems(claim, where, shifts)
        elif isinstance(claim.published, str):
            yield from _word_problems(claim, where, baseline)
        elif claim.metric is None:
            step = 'write metric = "test_accuracy"'
            yield Problem("the claim does not name what the number is", f"{where}.metric", next_step=step)
        else:
            yield from _number_problems(claim.metric, claim, f"{where}.metric")


def _expanded(table: Any) -> Iterator[Any]:
    if isinstance(table, dict) and isinstance(table.get("published"), dict):
        for metric, number in table["published"].items():
            own = number if isinstance(number, dict) else {"published": number}
            yield {**table, "metric": metric, **own}
    elif isinstance(table, dict | Claim):
        yield table
    else:
        raise SpecError("this is no claim", received=str(table), allowed="a table with `published`")


def _number_problems(metric: str, claim: Claim, where: str) -> Iterator[Problem]:
    outside = [number for number in claim.bounds if not 0 <= number <= 1]
    if metric not in CLAIM_METRICS:
        splits, metrics = ", ".join(SPLITS), ", ".join(get_args(Metric))
        allowed = (
            f"'parameters', or split_metric: {splits} and one of {metrics}; last_ may stand before it, best_ before "
            "validation"
        )
        yield Problem(f"unknown claim '{metric}'", where, "", allowed, did_you_mean(metric, CLAIM_METRICS))
    elif metric != "parameters" and is_fraction(metric) and outside:
        what, step = f"'{metric}' is a fraction", f"{outside[0] / 100:g} for percents"
        yield Problem(what, where, f"{outside[0]:g}", "from 0 to 1", step)


def _word_problems(claim: Claim, where: str, baseline: str | None) -> Iterator[Problem]:
    where, than = f"{where}.than", claim.than or baseline
    if claim.published in SUPERLATIVES:
        if claim.than is not None:
            what = f"'{claim.published}' compares with all the other arms"
            yield Problem(what, where, claim.than, next_step="leave `than` out, or write better or worse")
    elif than is None or than == (claim.arm or baseline):
        what = "an arm is not compared with itself" if than else "the claim does not name the arm that it compares with"
        yield Problem(what, where, than or "", next_step="name the other arm: than = …")


def _shift_problems(claim: Claim, where: str, shifts: Sequence[str]) -> Iterator[Problem]:
    if claim.than is not None or claim.published in SUPERLATIVES:
        what = "under a shift a network is compared with itself on the images as they are"
        step = "leave `than` out, and write a number, better, worse or equal"
        yield Problem(what, where, claim.than or str(claim.published), next_step=step)
    elif not isinstance(claim.published, str):
        yield from _number_problems("test_accuracy", claim, where)
    try:
        shift = read_corruption(claim.shift or "")
    except SpecError as error:
        yield from (problem.with_prefix(f"{where}.shift") for problem in error.problems)
        return
    known, call = [str(each.as_call()) for each in read_corruptions(shifts)], str(shift.as_call())
    # A name alone stands for strengths that depend on the size of the images.
    if call not in known and shift.kind not in shifts:
        step = did_you_mean(call, known) or "add it to the study's shifts"
        what = "the study does not test under this shift"
        yield Problem(what, f"{where}.shift", call, ", ".join(known) or "shifts = [...]", step)
