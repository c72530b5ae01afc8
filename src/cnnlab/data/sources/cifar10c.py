"""CIFAR-10-C: CIFAR-10's test images under 19 corruptions of 5 severities, in local NumPy arrays. No torch.

D. Hendrycks, T. Dietterich: Benchmarking neural network robustness to common corruptions and perturbations, ICLR 2019.
"""

from __future__ import annotations

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
    each = len(labels) // SEVERITIES if labels.ndim == 1 and labels.dtype.kind in "iu" else 0
    allowed = f"whole numbers from 0 to {len(CLASSES) - 1}, {SEVERITIES} times the same ones"
    repeated = each > 0 and np.array_equal(labels, np.tile(labels[:each], SEVERITIES))
    is_right = repeated and labels.min() >= 0 and labels.max() < len(CLASSES)
    _check(folder / LABELS_FILE, labels, bool(is_right), allowed)
    paths = [path for path in sorted(folder.glob("*.npy")) if path.name != LABELS_FILE]
    if not paths:
        raise SourceError("there are labels here, and no images", where=str(folder), allowed="fog.npy and the like")
    for path in paths:
        array, shape = _open_array(path), (len(labels), 32, 32, 3)
        is_right = array.shape == shape and array.dtype == np.uint8
        _check(path, array, is_right, f"{' × '.join(map(str, shape))} numbers of 8 bits")
    return Cifar10C(folder, tuple(path.stem for path in paths), labels[:each].astype(np.int64))


def _open_array(path: Path) -> npt.NDArray[Any]:
    try:
        return np.asarray(np.lib.format.open_memmap(path, mode="r"))
    except (OSError, ValueError, EOFError) as error:
        step = f"unpack it again from {HOMEPAGE}"
        reason = str(error) or "it ends too early"
        raise SourceError("this array can't be read", where=str(path), received=reason, next_step=step) from None


def _check(path: Path, array: npt.NDArray[Any], is_right: bool, allowed: str) -> None:
    if not is_right:
        values = f"{' × '.join(map(str, array.shape))} of {array.dtype}"
        raise SourceError("this is no array of CIFAR-10-C", where=str(path), received=values, allowed=allowed)
