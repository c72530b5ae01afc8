"""Cached features of a run's frozen trunk: planned with the training setup, computed before the first step."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cnnlab.config.recipe import Recipe
from cnnlab.context import ProgressCallback
from cnnlab.data.augmentation.views import FlippedViews
from cnnlab.data.dataset import Dataset
from cnnlab.data.loader import ImageLoader, Loader
from cnnlab.data.sources.base import Split
from cnnlab.distributed import SINGLE_PROCESS, ProcessGroup
from cnnlab.models.model_split import ModelSplit
from cnnlab.models.network_plan import NetworkPlan
from cnnlab.records import FeatureCacheRecord
from cnnlab.render.formatting import format_bytes, pluralize
from cnnlab.storage.run_folder import RunFolder
from cnnlab.training.feature_cache.features import FeatureExtractor, FeatureLoader
from cnnlab.training.feature_cache.plan import CachePlan, plan_feature_cache

# The number of images on which the split of a network is tried.
PROBE_IMAGES = 2


@dataclass(frozen=True)
class TrainingInputs:
    """The inputs of a training: images, or their features.

    Attributes:
        model_split: where the network is split; None where it is trained on images.
        record: how the features of the frozen part are computed; None where nothing is frozen.
    """

    train: Loader
    validation: Loader | None
    model_split: ModelSplit | None = None
    record: FeatureCacheRecord | None = None

    def eval_loader(self, split: Split) -> Loader | None:
        """The loader for a split's final scores: of features, where they are exact up to rounding; None: of images."""
        loader = {"train": self.train, "validation": self.validation}.get(split)
        is_same = self.record is not None and self.record.cached and self.record.dtype == "fp32"
        return loader if is_same and isinstance(loader, FeatureLoader) else None


def choose_cache_plan(
    recipe: Recipe,
    plan: NetworkPlan,
    network: nn.Module,
    dataset: Dataset,
    device: torch.device,
    process_group: ProcessGroup = SINGLE_PROCESS,
    resume_from: RunFolder | None = None,
    images: Tensor | None = None,
) -> CachePlan | None:
    """Decide how the features of the frozen part are computed; None where nothing is frozen.

    The main process decides for all, since machines may differ in their room for features.

    Args:
        images: on which the split of the network is tried, N×C×H×W, normalised; None: the first of the data.
    """
    if plan.trainable == plan.parameters:
        return None
    previous = resume_from.features() if resume_from is not None else None
    if resume_from is not None and (previous is None or not previous.cached):
        return CachePlan(reason=previous.reason) if previous is not None else None
    if images is None:
        pixels, labels = dataset.pixels("train")[:PROBE_IMAGES], dataset.labels("train")[:PROBE_IMAGES]
        images, _ = next(ImageLoader(pixels, labels, dataset.mean, dataset.std, device).eval_batches(PROBE_IMAGES))
    counts = dataset.num_images("train"), dataset.num_images("validation")
    resuming = previous is not None or not process_group.is_main
    cache_plan = plan_feature_cache(recipe, network, images, counts, resuming=resuming)
    refusal = process_group.broadcast_str("" if cache_plan.model_split is not None else cache_plan.reason)
    return CachePlan(reason=refusal) if refusal else cache_plan


def build_training_inputs(
    cache_plan: CachePlan,
    network: nn.Module,
    dataset: Dataset,
    loaders: tuple[ImageLoader, ImageLoader | None],
    progress: ProgressCallback,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> TrainingInputs:
    """Compute the features of the frozen part, or find them in the cache, as planned.

    Args:
        network: with its initial weights, on the device and in the memory format of the training.
        loaders: the images to train and to validate on.
    """
    train, validation = loaders
    if cache_plan.model_split is None:
        return TrainingInputs(train, validation, record=FeatureCacheRecord(cached=False, reason=cache_plan.reason))
    with process_group.main_process_first():
        began = time.perf_counter()
        extractor = FeatureExtractor(cache_plan, network, dataset, progress)
        features = extractor.loader("train", train, cache_plan.views)
        held_out = extractor.loader("validation", validation, FlippedViews()) if validation is not None else None
        seconds = time.perf_counter() - began
    arrays = [*features.cached, *(held_out.cached if held_out is not None else ())]
    record = FeatureCacheRecord(
        cached=True,
        reason=cache_plan.reason,
        cut_point=cache_plan.model_split.cut_module,
        shape=cache_plan.model_split.feature_shape,
        views=len(cache_plan.views.names),
        dtype=cache_plan.dtype,
        bytes=cache_plan.size_bytes,
        exact=cache_plan.exact,
        seconds=seconds if any(array.created for array in arrays) else None,
        files=tuple(array.name for array in arrays if array.name),
    )
    return TrainingInputs(features, held_out, cache_plan.model_split, record)


def tail_and_features(cache_plan: CachePlan | None, network: nn.Module, images: Tensor) -> tuple[nn.Module, Tensor]:
    """The trainable tail of a network and its features of these images; without a split, both as they are."""
    if cache_plan is None or cache_plan.model_split is None:
        return network, images
    network.eval()
    return cache_plan.model_split.trainable_tail(network), cache_plan.model_split.extract_features(network, images)


def feature_cache_message(record: FeatureCacheRecord) -> str:
    """A line of the log on how the features of the frozen part are computed."""
    if not record.cached:
        return f"the frozen part is computed for every batch: {record.reason}"
    took = f"computed in {record.seconds:,.0f} s" if record.seconds is not None else "found in the cache"
    how = "as without, up to rounding" if record.exact else record.reason
    size = f"{pluralize(record.views, 'view')}, {format_bytes(record.bytes)}"
    return f"features of the frozen part: cached from {record.cut_point} on, {size}, {took}; {how}"
