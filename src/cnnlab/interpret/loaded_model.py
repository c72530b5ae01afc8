"""A network with its layers, its data and images for it: of a recipe, a run or a backbone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from cnnlab.context import NO_CALLBACKS, Callbacks, LogFn, RunContext
from cnnlab.data.dataset import Dataset, input_spec, open_dataset
from cnnlab.data.loader import ImageLoader, evenly_spaced_indices
from cnnlab.data.sources.base import ImageSpec, Indices, Split
from cnnlab.errors import UsageError
from cnnlab.interpret.images import InputImage, generated_image, load_image, normalize_pixels
from cnnlab.interpret.targets import NamedBackbone, RecipeFile, Target, TracedRecipe, resolve_target_name, trace_recipe
from cnnlab.models.network_plan import plan_network
from cnnlab.records import LayerRecord
from cnnlab.render.formatting import format_epoch, shorten
from cnnlab.runs.checks import check_same_data
from cnnlab.runs.environment import relocate_recipe
from cnnlab.runs.final_evaluation import open_split, selected_network
from cnnlab.storage.run_folder import RunFolder
from cnnlab.training.device import choose_device
from cnnlab.training.precision import FP32

_SPLIT_INDEX = re.compile(r"(train|validation|test):(\d{1,9})", re.ASCII)


@dataclass(frozen=True)
class LoadedModel:
    """A network to inspect.

    Attributes:
        name: with the origin of the weights.
        network: on its device, in eval mode.
        layers: the rows of its table.
        image_spec: of its input images.
        mean, std: per channel, for pixels from 0 to 1; None: each image is normalized by its own.
        classes: names; empty where they are unknown.
        folder: of a run; else None.
        dataset: opens the data that it is trained on, once; None for a backbone.
    """

    name: str
    network: nn.Module = field(repr=False)
    layers: tuple[LayerRecord, ...] = field(repr=False)
    image_spec: ImageSpec
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    classes: tuple[str, ...] = ()
    folder: RunFolder | None = None
    dataset: Callable[[], Dataset] | None = field(default=None, repr=False)

    @property
    def device(self) -> torch.device:
        """The device of its weights; the CPU for a network without any."""
        return next((parameter.device for parameter in self.network.parameters()), torch.device("cpu"))

    def class_name(self, number: int) -> str:
        """The name of a class, or its number where names are unknown."""
        return self.classes[number] if number < len(self.classes) else f"class {number}"

    def load_image(self, image: str | Path | None = None, purpose: str = "inspect") -> InputImage:
        """Load an image as the network takes it.

        Args:
            image: an image file; or an image of the data, such as `validation:12`, counted from 0; None: a generated
                image.
            purpose: of an opening of the test split, for the ledger.

        Raises:
            SourceError: the file or the data can't be used.
            UsageError: the data has no such image.
        """
        return self.load_images([image], purpose)[0]

    def load_images(self, images: Sequence[str | Path | None], purpose: str = "inspect") -> list[InputImage]:
        """Load several images; arguments and errors as `load_image`.

        A split is opened once for all of its images, and only after all names are checked and all files are read: the
        ledger records one opening of the test split, and none after an error.
        """
        references = [self._split_index(image) for image in images]
        files = {i: self._image_from_file(images[i]) for i, reference in enumerate(references) if reference is None}
        splits = dict.fromkeys(reference[0] for reference in references if reference)
        loaders = {split: self.open_split(split, purpose) for split in splits}
        return [
            files[i] if reference is None else self._image_from_split(loaders[reference[0]], *reference)
            for i, reference in enumerate(references)
        ]

    def example(self) -> InputImage | None:
        """The image that a run keeps; None without one, and for a model that is not a run.

        Raises:
            RunError: it is damaged.
        """
        example = None if self.folder is None else self.folder.example()
        if example is None:
            return None
        about, pixels = example
        name = f"{about.split}:{about.place}, {shorten(self.class_name(about.label))}"
        return InputImage(pixels, normalize_pixels(pixels, self.mean, self.std), name, about.label)

    def open_split(
        self, split: str, purpose: str, limit: int | None = None, log: LogFn = NO_CALLBACKS.log
    ) -> ImageLoader:
        """Open a split of its data; an opening of the test split is recorded in the ledger first.

        Args:
            split: train, validation or test.
            purpose: of an opening of the test split, for the ledger.
            limit: the largest number of images, evenly spaced over the split.
            log: called with a message where images are left out.

        Raises:
            UsageError: no data, no such split, or the test split of a model that is not a run, and has no ledger.
            SourceError: the data can't be used.
        """
        loader = open_split(self._open_dataset(), split, self.device, FP32, self.folder, purpose)
        if limit is None or limit >= len(loader):
            return loader
        log(f"{limit:,} of the {len(loader):,} images of the {split} split, evenly spaced")
        return loader.subset(limit)

    def split_indices(self, split: str, limit: int | None = None) -> Indices:
        """The indices of the images that `open_split` loads, in its order."""
        return evenly_spaced_indices(self._open_dataset().num_images(cast(Split, split)), limit)

    def _image_from_file(self, image: str | Path | None) -> InputImage:
        pixels, name = generated_image(self.image_spec) if image is None else load_image(Path(image), self.image_spec)
        return InputImage(pixels, normalize_pixels(pixels, self.mean, self.std), name)

    def _image_from_split(self, loader: ImageLoader, split: Split, index: int) -> InputImage:
        data = self._open_dataset()
        pixels, label = np.array(loader.pixels[index]), int(loader.labels[index])
        name = f"{split}:{index}, {shorten(data.classes[label])}"
        return InputImage(pixels, normalize_pixels(pixels, data.mean, data.std), name, label)

    def _split_index(self, image: str | Path | None) -> tuple[Split, int] | None:
        """The split and the index of `validation:12`; None for a file."""
        match = None if image is None else _SPLIT_INDEX.fullmatch(str(image))
        if match is None or Path(match[0]).exists():
            return None
        split, index = cast(Split, match[1]), int(match[2])
        if index >= (size := self._open_dataset().num_images(split)):
            raise UsageError(
                f"the {split} split has no image {index}",
                where="--image",
                received=match[0],
                allowed=f"{split}:0 to {split}:{size - 1}" if size else "a split of the data",
            )
        return split, index

    def _open_dataset(self) -> Dataset:
        if self.dataset is None:
            step = "name a recipe or a run, which has data"
            raise UsageError("a network by its name alone has no data", received=self.name, next_step=step)
        return self.dataset()


def load_model(
    target: str | Path,
    *,
    seed: int | None = None,
    device: str = "auto",
    data: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    callbacks: Callbacks = NO_CALLBACKS,
) -> LoadedModel:
    """Load the network of a recipe (a .toml file), a run (its folder) or a backbone (a name).

    Args:
        seed: of random weights; None: the recipe's own, and 0 for a backbone. A run has its weights.
        device: auto, cpu, cuda or mps.
        data: the folder of catalogue data.
        overrides: values of a recipe by dotted key, such as {"model.values.p": 0.2}.
        callbacks: `log` is called with warnings about a run's weights, `progress` while images are decoded.

    Raises:
        SpecError: a wrong recipe, or an unknown name.
        SourceError: a recipe's data is not found.
        RunError: the run's weights can't be used.
        UsageError: a seed for a run, or overrides for a run or a backbone.
    """
    return load_target(
        resolve_target_name(str(target), overrides=overrides), seed, RunContext.of(data, device, callbacks)
    )


def as_loaded_model(model: LoadedModel | str | Path) -> LoadedModel:
    """The model itself, or that of a name, loaded with the defaults of `load_model`."""
    return model if isinstance(model, LoadedModel) else load_model(model)


def load_target(target: Target, seed: int | None, context: RunContext) -> LoadedModel:
    """Load the network of a resolved target; errors as `load_model`."""
    if isinstance(target, RunFolder):
        if seed is not None:
            raise UsageError("a run has its weights already", where="--seed", next_step="leave --seed out")
        return _load_run(target, context)
    if isinstance(target, RecipeFile):
        return _load_recipe(target, seed, context)
    return _load_backbone(target, seed or 0, choose_device(context.device))


def build_initial_network(trace: TracedRecipe, name: str, seed: int | None, log: LogFn) -> tuple[str, nn.Module]:
    """Build a recipe's network with its initial weights, in eval mode on the CPU; returned with a name for it.

    Args:
        seed: of random weights; None: the recipe's own.
        log: called with messages about a backbone's weights, which may be downloaded.

    Raises:
        CnnlabError: a backbone's weights are not available.
    """
    used_seed = trace.recipe.train.seed if seed is None else seed
    plan = plan_network(trace.recipe.model, trace.input, trace.classes, trace.backbone_run_dir)
    network, loaded = plan.initialize(used_seed, log)
    weights = "random weights" if loaded is None else loaded.source
    return f"{name} ({weights}, seed {used_seed})", network.eval()


def _load_run(folder: RunFolder, context: RunContext) -> LoadedModel:
    data = folder.data()
    preprocessing = data.preprocessing
    network, epoch = selected_network(folder, choose_device(context.device), context.callbacks.log)

    @cache
    def dataset() -> Dataset:
        recipe = relocate_recipe(folder, context.data_root)
        opened = open_dataset(recipe.data, recipe.train.seed, context)
        check_same_data(folder, opened)
        return opened

    state = "trained" if folder.result() is not None else f"unfinished, weights of epoch {format_epoch(epoch)}"
    return LoadedModel(
        f"{folder.name} ({state})",
        network,
        folder.table().layers,
        ImageSpec(**preprocessing.model_dump(exclude={"mean", "std"})),
        preprocessing.mean,
        preprocessing.std,
        data.classes,
        folder,
        dataset,
    )


def _load_recipe(file: RecipeFile, seed: int | None, context: RunContext) -> LoadedModel:
    traced = trace_recipe(file, data=context.data_root)
    name, network = build_initial_network(traced, file.path.stem, seed, context.callbacks.log)
    data = traced.recipe.data
    mean, std = data.normalize if isinstance(data.normalize, tuple) else (None, None)

    @cache
    def dataset() -> Dataset:
        return open_dataset(data, traced.recipe.train.seed, context)

    return LoadedModel(
        name,
        network.to(choose_device(context.device)),
        traced.rows,
        ImageSpec(*traced.input, data.interpolation, data.fit),
        mean,
        std,
        input_spec(data, context.data_root).classes,
        dataset=dataset,
    )


def _load_backbone(backbone: NamedBackbone, seed: int, device: torch.device) -> LoadedModel:
    # torchvision's networks take a second to load, which a recipe does not need.
    from cnnlab.models.pretrained import architectures
    from cnnlab.models.tracing.trace import backbone_table

    network = architectures.create_model(backbone.name, device="cpu", seed=seed)
    layers = backbone_table(backbone.name, backbone.shape).layers
    name = f"{backbone.name} (random weights, seed {seed})"
    return LoadedModel(name, network.to(device).eval(), layers, ImageSpec(*backbone.shape))
