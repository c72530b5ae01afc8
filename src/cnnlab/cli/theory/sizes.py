"""`cnnlab theory output|padding|kernel|stride`: any one of them from the others. Loads no torch."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from cnnlab.cli.answers import Form, Latex, Markdown, Svg, show_answer
from cnnlab.cli.options import Debug, Json, guarded
from cnnlab.errors import UsageError

_SIZE = re.compile(r"\s*(\d+)\s*(?:[x×,X]\s*(\d+)\s*)?", re.ASCII)
_METAVAR = "N|HxW"

Size = Annotated[str, typer.Option(metavar=_METAVAR, help="The image's size: one number, or HEIGHTxWIDTH.")]
Output = Annotated[str, typer.Option(metavar=_METAVAR, help="The wanted size of the output.")]
SameOutput = Annotated[
    str | None, typer.Option(metavar=_METAVAR, help="The wanted size of the output; the image's unless given.")
]
Kernel = Annotated[str, typer.Option(metavar=_METAVAR, help="The window's size.")]
Stride = Annotated[str | None, typer.Option(metavar=_METAVAR, help="The step; 1 unless given, a pool's is its kernel.")]
Padding = Annotated[str, typer.Option(metavar=_METAVAR, help="On each side.")]
Dilation = Annotated[str, typer.Option(metavar=_METAVAR, help="How far apart a window's pixels are.")]
Pool = Annotated[bool, typer.Option("--pool", help="A pool.")]
Ceil = Annotated[bool, typer.Option("--ceil", help="A pool that rounds up (ceil mode).")]
Transposed = Annotated[bool, typer.Option("--transposed", help="A transposed convolution.")]
OutputPadding = Annotated[str, typer.Option(metavar=_METAVAR, help="Of a transposed convolution, at the end only.")]
Channels = Annotated[int | None, typer.Option(help="Channels of the image: for the shape and the parameters.")]
Filters = Annotated[int | None, typer.Option(help="Filters of the convolution: for the shape and the parameters.")]


def register(group: typer.Typer) -> None:
    for command in (output, padding, kernel, stride):
        group.command()(guarded(command))


def output(
    size: Size,
    kernel: Kernel,
    stride: Stride = None,
    padding: Padding = "0",
    dilation: Dilation = "1",
    pool: Pool = False,
    ceil: Ceil = False,
    transposed: Transposed = False,
    output_padding: OutputPadding = "0",
    channels: Channels = None,
    filters: Filters = None,
    json: Json = False,
    markdown: Markdown = False,
    latex: Latex = False,
    svg: Svg = False,
    debug: Debug = False,
) -> None:
    """The size that comes out of a convolution or a pool, and what it never sees."""
    form = Form(json, markdown, latex, svg)
    from cnnlab.theory.size_answers import solve_output

    answer = solve_output(
        _sized("size", size),
        _sized("kernel", kernel),
        stride=_given("stride", stride),
        padding=_sized("padding", padding),
        dilation=_sized("dilation", dilation),
        pool=pool,
        ceil=ceil,
        transposed=transposed,
        output_padding=_sized("output-padding", output_padding),
        channels=channels,
        filters=filters,
    )
    show_answer(answer, form)


def padding(
    size: Size,
    kernel: Kernel,
    stride: Stride = None,
    output: SameOutput = None,
    dilation: Dilation = "1",
    pool: Pool = False,
    ceil: Ceil = False,
    transposed: Transposed = False,
    output_padding: OutputPadding = "0",
    json: Json = False,
    markdown: Markdown = False,
    latex: Latex = False,
    debug: Debug = False,
) -> None:
    """The padding that gives an output, on each side."""
    form = Form(json, markdown, latex)
    from cnnlab.theory.size_answers import solve_padding

    answer = solve_padding(
        _sized("size", size),
        _sized("kernel", kernel),
        stride=_given("stride", stride),
        output=_given("output", output),
        dilation=_sized("dilation", dilation),
        pool=pool,
        ceil=ceil,
        transposed=transposed,
        output_padding=_sized("output-padding", output_padding),
    )
    show_answer(answer, form)


def kernel(
    size: Size,
    output: Output,
    stride: Stride = None,
    padding: Padding = "0",
    dilation: Dilation = "1",
    pool: Pool = False,
    ceil: Ceil = False,
    transposed: Transposed = False,
    output_padding: OutputPadding = "0",
    json: Json = False,
    markdown: Markdown = False,
    latex: Latex = False,
    debug: Debug = False,
) -> None:
    """The kernel that gives an output."""
    form = Form(json, markdown, latex)
    from cnnlab.theory.size_answers import solve_kernel

    answer = solve_kernel(
        _sized("size", size),
        _sized("output", output),
        stride=_given("stride", stride),
        padding=_sized("padding", padding),
        dilation=_sized("dilation", dilation),
        pool=pool,
        ceil=ceil,
        transposed=transposed,
        output_padding=_sized("output-padding", output_padding),
    )
    show_answer(answer, form)


def stride(
    size: Size,
    output: Output,
    kernel: Kernel,
    padding: Padding = "0",
    dilation: Dilation = "1",
    pool: Pool = False,
    ceil: Ceil = False,
    transposed: Transposed = False,
    output_padding: OutputPadding = "0",
    json: Json = False,
    markdown: Markdown = False,
    latex: Latex = False,
    debug: Debug = False,
) -> None:
    """The stride that gives an output."""
    form = Form(json, markdown, latex)
    from cnnlab.theory.size_answers import solve_stride

    answer = solve_stride(
        _sized("size", size),
        _sized("output", output),
        _sized("kernel", kernel),
        padding=_sized("padding", padding),
        dilation=_sized("dilation", dilation),
        pool=pool,
        ceil=ceil,
        transposed=transposed,
        output_padding=_sized("output-padding", output_padding),
    )
    show_answer(answer, form)


def _given(option: str, text: str | None) -> int | tuple[int, int] | None:
    return None if text is None else _sized(option, text)


def _sized(option: str, text: str) -> int | tuple[int, int]:
    """One number for both dimensions, or two: `32`, `32x48`, `32×48`, `32,48`."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise UsageError(
            f"--{option} takes whole numbers",
            where=f"--{option}",
            received=text,
            allowed="one number, or HEIGHTxWIDTH",
            next_step=f"write --{option} 5, or --{option} 5x3",
        )
    high, wide = found.groups()
    return int(high) if wide is None else (int(high), int(wide))
