"""The pages of docs/: what they say that a command prints is what it prints, and what is written anew stays whole."""

from __future__ import annotations

import importlib.util
import json
from math import prod
from pathlib import Path

import pytest

from cnnlab.architecture.warnings import WARNINGS
from cnnlab.config.backbones import trainable_choices
from cnnlab.config.model import Model
from cnnlab.config.recipe import Data, Recipe, Train, Warnings
from cnnlab.config.search import Search
from cnnlab.config.search_space import pruners, spaces
from cnnlab.config.study import Study

DOCS = Path(__file__).parents[1] / "docs"


def _load(name: str):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


consoles = _load("consoles")
results = _load("results")
tables = _load("tables")
PAGE = (DOCS / "theory.md").read_text(encoding="utf-8")
# What a network with random weights gives depends on the machine's arithmetic in its last digits.
EXACT = [command for command in consoles.commands(PAGE) if "translate" not in command]


@pytest.mark.parametrize("command", EXACT)
def test_a_page_shows_what_its_commands_print(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DOCS.parent)
    assert f"$ {command}\n{consoles.output(command)}" in PAGE


def test_the_page_of_results_has_the_tables_of_a_folder_of_runs(tmp_path: Path) -> None:
    found = results.collect_results(tmp_path)
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    made = results.with_results(page, found)
    assert made.startswith("# Results\n\nThe results of")
    assert found.document().to_markdown() in made
    assert results.with_results(made, found) == made


def test_the_page_of_shifts_has_the_kinds_there_are() -> None:
    page = (DOCS / "shifts.md").read_text(encoding="utf-8")
    assert tables.with_shifts(page) == page, "run: make docs"


def _blocks(name: str, tmp_path: Path) -> list[Path]:
    """The blocks of TOML that a page shows, each as a file that has a base; claims are about the first block's arms."""
    page = (DOCS / name).read_text(encoding="utf-8")
    found = []
    for number, text in enumerate(page.split("```toml\n")[1:]):
        block = text.split("```")[0]
        if block.startswith("[[claims]]"):
            block = f'shifts = ["greyscale"]\n{found[0].read_text(encoding="utf-8").split("[document]")[0]}{block}'
        found.append(tmp_path / f"{number}.toml")
        found[-1].write_text(block if "base =" in block else f'base = "lenet.toml"\n{block}', encoding="utf-8")
    return found


def test_the_page_of_studies_lists_every_file_and_every_key_and_shows_studies(tmp_path: Path) -> None:
    page = (DOCS / "studies.md").read_text(encoding="utf-8")
    assert tables.with_studies(page) == page, "run: make docs"
    for path in (DOCS.parent / "studies").glob("*.toml"):
        assert f"| `cnnlab study studies/{path.name}` |" in page
    for key in Study.model_fields:
        assert f"| `{key}` |" in page
    shown = [Study.read(path) for path in _blocks("studies.md", tmp_path)]
    assert len(shown) >= 4
    assert {claim.kind for claim in shown[3].claims} == {"numeric", "ordinal", "shift"}
    assert all(len(study.list_arms()) > 1 for study in shown)


def test_the_page_of_tuning_shows_searches_and_every_key_and_space(tmp_path: Path) -> None:
    shown = [Search.read(path) for path in _blocks("tuning.md", tmp_path)]
    assert len(shown) == 2
    assert all(search.search for search in shown)
    page = (DOCS / "tuning.md").read_text(encoding="utf-8")
    for name in [*Search.model_fields, *spaces.kinds, *pruners.kinds]:
        assert f"`{name}`" in page or f"`{name}(" in page or f'`"{name}' in page, name


@pytest.mark.full
def test_the_page_of_transfer_shows_what_describe_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DOCS.parent)
    page = (DOCS / "transfer.md").read_text(encoding="utf-8")
    shown = page.split("$ cnnlab describe recipes/resnet18.toml\n")[1].split("```")[0].splitlines()
    printed = {" ".join(line.split()) for line in consoles.output("cnnlab describe recipes/resnet18.toml").splitlines()}
    said = " ".join(sorted(printed, key=len))
    # Where the weights are depends on the machine, and where sentences are broken on the terminal.
    rows = [
        " ".join(line.split())
        for line in shown
        if line.strip() not in ("", "…") and not line.strip().startswith("file ")
    ]
    assert len(rows) > 15
    for row in rows:
        assert row in printed or all(word in said for word in row.split()), row


def test_the_blocks_of_the_page_of_transfer_are_read(tmp_path: Path) -> None:
    page = (DOCS / "transfer.md").read_text(encoding="utf-8")
    (whole,) = [block for text in page.split("```toml\n")[1:] if "[data]" in (block := text.split("```")[0])]
    path = tmp_path / "whole.toml"
    path.write_text(whole, encoding="utf-8")
    made, shipped = Recipe.read(path), Recipe.read(DOCS.parent / "recipes" / "resnet18.toml")
    assert made.model.model_copy(update={"head": shipped.model.head}) == shipped.model
    assert made.train == shipped.train
    for policy in trainable_choices.kinds:
        assert f'| `"{policy}' in page


def test_the_page_of_recipes_has_every_key_and_every_warning() -> None:
    page = (DOCS / "recipes.md").read_text(encoding="utf-8")
    for key in [*Data.model_fields, *Model.model_fields, *Train.model_fields, *Warnings.model_fields]:
        assert f"| `{key}` |" in page, key
    for name, reason in WARNINGS.items():
        assert f"| `{name}` | {reason} |" in page


def test_the_table_of_shrinking_maps_is_that_of_describe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DOCS.parent)
    section = PAGE.partition("## Why maps shrink")[2].partition("\n## ")[0]
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "| " in line]
    layers = {
        layer["name"]: layer
        for layer in json.loads(consoles.output("cnnlab describe recipes/lenet.toml --json"))["layers"]
    }
    assert shown[1] == ["image", "3×32×32", f"{3 * 32 * 32:,}", "1×1", "", ""]
    assert [row[0] for row in shown[2:]] == [name for name in layers if name.startswith(("conv", "maxpool", "dense1"))]
    for name, *cells in shown[2:]:
        layer = layers[name]
        field, counts = layer["receptive_field"], (layer["parameters"], layer["macs"])
        assert cells == [
            "×".join(map(str, layer["output"])),
            f"{prod(layer['output']):,}",
            "×".join(map(str, field)) if field else "whole image",
            *(f"{count:,}" if count else "" for count in counts),
        ]
