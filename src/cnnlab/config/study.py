"""A study, which compares arms of a base recipe over several seeds; as a TOML file or from Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from cnnlab.config.arms import (
    RECIPE_KEY,
    Arm,
    Changes,
    Sweep,
    apply_changes,
    base_recipe,
    changes_to_tables,
    check_arm_names,
    error_prefix,
    flatten_keys,
    format_override,
    unknown_arm,
)
from cnnlab.config.claims import (
    Claim,
    ClaimSource,
    claim_location,
    read_claims,
    read_stored_claims,
    study_claim_problems,
)
from cnnlab.config.corruptions import read_corruptions
from cnnlab.config.question import Fraction, Question, expect_table
from cnnlab.config.recipe import Recipe
from cnnlab.errors import SpecError, comma_separated
from cnnlab.grammar.validation_errors import value_error

# Overrides that shorten a study: published claims are then compared, without a verdict.
SHORTENING_KEYS = ("train.epochs", "train.budget", "data.limit", "data.per_class")
MAX_SEEDS = 1_000
MAX_ARMS = 200
# Seeds of the second stage begin here, so that they stay fresh when the first stage gets more.
FIRST_FRESH_SEED = 1_000_000
ALLOWED_SEEDS = f"how many, from 1 to {MAX_SEEDS:,}, or a list of seeds below {FIRST_FRESH_SEED:,}, each once"


class Study(Question):
    """A comparison of arms of a base recipe over several seeds.

    >>> base = Recipe.from_tables({"data": {"source": "shapes"}, "model": {"layers": ["flatten", "dense(classes)"]}})
    >>> study = Study(base=base, arms={"plain": {}, "slow": {"train.optimizer": "adam(lr=1e-4)"}}, seeds=5)
    >>> [arm.name for arm in study.list_arms()], study.baseline
    (['plain', 'slow'], 'plain')
    """

    kind: ClassVar[str] = "study"
    name_keys: ClassVar[tuple[str, ...]] = ("baseline",)
    extra_keys: ClassVar[tuple[str, ...]] = ("set",)
    renamed_keys: ClassVar[Mapping[str, str]] = {"doses": "sweep", "says": "[[claims]]", "under": "[[claims]]"}

    seeds: tuple[int, ...] = tuple(range(5))
    baseline_seeds: tuple[int, ...] | None = None
    baseline: str | None = None
    confirm: Annotated[int, Field(ge=2, le=MAX_SEEDS)] | None = None
    test: Literal["sealed", "after"] = "sealed"
    arms: dict[str, dict[str, Any]] = Field(default={})
    grid: dict[str, tuple[Any, ...]] = Field(default={})
    sweep: Sweep | None = None
    claims: tuple[Claim, ...] = ()
    shifts: tuple[str, ...] = ()
    shift_difference: Fraction | None = None
    document: ClaimSource | None = None
    shortened: tuple[str, ...] = ()

    @field_validator("arms")
    @classmethod
    def _parse_recipes(cls, value: dict[str, Changes]) -> dict[str, Changes]:
        """Parse recipes of arms, which may be given as tables."""
        return {
            name: {
                key: Recipe.from_tables(item) if key == RECIPE_KEY and isinstance(item, dict) else item
                for key, item in flatten_keys(changes).items()
            }
            for name, changes in value.items()
        }

    @field_validator("seeds", "baseline_seeds", mode="before")
    @classmethod
    def _as_seeds(cls, value: Any) -> Any:
        if value is None or isinstance(value, tuple):
            return value
        if isinstance(value, list | range):
            return tuple(value)
        if type(value) is not int or not 1 <= value <= MAX_SEEDS:
            raise value_error(ALLOWED_SEEDS)
        return tuple(range(value))

    @field_validator("seeds", "baseline_seeds")
    @classmethod
    def _check_seeds(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        fits = value is None or (
            1 <= len(value) <= MAX_SEEDS
            and len(set(value)) == len(value)
            and all(0 <= seed < FIRST_FRESH_SEED for seed in value)
        )
        if not fits:
            raise value_error(ALLOWED_SEEDS)
        return value

    @field_validator("grid", "shifts", "shortened", mode="before")
    @classmethod
    def _as_tuples(cls, value: Any) -> Any:
        if isinstance(value, dict):
            keys = flatten_keys(value).items()
            return {key: tuple(values) if isinstance(values, list) else values for key, values in keys}
        return tuple(value) if isinstance(value, list) else value

    @field_validator("shifts")
    @classmethod
    def _known_shifts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        read_corruptions(value)
        return value

    @field_validator("claims", mode="before")
    @classmethod
    def _as_claims(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise value_error('a list: [[claims]] with arm = …, published = { test_accuracy = 0.71 } or "better"')
        return read_claims(value)

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        given = [name for name in ("arms", "grid", "sweep") if getattr(self, name)]
        if len(given) != 1:
            what = "a study compares arms, and none are given" if not given else "a study has one kind of arms"
            step = 'write [arms] with a table for each: plain = {} and flip = { "data.augment" = ["flip(0.5)"] }'
            raise SpecError(what, received=", ".join(given), allowed="[arms], [grid] or [sweep]", next_step=step)
        number = (
            prod(map(len, self.grid.values())) if self.grid else len(self.sweep.values if self.sweep else self.arms)
        )
        if not 2 <= number <= MAX_ARMS:
            what, allowed = "these are not arms to compare", f"from 2 to {MAX_ARMS} arms"
            raise SpecError(what, where=given[0], received=f"{number:,}", allowed=allowed)
        arms = tuple(self._build_arms())
        check_arm_names(given[0], [arm.name for arm in arms])
        object.__setattr__(self, "_arms", arms)
        object.__setattr__(self, "baseline", self._baseline_name())
        self._set_default_difference()
        self._check_claims()
        self._apply_claim_source()
        return self

    @classmethod
    def _upgraded(cls, tables: Mapping[str, Any]) -> dict[str, Any]:
        claims = {"claims": read_stored_claims(tables)}
        kept = {key: value for key, value in tables.items() if key not in ("says", "under")}
        return {"sweep" if key == "doses" else key: value for key, value in kept.items()} | claims

    @classmethod
    def _complete_tables(
        cls, tables: dict[str, Any], path: Path, shared: Changes, overrides: Mapping[str, Any]
    ) -> dict[str, Any]:
        for name, arm in expect_table(tables.get("arms", {}), "arms").items():
            if isinstance(arm, dict) and RECIPE_KEY in arm:
                arm[RECIPE_KEY] = base_recipe(path, arm[RECIPE_KEY], shared, f"arms.{name}.{RECIPE_KEY}")
        if shortened := [key for key in SHORTENING_KEYS if key in overrides]:
            tables["shortened"] = shortened
        return tables

    def to_tables(self) -> dict[str, Any]:
        """All keys as TOML can hold them, the tables of all recipes included."""
        return {
            **super().to_tables(),
            "arms": {name: changes_to_tables(changes) for name, changes in self.arms.items()},
            "claims": [claim.model_dump(exclude_defaults=True) for claim in self.claims],
        }

    def list_arms(self) -> tuple[Arm, ...]:
        """The arms in the order of the file; those of a grid are named by their changes."""
        arms: tuple[Arm, ...] = self._arms  # type: ignore[attr-defined]
        return arms

    def _build_arms(self) -> Iterator[Arm]:
        for name, changes, value in self._changes():
            with error_prefix(f"arms.{name}" if self.arms else "grid" if self.grid else "sweep"):
                recipe = apply_changes(self.base, changes)
            yield Arm(name, recipe, changes, value)

    def _changes(self) -> Iterator[tuple[str, Changes, float | None]]:
        if self.sweep is not None:
            yield from ((f"{value:g}", {self.sweep.key: value}, value) for value in self.sweep.values)
        elif self.grid:
            names = [key.rpartition(".")[2] for key in self.grid]
            names = names if len(set(names)) == len(names) else list(self.grid)
            for values in product(*self.grid.values()):
                name = ", ".join(format_override(key, value) for key, value in zip(names, values, strict=True))
                yield name, dict(zip(self.grid, values, strict=True)), None
        else:
            yield from ((name, changes, None) for name, changes in self.arms.items())

    def _baseline_name(self) -> str | None:
        """The baseline's name; None for a sweep that confirms nothing."""
        arms = self.list_arms()
        names = [arm.name for arm in arms]
        if self.baseline is None:
            plain = [arm.name for arm in arms if not arm.changes]
            if len(plain) == 1:
                return plain[0]
            if self.sweep is not None and self.confirm is None and self.baseline_seeds is None:
                return None
            step = f'name the arm that the others are compared with: baseline = "{names[0]}"'
            raise SpecError(
                "the baseline is not named", where="baseline", allowed=comma_separated(names), next_step=step
            )
        if self.baseline not in names:
            raise SpecError(unknown_arm(self.baseline, "baseline", names))
        return self.baseline

    def _check_claims(self) -> None:
        names = [arm.name for arm in self.list_arms()]
        problems = [
            unknown_arm(name, f"{claim_location(claim, self.baseline)}.{key}", names)
            for claim in self.claims
            for key, name in (("arm", claim.arm), ("than", claim.than))
            if name is not None and name not in names
        ]
        problems += study_claim_problems(self.claims, self.baseline, self.shifts)
        if problems:
            raise SpecError.from_problems(problems)

    def _apply_claim_source(self) -> None:
        """Fill in what the document says of all its claims."""
        if self.document is not None:
            object.__setattr__(self, "claims", tuple(map(self.document.with_defaults, self.claims)))
