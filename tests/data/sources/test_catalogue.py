"""The catalogue's facts, and finding and getting its data sets."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from cnnlab.data.sources.catalogue import (
    dataset_info,
    find_local,
    open_published,
)
from cnnlab.data.sources.releases import CATALOGUE, DatasetInfo, RemoteFile
from cnnlab.data.sources.shapes import ShapesSource
from cnnlab.errors import DownloadError, SourceError
from cnnlab.settings import is_offline


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CNNLAB_OFFLINE", raising=False)


def remote_files() -> list[RemoteFile]:
    forms = [release for known in CATALOGUE.values() for release in known.releases]
    return [file for release in forms for file in (*release.downloads, *([release.archive] if release.archive else []))]


def tiny_cifar() -> tuple[DatasetInfo, bytes]:
    """CIFAR-10's binary form with two images a file, and its archive."""
    known = dataset_info("cifar10")
    images = np.random.default_rng(1).integers(0, 256, (12, 3072), dtype=np.uint8)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        names = [name for split in ("train", "test") for name in known.releases[0].files[split]]
        for index, name in enumerate(names):
            content = b"".join(bytes([index]) + image.tobytes() for image in images[2 * index : 2 * index + 2])
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    archive = stream.getvalue()
    return replace(known, split_sizes={"train": 10, "test": 2}), archive


def with_archive(known: DatasetInfo, archive: bytes, *mirrors: str) -> DatasetInfo:
    file = RemoteFile("cifar-10-binary.tar.gz", "sha256:" + hashlib.sha256(archive).hexdigest(), len(archive), mirrors)
    return replace(known, releases=(replace(known.releases[0], archive=file), *known.releases[1:]))


def test_facts_are_the_published_ones() -> None:
    assert {
        name: (f.channels, f.height, f.width, len(f.classes), *f.split_sizes.values()) for name, f in CATALOGUE.items()
    } == {
        "cifar10": (3, 32, 32, 10, 50_000, 10_000),
        "cifar100": (3, 32, 32, 100, 50_000, 10_000),
        "mnist": (1, 28, 28, 10, 60_000, 10_000),
        "fashion_mnist": (1, 28, 28, 10, 60_000, 10_000),
        "svhn": (3, 32, 32, 10, 73_257, 26_032),
        "stl10": (3, 96, 96, 10, 5_000, 8_000),
        "shapes": (3, 32, 32, 10, 10_000, 2_000),
    }
    for known in CATALOGUE.values():
        assert len(set(known.classes)) == len(known.classes)
    assert list(dataset_info("cifar100").classes) == sorted(dataset_info("cifar100").classes)


def test_checksums_agree_with_torchvision() -> None:
    from torchvision.datasets import CIFAR10, CIFAR100, MNIST, STL10, SVHN, FashionMNIST

    ours = {file.name: file.checksum for release in dataset_info("mnist").releases for file in release.downloads}
    assert ours == {name: f"md5:{md5}" for name, md5 in MNIST.resources}
    ours = {
        file.name: file.checksum for release in dataset_info("fashion_mnist").releases for file in release.downloads
    }
    assert ours == {name: f"md5:{md5}" for name, md5 in FashionMNIST.resources}
    ours = {file.name: file.checksum for release in dataset_info("svhn").releases for file in release.downloads}
    assert ours == {SVHN.split_list[split][1]: f"md5:{SVHN.split_list[split][2]}" for split in ("train", "test")}
    assert dataset_info("stl10").releases[0].archive.checksum == f"md5:{STL10.tgz_md5}"
    names = [known.releases[1].archive.name for known in (dataset_info("cifar10"), dataset_info("cifar100"))]
    assert names == [CIFAR10.filename, CIFAR100.filename]


def test_every_file_has_mirrors_on_several_addresses_and_a_whole_checksum() -> None:
    lengths = {"md5": 32, "sha256": 64}
    for file in remote_files():
        kind, _, digest = file.checksum.partition(":")
        assert re.fullmatch(f"[0-9a-f]{{{lengths[kind]}}}", digest)
        assert file.size > 0
        assert len(set(file.mirrors)) >= 2
        for url in file.mirrors:
            assert urlsplit(url).scheme in ("http", "https")
            assert url.endswith("/" + file.name)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(SourceError, match=r"(?s)no data set.*cifra10.*cifar10, cifar100.*did you mean 'cifar10'\?"):
        dataset_info("cifra10")


