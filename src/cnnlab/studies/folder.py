"""The folder of a study; its runs are beside all others. No torch.

study.toml      the study, its base included
precision.json  precision and memory format of all runs
declared.json   the preregistration, and changes since
failures.json   runs without a result, and why
result.json     the result
report.html     the report
shifted/        predictions of each run under the study's shifts
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from cnnlab.errors import RunError
from cnnlab.records import Record, first_validation_error
from cnnlab.storage.run_folder import slug
from cnnlab.studies.result import StudyPrecision, StudyResult

ResultT = TypeVar("ResultT", bound=Record)
STUDIES = "studies"
SHIFTED = "shifted"
NAME_DIGITS = 40


def study_name(name: str) -> str:
    """A name that is safe as a folder's, and short enough that its runs' names are too."""
    return slug(name)[:NAME_DIGITS]


def study_folder(runs: Path, name: str) -> Path:
    """The folder of a study."""
    return runs.resolve() / STUDIES / name


def read_study_precision(folder: Path) -> StudyPrecision | None:
    """The precision of a study's earlier runs; None where it is unknown."""
    for name in ("precision.json", "way.json"):  # the latter in folders of earlier versions
        try:
            return StudyPrecision.from_json((folder / name).read_bytes())
        except (OSError, ValidationError):
            continue
    return None


def read_result(folder: Path) -> StudyResult:
    """Read the result of a study.

    Raises:
        RunError: there is none, or it is damaged.
    """
    return read_record(StudyResult, folder, "study")


def read_record(kind: type[ResultT], folder: Path, command: str) -> ResultT:
    """Read `result.json` of a folder that a command wrote.

    Raises:
        RunError: there is none, or it is damaged.
    """
    path = folder / "result.json"
    try:
        return kind.from_json(path.read_bytes())
    except FileNotFoundError:
        step = f"run it: cnnlab {command} FILE"
        raise RunError(f"there is no result of cnnlab {command} here", where=str(folder), next_step=step) from None
    except ValidationError as error:
        what = f"result.json is damaged: {first_validation_error(error)}"
        step = "run the command again: it reads the runs"
        raise RunError(what, where=str(path), next_step=step) from None


def make_folder(folder: Path) -> None:
    """Create a folder within the runs folder.

    Raises:
        RunError: it can't be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what, step = f"the folder can't be created: {error.strerror}", "choose another with --runs"
        raise RunError(what, where=str(folder), next_step=step) from None


def read_shifted_example(folder: Path, result: StudyResult) -> npt.NDArray[np.uint8] | None:
    """An image unshifted and under each shift, uint8, (1 + S)×C×H×W, for the report; None without shifts."""
    for group in result.shifted.groups if result.shifted is not None else ():
        for path in sorted((folder / SHIFTED).glob(f"{group.runs[0]}-*.npz")):
            try:
                with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                    example, calls = np.asarray(stored["example"], dtype=np.uint8), stored["calls"].tolist()
            except Exception:  # damaged files raise exceptions of many kinds
                continue
            if calls == [row.call for row in group.rows]:
                return example
    return None


def is_study(path: Path) -> bool:
    """Whether a folder is that of a study with a result."""
    return path.is_dir() and (path / "result.json").is_file() and (path / "study.toml").is_file()
