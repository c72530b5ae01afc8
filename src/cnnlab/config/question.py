"""What a study and a search share: a base recipe, a question, and the metric that judges variants of the base."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, get_args

import tomli_w
from pydantic import ConfigDict, Field, field_validator

from cnnlab.config.arms import Changes, base_recipe, flatten_keys
from cnnlab.config.recipe import Recipe
from cnnlab.config.stopping import Metric, budgets, is_fraction
from cnnlab.errors import SpecError, comma_separated
from cnnlab.grammar.section import Section
from cnnlab.grammar.toml_files import expect_kind, locate_in_file, parse_toml, read_text
from cnnlab.grammar.validation_errors import format_received, value_error
from cnnlab.stats.defaults import ALPHA, METRIC, SMALLEST_DIFFERENCE

if TYPE_CHECKING:
    from cnnlab.stats.comparison import DecisionRules

METRICS = tuple(f"{split}_{metric}" for split in ("validation", "train") for metric in get_args(Metric))
Fraction = Annotated[float, Field(gt=0, lt=1)]


class Question(Section):
    """The fields that a study and a search share, and how their files are read and written."""

    model_config = ConfigDict(**Section.model_config, validate_default=True)
    kind: ClassVar[str]

    base: Recipe
    question: str = ""
    metric: str = METRIC
    smallest_difference: Fraction | None = None
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = ALPHA
    vary_split: bool = False
    budget: Annotated[Any, budgets] = "none"

    @field_validator("base", mode="before")
    @classmethod
    def _as_recipe(cls, value: Any) -> Any:
        return Recipe.from_tables(value) if isinstance(value, dict) else value

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, value: str) -> str:
        if value not in METRICS:
            sealed = " (the test set is sealed: `confirm` opens it for the winner)" if value.startswith("test") else ""
            raise value_error(f"{comma_separated(METRICS)}{sealed}")
        return value

    @classmethod
    def read(cls, path: str | Path, overrides: Mapping[str, Any] | None = None, **keys: Any) -> Self:
        """Read a file; recipes that it names are looked for beside it, then among those that come with cnnlab.

        Args:
            overrides: values for the base recipe by dotted key, as `--set` gives them: {"train.epochs": 3}. What a
                variant changes itself stays as it is.
            keys: keys of the file itself to replace: seeds=3.

        Raises:
            SpecError: the file can't be read or has mistakes; all are reported, each with file and key.
        """
        return cls._read(Path(path), overrides or {}, keys)

    @classmethod
    def open(cls, given: Self | str | Path, name: str = "") -> tuple[Self, str]:
        """A study or search, read where a path is given, and its name: by default that of the file."""
        if isinstance(given, str | Path):
            return cls.read(given), name or Path(given).stem
        return given, name or cls.kind

    @classmethod
    def _read(cls, path: Path, overrides: Mapping[str, Any], keys: Mapping[str, Any]) -> Self:
        try:
            tables = parse_toml(read_text(path)) | dict(keys)
            if any((path.parent / name).is_file() for name in ("declared.json", "result.json")):
                tables = cls._upgraded(tables)  # an earlier version may have written the copy in a study's folder
            # A search's table of parameters may have the names of a recipe's tables.
            expect_kind(cls.kind, {} if cls.kind in tables else tables)
            shared = {**flatten_keys(expect_table(tables.pop("set", {}), "set")), **overrides}
            tables["base"] = base_recipe(path, tables.get("base"), shared)
            return cls.from_tables(cls._complete_tables(tables, path, shared, overrides))
        except SpecError as error:
            is_located = all(str(path.parent) in each.where and ".toml" in each.where for each in error.problems)
            raise error if is_located else locate_in_file(error, path) from None

    @classmethod
    def _upgraded(cls, tables: Mapping[str, Any]) -> dict[str, Any]:
        """The tables of a stored file with the keys of earlier versions under their names of today."""
        return dict(tables)

    @classmethod
    def _complete_tables(
        cls,
        tables: dict[str, Any],
        path: Path,  # noqa: ARG003
        shared: Changes,  # noqa: ARG003
        overrides: Mapping[str, Any],  # noqa: ARG003
    ) -> dict[str, Any]:
        """The file's tables with what follows from the file's path and the overrides."""
        return tables

    @classmethod
    def from_tables(cls, tables: Mapping[str, Any]) -> Self:
        """Build it from nested dictionaries, as TOML gives them; `base` is a recipe or its tables; errors as `read`."""
        return cls(**tables)

    def to_tables(self) -> dict[str, Any]:
        """All keys as TOML can hold them, the base's tables included."""
        return {**self.model_dump(mode="json", exclude_none=True), "base": self.base.to_tables()}

    def to_toml(self) -> str:
        """The whole file as TOML, the base's tables included: what the folder of a study or search keeps."""
        return tomli_w.dumps({key: value for key, value in self.to_tables().items() if value not in ({}, [], "")})

    @property
    def split(self) -> str:
        """The split on which the metric is measured."""
        return self.metric.partition("_")[0]

    @property
    def split_metric(self) -> str:
        """The metric without its split."""
        return self.metric.partition("_")[2]

    @property
    def higher_is_better(self) -> bool:
        """False for a loss."""
        return is_fraction(self.metric)

    @property
    def rules(self) -> DecisionRules:
        """The rules of the verdicts on two arms."""
        from cnnlab.stats.comparison import DecisionRules  # loads scipy

        accuracy = self.split_metric == "accuracy"
        return DecisionRules(self.smallest_difference, self.alpha, self.higher_is_better, accuracy)

    def _set_default_difference(self) -> None:
        """Accuracies have a smallest difference of interest by default; a loss has none."""
        if self.smallest_difference is None and self.higher_is_better:
            object.__setattr__(self, "smallest_difference", SMALLEST_DIFFERENCE)


def expect_table(value: Any, where: str) -> dict[str, Any]:
    """The value, which must be a table.

    Raises:
        SpecError: it is something else.
    """
    if not isinstance(value, dict):
        allowed = "keys and values, as in train.epochs = 5"
        raise SpecError("this is not a table", where=where, received=format_received(value), allowed=allowed)
    return value
