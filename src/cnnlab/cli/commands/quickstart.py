"""`cnnlab quickstart`: train LeNet on available data and write a report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cnnlab.cli.options import DataFolder, Debug, Device, Json, RunsFolder, handle_errors

if TYPE_CHECKING:
    from cnnlab.context import ProgressCallback

# A download that would take longer is stopped.
MAX_DOWNLOAD_S = 120.0
# Seconds in which the speed of a download is measured, and in which a mirror must respond.
TRIAL_S = 3.0


def register(app: typer.Typer) -> None:
    app.command()(handle_errors(quickstart))


def quickstart(
    device: Device = "auto",
    data: DataFolder = None,
    runs: RunsFolder = Path("runs"),
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train LeNet on CIFAR-10 if it is on disk or downloads quickly, else on the built-in shapes. Write a report."""
    from cnnlab.api import train
    from cnnlab.cli.commands.train import resumable, show_result
    from cnnlab.cli.output.console import log, progress_reporter
    from cnnlab.cli.output.progress_bars import RunProgressBar
    from cnnlab.config.recipe import Recipe
    from cnnlab.grammar.toml_files import bundled_recipe

    with progress_reporter() as shown:
        bar = RunProgressBar(shown)
        callbacks = bar.callbacks()
        source, reason = choose_source(data, callbacks.progress)
        callbacks.log(f"data: {source}, because {reason}")
        recipe = Recipe.read(bundled_recipe("lenet"), {"data.source": source})
        with resumable(bar.started, data, device):
            folder = train.train(
                recipe, name=f"lenet-{source}", runs=runs, data=data, device=device, callbacks=callbacks
            )
    show_result(folder, json)
    if not json:
        log(f"next: cnnlab describe {folder.path / 'recipe.toml'}, or change that recipe and train it")


def choose_source(data: Path | None, progress: ProgressCallback) -> tuple[str, str]:
    """Return CIFAR-10 if it is on disk or downloads quickly, else the generated shapes, and the reason."""
    from cnnlab.data.dataset import data_roots
    from cnnlab.data.sources.catalogue import dataset_info, find_local, open_published
    from cnnlab.errors import DownloadError
    from cnnlab.settings import is_offline

    roots = data_roots(data)
    folder = find_local("cifar10", roots)
    if folder is not None:
        return "cifar10", f"it is in {folder}"
    if is_offline():
        return "shapes", "CIFAR-10 is not on disk and CNNLAB_OFFLINE is set"
    try:
        open_published(dataset_info("cifar10"), roots, progress=_stop_if_slow(progress), timeout_s=TRIAL_S)
    except DownloadError as error:
        return "shapes", f"CIFAR-10 is not on disk, and its download was given up: {error.problems[0].what}"
    return "cifar10", "it could be downloaded"


def _stop_if_slow(progress: ProgressCallback) -> ProgressCallback:
    """Wrap a progress callback so that a download ends which would take too long at the speed of its beginning."""
    from cnnlab.errors import DownloadError

    began: dict[str, tuple[float, int]] = {}

    def checked_progress(what: str, done: int, total: int, unit: str) -> None:
        progress(what, done, total, unit)
        now = time.monotonic()
        start_s, start_bytes = began.setdefault(what, (now, done))
        elapsed_s, received = now - start_s, done - start_bytes
        if elapsed_s > TRIAL_S and elapsed_s * (total - start_bytes) > MAX_DOWNLOAD_S * received:
            raise DownloadError("it is too slow", next_step="go on with: cnnlab data fetch cifar10")

    return checked_progress
