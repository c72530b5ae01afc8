"""Reading what lies at hand: folders and archives, one part at a time."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cnnlab.config.recipe import Data
from cnnlab.context import RunContext
from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.data.sources import published, releases
from cnnlab.data.sources.base import DataSource, ImageSpec, Split
from cnnlab.data.sources.catalogue import open_published
from cnnlab.data.sources.formats import convert_pixels
from cnnlab.data.sources.releases import CATALOGUE, DatasetInfo, RemoteFile
from cnnlab.data.splits import split_hash
from cnnlab.errors import SourceError

COUNTS = {"train": 10, "test": 3}
IMAGES = np.random.default_rng(5).integers(0, 256, (13, 3, 32, 32), dtype=np.uint8)
LABELS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9]
CIFAR = replace(CATALOGUE["cifar10"], split_sizes=COUNTS)
ALL = np.arange(10)


def binary(rows: slice) -> bytes:
    return b"".join(bytes([label]) + image.tobytes() for label, image in zip(LABELS[rows], IMAGES[rows], strict=True))


def pickled(rows: slice) -> bytes:
    return pickle.dumps({b"data": IMAGES[rows].reshape(-1, 3072), b"labels": LABELS[rows]}, protocol=2)


def members(form: int, encode: Callable[[slice], bytes]) -> dict[str, bytes]:
    files = CIFAR.releases[form].files
    contents = {name: encode(slice(2 * index, 2 * index + 2)) for index, name in enumerate(files["train"])}
    return contents | {files["test"][0]: encode(slice(10, 13))}


def folder(root: Path, form: int, encode: Callable[[slice], bytes]) -> Path:
    place = root / CIFAR.releases[form].folders[0]
    place.mkdir()
    for name, content in members(form, encode).items():
        (place / name).write_bytes(content)
    return place


def archive(
    root: Path,
    contents: dict[str, bytes],
    cut: int | None = None,
    member_of: Callable[[str], tarfile.TarInfo] = tarfile.TarInfo,
) -> DatasetInfo:
    """The archive under `root`, and the facts with its checksum."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in contents.items():
            member = member_of(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    packed = stream.getvalue()[:cut]
    (root / "cifar-10-binary.tar.gz").write_bytes(packed)
    file = RemoteFile("cifar-10-binary.tar.gz", "md5:" + hashlib.md5(packed).hexdigest(), len(packed), ())
    return replace(CIFAR, releases=(replace(CIFAR.releases[0], archive=file),))


def in_top_folder(contents: dict[str, bytes], prefix: str = "") -> dict[str, bytes]:
    return {f"{prefix}cifar-10-batches-bin/{name}": content for name, content in contents.items()}


def check(source: DataSource) -> None:
    release = source.native_spec()
    assert (source.name, source.splits, release.shape, len(source.classes)) == (
        "cifar10",
        ("train", "test"),
        (3, 32, 32),
        10,
    )
    for split, rows in (("train", slice(0, 10)), ("test", slice(10, 13))):
        assert source.labels(split).tolist() == LABELS[rows]  # type: ignore[arg-type]
        np.testing.assert_array_equal(source.pixels(split, np.arange(COUNTS[split]), release), IMAGES[rows])  # type: ignore[arg-type]
    np.testing.assert_array_equal(source.pixels("train", np.array([7, 2]), release), IMAGES[[7, 2]])
    assert source.image_names("test") == ["test[0]", "test[1]", "test[2]"]


@pytest.mark.parametrize(("form", "encode"), [(0, binary), (1, pickled)])
def test_an_unpacked_folder(tmp_path: Path, form: int, encode: Callable[[slice], bytes]) -> None:
    folder(tmp_path, form, encode)
    check(open_published(CIFAR, [tmp_path], download=False))


@pytest.mark.parametrize("prefix", ["", "./"])
def test_an_archive_is_read_without_unpacking(tmp_path: Path, prefix: str) -> None:
    known = archive(tmp_path, in_top_folder(members(0, binary), prefix))
    check(open_published(known, [tmp_path], download=False))
    assert {path.name for path in tmp_path.iterdir()} == {"cifar-10-binary.tar.gz", "cache"}


@pytest.mark.parametrize(
    ("asked", "file", "content", "words"),
    [
        ("train", "test_batch.bin", b"not a data set", r"test_batch\.bin(.|\n)*14 bytes"),
        ("train", "test_batch.bin", None, r"test_batch\.bin: the file can't be read(.|\n)*No such file"),
        ("test", "data_batch_3.bin", b"", r"data_batch_3\.bin"),
    ],
)
def test_a_part_reads_no_file_of_another(
    tmp_path: Path, asked: Split, file: str, content: bytes | None, words: str
) -> None:
    place = folder(tmp_path, 0, binary)
    source = open_published(CIFAR, [tmp_path], download=False)
    if content is None:
        (place / file).unlink()
    else:
        (place / file).write_bytes(content)
    rows, other = (slice(0, 10), "test") if asked == "train" else (slice(10, 13), "train")
    assert source.labels(asked).tolist() == LABELS[rows]
    assert source.pixels(asked, np.arange(3), source.native_spec()).shape == (3, 3, 32, 32)
    with pytest.raises(SourceError, match=words):
        source.labels(other)  # type: ignore[arg-type]


def test_a_part_is_read_once_and_not_written_to(tmp_path: Path) -> None:
    place = folder(tmp_path, 0, binary)
    source = open_published(CIFAR, [tmp_path], download=False)
    told: list[tuple[str, int, int, str]] = []
    pixels = source.pixels("train", ALL, source.native_spec(), lambda *report: told.append(report))
    assert told == [("reading cifar10 train", 0, 10, "images"), ("reading cifar10 train", 10, 10, "images")]
    (place / "data_batch_1.bin").unlink()
    assert source.labels("train").tolist() == LABELS[:10]
    with pytest.raises(ValueError, match="read-only"):
        pixels[0] = 0
    assert source.pixels("train", np.array([1]), ImageSpec(1, 16, 24)).shape == (1, 1, 16, 24)


def test_an_archive_is_read_again_only_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = archive(tmp_path, in_top_folder(members(0, binary)))
    check(open_published(known, [tmp_path], download=False))
    with monkeypatch.context() as patch:
        patch.setattr(published, "is_verified", lambda *_: pytest.fail("the archive was read again"))
        check(open_published(known, [tmp_path], download=False))
        pixels = open_published(known, [tmp_path], download=False).pixels("train", ALL, ImageSpec(3, 32, 32))
        assert isinstance(pixels, np.memmap)
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SourceError, match="or it is cut short"):
        open_published(known, [tmp_path], download=False).labels("train")


