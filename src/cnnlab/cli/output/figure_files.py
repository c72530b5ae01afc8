"""How figures leave a command: files of the kind that the name of the first one says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnlab.cli.output.documents import OutputFormat, show_output
from cnnlab.errors import UsageError

if TYPE_CHECKING:
    from cnnlab.render.document import Renderable
    from cnnlab.render.plots import CaptionedFigure

ENDINGS = (".png", ".svg")
PictureFile = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Where to write the pictures: FILE.png or FILE.svg; a further one is FILE-NAME.png.",
        show_default=False,
    ),
]
NoPictures = Annotated[bool, typer.Option("--no-pictures", help="Write no pictures.")]


def check_figure_path(output: Path | None, default: str) -> Path:
    """Where the first picture goes, before anything is computed.

    Raises:
        UsageError: it is neither a PNG nor an SVG, or its folder is not there.
    """
    path = Path(default) if output is None else output
    if path.suffix.lower() not in ENDINGS or not path.parent.is_dir():
        right = path.suffix.lower() in ENDINGS
        # The current folder and the one above it have no name that an ending could follow.
        named = path.with_suffix(".png").name if path.name and path.name != ".." else Path(default).name
        raise UsageError(
            "the folder of this file is not there" if right else "this is no name for a picture",
            where="--output",
            received=str(path),
            allowed="a .png or .svg file in a folder that is there",
            next_step=f"make it: mkdir -p {path.parent}" if right else f"--output {named}",
        )
    return path


def show_with_figures(
    result: Renderable,
    output_format: OutputFormat,
    figures: Callable[[], Mapping[str, CaptionedFigure]],
    first_path: Path | None,
    optional_columns: Sequence[str] = (),
) -> None:
    """Write the figures of an answer, print it, and say where they are.

    They are written first, and told of in any case: the answer's reader may go before its end (`… | head`).

    Args:
        first_path: where the first figure goes; None: none is drawn.
        optional_columns: columns that a narrow terminal goes without.

    Raises:
        UsageError: a figure can't be written.
    """
    from cnnlab.cli.output.console import log

    written = write_figures(figures(), first_path) if first_path is not None else []
    try:
        show_output(result, output_format, optional_columns)
    finally:
        for path in written:
            log(f"Written to {path}")


def write_figures(figures: Mapping[str, CaptionedFigure], first_path: Path) -> list[Path]:
    """Write the figures of an answer: the first as `first_path`, the others beside it, named after it and after
    themselves.

    Raises:
        UsageError: one can't be written.
    """
    from cnnlab.atomic_io import atomic_write
    from cnnlab.errors import RunError
    from cnnlab.render.plots import to_png, to_svg

    written: list[Path] = []
    for name, plate in figures.items():
        path = first_path if not written else first_path.with_name(f"{first_path.stem}-{name}{first_path.suffix}")
        if path.suffix.lower() == ".png":
            content = to_png(plate.figure)
        else:
            content = to_svg(plate.figure, name, plate.description, standalone=True).encode("utf-8")
        try:
            atomic_write(path, content)
        except RunError as error:
            raise UsageError(
                "the picture can't be written",
                where=str(path),
                received=error.problems[0].what,
                allowed="a file in a folder that can be written",
                next_step="choose another place with --output",
            ) from None
        written.append(path)
    return written
