"""The recipe: one experiment, as a TOML file or as Python objects."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import ConfigDict, Field, field_validator, model_validator

from cnnlab.architecture.warnings import check_warning_names
from cnnlab.config.backbones import cache_policies
from cnnlab.config.claims import Claim, recipe_claim_problems
from cnnlab.config.image_changes import augmentations, mixing
from cnnlab.config.losses import losses
from cnnlab.config.model import Interpolation, Model
from cnnlab.config.optimizers import NoAveraging, averaging, optimizers
from cnnlab.config.schedules import schedules
from cnnlab.config.stopping import Metric, budgets, stopping_rules
from cnnlab.errors import Problem, SpecError
from cnnlab.grammar.arguments import Count, Size
from cnnlab.grammar.section import Section
from cnnlab.grammar.toml_files import expect_kind, locate_in_file, override, parse_toml, read_tables
from cnnlab.grammar.validation_errors import value_error

UnitFraction = Annotated[float, Field(ge=0, lt=1)]

Factor = Annotated[float, Field(gt=0)]


class Data(Section):
    """The data; `split_seed` makes the split the same for every training seed, by default the training seed is used."""

    source: Annotated[str, Field(min_length=1)] = Field(
        description='write source = "cifar10", or the path of a folder or archive of images'
    )
    validation: UnitFraction = 0.1
    test: UnitFraction | None = None
    size: Size | None = None
    channels: Literal[1, 3] | None = None
    classes: tuple[str, ...] | None = None
    per_class: Count | None = None
    limit: Count | None = None
    split_seed: Annotated[int, Field(ge=0)] | None = None
    normalize: Any = None
    interpolation: Interpolation = "bilinear"
    fit: Literal["stretch", "crop"] = "stretch"
    augment: tuple[Annotated[Any, augmentations], ...] = ()

    @field_validator("classes", "augment", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("classes")
    @classmethod
    def _at_least_two(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and (len(value) < 2 or len(set(value)) < len(value)):
            raise value_error("two class names or more, each once")
        return value

    @field_validator("normalize")
    @classmethod
    def _check_normalize(cls, value: Any) -> Any:
        """Accept "data", "weights", or [[mean, …], [std, …]] with one number per channel."""
        if value in (None, "data", "weights"):
            return value
        try:
            mean, std = ([_finite(number) for number in numbers] for numbers in value)
        except (TypeError, ValueError):
            mean, std = [], []
        if len(mean) not in (1, 3) or len(std) != len(mean) or not all(number > 0 for number in std):
            raise value_error(
                "'data', 'weights', or [[mean, …], [std, …]]: one number a channel, of pixels from 0 to 1, "
                "each std above 0"
            )
        return (tuple(mean), tuple(std))


class Train(Section):
    """The training: how, which weights are selected, and when the test set is opened."""

    epochs: Count = 10
    batch_size: Count = 64
    optimizer: Annotated[Any, optimizers] = "adam(lr=1e-3)"
    schedule: Annotated[Any, schedules] = "constant"
    loss: Annotated[Any, losses] = "cross_entropy"
    sampling: Literal["uniform", "balanced"] = "uniform"
    mix: Annotated[Any, mixing] = "none"
    accumulate: Annotated[int, Field(ge=1, le=10_000)] = 1
    clip: Factor | None = None
    decay: Literal["all", "weights"] = "all"
    rates: dict[str, Factor] = Field(default={})
    rate_by_depth: Factor = 1.0
    stop: Annotated[Any, stopping_rules] = "never"
    budget: Annotated[Any, budgets] = "none"
    average: Annotated[Any, averaging] = "never"
    weights: Literal["best", "last", "averaged"] = "best"
    choose: Metric = "accuracy"
    validations_per_epoch: Annotated[int, Field(ge=1, le=1000)] = 1
    test: Literal["end", "sealed", "curve"] = "end"
    predictions: Literal["held-out", "all"] = "held-out"
    cache: Annotated[Any, cache_policies] = "auto"
    seed: Annotated[int, Field(ge=0)] = 0
    sync_batchnorm: bool = True
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"

    model_config = ConfigDict(**Section.model_config, validate_default=True)

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        problems: list[Problem] = []
        averaged = not isinstance(self.average, NoAveraging)
        if averaged and self.weights != "averaged":
            what = f"an average is kept, and the {self.weights} weights are reported"
            step = 'set weights = "averaged", or average = "never"'
            problems.append(Problem(what, "average", str(averaging.to_call(self.average)), next_step=step))
        if not averaged and self.weights == "averaged":
            step = 'set average = "ema" or "swa"'
            problems.append(Problem("no average is kept", "weights", '"averaged"', next_step=step))
        if self.schedule.kind == "warmup" and self.schedule.epochs > self.epochs:
            what = f"the warm-up takes {self.schedule.epochs:g} epochs, and the training {self.epochs}"
            step = "take fewer epochs of warm-up, or more of training"
            problems.append(Problem(what, "schedule", allowed=f"up to {self.epochs}", next_step=step))
        if problems:
            raise SpecError.from_problems(problems)
        return self


class Warnings(Section):
    """The warnings that are switched off, by name."""

    off: tuple[str, ...] = ()

    @field_validator("off", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        if isinstance(value, str):  # a single name, as from --set
            return (value,)
        return tuple(value) if isinstance(value, list) else value

    @field_validator("off")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return check_warning_names(value)


class Recipe(Section):
    """One experiment.

    >>> recipe = Recipe(data=Data(source="shapes"), model=Model(layers=["flatten", "dense(classes)"]))
    >>> Recipe.from_toml(recipe.to_toml()) == recipe
    True
    """

    data: Data = Field(description='write [data] and below it source = "cifar10", or the path of a folder of images')
    model: Model = Field(description='write [model] and below it layers = ["conv(32, 5)", "relu", …]')
    train: Train = Train()
    warnings: Warnings = Warnings()
    claims: dict[str, Claim] = Field(default={})

    @field_validator("claims", mode="before")
    @classmethod
    def _expand_numbers(cls, value: Any) -> Any:
        """A plain number is short for `{ published = number }`; "none" takes the claim of a base away."""
        if not isinstance(value, dict):
            return value
        tables = (dict, Claim)
        kept = {name: claim for name, claim in value.items() if claim != "none"}
        return {name: claim if isinstance(claim, tables) else {"published": claim} for name, claim in kept.items()}

    @field_validator("claims")
    @classmethod
    def _known_claims(cls, value: dict[str, Claim]) -> dict[str, Claim]:
        if problems := list(recipe_claim_problems(value)):
            raise SpecError.from_problems(problems)
        return value

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        if self.data.normalize == "weights" and self.model.backbone is None:
            what, step = "there is no backbone to normalise images for", 'write "data", or name a backbone'
            raise SpecError(what, where="data.normalize", next_step=step)
        return self

    @classmethod
    def read(cls, path: str | Path, overrides: Mapping[str, Any] | None = None) -> Self:
        """Read a recipe from a file; with `base = "other.toml"` it holds only the differences from that recipe.

        Args:
            overrides: values by dotted key, as from `--set`: {"train.epochs": 3}.

        Raises:
            SpecError: the file can't be read or has mistakes; all are reported, each with file and key.
        """
        tables = read_tables(Path(path))
        try:
            expect_kind("recipe", tables)
            for key, value in (overrides or {}).items():
                override(tables, key, value)
            return cls.from_tables(tables)
        except SpecError as error:
            raise locate_in_file(error, path) from None

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read a recipe from TOML; errors as in `read`."""
        return cls.from_tables(parse_toml(text))

    @classmethod
    def from_tables(cls, tables: Mapping[str, Any]) -> Self:
        """Read a recipe from nested dictionaries; errors as in `read`."""
        return cls(**tables)

    def to_tables(self) -> dict[str, Any]:
        """Return nested dictionaries for `from_tables`; only [claims] leaves out keys with their default."""
        tables = self.model_dump(mode="json", exclude_none=True)
        for key in ("cut", "head", "trainable") if self.model.backbone is None else ("layers",):
            del tables["model"][key]  # of what this network is not
        tables["claims"] = {name: claim.model_dump(exclude_defaults=True) for name, claim in self.claims.items()}
        return {name: table for name, table in tables.items() if table}

    def to_toml(self) -> str:
        """Return the whole recipe as TOML with its defaults, as run folders store it."""
        return tomli_w.dumps(self.to_tables(), multiline_strings=False)

    def write(self, path: str | Path) -> None:
        """Write the recipe to a file."""
        Path(path).write_text(self.to_toml(), encoding="utf-8")


def _finite(number: Any) -> float:
    if isinstance(number, str | bool) or not math.isfinite(number):
        raise ValueError
    return float(number)
