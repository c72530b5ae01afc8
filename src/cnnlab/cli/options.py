"""Options that several commands share, and how errors are shown."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, ParamSpec, TypeVar

import typer

from cnnlab.distributed import is_main_process
from cnnlab.errors import CnnlabError, UsageError
from cnnlab.render.formatting import sanitize

if TYPE_CHECKING:
    from cnnlab.config.recipe import Recipe
    from cnnlab.interpret import targets


def given_options(context: typer.Context, *names: str) -> list[str]:
    """Return the named parameters that the user gave, on the command line or in the environment."""
    sources = {name: context.get_parameter_source(name) for name in names}
    return [name for name, source in sources.items() if source is not None and not source.name.startswith("DEFAULT")]


def refuse_option(name: str, reason: str, step: str) -> NoReturn:
    """Refuse an option that would have no effect.

    Args:
        name: of the parameter.
        reason: why it has no effect.
        step: what to change.

    Raises:
        UsageError: always.
    """
    option = f"--{name.replace('_', '-')}"
    raise UsageError(
        f"{option} would do nothing here: {reason}", where=option, next_step=f"{step}, or leave {option} out"
    )


P = ParamSpec("P")
T = TypeVar("T")
Pair = tuple[int, int]

# The largest image size, and so the largest of everything measured in pixels.
LARGEST_SIDE = 100_000
_SIZES = re.compile(r"\s*(\d+)\s*(?:[x×X,]\s*(\d+)\s*)?", re.ASCII)
_POSITION = re.compile(r"\s*(\d{1,9})\s*,\s*(\d{1,9})\s*", re.ASCII)

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe: a .toml file.", show_default=False)]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value: --set train.epochs=3 (repeatable)."),
]
Seed = Annotated[int | None, typer.Option(min=0, help="The seed of the run; short for --set train.seed=N.")]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda|mps", help="Where to compute.")]
DataFolder = Annotated[
    Path | None, typer.Option("--data", envvar="CNNLAB_DATA", help="The folder of catalogue data.", show_default=False)
]
RunsFolder = Annotated[Path, typer.Option("--runs", envvar="CNNLAB_RUNS", help="The folder of runs.")]
# For the commands that inspect a network.
NetworkArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE|RUN|BACKBONE",
        help="A recipe (.toml; random weights), a run folder (its trained ones), or a name such as resnet18 (random).",
        show_default=False,
    ),
]
WeightSeed = Annotated[
    int | None,
    typer.Option(min=0, help="The seed of random weights; by default the recipe's, or 0.", show_default=False),
]
IMAGE_METAVAR = "FILE|SPLIT:N"
IMAGE_HELP = "An image file, or one of the data as in validation:12, from 0"
LIMIT_HELP = "the largest number of images, spread evenly over the split."
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


class SplitName(StrEnum):
    """A split of the data."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


def handle_errors(command: Callable[P, T]) -> Callable[P, T]:
    """Turn the errors of a command into a message on stderr and an exit code.

    0 success, 1 failure, 2 wrong usage or input, 130 interrupted, 143 terminated.
    """

    @functools.wraps(command)
    @_exit_on_signals()
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except CnnlabError as error:
            # All processes get the same usage errors, which the main one reports; others are reported where they occur.
            if is_main_process() or not isinstance(error, UsageError):
                _report_error(error, bool(kwargs.get("debug")))
            raise SystemExit(error.exit_code) from None
        except KeyboardInterrupt:
            if is_main_process():
                print("Interrupted.", file=sys.stderr)
            raise SystemExit(130) from None
        except BrokenPipeError:
            # The reader of stdout has closed it (`cnnlab runs | head`).
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if kwargs.get("debug"):
                raise
            print(
                f"Internal error in cnnlab (please report it): {type(error).__name__}: {sanitize(str(error))}",
                file=sys.stderr,
            )
            print("  next:     repeat the command with --debug, and report what it prints", file=sys.stderr)
            raise SystemExit(1) from None

    # typer keeps the line breaks within all paragraphs but the first.
    wrapper.__doc__ = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(command.__doc__ or ""))
    return wrapper


def overrides(settings: list[str] | None, seed: int | None = None) -> dict[str, Any]:
    """Return the values of `--set KEY=VALUE` by key. A value is TOML; a bare word is a string."""
    from cnnlab.errors import SpecError
    from cnnlab.grammar.toml_files import parse_toml

    values: dict[str, Any] = {}
    for setting in settings or []:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise UsageError(
                "--set takes KEY=VALUE",
                where="--set",
                received=setting,
                allowed="a dotted key, '=', a TOML value or a bare word",
                next_step="write it as in --set train.epochs=3",
            )
        try:
            values[key.strip()] = parse_toml(f"value = {text}")["value"]
        except SpecError as error:
            if text.lstrip().startswith(("[", "{", '"', "'")):
                problems = (replace(problem, where="--set", received=setting) for problem in error.problems)
                raise SpecError.from_problems(problems) from None
            values[key.strip()] = text
    return values if seed is None else {**values, "train.seed": seed}