@pytest.mark.parametrize("which", ["-labels.npy", "[0-9].npy"])
@pytest.mark.parametrize("damage", ["gone", "cut", "another"])
def test_what_the_cache_holds_damaged_is_made_again(tmp_path: Path, cache: Path, which: str, damage: str) -> None:
    folder(tmp_path, 0, binary)
    check(open_published(CIFAR, [tmp_path], download=False))
    whole = {path: path.read_bytes() for path in (cache / "images").iterdir()}
    assert len(whole) == 4
    for path in (cache / "images").glob(f"*{which}"):
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(whole[path][:-9] if damage == "cut" else whole[path].replace(b"\5", b"\6"))
    check(open_published(CIFAR, [tmp_path], download=False))
    assert {path: path.read_bytes() for path in (cache / "images").iterdir()} == whole


def test_images_of_another_size_are_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path, 0, binary)
    release = ImageSpec(1, 16, 24)
    first = open_published(CIFAR, [tmp_path], download=False).pixels("train", np.array([7, 2]), release)
    np.testing.assert_array_equal(first, convert_pixels(IMAGES[[7, 2]], release))
    monkeypatch.setattr(published, "convert_pixels", lambda *_: pytest.fail("they were resized again"))
    again = open_published(CIFAR, [tmp_path], download=False).pixels("train", np.array([7, 2]), release)
    assert isinstance(again, np.memmap)
    np.testing.assert_array_equal(again, first)


