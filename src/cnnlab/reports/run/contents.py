"""What a page shows of one run: records and arrays that others computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cnnlab.config.recipe import Recipe
from cnnlab.interpret.activations.result import ActivationMaps
from cnnlab.interpret.weights.filters import LayerFilters
from cnnlab.records import (
    ClaimRecord,
    DataRecord,
    Environment,
    EpochRecord,
    FeatureCacheRecord,
    LayerTable,
    LedgerEntry,
    PrecisionConfig,
    RunResult,
    WeightLoadReport,
)
from cnnlab.render.confusion_matrix import Counts

Weights = npt.NDArray[np.floating]


@dataclass(frozen=True)
class ConfusionMatrix:
    """What the classes of one split were taken for: K×K counts, row = true class, column = predicted class."""

    split: str
    counts: Counts


@dataclass(frozen=True)
class RunView:
    """All that the page of a run needs.

    Attributes:
        name: what the run is called, its folder's name.
        epochs: the points of the learning curve, in order; there may be none when the first step diverged.
        claims: published figures, judged.
        openings: every time that this test set was looked at, by this run and by others.
        filters: of the first convolution; None where the network has none.
        activations: of the first and the last convolution for the image that the run keeps; None where it keeps none.
        confusion: of the test split, or of the validation split while the test set is sealed; None where there is none.
        loaded: the initial weights of its backbone; None where all were random.
        features: how it computed the features of its frozen trunk; None where nothing is frozen.
    """

    name: str
    recipe: Recipe
    table: LayerTable
    data: DataRecord
    environment: Environment
    precision_config: PrecisionConfig
    epochs: tuple[EpochRecord, ...]
    result: RunResult
    claims: tuple[ClaimRecord, ...] = ()
    openings: tuple[LedgerEntry, ...] = ()
    filters: LayerFilters | None = None
    activations: ActivationMaps | None = None
    confusion: ConfusionMatrix | None = None
    loaded: WeightLoadReport | None = None
    features: FeatureCacheRecord | None = None
