from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.data.sources.class_folders import (
    FileEntry,
    FileListing,
    SourceIssue,
    digest_entries,
    find_class_folders,
    is_ignored,
    natural_sort_key,
)


def files(*paths: str, folders: tuple[str, ...] = ()) -> FileListing:
    return FileListing(tuple(FileEntry(path, 1, "0", path) for path in paths), frozenset(folders))


def arranged(*paths: str, folders: tuple[str, ...] = ()) -> dict[str, list[tuple[str, str]]]:
    layout = find_class_folders(files(*paths, folders=folders))
    return {
        split: [(entry.path, layout.classes[label]) for entry, label in zip(entries, layout.labels[split], strict=True)]
        for split, entries in layout.entries.items()
    }


def kinds(*paths: str, folders: tuple[str, ...] = ()) -> list[tuple[str, str, bool]]:
    return [
        (finding.kind, finding.file, finding.fatal)
        for finding in find_class_folders(files(*paths, folders=folders)).issues
    ]


def test_top_folders_are_classes_of_train():
    assert arranged("cat/1.png", "dog/1.png") == {"train": [("cat/1.png", "cat"), ("dog/1.png", "dog")]}


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "validation", "test"),
        ("Training", "Val", "Testing"),
        ("training", "valid", "testing"),
        ("Train", "VAL", "TEST"),
    ],
)
def test_names_of_parts_in_any_letters(train, validation, test):
    paths = [f"{train}/cat/1.png", f"{train}/dog/1.png", f"{validation}/dog/1.png", f"{test}/cat/1.png"]
    found = {split: [label for _, label in rows] for split, rows in arranged(*paths).items()}
    assert found == {"train": ["cat", "dog"], "validation": ["dog"], "test": ["cat"]}
    assert kinds(*paths) == []


@pytest.mark.parametrize("parts", [("train_set", "test_set"), ("dev", "eval"), ("Trainingsdaten", "Testdaten")])
def test_parts_that_are_not_understood_are_no_classes(parts):
    (finding,) = find_class_folders(
        files(*(f"{split}/{name}/1.png" for split in parts for name in ("cat", "dog")))
    ).issues
    assert (finding.kind, finding.file, finding.fatal) == ("splits not understood", ", ".join(sorted(parts)), True)
    assert finding.message.endswith("train, training, validation, val, valid, test, testing")


@pytest.mark.parametrize(
    "paths",
    [
        ("train_set/a/1.png", "boat/a/1.png"),
        ("train/1.png", "bus/1.png"),
    ],
)
def test_classes_with_names_like_parts_stay_classes(paths):
    assert kinds(*paths) == []


def test_a_path_below_the_class_is_the_same_wherever_the_class_lies():
    for above in ("", "train/", "around/", "around/training/"):
        layout = find_class_folders(files(*(f"{above}{name}/old/1.png" for name in ("cat", "dog"))))
        assert [layout.path_in_class(entry) for entry in layout.entries["train"]] == ["old/1.png"] * 2


@pytest.mark.parametrize("root", ["data/", "a/b/"])
def test_a_folder_around_everything_is_looked_through(root):
    paths = ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png")
    want = {split: [label for _, label in rows] for split, rows in arranged(*paths).items()}
    found = arranged(*(root + path for path in paths), folders=(root.split("/")[0], root.rstrip("/"), f"{root}train"))
    assert {split: [label for _, label in rows] for split, rows in found.items()} == want


def test_a_class_may_be_called_train():
    found = arranged("bus/1.png", "train/1.png", "train/2.png")
    assert found == {"train": [("bus/1.png", "bus"), ("train/1.png", "train"), ("train/2.png", "train")]}


def test_classes_are_in_natural_order_and_labels_follow_names():
    layout = find_class_folders(files("s10/1.png", "s2/1.png", "s1/1.png"))
    assert layout.classes == ("s1", "s2", "s10")
    assert dict(zip([entry.path for entry in layout.entries["train"]], layout.labels["train"], strict=True)) == {
        "s1/1.png": 0,
        "s2/1.png": 1,
        "s10/1.png": 2,
    }


