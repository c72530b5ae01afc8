"""A network with its table and an image for it, from what a person names: a recipe, a run or a backbone."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import nn

from cnnlab.context import NO_CALLBACKS, Callbacks, ProgressCallback, RunContext, no_op
from cnnlab.data.dataset import Dataset, input_spec, open_dataset
from cnnlab.data.loader import ImageLoader, evenly_spaced_indices
from cnnlab.data.sources.base import ImageSpec, Indices, Split
from cnnlab.errors import SourceError, UsageError, comma_separated
from cnnlab.interpret.images import InputImage, generated_image, load_image, normalize_pixels
from cnnlab.interpret.targets import NamedBackbone, RecipeFile, Target, TracedRecipe, resolve_target_name, trace_recipe
from cnnlab.models.network_plan import plan_network
from cnnlab.records import LayerRecord, PrecisionConfig
from cnnlab.render.formatting import format_epoch, shorten
from cnnlab.runs.checks import check_same_data
from cnnlab.runs.environment import relocate_recipe
from cnnlab.runs.final_evaluation import open_test_split, selected_network
from cnnlab.runs.setup import make_image_loader
from cnnlab.storage.run_folder import RunFolder
from cnnlab.training.device import choose_device

# An image of the data: its part, and its place in it.
_SPLIT_INDEX = re.compile(r"(train|validation|test):(\d{1,9})", re.ASCII)
FP32 = PrecisionConfig(precision="fp32", memory_format="contiguous")


@dataclass(frozen=True)
class LoadedModel:
    """A network to look into.

    Attributes:
        name: what it is called, with where its weights are from.
        network: on its device, in eval mode.
        layers: its rows.
        image_spec: of the images that it takes.
        mean, std: for each channel, of pixels from 0 to 1; None where they are taken from the image that is shown.
        classes: the names of its classes; empty where nobody knows them.
        folder: of a run; else None.
        dataset: opens the data that it is trained on, once; None for a backbone, which has none of ours.
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
        """Where its weights lie; a network without any computes on the CPU."""
        return next((parameter.device for parameter in self.network.parameters()), torch.device("cpu"))

    def load_image(
        self, image: str | Path | None = None, purpose: str = "inspect", default_hint: str = "a picture that is drawn"
    ) -> InputImage:
        """An image as the network takes it.

        Args:
            image: an image file; or `validation:12`, the image of this number in that part of its data, from 0; None:
                pictures that the program draws.
            purpose: what the ledger tells of a look at the test part.
            default_hint: what a person gets who names no image, for an error's next step.

        Raises:
            SourceError: the file or the data can't be used.
            UsageError: there is no such image.
        """
        return self.load_images([image], purpose, default_hint)[0]

    def load_images(
        self,
        images: Sequence[str | Path | None],
        purpose: str = "inspect",
        default_hint: str = "a picture that is drawn",
    ) -> list[InputImage]:
        """Images as the network takes them; arguments and errors as `load_image`.

        A part is opened once for all of its images, so that the ledger tells of one look at the test part; and only
        when every name is known to be right and every file is read, so that no look is told that nobody had.
        """
        split_indices = [self._parse_split_index(one, default_hint) for one in images]
        files = {
            number: self._image_from_file(one) for number, one in enumerate(images) if split_indices[number] is None
        }
        loaders = {
            split: self.open_split(split, purpose)
            for split in dict.fromkeys(split_index[0] for split_index in split_indices if split_index)
        }
        return [
            files[number] if split_index is None else self._image_from_split(loaders[split_index[0]], *split_index)
            for number, split_index in enumerate(split_indices)
        ]

    def open_split(
        self, split: str, purpose: str, limit: int | None = None, log: Callable[[str], None] = NO_CALLBACKS.log
    ) -> ImageLoader:
        """A part of its data, ready to be fed to the network; a look at the test part is written down first.

        Args:
            split: train, validation or test.
            purpose: what the ledger tells of a look at the test part.
            limit: at most so many images, spread evenly over the part.
            log: told of images that are left out.

        Raises:
            UsageError: it has no data, no such part, or no run whose ledger could tell of the look.
            SourceError: the data can't be used.
        """
        known = self._validated_split(split)
        if known == "test":
            loader = open_test_split(self._ledger_folder(), self._open_dataset(), self.device, FP32, purpose)
        else:
            loader = make_image_loader(self._open_dataset(), known, self.device, FP32)
        if limit is None or limit >= len(loader):
            return loader
        log(f"{limit:,} of the {len(loader):,} images of the {split} part, spread evenly over it")
        return loader.subset(limit)

    def split_indices(self, split: str, limit: int | None = None) -> Indices:
        """The numbers of the images that `split` gives with this limit, in its order; errors as there."""
        return evenly_spaced_indices(self._open_dataset().num_images(self._validated_split(split)), limit)

    def _image_from_file(self, image: str | Path | None) -> InputImage:
        pixels, shown = generated_image(self.image_spec) if image is None else load_image(Path(image), self.image_spec)
        return InputImage(pixels, normalize_pixels(pixels, self.mean, self.std), shown)

    def _parse_split_index(self, image: str | Path | None, default_hint: str) -> tuple[Split, int] | None:
        """The part and the number that `validation:12` names; None for a file."""
        # os.path's: it says no of a name that is too long for any file, of which Path.exists() raises an OSError.
        if image is None or os.path.exists(image):  # noqa: PTH110
            return None
        match = _SPLIT_INDEX.fullmatch(str(image))
        if match is None:
            raise self._no_such_image(str(image), default_hint)
        split, index = self._validated_split(match[1]), int(match[2])
        if index >= (size := self._open_dataset().num_images(split)):
            raise UsageError(
                f"the {split} split has no image {index}",
                where="--image",
                received=f"{split}:{index}",
                allowed=f"{split}:0 to {split}:{size - 1}",
            )
        if split == "test":
            self._ledger_folder()
        return split, index

    def _image_from_split(self, loader: ImageLoader, split: Split, index: int) -> InputImage:
        data = self._open_dataset()
        pixels, label = np.array(loader.pixels[index]), int(loader.labels[index])
        name = f"{split}:{index}, {shorten(data.classes[label])}"
        return InputImage(pixels, normalize_pixels(pixels, data.mean, data.std), name, label)

    def _no_such_image(self, image: str, default_hint: str) -> SourceError:
        """There is no such file, nor is it a place in the data."""
        places = "" if self.dataset is None else "; or PART:NUMBER, such as validation:12, an image of its data, from 0"
        leave = f"leave --image out for {default_hint}"
        return SourceError(
            "this image can't be used: missing",
            where=image,
            received="there is no file of this name",
            allowed=f"a PNG, JPEG, WebP, BMP, GIF, TIFF or PPM file{places}",
            next_step=f"write it as in validation:12, or {leave}" if places else f"check the path, or {leave}",
        )

    def _validated_split(self, split: str) -> Split:
        splits: list[Split] = [known for known in get_args(Split) if known in self._open_dataset().splits]
        found = next((known for known in splits if known == split), None)
        if found is None:
            raise UsageError("the data has no such split", received=split, allowed=comma_separated(splits))
        return found

    def _open_dataset(self) -> Dataset:
        if self.dataset is None:
            step = "name a recipe or a run, which has data"
            raise UsageError("a network by its name alone has no data", received=self.name, next_step=step)
        return self.dataset()

    def _ledger_folder(self) -> RunFolder:
        if self.folder is None:
            step = "look at the train or the validation part, or train it first"
            raise UsageError("the test split is opened for a run only, whose ledger tells of it", next_step=step)
        return self.folder


