"""The provenance of a run: the file that its recipe is from, and what was set otherwise. No torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from cnnlab.config.arms import experiment_settings, format_override
from cnnlab.config.recipe import Recipe
from cnnlab.errors import SpecError
from cnnlab.records import Provenance

DIGEST_DIGITS = 12


def make_provenance(recipe: Recipe, name: str, file: Path | None = None) -> Provenance:
    """The provenance of a run that begins.

    Args:
        recipe: as it is trained, before what follows from a backbone's weights is filled in.
        name: of the run.
        file: that the recipe was read from.
    """
    if file is None:
        return Provenance(name=name)
    try:
        of_file = Recipe.read(file)
    except SpecError:  # it was changed since it was read
        return Provenance(name=name, file=str(file.resolve()))
    in_file, settings = experiment_settings(of_file), experiment_settings(recipe)
    changed = [key for key in sorted(in_file.keys() | settings.keys()) if in_file.get(key) != settings.get(key)]
    return Provenance(
        name=name,
        file=str(file.resolve()),
        digest=hashlib.sha256(json.dumps(in_file, sort_keys=True).encode()).hexdigest()[:DIGEST_DIGITS],
        overrides={key: format_override(key, settings.get(key, "none")).partition("=")[2] for key in changed},
        epochs=of_file.train.epochs,
    )
