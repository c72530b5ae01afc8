"""A network with its table and an image for it, from what a person names: a recipe, a run or a backbone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from cnnlab.data import shapes
from cnnlab.data.formats import in_form
from cnnlab.data.images import Fault, try_decode
from cnnlab.data.source import ImageForm, Pixels
from cnnlab.errors import SourceError, UsageError
from cnnlab.paper import words
from cnnlab.probe.naming import Backbone, Named, RecipeFile, Traced, resolve_name, traced_recipe
from cnnlab.records import LayerRecord
from cnnlab.runs.final import trained_network
from cnnlab.runs.folder import RunFolder
from cnnlab.runs.listener import NOBODY
from cnnlab.runs.networks import plan_network
from cnnlab.training.machine import choose_device

# A drawn image is a mosaic of pictures of about this size, each 32×32 before it is enlarged.
TILE = 64


@dataclass(frozen=True)
class Subject:
    """A network to look into.

    Attributes:
        name: what it is called, with where its weights are from.
        network: on its device, in eval mode.
        layers: its rows.
        form: of the images that it takes.
        mean, std: for each channel, of pixels from 0 to 1; None where they are taken from the image that is shown.
    """

    name: str
    network: nn.Module
    layers: tuple[LayerRecord, ...]
    form: ImageForm
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def image(self, file: Path | None = None) -> tuple[Tensor, str]:
        """An image as the network takes it, C×H×W floats, and what to call it.

        Args:
            file: an image file; None: pictures that the program draws.

        Raises:
            SourceError: the file can't be used.
        """
        pixels, shown = drawn_image(self.form) if file is None else _opened(file, self.form)
        scaled = torch.from_numpy(pixels.astype(np.float32)) / 255
        if self.mean is None or self.std is None:
            # Constant channels are only moved: there is nothing to scale.
            std = scaled.std(dim=(1, 2), keepdim=True)
            return (scaled - scaled.mean(dim=(1, 2), keepdim=True)) / std.where(std > 0, torch.ones(())), shown
        mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (self.mean, self.std))
        return (scaled - mean) / std, shown


def open_subject(
    what: str,
    *,
    seed: int | None = None,
    device: str = "auto",
    data: Path | None = None,
    say: Callable[[str], None] = NOBODY.say,
) -> Subject:
    """The network of a recipe (a .toml file), a run (its folder) or a backbone (a name).

    Args:
        seed: of the random weights; None: the recipe's own, and 0 for a backbone. A run has its weights.
        device: auto, cpu, cuda or mps.
        data: where catalogue data lives.
        say: told of anything odd about a run's weights.

    Raises:
        SpecError: the recipe is wrong, or nothing of this name is known.
        SourceError: a recipe's data is not found.
        RunError: the run's weights can't be used.
        UsageError: a seed for a run.
    """
    return subject_of(resolve_name(what), seed=seed, device=device, data=data, say=say)


def subject_of(
    found: Named, *, seed: int | None, device: str, data: Path | None, say: Callable[[str], None]
) -> Subject:
    """The network of what was named; arguments and errors as `open_subject`."""
    target = choose_device(device)
    if isinstance(found, RunFolder):
        if seed is not None:
            raise UsageError("a run has its weights already", where="--seed", next_step="leave --seed out")
        return _of_run(found, target, say)
    if isinstance(found, RecipeFile):
        return _of_recipe(found, seed, target, data, say)
    return _of_backbone(found, seed or 0, target)


def drawn_image(form: ImageForm) -> tuple[Pixels, str]:
    """Pictures of the built-in data set side by side, as one image of this form (uint8, C×H×W), and what to call it."""
    down, right = (max(1, round(size / TILE)) for size in (form.height, form.width))
    pictures = shapes.draw("train", np.arange(down * right, dtype=np.int64))
    rows = [np.concatenate(list(pictures[row * right : (row + 1) * right]), axis=2) for row in range(down)]
    whole = in_form(np.concatenate(rows, axis=1)[None], form)[0]
    count = words.plural(down * right, "picture")
    return whole, f"{count} of the built-in shapes, drawn by the program"


def _of_run(folder: RunFolder, device: torch.device, say: Callable[[str], None]) -> Subject:
    kept = folder.data().preprocessing
    network = trained_network(folder, device, say)
    form = ImageForm(kept.channels, kept.height, kept.width, kept.interpolation)
    return Subject(f"{folder.name} (trained)", network, folder.table().layers, form, kept.mean, kept.std)


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
    file: RecipeFile, seed: int | None, device: torch.device, data: Path | None, say: Callable[[str], None]
) -> Subject:
    traced = traced_recipe(file, data=data)
    name, network = begun(traced, file.path.stem, seed, say)
    about = traced.recipe.data
    given = about.normalize if isinstance(about.normalize, tuple) else (None, None)
    form = ImageForm(*traced.input, about.interpolation)
    return Subject(name, network.to(device), traced.rows, form, *given)


def _of_backbone(found: Backbone, seed: int, device: torch.device) -> Subject:
    # torchvision's networks take a second to load, which a recipe does not need.
    from cnnlab.model import backbones
    from cnnlab.model.tracing.network import backbone_table

    name = found.name
    network = backbones.network(name, device="cpu", seed=seed)
    layers = backbone_table(name, found.shape).layers
    title = f"{name} (random weights, seed {seed})"
    return Subject(title, network.to(device).eval(), layers, ImageForm(*found.shape))


def _opened(file: Path, form: ImageForm) -> tuple[Pixels, str]:
    """An image file in this form, and its name with what was done to it."""
    pixels = _decoded(file, form)
    with Image.open(file) as opened:
        upright = ImageOps.exif_transpose(opened)
        own, bands = (upright.height, upright.width), len(upright.getbands())
    done = [f"resized from {own[0]}×{own[1]}"] if own != (form.height, form.width) else []
    if bands < form.channels:
        done.append("grey in three channels")
    elif form.channels == 1 < bands:
        done.append("turned grey")
    return pixels, file.name + (f" ({', '.join(done)})" if done else "")


def _decoded(file: Path, form: ImageForm) -> Pixels:
    found = try_decode(file, form) if file.exists() else Fault("missing", "there is no file of this name")
    if isinstance(found, Fault):
        raise SourceError(
            f"this image can't be used: {found.kind}",
            where=str(file),
            received=found.message,
            allowed="a PNG, JPEG, WebP, BMP, GIF, TIFF or PPM file",
            next_step="check the path, or leave --image out for a picture that is drawn",
        )
    return found
