"""The published formats, from files made here byte by byte."""

from __future__ import annotations

import io
import pickle
import struct

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from cnnlab.data.sources.base import ImageSpec
from cnnlab.data.sources.formats import NamedBytes, convert_pixels, decode
from cnnlab.errors import SourceError


def random_images(count: int, channels: int, size: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, channels, size, size), dtype=np.uint8)


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def mat(images: np.ndarray, labels: list[int]) -> bytes:
    stream = io.BytesIO()
    savemat(stream, {"X": images.transpose(2, 3, 1, 0), "y": np.array(labels, np.uint8)[:, None]}, do_compression=True)
    return stream.getvalue()


def test_cifar10_binary_records_over_several_files() -> None:
    images = random_images(5, 3, 32)
    records = [bytes([label]) + image.tobytes() for label, image in zip([3, 9, 0, 1, 2], images, strict=True)]
    pixels, labels = decode("cifar10-binary", [("a", b"".join(records[:2])), ("b", b"".join(records[2:]))])
    np.testing.assert_array_equal(pixels, images)
    assert labels.tolist() == [3, 9, 0, 1, 2]
    assert labels.dtype == np.int64


def test_cifar100_binary_takes_the_fine_label() -> None:
    images = random_images(2, 3, 32)
    content = b"".join(bytes([19, 80 + index]) + image.tobytes() for index, image in enumerate(images))
    pixels, labels = decode("cifar100-binary", [("train.bin", content)])
    np.testing.assert_array_equal(pixels, images)
    assert labels.tolist() == [80, 81]


@pytest.mark.parametrize(("kind", "key"), [("cifar10-python", b"labels"), ("cifar100-python", b"fine_labels")])
def test_cifar_python_batches(kind: str, key: bytes) -> None:
    images = random_images(3, 3, 32)
    batches = [
        pickle.dumps({b"data": images[at].reshape(-1, 3072), key: labels, b"coarse_labels": [0]}, protocol=2)
        for at, labels in ((slice(0, 1), [7]), (slice(1, 3), [2, 5]))
    ]
    pixels, labels = decode(kind, [("one", batches[0]), ("two", batches[1])])  # type: ignore[arg-type]
    np.testing.assert_array_equal(pixels, images)
    assert labels.tolist() == [7, 2, 5]


@pytest.mark.parametrize(
    ("batch", "received"),
    [
        ({b"labels": [1]}, "no 'data'"),
        ({b"data": np.zeros((1, 3071), np.uint8), b"labels": [1]}, "no 'data'"),
        ({b"data": np.zeros((1, 3072), np.uint8)}, "no list of whole numbers in 'labels'"),
        ({b"data": np.zeros((1, 3072), np.uint8), b"labels": ["cat"]}, "no list of whole numbers in 'labels'"),
    ],
)
def test_cifar_python_without_images_or_labels(batch: dict[bytes, object], received: str) -> None:
    with pytest.raises(SourceError, match=f"test_batch(.|\n)*{received}"):
        decode("cifar10-python", [("test_batch", pickle.dumps(batch, protocol=2))])


def test_idx_images_and_labels() -> None:
    images = random_images(4, 1, 28)
    pixels, labels = decode("idx", [("i", idx(images[:, 0])), ("l", idx(np.array([7, 0, 9, 2], np.uint8)))])
    np.testing.assert_array_equal(pixels, images)
    assert labels.tolist() == [7, 0, 9, 2]
    assert labels.dtype == np.int64


def test_svhn_axes_and_its_ten_for_nought() -> None:
    images = random_images(3, 3, 32)
    pixels, labels = decode("svhn", [("train_32x32.mat", mat(images, [10, 1, 9]))])
    np.testing.assert_array_equal(pixels, images)
    assert labels.tolist() == [0, 1, 9]


def test_stl10_columns_and_labels_from_one() -> None:
    images = random_images(2, 3, 96)
    content = images.transpose(0, 1, 3, 2).tobytes()
    pixels, labels = decode("stl10", [("train_X.bin", content), ("train_y.bin", bytes([1, 10]))])
    np.testing.assert_array_equal(pixels, images)
    assert labels.tolist() == [0, 9]


IDX_LABELS = ("labels", idx(np.zeros(2, np.uint8)))


@pytest.mark.parametrize(
    ("kind", "files", "words"),
    [
        ("cifar10-binary", [("data_batch_1.bin", bytes(3072))], "cut short(.|\n)*3,072 bytes(.|\n)*3073"),
        ("cifar10-binary", [("data_batch_1.bin", b"")], "0 bytes"),
        ("cifar100-binary", [("train.bin", bytes(3073))], "3074"),
        (
            "idx",
            [("images", idx(np.zeros((2, 3, 3), np.uint8))[:-1]), IDX_LABELS],
            "images(.|\n)*33 bytes(.|\n)*34 bytes",
        ),
        ("idx", [("images", b"<html>"), IDX_LABELS], "images(.|\n)*begins with 3c 68 74 6d"),
        ("idx", [("images", b""), IDX_LABELS], "begins with nothing"),
        ("idx", [("i", idx(np.zeros((3, 2, 2), np.uint8))), IDX_LABELS], "differ in number(.|\n)*3 images, 2 labels"),
        ("idx", [("i", struct.pack(">BBBB3I", 0, 0, 8, 3, *[2**32 - 1] * 3)), IDX_LABELS], "as its header says"),
        ("svhn", [("test_32x32.mat", b"not a mat file" * 20)], "test_32x32.mat(.|\n)*isn't in the published format"),
        ("svhn", [("test_32x32.mat", mat(random_images(2, 3, 32), [1, 2])[:-300])], "test_32x32.mat"),
        ("svhn", [("test_32x32.mat", mat(random_images(2, 3, 31), [1, 2]))], "X is uint8 of shape"),
        ("stl10", [("test_X.bin", bytes(27_647)), ("test_y.bin", b"\1")], "27,647 bytes"),
    ],
)
def test_damage_names_the_file(kind: str, files: list[NamedBytes], words: str) -> None:
    with pytest.raises(SourceError, match=words):
        decode(kind, files)  # type: ignore[arg-type]


def test_in_form_leaves_what_fits_and_follows_pillow() -> None:
    images = random_images(2, 3, 32)
    assert convert_pixels(images, ImageSpec(3, 32, 32)) is images
    small = convert_pixels(images, ImageSpec(1, 16, 20, "bicubic"))
    truth = Image.fromarray(images[1].transpose(1, 2, 0)).convert("L").resize((20, 16), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(small[1, 0], np.asarray(truth))
    grey = random_images(1, 1, 28)
    np.testing.assert_array_equal(convert_pixels(grey, ImageSpec(3, 28, 28)), np.repeat(grey, 3, axis=1))
