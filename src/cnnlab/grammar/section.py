"""The base class of recipes, studies and searches, and of the tables in them: frozen, with no unknown keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from cnnlab.grammar.validation_errors import spec_error, value_error


def _plain_value(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """Raise one problem, where pydantic would list one for each type."""
    try:
        return check(value)
    except ValidationError:
        raise value_error("a finite number, a text, true or false") from None


PlainValue = Annotated[int | float | bool | str, WrapValidator(_plain_value)]


class Section(BaseModel):
    """A section of a file: frozen, without unknown keys or silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    # Keys whose value is a free name, which may be "none".
    name_keys: ClassVar[tuple[str, ...]] = ()
    # Keys of the file that are not fields.
    extra_keys: ClassVar[tuple[str, ...]] = ()
    # Keys renamed since an earlier version: old name → new name.
    renamed_keys: ClassVar[Mapping[str, str]] = {}

    if not TYPE_CHECKING:  # type checkers know the fields

        def __init__(self, **values: Any) -> None:
            fields = type(self).model_fields
            # "none" for an optional key removes the value of the base.
            optional = {key for key, field in fields.items() if field.default is None and key not in self.name_keys}
            given = {key: value for key, value in values.items() if not (key in optional and value == "none")}
            try:
                super().__init__(**given)
            except ValidationError as error:
                raise spec_error(error, type(self).model_fields, self.extra_keys, self.renamed_keys) from None
