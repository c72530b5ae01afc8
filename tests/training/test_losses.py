"""Each loss against torch's, and against its formula in 64-bit floats."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from cnnlab.config.losses import losses
from cnnlab.training.losses import class_weights, loss_function

CPU = torch.device("cpu")
IMAGES, CLASSES = 7, 4


def batch(seed: int, scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, scale, (IMAGES, CLASSES)).astype(np.float32)
    return torch.from_numpy(logits), torch.from_numpy(draw.integers(0, CLASSES, IMAGES))


def found(text: str, outputs: torch.Tensor, labels: torch.Tensor) -> float:
    return float(loss_function(losses.read(text), np.array([0, 1, 1, 2]), CLASSES, CPU)(outputs, labels))


def test_plain_cross_entropy_is_torchs_bit_by_bit() -> None:
    outputs, labels = batch(0)
    assert found("cross_entropy", outputs, labels) == float(F.cross_entropy(outputs, labels))


@given(seed=st.integers(0, 999), smoothing=st.floats(0, 0.9))
def test_smoothing_is_cross_entropy_with_softened_labels(seed: int, smoothing: float) -> None:
    outputs, labels = batch(seed)
    soft = np.full((IMAGES, CLASSES), smoothing / CLASSES)
    soft[np.arange(IMAGES), labels.numpy()] += 1 - smoothing
    expected = -(soft * log_softmax(outputs.double().numpy(), axis=1)).sum(axis=1).mean()
    assert found(f"cross_entropy(smoothing={smoothing!r})", outputs, labels) == pytest.approx(expected, rel=1e-5)


@given(seed=st.integers(0, 999), gamma=st.floats(0, 5), weighted=st.booleans())
def test_focal_is_its_formula(seed: int, gamma: float, weighted: bool) -> None:
    outputs, labels = batch(seed)
    weights = np.array([1.0, 2.0, 0.5, 4.0]) if weighted else np.ones(CLASSES)
    log_p = log_softmax(outputs.double().numpy(), axis=1)[np.arange(IMAGES), labels.numpy()]
    share = weights[labels.numpy()]
    expected = (-share * (1 - np.exp(log_p)) ** gamma * log_p).sum() / share.sum()
    text = f"focal({gamma!r}, weights=[1, 2, 0.5, 4])" if weighted else f"focal({gamma!r})"
    assert found(text, outputs, labels) == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_focal_of_two_classes_is_torchvisions() -> None:
    """Of two classes with logits 0 and z the second has the probability sigmoid(z)."""
    z, labels = batch(3)[0][:, 0], torch.tensor([0, 1, 1, 0, 1, 0, 1])
    ours = loss_function(losses.read("focal(2)"), labels.numpy(), 2, CPU)(torch.stack([torch.zeros(7), z], 1), labels)
    theirs = sigmoid_focal_loss(z, labels.float(), alpha=-1, gamma=2, reduction="mean")
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_has_a_gradient_where_an_image_is_right_beyond_doubt(gamma: float) -> None:
    outputs = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    loss_function(losses.read(f"focal({gamma})"), np.array([0, 1]), 2, CPU)(outputs, torch.tensor([0, 0])).backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()


def test_class_weights_are_torchs() -> None:
    outputs, labels = batch(2)
    given_weights = torch.tensor([1.0, 2.0, 0.5, 4.0])
    expected = float(F.cross_entropy(outputs, labels, given_weights, label_smoothing=0.1))
    assert found("cross_entropy(0.1, [1, 2, 0.5, 4])", outputs, labels) == pytest.approx(expected, rel=1e-6)


def test_balanced_weights_give_each_class_the_same_say() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2])
    weights = class_weights("balanced", labels, 4)
    assert weights == pytest.approx([10 / 24, 10 / 12, 10 / 4, 0])
    assert [weight * count for weight, count in zip(weights, (6, 3, 1), strict=False)] == pytest.approx([2.5] * 3)
    assert class_weights(None, labels, 4) is None
