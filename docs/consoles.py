"""Run the commands of docs/theory.md anew, and put what they print under them.

python docs/consoles.py

A block that begins with ```console holds commands, each after `$ `, and what they print. The commands are run from
the repository's folder, in this process.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from cnnlab.cli.main import app

HERE = Path(__file__).parent
PAGES = (HERE / "theory.md",)
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def renewed(page: str) -> str:
    """The page with every block printed anew."""
    return _BLOCK.sub(lambda block: f"```console\n{_printed(block[1])}```", page)


def commands(page: str) -> list[str]:
    """The commands of a page, in order."""
    return [line[2:] for block in _BLOCK.finditer(page) for line in block[1].splitlines() if line.startswith("$ ")]


def output(command: str) -> str:
    """What a command prints on stdout, without the blanks that fill its lines."""
    program, *arguments = shlex.split(command)
    assert program == "cnnlab"
    answer = CliRunner().invoke(app, arguments)
    if answer.exit_code:
        raise SystemExit(f"{command}\n{answer.stderr}")
    return "\n".join(line.rstrip() for line in answer.stdout.rstrip().splitlines()) + "\n"


def _printed(block: str) -> str:
    lines = [line for line in block.splitlines() if line.startswith("$ ")]
    return "\n".join(f"{line}\n{output(line[2:])}" for line in lines)


if __name__ == "__main__":
    os.chdir(HERE.parent)
    for path in PAGES:
        path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
