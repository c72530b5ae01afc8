"""The [model] section of a recipe: a table of layers, or a backbone with a head."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, field_validator, model_validator

from cnnlab.architecture.layer import Shape
from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.layers import LayerRow
from cnnlab.architecture.trace import Trace, trace
from cnnlab.config.backbones import Backbone, format_backbone, read_backbone, trainable_choices
from cnnlab.errors import Problem, SpecError
from cnnlab.grammar.arguments import Resize
from cnnlab.grammar.section import PlainValue, Section
from cnnlab.render.formatting import format_shape

Init = Literal["default", "xavier", "kaiming", "orthogonal", "dirac"]
Interpolation: TypeAlias = Literal["nearest", "bilinear", "bicubic"]
# Features that are maps become one number a channel, unless the head says otherwise.
POOLED_HEAD = ("globalpool", "dense(classes)")
DENSE_HEAD = ("dense(classes)",)

_ALL = trainable_choices.read("all")

if TYPE_CHECKING:
    _Backbone: TypeAlias = Backbone | None
else:
    _Backbone = Annotated[Any, BeforeValidator(read_backbone), PlainSerializer(format_backbone, return_type=str)] | None


class Model(Section):
    """The network: a table of layers, or a backbone with a head; the values of its names, and the initialization.

    `cut` names the backbone's layer whose output are the features. `resize` is the size to which images are brought in
    front of it, on the device: that of its weights by default, and "own" leaves them as they are.
    """

    model_config = ConfigDict(**Section.model_config, validate_default=True)

    layers: tuple[str, ...] = ()
    backbone: _Backbone = None
    cut: str = ""
    head: tuple[str, ...] = ()
    trainable: Annotated[Any, trainable_choices] = "all"
    resize: Resize | None = None
    interpolation: Interpolation | None = None
    values: dict[str, PlainValue] = Field(default={})
    init: Init = "default"

    @field_validator("layers", "head", mode="before")
    @classmethod
    def _as_texts(cls, value: Any) -> Any:
        """From Python a row may be a layer object; it is kept as its text. "none" takes a base's table away."""
        if value == "none":
            return ()
        if not isinstance(value, list | tuple):
            return value
        return tuple(str(LayerRow(item) if hasattr(item, "parameter_shapes") else item) for item in value)

    @field_validator("backbone", mode="before")
    @classmethod
    def _no_backbone(cls, value: Any) -> Any:
        """ "none" takes a base's backbone away."""
        return None if value == "none" else value

    @field_validator("cut", mode="before")
    @classmethod
    def _no_cut(cls, value: Any) -> Any:
        return "" if value == "none" else value

    @model_validator(mode="after")
    def _check_readable(self) -> Self:
        if self.backbone is None:
            self._check_table()
            return self
        problems = []
        if self.layers:
            step = 'leave one of them out; layers = "none" undoes what a base says'
            problems.append(Problem("a network is a table of layers or a backbone, not both", "layers", next_step=step))
        if self.cut and self.backbone.cut:
            problems.append(Problem("the cut is given twice", "cut", self.cut, next_step="leave one of them out"))
        try:
            read_table(self.head or DENSE_HEAD, self.values, classes=10)
        except SpecError as error:
            problems += [_head_problem(problem) for problem in error.problems]
        if problems:
            raise SpecError.from_problems(problems)
        return self

    @property
    def features(self) -> str:
        """The backbone's layer whose output are the features; empty: what goes into its last layer with weights."""
        return self.cut or (self.backbone.cut if self.backbone is not None else "")

    def trace(self, shape: Shape, classes: int) -> Trace:
        """The table followed from an image of this shape to the classes; only of a recipe without a backbone.

        Raises:
            SpecError: layers that don't fit together; `where` begins with `model`.
        """
        return _trace_rows(self.layers, self, shape, classes, head=False)

    def trace_head(self, features: Shape, classes: int) -> Trace:
        """The head followed from the backbone's features to the classes; errors as `trace`."""
        if len(features) not in (1, 3) and not self.head:
            raise SpecError(
                f"the features are {format_shape(features)} numbers, neither maps nor a vector: "
                "such want a head of their own",
                where="model.cut",
                received=self.features or "the backbone's end",
                allowed="a layer that gives channels×height×width or one row of numbers",
                next_step='cut at another layer, or write a head that begins with "flatten"',
            )
        rows = self.head or (POOLED_HEAD if len(features) == 3 else DENSE_HEAD)
        return _trace_rows(rows, self, features, classes, head=True)

    def _check_table(self) -> None:
        plain = Model.model_fields
        only = ("cut", "head", "trainable", "resize", "interpolation")
        # A table takes images in their own size, so that this may stand where a base has a backbone.
        given = [key for key in only if getattr(self, key) not in (plain[key].default, _ALL, "own")]
        if given:
            what = f"'{given[0]}' is of a backbone, and there is none"
            step = "name one, as backbone = \"resnet18(weights='imagenet')\", or leave this key out"
            raise SpecError(what, where=given[0], next_step=step)
        read_table(self.layers, self.values, classes=10)


def _trace_rows(rows: tuple[str, ...], model: Model, shape: Shape, classes: int, *, head: bool) -> Trace:
    try:
        return trace(read_table(rows, model.values, classes), shape, classes)
    except SpecError as error:
        problems = [_head_problem(problem) if head else problem for problem in error.problems]
        raise SpecError.from_problems(problem.with_prefix("model") for problem in problems) from None


def _head_problem(problem: Problem) -> Problem:
    """A table's problem, with the head's key as its location."""
    return replace(problem, where=problem.where.replace("layers", "head", 1))
