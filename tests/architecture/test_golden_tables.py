"""The layer tables of the house's recipes, row by row, with the bytes that are kept of one image for training.

Regenerate with `python tests/spec/test_golden_tables.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnlab.architecture.memory import estimate_memory
from cnnlab.architecture.trace import Trace
from cnnlab.config.recipe import Recipe

ROOT = Path(__file__).parents[2]
NAMES = {"lenet": 390_410, "convnet": 7_678_474, "convnet-batchnorm": 7_682_826}


def _trace(name: str) -> Trace:
    return Recipe.read(ROOT / "recipes" / f"{name}.toml").model.trace((3, 32, 32), classes=10)


def _table(name: str) -> str:
    lines, found = [], _trace(name)
    kept = estimate_memory(found.records(), found.parameters, batch_size=1, state_per_parameter=0).layers
    for row in found.records():
        output, field = "x".join(map(str, row.output)), row.receptive_field
        seen = "all" if field is None else f"{field[0]}x{field[1]}"
        lines.append(
            f"{row.name:<12}{row.text:<28}{output:<12}{row.parameters:>9}{row.macs:>12}{kept[row.name]:>9}  {seen:<8}"
            f"{row.formula:<20}{row.macs_formula}"
        )
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _golden(name: str) -> Path:
    return ROOT / "tests" / "golden" / f"{name}.txt"


@pytest.mark.parametrize("name", NAMES)
def test_the_table_is_the_golden_one(name: str) -> None:
    assert _table(name) == _golden(name).read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "parameters"), NAMES.items())
def test_the_parameters_are_the_published_ones(name: str, parameters: int) -> None:
    traced = _trace(name)
    assert traced.parameters == sum(row.parameters for row in traced.records()) == parameters
    assert Recipe.read(ROOT / "recipes" / f"{name}.toml").claims["parameters"].published == parameters


if __name__ == "__main__":
    for golden in NAMES:
        _golden(golden).write_text(_table(golden), encoding="utf-8")
