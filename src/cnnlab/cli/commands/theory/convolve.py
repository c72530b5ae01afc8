"""`cnnlab theory convolve`: a convolution by hand. Loads no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnnlab.cli.options import Debug, Json, handle_errors, read_position, read_sizes
from cnnlab.cli.output.documents import FormatOrSvg, choose_format, show_output
from cnnlab.errors import UsageError

if TYPE_CHECKING:
    from cnnlab.theory.convolution_by_hand.result import Convolution, ConvolutionStep

Image = Annotated[
    str, typer.Option(metavar="JSON", help="H×W or C×H×W numbers, or a .json file with them.", show_default=False)
]
Kernel = Annotated[
    str,
    typer.Option(
        metavar="JSON", help="H×W or C×H×W numbers, F×C×H×W for several kernels, or a .json file.", show_default=False
    ),
]
Bias = Annotated[str, typer.Option(metavar="JSON", help="A number for each kernel: 1 or '[1, 0]'.")]
Stride = Annotated[str, typer.Option(metavar="N|HxW", help="Step of the window: 2, or 2x1, the vertical one first.")]
Padding = Annotated[str, typer.Option(metavar="N|HxW|same", help="Pixels around the image on each side.")]
Dilation = Annotated[str, typer.Option(metavar="N|HxW", help="Distance between neighbouring weights, in pixels.")]
PaddingMode = Annotated[str, typer.Option(metavar="zeros|reflect|replicate", help="Values of the padding.")]
CrossCorrelation = Annotated[bool, typer.Option("--cross-correlation", help="Do not flip the kernel, as libraries do.")]
At = Annotated[str, typer.Option(metavar="ROW,COLUMN", help="Show one output element, counted from 0.")]
Of = Annotated[int, typer.Option(metavar="K", help="With --at: which of several kernels, from 0.")]
Page = Annotated[
    Path | None,
    typer.Option(metavar="FILE.html", help="Write a page on which the window moves.", show_default=False),
]


def register(group: typer.Typer) -> None:
    group.command()(handle_errors(convolve))


def convolve(
    image: Image,
    kernel: Kernel,
    bias: Bias = "",
    stride: Stride = "1",
    padding: Padding = "0",
    dilation: Dilation = "1",
    padding_mode: PaddingMode = "zeros",
    cross_correlation: CrossCorrelation = False,
    at: At = "",
    of: Of = 0,
    page: Page = None,
    json: Json = False,
    format_: FormatOrSvg = "text",
    debug: Debug = False,
) -> None:
    """A convolution by hand: every output element with its products and their sum."""
    from cnnlab.theory.convolution_by_hand import compute
    from cnnlab.theory.output_size import MAX_SIZE

    output_format = choose_format(json, format_)
    element = read_position(at, "--at")
    if of and element is None:
        raise UsageError("--of chooses a kernel for --at", where="--of", next_step=f"add --at 0,0 --of {of}")
    result = compute.convolve(
        _parse_numbers("--image", image),
        _parse_numbers("--kernel", kernel),
        bias=_parse_numbers("--bias", bias) if bias else None,
        stride=read_sizes(stride, "--stride", most=MAX_SIZE),
        padding="same" if padding == "same" else read_sizes(padding, "--padding", least=0, most=MAX_SIZE, also="same"),
        dilation=read_sizes(dilation, "--dilation", most=MAX_SIZE),
        padding_mode=padding_mode,
        flip=not cross_correlation,
    )
    selected = result if element is None else result.at(*element, of)
    if page is not None:
        _write_page(page, result, None if element is None else selected.steps[0])
    show_output(selected, output_format)


def _parse_numbers(option: str, text: str) -> Any:
    """Read JSON text, or a .json file."""
    import json

    from cnnlab.render.formatting import shorten

    where = text if text.endswith(".json") else option
    try:
        if text.endswith(".json"):
            text = Path(text).read_text(encoding="utf-8")
        return json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"this is not JSON: {error}",
            where=where,
            received=shorten(" ".join(text.split())),
            allowed="nested lists of numbers, or the path of a .json file",
            next_step="quote it for the shell, as in '[[1, 2], [3, 4]]'",
        ) from None


def _write_page(path: Path, result: Convolution, step: ConvolutionStep | None) -> None:
    from cnnlab.atomic_io import atomic_write
    from cnnlab.cli.output.console import log
    from cnnlab.theory.convolution_by_hand.page import render_page, step_number

    if path.suffix.lower() not in (".html", ".htm") or path.is_dir():
        raise UsageError(
            "a page is an .html file",
            where="--page",
            received=str(path),
            allowed="a name that ends in .html",
            next_step=f"name it as in --page {path.with_suffix('.html')}",
        )
    atomic_write(path, render_page(result).encode(), next_step="choose another file with --page")
    address = f"; this step: {path.resolve().as_uri()}#step={step_number(result, step)}" if step else ""
    log(f"Written to {path}{address}")
