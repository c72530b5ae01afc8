"""The contents of a run's report: records and arrays that other modules computed."""

from __future__ import annotations

from dataclasses import dataclass

from cnnlab.config.recipe import Recipe
from cnnlab.interpret.activations.result import ActivationMaps
from cnnlab.interpret.weights.result import LayerWeights
from cnnlab.records import (
    ClaimRecord,
    DataRecord,
    Environment,
    EpochRecord,
    FeatureCacheRecord,
    LayerTable,
    LedgerEntry,
    PrecisionConfig,
    Provenance,
    RunResult,
    WeightLoadReport,
)
from cnnlab.render.confusion_matrix import Counts


@dataclass(frozen=True)
class ConfusionMatrix:
    """A confusion matrix of one split: K×K counts, row = true class, column = predicted class."""

    split: str
    counts: Counts


@dataclass(frozen=True)
class RunView:
    """The contents of a run's report.

    Attributes:
        name: the name of the run folder.
        epochs: the points of the learning curve, in order; empty if the first step diverged.
        claims: published figures with their verdicts.
        openings: every evaluation on this test set, by this run and by others.
        weights: of the first convolution; None if there is none.
        activations: of the first and the last convolution for the stored example; None without one.
        confusion: of the test split, or of the validation split if the test set is sealed; None if there is neither.
        loaded: the initial weights of its backbone; None if all were random.
        features: how the features of its frozen trunk were computed; None if nothing is frozen.
        provenance: the file that its recipe is from; None in a run of an earlier version.
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
    weights: LayerWeights | None = None
    activations: ActivationMaps | None = None
    confusion: ConfusionMatrix | None = None
    loaded: WeightLoadReport | None = None
    features: FeatureCacheRecord | None = None
    provenance: Provenance | None = None
