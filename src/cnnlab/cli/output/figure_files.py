"""Figures of a command as PNG or SVG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnnlab.cli.output.documents import OutputFormat, show_output
from cnnlab.errors import UsageError

if TYPE_CHECKING:
    from cnnlab.render.plots import CaptionedFigure
    from cnnlab.render.result import Result

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

SvgFile = Annotated[
    Path | None, typer.Option("--svg", metavar="FILE", help="Also write the picture: an .svg file.", show_default=False)
]


def check_svg_path(path: Path | None, example: str) -> None:
    """Check the path of `--svg FILE`, where it is given, before anything is computed.

    Raises:
        UsageError: not an .svg file, or its folder does not exist.
    """
    if path is not None and (path.suffix.lower() != ".svg" or not path.parent.is_dir()):
        what = (
            "this is no name for an SVG picture" if path.parent.is_dir() else "the folder of this file does not exist"
        )
        raise UsageError(
            what, where="--svg", received=str(path), allowed="a .svg file in a folder", next_step=f"--svg {example}"
        )


def write_svg(result: Result, path: Path | None) -> None:
    """Write the picture of a result to the path of `--svg FILE`, where it is given."""
    if path is not None:
        from cnnlab.atomic_io import atomic_write

        atomic_write(path, result.svg().encode("utf-8"), "choose another file with --svg")


def check_figure_path(output: Path | None, default: str) -> Path:
    """Check the path of the first figure before anything is computed, and return it.

    Raises:
        UsageError: neither a .png nor an .svg file, or its folder does not exist.
    """
    path = Path(default) if output is None else output
    if path.suffix.lower() not in ENDINGS or not path.parent.is_dir():
        right = path.suffix.lower() in ENDINGS
        # `.` and `..` have no name to which a suffix could be added.
        named = path.with_suffix(".png").name if path.name and path.name != ".." else Path(default).name
        raise UsageError(
            "the folder of this file does not exist" if right else "this is no name for a picture",
            where="--output",
            received=str(path),
            allowed="a .png or .svg file in a folder that exists",
            next_step=f"make it: mkdir -p {path.parent}" if right else f"--output {named}",
        )
    return path


def show_with_figures(
    result: Result,
    output_format: OutputFormat,
    first_path: Path | None,
    optional_columns: Sequence[str] = (),
    extra: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    """Write the figures of a result, print it, and log their paths.

    The figures are written first: the reader of stdout may close it early (`… | head`).

    Args:
        first_path: the file of the first figure; None to draw none.
        optional_columns: columns that a narrow terminal leaves out, in this order.
        extra: further fields of the JSON.
        options: of the figures.

    Raises:
        UsageError: a figure can't be written.
    """
    from cnnlab.cli.output.console import log

    written = write_figures(result.figures(**options), first_path) if first_path is not None else []
    try:
        show_output(result, output_format, optional_columns, extra)
    finally:
        for path in written:
            log(f"Written to {path}")


def write_figures(figures: Mapping[str, CaptionedFigure], first_path: Path) -> list[Path]:
    """Write the first figure to `first_path`, and each other beside it as `FILE-NAME.png`.

    Raises:
        UsageError: a figure can't be written.
    """
    from cnnlab.atomic_io import atomic_write
    from cnnlab.errors import RunError
    from cnnlab.render.plots import to_png, to_svg

    written: list[Path] = []
    for name, captioned in figures.items():
        path = first_path if not written else first_path.with_name(f"{first_path.stem}-{name}{first_path.suffix}")
        if path.suffix.lower() == ".png":
            content = to_png(captioned.figure)
        else:
            content = to_svg(captioned.figure, name, captioned.description, standalone=True).encode("utf-8")
        try:
            atomic_write(path, content)
        except RunError as error:
            raise UsageError(
                "the picture can't be written",
                where=str(path),
                received=error.problems[0].what,
                allowed="a file in a folder that can be written",
                next_step="choose another file with --output",
            ) from None
        written.append(path)
    return written
