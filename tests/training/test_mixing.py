"""Mixed batches against torchvision's transforms, and against their formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torchvision.transforms import v2

from cnnlab.config.image_changes import mixing
from cnnlab.config.losses import losses
from cnnlab.randomness import generator
from cnnlab.training.losses import Loss, loss_function
from cnnlab.training.mixing import mix_batch

CLASSES = 4


def batch(height: int = 6, width: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    draw = np.random.default_rng(0)
    images = torch.from_numpy(draw.normal(size=(5, 3, height, width)).astype(np.float32))
    return images, torch.tensor([0, 1, 2, 3, 1])


@given(seed=st.integers(0, 10_000), alpha=st.floats(0.1, 5))
def test_mixup_is_torchvisions(seed: int, alpha: float) -> None:
    images, labels = batch()
    mixed = mix_batch(mixing.read(f"mixup({alpha!r})"), images, labels, np.random.default_rng(seed))
    share = np.random.default_rng(seed).beta(alpha, alpha)
    theirs = v2.MixUp(num_classes=CLASSES)
    params = {"lam": share, "labels": labels, "batch_size": 5}
    torch.testing.assert_close(mixed.images, theirs.transform(images, params), rtol=1e-6, atol=1e-6)
    soft = mixed.label_share * F.one_hot(mixed.labels, CLASSES) + (1 - mixed.label_share) * F.one_hot(
        mixed.other_labels, CLASSES
    )
    torch.testing.assert_close(soft, theirs.transform(labels, params))


@given(seed=st.integers(0, 10_000), height=st.integers(1, 9), width=st.integers(1, 9))
def test_cutmix_is_torchvisions_with_the_rectangle_of_the_paper(seed: int, height: int, width: int) -> None:
    images, labels = batch(height, width)
    mixed = mix_batch(mixing.read("cutmix"), images, labels, np.random.default_rng(seed))
    draw = np.random.default_rng(seed)
    side = np.sqrt(1 - draw.beta(1, 1))
    middle_y, middle_x = draw.integers(height), draw.integers(width)
    y1, x1 = max(middle_y - int(side * height / 2), 0), max(middle_x - int(side * width / 2), 0)
    y2, x2 = min(middle_y + int(side * height / 2), height), min(middle_x + int(side * width / 2), width)
    share = 1 - (y2 - y1) * (x2 - x1) / (height * width)
    theirs = v2.CutMix(num_classes=CLASSES)
    params = {"box": (x1, y1, x2, y2), "lam_adjusted": share, "labels": labels, "batch_size": 5}
    assert torch.equal(mixed.images, theirs.transform(images, params))
    assert mixed.label_share == pytest.approx(share)
    changed = (mixed.images != images).float().mean()
    assert float(changed) == pytest.approx(1 - mixed.label_share, abs=1e-6)


@pytest.mark.parametrize("text", ["none", "mixup(0.2)", "cutmix"])
def test_the_batch_that_was_given_stays_and_the_mixed_one_lies_in_memory_as_it_does(text: str) -> None:
    images, labels = batch()
    images = images.to(memory_format=torch.channels_last)
    before = images.clone()
    mixed = mix_batch(mixing.read(text), images, labels, np.random.default_rng(1)).images
    assert torch.equal(images, before)
    assert mixed.is_contiguous(memory_format=torch.channels_last)


def test_the_loss_of_a_mixture_is_cross_entropy_with_its_soft_label() -> None:
    images, labels = batch()
    mixed = mix_batch(mixing.read("mixup(1.0)"), images, labels, np.random.default_rng(3))
    outputs = torch.linspace(-2, 2, 20).reshape(5, 4).sin()
    soft = mixed.label_share * F.one_hot(labels, CLASSES) + (1 - mixed.label_share) * F.one_hot(labels.roll(1), CLASSES)
    expected = F.cross_entropy(outputs, soft)
    torch.testing.assert_close(mixed.loss(outputs, Loss(F.cross_entropy), len(labels)), expected)


def test_the_parts_of_a_weighted_mixture_have_the_loss_of_the_whole() -> None:
    images, labels = batch()
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0])
    loss = loss_function(losses.read("cross_entropy(weights=[0.5, 1, 2, 4])"), labels.numpy(), CLASSES, images.device)
    mixed = mix_batch(mixing.read("mixup(1.0)"), images, labels, np.random.default_rng(3))
    outputs, mass = torch.linspace(-2, 2, 20).reshape(5, 4).sin(), loss.total_weight(labels)
    parts = sum(mixed.select(part).loss(outputs[part], loss, mass) for part in (slice(0, 2), slice(2, 5)))
    torch.testing.assert_close(parts, mixed.loss(outputs, loss, mass))
    each = F.cross_entropy(outputs, labels, reduction="none")
    other = F.cross_entropy(outputs, labels.roll(1), reduction="none")
    own = (weights[labels] * each).sum(), (weights[labels.roll(1)] * other).sum()
    torch.testing.assert_close(
        parts, (mixed.label_share * own[0] + (1 - mixed.label_share) * own[1]) / weights[labels].sum()
    )


@pytest.mark.parametrize("text", ["mixup(0.5)", "cutmix(1.0)"])
def test_a_training_sees_what_seed_and_step_draw(setup: Callable[..., Any], text: str) -> None:
    made = setup(mix=text, accumulate=2, batch_size=4, epochs=2, seed=3)
    seen: list[torch.Tensor] = []
    made.training.network[0].register_forward_hook(
        lambda module, given, _: seen.append(given[0]) if module.training else None
    )
    made.fit()
    expected = []
    for epoch in range(2):
        for number, (images, labels) in enumerate(made.loaders.train.train_batches(4, 3, epoch)):
            draws = generator(3, "mix", 4 * epoch + number // 2, number % 2)
            expected.append(mix_batch(mixing.read(text), images, labels, draws).images)
    assert len(seen) == len(expected) == 14
    assert all(torch.equal(one, other) for one, other in zip(seen, expected, strict=True))
