from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cnnlab.data.decoding.images import ImageFault
from cnnlab.data.sources import file_readers
from cnnlab.data.sources.base import ImageSpec
from cnnlab.data.sources.image_folder import open_folder
from cnnlab.errors import SourceError

SPEC = ImageSpec(3, 6, 8)


def pack_zip(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def pack_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def pack(path: Path, members: list[tuple[str, bytes]]) -> Path:
    return pack_zip(path, members) if path.suffix == ".zip" else pack_tar(path, members)


ENDINGS = ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "A.ZIP"]


@pytest.mark.parametrize("name", ENDINGS)
def test_an_archive_gives_what_its_folder_gives(name, make_folder, tmp_path):
    root = make_folder({"train/s10": 2, "train/s2": 3, "test/s2": 2})
    paths = sorted(path for path in root.rglob("*.png"))
    # Another order than that of the paths, and a folder around everything.
    members = [(f"wrap/{path.relative_to(root).as_posix()}", path.read_bytes()) for path in reversed(paths)]
    packed = open_folder(pack_zip(tmp_path / name, members) if "ZIP" in name else pack(tmp_path / name, members))
    plain = open_folder(root)
    assert packed.classes == plain.classes == ("s2", "s10")
    assert packed.splits == plain.splits == ("train", "test")
    assert packed.name == str(tmp_path / name)
    for part in plain.splits:
        assert packed.labels(part).tolist() == plain.labels(part).tolist()
        assert packed.image_names(part) == [f"wrap/{found}" for found in plain.image_names(part)]
        some = np.array([1, 0])
        np.testing.assert_array_equal(packed.pixels(part, some, SPEC), plain.pixels(part, some, SPEC))
    assert packed.native_spec() == plain.native_spec() == SPEC


def test_a_leading_dot_and_back_slashes_are_understood(encode, draw, tmp_path):
    content = encode(draw(1))
    tar = open_folder(pack_tar(tmp_path / "a.tar", [("./cat/1.png", content), ("./dog/1.png", content)]))
    old = open_folder(pack_zip(tmp_path / "b.zip", [("cat\\1.png", content), ("dog\\1.png", content)]))
    assert tar.image_names("train") == old.image_names("train") == ["cat/1.png", "dog/1.png"]
    assert tar.pixels("train", np.arange(2), SPEC).shape == old.pixels("train", np.arange(2), SPEC).shape


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
@pytest.mark.parametrize("bad", ["/etc/1.png", "../1.png", "cat/../../1.png", "C:/1.png"])
def test_paths_that_lead_outside_are_refused(name, bad, tmp_path):
    with pytest.raises(SourceError) as caught:
        open_folder(pack(tmp_path / name, [("cat/1.png", b"x"), (bad, b"x")]))
    (problem,) = caught.value.problems
    assert "refused" in problem.what
    assert repr(bad) in problem.what + str(problem.where) + problem.received
    assert "leads outside" in problem.received
    assert "pack the images again" in problem.next_step


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, "zip"])
def test_links_and_devices_are_refused(kind, tmp_path):
    path = tmp_path / ("a.zip" if kind == "zip" else "a.tar")
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            info = zipfile.ZipInfo("cat/1.png")
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
    else:
        with tarfile.open(path, "w") as archive:
            info = tarfile.TarInfo("cat/1.png")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    with pytest.raises(SourceError, match="received: a link"):
        open_folder(path)


