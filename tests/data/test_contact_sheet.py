"""Contact sheets show images of each class, and what augmentation makes of them in each epoch."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure

from cnnlab.config.recipe import Data
from cnnlab.data.augmentation.augment import augment, sample_params
from cnnlab.data.contact_sheet import augmented_sheet, contact_sheet, sample_per_class
from cnnlab.data.sources.base import ImageSpec
from cnnlab.data.sources.image_folder import open_folder

FORM = ImageSpec(3, 6, 8)
AUGMENT = Data(source="x", augment=["crop(2)", "hue(0.5)"]).augment


def pictures(sheet: Figure) -> list[np.ndarray]:
    """The images of a sheet, uint8, H×W×3, in their order."""
    return [np.rint(255 * image.get_array()).astype(np.uint8) for axes in sheet.axes for image in axes.images]


def texts(sheet: Figure) -> list[str]:
    return [text.get_text() for drawn in (*sheet.axes, sheet) for text in drawn.texts]


def test_a_row_for_each_class_with_its_training_images(make_folder, draw):
    root = make_folder({"train/cat": 3, "train/dog": 1, "test/cat": 1})
    (root / "test" / "cat" / "0.png").write_bytes(b"a test image is not read")
    sheet = contact_sheet(open_folder(root), FORM, per_class=2)
    for found, number in zip(pictures(sheet), (1, 3, 4), strict=True):
        np.testing.assert_array_equal(found, draw(number))
    assert {"cat", "dog"} <= set(texts(sheet))


def test_a_row_for_each_image_and_a_column_for_each_epoch(make_folder):
    source = open_folder(make_folder({"cat": 5, "dog": 3}))
    sheet = augmented_sheet(source, FORM, AUGMENT, seed=3, epochs=2, per_class=2)
    images = np.array([0, 4, 5, 7])
    pixels = torch.from_numpy(np.array(source.pixels("train", images, FORM)))
    versions = [pixels, *(augment(pixels, AUGMENT, sample_params(AUGMENT, 3, epoch, images)) for epoch in (0, 1))]
    expected = [version[row].permute(1, 2, 0) for row in range(4) for version in versions]
    for found, version in zip(pictures(sheet), expected, strict=True):
        np.testing.assert_array_equal(found, version)
    assert [text for text in texts(sheet) if text.startswith(("epoch", "unaug"))] == [
        "unaugmented", "epoch 0", "epoch 1",
    ] * 4  # fmt: skip
    assert any("hue(" in text for text in texts(sheet))


def test_few_classes_have_more_images_each(make_folder):
    source = open_folder(make_folder({"cat": 5, "dog": 3}))
    assert sum(len(indices) for _, indices in sample_per_class(source, 4)) == 7
    assert len(pictures(augmented_sheet(source, FORM, AUGMENT, epochs=1))) == 14
