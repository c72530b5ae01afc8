"""The layout and the names of docs/design.md, held by the source itself."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
MAX_MODULES = 16  # in one folder

# Results that draw themselves by an import within a method; empty once every view imports its result.
KNOWN_CIRCLES: set[tuple[str, ...]] = set()

# Names of the first version, which docs/design.md ("Names") replaces.
OLD_MODULES = "answer asking begin plates said sentences words parts things strip rule shelf crew course bench way"
OLD_CLASSES = """
    Way Bench Parting Rest Together World Supply Feed Store Patience Waited Sums Mass Several Listener Audience
    Onlookers Seen Opener Saying Under Form ImageForm Facts InputFacts Looked Glimpse Draws Stop Reached Place Natural
    Found Watch Draft Course Shelf Declaration Listing Reading Outcome Heard DoseCurve Subject Spot Spots Said Puzzle
    Slide Stretch Sheet Plate Fed Made Kept Trunk Drawn
"""
OLD_NAMES = """
    choose_way tried_way part parting told fed judged judged_by is_spent begins chooser stopper glance say begun
    listener audience onlookers claiming sayings dose doses look drawn cutting filling see follow misfits sights flow
    overview carry crew shelf declaring finding carry_out alone trying try_all suggesting sharing spot spots
    said naming watching probing beginning plates puzzle slide stretch write_whole bench way
"""
# Modules whose names end like a gerund or a participle, and which are nouns of the field.
NOUNS = """
    training tuning stopping decoding tracing formatting mixing averaging loading early_stopping
    multiple_testing ranking embedding drawing pretraining pretrained distributed published paired
"""


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, without `cnnlab.`."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts[1:]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def imports(name: str) -> Iterator[str]:
    """The modules that a module imports: at its top, in functions, and for type checkers."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            targets = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            if target.partition(".")[0] == "cnnlab":
                inner = target.partition(".")[2]
                yield inner if inner in MODULES else inner.rpartition(".")[0]


def circles(graph: dict[str, set[str]]) -> set[tuple[str, ...]]:
    """Groups of modules that import each other (strongly connected components, Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = set()

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.add(tuple(sorted(group)))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def names(name: str) -> Iterator[str]:
    """What a module defines: classes, functions, methods, parameters and attributes. Local variables are left out."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ClassDef):
            yield from (item.target.id for item in node.body if isinstance(item, ast.AnnAssign) and is_name(item))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.arg) and not name.startswith("cli."):  # a command's parameters are its options
            yield node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def is_name(item: ast.AnnAssign) -> bool:
    return isinstance(item.target, ast.Name)


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"d", "f"}, "f": {"e"}}
    assert circles(graph) == {("a", "b", "c"), ("e", "f")}


def test_no_modules_import_each_other() -> None:
    graph = {name: {other for other in imports(name) if other in MODULES and other != name} for name in MODULES}
    assert circles(graph) == KNOWN_CIRCLES


def test_a_public_class_name_means_one_thing() -> None:
    homes = defaultdict(list)
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(name)
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def test_no_folder_is_crowded() -> None:
    counts = Counter(path.parent for path in MODULES.values() if path.name != "__init__.py")
    assert {str(folder): count for folder, count in counts.items() if count > MAX_MODULES} == {}


@pytest.mark.parametrize("name", [name for name in MODULES if name])
def test_names_are_those_of_the_field(name: str) -> None:
    module = name.rpartition(".")[2]
    assert not re.search(r"(ing|ed|en)$", module) or module in NOUNS.split(), "a module is named by what it holds"
    assert module not in OLD_MODULES.split()
    assert {each.lstrip("_") for each in names(name)} & {*OLD_CLASSES.split(), *OLD_NAMES.split()} == set()