def test_a_disk_without_room_for_the_images_costs_only_time(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder(tmp_path, 0, binary)
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    source = open_published(CIFAR, [tmp_path], download=False)
    order = np.arange(len(source.labels("train")))
    small = ImageSpec(3, 8, 8)
    shapes = [source.pixels("train", order, release).shape[1:] for release in (source.native_spec(), small)]
    assert shapes == [(3, 32, 32), (3, 8, 8)]
    assert list((cache / "images").glob("*.npy")) == []


def test_an_archive_with_another_checksum_is_not_opened(tmp_path: Path) -> None:
    archive(tmp_path, in_top_folder(members(0, binary)))
    with pytest.raises(SourceError, match=r"isn't the published archive(.|\n)*170,052,171 bytes(.|\n)*delete it"):
        open_published(CIFAR, [tmp_path], download=False).labels("train")


@pytest.mark.parametrize(
    ("contents", "cut", "words"),
    [
        ({"../data_batch_1.bin": b"x", "/etc/data_batch_1.bin": b"x"}, None, "lacks a file(.|\n)*data_batch_1.bin"),
        (in_top_folder(members(0, binary)), 9000, "can't be read"),
        (in_top_folder(members(0, binary) | {"data_batch_1.bin": bytes(3_000_000)}), None, "far larger"),
        (in_top_folder(members(0, binary) | {"data_batch_1.bin": bytes(3073)}), None, "9×3×32×32 images"),
        (in_top_folder(members(0, binary) | {"data_batch_1.bin": b"\x0a" * 6146}), None, "labels 1 to 10"),
    ],
)
def test_a_wrong_archive(tmp_path: Path, contents: dict[str, bytes], cut: int | None, words: str) -> None:
    known = archive(tmp_path, contents, cut=cut)
    with pytest.raises(SourceError, match=words):
        open_published(known, [tmp_path], download=False).labels("train")


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    def link(name: str) -> tarfile.TarInfo:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        return member

    names = [f"cifar-10-batches-bin/{name}" for name in CIFAR.releases[0].files["train"]]
    known = archive(tmp_path, dict.fromkeys(names, b""), member_of=link)
    with pytest.raises(SourceError, match="lacks a file"):
        open_published(known, [tmp_path], download=False).labels("train")


def test_a_broken_gz(tmp_path: Path) -> None:
    known = replace(CATALOGUE["mnist"], split_sizes=COUNTS)
    (tmp_path / "mnist").mkdir()
    for names in known.releases[0].files.values():
        for name in names:
            (tmp_path / "mnist" / f"{name}.gz").write_bytes(b"\x1f\x8b\x08\0broken")
    source = open_published(known, [tmp_path], download=False)
    with pytest.raises(SourceError, match=r"train-images-idx3-ubyte\.gz: the file can't be read"):
        source.labels("train")


@pytest.fixture
def sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CIFAR-10 of 13 images whose test file must not be opened."""
    place = folder(tmp_path, 0, binary)
    opened = published._read_from_folder

    def watched(path: Path, name: str, limit: int) -> tuple[str, bytes]:
        assert not name.startswith("test"), "the test file was opened"
        return opened(path, name, limit)

    monkeypatch.setattr(published, "_read_from_folder", watched)
    monkeypatch.setitem(releases.CATALOGUE, "cifar10", CIFAR)
    return place.parent


@pytest.mark.parametrize("classes", [None, ("cat", "automobile", "frog", "truck")])
def test_what_a_sealed_run_asks_for_opens_no_test_file(sealed: Path, classes: tuple[str, ...] | None) -> None:
    found = open_dataset(
        Data(source="cifar10", classes=classes, validation=0.3), seed=0, context=RunContext(data_root=sealed)
    )
    assert found.splits == ("train", "validation", "test")
    for split in ("train", "validation"):
        assert len(found.pixels(split)) == len(found.labels(split)) == found.num_images(split)
    assert len(found.mean) == 3
    assert len(found.split_hash) == len(found.content_digest) == 64
    assert len(found.test_set_id()) == 24
    if classes is None:  # then the size of the test part is the catalogue's
        want = {split: found.source_indices(split)[1] for split in found.splits}
        assert (found.num_images("test"), want["test"].tolist()) == (3, [0, 1, 2])
        assert found.split_hash == split_hash(want)
    with pytest.raises(AssertionError, match="the test file was opened"):
        found.labels("test")


def test_test_images_of_some_classes_are_found_when_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path, 0, binary)
    monkeypatch.setitem(releases.CATALOGUE, "cifar10", CIFAR)  # type: ignore[arg-type]

    def opened(*classes: str) -> Dataset:
        return open_dataset(
            Data(source="cifar10", classes=classes, validation=0.0), seed=0, context=RunContext(data_root=tmp_path)
        )

    found = opened("truck", "cat", "ship")
    before = found.split_hash
    assert found.num_images("test") == 2
    assert found.labels("test").tolist() == [2, 0]
    np.testing.assert_array_equal(found.pixels("test"), IMAGES[11:])
    assert found.split_hash == before == opened("truck", "ship", "cat").split_hash
    assert before != opened("truck", "cat").split_hash


def test_files_at_hand_are_compared_with_their_checksums(tmp_path: Path) -> None:
    (tmp_path / "unpacked").mkdir()
    folder(tmp_path / "unpacked", 0, binary)
    assert open_published(CIFAR, [tmp_path / "unpacked"], download=False).verify_checksums() == ()
    known = archive(tmp_path, in_top_folder(members(0, binary)))
    source = open_published(known, [tmp_path], download=False)
    assert source.verify_checksums() == ("cifar-10-binary.tar.gz",)
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"something else")
    with pytest.raises(SourceError, match=r"this isn't the published archive(.|\n)*delete it and fetch it again"):
        source.verify_checksums()


def test_single_files_are_compared_where_they_lie_as_published(tmp_path: Path) -> None:
    (tmp_path / "SVHN").mkdir()
    for name in ("train_32x32.mat", "test_32x32.mat"):
        (tmp_path / "SVHN" / name).write_bytes(b"mat")
    known = CATALOGUE["svhn"]
    with pytest.raises(SourceError, match="this isn't the published file"):
        open_published(known, [tmp_path], download=False).verify_checksums()
    (release,) = known.releases
    right = tuple(replace(file, checksum="md5:" + hashlib.md5(b"mat").hexdigest()) for file in release.downloads)
    known = replace(known, releases=(replace(release, downloads=right),))
    assert open_published(known, [tmp_path], download=False).verify_checksums() == ("train_32x32.mat", "test_32x32.mat")