def load_model(
    target: str,
    *,
    seed: int | None = None,
    device: str = "auto",
    data: Path | None = None,
    log: Callable[[str], None] = NO_CALLBACKS.log,
    progress: ProgressCallback = no_op,
) -> LoadedModel:
    """The network of a recipe (a .toml file), a run (its folder) or a backbone (a name).

    Args:
        seed: of the random weights; None: the recipe's own, and 0 for a backbone. A run has its weights.
        device: auto, cpu, cuda or mps.
        data: where catalogue data lives.
        log: told of anything odd about a run's weights.
        progress: told of images that are decoded, should they be asked for.

    Raises:
        SpecError: the recipe is wrong, or nothing of this name is known.
        SourceError: a recipe's data is not found.
        RunError: the run's weights can't be used.
        UsageError: a seed for a run.
    """
    return load_target(resolve_target_name(target), seed=seed, device=device, data=data, log=log, progress=progress)


def as_loaded_model(model: LoadedModel | str | Path) -> LoadedModel:
    """A network to look into: itself, or opened by its name with all that `load_model` has by default."""
    return model if isinstance(model, LoadedModel) else load_model(str(model))


def load_target(
    resolved: Target,
    *,
    seed: int | None,
    device: str,
    data: Path | None,
    log: Callable[[str], None],
    progress: ProgressCallback = no_op,
) -> LoadedModel:
    """The network of what was named; arguments and errors as `load_model`."""
    target = choose_device(device)
    if isinstance(resolved, RunFolder):
        if seed is not None:
            raise UsageError("a run has its weights already", where="--seed", next_step="leave --seed out")
        return _load_run(resolved, target, data, log, progress)
    if isinstance(resolved, RecipeFile):
        return _load_recipe(resolved, seed, target, data, log, progress)
    return _load_backbone(resolved, seed or 0, target)