def read_recipe(path: Path, changes: dict[str, Any], data: Path | None = None) -> Recipe:
    """Read a recipe, changed by dotted keys. Call it before torch is loaded, which takes seconds.

    Args:
        data: the folder of catalogue data.

    Raises:
        SpecError: it has mistakes, or its layers don't fit the images, if their size is known without reading them.
        SourceError: its data is missing, or is not a folder or archive of classes.
    """
    from cnnlab.config.recipe import Recipe
    from cnnlab.context import RunContext
    from cnnlab.data.dataset import open_source
    from cnnlab.data.sources.releases import CATALOGUE
    from cnnlab.interpret import targets

    recipe = Recipe.read(path, changes)
    _check_table(targets.RecipeFile(path, recipe))
    if recipe.data.source not in CATALOGUE:
        with name_file_in_errors(path):
            open_source(recipe.data.source, RunContext(data_root=data))
    return recipe


def read_network_name(what: str, settings: list[str] | None = None) -> targets.Target:
    """Resolve RECIPE|RUN|BACKBONE. Call it before torch is loaded, which only a backbone's name does.

    Args:
        settings: of `--set`, for a recipe.

    Raises:
        SpecError: as in `read_recipe`, or nothing has this name.
        RunError: the folder is not a run.
        UsageError: settings for a run or a backbone.
    """
    from cnnlab.interpret import targets

    target = targets.resolve_target_name(str(find_run(Path(what))), overrides=overrides(settings))
    if isinstance(target, targets.RecipeFile):
        _check_table(target)
    return target


def _check_table(file: targets.RecipeFile) -> None:
    """Check that layers fit together. Images of a folder are read later, once; a backbone needs torch."""
    from cnnlab.data.sources.releases import CATALOGUE
    from cnnlab.interpret.targets import trace_recipe

    if file.recipe.data.source in CATALOGUE and file.recipe.model.backbone is None:
        trace_recipe(file)


def read_sizes(
    text: str, option: str, *, least: int = 1, most: int = LARGEST_SIDE, example: str = "3x5", also: str = ""
) -> int | Pair:
    """Read one number of pixels for both dimensions, or two, the vertical first: `32`, `32x48`, `32×48`, `32,48`.

    Args:
        option: as written, with its dashes.
        least, most: the range of each number.
        example: two valid numbers, for the message.
        also: a word that the option accepts as well.

    Raises:
        UsageError: anything else.

    >>> read_sizes("32", "--size"), read_sizes("32x48", "--size")
    (32, (32, 48))
    """
    match = _SIZES.fullmatch(text)
    # Longer numbers are not read: Python refuses those of some thousand digits.
    digits = [part.lstrip("0") or "0" for part in match.groups() if part] if match else []
    sizes = [int(part) for part in digits if len(part) <= len(str(most))]
    if not digits or len(sizes) < len(digits) or not all(least <= size <= most for size in sizes):
        raise UsageError(
            "this takes one whole number, or two",
            where=option,
            received=text,
            allowed=f"{least:,} to {most:,}: one for both dimensions, or HEIGHTxWIDTH{f'; or {also}' if also else ''}",
            next_step=f"write it as in {option} {example.partition('x')[0]}, or {option} {example}",
        )
    return sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1])


def read_image_size(text: str) -> Pair | None:
    """Return the height and width in pixels of `--size`; None for an empty text.

    Raises:
        UsageError: as in `read_sizes`.

    >>> read_image_size("32")
    (32, 32)
    """
    if not text:
        return None
    size = read_sizes(text, "--size", example="32x48")
    return size if isinstance(size, tuple) else (size, size)


def read_position(text: str, option: str) -> Pair | None:
    """Return the row and column of `3,4`, counted from 0; None for an empty text.

    Raises:
        UsageError: anything else.
    """
    if not text:
        return None
    match = _POSITION.fullmatch(text)
    if not match:
        raise UsageError(
            "this takes a row and a column",
            where=option,
            received=text,
            allowed="ROW,COLUMN: two whole numbers, counted from 0",
            next_step=f"write it as in {option} 3,4",
        )
    return int(match[1]), int(match[2])


def find_file(kind: Literal["study", "search"], file: Path) -> Path:
    """The file, with its ending or without, or else the study or search of that name that comes with cnnlab."""
    from cnnlab.grammar.toml_files import bundled_search, bundled_study

    if file.is_file() or file.parent != Path():
        return file
    bundled = bundled_study if kind == "study" else bundled_search
    paths = (file.with_name(f"{file.stem}.toml"), bundled(file.stem))
    return next((path for path in paths if path.is_file()), file)


@contextlib.contextmanager
def name_file_in_errors(path: Path) -> Iterator[None]:
    """Context that adds the recipe's file to errors that only its data reveals."""
    from cnnlab.errors import SourceError, SpecError
    from cnnlab.grammar.toml_files import locate_in_file

    try:
        yield
    except (SpecError, SourceError) as error:
        raise locate_in_file(error, path) from None


def find_run(path: Path) -> Path:
    """Return the run at a path, or of that name in the runs folder, as `cnnlab runs` lists it."""
    named = Path(os.environ.get("CNNLAB_RUNS") or "runs") / path
    return named if not path.exists() and named.is_dir() else path


@contextlib.contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Context in which SIGINT and SIGTERM end the command, and a second one does not interrupt its last messages.

    An ignored signal, such as SIGINT in a shell's background, stays ignored.
    """

    def exit_on_signal(number: int, _frame: FrameType | None) -> None:
        for one in before:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(143)

    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    before = {one: handler for one, handler in before.items() if handler is not signal.SIG_IGN}
    for one in before:
        signal.signal(one, exit_on_signal)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _report_error(error: CnnlabError, debug: bool) -> None:
    if debug:
        import traceback

        print(sanitize(traceback.format_exc()), end="", file=sys.stderr)
    from cnnlab.cli.output.console import show_error

    show_error(error)
