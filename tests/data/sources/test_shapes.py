"""The generated data set: the same everywhere, hard for a linear model, learnable by a small network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.data.sources.base import ImageSpec
from cnnlab.data.sources.shapes import CLASSES, INFO, ShapesSource, render


def test_source() -> None:
    source = ShapesSource()
    assert (source.splits, source.native_spec().shape) == (("train", "test"), (3, 32, 32))
    for split, count in INFO.split_sizes.items():
        assert np.bincount(source.labels(split)).tolist() == [count // 10] * 10
        assert source.image_names(split)[-1] == f"{split}[{count - 1}]"
    grey = source.pixels("test", np.arange(3), ImageSpec(1, 16, 16))
    assert grey.shape == (3, 1, 16, 16)
    assert grey.dtype == np.uint8


@given(st.lists(st.integers(0, 9_999), max_size=5))
def test_an_image_is_the_same_in_whatever_company(indices: list[int]) -> None:
    together = render("train", np.array(indices, np.int64))
    alone = [render("train", np.array([index]))[0] for index in indices]
    assert together.shape == (len(indices), 3, 32, 32)
    np.testing.assert_array_equal(together, np.array(alone, np.uint8).reshape(together.shape))


def test_chunks_leave_no_seams_and_report() -> None:
    told: list[int] = []
    indices = np.arange(490, 1010)
    together = render("train", indices, lambda *said: told.append(said[1]))
    np.testing.assert_array_equal(together[505:], render("train", indices[505:]))
    assert told == [500, 520]


def test_pictures_do_not_change_between_versions() -> None:
    """A change of these pictures changes every figure published with them."""
    means = render("train", np.arange(4)).mean((2, 3))
    np.testing.assert_allclose(
        means, [[138.9, 92.0, 114.6], [67.6, 85.0, 53.5], [92.6, 86.4, 134.1], [13.8, 26.0, 26.1]], atol=0.1
    )  # another processor's sine may move single grey levels


def test_parts_share_no_picture() -> None:
    train, test = render("train", np.arange(300)), render("test", np.arange(300))
    assert len({image.tobytes() for image in (*train, *test)}) == 600


def normalised() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    source = ShapesSource()
    train, test = (
        source.pixels(split, np.arange(INFO.split_sizes[split]), source.native_spec()) for split in source.splits
    )
    mean, deviation = train.mean((0, 2, 3), keepdims=True), train.std((0, 2, 3), keepdims=True)
    train, test = (((split - mean) / deviation).astype(np.float32) for split in (train, test))
    return train, source.labels("train"), test, source.labels("test")


@pytest.mark.slow
def test_a_linear_model_stays_under_60_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    # scikit-learn sets this when it is imported, and leaves it.
    monkeypatch.setenv("KMP_INIT_AT_FORK", "FALSE")
    from sklearn.linear_model import LogisticRegression

    train, labels, test, truth = normalised()
    accuracies = [
        LogisticRegression(C=strength, max_iter=1000, tol=1e-2)
        .fit(train.reshape(len(train), -1), labels)
        .score(test.reshape(len(test), -1), truth)
        for strength in (1e-5, 1e-4, 1e-3)
    ]
    assert 1.5 / len(CLASSES) < max(accuracies) < 0.60


@pytest.mark.slow
def test_lenet_passes_90_percent() -> None:
    import torch
    from torch import nn

    train, labels, test, truth = (torch.from_numpy(array) for array in normalised())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rows = [
            layer
            for inputs, outputs in ((3, 32), (32, 64), (64, 128))
            for layer in (nn.Conv2d(inputs, outputs, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
        ]
        lenet = nn.Sequential(*rows, nn.Flatten(), nn.Linear(2048, 64), nn.ReLU(), nn.Linear(64, 10))
        optimizer = torch.optim.Adam(lenet.parameters(), lr=1e-3)
        accuracy, epochs = 0.0, 0
        while accuracy <= 0.90 and epochs < 10:
            for batch in torch.randperm(len(train)).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(lenet(train[batch]), labels[batch]).backward()
                optimizer.step()
            with torch.no_grad():
                accuracy = (lenet(test).argmax(1) == truth).float().mean().item()
            epochs += 1
    assert accuracy > 0.90
