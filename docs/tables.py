"""Write the tables of docs/recipes.md (layers and choices), docs/studies.md (study files) and docs/shifts.md.

They come from the registries that read recipes, and from the files in studies/.

python docs/tables.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cnnlab.architecture.layers import layers
from cnnlab.config.backbones import cache_policies, trainable_choices
from cnnlab.config.corruptions import corruptions, read_corruption
from cnnlab.config.image_changes import augmentations, mixing
from cnnlab.config.losses import losses
from cnnlab.config.optimizers import averaging, optimizers
from cnnlab.config.schedules import schedules
from cnnlab.config.stopping import budgets, stopping_rules
from cnnlab.config.study import Study
from cnnlab.grammar.registry import Registry
from cnnlab.reports.claims import format_published

PAGE = Path(__file__).parent / "recipes.md"
STUDIES_PAGE = Path(__file__).parent / "studies.md"
SHIFTS_PAGE = Path(__file__).parent / "shifts.md"
STUDIES = Path(__file__).parents[1] / "studies"
TABLES: dict[str, Registry[Any]] = {
    "augmentations": augmentations,
    "layers": layers,
    "optimizers": optimizers,
    "schedules": schedules,
    "losses": losses,
    "mixtures": mixing,
    "averages": averaging,
    "stops": stopping_rules,
    "budgets": budgets,
    "policies": trainable_choices,
    "keepings": cache_policies,
}


def with_tables(page: str) -> str:
    """The page with each table made anew, between its two marks."""
    for name, registry in TABLES.items():
        page = _replaced(page, name, table(registry))
    return page


def table(registry: Registry[Any]) -> str:
    """A table of a registry's calls with their defaults, in Markdown."""
    rows = [
        f"| `{registry.signature(name).removesuffix('()')}` | {registry.describe(name)} |" for name in registry.kinds
    ]
    return "\n".join(["| call | what it does |", "|---|---|", *rows])


def with_studies(page: str) -> str:
    """The page with the table of all study files made anew."""
    rows = [_row(path.name, Study.read(path)) for path in sorted(STUDIES.glob("*.toml"))]
    head = ["| command | document | question | arms | published |", "|---|---|---|---|---|"]
    return _replaced(page, "studies", "\n".join([*head, *rows]))


def with_shifts(page: str) -> str:
    """The page with the table of all shifts made anew."""
    head = ["| call | usual strengths | what it does |", "|---|---|---|"]
    rows = []
    for name, kind in corruptions.kinds.items():
        strengths = ", ".join(kind(strength).strength_text for strength in kind.fixed.defaults)
        rows.append(
            f"| `{corruptions.signature(name).removesuffix('()')}` | {strengths or '–'} | "
            f"{corruptions.describe(name)} |"
        )
    return _replaced(page, "shifts", "\n".join([*head, *rows]))


def _replaced(page: str, name: str, table: str) -> str:
    """The page with what stands between the two marks of a table replaced."""
    before, rest = page.split(f"<!-- {name} -->\n\n")
    _, after = rest.split(f"\n\n<!-- /{name} -->")
    return f"{before}<!-- {name} -->\n\n{table}\n\n<!-- /{name} -->{after}"


def _row(name: str, study: Study) -> str:
    arms = ", ".join(arm.name for arm in study.list_arms())
    document = study.document.source if study.document else ""
    published = "; ".join(_published(study)) or "–"
    return f"| `cnnlab study studies/{name}` | {document} | {study.question} | {arms} | {published} |"


def _published(study: Study) -> Iterator[str]:
    """The published claims: words, then numbers, then those under shifts."""
    for claim in (claim for claim in study.claims if claim.kind == "ordinal"):
        than = "" if claim.published in ("best", "worst") else f" {claim.than or study.baseline}"
        joint = {"": "", "equal": " to"}.get(str(claim.published) if than else "", " than")
        yield f"{claim.arm} {claim.published}{joint}{than}"
    numbers = [claim for claim in study.claims if claim.kind == "numeric"]
    for metric in sorted({claim.metric or "" for claim in numbers}):
        arms = (f"{format_published(claim.published)} ({claim.arm})" for claim in numbers if claim.metric == metric)
        yield f"{metric.replace('_', ' ')}: {', '.join(arms)}"
    titles: dict[str, list[str]] = {}
    for claim in (claim for claim in study.claims if claim.kind == "shift"):
        shift = read_corruption(claim.shift)
        is_word = isinstance(claim.published, str)
        published = claim.published if is_word else f"accuracy {format_published(claim.published)}"
        titles.setdefault(published, []).append(shift.title)
    yield from (f"under {', '.join(names)}: {published}" for published, names in titles.items())


if __name__ == "__main__":
    STUDIES_PAGE.write_text(with_studies(STUDIES_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    SHIFTS_PAGE.write_text(with_shifts(SHIFTS_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