def test_finding_and_decoding_data_loads_no_torch_and_facts_no_numpy(tmp_path: Path) -> None:
    """In a process of its own."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(3):
            Image.new("RGB", (2, 2), (index, 0, 0)).save(tmp_path / name / f"{index}.png")
    code = (
        "import sys; import cnnlab.data.sources.catalogue\n"
        "print({'torch', 'numpy', 'PIL'} & {*sys.modules})\n"
        "from cnnlab.data.dataset import input_spec, open_dataset\n"
        "from cnnlab.config.recipe import Data\n"
        "data = Data(source=sys.argv[1])\n"
        "input_spec(data), open_dataset(data, seed=0).mean\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\nFalse\n"


@pytest.mark.parametrize(
    ("name", "files", "found"),
    [
        ("cifar10", [f"cifar-10-batches-py/{n}" for n in ("data_batch_1", "data_batch_2", "data_batch_3")], None),
        ("cifar10", [f"cifar-10-batches-py/{n}" for n in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")],
         "cifar-10-batches-py"),
        ("cifar10", [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"], "."),
        ("cifar10", ["cifar-10-python.tar.gz"], "cifar-10-python.tar.gz"),
        ("cifar10", ["cifar10/cifar-10-binary.tar.gz"], "cifar10/cifar-10-binary.tar.gz"),
        ("cifar10", ["cifar10/cifar-10-binary.tar.gz.part"], None),
        ("cifar100", ["cifar-100-python/train", "cifar-100-python/test"], "cifar-100-python"),
        ("svhn", ["SVHN/train_32x32.mat", "SVHN/test_32x32.mat"], "SVHN"),
        ("stl10", [f"stl10_binary/{n}" for n in ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin")],
         "stl10_binary"),
    ],
)  # fmt: skip
def test_what_someone_has_is_found_without_opening_it(
    tmp_path: Path, name: str, files: list[str], found: str | None
) -> None:
    for file in files:
        (tmp_path / "data" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / file).touch()
    (tmp_path / "empty").mkdir()
    expected = tmp_path / "data" / found if found else None
    assert find_local(name, [tmp_path / "empty", tmp_path / "absent", tmp_path / "data"]) == expected


def test_fashion_mnist_is_not_taken_for_mnist(tmp_path: Path) -> None:
    for split in dataset_info("mnist").releases[0].files.values():
        for name in split:
            (tmp_path / "FashionMNIST" / "raw").mkdir(parents=True, exist_ok=True)
            (tmp_path / "FashionMNIST" / "raw" / f"{name}.gz").touch()
    assert find_local("mnist", [tmp_path]) is None
    assert find_local("fashion_mnist", [tmp_path]) == tmp_path / "FashionMNIST" / "raw"


def test_the_generated_set_needs_nothing(tmp_path: Path) -> None:
    assert isinstance(open_published(CATALOGUE["shapes"], [tmp_path], download=False), ShapesSource)
    assert find_local("shapes", [tmp_path]) is None


@pytest.mark.parametrize("offline", [True, False])
def test_offline_says_which_file_from_where_and_whereto(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    if offline:
        monkeypatch.setenv("CNNLAB_OFFLINE", "1")
        monkeypatch.setattr("socket.socket.connect", None)
    with pytest.raises(DownloadError, match="svhn is not on disk, and downloads are off") as raised:
        open_published(CATALOGUE["svhn"], [tmp_path], download=offline)
    message = str(raised.value)
    for file in dataset_info("svhn").releases[0].downloads:
        assert all(words in message for words in (file.name, file.checksum.split(":")[1], *file.mirrors))
    assert str(tmp_path / "svhn") in message
    assert "a folder" not in message
    assert ("CNNLAB_OFFLINE is set" in message) == offline
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "offline"), [("1", True), ("true", True), ("0", False), ("False", False), ("", False)]
)
def test_offline_switch(monkeypatch: pytest.MonkeyPatch, value: str, offline: bool) -> None:
    monkeypatch.setenv("CNNLAB_OFFLINE", value)
    assert is_offline() == offline


def test_a_download_is_read_and_found_again(tmp_path: Path) -> None:
    known, archive = tiny_cifar()
    (tmp_path / "mirror").write_bytes(archive)
    known = with_archive(known, archive, (tmp_path / "mirror").as_uri())
    message: list[str] = []
    roots = [tmp_path / "first", tmp_path / "second"]
    source = open_published(known, roots, progress=lambda *report: message.append(report[0]))
    assert source.labels("train").tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert "downloading cifar-10-binary.tar.gz" in message
    assert find_local("cifar10", roots) == tmp_path / "first" / "cifar10" / "cifar-10-binary.tar.gz"
    (tmp_path / "mirror").unlink()
    assert open_published(known, roots, download=False).labels("test").tolist() == [5, 5]


def test_the_other_form_is_tried_and_all_failures_are_told(tmp_path: Path) -> None:
    known, archive = tiny_cifar()
    absent = (tmp_path / "absent").as_uri()
    binary = with_archive(known, archive, absent).releases[0]
    python = replace(known.releases[1], archive=replace(known.releases[1].archive, size=7, mirrors=(absent,)))
    with pytest.raises(DownloadError, match=r"(?s)2 problems.*gave cifar-10-binary.*gave cifar-10-python"):
        open_published(replace(known, releases=(binary, python)), [tmp_path / "data"])


def test_packed_and_unpacked_files_may_lie_side_by_side(tmp_path: Path) -> None:
    known = replace(dataset_info("mnist"), split_sizes={"train": 1, "test": 1})
    folder = tmp_path / "mnist"
    folder.mkdir()
    for split, label in (("train", 3), ("t10k", 4)):
        (folder / f"{split}-images-idx3-ubyte").write_bytes(
            bytes((0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 28, 0, 0, 0, 28)) + bytes(784)
        )
        packed = gzip.compress(bytes((0, 0, 8, 1, 0, 0, 0, 1, label)))
        (folder / f"{split}-labels-idx1-ubyte.gz").write_bytes(packed)
    source = open_published(known, [tmp_path], download=False)
    assert (source.labels("train").tolist(), source.labels("test").tolist()) == ([3], [4])
    assert find_local("mnist", [tmp_path]) == folder
