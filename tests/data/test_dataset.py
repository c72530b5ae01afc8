from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cnnlab.config.recipe import Data
from cnnlab.context import Callbacks, RunContext
from cnnlab.data import dataset
from cnnlab.data.dataset import (
    data_roots,
    find_files,
    input_spec,
    mean_and_std,
    open_dataset,
    open_source,
    preview_spec,
)
from cnnlab.data.sources.base import ImageSpec
from cnnlab.data.splits import split_hash
from cnnlab.errors import SourceError


@pytest.fixture
def whole(make_folder):
    """A folder without a split."""
    return make_folder({"cat": 20, "dog": 30, "owl": 10})


@pytest.fixture
def opened(whole):
    """That folder, opened with these fields of [data] and this seed."""
    return lambda seed=0, **fields: open_dataset(Data(source=str(whole), **fields), seed=seed)


@pytest.fixture
def parted(make_folder):
    """A folder that brings all three parts."""
    return make_folder(
        {"train/cat": 20, "train/dog": 20, "val/cat": 3, "val/dog": 2, "test/dog": 4, "test/cat": 1}, "parted"
    )


def test_parts_of_a_folder_without_a_split(opened):
    found = opened(validation=0.25, test=0.2)
    assert found.splits == ("train", "validation", "test")
    assert [found.num_images(split) for split in found.splits] == [36, 12, 12]
    assert np.bincount(found.labels("test")).tolist() == [4, 6, 2]
    assert np.bincount(found.labels("validation")).tolist() == [4, 6, 2]
    names = [name for split in found.splits for name in found.image_names(split)]
    assert len(names) == len(set(names)) == 60


def test_labels_names_and_pixels_belong_together(opened, draw):
    found = opened(seed=3)
    first = {"cat": 1, "dog": 21, "owl": 51}
    for split in found.splits:
        pixels, labels = found.pixels(split), found.labels(split)
        assert pixels.shape == (found.num_images(split), 3, 6, 8)
        for row, name in enumerate(found.image_names(split)):
            folder, file = name.split("/")
            assert found.classes[labels[row]] == folder
            want = draw(first[folder] + int(file.removesuffix(".png")))
            np.testing.assert_array_equal(pixels[row], want.transpose(2, 0, 1))


def test_the_sources_own_parts_are_taken_as_they_are(parted):
    found = open_dataset(Data(source=str(parted), validation=0.5, test=0.5), seed=0)
    assert [found.num_images(split) for split in found.splits] == [40, 5, 5]
    assert found.labels("test").tolist() == [0, 1, 1, 1, 1]


def test_the_seed_changes_validation_but_never_the_test_set(opened):
    found = [opened(seed) for seed in (0, 0, 1)]
    tests = [data.image_names("test") for data in found]
    assert tests[0] == tests[1] == tests[2]
    validation = [data.image_names("validation") for data in found]
    assert validation[0] == validation[1] != validation[2]
    assert found[0].split_hash == found[1].split_hash != found[2].split_hash
    assert found[0].split_hash == split_hash({split: found[0].source_indices(split)[1] for split in found[0].splits})


def test_chosen_classes_in_their_order(parted):
    found = open_dataset(Data(source=str(parted), classes=("dog", "cat")), seed=0)
    assert found.classes == ("dog", "cat")
    assert found.labels("test").tolist() == [1, 0, 0, 0, 0]
    assert found.image_names("test")[0] == "test/cat/0.png"


def test_an_unknown_class_is_an_error(opened):
    with pytest.raises(SourceError, match=r"(?s)data\.classes: .*dgo.*cat, dog, owl.*did you mean 'dog'\?"):
        opened(classes=("cat", "dgo"))


def test_per_class_and_limit_hold_for_train_alone(opened):
    plain, found = opened(), opened(per_class=7)
    assert np.bincount(found.labels("train")).tolist() == [7, 7, 7]
    assert (found.num_images("validation"), found.num_images("test")) == (5, 12)
    limited = opened(limit=9)
    assert limited.num_images("train") == 9
    assert plain.image_names("validation") == limited.image_names("validation")
    assert set(limited.image_names("train")) < set(plain.image_names("train"))