def _load_run(
    folder: RunFolder, device: torch.device, root: Path | None, log: Callable[[str], None], progress: ProgressCallback
) -> LoadedModel:
    about = folder.data()
    preprocessing = about.preprocessing
    network, epoch = selected_network(folder, device, log)
    image_spec = ImageSpec(
        preprocessing.channels, preprocessing.height, preprocessing.width, preprocessing.interpolation
    )

    @cache
    def dataset() -> Dataset:
        recipe = relocate_recipe(folder, root)
        opened = open_dataset(recipe.data, recipe.train.seed, RunContext(data_root=root, callbacks=Callbacks(progress)))
        check_same_data(folder, opened)
        return opened

    state = "trained" if folder.result() is not None else f"unfinished, weights of epoch {format_epoch(epoch)}"
    name = f"{folder.name} ({state})"
    return LoadedModel(
        name,
        network,
        folder.table().layers,
        image_spec,
        preprocessing.mean,
        preprocessing.std,
        about.classes,
        folder,
        dataset=dataset,
    )


def build_initial_network(
    trace: TracedRecipe, name: str, seed: int | None, log: Callable[[str], None]
) -> tuple[str, nn.Module]:
    """A recipe's network as its training begins, in eval mode on the CPU, and its name with its weights.

    Args:
        seed: of the weights that are drawn; None: the recipe's own.
        log: told of a backbone's weights, which are downloaded where they are not at hand.

    Raises:
        CnnlabError: a backbone's weights can't be had.
    """
    chosen = trace.recipe.train.seed if seed is None else seed
    network, loaded = plan_network(trace.recipe.model, trace.input, trace.classes, trace.backbone_run_dir).initialize(
        chosen, log
    )
    weights = "random weights" if loaded is None else loaded.source
    return f"{name} ({weights}, seed {chosen})", network.eval()


def _load_recipe(
    file: RecipeFile,
    seed: int | None,
    device: torch.device,
    root: Path | None,
    log: Callable[[str], None],
    progress: ProgressCallback,
) -> LoadedModel:
    traced = trace_recipe(file, data=root)
    name, network = build_initial_network(traced, file.path.stem, seed, log)
    about = traced.recipe.data
    given = about.normalize if isinstance(about.normalize, tuple) else (None, None)
    image_spec = ImageSpec(*traced.input, about.interpolation)

    @cache
    def dataset() -> Dataset:
        return open_dataset(about, traced.recipe.train.seed, RunContext(data_root=root, callbacks=Callbacks(progress)))

    classes = input_spec(about, root).classes
    mean, std = given
    return LoadedModel(name, network.to(device), traced.rows, image_spec, mean, std, classes, dataset=dataset)


def _load_backbone(backbone: NamedBackbone, seed: int, device: torch.device) -> LoadedModel:
    # torchvision's networks take a second to load, which a recipe does not need.
    from cnnlab.models.pretrained import architectures
    from cnnlab.models.tracing.trace import backbone_table

    name = backbone.name
    network = architectures.create_model(name, device="cpu", seed=seed)
    layers = backbone_table(name, backbone.shape).layers
    title = f"{name} (random weights, seed {seed})"
    return LoadedModel(title, network.to(device).eval(), layers, ImageSpec(*backbone.shape))
