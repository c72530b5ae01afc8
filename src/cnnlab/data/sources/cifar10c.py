"""CIFAR-10-C: CIFAR-10's test images under 19 corruptions of 5 severities, in local NumPy arrays. No torch.

D. Hendrycks, T. Dietterich: Benchmarking neural network robustness to common corruptions and perturbations, ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnlab.data.sources.base import Labels, Pixels
from cnnlab.data.sources.releases import CATALOGUE
from cnnlab.errors import SourceError

SEVERITIES = 5
LABELS_FILE = "labels.npy"
CLASSES = CATALOGUE["cifar10"].classes
HOMEPAGE = "https://zenodo.org/records/2535967"


@dataclass(frozen=True)
class Cifar10CCorruption:
    """One corruption of one severity, from 1 to 5, with the attributes of a `Corruption`."""

    name: str
    severity: int
    identity_strength: float = 0.0

    @property
    def strength(self) -> float:
        return float(self.severity)

    @property
    def title(self) -> str:
        return f"{self.name} {self.severity}"

    def as_call(self) -> str:
        """Its name in results."""
        return f"{self.name}({self.severity})"


@dataclass(frozen=True)
class Cifar10C:
    """A folder of CIFAR-10-C's arrays, with the labels of the N test images."""

    folder: Path
    names: tuple[str, ...]
    labels: Labels

    @property
    def corruptions(self) -> tuple[Cifar10CCorruption, ...]:
        """All corruptions at all severities."""
        return tuple(Cifar10CCorruption(name, severity) for name in self.names for severity in range(1, SEVERITIES + 1))

    def pixels(self, corruption: Cifar10CCorruption) -> Pixels:
        """Read the N images under a corruption, uint8, N×3×32×32."""
        images = _open_array(self.folder / f"{corruption.name}.npy")
        first = (corruption.severity - 1) * len(self.labels)
        return np.ascontiguousarray(images[first : first + len(self.labels)].transpose(0, 3, 1, 2))


def open_cifar10c(folder: Path) -> Cifar10C:
    """Open the arrays in a folder, without pickle; only headers and labels are read.

    Raises:
        SourceError: no arrays, or arrays of another shape.
    """
    if not (folder / LABELS_FILE).is_file():
        raise SourceError(
            "there are no arrays of CIFAR-10-C here",
            where=str(folder),
            allowed=f"a folder with {LABELS_FILE} and an array for each corruption, such as fog.npy",
            next_step=f"unpack CIFAR-10-C.tar from {HOMEPAGE}, and name the folder",
        )
    labels = _open_array(folder / LABELS_FILE)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) % SEVERITIES or not len(labels):
        raise _shape_error(folder / LABELS_FILE, labels, f"whole numbers, {SEVERITIES} severities of as many labels")
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        raise SourceError(
            "there are labels that CIFAR-10 does not have",
            where=str(folder / LABELS_FILE),
            received=f"{labels.min()} to {labels.max()}",
            allowed=f"0 to {len(CLASSES) - 1}",
        )
    each = len(labels) // SEVERITIES
    if not all(np.array_equal(labels[:each], part) for part in np.split(labels, SEVERITIES)):
        raise _shape_error(folder / LABELS_FILE, labels, "the same labels for each severity")
    names = tuple(_corruption_names(folder, (len(labels), 32, 32, 3)))
    if not names:
        raise SourceError("there are labels here, and no images", where=str(folder), allowed="fog.npy and the like")
    return Cifar10C(folder, names, labels[:each].astype(np.int64))


def _corruption_names(folder: Path, shape: tuple[int, ...]) -> Iterator[str]:
    for path in sorted(folder.glob("*.npy")):
        if path.name == LABELS_FILE:
            continue
        array = _open_array(path)
        if array.shape != shape or array.dtype != np.uint8:
            raise _shape_error(path, array, f"{' × '.join(map(str, shape))} numbers of 8 bits")
        yield path.stem


def _open_array(path: Path) -> npt.NDArray[Any]:
    try:
        array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        reason = "" if isinstance(array, np.ndarray) else "an archive of arrays"
        if reason:
            array.close()
    except (OSError, ValueError, EOFError) as error:
        array, reason = None, str(error) or "it ends too early"
    if array is None or reason:
        step = f"unpack it again from {HOMEPAGE}"
        raise SourceError("this array can't be read", where=str(path), received=reason, next_step=step)
    return np.asarray(array)


def _shape_error(path: Path, array: npt.NDArray[Any], allowed: str) -> SourceError:
    received = f"{' × '.join(map(str, array.shape))} of {array.dtype}"
    return SourceError("this is no array of CIFAR-10-C", where=str(path), received=received, allowed=allowed)
