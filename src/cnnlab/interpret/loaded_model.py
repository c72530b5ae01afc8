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

from cnnlab.data.dataset import Dataset, facts, open_dataset
from cnnlab.data.loader import Feed, spread_places
from cnnlab.data.sources.base import ImageForm, Indices, Part, Progress, silent
from cnnlab.errors import SourceError, UsageError, listed
from cnnlab.interpret.images import Picture, drawn_image, normalised, opened_image
from cnnlab.interpret.targets import Backbone, Named, RecipeFile, Traced, resolve_name, traced_recipe
from cnnlab.models.network_plan import plan_network
from cnnlab.records import LayerRecord, Way
from cnnlab.render import formatting
from cnnlab.runs.callbacks import NOBODY
from cnnlab.runs.checks import check_same_data
from cnnlab.runs.environment import recipe_from_here
from cnnlab.runs.final_evaluation import open_test_part, selected_network
from cnnlab.runs.setup import feed_of
from cnnlab.storage.run_folder import RunFolder
from cnnlab.training.device import choose_device

# An image of the data: its part, and its place in it.
_PLACED = re.compile(r"(train|validation|test):(\d{1,9})", re.ASCII)
PLAIN = Way(precision="fp32", memory_format="contiguous")


@dataclass(frozen=True)
class Subject:
    """A network to look into.

    Attributes:
        name: what it is called, with where its weights are from.
        network: on its device, in eval mode.
        layers: its rows.
        form: of the images that it takes.
        mean, std: for each channel, of pixels from 0 to 1; None where they are taken from the image that is shown.
        classes: the names of its classes; empty where nobody knows them.
        folder: of a run; else None.
        dataset: opens the data that it is trained on, once; None for a backbone, which has none of ours.
    """

    name: str
    network: nn.Module = field(repr=False)
    layers: tuple[LayerRecord, ...] = field(repr=False)
    form: ImageForm
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    classes: tuple[str, ...] = ()
    folder: RunFolder | None = None
    dataset: Callable[[], Dataset] | None = field(default=None, repr=False)

    @property
    def device(self) -> torch.device:
        """Where its weights lie; a network without any computes on the CPU."""
        return next((parameter.device for parameter in self.network.parameters()), torch.device("cpu"))

    def picture(
        self, which: str | Path | None = None, purpose: str = "inspect", without: str = "a picture that is drawn"
    ) -> Picture:
        """An image as the network takes it.

        Args:
            which: an image file; or `validation:12`, the image of this number in that part of its data, from 0; None:
                pictures that the program draws.
            purpose: what the ledger tells of a look at the test part.
            without: what a person gets who names no image, for an error's next step.

        Raises:
            SourceError: the file or the data can't be used.
            UsageError: there is no such image.
        """
        return self.pictures([which], purpose, without)[0]

    def pictures(
        self, which: Sequence[str | Path | None], purpose: str = "inspect", without: str = "a picture that is drawn"
    ) -> list[Picture]:
        """Images as the network takes them; arguments and errors as `picture`.

        A part is opened once for all of its images, so that the ledger tells of one look at the test part; and only
        when every name is known to be right and every file is read, so that no look is told that nobody had.
        """
        places = [self._place(one, without) for one in which]
        files = {number: self._of_file(one) for number, one in enumerate(which) if places[number] is None}
        feeds = {part: self.part(part, purpose) for part in dict.fromkeys(place[0] for place in places if place)}
        return [
            files[number] if place is None else self._of_data(feeds[place[0]], *place)
            for number, place in enumerate(places)
        ]

    def part(self, part: str, purpose: str, limit: int | None = None, say: Callable[[str], None] = NOBODY.say) -> Feed:
        """A part of its data, ready to be fed to the network; a look at the test part is written down first.

        Args:
            part: train, validation or test.
            purpose: what the ledger tells of a look at the test part.
            limit: at most so many images, spread evenly over the part.
            say: told of images that are left out.

        Raises:
            UsageError: it has no data, no such part, or no run whose ledger could tell of the look.
            SourceError: the data can't be used.
        """
        known = self._known_part(part)
        if known == "test":
            feed = open_test_part(self._ledger_folder(), self._data(), self.device, PLAIN, purpose)
        else:
            feed = feed_of(self._data(), known, self.device, PLAIN)
        if limit is None or limit >= len(feed):
            return feed
        say(f"{limit:,} of the {len(feed):,} images of the {part} part, spread evenly over it")
        return feed.some(limit)

    def places(self, part: str, limit: int | None = None) -> Indices:
        """The numbers of the images that `part` gives with this limit, in its order; errors as there."""
        return spread_places(self._data().size(self._known_part(part)), limit)

    def _of_file(self, which: str | Path | None) -> Picture:
        pixels, shown = drawn_image(self.form) if which is None else opened_image(Path(which), self.form)
        return Picture(pixels, normalised(pixels, self.mean, self.std), shown)

    def _place(self, which: str | Path | None, without: str) -> tuple[Part, int] | None:
        """The part and the number that `validation:12` names; None for a file."""
        # os.path's: it says no of a name that is too long for any file, of which Path.exists() raises an OSError.
        if which is None or os.path.exists(which):  # noqa: PTH110
            return None
        found = _PLACED.fullmatch(str(which))
        if found is None:
            raise self._missing(str(which), without)
        part, place = self._known_part(found[1]), int(found[2])
        if place >= (size := self._data().size(part)):
            raise UsageError(
                f"the {part} part has no image {place}",
                where="--image",
                received=f"{part}:{place}",
                allowed=f"{part}:0 to {part}:{size - 1}",
            )
        if part == "test":
            self._ledger_folder()
        return part, place

    def _of_data(self, feed: Feed, part: Part, place: int) -> Picture:
        data = self._data()
        pixels, label = np.array(feed.pixels[place]), int(feed.labels[place])
        name = f"{part}:{place}, {formatting.shown(data.classes[label])}"
        return Picture(pixels, normalised(pixels, data.mean, data.std), name, label)

    def _missing(self, which: str, without: str) -> SourceError:
        """There is no such file, nor is it a place in the data."""
        places = "" if self.dataset is None else "; or PART:NUMBER, such as validation:12, an image of its data, from 0"
        leave = f"leave --image out for {without}"
        return SourceError(
            "this image can't be used: missing",
            where=which,
            received="there is no file of this name",
            allowed=f"a PNG, JPEG, WebP, BMP, GIF, TIFF or PPM file{places}",
            next_step=f"write it as in validation:12, or {leave}" if places else f"check the path, or {leave}",
        )

    def _known_part(self, part: str) -> Part:
        there: list[Part] = [known for known in get_args(Part) if known in self._data().parts]
        found = next((known for known in there if known == part), None)
        if found is None:
            raise UsageError("the data has no such part", received=part, allowed=listed(there))
        return found

    def _data(self) -> Dataset:
        if self.dataset is None:
            step = "name a recipe or a run, which has data"
            raise UsageError("a network by its name alone has no data", received=self.name, next_step=step)
        return self.dataset()

    def _ledger_folder(self) -> RunFolder:
        if self.folder is None:
            step = "look at the train or the validation part, or train it first"
            raise UsageError("the test part is opened for a run only, whose ledger tells of it", next_step=step)
        return self.folder


