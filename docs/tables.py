"""Write the tables of layers and choices into docs/recipes.md, from the registries that read them.

python docs/tables.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cnnlab.spec.augmentations import augmentations
from cnnlab.spec.choices import optimizers, schedules, stops
from cnnlab.spec.layers import layers
from cnnlab.spec.limits import budgets
from cnnlab.spec.losses import losses
from cnnlab.spec.registry import Registry
from cnnlab.spec.regularisers import averages, mixes

PAGE = Path(__file__).parent / "recipes.md"
TABLES: dict[str, Registry[Any]] = {
    "augmentations": augmentations,
    "layers": layers,
    "optimizers": optimizers,
    "schedules": schedules,
    "losses": losses,
    "mixtures": mixes,
    "averages": averages,
    "stops": stops,
    "budgets": budgets,
}


def with_tables(page: str) -> str:
    """The page with each table made anew, between its two marks."""
    for name, registry in TABLES.items():
        before, rest = page.split(f"<!-- {name} -->\n\n")
        _, after = rest.split(f"\n\n<!-- /{name} -->")
        page = f"{before}<!-- {name} -->\n\n{table(registry)}\n\n<!-- /{name} -->{after}"
    return page


def table(registry: Registry[Any]) -> str:
    """A table of a registry's calls with their defaults, in Markdown."""
    rows = [
        f"| `{registry.signature(name).removesuffix('()')}` | {registry.describe(name)} |" for name in registry.kinds
    ]
    return "\n".join(["| call | what it does |", "|---|---|", *rows])


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
