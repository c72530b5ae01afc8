"""The options that commands share, and the door through which every error reaches the person.

Heavy imports stand inside the commands, so that `cnnlab --help` answers at once.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from cnnlab.errors import CnnlabError, UsageError

P = ParamSpec("P")
T = TypeVar("T")

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe: a .toml file.", show_default=False)]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value: --set train.epochs=3 (repeatable)."),
]
Seed = Annotated[int | None, typer.Option(min=0, help="The seed of the run; short for --set train.seed=N.")]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda|mps", help="Where to compute.")]
DataFolder = Annotated[
    Path | None, typer.Option("--data", envvar="CNNLAB_DATA", help="Where catalogue data lives.", show_default=False)
]
RunsFolder = Annotated[Path, typer.Option("--runs", envvar="CNNLAB_RUNS", help="Where runs live.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


def guarded(command: Callable[P, T]) -> Callable[P, T]:
    """Turn what a command raises into a message on stderr and an exit code.

    0 done, 1 it failed, 2 wrong usage or input, 130 interrupted, 143 terminated.
    """

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        before = signal.signal(signal.SIGTERM, _terminate)
        try:
            return command(*args, **kwargs)
        except CnnlabError as error:
            _explain(error, bool(kwargs.get("debug")))
            raise SystemExit(error.exit_code) from None
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
            raise SystemExit(130) from None
        except BrokenPipeError:
            # The reader of our output has gone (`cnnlab runs | head`): nothing more to say, and nowhere to say it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if kwargs.get("debug"):
                raise
            print(f"cnnlab made a mistake: {type(error).__name__}: {error}", file=sys.stderr)
            print("  next:     repeat the command with --debug, and report what it prints", file=sys.stderr)
            raise SystemExit(1) from None
        finally:
            signal.signal(signal.SIGTERM, before)

    return wrapper


def overrides(settings: list[str] | None, seed: int | None = None) -> dict[str, Any]:
    """The values of `--set KEY=VALUE`, by key. A value is TOML; a bare word is a text."""
    from cnnlab.errors import SpecError
    from cnnlab.spec.files import parse_toml

    found: dict[str, Any] = {}
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
            found[key.strip()] = parse_toml(f"value = {text}")["value"]
        except SpecError:
            if text.lstrip().startswith(("[", "{", '"', "'")):
                raise
            found[key.strip()] = text
    return found if seed is None else {**found, "train.seed": seed}


@contextlib.contextmanager
def about_file(path: Path) -> Iterator[None]:
    """Within it, problems of a recipe that only its data brings to light are told with the recipe's file."""
    from cnnlab.errors import SpecError
    from cnnlab.spec.files import in_file

    try:
        yield
    except SpecError as error:
        raise in_file(error, path) from None


def find_run(path: Path) -> Path:
    """The run at a path, or of that name in the runs folder, as `cnnlab runs` shows it."""
    named = Path(os.environ.get("CNNLAB_RUNS") or "runs") / path
    return named if not path.exists() and named.is_dir() else path


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)


def _explain(error: CnnlabError, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    from cnnlab.cli.console import show_error

    show_error(error)