def open_subject(
    what: str,
    *,
    seed: int | None = None,
    device: str = "auto",
    data: Path | None = None,
    say: Callable[[str], None] = NOBODY.say,
    progress: Progress = silent,
) -> Subject:
    """The network of a recipe (a .toml file), a run (its folder) or a backbone (a name).

    Args:
        seed: of the random weights; None: the recipe's own, and 0 for a backbone. A run has its weights.
        device: auto, cpu, cuda or mps.
        data: where catalogue data lives.
        say: told of anything odd about a run's weights.
        progress: told of images that are decoded, should they be asked for.

    Raises:
        SpecError: the recipe is wrong, or nothing of this name is known.
        SourceError: a recipe's data is not found.
        RunError: the run's weights can't be used.
        UsageError: a seed for a run.
    """
    return subject_of(resolve_name(what), seed=seed, device=device, data=data, say=say, progress=progress)


def as_subject(what: Subject | str | Path) -> Subject:
    """A network to look into: itself, or opened by its name with all that `open_subject` has by default."""
    return what if isinstance(what, Subject) else open_subject(str(what))


def subject_of(
    found: Named,
    *,
    seed: int | None,
    device: str,
    data: Path | None,
    say: Callable[[str], None],
    progress: Progress = silent,
) -> Subject:
    """The network of what was named; arguments and errors as `open_subject`."""
    target = choose_device(device)
    if isinstance(found, RunFolder):
        if seed is not None:
            raise UsageError("a run has its weights already", where="--seed", next_step="leave --seed out")
        return _of_run(found, target, data, say, progress)
    if isinstance(found, RecipeFile):
        return _of_recipe(found, seed, target, data, say, progress)
    return _of_backbone(found, seed or 0, target)


