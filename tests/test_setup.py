"""What `make setup` says where something is missing, before anything is downloaded."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
NO_VENV = "case $2 in *venv*) exit 1;; *executable*) echo python;; esac"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The scripts and the pinned installer alone, and a folder `bin` for commands that stand in for others."""
    shutil.copytree(REPOSITORY / "scripts", tmp_path / "scripts")
    shutil.copy(REPOSITORY / "requirements-uv.lock", tmp_path)
    (tmp_path / "bin").mkdir()
    for name in ("sh", "awk", "cmp", "df", "dirname", "grep", "uname"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))  # and no uv
    return tmp_path


def stand_in(checkout: Path, name: str, script: str) -> None:
    path = checkout / "bin" / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def set_up(checkout: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "scripts" / "setup.sh", "requirements.lock", ".venv"],
        env={"PATH": str(checkout / "bin"), "PYTHON": "python"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("stand_ins", "told"),
    [
        ({}, ["Python 3.11 to 3.15", "no 'python' on the path", "make PYTHON="]),
        ({"python": '[ "$1" = --version ] && echo Python 3.9.1; exit 1'}, ["Python 3.9.1", "make PYTHON="]),
        ({"python": "exit 0", "df": "echo; echo / 9 9 1048576 9 /"}, [" GB", "1 GB are free", "free some space"]),
        ({"python": NO_VENV}, ["no venv module", "no uv from 0.8 on", "python3-venv"]),
        ({"python": NO_VENV, "uv": "exit 2"}, ["no venv module", "no uv from 0.8 on", "python3-venv"]),
    ],
    ids=["no Python", "old Python", "full disk", "no venv", "no venv and an old uv"],
)
def test_what_is_missing_is_told_with_the_next_step(checkout: Path, stand_ins: dict[str, str], told: list[str]) -> None:
    if "df" not in stand_ins:
        stand_in(checkout, "df", "echo; echo / 9 9 99999999 9 /")
    for name, script in stand_ins.items():
        stand_in(checkout, name, script)
    done = set_up(checkout)
    assert done.returncode == 2
    assert all(words in done.stderr for words in told), done.stderr
    assert "Next: " in done.stderr
    assert not (checkout / ".venv").exists()
