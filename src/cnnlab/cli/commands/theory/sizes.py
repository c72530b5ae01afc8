"""`cnnlab theory output|padding|kernel|stride`: any one of them from the others. Loads no torch."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from cnnlab.cli.options import Debug, Json, handle_errors, read_sizes
from cnnlab.cli.output.documents import Format, FormatOrSvg, choose_format, show_output

_METAVAR = "N|HxW"


def _sizes_option(help_text: str) -> Any:
    return typer.Option(metavar=_METAVAR, help=help_text)


# Every option of the four commands; one that has a default is optional.
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "size": (Annotated[str, _sizes_option("The image's size: one number, or HEIGHTxWIDTH.")], ...),
    "output": (Annotated[str, _sizes_option("The wanted size of the output.")], ...),
    "kernel": (Annotated[str, _sizes_option("The window's size.")], ...),
    "stride": (Annotated[str | None, _sizes_option("The step; 1 unless given, a pool's is its kernel.")], None),
    "padding": (Annotated[str, _sizes_option("On each side.")], "0"),
    "dilation": (Annotated[str, _sizes_option("How far apart a window's pixels are.")], "1"),
    "pool": (Annotated[bool, typer.Option("--pool", help="A pool.")], False),
    "ceil": (Annotated[bool, typer.Option("--ceil", help="A pool that rounds up (ceil mode).")], False),
    "transposed": (Annotated[bool, typer.Option("--transposed", help="A transposed convolution.")], False),
    "output_padding": (Annotated[str, _sizes_option("Of a transposed convolution, at the end only.")], "0"),
}
_SAME_OUTPUT = (Annotated[str | None, _sizes_option("The wanted size; the image's unless given.")], None)
_COUNTS: dict[str, tuple[Any, Any]] = {
    "channels": (Annotated[int | None, typer.Option(help="Of the image: for the shape and the parameters.")], None),
    "filters": (Annotated[int | None, typer.Option(help="Of the convolution: for the parameters.")], None),
}
_SUMMARIES = {
    "output": "The output size of a convolution or a pool, and the pixels that no window covers.",
    "padding": "The padding on each side that gives an output.",
    "kernel": "The kernel that gives an output.",
    "stride": "The stride that gives an output.",
}


def register(group: typer.Typer) -> None:
    for unknown, summary in _SUMMARIES.items():
        group.command(unknown, help=summary)(_command(unknown))


def _command(unknown: str) -> Any:
    """The command that solves for one quantity: its options are the other ones."""
    options = {name: option for name, option in _OPTIONS.items() if name != unknown}
    if unknown == "padding":
        options["output"] = _SAME_OUTPUT
    if unknown == "output":
        options |= _COUNTS
    shared = {"json": (Json, False), "format_": (FormatOrSvg if unknown == "output" else Format, "text")}
    options |= {**shared, "debug": (Debug, False)}

    @handle_errors
    def command(**given: Any) -> None:
        _solve_and_show(unknown, given)

    # typer reads a command's options from its signature.
    command.__annotations__ = {name: annotation for name, (annotation, _) in options.items()}
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if default is ... else default,
                annotation=annotation,
            )
            for name, (annotation, default) in options.items()
        ]
    )
    return command


def _solve_and_show(unknown: str, given: dict[str, Any]) -> None:
    from cnnlab.theory.output_size import MAX_SIZE
    from cnnlab.theory.size_arithmetic import compute

    output_format = choose_format(given.pop("json"), given.pop("format_"))
    quantities = {name: value for name, value in given.items() if value is not None and name != "debug"}
    for name, value in quantities.items():
        if isinstance(value, str):
            least = 0 if name in ("padding", "output_padding") else 1
            quantities[name] = read_sizes(value, f"--{name.replace('_', '-')}", least=least, most=MAX_SIZE)
    show_output(getattr(compute, f"solve_{unknown}")(**quantities), output_format)