def _of_run(
    folder: RunFolder, device: torch.device, root: Path | None, say: Callable[[str], None], progress: Progress
) -> Subject:
    about = folder.data()
    kept = about.preprocessing
    network, epoch = selected_network(folder, device, say)
    form = ImageForm(kept.channels, kept.height, kept.width, kept.interpolation)

    @cache
    def dataset() -> Dataset:
        recipe = recipe_from_here(folder, root)
        opened = open_dataset(recipe.data, seed=recipe.train.seed, root=root, progress=progress)
        check_same_data(folder, opened)
        return opened

    state = "trained" if folder.result() is not None else f"unfinished, weights of epoch {formatting.epoch(epoch)}"
    name = f"{folder.name} ({state})"
    return Subject(
        name, network, folder.table().layers, form, kept.mean, kept.std, about.classes, folder, dataset=dataset
    )


def begun(traced: Traced, name: str, seed: int | None, say: Callable[[str], None]) -> tuple[str, nn.Module]:
    """A recipe's network as its training begins, in eval mode on the CPU, and its name with its weights.

    Args:
        seed: of the weights that are drawn; None: the recipe's own.
        say: told of a backbone's weights, which are downloaded where they are not at hand.

    Raises:
        CnnlabError: a backbone's weights can't be had.
    """
    chosen = traced.recipe.train.seed if seed is None else seed
    network, loaded = plan_network(traced.recipe.model, traced.input, traced.classes, traced.kept).begin(chosen, say)
    weights = "random weights" if loaded is None else loaded.source
    return f"{name} ({weights}, seed {chosen})", network.eval()


def _of_recipe(
    file: RecipeFile,
    seed: int | None,
    device: torch.device,
    root: Path | None,
    say: Callable[[str], None],
    progress: Progress,
) -> Subject:
    traced = traced_recipe(file, data=root)
    name, network = begun(traced, file.path.stem, seed, say)
    about = traced.recipe.data
    given = about.normalize if isinstance(about.normalize, tuple) else (None, None)
    form = ImageForm(*traced.input, about.interpolation)

    @cache
    def dataset() -> Dataset:
        return open_dataset(about, seed=traced.recipe.train.seed, root=root, progress=progress)

    classes = facts(about, root).classes
    mean, std = given
    return Subject(name, network.to(device), traced.rows, form, mean, std, classes, dataset=dataset)


def _of_backbone(found: Backbone, seed: int, device: torch.device) -> Subject:
    # torchvision's networks take a second to load, which a recipe does not need.
    from cnnlab.models.pretrained import architectures
    from cnnlab.models.tracing.trace import backbone_table

    name = found.name
    network = architectures.network(name, device="cpu", seed=seed)
    layers = backbone_table(name, found.shape).layers
    title = f"{name} (random weights, seed {seed})"
    return Subject(title, network.to(device).eval(), layers, ImageForm(*found.shape))
