"""The environment of a run: versions, machine, a digest of the code; and a run's paths seen from here."""

from __future__ import annotations

import ast
import hashlib
import platform
from functools import cache
from pathlib import Path

import torch

from cnnlab.config.backbones import RunBackbone, change_backbone
from cnnlab.config.recipe import Recipe
from cnnlab.data.dataset import find_files
from cnnlab.data.decoding.cache import cached_json
from cnnlab.data.sources.class_folders import file_stamp
from cnnlab.data.sources.file_readers import expand_home
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
    backbone, source = recipe.model.backbone, recipe.data.source
    if isinstance(backbone, RunBackbone):
        backbone = change_backbone(backbone, path=_relocate(backbone.path, folder))
    elif backbone is not None and is_weights_file(backbone.weights):
        backbone = change_backbone(backbone, weights=_relocate(backbone.weights, folder))
    if source not in CATALOGUE:
        try:
            find_files(source, root)
        except SourceError:
            source = _relocate(source, folder)
    return recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update={"source": source}),
            "model": recipe.model.model_copy(update={"backbone": backbone}),
        }
    )


def _relocate(path: str, folder: RunFolder) -> str:
    if expand_home(path).exists():
        return path
    original = Path(folder.environment().cwd) / path
    return str(original) if original.exists() else path


@cache
def code_hash() -> str:
    """A digest of `NUMERIC_SOURCES`, without comments, docstrings and layout.

    It takes a second or more, so it is cached by the sizes and modification times of the files.
    """
    root = Path(__file__).parents[1]
    paths = (root / name for name in NUMERIC_SOURCES)
    files = sorted(file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py")))
    stats = [(str(file), file.stat()) for file in (Path(__file__), *files)]  # this file's own rules, too
    stamps = repr([(name, stat.st_size, file_stamp(stat)) for name, stat in stats])
    key = f"{hashlib.sha256(stamps.encode()).hexdigest()[:40]}-code"

    def compute() -> dict[str, str]:
        digest = hashlib.sha256()
        for file in files:
            name = file.relative_to(root).as_posix()
            digest.update(f"{name}\0{normalize_source(file.read_bytes())}".encode())
        return {"code": digest.hexdigest()[:16]}

    return str(cached_json(key, compute)["code"])


def normalize_source(source: bytes) -> str:
    """A Python file without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, _DOCSTRING_NODES) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
