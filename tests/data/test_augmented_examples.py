"""A sheet of augmented images shows each image, and what augmentation makes of it in each epoch."""

from __future__ import annotations

import numpy as np
import torch

from cnnlab.config.recipe import Data
from cnnlab.data.augmentation.augment import augment, sample_params
from cnnlab.data.contact_sheet import augmented_sheet, sample_per_class
from cnnlab.data.sources.base import ImageSpec
from cnnlab.data.sources.image_folder import open_folder

FORM = ImageSpec(3, 6, 8)
AUGMENT = Data(source="x", augment=["crop(2)", "hue(0.5)"]).augment


def test_a_row_for_each_image_and_a_column_for_each_epoch(make_folder):
    source = open_folder(make_folder({"cat": 5, "dog": 3}))
    sheet = np.asarray(augmented_sheet(source, FORM, AUGMENT, seed=3, epochs=2, per_class=2))
    images = np.array([0, 4, 5, 7])
    pixels = torch.from_numpy(np.array(source.pixels("train", images, FORM)))
    versions = [pixels, *(augment(pixels, AUGMENT, sample_params(AUGMENT, 3, epoch, images)) for epoch in (0, 1))]
    for row in range(4):
        for column, version in enumerate(versions):
            top, left = 20 + 4 + row * 52, 150 + column * 68
            found = sheet[top : top + 48 : 8, left : left + 64 : 8]
            np.testing.assert_array_equal(found, version[row].permute(1, 2, 0))


def test_few_classes_have_more_images_each(make_folder):
    source = open_folder(make_folder({"cat": 5, "dog": 3}))
    sheet = augmented_sheet(source, FORM, AUGMENT, epochs=1)
    shown = sum(len(indices) for _, indices in sample_per_class(source, 4))
    assert shown == 7
    assert sheet.size == (150 + 2 * 68, 20 + 7 * 52 + 4 + 2 * 16 + 4)
