from __future__ import annotations

import os

import numpy as np
import pytest

from cnnlab.data.decoding import images
from cnnlab.data.sources import file_readers
from cnnlab.data.sources.base import ImageSpec
from cnnlab.data.sources.image_folder import open_folder
from cnnlab.errors import SourceError

SPEC = ImageSpec(3, 6, 8)


def test_a_folder_of_class_folders(make_folder, draw):
    source = open_folder(make_folder({"cat": 2, "dog": 1}))
    assert (source.classes, source.splits) == (("cat", "dog"), ("train",))
    assert source.labels("train").dtype == np.int64
    assert source.image_names("train") == ["cat/0.png", "cat/1.png", "dog/0.png"]
    pixels = source.pixels("train", np.array([2, 0]), SPEC)
    np.testing.assert_array_equal(pixels, np.stack([draw(3), draw(1)]).transpose(0, 3, 1, 2))


def test_what_is_no_data_is_an_error(tmp_path):
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    words = {"none": r"(?s)none: no data is found here.*class folders.*check the path",
             "a.rar": r"(?s)no archive that is read here.*\.rar.*unpack it"}  # fmt: skip
    for name, expected in words.items():
        with pytest.raises(SourceError, match=expected):
            open_folder(tmp_path / name)


def test_all_problems_are_told_together(make_folder):
    root = make_folder({"train/cat": 1, "val/fish": 1})
    with pytest.raises(SourceError) as caught:
        open_folder(root)
    assert [problem.what for problem in caught.value.problems] == [
        "this data can't be used: one class only",
        "this data can't be used: unknown class",
    ]
    assert caught.value.problems[1].received == "validation has this class, train has not"


