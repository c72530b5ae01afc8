"""What a network says of a part: in eval mode, the same in any batch, and leaving the network as it was."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cnnlab.data.loader import ImageLoader
from cnnlab.evaluation.logits import predict_logits
from cnnlab.models.pretrained.transfer import Resize, TransferModel
from cnnlab.models.pretrained.truncate import CutPoint

CPU = torch.device("cpu")


def image_loader(count: int = 30) -> ImageLoader:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
    return ImageLoader(pixels, np.zeros(count, np.int64), (0.5,) * 3, (0.25,) * 3, CPU)


@pytest.fixture
def network() -> nn.Sequential:
    """Batch norm with statistics of its own, and dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 5)
        )
        made[1].running_mean.normal_()
        made[1].running_var.uniform_(0.5, 2)
    return made


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_and_batch_norm_uses_its_running_statistics(network: nn.Sequential, training: bool) -> None:
    network.train(training)
    statistics = network[1].running_mean.clone()
    images = torch.cat([batch for batch, _ in image_loader().eval_batches()])
    conv, norm, _, _, _, dense = network
    by_hand = (conv(images) - norm.running_mean[:, None, None]) / (norm.running_var + norm.eps).sqrt()[:, None, None]
    expected = dense(by_hand.relu().flatten(1)).detach().numpy()
    np.testing.assert_allclose(predict_logits(network, image_loader()), expected, rtol=0, atol=1e-5)
    assert network.training is training
    assert all(module.training is training for module in network.modules())
    assert torch.equal(network[1].running_mean, statistics)


def test_a_batch_of_one_says_what_a_batch_of_all_says(network: nn.Sequential, monkeypatch: pytest.MonkeyPatch) -> None:
    together = predict_logits(network, image_loader())
    evaluation: Callable[..., object] = ImageLoader.eval_batches
    monkeypatch.setattr(ImageLoader, "eval_batches", lambda self, **_: evaluation(self, 1))
    np.testing.assert_allclose(predict_logits(network, image_loader()), together, rtol=0, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_put_back_after_an_error(training: bool) -> None:
    class Broken(nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            raise RuntimeError("broken")

    network = nn.Sequential(Broken()).train(training)
    with pytest.raises(RuntimeError, match="broken"):
        predict_logits(network, image_loader(3))
    assert network.training is training
    assert network[0].training is training


def test_images_that_a_network_enlarges_are_fewer_at_a_time() -> None:
    """The maps of 500 images of 224×224 would take gigabytes."""
    seen: list[tuple[int, ...]] = []

    class Backbone(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(tuple(images.shape))
            return images.mean((2, 3))

    inner = TransferModel(Resize((224, 224), "nearest"), Backbone(), CutPoint(), nn.Identity())
    outer = TransferModel(Resize((16, 16), "nearest"), inner, CutPoint(), nn.Identity())
    assert predict_logits(outer, image_loader(25)).shape == (25, 3)
    assert seen == [(10, 3, 224, 224)] * 2 + [(5, 3, 224, 224)]
    seen.clear()
    predict_logits(TransferModel(Resize((2, 2), "nearest"), Backbone(), CutPoint(), nn.Identity()), image_loader(30))
    assert [shape[0] for shape in seen] == [30]
