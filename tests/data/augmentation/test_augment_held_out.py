"""Only what is trained on is augmented: validation and test images, and the final figures, never are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from cnnlab.config.recipe import Recipe
from cnnlab.data.loader import ImageLoader
from cnnlab.storage.run_folder import RunFolder

# With this rate the weights stay what they were, so that figures differ only where images do.
STILL = {"optimizer": "sgd(1e-30)", "layers": ("flatten", "dense(classes)"), "opened": "curve", "predictions": "all"}
LOUD = ["invert(p=1)", "noise(0.5)", "rotation(180)"]


def test_figures_of_held_out_images_are_those_without_augmentation(
    recipe: Callable[..., Recipe], trained: Callable[..., RunFolder]
) -> None:
    plain, changed = trained(recipe(**STILL)), trained(recipe(**STILL, augment=LOUD))
    for one, other in zip(plain.epochs(), changed.epochs(), strict=True):
        assert one.train.loss != other.train.loss  # or nothing was augmented at all
        assert (one.validation, one.test) == (other.validation, other.test) != (None, None)
    first, second = plain.result(), changed.result()
    assert None not in (first.train, first.validation, first.test)
    assert (first.train, first.validation, first.test) == (second.train, second.validation, second.test)
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(plain.predictions(split).logits, changed.predictions(split).logits)


def test_a_feed_evaluates_the_images_that_it_holds() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 3, 6, 5), dtype=np.uint8)
    loader = ImageLoader(pixels, np.arange(9), (0.0,) * 3, (1.0,) * 3, torch.device("cpu"))
    recipe = Recipe.from_tables({"data": {"source": "x", "augment": LOUD}, "model": {"layers": ["flatten"]}})
    before = torch.cat([images for images, _ in loader.eval_batches()])
    trained = [images for images, _ in loader.train_batches(4, 0, 0, recipe.data.augment)]
    after = torch.cat([images for images, _ in loader.eval_batches()])
    assert torch.equal(before, after)
    np.testing.assert_allclose(after.numpy() * 255, pixels, atol=1e-3)
    assert not torch.allclose(torch.cat(trained).sum(), after.sum())