def test_links_out_of_the_folder_are_refused(make_folder, tmp_path):
    root = make_folder({"cat": 1, "dog": 1})
    (tmp_path / "secret.png").write_bytes(b"x")
    (root / "cat" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(SourceError, match=r"(?s)link.*cat/link\.png.*leads out of the folder"):
        open_folder(root)


def test_links_in_a_loop_are_refused(make_folder):
    root = make_folder({"cat": 1, "dog": 1})
    (root / "cat" / "again").symlink_to(root, target_is_directory=True)
    (root / "dog" / "self").symlink_to("self")
    with pytest.raises(SourceError) as caught:
        open_folder(root)
    assert [problem.received for problem in caught.value.problems] == [
        "this link leads back to a folder that it is in",
        "this link leads nowhere, or to itself",
    ]


def test_links_inside_the_folder_and_a_root_that_is_a_link_are_followed(make_folder, tmp_path):
    root = make_folder({"cat": 1, "dog": 1})
    (root / "dog" / "link.png").symlink_to(root / "cat" / "0.png")
    (tmp_path / "alias").symlink_to(root, target_is_directory=True)
    assert open_folder(tmp_path / "alias").image_names("train") == ["cat/0.png", "dog/0.png", "dog/link.png"]


def test_special_files_are_left_out_and_never_opened(make_folder):
    root = make_folder({"cat": 1, "dog": 1})
    os.mkfifo(root / "cat" / "pipe.png")
    source = open_folder(root)
    assert len(source.labels("train")) == 2
    assert [(finding.kind, finding.file) for finding in source.layout.issues] == [("not an image", "cat/pipe.png")]


def test_folders_and_images_whose_names_can_not_be_shown_are_refused(make_folder):
    """A class that is passed over would be missing unseen."""
    root = make_folder({"cat": 1, "dog": 1, "bi\u202erd": 3})
    (root / os.fsdecode(b"\xff\xfe")).mkdir()
    (root / "cat" / "a\nb.png").write_bytes(b"x")
    (root / "cat" / "Icon\r").write_bytes(b"")
    with pytest.raises(SourceError) as caught:
        open_folder(root)
    assert [(problem.where.removeprefix(f"{root}: "), problem.received) for problem in caught.value.problems] == [
        (r"'bi\u202erd'", "its name is no printable text; rename it"),
        (r"'cat/a\nb.png'", "its name is no printable text; rename it"),
        (r"'\udcff\udcfe'", "its name is no printable text; rename it"),
    ]


def test_unicode_and_spaces_in_names(make_folder):
    root = make_folder({"größe 1/kätzchen 猫": 2, "größe 1/🐶": 1})
    dog = root / "größe 1" / "🐶"
    (dog / "0.png").rename(dog / "10.00\u202fAM\u00a0\U0001f469\u200d\U0001f52c.png")
    source = open_folder(root)
    assert source.classes == ("kätzchen 猫", "🐶")
    assert source.pixels("train", np.arange(3), SPEC).shape == (3, 3, 6, 8)


def test_a_folder_that_can_not_be_read_is_named(make_folder, monkeypatch):
    root = make_folder({"cat": 1, "dog": 1})
    listing = os.scandir

    def refuse(folder: object) -> object:
        if str(folder).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return listing(folder)  # type: ignore[call-overload]

    monkeypatch.setattr(file_readers.os, "scandir", refuse)
    with pytest.raises(SourceError, match=r"(?s)dog/: this data can't be used: unreadable\n.*Permission denied"):
        open_folder(root)


def test_a_file_that_vanished_or_is_too_large_is_a_fault(make_folder, monkeypatch):
    root = make_folder({"cat": 2, "dog": 1})
    source = open_folder(root)
    (root / "cat" / "0.png").unlink()
    with pytest.raises(SourceError, match=r"(?s)1 of the files.*cat/0\.png.*received: No such file or directory"):
        source.pixels("train", np.arange(3), SPEC)
    monkeypatch.setattr(images, "MAX_BYTES", 3)
    with pytest.raises(SourceError, match=r"(?s)3 of the files.*: too large"):
        source.pixels("train", np.arange(3), SPEC)


def test_bad_images_are_named_with_reasons_and_the_first_few_only(make_folder):
    root = make_folder({"cat": 9, "dog": 2})
    for index in range(7):
        (root / "cat" / f"{index}.png").write_bytes(b"<html>" if index else b"")
    with pytest.raises(SourceError) as caught:
        open_folder(root).pixels("train", np.arange(11), SPEC)
    summary, *first = caught.value.problems
    assert summary.what.startswith("7 of the files")
    assert f"cnnlab data check {root}" in summary.next_step
    assert [problem.where for problem in first] == [f"cat/{index}.png" for index in range(5)]
    assert first[0].what == "no image can be read from this file: empty"
    assert "<html>" in first[1].received


def test_different_sizes_are_an_error_that_names_them(make_folder, encode, draw):
    root = make_folder({"cat": 3, "dog": 1})
    (root / "dog" / "big.png").write_bytes(encode(draw(1, height=20, width=30)))
    with pytest.raises(SourceError) as caught:
        open_folder(root).native_spec()
    (problem,) = caught.value.problems
    assert "different sizes" in problem.what
    assert problem.received == "6×8 (4 images, cat/0.png), 20×30 (1 image, dog/big.png)"
    assert problem == _different(root), "kept"
    assert "data.size = [64, 64]" in problem.next_step


def test_of_many_sizes_the_most_frequent_are_named(make_folder, encode, draw):
    root = make_folder({"cat": 9, "dog": 1})
    for side in range(1, 7):
        (root / "dog" / f"{side}.png").write_bytes(encode(draw(1, height=side, width=1)))
    shown = "6×8 (10 images, cat/0.png), 1×1 (1 image, dog/1.png), 2×1 (1 image, dog/2.png), 3×1 (1 image, dog/3.png), "
    assert _different(root).received == f"{shown}4×1 (1 image, dog/4.png) and 2 more sizes"


def _different(root):
    with pytest.raises(SourceError) as caught:
        open_folder(root).native_spec()
    return caught.value.problems[0]


def test_the_size_of_a_test_image_is_not_looked_at(make_folder, encode, draw):
    root = make_folder({"train/cat": 2, "train/dog": 1, "test/cat": 1})
    (root / "test" / "cat" / "0.png").write_bytes(encode(draw(1, height=20, width=30)))
    assert open_folder(root).native_spec() == SPEC


def test_channels_are_one_where_all_are_grey_and_three_where_any_has_colour(make_folder, encode, draw):
    root = make_folder({"cat": 1, "dog": 1})
    for folder in ("cat", "dog"):
        (root / folder / "0.png").write_bytes(encode(draw(1, channels=1)))
    assert open_folder(root).scan_headers().channels == 1
    (root / "dog" / "1.png").write_bytes(encode(draw(2)))
    assert open_folder(root).scan_headers().channels == 3


def test_no_readable_header_is_an_error(make_folder):
    root = make_folder({"cat": 1, "dog": 1})
    for folder in ("cat", "dog"):
        (root / folder / "0.png").write_bytes(b"bad")
    with pytest.raises(SourceError, match="2 of the files give no image"):
        open_folder(root).native_spec()