def test_form_from_recipe_and_source(opened):
    assert opened().image_spec == ImageSpec(3, 6, 8)
    found = opened(size=(5, 4), channels=1, interpolation="nearest")
    assert found.image_spec == ImageSpec(1, 5, 4, "nearest")
    assert found.pixels("test").shape == (12, 1, 5, 4)


def test_a_size_makes_different_sizes_no_fault(whole, opened, encode, draw):
    (whole / "cat" / "0.png").write_bytes(encode(draw(1, height=30, width=30)))
    for ask in (opened, lambda: input_spec(Data(source=str(whole)))):
        with pytest.raises(SourceError, match="different sizes"):
            ask()
    assert opened(size=(9, 9)).image_spec == ImageSpec(3, 9, 9)
    assert input_spec(Data(source=str(whole), size=(7, 7))).height == 7
    assert preview_spec(open_source(str(whole))) == ImageSpec(3, 64, 64)


@pytest.mark.parametrize("where", ["part", "carved"])
def test_a_test_set_that_is_not_asked_for_is_never_decoded(where, whole, parted):
    root = whole if where == "carved" else parted
    found = open_dataset(Data(source=str(root), size=(6, 8), channels=3), seed=0)
    for name in found.image_names("test"):
        (root / name).write_bytes(b"no image")
    again = open_dataset(Data(source=str(root), size=(6, 8), channels=3), seed=1)
    assert again.pixels("train").shape[0] == again.num_images("train")
    assert again.pixels("validation").shape[0] == again.num_images("validation")
    assert len(again.mean) == 3
    with pytest.raises(SourceError, match=r"gives? no image"):
        again.pixels("test")


def test_nothing_is_decoded_before_it_is_asked_for(opened, cache):
    found = opened()
    assert not list(cache.glob("images/*.npy"))
    assert found.pixels("train") is found.pixels("train")
    assert len(list(cache.glob("images/*.npy"))) == 1
    opened(seed=1).pixels("validation")
    assert len(list(cache.glob("images/*.npy"))) == 1


def test_large_data_is_kept_part_by_part_on_disk(opened, monkeypatch):
    small = opened()
    monkeypatch.setattr(dataset, "MAX_SHARED_BYTES", 100)
    large = opened()
    for split in small.splits:
        np.testing.assert_array_equal(large.pixels(split), small.pixels(split))
        assert isinstance(large.pixels(split), np.memmap)


@pytest.mark.parametrize(("chunk", "count", "channels"), [(1, 1, 1), (1, 7, 3), (5, 20, 3), (9, 20, 1), (9, 9, 3)])
def test_mean_and_std_are_exact_however_the_images_are_cut_up(chunk, count, channels, monkeypatch):
    monkeypatch.setattr(dataset, "_CHUNK", chunk)
    pixels = np.random.default_rng(count).integers(0, 256, (count, channels, 3, 2), dtype=np.uint8)
    mean, std = mean_and_std(pixels)
    np.testing.assert_allclose(mean, pixels.mean(axis=(0, 2, 3)) / 255, rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(axis=(0, 2, 3)) / 255, rtol=1e-12)


def test_a_channel_that_is_the_same_everywhere_can_be_divided_by():
    assert mean_and_std(np.full((4, 1, 2, 2), 51, np.uint8)) == ((0.2,), (1.0,))


