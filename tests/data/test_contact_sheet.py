"""Contact sheets show images of each class, and what augmentation makes of them in each epoch."""

from __future__ import annotations

import numpy as np
import torch

from cnnlab.config.recipe import Data
from cnnlab.data.augmentation.augment import augment, sample_params
from cnnlab.data.contact_sheet import SheetRow, augmented_sheet, contact_sheet, render_sheet, sample_per_class
from cnnlab.data.sources.base import ImageSpec
from cnnlab.data.sources.image_folder import open_folder

FORM = ImageSpec(3, 6, 8)
AUGMENT = Data(source="x", augment=["crop(2)", "hue(0.5)"]).augment


def test_a_row_for_each_class_with_its_training_images(make_folder, draw):
    root = make_folder({"train/cat": 3, "train/dog": 1, "test/cat": 1})
    (root / "test" / "cat" / "0.png").write_bytes(b"a test image is not read")
    sheet = np.asarray(contact_sheet(open_folder(root), ImageSpec(3, 6, 8), per_class=2))
    # 8 times larger, 4 pixels between pictures, 150 for the names.
    assert sheet.shape == (2 * (6 * 8 + 4) + 4, 150 + 2 * (8 * 8 + 4), 3)
    np.testing.assert_array_equal(sheet[4:52:8, 150:214:8], draw(1))
    np.testing.assert_array_equal(sheet[4:52:8, 218:282:8], draw(3))
    np.testing.assert_array_equal(sheet[56:104:8, 150:214:8], draw(4))
    assert (sheet[:, :150] < 128).any()


def test_grey_images_stay_grey(make_folder):
    sheet = np.asarray(contact_sheet(open_folder(make_folder({"cat": 1, "dog": 1})), ImageSpec(1, 6, 8), per_class=1))
    assert (sheet == sheet[:, :, :1]).all()


def test_rows_stand_under_their_heads_and_above_their_notes():
    spec, grey = ImageSpec(1, 16, 16), np.full((1, 16, 16), 100, np.uint8)
    rows = [SheetRow("one", [grey, grey]), SheetRow("two", [grey])]
    plain = np.asarray(render_sheet(rows, spec, 2))
    made = np.asarray(render_sheet(rows, spec, 2, ["as it is", "epoch 0"], ["flip(0.5)", "word " * 60]))
    assert made.shape[1] == plain.shape[1] == 150 + 2 * 68
    # A head is 20 pixels high; the notes take more than two lines of 16.
    np.testing.assert_array_equal(made[20 : 20 + len(plain)], plain)
    assert (made[:20, 150:] < 200).any()
    assert made.shape[0] >= 20 + len(plain) + 3 * 16
    assert (made[20 + len(plain) :] < 200).any()


def test_heads_need_room():
    spec, dark = ImageSpec(1, 64, 20), np.zeros((1, 64, 20), np.uint8)
    assert (
        render_sheet([SheetRow("one", [dark])], spec, 1, ["epoch 0"]).size
        == render_sheet([SheetRow("one", [dark])], spec, 1).size
    )


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
