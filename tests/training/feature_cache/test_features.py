"""The loader of features; and the key by which files of the cache are found again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from cnnlab.config.image_changes import read_augmentations
from cnnlab.config.recipe import Recipe
from cnnlab.context import no_op
from cnnlab.data.augmentation.views import FlippedViews
from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.data.decoding.cache import CachedArray, features_dir, storage_dtype
from cnnlab.data.loader import ImageLoader
from cnnlab.models.network_plan import plan_network
from cnnlab.models.pretrained.transfer import TransferModel
from cnnlab.torch_rng import fork_rng
from cnnlab.training.feature_cache.features import FeatureExtractor, FeatureLoader
from cnnlab.training.feature_cache.plan import CachePlan, plan_feature_cache

CPU = torch.device("cpu")
FLIP = read_augmentations(["flip"])


def feature_loader(count: int = 21, **options: Any) -> FeatureLoader:
    """Image n has the number n in its plain view and 100 + n in its mirrored one, and the label n."""
    arrays = [np.arange(count, dtype=np.float32)[:, None] + 100 * view for view in range(2)]
    return FeatureLoader(
        [CachedArray(array, "", created=True) for array in arrays],
        np.arange(count),
        FlippedViews(FLIP),
        CPU,
        eval_batch_size=8,
        **options,
    )


def test_the_order_and_the_draws_are_those_of_the_images() -> None:
    """An image loader whose images are as wide as to tell whether they were mirrored."""
    pixels = np.zeros((21, 1, 1, 2), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = np.arange(21), 200
    images = ImageLoader(pixels, np.arange(21), (0.0,), (1 / 255,), CPU)
    for epoch in range(3):
        pairs = zip(
            images.train_batches(4, 7, epoch, FLIP), feature_loader().train_batches(4, 7, epoch, FLIP), strict=True
        )
        for (shown, labels), (features, own) in pairs:
            assert torch.equal(labels, own)
            turned = shown[:, 0, 0, 0] == 200
            torch.testing.assert_close(features[:, 0], labels + 100.0 * turned)


def test_sampled_images_are_augmented_by_their_places() -> None:
    places = np.zeros(21, dtype=np.int64)
    found = torch.cat([features for features, _ in feature_loader().with_sampling(places).train_batches(4, 7, 0)])
    assert set(found.flatten().tolist()) == {0.0, 100.0}


def test_evaluation_is_of_the_images_as_they_are() -> None:
    batches = list(feature_loader().eval_batches())
    assert [len(labels) for _, labels in batches] == [8, 8, 5]
    assert torch.cat([features for features, _ in batches]).flatten().tolist() == list(range(21))


def test_the_bits_of_bf16_are_floats_again() -> None:
    numbers = torch.randn(5, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    bits = numbers.to(torch.bfloat16).view(torch.int16).numpy()
    assert bits.dtype == storage_dtype("bf16")
    made = FeatureLoader(
        [CachedArray(bits, "", created=True)], np.arange(5), FlippedViews(), CPU, 8, memory_format="channels_last"
    )
    ((found, _),) = made.eval_batches()
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found, numbers.to(torch.bfloat16).float())


@pytest.fixture(autouse=True)
def _alone(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CNNLAB_CACHE", str(tmp_path / "cache"))
    with fork_rng():
        yield


Made = tuple[Recipe, Dataset, TransferModel, CachePlan]


@pytest.fixture
def made(recipe: Callable[..., Recipe]) -> Callable[..., Made]:
    """A small frozen network with its data, and how its features are had; arguments as those of `recipe`."""

    def make(trainable: str = "none", head: Any = (), seed: int = 0, **fields: Any) -> Made:
        model = {
            "backbone": "shufflenet_v2_x0_5(weights='none')",
            "trainable": trainable,
            "head": list(head),
            "cut": "stage3",
            "resize": 32,
        }
        own = Recipe.from_tables({**recipe(epochs=4, **fields).to_tables(), "model": model})
        dataset = open_dataset(own.data, seed=0)
        network, _ = plan_network(own.model, dataset.image_spec.shape, 3).initialize(seed, lambda _: None)
        assert isinstance(network, TransferModel)
        # Its random weights would give features near zero, which tell nothing apart.
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.fill_(0.05)
        images, _ = next(images_of(dataset).eval_batches(3))
        return own, dataset, network, plan_feature_cache(own, network, images, (27, 9))

    return make


def images_of(dataset: Dataset, part: Any = "train", **changes: Any) -> ImageLoader:
    given = {"mean": dataset.mean, "std": dataset.std, **changes}
    return ImageLoader(dataset.pixels(part), dataset.labels(part), given.pop("mean"), given.pop("std"), CPU, **given)


def file_of(dataset: Dataset, network: TransferModel, choice: CachePlan, part: Any = "train", **changes: Any) -> str:
    """The file of the plain view."""
    images = images_of(dataset, part, **changes)
    return FeatureExtractor(choice, network, dataset, no_op).loader(part, images, FlippedViews()).cached[0].name


@pytest.mark.full
def test_whatever_changes_features_changes_the_file(made: Callable[..., Made]) -> None:
    _, dataset, network, choice = made()
    plain = file_of(dataset, network, choice)
    assert file_of(dataset, network, choice) == plain
    files = [plain]
    files.append(file_of(dataset, network, choice, part="validation"))
    files.append(file_of(dataset, network, choice, mean=(0.1, 0.2, 0.3)))
    files.append(file_of(dataset, network, choice, std=(0.1, 0.2, 0.3)))
    files.append(file_of(dataset, network, replace(choice, dtype="bf16")))
    for fields in ({"limit": 24}, {"classes": ["red", "green", "blue"], "size": (10, 8)}, {"interpolation": "nearest"}):
        _, other, _, _ = made(**fields)
        assert other.content_digest == dataset.content_digest
        files.append(file_of(other, network, choice))
    files.append(file_of(dataset, *made(seed=1)[2:]))
    files.append(file_of(dataset, *made(trainable="rows(['stage3.3'])")[2:]))
    with torch.no_grad():
        dict(network.named_buffers())["backbone.conv1.1.running_mean"][3] += 1e-3
    files.append(file_of(dataset, network, choice))
    assert len(set(files)) == len(files)


def test_every_view_has_a_file_and_flips_share_the_plain_one(made: Callable[..., Made]) -> None:
    _, dataset, network, choice = made()
    trunk = FeatureExtractor(choice, network, dataset, no_op)
    names = [
        [view.name for view in trunk.loader("train", images_of(dataset), views).cached]
        for views in (FlippedViews(), FlippedViews(FLIP))
    ]
    assert [len(each) for each in names] == [1, 2]
    assert names[0][0] == names[1][0]
    assert len({name for each in names for name in each}) == 2


@pytest.mark.full
def test_what_stands_behind_the_trunk_changes_no_file(made: Callable[..., Made]) -> None:
    _, dataset, network, choice = made()
    other = made(head=["globalpool", "dropout(0.2)", "dense(5)", "relu", "dense(classes)"])
    assert other[3].model_split.cut_module != choice.model_split.cut_module
    assert file_of(dataset, network, choice) == file_of(dataset, *other[2:])


def test_features_are_those_of_eval_mode_and_the_network_stays_as_it_is(made: Callable[..., Made]) -> None:
    _, dataset, network, choice = made()
    network.train()
    modes = [module.training for module in network.modules()]
    strides = [parameter.stride() for parameter in network.parameters()]
    found = FeatureExtractor(choice, network, dataset, no_op).loader("train", images_of(dataset), FlippedViews(FLIP))
    assert [module.training for module in network.modules()] == modes
    assert [parameter.stride() for parameter in network.parameters()] == strides
    (pictures, _), (features, _) = (next(one.eval_batches()) for one in (images_of(dataset), found))
    network.eval()
    torch.testing.assert_close(features, choice.model_split.extract_features(network, pictures), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        logits = choice.model_split.trainable_tail(network).eval()(features)
        torch.testing.assert_close(logits, network(pictures), rtol=1e-4, atol=1e-5)
    mirrored = torch.from_numpy(np.array(found.cached[1].array))
    torch.testing.assert_close(
        mirrored, choice.model_split.extract_features(network, pictures.flip(3)), rtol=1e-4, atol=1e-5
    )
    assert not torch.allclose(mirrored, features, rtol=1e-2)


def test_what_may_be_removed_is_room(made: Callable[..., Made], monkeypatch: pytest.MonkeyPatch) -> None:
    own, dataset, network, choice = made()
    images, _ = next(images_of(dataset).eval_batches(3))
    monkeypatch.setattr("cnnlab.training.feature_cache.plan.free_disk_bytes", lambda: 0)
    refused = plan_feature_cache(own, network, images, (27, 9))
    assert refused.model_split is None
    assert refused.reason.endswith("iB, and there is room for 0 B")
    features_dir().mkdir(parents=True, exist_ok=True)
    (features_dir() / "other.npy").write_bytes(bytes(choice.size_bytes))
    assert plan_feature_cache(own, network, images, (27, 9)).model_split is not None
