"""A finished run, made once, and what it takes to cut others off."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnlab.config.recipe import Recipe
from cnnlab.context import Callbacks, RunContext
from cnnlab.data import loader
from cnnlab.data.loader import ImageLoader
from cnnlab.runs.run import resume_run, run
from cnnlab.storage.run_folder import RunFolder

TIMES = ("run", "seconds", "images_per_second")  # and names
Files = Mapping[str, bytes]


@pytest.fixture
def picture_folder(colours: Path, tmp_path: Path) -> Iterator[Path]:
    """The pictures again, to be changed."""
    return shutil.copytree(colours, tmp_path / "pictures")


class Cut(Exception):  # noqa: N818
    """The process ends here."""


@dataclass(frozen=True)
class Moment:
    """What a process that is killed at an event leaves: the files of its run folder."""

    event: str
    files: Files


class Cutting:
    """Runs that are looked at, and can be cut, at each of their events.

    An event is a batch that is about to be trained on or scored, a step that is done, a word of the run, or a change
    of a file that is about to happen.
    """

    Cut = Cut

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = 0

    def straight(self, recipe: Recipe, cut_at: int | None = None) -> tuple[RunFolder, list[Moment]]:
        """A run and all its moments; with `cut_at` it is cut at that event, counted from 0."""
        return self._watched(
            lambda callbacks: run(recipe, RunContext(self._new(), device="cpu", callbacks=callbacks)), cut_at
        )

    def resumed(self, files: Files) -> RunFolder:
        """What becomes of a run folder with these files when it is gone on with."""
        with told_of_events(lambda _: None):
            return resume_run(self.restored(files).path, RunContext(device="cpu"))

    def resumed_with_moments(self, files: Files) -> tuple[RunFolder, list[Moment]]:
        """The same, and all its moments."""
        path = self.restored(files).path
        return self._watched(lambda callbacks: resume_run(path, RunContext(device="cpu", callbacks=callbacks)))

    def restored(self, files: Files) -> RunFolder:
        """A run folder with these files."""
        path = self._new() / "restored"
        path.mkdir(parents=True)
        for name, content in files.items():
            (path / name).parent.mkdir(exist_ok=True)
            (path / name).write_bytes(content)
        return RunFolder(path)

    def assert_same(self, ended: RunFolder, straight: RunFolder) -> None:
        """Everything in both folders is the same, bit for bit, but for times and names."""
        found, expected = comparable(contents(ended.path)), comparable(contents(straight.path))
        assert found.keys() == expected.keys()
        assert [name for name in expected if found[name] != expected[name]] == []

    def _watched(
        self, work: Callable[[Callbacks], object], cut_at: int | None = None
    ) -> tuple[RunFolder, list[Moment]]:
        folders: list[RunFolder] = []
        moments: list[Moment] = []

        def note(event: str) -> None:
            if folders:
                files = contents(folders[0].path)
                if moments:
                    moments.extend(_torn(moments[-1].files, files))
                moments.append(Moment(event, files))
                if len(moments) - 1 == cut_at:
                    raise Cut

        callbacks = Callbacks(on_run_start=folders.append, on_step=lambda *_: note("step"), log=lambda _: note("word"))
        with told_of_events(note), suppress(Cut):
            work(callbacks)
        return folders[0], moments

    def _new(self) -> Path:
        self.made += 1
        return self.folder / str(self.made)


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a run; the lock says nothing."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def comparable(files: Files) -> dict[str, object]:
    """What must be equal in two runs: tensors, records and predictions, without times and names."""
    return {name: _comparable(name, content) for name, content in files.items() if not is_rest(name)}


def is_rest(name: str) -> bool:
    """Whether a file is a small one that a killed process had half written; those of tensors are to go."""
    return name.startswith(".") and not name.startswith((".best-", ".last-"))


def _comparable(name: str, content: bytes) -> object:
    if name.endswith((".json", ".jsonl")):
        # As text: NaN equals itself.
        return [json.dumps(_without_times(json.loads(one))) for one in _records(name, content)]
    if name.endswith(".npz"):
        with np.load(io.BytesIO(content)) as arrays:
            return {part: arrays[part].tobytes() for part in arrays.files}
    return content


def _records(name: str, content: bytes) -> list[bytes]:
    return content.splitlines() if name.endswith("l") else [content]


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_times(item) for name, item in value.items() if name not in TIMES}
    return [_without_times(item) for item in value] if isinstance(value, list) else value


def _torn(before: Files, after: Files) -> Iterator[Moment]:
    """The moments within the writing of a line of the learning curve."""
    old, new = (files.get("metrics.jsonl", b"") for files in (before, after))
    if len(new) > len(old) and new.startswith(old):
        for size in (len(old) + 1, (len(old) + len(new)) // 2, len(new) - 1):
            yield Moment("torn line", {**after, "metrics.jsonl": new[:size]})


@contextmanager
def told_of_events(note: Callable[[str], None]) -> Iterator[None]:
    """Within it, `note` is told of each batch, and of each change of a file before it happens.

    Nothing is forced onto the disk: no power is cut here.
    """

    def batches(kind: str, function: Callable[..., Any], epoch_at: int | None) -> Callable[..., Iterator[Any]]:
        def told(self: ImageLoader, *arguments: Any, **named: Any) -> Iterator[Any]:
            where = f"{kind} {arguments[epoch_at] if epoch_at is not None else len(self)}"
            for number, batch in enumerate(function(self, *arguments, **named)):
                note(f"{where}.{number}")
                yield batch

        return told

    def change(name: str) -> Callable[..., None]:
        function = getattr(os, name)

        def told(*arguments: Any) -> None:
            if not str(arguments[0]).endswith(".new"):  # of the decode cache, which the first run alone fills
                note(name)
            if name != "fsync":
                function(*arguments)

        return told

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "EVAL_BATCH_MAX_IMAGES", 5)  # so that a part has several batches
        patch.setattr(ImageLoader, "train_batches", batches("batch", ImageLoader.train_batches, 2))
        patch.setattr(ImageLoader, "eval_batches", batches("scoring", ImageLoader.eval_batches, None))
        for name in ("fsync", "replace", "unlink"):
            patch.setattr(os, name, change(name))
        yield


@pytest.fixture
def cutting(tmp_path: Path) -> Cutting:
    """Runs to cut, in the folder of the test."""
    return Cutting(tmp_path)


@pytest.fixture(scope="session")
def straight(
    recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[RunFolder, list[Moment]]]:
    """Makes a straight run, once for the same recipe or fields of one, and all its moments; to be read only."""
    cutting = Cutting(tmp_path_factory.mktemp("straight"))
    known: dict[str, tuple[RunFolder, list[Moment]]] = {}

    def make(made: Recipe | None = None, **fields: Any) -> tuple[RunFolder, list[Moment]]:
        made = made or recipe(**fields)
        name = made.to_toml()
        if name not in known:
            known[name] = cutting.straight(made)
        return known[name]

    return make