def test_an_encrypted_zip_is_refused(tmp_path):
    content = bytearray(pack_zip(tmp_path / "a.zip", [("cat/1.png", b"x")]).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(SourceError, match="an encrypted member"):
        open_folder(tmp_path / "a.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
@pytest.mark.parametrize(
    ("members", "limit", "words"),
    [
        ([("cat/1.png", b"x"), ("cat/1.png", b"y")], {}, "two members with one name"),
        ([("cat/1.png", b"\0" * 4_000_000)], {"MAX_UNPACKED_BYTES": 1000}, "bytes when unpacked"),
        ([(f"cat/{index}.png", b"x") for index in range(4)], {"MAX_MEMBERS": 3}, "more than 3 members"),
    ],
    ids=["one name twice", "a bomb", "many members"],
)
def test_what_an_archive_promises_is_looked_at_first(name, members, limit, words, tmp_path, monkeypatch):
    for what, most in limit.items():
        monkeypatch.setattr(file_readers, what, most)
    with pytest.raises(SourceError, match=words):
        open_folder(pack(tmp_path / name, members))


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_an_archive_that_is_none_is_an_error(name, tmp_path):
    (tmp_path / name).write_bytes(b"no archive at all")
    with pytest.raises(SourceError, match=r"(?s)this archive can't be read.*\.zip, \.tar, \.tar\.gz"):
        open_folder(tmp_path / name)


def test_a_cut_tar_gz_is_an_error(tmp_path, draw, encode):
    path = pack_tar(tmp_path / "a.tar.gz", [(f"cat/{index}.png", encode(draw(index))) for index in range(20)])
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(SourceError, match="this archive can't be read"):
        open_folder(path)


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_a_member_of_too_many_bytes_is_a_fault_and_not_read(name, tmp_path, monkeypatch):
    monkeypatch.setattr(file_readers, "MAX_BYTES", 4)
    source = open_folder(pack(tmp_path / name, [("cat/1.png", b"12345"), ("dog/1.png", b"1234")]))
    found = dict(source.reader.read(source.layout.entries["train"]))
    assert found == {0: ImageFault("too large", "5 bytes, where 4 are allowed"), 1: b"1234"}


def test_a_damaged_member_of_a_zip_is_named(tmp_path, encode, draw):
    path = pack_zip(tmp_path / "a.zip", [("cat/1.png", encode(draw(1))), ("dog/1.png", encode(draw(2)))])
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"(?s)1 of the files gives no image.*cat/1\.png.*damaged in the archive"):
        open_folder(path).pixels("train", np.arange(2), SPEC)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_an_archive_is_listed_again_only_when_it_has_changed(name, tmp_path, encode, draw, cache, monkeypatch):
    members = [
        (f"{part}/{kind}/é {n}.png", encode(draw(n))) for part in ("train", "test") for kind in "ab" for n in (1, 2)
    ]
    path = pack(tmp_path / name, [*members, ("read me", b"")])
    first = open_folder(path)
    assert [finding.kind for finding in first.layout.issues] == ["not an image"]
    with monkeypatch.context() as patch:
        for kind in (file_readers.ZipReader, file_readers.TarReader):
            patch.setattr(kind, "list_files", lambda _: pytest.fail("it was listed again"))
        assert open_folder(path) == first
    (kept,) = (cache / "facts").iterdir()
    kept.write_bytes(kept.read_bytes()[:-9])
    assert open_folder(path) == first
    pack(tmp_path / f"new {name}", members[1:]).replace(path)
    assert open_folder(path).num_images("train") == 3
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(SourceError, match="this archive can't be read"):
        open_folder(path)


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_a_class_whose_name_can_not_be_shown_is_refused(name, tmp_path, encode, draw):
    members = [(f"{kind}/1.png", encode(draw(1))) for kind in ("a", "b", "c\x1b[31m")]
    with pytest.raises(SourceError, match=r"used: name(.|\n)*is no printable text; rename it") as caught:
        open_folder(pack(tmp_path / name, members))
    assert caught.value.problems[0].where.endswith(r"'c\x1b[31m'")


def test_gzip_is_known_by_its_content_not_its_ending(tmp_path, encode, draw):
    path = pack_tar(tmp_path / "a.tar", [("cat/1.png", encode(draw(1))), ("dog/1.png", encode(draw(2)))])
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert open_folder(path).classes == ("cat", "dog")


def test_real_faces(orl_faces):
    source = open_folder(orl_faces)
    assert source.classes == tuple(f"s{number:02d}" for number in range(1, 41))
    assert source.splits == ("train",)
    assert np.bincount(source.labels("train")).tolist() == [10] * 40
    assert source.native_spec() == ImageSpec(1, 112, 92)
    row = source.image_names("train").index("s01/2.pgm")
    with zipfile.ZipFile(orl_faces) as archive:
        content = archive.read("s01/2.pgm")
    # A binary PGM ends in its pixels, row by row.
    want = np.frombuffer(content[-112 * 92 :], dtype=np.uint8).reshape(112, 92)
    np.testing.assert_array_equal(source.pixels("train", np.array([row]), ImageSpec(1, 112, 92))[0, 0], want)
