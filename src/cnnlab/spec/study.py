"""A study: one question, put to arms of a base recipe over several seeds; as a TOML file or from Python."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias, get_args

import tomli_w
from pydantic import ConfigDict, Field, field_validator, model_validator

from cnnlab.errors import Problem, SpecError, listed, nearest
from cnnlab.spec.arms import RECIPE, Arm, Changes, base_recipe, changed, plain_changes, within
from cnnlab.spec.changes import as_setting
from cnnlab.spec.choices import Metric
from cnnlab.spec.files import in_file, parse_toml, read_text
from cnnlab.spec.limits import budgets
from cnnlab.spec.problems import refuse, shown
from cnnlab.spec.recipe import Claim, Recipe, Section

if TYPE_CHECKING:
    _Budget: TypeAlias = Any
else:
    _Budget = budgets.choice()

# Words that speak of all the other arms.
AGAINST_ALL = ("best", "worst")
MOST_SEEDS = 1_000
MOST_ARMS = 200
# Seeds of the second stage begin here, so that they stay fresh when the first stage gets more.
FRESH_SEEDS = 1_000_000
METRICS = tuple(f"{part}_{metric}" for part in ("validation", "train") for metric in get_args(Metric))
Fraction = Annotated[float, Field(gt=0, lt=1)]


class Doses(Section):
    """One key over a list of values, in rising order: a dose curve."""

    key: str
    values: tuple[int | float, ...]

    @field_validator("values", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("values")
    @classmethod
    def _rising(cls, value: tuple[int | float, ...]) -> tuple[int | float, ...]:
        if len(value) < 2 or any(first >= second for first, second in pairwise(value)):
            raise refuse("two numbers or more, each above the one before it")
        return value


class Saying(Section):
    """What a document says in words of an arm: judged by the comparisons of a study.

    `than` is the other arm, by default the baseline; "best" and "worst" speak of all the others.
    """

    arm: str
    published: Literal["better", "worse", "equal", "best", "worst"]
    than: str | None = None
    source: str = ""
    data: str | None = None
    note: str = ""


class Study(Section):
    """One question, put to arms of a base recipe over several seeds.

    >>> base = Recipe.from_tables({"data": {"source": "shapes"}, "model": {"layers": ["flatten", "dense(classes)"]}})
    >>> study = Study(base=base, arms={"plain": {}, "slow": {"train.optimizer": "adam(lr=1e-4)"}}, seeds=5)
    >>> [arm.name for arm in study.list_arms()], study.baseline
    (['plain', 'slow'], 'plain')
    """

    model_config = ConfigDict(**Section.model_config, validate_default=True)

    base: Recipe
    question: str = ""
    seeds: tuple[int, ...] = tuple(range(5))
    baseline_seeds: tuple[int, ...] | None = None
    metric: str = "validation_accuracy"
    smallest_difference: Fraction = 0.002
    alpha: Fraction = 0.05
    baseline: str | None = None
    vary_split: bool = False
    confirm: Annotated[int, Field(ge=2, le=MOST_SEEDS)] | None = None
    budget: _Budget = "none"
    arms: dict[str, dict[str, Any]] = Field(default={})
    grid: dict[str, tuple[Any, ...]] = Field(default={})
    doses: Doses | None = None
    claims: dict[str, dict[str, Claim]] = Field(default={})
    says: tuple[Saying, ...] = ()

    @field_validator("base", mode="before")
    @classmethod
    def _as_recipe(cls, value: Any) -> Any:
        return Recipe.from_tables(value) if isinstance(value, dict) else value

    @field_validator("arms")
    @classmethod
    def _recipes(cls, value: dict[str, Changes]) -> dict[str, Changes]:
        """An arm may start from a recipe of its own, given as its tables."""
        return {
            name: {
                key: Recipe.from_tables(item) if key == RECIPE and isinstance(item, dict) else item
                for key, item in changes.items()
            }
            for name, changes in value.items()
        }

    @field_validator("seeds", "baseline_seeds", mode="before")
    @classmethod
    def _as_seeds(cls, value: Any) -> Any:
        if type(value) is int and 1 <= value <= MOST_SEEDS:
            return tuple(range(value))
        return tuple(value) if isinstance(value, list) else value

    @field_validator("seeds", "baseline_seeds")
    @classmethod
    def _each_once(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        fits = value is None or (
            1 <= len(value) <= MOST_SEEDS
            and len(set(value)) == len(value)
            and all(0 <= seed < FRESH_SEEDS for seed in value)
        )
        if not fits:
            raise refuse(f"how many, from 1 to {MOST_SEEDS:,}, or a list of seeds below {FRESH_SEEDS:,}, each once")
        return value

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, value: str) -> str:
        if value not in METRICS:
            sealed = " (the test set is sealed: `confirm` opens it for the winner)" if value.startswith("test") else ""
            raise refuse(f"{listed(METRICS)}{sealed}")
        return value

    @field_validator("grid", "says", mode="before")
    @classmethod
    def _as_tuples(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: tuple(values) if isinstance(values, list) else values for key, values in value.items()}
        return tuple(value) if isinstance(value, list) else value

    @field_validator("claims", mode="before")
    @classmethod
    def _plain_figures(cls, value: Any) -> Any:
        """A plain number is short for `{ published = number }`."""
        if not isinstance(value, dict):
            return value
        plain = (int, float)
        return {
            arm: {name: {"published": claim} if isinstance(claim, plain) else claim for name, claim in claims.items()}
            if isinstance(claims, dict)
            else claims
            for arm, claims in value.items()
        }

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        given = [name for name in ("arms", "grid", "doses") if getattr(self, name)]
        if len(given) != 1:
            what = "a study compares arms, and none are given" if not given else "a study has one kind of arms"
            step = 'write [arms] with a table for each: plain = {} and flip = { "data.augment" = ["flip(0.5)"] }'
            raise SpecError(what, received=", ".join(given), allowed="[arms], [grid] or [doses]", next_step=step)
        arms = list(self._made_arms())
        if len(arms) < 2 or len(arms) > MOST_ARMS:
            where = given[0]
            raise SpecError(
                "these are not arms to compare",
                where=where,
                received=f"{len(arms)}",
                allowed=f"from 2 to {MOST_ARMS} arms",
            )
        object.__setattr__(self, "_arms", tuple(arms))
        if self.doses is None:
            object.__setattr__(self, "baseline", self._known_baseline(arms))
        self._check_names({arm.name for arm in arms})
        return self

    @classmethod
    def read(cls, path: str | Path, overrides: Mapping[str, Any] | None = None, **keys: Any) -> Self:
        """The study in a file; its base and the recipes of its arms are seen from there, then from cnnlab's own.

        Args:
            overrides: values of every arm's recipe by dotted key, as `--set` gives them: {"train.epochs": 3}.
            keys: keys of the study itself that replace those of the file: seeds=3.

        Raises:
            SpecError: the file can't be read or has mistakes; all are reported, each with file and key.
        """
        path = Path(path)
        try:
            tables = parse_toml(read_text(path)) | keys
            shared = {**_table(tables.pop("set", {}), "set"), **(overrides or {})}
            tables["base"] = base_recipe(path, tables.get("base"), shared)
            for name, arm in _table(tables.get("arms", {}), "arms").items():
                if isinstance(arm, dict) and isinstance(arm.get(RECIPE), str):
                    arm[RECIPE] = base_recipe(path, arm[RECIPE], shared, f"arms.{name}.{RECIPE}")
            return cls.from_tables(tables)
        except SpecError as error:
            raise error if _is_located(error, path) else in_file(error, path) from None

    @classmethod
    def from_tables(cls, tables: Mapping[str, Any]) -> Self:
        """The study in nested dictionaries, as TOML gives them; `base` is a recipe or its tables; errors as `read`."""
        return cls(**tables)

    def to_toml(self) -> str:
        """The whole study as TOML, its base's tables included: what a study's folder keeps."""
        tables = self.model_dump(mode="json", exclude_none=True)
        tables["base"] = self.base.to_tables()
        tables["arms"] = {name: plain_changes(changes) for name, changes in self.arms.items()}
        tables["claims"] = {
            arm: {name: claim.model_dump(exclude_defaults=True) for name, claim in claims.items()}
            for arm, claims in self.claims.items()
        }
        return tomli_w.dumps({key: value for key, value in tables.items() if value not in ({}, [], "")})

    def list_arms(self) -> tuple[Arm, ...]:
        """The arms in the order of the file; those of a grid are named by what they change."""
        arms: tuple[Arm, ...] = self._arms  # type: ignore[attr-defined]
        return arms

    @property
    def part(self) -> str:
        """The part of the data on which the metric is measured."""
        return self.metric.partition("_")[0]

    @property
    def figure(self) -> str:
        """The metric without its part."""
        return self.metric.partition("_")[2]

    @property
    def higher_is_better(self) -> bool:
        return self.figure != "loss"

    def _made_arms(self) -> Iterator[Arm]:
        for name, changes, dose in self._changes():
            with within(f"arms.{name}" if self.arms else "grid" if self.grid else "doses"):
                recipe = changed(self.base, changes)
            yield Arm(name, recipe, changes, dose)

    def _changes(self) -> Iterator[tuple[str, Changes, float | None]]:
        if self.doses is not None:
            yield from ((f"{dose:g}", {self.doses.key: dose}, dose) for dose in self.doses.values)
        elif self.grid:
            for values in product(*self.grid.values()):
                changes = dict(zip(self.grid, values, strict=True))
                yield (
                    ", ".join(as_setting(key.rpartition(".")[2], value) for key, value in changes.items()),
                    changes,
                    None,
                )
        else:
            yield from ((name, changes, None) for name, changes in self.arms.items())

    def _known_baseline(self, arms: list[Arm]) -> str:
        names = [arm.name for arm in arms]
        if self.baseline is None:
            plain = [arm.name for arm in arms if not arm.changes]
            if len(plain) == 1:
                return plain[0]
            step = f'name the arm that the others are compared with: baseline = "{names[0]}"'
            raise SpecError("the baseline is not named", where="baseline", allowed=listed(names), next_step=step)
        if self.baseline not in names:
            raise SpecError(_no_arm(self.baseline, "baseline", names))
        return self.baseline

    def _check_names(self, names: set[str]) -> None:
        """Claims and sayings speak of arms that are there."""
        used = [(f"claims.{arm}", arm) for arm in self.claims]
        for number, saying in enumerate(self.says):
            used += [(f"says[{number}].arm", saying.arm)]
            used += [(f"says[{number}].than", saying.than)] if saying.than is not None else []
        problems = [_no_arm(arm, where, names) for where, arm in used if arm not in names]
        problems += [
            Problem("it is not said than which arm", f"says[{number}].than", "", listed(names), "name the other arm")
            for number, saying in enumerate(self.says)
            if saying.than is None and self.baseline is None and saying.published not in AGAINST_ALL
        ]
        if problems:
            raise SpecError.together(problems)


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SpecError(
            "this is not a table",
            where=where,
            received=shown(value),
            allowed='keys and values, as in "train.epochs" = 5',
        )
    return value


def _no_arm(name: str, where: str, names: Iterable[str]) -> Problem:
    return Problem("the study has no such arm", where, name, listed(names), nearest(name, names))


def _is_located(error: SpecError, path: Path) -> bool:
    return all(str(path.parent) in problem.where and ".toml" in problem.where for problem in error.problems)
