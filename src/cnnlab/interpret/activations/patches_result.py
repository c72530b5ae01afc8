"""The patches that excite filters most, as numbers, sentences and pictures. No torch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cnnlab.interpret.activations.feature_maps_view import format_short
from cnnlab.records import Record
from cnnlab.render.document import Document
from cnnlab.render.formatting import MISSING, format_shape, pluralize, quote, shorten
from cnnlab.render.plots import CaptionedFigure, to_svg
from cnnlab.render.tables import TextTable

Pair = tuple[int, int]
Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
# Of what lies outside the image, from 0 to 1.
OUTSIDE_GREY = 0.5


class PatchRecord(Record):
    """One patch: image number `image` of the part, from 0; `node` (row, column) on the map; `rows` and `columns` the
    first and last ones of the image that it sees, padding included; None where it sees all of it.
    """

    value: float
    image: int
    label: str
    node: Pair
    rows: Pair | None
    columns: Pair | None


class FilterRecord(Record):
    """One filter's patches, the most exciting first."""

    number: int
    patches: tuple[PatchRecord, ...]


class PatchesRecord(Record):
    """`Patches` without the pixels."""

    network: str
    layer: str
    text: str
    filters_in_all: int
    split: str
    images: int
    filters: tuple[FilterRecord, ...]