def test_a_name_is_one_class_however_its_letters_are_composed():
    layout = find_class_folders(files("train/caf\u00e9/1.png", "train/tea/1.png", "test/cafe\u0301/1.png"))
    assert layout.classes == ("caf\u00e9", "tea")
    assert layout.labels["test"] == (0,)


@pytest.mark.parametrize(
    "path",
    [
        ".git/a.png",
        "cat/.hidden.png",
        "__MACOSX/cat/1.png",
        "cat/Thumbs.db",
        ".ipynb_checkpoints/cat/1.png",
        "a/desktop.ini",
    ],
)
def test_what_systems_leave_behind_is_ignored_silently(path):
    assert is_ignored(path)
    assert kinds("cat/1.png", "dog/1.png", path, folders=(".git", "__MACOSX")) == []


def test_files_that_are_no_images_are_reported():
    assert kinds("cat/1.png", "dog/1.png", "readme.txt") == [("not an image", "readme.txt", False)]


def test_images_outside_classes_and_parts_are_reported():
    assert kinds("cat/1.png", "dog/1.png", "loose.png") == [("outside the classes", "loose.png", False)]
    assert kinds("train/cat/1.png", "train/dog/1.png", "train/loose.png") == [
        ("outside the classes", "train/loose.png", False)
    ]
    assert kinds("train/cat/1.png", "train/dog/1.png", "docs/1.png") == [("outside the splits", "docs/1.png", False)]


@pytest.mark.parametrize(
    "paths", [(), ("readme.txt",), ("1.png", "2.png"), ("train/1.png", "test/1.png"), ("test/cat/1.png",)]
)
def test_no_training_image_in_a_class_folder_is_fatal(paths):
    assert ("no images", "", True) in kinds(*paths)


def test_an_empty_class_is_fatal():
    assert ("empty class", "bird", True) in kinds("cat/1.png", "dog/1.png", folders=("bird", "cat", "dog"))
    folders = ("train", "train/bird", "test", "test/fish")
    assert kinds("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", folders=folders) == [
        ("empty class", "bird", True)
    ]


def test_an_empty_folder_beside_the_only_full_one_is_not_passed_over():
    assert ("empty class", "b", True) in kinds("a/x/1.png", "a/y/1.png", folders=("a", "a/x", "a/y", "b"))


def test_one_class_only_is_fatal():
    assert kinds("cat/1.png", "cat/2.png") == [("one class only", "cat", True)]


def test_a_class_that_train_lacks_is_fatal():
    found = kinds("train/cat/1.png", "train/dog/1.png", "val/fish/1.png")
    assert found == [("unknown class", "validation: fish", True)]


def test_findings_of_the_files_are_kept():
    finding = SourceIssue("link", "a", "leads out", fatal=True)
    listed = FileListing(files("cat/1.png", "dog/1.png").entries, frozenset(), (finding,))
    assert finding in find_class_folders(listed).issues


@given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=8), max_size=8).flatmap(
        lambda names: st.tuples(st.just(names), st.permutations(names))
    )
)
def test_natural_order_does_not_depend_on_the_order_given(both):
    names, shuffled = both
    assert sorted(names, key=natural_sort_key) == sorted(shuffled, key=natural_sort_key)


@given(st.lists(st.integers(0, 10**6), unique=True))
def test_numbers_in_names_are_ordered_as_numbers(numbers):
    names = [f"s{number}" for number in numbers]
    assert sorted(names, key=natural_sort_key) == [f"s{number}" for number in sorted(numbers)]


@pytest.mark.parametrize(
    "other", [FileEntry("b", 1, "0", "k"), FileEntry("a", 2, "0", "k"), FileEntry("a", 1, "1", "k")]
)
def test_digest_sees_name_size_and_stamp(other):
    first = FileEntry("a", 1, "0", "k")
    assert digest_entries([first]) == digest_entries([FileEntry("a", 1, "0", "elsewhere")])
    assert digest_entries([first]) != digest_entries([other])
    assert digest_entries([first, other]) != digest_entries([other, first])
