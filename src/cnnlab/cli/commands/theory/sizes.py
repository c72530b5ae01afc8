"""`cnnlab theory output|padding|kernel|stride`: any one of them from the others. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from cnnlab.cli.options import Debug, Json, handle_errors, read_sizes
from cnnlab.cli.output.documents import Format, FormatOrSvg, choose_format, show_output

if TYPE_CHECKING:
    from cnnlab.render.document import Renderable

_METAVAR = "N|HxW"
_ZERO_ALLOWED = ("padding", "output_padding")

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
        group.command()(handle_errors(command))


def output(
    context: typer.Context,
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
    format_: FormatOrSvg = "text",
    debug: Debug = False,
) -> None:
    """The size that comes out of a convolution or a pool, and what it never sees."""
    from cnnlab.theory.size_arithmetic.answers import solve_output

    _print_solution(solve_output, context)


def padding(
    context: typer.Context,
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
    format_: Format = "text",
    debug: Debug = False,
) -> None:
    """The padding that gives an output, on each side."""
    from cnnlab.theory.size_arithmetic.answers import solve_padding

    _print_solution(solve_padding, context)


def kernel(
    context: typer.Context,
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
    format_: Format = "text",
    debug: Debug = False,
) -> None:
    """The kernel that gives an output."""
    from cnnlab.theory.size_arithmetic.answers import solve_kernel

    _print_solution(solve_kernel, context)


def stride(
    context: typer.Context,
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
    format_: Format = "text",
    debug: Debug = False,
) -> None:
    """The stride that gives an output."""
    from cnnlab.theory.size_arithmetic.answers import solve_stride

    _print_solution(solve_stride, context)


def _print_solution(solve: Callable[..., Renderable], context: typer.Context) -> None:
    """Show what a question's options come to; each has the name of the argument that it is."""
    from cnnlab.theory.size_arithmetic.solvers import MAX_SIZE

    given = {name: value for name, value in context.params.items() if value is not None and name != "debug"}
    output_format = choose_format(given.pop("json"), given.pop("format_"))
    for name, value in given.items():
        if isinstance(value, str):
            least = 0 if name in _ZERO_ALLOWED else 1
            given[name] = read_sizes(value, f"--{name.replace('_', '-')}", least=least, most=MAX_SIZE)
    show_output(solve(**given), output_format)
