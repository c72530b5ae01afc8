"""`cnnlab quickstart`: the main job on whatever data is at hand, in a few minutes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cnnlab.cli.options import DataFolder, Debug, Device, Json, RunsFolder, guarded

if TYPE_CHECKING:
    from cnnlab.spec.recipe import Recipe

# A download that takes longer than this is not what a person expects of a quick start.
PATIENCE_S = 120.0


def register(app: typer.Typer) -> None:
    app.command()(guarded(quickstart))


def quickstart(
    device: Device = "auto",
    data: DataFolder = None,
    runs: RunsFolder = Path("runs"),
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train LeNet on CIFAR-10 where it can be had, else on the built-in shapes, and write a report."""
    from cnnlab.api import write_report
    from cnnlab.cli.console import progressing, say
    from cnnlab.cli.train import show_result
    from cnnlab.cli.watching import Watching
    from cnnlab.runs.run import run

    source, reason = choose_source(data)
    say(f"data: {source}, because {reason}")
    with progressing() as shown:
        listener = Watching(shown).listener()
        folder = run(lenet(source), name=f"lenet-{source}", runs=runs, root=data, device=device, listener=listener)
        write_report(folder, listener.say)
    show_result(folder, json)
    if not json:
        say(f"next: cnnlab describe {folder.path / 'recipe.toml'}, or change that recipe and train it")


def choose_source(data: Path | None) -> tuple[str, str]:
    """CIFAR-10 if it is at hand or near, else the built-in shapes; and why."""
    from cnnlab.data.catalogue import download_seconds, find_at_hand, is_offline
    from cnnlab.data.dataset import data_roots

    found = find_at_hand("cifar10", data_roots(data))
    if found is not None:
        return "cifar10", f"it is at hand in {found}"
    if is_offline():
        return "shapes", "CIFAR-10 is not at hand and CNNLAB_OFFLINE is set"
    seconds = download_seconds("cifar10")
    if seconds is None:
        return "shapes", "CIFAR-10 is not at hand and none of its mirrors answers"
    if seconds > PATIENCE_S:
        return "shapes", f"CIFAR-10 is not at hand and would take about {seconds / 60:.0f} minutes to download"
    return "cifar10", f"it can be downloaded in about {seconds:.0f} s"


def lenet(source: str) -> Recipe:
    """The assignment's network (recipes/lenet.toml) on any source of small images."""
    from cnnlab.spec.recipe import Data, Model, Recipe, Train

    blocks = [row for filters in (32, 64, 128) for row in (f"conv({filters}, 5, padding=2)", "relu", "maxpool(2)")]
    table = (*blocks, "flatten", "dense(64)", "relu", "dense(classes)", "softmax")
    return Recipe(data=Data(source=source), model=Model(layers=table), train=Train(epochs=10))
