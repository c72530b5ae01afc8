"""The environment of a run: versions, machine, a digest of the code; and a run's paths seen from here."""

from __future__ import annotations

import ast
import hashlib
import platform
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from cnnlab.config.backbones import LibraryBackbone, RunBackbone, with_path, with_weights
from cnnlab.config.recipe import Recipe
from cnnlab.data.dataset import find_files
from cnnlab.data.decoding.cache import cached_json
from cnnlab.data.sources.class_folders import file_stamp
from cnnlab.data.sources.releases import CATALOGUE
from cnnlab.errors import SourceError
from cnnlab.models.pretrained.weights import is_weights_file
from cnnlab.records import Environment
from cnnlab.storage.run_folder import RunFolder
from cnnlab.training.device import device_name, processor_name
from cnnlab.version import __version__

# The code that decides a run's numbers. Defaults of a recipe are not here, since they are in the recipe's own digest.
NUMERIC_SOURCES = (
    *("data", "evaluation", "models", "training", "randomness.py", "torch_rng.py", "distributed.py"),
    "storage/checkpoints.py",
    *("runs/run.py", "runs/setup.py", "runs/cached_features.py", "runs/final_evaluation.py", "runs/resolve_recipe.py"),
    *("architecture/layer.py", "architecture/layers.py", "architecture/layer_table.py", "architecture/trace.py"),
    *(
        "config/backbones.py",
        "config/model.py",
        "config/optimizers.py",
        "config/schedules.py",
        "config/losses.py",
        "config/stopping.py",
    ),
    "config/image_changes.py",
)

_DOCSTRING_NODES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def environment(device: torch.device, processes: int = 1) -> Environment:
    """The environment of this process."""
    return Environment(
        cnnlab=__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        platform=platform.platform(),
        processor=processor_name(),
        device=f"{device.type}: {device_name(device)}",
        threads=torch.get_num_threads(),
        processes=processes,
        code=code_hash(),
        cwd=str(Path.cwd()),
    )


def relocate_recipe(folder: RunFolder, root: Path | None) -> Recipe:
    """A run's recipe; relative paths that do not exist here are taken from the folder that the run was started in."""
    recipe = folder.recipe()
    recipe = _relocate_backbone(recipe, folder)
    source = recipe.data.source
    if source in CATALOGUE:
        return recipe
    try:
        find_files(source, root)
    except SourceError:
        cwd = folder.environment().cwd
        if cwd and (Path(cwd) / source).exists():
            there = recipe.data.model_copy(update={"source": str(Path(cwd) / source)})
            return recipe.model_copy(update={"data": there})
    return recipe


def _relocate_backbone(recipe: Recipe, folder: RunFolder) -> Recipe:
    backbone = recipe.model.backbone
    if backbone is None or (isinstance(backbone, LibraryBackbone) and not is_weights_file(backbone.weights)):
        return recipe
    path = Path(backbone.path if isinstance(backbone, RunBackbone) else backbone.weights).expanduser()
    if path.exists():
        return recipe
    there = Path(folder.environment().cwd) / path
    if not there.exists():
        return recipe
    found = with_path(backbone, str(there)) if isinstance(backbone, RunBackbone) else with_weights(backbone, str(there))
    model = recipe.model.model_copy(update={"backbone": found})
    return recipe.model_copy(update={"model": model})


@cache
def code_hash() -> str:
    """A digest of `NUMERIC_SOURCES`, without comments, docstrings and layout.

    It takes a second or more, so it is cached by the sizes and modification times of the files.
    """
    root = Path(__file__).parents[1]
    parts = (root / part for part in NUMERIC_SOURCES)
    files = sorted(path for part in parts for path in ([part] if part.is_file() else part.rglob("*.py")))
    about = [(str(path), path.stat()) for path in (Path(__file__), *files)]  # this file's own rules, too
    stamps = repr([(name, found.st_size, file_stamp(found)) for name, found in about])
    key = f"{hashlib.sha256(stamps.encode()).hexdigest()[:40]}-code"
    return str(cached_json(key, lambda: {"code": _code_hash(root, files)})["code"])


def _code_hash(root: Path, files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + normalize_source(path.read_bytes()).encode())
    return digest.hexdigest()[:16]


def normalize_source(source: bytes) -> str:
    """A Python file's syntax tree as text, without docstrings.

    Not `ast.dump`, whose text differs between versions of Python: empty fields are left out here, since newer versions
    add fields.
    """
    return _dump_tree(ast.parse(source))


def _dump_tree(node: Any) -> str:
    if isinstance(node, list):
        return f"[{','.join(map(_dump_tree, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, _DOCSTRING_NODES) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = fields["body"][1:]
    shown = (f"{name}={_dump_tree(value)}" for name, value in fields.items() if value is not None and value != [])
    return f"{type(node).__name__}({','.join(shown)})"
