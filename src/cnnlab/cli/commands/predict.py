"""`cnnlab predict`: classify images by a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnlab.cli.options import Debug, Device, Json, RunPath, find_run, handle_errors

if TYPE_CHECKING:
    from cnnlab.export.predict import Prediction
    from cnnlab.render.tables import TextTable

Images = Annotated[
    list[Path], typer.Argument(metavar="IMAGE…", help="Images, or folders of images.", show_default=False)
]
Top = Annotated[int, typer.Option(min=1, help="How many classes to list.")]


def register(app: typer.Typer) -> None:
    app.command()(handle_errors(predict))


def predict(
    run: RunPath, images: Images, top: Top = 3, device: Device = "auto", json: Json = False, debug: Debug = False
) -> None:
    """Classify images. An unreadable image is reported, the others are classified, and the exit code is 1."""
    from cnnlab.storage.run_folder import RunFolder

    folder = RunFolder.open(find_run(run))
    from cnnlab.cli.output.console import log, show, show_json
    from cnnlab.cli.output.text_tables import rich_table
    from cnnlab.export.predict import predict as predict_files

    predictions = list(predict_files(folder, images, device=device, top_k=top, log=log))
    if json:
        show_json([_prediction_json(prediction) for prediction in predictions])
    else:
        show(rich_table(_table(predictions)))
    if any(prediction.error for prediction in predictions):
        raise typer.Exit(1)


def _table(predictions: list[Prediction]) -> TextTable:
    from cnnlab.render.tables import Column, TextTable

    rows = []
    for prediction in predictions:
        guesses = ", ".join(f"{guess.name} {guess.probability:.3f}" for guess in prediction.top[1:])
        first = prediction.top[0] if prediction.top else None
        cells = (first.name, f"{first.probability:.3f}", guesses) if first else ("–", "–", prediction.error)
        rows.append((prediction.image, *cells))
    columns = (Column("image"), Column("class"), Column("probability", number=True), Column("then"))
    return TextTable(columns, tuple(rows))


def _prediction_json(prediction: Prediction) -> dict[str, object]:
    if prediction.error:
        return {"image": prediction.image, "error": prediction.error}
    first = prediction.top[0]
    guesses = [guess.model_dump() for guess in prediction.top]
    return {"image": prediction.image, "class": first.name, "probability": first.probability, "top": guesses}
