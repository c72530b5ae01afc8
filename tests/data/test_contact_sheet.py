from __future__ import annotations

import numpy as np

from cnnlab.data.contact_sheet import SheetRow, contact_sheet, render_sheet
from cnnlab.data.sources.base import ImageSpec
from cnnlab.data.sources.image_folder import open_folder


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