@dataclass(frozen=True)
class Patch:
    """What one node sees of one image.

    Attributes:
        value: the activation.
        image: the image's number in the part, from 0.
        label: the index of its class.
        node: (row, column) on the map.
        receptive_field: the first and last row, and column, of the image that the node sees, padding included; None for
            all of it.
        pixels: the whole image, uint8, C×H×W.
    """

    value: float
    image: int
    label: int
    node: Pair
    receptive_field: tuple[Pair, Pair] | None
    pixels: Pixels

    @property
    def size(self) -> Pair | None:
        """How many rows and columns the node sees; None for all of them."""
        if self.receptive_field is None:
            return None
        (top, bottom), (left, right) = self.receptive_field
        return bottom - top + 1, right - left + 1

    @property
    def covers_image(self) -> bool:
        """Whether the node sees the whole image, or, beside padding, more than it."""
        return self.size is None or all(np.greater_equal(self.size, self.pixels.shape[1:]))

    def crop(self) -> Floats:
        """What the node sees, H×W×3 or, with what lies outside, in grey; the whole image where it sees all."""
        whole = np.broadcast_to(self.pixels / 255, (3, *self.pixels.shape[1:])).transpose(1, 2, 0)
        if self.receptive_field is None or self.covers_image:
            return np.asarray(whole)
        (top, bottom), (left, right) = self.receptive_field
        pixels = np.full((bottom - top + 1, right - left + 1, 3), OUTSIDE_GREY)
        height, width = whole.shape[:2]
        rows, columns = slice(max(top, 0), min(bottom + 1, height)), slice(max(left, 0), min(right + 1, width))
        pixels[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = whole[rows, columns]
        return pixels


@dataclass(frozen=True)
class FilterPatches:
    """The patches of one filter, by its number from 0, the most exciting first."""

    number: int
    patches: tuple[Patch, ...]


@dataclass(frozen=True)
class Patches:
    """The patches that excite filters of one layer most, over a part of the data.

    Attributes:
        num_filters: how many filters the layer has.
        images: how many images were looked at.
        classes: the classes' names.
        is_identity_softmax: whether the layer is a softmax that hands on the logits as they are.
    """

    network: str
    layer: str
    text: str
    num_filters: int
    split: str
    images: int
    classes: tuple[str, ...]
    filters: tuple[FilterPatches, ...]
    is_identity_softmax: bool = False

    def class_name(self, patch: Patch) -> str:
        """The class of a patch's image."""
        return self.classes[patch.label] if patch.label < len(self.classes) else f"class {patch.label}"

    def record(self) -> PatchesRecord:
        """The patches' places and values, without pixels."""
        return PatchesRecord(
            network=self.network,
            layer=self.layer,
            text=self.text,
            filters_in_all=self.num_filters,
            split=self.split,
            images=self.images,
            filters=tuple(
                FilterRecord(number=each.number, patches=tuple(map(self._record, each.patches)))
                for each in self.filters
            ),
        )

    def to_json(self, indent: int | None = None) -> str:
        """The record as JSON."""
        return self.record().to_json(indent)

    def summary(self) -> str:
        """How far each filter's patches are of one class."""
        shares = []
        for each in self.filters:
            share = self.majority_class(each)
            if share is not None:
                shares.append((share[1] / len(each.patches), each, *share))
        if not shares:
            return "No filter has an activation that is a number."
        _, each, name, count = max(shares, key=lambda one: one[0])
        alike = sum(share > 0.5 for share, *_ in shares)
        idle = [str(each.number) for each in self.filters if each.patches and each.patches[0].value <= 0]
        never = f" Never above 0: {pluralize(len(idle), 'filter')} ({', '.join(idle)})." if idle else ""
        return (
            f"Of {pluralize(len(shares), 'filter')} {alike or 'none'} {'has' if alike == 1 else 'have'} more than "
            f"half of the patches from images of one class; the most in filter {each.number}: {count} of "
            f"{len(each.patches)} are {quote(name)}.{never}"
        )

    def majority_class(self, filter_patches: FilterPatches) -> tuple[str, int] | None:
        """The most frequent class among a filter's patches, and how many are of it; of equal ones the first."""
        most_common = Counter(self.class_name(patch) for patch in filter_patches.patches).most_common(1)
        return most_common[0] if most_common else None

    def document(self) -> Document:
        """The answer, and for each filter the values and images of its patches."""
        titles = ["#filter", "#highest", "#lowest shown", "most frequent class", "images"]
        return Document(
            title=f"What excites {self.layer} of {self.network} most, in {self.images_text()}",
            lines=(self.summary(),),
            tables=((self.selection_note(), TextTable.from_rows(titles, [self._row(each) for each in self.filters])),),
            notes=(
                *self.identity_softmax_notes(),
                self.patch_size_text(),
                "Filters are numbered from 0, and so are the images of a part.",
            ),
        )

    def selection_note(self) -> str:
        """Which filters are shown."""
        return f"{self.layer}: {self.text}; {len(self.filters)} of {pluralize(self.num_filters, 'filter')}"

    def identity_softmax_notes(self) -> tuple[str, ...]:
        """That a softmax hands on the logits as they are, where it does."""
        return (f"{self.layer} passes the logits on: the loss works on them.",) if self.is_identity_softmax else ()

    def images_text(self) -> str:
        """The images that were looked at."""
        return f"{pluralize(self.images, 'image')} of the {self.split} part"

    def patch_size_text(self) -> str:
        """What a patch is, with its size."""
        patches = [patch for each in self.filters for patch in each.patches]
        once = "one of each image at most"
        if not patches:
            return f"A patch is what the most excited node sees; {once}."
        views = {patch.size for patch in patches if patch.size is not None}
        if not views:
            return f"Each node sees the whole image, which is shown; {once}."
        largest = format_shape(max(views))
        # Views on an enlarged image are not all of one size.
        sides = largest if len(views) == 1 else f"up to {largest}"
        if all(patch.covers_image for patch in patches):
            return (
                f"A node sees {sides} pixels by the layers' windows, as much as the image or more: whole images are "
                f"shown, the middle of the view marked by a frame; {once}."
            )
        return f"A patch is what the node sees by the layers' windows, {sides} pixels, grey outside the image; {once}."

    def figures(self) -> dict[str, CaptionedFigure]:
        """A row of patches for each filter."""
        from cnnlab.interpret.activations.patches_view import patches_figure

        return {
            "patches": CaptionedFigure(
                patches_figure(self), f"What excites filters of {self.layer} most. {self.summary()}"
            )
        }

    def _repr_html_(self) -> str:
        captioned = self.figures()["patches"]
        return self.document().to_html(to_svg(captioned.figure, "patches", captioned.description, standalone=True))

    def _record(self, patch: Patch) -> PatchRecord:
        rows, columns = patch.receptive_field or (None, None)
        return PatchRecord(
            value=patch.value,
            image=patch.image,
            label=self.class_name(patch),
            node=patch.node,
            rows=rows,
            columns=columns,
        )

    def _row(self, filter_patches: FilterPatches) -> tuple[str, ...]:
        common = self.majority_class(filter_patches)
        if common is None:
            return str(filter_patches.number), MISSING, MISSING, "", ""
        images = ", ".join(str(patch.image) for patch in filter_patches.patches)
        values = format_short(filter_patches.patches[0].value), format_short(filter_patches.patches[-1].value)
        return (
            str(filter_patches.number),
            *values,
            f"{shorten(common[0])} ({common[1]} of {len(filter_patches.patches)})",
            images,
        )
