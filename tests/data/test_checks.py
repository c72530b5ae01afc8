from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from cnnlab.context import Callbacks, RunContext
from cnnlab.data.checks import SourceReport, check_source


def problems(report: SourceReport) -> list[tuple[str, str]]:
    return [(problem.kind, problem.file) for problem in report.problems]


def test_a_sound_folder(make_folder):
    root = make_folder({"train/cat": 3, "train/dog": 2, "test/cat": 1, "test/dog": 1})
    report = check_source(str(root))
    assert json.loads(report.to_json()) == {
        "source": str(root),
        "images": 7,
        "classes": ["cat", "dog"],
        "splits": {
            "train": {"images": 5, "per_class": {"cat": 3, "dog": 2}},
            "test": {"images": 2, "per_class": {"cat": 1, "dog": 1}},
        },
        "problems": [],
    }
    assert SourceReport.from_json(report.to_json()) == report


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"", "empty", "0 bytes"),
        (b"<html></html>", "not an image", "<html>"),
        (None, "truncated", "truncated"),
    ],
)
def test_files_that_give_no_image(make_folder, encode, draw, content, kind, words):
    root = make_folder({"cat": 3, "dog": 3})
    whole = encode(draw(99, height=60, width=60))
    (root / "cat" / "1.png").write_bytes(whole[: len(whole) // 2] if content is None else content)
    (problem,) = check_source(str(root)).problems
    assert (problem.kind, problem.file, problem.fatal) == (kind, "cat/1.png", True)
    assert words in problem.message


def test_the_same_image_in_two_splits_is_a_leak_whatever_its_file(make_folder, encode, draw):
    root = make_folder({"train/cat": 3, "train/dog": 3, "test/cat": 1})
    (root / "test" / "cat" / "copy.bmp").write_bytes(encode(draw(2), "BMP"))
    (problem,) = check_source(str(root)).problems
    assert (problem.kind, problem.file) == ("same image in two splits", "test/cat/copy.bmp")
    assert "train/cat/1.png" in problem.message


def test_the_same_image_with_two_labels(make_folder, encode, draw):
    root = make_folder({"cat": 3, "dog": 3})
    (root / "dog" / "9.png").write_bytes(encode(draw(1)))
    (problem,) = check_source(str(root)).problems
    assert (problem.kind, problem.file) == ("same image, two labels", "dog/9.png")
    assert problem.message.endswith("cat/0.png: cat and dog")
    (root / "dog" / "9.png").rename(root / "cat" / "9.png")
    assert problems(check_source(str(root))) == [("duplicate", "cat/9.png")]


def test_pictures_of_the_same_bytes_but_other_sizes_are_not_the_same(make_folder, encode):
    root = make_folder({"cat": 2, "dog": 2})
    (root / "cat" / "8.png").write_bytes(encode(np.zeros((4, 6, 3), np.uint8)))
    (root / "cat" / "9.png").write_bytes(encode(np.zeros((6, 4, 3), np.uint8)))
    assert problems(check_source(str(root))) == [("different sizes", "")]


def test_different_sizes_are_told_with_their_numbers(make_folder, encode, draw):
    root = make_folder({"cat": 2, "dog": 2})
    (root / "cat" / "9.png").write_bytes(encode(draw(9, height=3, width=4)))
    (problem,) = check_source(str(root)).problems
    assert "6×8 (4 images, cat/0.png), 3×4 (1 image, cat/9.png); a recipe" in problem.message
    assert not problem.fatal


def test_a_wrong_ending(make_folder):
    root = make_folder({"cat": 2, "dog": 2})
    (root / "cat" / "0.png").rename(root / "cat" / "0.jpg")
    (problem,) = check_source(str(root)).problems
    assert (problem.kind, problem.file) == ("wrong ending", "cat/0.jpg")
    assert "PNG" in problem.message


def test_one_image_in_a_class_and_imbalance(make_folder):
    report = check_source(str(make_folder({"cat": 20, "dog": 1})))
    assert problems(report) == [("one image in a class", "dog"), ("imbalance", "dog")]
    assert "20 images of 'cat', 1 of 'dog'" in report.problems[1].message


def test_what_open_refuses_is_listed_here_with_all_else(make_folder):
    root = make_folder({"train/cat": 3, "train/dog": 3, "test/fish": 1})
    (root / "train" / "owl").mkdir()
    (root / "train" / "cat" / "0.png").write_bytes(b"")
    (root / "notes.txt").write_bytes(b"x")
    report = check_source(str(root))
    assert [(problem.kind, problem.fatal) for problem in report.problems] == [
        ("empty class", True),
        ("unknown class", True),
        ("empty", True),
        ("not an image", False),
    ]
    assert report.classes == ("cat", "dog", "owl")


def test_an_archive_and_a_name_under_the_data_folder(make_folder, tmp_path):
    root = make_folder({"cat": 2, "dog": 2})
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in sorted(root.rglob("*.png")):
            archive.write(path, path.relative_to(root))
    told = []
    report = check_source(
        "a.zip", RunContext(data_root=tmp_path, callbacks=Callbacks(progress=lambda *report: told.append(report)))
    )
    assert (report.images, report.source, report.problems) == (4, "a.zip", ())
    assert told[-1] == ("checking train", 4, 4, "images")


def test_a_catalogue_name(monkeypatch):
    monkeypatch.setattr("cnnlab.data.sources.shapes._render_chunk", lambda split, indices: noise(split, indices))
    report = check_source("shapes")
    assert report.images == sum(count.images for count in report.splits.values()) > 1000
    assert report.problems == ()


def noise(part, indices):
    """Pictures of the form of shapes, all different, and made in a moment."""
    key = len(part) * 1_000_000 + np.asarray(indices)
    pixels = np.zeros((len(indices), 3 * 32 * 32), np.uint8)
    pixels[:, :8] = key.astype("<u8")[:, None].view(np.uint8)
    return pixels.reshape(-1, 3, 32, 32)


def test_real_faces_are_sound(orl_faces):
    report = check_source(str(orl_faces))
    assert (report.images, len(report.classes), report.problems) == (400, 40, ())
