"""A study's own folder: what it was, how it computed, what came out. Its runs lie beside all others. No torch.

study.toml     the whole study                            precision.json      how its runs compute
result.json    what it found                              report.html   the page
failures.json  the runs that have no result, and why     declared.json its preregistration, and changes since
shifted/       what each run answered under the study's shifts, image by image
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from cnnlab.errors import RunError
from cnnlab.records import first_validation_error
from cnnlab.storage.run_folder import slug
from cnnlab.studies.result import StudyPrecision, StudyResult

STUDIES = "studies"
SHIFTED = "shifted"
NAME_DIGITS = 40


def study_name(name: str) -> str:
    """A name that is safe as a folder's, and short enough that its runs' names are too."""
    return slug(name)[:NAME_DIGITS]


def study_folder(runs: Path, name: str) -> Path:
    """Where a study's own files lie; its runs lie beside all others."""
    return runs.resolve() / STUDIES / name


def read_study_precision(folder: Path) -> StudyPrecision | None:
    """The precision that a study used before; None where that is not known, and a benchmark finds it again."""
    for name in ("precision.json", "way.json"):  # the latter in folders of earlier versions
        try:
            return StudyPrecision.from_json((folder / name).read_bytes())
        except (OSError, ValidationError):
            continue
    return None


def read_result(folder: Path) -> StudyResult:
    """The result that a study wrote.

    Raises:
        RunError: there is none, or it is damaged.
    """
    path = folder / "result.json"
    try:
        return StudyResult.from_json(path.read_bytes())
    except FileNotFoundError:
        step = "carry it out: cnnlab study FILE"
        raise RunError("there is no study with a result here", where=str(folder), next_step=step) from None
    except ValidationError as error:
        first = first_validation_error(error)
        step = "give the study's command again: it reads its runs anew"
        raise RunError(f"result.json is damaged: {first}", where=str(path), next_step=step) from None


def read_shifted_example(folder: Path, result: StudyResult) -> npt.NDArray[np.uint8] | None:
    """The image that a study's page shows as it is and under each shift, uint8, (1 + S)×C×H×W; None without any."""
    for group in result.shifted.groups if result.shifted is not None else ():
        asked = [row.call for row in group.rows]
        for path in sorted((folder / SHIFTED).glob(f"{group.runs[0]}-*.npz")):
            try:
                with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                    example, calls = np.asarray(stored["example"], dtype=np.uint8), stored["calls"].tolist()
            except Exception:  # readers of zip and NumPy answer damaged bytes with exceptions of many kinds
                continue
            if calls == asked:
                return example
    return None


def is_study(path: Path) -> bool:
    """Whether a folder is that of a study with a result."""
    return path.is_dir() and (path / "result.json").is_file() and (path / "study.toml").is_file()
