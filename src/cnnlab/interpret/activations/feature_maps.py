"""The maps that named layers make of one image, with what the network says of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnnlab.errors import UsageError
from cnnlab.interpret.activations.feature_maps_result import Guess, LayerMaps
from cnnlab.interpret.activations.feature_maps_view import ActivationMaps
from cnnlab.interpret.activations.layer_index import CONVOLUTIONS, Spot, Spots, reading
from cnnlab.interpret.images import Picture, normalised
from cnnlab.interpret.loaded_model import Subject, as_subject, open_subject
from cnnlab.interpret.targets import one_or_more, require_number
from cnnlab.models.train_mode import evaluating
from cnnlab.render import formatting
from cnnlab.storage.run_folder import RunFolder
from cnnlab.training.device import whole_floats

MOST_GUESSES = 3


@whole_floats()
def inspect_activations(
    subject: Subject | str | Path,
    image: Picture | str | Path | None = None,
    *,
    layers: str | Sequence[str] = (),
    maps: int = 16,
) -> ActivationMaps:
    """What layers make of one image: their maps, and statistics of each.

    Args:
        subject: of `open_subject`, or a name as it takes them; its network is left as it was.
        image: a picture, an image file, or `validation:12`; None: the image that the run keeps, or a drawn one.
        layers: names of rows or modules; by default the first and the last convolution, and, in a network without any,
            the first and the last layer with weights.
        maps: how many of each layer are shown, 1 to 256; all are in the answer.

    Returns:
        An answer with the numbers, a sheet and a plate.

    Raises:
        UsageError: an unknown layer, one that gives no maps or numbers, or no map to show.
        SourceError: the image can't be used.
    """
    subject = as_subject(subject)
    require_number("--maps", maps)
    shape = (subject.form.channels, subject.form.height, subject.form.width)
    spots = Spots(subject.network, subject.layers, shape)
    chosen = [spots.named(name) for name in dict.fromkeys(one_or_more(layers))] or list(spots.ends())
    # When all else is known to be right: a look at the test part is written down for good.
    picture = image if isinstance(image, Picture) else _picture(subject, image)
    found: dict[str, Tensor] = {}

    def keep(spot: Spot, output: Tensor) -> None:
        found[spot.name] = output.detach().clone()

    with evaluating(subject.network), reading(subject.network, chosen, keep), torch.no_grad():
        logits = subject.network(picture.values[None].to(subject.device, torch.float32))
    layers_found = (_layer(spots, spot, found, maps) for spot in chosen)
    return ActivationMaps(
        network=subject.name,
        image=picture.name,
        pixels=picture.pixels,
        label=_class_name(subject.classes, picture.label) if picture.label is not None else "",
        guesses=_guesses(logits, subject.classes),
        layers=tuple(_with_classes(layer, logits, subject.classes) for layer in layers_found),
    )


def example_activations(folder: RunFolder, say: Callable[[str], None]) -> ActivationMaps | None:
    """What the first and the last convolution of a run make of the image that it keeps, as its page shows it.

    Returns:
        None where the run keeps no image, as runs of older versions, or has no convolution.
    """
    if folder.example() is None or not any(row.kind in CONVOLUTIONS for row in folder.table().layers):
        return None
    return inspect_activations(open_subject(str(folder.path), device="cpu", say=say))


def kept_picture(subject: Subject) -> Picture | None:
    """The image that a run keeps as its example; None where there is no run, or it keeps none."""
    example = subject.folder.example() if subject.folder is not None else None
    if example is None:
        return None
    about, pixels = example
    name = f"{about.part}:{about.place}, {formatting.shown(_class_name(subject.classes, about.label))}"
    return Picture(pixels, normalised(pixels, subject.mean, subject.std), name, about.label)


def _picture(subject: Subject, image: str | Path | None) -> Picture:
    kept = kept_picture(subject) if image is None else None
    if kept is not None:
        return kept
    has_own = subject.folder is not None and (subject.folder.path / "example.png").exists()
    without = "the image that the run keeps" if has_own else "a picture that is drawn"
    return subject.picture(image, "inspect activations", without=without)


def _layer(spots: Spots, spot: Spot, found: dict[str, Tensor], most: int) -> LayerMaps:
    output = found.get(spot.name)
    maps = None if output is None or len(output) != 1 else spots.maps(spot, output)
    if output is None or maps is None:
        raise UsageError(
            f"'{spot.name}' gives nothing that could be shown for one image",
            where="--layer",
            received="it did not run" if output is None else formatting.sizes(tuple(output.shape)),
            allowed="N×C×H×W maps, N×T×F tokens, N×F numbers",
            next_step="choose another layer",
        )
    values = maps[0].float().cpu().numpy()
    row = spot.row
    middle = (values.shape[1] // 2, values.shape[2] // 2)
    return LayerMaps(
        name=spot.name,
        kind=row.kind if row is not None else "",
        text=row.text if row is not None else type(spots.network.get_submodule(spot.name)).__name__,
        shape=tuple(output.shape[1:]),
        values=values,
        shown=_shown(values, most),
        view=spots.seen(spot, middle) if output.ndim == 4 else None,
        passed_on=spots.passes_on(spot),
    )


def _with_classes(layer: LayerMaps, logits: object, classes: tuple[str, ...]) -> LayerMaps:
    """The layer with the classes' names for its numbers, where these are the network's logits."""
    if not isinstance(logits, Tensor) or layer.values.shape != (len(classes), 1, 1):
        return layer
    own = logits[0].float().cpu().numpy()
    same = own.shape == (len(classes),) and np.array_equal(layer.values[:, 0, 0], own, equal_nan=True)
    return replace(layer, classes=classes) if same else layer


def _shown(values: np.ndarray, most: int) -> tuple[int, ...]:
    """The numbers of the maps that are shown, in order: all, or those that vary most."""
    if len(values) <= most:
        return tuple(range(len(values)))
    flat = np.nan_to_num(values.reshape(len(values), -1).astype(np.float64))
    # A single number does not vary: the largest are shown.
    score = flat.std(axis=1) if flat.shape[1] > 1 else np.abs(flat[:, 0])
    return tuple(sorted(int(number) for number in np.argsort(-score, kind="stable")[:most]))


def _guesses(logits: object, classes: tuple[str, ...]) -> tuple[Guess, ...]:
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 1:
        return ()
    # To the CPU before they become float64, which an Apple GPU has none of.
    shares = logits[0].cpu().double().softmax(dim=0).numpy()
    order = np.argsort(-shares, kind="stable")[:MOST_GUESSES]
    return tuple(Guess(name=_class_name(classes, int(k)), probability=float(shares[k])) for k in order)


def _class_name(classes: tuple[str, ...], number: int) -> str:
    return classes[number] if number < len(classes) else f"class {number}"
