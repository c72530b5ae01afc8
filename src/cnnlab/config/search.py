"""A search: parameters of a base recipe, their spaces, and the sampler and pruner of trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Annotated, Any, ClassVar, Self, TypeAlias

from pydantic import BeforeValidator, Field, PlainSerializer, field_validator, model_validator

from cnnlab.config.arms import Changes, apply_changes, error_prefix, flatten_keys
from cnnlab.config.question import Question
from cnnlab.config.recipe import Recipe
from cnnlab.config.search_space import (
    CategoricalSpace,
    LogUniformSpace,
    Sampler,
    ScalarValue,
    pruners,
    read_space,
    write_space,
)
from cnnlab.config.study import Study
from cnnlab.errors import Problem, SpecError, comma_separated, did_you_mean
from cnnlab.grammar.calls import Call, Value, bare_words, parse_call, substitute
from cnnlab.grammar.toml_files import parse_toml
from cnnlab.grammar.validation_errors import format_received, value_error

MAX_TRIALS = 10_000
# Keys that choose the evaluation images, and keys that a study sets itself.
FIXED_KEYS = {
    "data.source": "trials are compared on the same images",
    "data.classes": "trials are compared on the same images",
    "data.validation": "trials are compared on the same images",
    "data.test": "trials are compared on the same images",
    "data.split_seed": "trials are compared on the same images; vary_split = true splits them again for each seed",
    "train.seed": "every trial runs with the same seeds: seeds = 3",
    "train.test": "the test set is sealed until the winner is confirmed: confirm = 5",
}
BASELINE = "baseline"
ParameterValues: TypeAlias = dict[str, ScalarValue]
# Called with the name and the space of each parameter that a trial needs; returns a value.
SuggestFn: TypeAlias = Callable[[str, Any], ScalarValue]
Space = Annotated[Any, BeforeValidator(read_space), PlainSerializer(write_space, return_type=str)]


class Search(Question):
    """A search for the best values of some parameters.

    A parameter is a recipe's dotted key, or a name that `use` puts into calls.

    >>> base = Recipe.from_tables({"data": {"source": "shapes"}, "model": {"layers": ["flatten", "dense(classes)"]}})
    >>> search = Search(
    ...     base=base,
    ...     search={"lr": "log(1e-4, 1e-1)", "train.batch_size": [16, 64]},
    ...     use={"train.optimizer": "adam(lr=lr)"},
    ... )
    >>> search.changes({"lr": 0.003, "train.batch_size": 16})
    {'train.batch_size': 16, 'train.optimizer': 'adam(lr=0.003)'}
    """

    kind: ClassVar[str] = "search"

    search: dict[str, Space]
    use: dict[str, Any] = Field(default={})
    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] = 30
    seeds: Annotated[int, Field(ge=1, le=100)] = 1
    sampler: Sampler = "tpe"
    pruner: Annotated[Any, pruners] = "none"
    seed: Annotated[int, Field(ge=0)] = 0
    confirm: Annotated[int, Field(ge=0, le=1_000)] = 5

    @field_validator("search", "use", mode="before")
    @classmethod
    def _dotted(cls, value: Any) -> Any:
        """Flatten keys: in TOML `train.epochs = …` without quotes is a table in a table."""
        return flatten_keys(value) if isinstance(value, dict) else value

    @field_validator("confirm")
    @classmethod
    def _check_confirm(cls, value: int) -> int:
        if value == 1:
            raise value_error("0 for no confirmation, or 2 seeds and more, since one run has no spread")
        return value

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        problems = [*self._key_problems(), *self._use_problems()]
        if not self.search:
            step = '[search] with, for instance, "train.batch_size" = "choice(16, 32, 64)"'
            problems.append(Problem("there is nothing to search", "search", next_step=step))
        if problems:
            raise SpecError.from_problems(problems)
        self._set_default_difference()
        for values in self.boundary_values():
            with error_prefix("search"):
                self.recipe(values)
        return self

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """The search in the text that `to_toml` wrote."""
        return cls.from_tables(parse_toml(text))

    def sample(self, suggest: SuggestFn) -> ParameterValues:
        """Sample values for one trial, of each parameter that it needs, in the order of the file.

        A name that only some options of a choice use is sampled where one of them is chosen.
        """
        values = {key: suggest(key, space) for key, space in self.search.items() if "." in key}
        while missing := [name for name in self._active_names(values) if name not in values]:
            values[missing[0]] = suggest(missing[0], self.search[missing[0]])
        return values

    def changes(self, values: Mapping[str, ScalarValue]) -> Changes:
        """The changes of the base by dotted key, for values of the parameters."""
        filled = {name: self._option(name, value) for name, value in values.items()}
        names = {name: _substitute(value, filled) for name, value in filled.items() if "." not in name}
        changes = {key: _toml_value(_substitute(value, names)) for key, value in filled.items() if "." in key}
        return changes | {key: _toml_value(_substitute(_parse_value(value), names)) for key, value in self.use.items()}

    def recipe(self, values: Mapping[str, ScalarValue]) -> Recipe:
        """The base with these values of the parameters."""
        return apply_changes(self.base, self.changes(values))

    def study(self, arms: Mapping[str, Changes]) -> Study:
        """The base and some trials as the arms of a study with this search's metric."""
        return Study(
            base=self.base,
            question=self.question,
            arms={BASELINE: {}, **arms},
            baseline=BASELINE,
            seeds=tuple(range(self.seeds)),
            baseline_seeds=tuple(range(self.seeds)),
            metric=self.metric,
            smallest_difference=self.smallest_difference,
            alpha=self.alpha,
            vary_split=self.vary_split,
            confirm=self.confirm or None,
        )

    def boundary_values(self) -> Iterator[ParameterValues]:
        """Values to check keys and spaces with: one parameter at a bound, the others at their first value."""
        for name, space in self.search.items():
            for end in space.bounds():
                values = self.sample(lambda other, its, name=name, end=end: end if other == name else its.bounds()[0])  # type: ignore[misc]
                if name in values:
                    yield values

    def grid_values(self) -> Iterator[ParameterValues]:
        """All combinations of the grid; those that differ only in unused names count once."""
        known = []
        for combination in product(*(space.values() for space in self.search.values())):
            whole = dict(zip(self.search, combination, strict=True))
            values = self.sample(lambda name, _, whole=whole: whole[name])  # type: ignore[misc]
            if values not in known:
                known.append(values)
                yield values

    @property
    def num_trials(self) -> int:
        """The number of trials; a grid may have fewer combinations than `trials`."""
        return min(self.trials, sum(1 for _ in self.grid_values())) if self.sampler == "grid" else self.trials

    def is_log(self, name: str) -> bool:
        """Whether a parameter is searched by its logarithm."""
        space = self.search[name]
        return isinstance(space, LogUniformSpace) or bool(getattr(space, "log", False))

    def _active_names(self, values: Mapping[str, ScalarValue]) -> list[str]:
        """The names that `use` and the chosen options contain."""
        chosen = [self._option(name, value) for name, value in values.items()]
        used = _referenced_names((*map(_parse_value, self.use.values()), *chosen))
        return [name for name in self.search if name in used]

    def _option(self, name: str, value: ScalarValue) -> Value:
        space = self.search[name]
        return _parse_value(space.option(value)) if isinstance(space, CategoricalSpace) else value

    def _key_problems(self) -> Iterator[Problem]:
        for key in [*self.search, *self.use]:
            where = f"search.{key}" if key in self.search else f"use.{key}"
            if key in FIXED_KEYS:
                yield Problem("this can't be searched", where, next_step=FIXED_KEYS[key])
            if key in self.search and key in self.use:
                yield Problem("a key is searched or put together from names, not both", where)
        for name, space in self.search.items() if self.sampler == "grid" else ():
            if space.values() is None:
                what = "this space has infinitely many values, which no grid can list"
                step = "list the values: [1e-4, 1e-3, 1e-2]; or take another sampler"
                yield Problem(what, f"search.{name}", write_space(space), "choice, integer, uniform with a step", step)

    def _use_problems(self) -> Iterator[Problem]:
        """Check that each name is used, and that each value of `use` has a name."""
        names = {name for name in self.search if "." not in name}
        options = [each for space in self.search.values() for each in getattr(space, "options", ())]
        used = _referenced_names(tuple(map(_parse_value, (*self.use.values(), *options))))
        for name in sorted(names - used):
            step = f'write it into a call: [use] "train.optimizer" = "adam(lr={name})"; a recipe\'s key has a dot in it'
            hint = did_you_mean(name, [f"train.{key}" for key in type(self.base.train).model_fields])
            yield Problem(f"the name '{name}' is not used", f"search.{name}", next_step=f"{hint} {step}".strip())
        for key, value in self.use.items():
            if not _referenced_names(_parse_value(value)) & names:
                what, step = "no name of [search] stands in this", "write what no trial changes in [set]"
                yield Problem(what, f"use.{key}", format_received(value), comma_separated(names), step)


def _parse_value(value: Any) -> Value:
    """Parse the texts in a value that are calls, so that names are found in them."""
    if isinstance(value, list | tuple):
        return tuple(map(_parse_value, value))
    if not isinstance(value, str):
        return value  # type: ignore[no-any-return]
    try:
        return parse_call(value)
    except SpecError:
        return value


def _referenced_names(value: Value) -> set[str]:
    """The bare words in a value."""
    if isinstance(value, tuple):
        return set().union(*map(_referenced_names, value))
    if not isinstance(value, Call):
        return set()
    return {value.name} if value.is_bare else bare_words(value)


def _substitute(value: Value, names: Mapping[str, Value]) -> Value:
    if isinstance(value, tuple):
        return tuple(_substitute(item, names) for item in value)
    if not isinstance(value, Call):
        return value
    return names[value.name] if value.is_bare and value.name in names else substitute(value, names)


def _toml_value(value: Value) -> Any:
    """A value as a recipe's file has it: calls as texts."""
    if isinstance(value, tuple):
        return [_toml_value(item) for item in value]
    return str(value) if isinstance(value, Call) else value
