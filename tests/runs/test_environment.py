"""The digest of the code that computes: what changes it, and what does not."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from cnnlab.runs import environment
from cnnlab.runs.environment import code_hash, normalize_source
from cnnlab.settings import cache_dir

SOURCE = b'''"""A module."""

import math


class Half:
    """A half."""

    share: float = 0.5

    def of(self, number):
        """The half of a number."""
        return self.share * number  # rounds down

    async def later(self):
        """What comes."""
'''


@pytest.mark.parametrize(
    ("before", "after", "computes"),
    [
        (b"A module.", b"Another word.", False),
        (b'    """A half."""\n\n', b"", False),
        (b"The half of a number.", b"Half a number.\n\n        Source: none.", False),
        (b"  # rounds down", b"", False),
        (b"import math", b"import   math", False),
        (b"self.share * number", b"(self.share * number)", False),
        (b"0.5", b"0.25", True),
        (b"self.share * number", b"self.share + number", True),
        (b"self.share * number", b"number * self.share", True),
        (b"import math", b"import cmath", True),
        (b"share: float", b"share: int", True),
        (b"async def", b"def", True),
        (b"def of(self, number)", b"def of(self, *number)", True),
        (b"return self", b"return 0, self", True),
        (b"import math", b"import math\n\nNAMES = None", True),
    ],
)
def test_words_and_layout_do_not_compute_and_all_else_does(before: bytes, after: bytes, computes: bool) -> None:
    assert before in SOURCE
    assert (normalize_source(SOURCE.replace(before, after)) != normalize_source(SOURCE)) == computes


def test_the_digest_is_of_the_files_that_compute_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = inspect.unwrap(code_hash)
    monkeypatch.setenv("CNNLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "cnnlab" / "runs" / "environment.py"))
    monkeypatch.setattr(environment, "NUMERIC_SOURCES", ("data", "one.py"))
    root = tmp_path / "cnnlab"
    (root / "data").mkdir(parents=True)
    (root / "runs").mkdir()
    (root / "runs" / "environment.py").write_text("")
    (root / "data" / "two.py").write_bytes(SOURCE)
    (root / "one.py").write_bytes(SOURCE)
    (root / "three.py").write_bytes(SOURCE)
    first = find()
    [kept] = (cache_dir() / "facts").iterdir()
    (root / "three.py").write_bytes(b"other = 1")
    assert find() == first
    kept.write_text("damaged")
    assert find() == first
    (root / "one.py").write_bytes(SOURCE.replace(b"A half.", b"Half of it."))
    assert find() == first
    (root / "data" / "two.py").write_bytes(SOURCE.replace(b"0.5", b"0.625"))
    assert find() != first
