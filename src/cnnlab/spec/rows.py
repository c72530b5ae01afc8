"""The rows of a layer table: a layer, and the name that a person may have given to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnnlab.errors import Problem, SpecError
from cnnlab.spec.calls import Call, parse
from cnnlab.spec.problems import shown
from cnnlab.spec.registry import Registry

if TYPE_CHECKING:
    from cnnlab.spec.layer import Layer


# What every torch module calls its own; a row's name is its module's name.
MODULE_WORDS = frozenset(
    """
    T_destination add_module append apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches
    eval extend extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half insert ipu
    load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters pop
    register_backward_hook register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook
    register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook
    register_module register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
    set_extra_state set_submodule share_memory state_dict to to_empty train training type xpu zero_grad
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Row:
    """One row of a table. `label` is empty where the person gave no name."""

    layer: Layer
    label: str = ""

    def as_call(self) -> Call:
        """The row as a person writes it."""
        from cnnlab.spec.layers import layers

        call = layers.write(self.layer)
        return Call(call.name, call.positional, call.named, self.label)

    def __str__(self) -> str:
        return str(self.as_call())


def read_rows(value: Any, registry: Registry[Layer]) -> tuple[Row, ...]:
    """Rows from texts, calls or rows; every wrong one is reported."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise SpecError("rows are a list of layers", received=shown(value), allowed="[conv(…), relu, …]")
    rows: list[Row] = []
    problems: list[Problem] = []
    for index, item in enumerate(value):
        try:
            rows.append(_read_row(item, registry))
        except SpecError as error:
            problems += [problem.within(f"[{index}]") for problem in error.problems]
    if problems:
        raise SpecError.together(problems)
    return tuple(rows)


def row_names(rows: Sequence[Row], prefix: str, where: str) -> list[str]:
    """The names of a table's rows: a person's labels, and `kind` with a running number for the rest.

    Args:
        prefix: what stands in front of each name: where the table is within another one.
        where: what an error calls the table.

    Raises:
        SpecError: two rows of one name, or a name that a module can't have.
    """
    for index, row in enumerate(rows):
        if row.label in MODULE_WORDS or row.label.startswith("_"):
            what = f"'{row.label}' can't be a row's name: torch's modules use it themselves"
            raise SpecError(what, where=f"{where}[{index}]", received=str(row), next_step="rename it")
    labels = [row.label for row in rows if row.label]
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        places = [index for index, row in enumerate(rows) if row.label == twice[0]]
        raise SpecError(f"two rows have the name '{twice[0]}'", where=f"{where}[{places[1]}]", next_step="rename one")
    counts: Counter[str] = Counter()
    names = []
    for row in rows:
        name = row.label
        while not name or (not row.label and name in labels):
            counts[row.layer.kind] += 1
            name = f"{row.layer.kind}{counts[row.layer.kind]}"
        names.append(prefix + name)
    return names


def _read_row(item: Any, registry: Registry[Layer]) -> Row:
    if isinstance(item, Row):
        return item
    if isinstance(item, str):
        item = parse(item)
    if isinstance(item, Call):
        return Row(registry.read(item), item.label)
    raise SpecError("a row is a layer", received=shown(item), allowed="conv(32, 5), relu, …")