def test_given_mean_and_std(opened):
    found = opened(normalize=((0.5, 0.4, 0.3), (0.2, 0.2, 0.1)))
    assert (found.mean, found.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    with pytest.raises(SourceError, match=r"(?s)data\.normalize: .*one for each channel.*1 for images of 3"):
        opened(normalize=((0.5,), (0.2,)))


def test_a_catalogue_name_opens_the_catalogue():
    found = open_dataset(Data(source="shapes", limit=20, validation=0.1), seed=0)
    assert (found.name, found.image_spec.shape, len(found.classes)) == ("shapes", (3, 32, 32), 10)
    assert found.num_images("train") == 20


def test_an_unknown_name_is_an_error_with_the_nearest():
    with pytest.raises(SourceError, match=r"(?s)data\.source: .*cifar01.*cifar10, cifar100.*did you mean 'cifar10'"):
        open_dataset(Data(source="cifar01"), seed=0)


def test_data_is_looked_for_in_the_given_folder_the_environments_and_the_cache(tmp_path, whole, monkeypatch, cache):
    assert data_roots() == (cache / "data",)
    monkeypatch.setenv("CNNLAB_DATA", str(whole.parent))
    assert data_roots() == (whole.parent, cache / "data")
    assert find_files("pictures") == whole
    (tmp_path / "given").mkdir()
    assert data_roots(tmp_path / "given")[0] == tmp_path / "given"
    assert find_files("pictures", whole.parent) == whole


def test_a_data_folder_that_is_none_is_an_error(tmp_path, monkeypatch):
    place = tmp_path / "dta"
    with pytest.raises(SourceError, match=rf"(?s)--data: .*not there.*{place}.*mkdir -p {place}"):
        data_roots(place)
    place.write_bytes(b"")
    monkeypatch.setenv("CNNLAB_DATA", str(place))
    with pytest.raises(SourceError, match="CNNLAB_DATA: the data folder is a file"):
        open_dataset(Data(source="cifar10"), seed=0)


def test_a_tilde_is_the_home_folder(whole, monkeypatch):
    monkeypatch.setenv("HOME", str(whole.parent))
    assert find_files("~/pictures") == whole
    assert data_roots(Path("~"))[0] == whole.parent
    monkeypatch.setenv("CNNLAB_DATA", "~")
    assert data_roots()[0] == whole.parent
    assert open_dataset(Data(source="~/pictures"), seed=0).splits == ("train", "validation", "test")
    with pytest.raises(SourceError, match="no data is found by this name"):
        find_files("~nobody-of-this-name/pictures")


def test_facts_of_a_catalogue_name_need_no_file():
    found = input_spec(Data(source="cifar10"))
    assert (found.channels, found.height, found.width, len(found.classes)) == (3, 32, 32, 10)
    found = input_spec(Data(source="mnist", size=(20, 30), channels=3))
    assert (found.channels, found.height, found.width) == (3, 20, 30)


def test_real_faces_without_a_split(orl_faces):
    found = open_dataset(Data(source=str(orl_faces)), seed=0)
    assert [found.num_images(split) for split in found.splits] == [280, 40, 80]
    assert np.bincount(found.labels("test")).tolist() == [2] * 40


def test_images_that_two_parts_share_are_decoded_once(monkeypatch):
    reports = []
    found = open_dataset(
        Data(source="shapes"),
        seed=0,
        context=RunContext(callbacks=Callbacks(progress=lambda *report: reports.append(report))),
    )
    monkeypatch.setattr(
        "cnnlab.data.sources.shapes._render_chunk", lambda _part, indices: np.zeros((len(indices), 3, 32, 32))
    )
    found.pixels("train"), found.pixels("validation")
    assert [done for _, done, _, _ in reports] == list(range(500, 10_001, 500))


def test_the_order_of_the_classes_changes_no_split(opened):
    plain, turned = (opened(classes=classes) for classes in (("cat", "owl"), ("owl", "cat")))
    for split in plain.splits:
        assert plain.image_names(split) == turned.image_names(split)
        np.testing.assert_array_equal(plain.labels(split), 1 - turned.labels(split))


def zipped(root, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*.png")):
            archive.write(file, f"around/{file.relative_to(root)}")
    return path


@pytest.mark.parametrize("where", ["part", "carved"])
def test_a_test_set_has_one_name_wherever_and_however_it_lies(where, whole, parted, tmp_path):
    root = whole if where == "carved" else parted
    name = open_dataset(Data(source=str(root)), seed=0).test_set_id()
    assert len(name) == 24
    classes = tuple(reversed(open_dataset(Data(source=str(root)), seed=0).classes))
    same = [
        open_dataset(Data(source=str(root)), seed=1),
        open_dataset(Data(source=str(root), limit=5, validation=0.4), seed=0),
        open_dataset(Data(source=str(root), classes=classes), seed=0),
        open_dataset(Data(source=str(zipped(root, tmp_path / "packed.zip"))), seed=0),
        open_dataset(Data(source=str(root.rename(tmp_path / "renamed"))), seed=0),
    ]
    assert [found.test_set_id() for found in same] == [name] * 5


def test_other_test_images_have_another_name(parted, encode, draw):
    def name(**changes):
        return open_dataset(Data(source=str(parted), size=(6, 8), **changes), seed=0).test_set_id()

    names = [name()]
    (parted / "test" / "cat" / "0.png").rename(parted / "test" / "dog" / "cat.png")
    names.append(name())
    (parted / "test" / "dog" / "0.png").write_bytes(encode(draw(99, height=9)))
    names.append(name())
    (parted / "test" / "dog" / "more.png").write_bytes(encode(draw(98)))
    names.append(name())
    assert len(set(names)) == 4
    assert open_dataset(Data(source="shapes"), seed=0).test_set_id() not in names


def test_another_share_is_another_test_set_and_none_has_no_name(opened):
    assert opened(test=0.2).test_set_id() != opened(test=0.3).test_set_id()
    with pytest.raises(KeyError):
        opened(test=0.0).test_set_id()


def test_a_published_test_set_is_named_by_its_classes():
    names = {
        classes: open_dataset(Data(source="shapes", classes=classes), seed=0).test_set_id()
        for classes in (None, ("bar", "ring"), ("ring", "bar"), ("bar", "star"))
    }
    assert names[("bar", "ring")] == names[("ring", "bar")]
    assert len(set(names.values())) == 3


def test_content_digest_is_kept_by_moving_and_by_what_a_recipe_chooses(parted, tmp_path):
    digest = open_dataset(Data(source=str(parted)), seed=0).content_digest
    assert open_dataset(Data(source=str(parted), classes=("dog", "cat"), limit=3), seed=1).content_digest == digest
    moved = parted.rename(tmp_path / "moved")
    assert open_dataset(Data(source=str(moved)), seed=0).content_digest == digest
    shutil.copytree(moved, tmp_path / "copy")
    assert open_dataset(Data(source=str(tmp_path / "copy")), seed=0).content_digest == digest


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_content_digest_sees_a_change_in_any_part(part, parted):
    def digest():
        return open_dataset(Data(source=str(parted)), seed=0).content_digest

    found = [digest()]
    file = parted / part / "cat" / "0.png"
    file.write_bytes(file.read_bytes())
    found.append(digest())
    file.rename(parted / part / "dog" / "was-cat.png")
    found.append(digest())
    (parted / part / "dog" / "was-cat.png").unlink()
    (parted / part / "cat" / "x.png").write_bytes((parted / part / "dog" / "1.png").read_bytes())
    found.append(digest())
    assert len(set(found)) == 4


def test_content_digest_of_a_zip_is_of_its_checksums(parted, tmp_path):
    one, two = (zipped(parted, tmp_path / name) for name in ("one.zip", "two.zip"))
    digests = [open_dataset(Data(source=str(path)), seed=0).content_digest for path in (one, two)]
    assert digests[0] == digests[1]
    assert open_dataset(Data(source="shapes"), seed=0).content_digest not in digests


def test_content_digest_sees_an_image_that_goes_over_to_another_part(make_folder):
    root = make_folder({"train/cat": 2, "train/dog": 3, "test/dog": 1})
    (root / "test" / "dog" / "0.png").rename(root / "test" / "dog" / "3.png")
    before = open_dataset(Data(source=str(root)), seed=0).content_digest
    (root / "train" / "dog" / "2.png").rename(root / "test" / "dog" / "2.png")
    assert open_dataset(Data(source=str(root)), seed=0).content_digest != before
