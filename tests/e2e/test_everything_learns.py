"""Whatever can be chosen, alone and in random company, training lowers the loss of the images that it is trained on.

The loss is the cross-entropy of un-augmented training images in eval mode, before the first step and after the last.
The images are 512 of the built-in shapes at half their size, decoded once. A new kind of a registry is tried without an
edit here, unless it has an argument without a default.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cnnlab.architecture.layers import layers
from cnnlab.config.image_changes import augmentations, mixing
from cnnlab.config.losses import losses
from cnnlab.config.model import Model
from cnnlab.config.optimizers import averaging, optimizers
from cnnlab.config.recipe import Recipe, Train
from cnnlab.config.schedules import schedules
from cnnlab.config.stopping import budgets, stopping_rules
from cnnlab.context import RunContext
from cnnlab.data.loader import ImageLoader
from cnnlab.data.sources.shapes import CLASSES, render
from cnnlab.evaluation.logits import predict_logits
from cnnlab.evaluation.metrics import compute_score
from cnnlab.grammar.registry import Registry
from cnnlab.runs.run import run
from cnnlab.runs.setup import TrainingSetup
from cnnlab.training.loop import SplitLoaders, fit

IMAGES, HELD_OUT, SIDE = 512, 128, 16
EPOCHS = 4
LEAST_FALL = 0.05  # nats; a network that guesses is at ln 10 = 2.30
COMBINATIONS = 30
FULL = 4  # so many of them are tried with the full tests, one with the fast ones

# Rates that suit so few steps, arguments without a default, and lengths that fit in so few epochs.
CALLS = {
    "sgd": "sgd(0.05, momentum=0.9)",
    "adam": "adam(lr=3e-3)",
    "adamw": "adamw(lr=3e-3)",
    "nadam": "nadam(lr=3e-3)",
    "radam": "radam(lr=1e-2)",
    "adamax": "adamax(lr=5e-3)",
    "rmsprop": "rmsprop(lr=2e-3)",
    "adagrad": "adagrad(lr=0.02)",
    "adadelta": "adadelta(lr=1)",
    "lion": "lion(lr=1e-3)",
    "muon": "muon(lr=0.02, companion=adamw(lr=3e-3))",
    "step": "step(2, factor=0.5)",
    "multistep": "multistep([1, 3], factor=0.5)",
    "restarts": "restarts(2)",
    "plateau": "plateau(factor=0.5, patience=1)",
    "warmup": "warmup(1, then=cosine)",
    "brightness": "brightness(0.4)",
    "contrast": "contrast(0.4)",
    "saturation": "saturation(0.4)",
    "hue": "hue(0.1)",
    "jitter": "jitter(0.4, 0.4, 0.4, 0.1)",
    "cutout": "cutout(4)",
    "crop": "crop(2)",
    "maybe": "maybe(0.5, [flip, crop(2)])",
    "one_of": "one_of([flip, noise, erasing])",
    "ema": "ema(0.9)",
    "swa": "swa(0.5)",
    "time": "time(10)",
    "images": "images(2000)",
    "invert": "invert(0.2)",
}
# What kinds can be told further, beside their defaults.
MORE: dict[str, tuple[str, ...]] = {
    "loss": ("cross_entropy(smoothing=0.1)", "cross_entropy(weights='balanced')", "focal(1, weights='balanced')"),
    "optimizer": ("sgd(0.05, momentum=0.9, nesterov=true, weight_decay=1e-3)", "rmsprop(2e-3, centered=true)"),
    "schedule": ("warmup(1, then=plateau)", "warmup(0.5, then=linear)"),
}
KEYS: dict[str, Registry[Any]] = {
    "optimizer": optimizers,
    "schedule": schedules,
    "loss": losses,
    "mix": mixing,
    "average": averaging,
    "stop": stopping_rules,
    "budget": budgets,
}


def calls(registry: Registry[Any]) -> list[str]:
    """A call of each kind."""
    return [CALLS.get(name, name) for name in registry.kinds]


ALONE = [
    *((key, call) for key, registry in KEYS.items() for call in (*calls(registry), *MORE.get(key, ()))),
    *(("sampling", name) for name in get_args(Train.model_fields["sampling"].annotation)),
    *(("augment", call) for call in calls(augmentations)),
]
# No norm with buffers: they move while nothing is learned.
NORM, ACTIVATION, MIDDLE = "groupnorm(4)", "relu", "relu"

# Rows that take an image and give one, for the middle of a network.
ROWS = {
    "conv": "conv(24, 3, padding=1)",
    "depthwise": "depthwise(3, padding=1)",
    "maxpool": "maxpool(2)",
    "avgpool": "avgpool(2)",
    "adaptivepool": "adaptivepool(2)",
    "groupnorm": "groupnorm(4)",
    "dropout": "dropout(0.1)",
    "dropout2d": "dropout2d(0.1)",
    "upsample": "upsample(2)",
    "residual": "residual([conv(24, 3, padding=1), relu], drop=0.1)",
    "repeat": "repeat(2, [residual([conv(24, 3, padding=1), relu])])",
}
# These give no image; those squash it so much that it takes more steps to learn.
NO_ROWS = {"flatten", "dense", "globalpool", "sigmoid", "softmax"}
NORMS = ("batchnorm", "groupnorm(4)", "layernorm")
ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "silu", "tanh")


def table(norm: str = NORM, activation: str = ACTIVATION, middle: str = MIDDLE) -> list[str]:
    """A network that learns a little from some dozens of batches."""
    block = [norm, activation]
    first, second = "conv(16, 3, stride=2, padding=1)", "conv(24, 3, stride=2, padding=1)"
    return [first, *block, second, *block, middle, "flatten", "dense(classes)"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first of the shapes as class folders, as many of each class."""
    root = tmp_path_factory.mktemp("shapes") / "pictures"
    for index, pixels in enumerate(render("train", np.arange(IMAGES + HELD_OUT))):
        folder = root / CLASSES[index % len(CLASSES)]
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels.transpose(1, 2, 0))
        image.resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(folder / f"{index}.png")
    return root


@pytest.fixture
def recipe(pictures: Path) -> Callable[..., Recipe]:
    """Makes a recipe; arguments are keys of [train] and [data], `layers` and `init` of [model]."""

    def make(layers: Sequence[str] = (), init: str = "default", augment: Sequence[str] = (), **train: Any) -> Recipe:
        plain = {"epochs": EPOCHS, "optimizer": CALLS["adam"], "weights": "last", "precision": "fp32"}
        if train.get("average", "never") != "never":
            plain["weights"] = train["weights"] = "averaged"
        data = {"source": str(pictures), "validation": HELD_OUT / (IMAGES + HELD_OUT), "test": 0.0}
        return Recipe.from_tables(
            {
                "data": {**data, "augment": list(augment)},
                "model": {"layers": list(layers) or table(), "init": init},
                "train": {**plain, **train},
            }
        )

    return make


def prepared(recipe: Recipe) -> TrainingSetup:
    """The network before its first step, with its data."""
    bench = TrainingSetup.prepare(recipe, RunContext(device="cpu", download=False))
    assert len(bench.train_loader) == IMAGES
    return bench


def loss(network: nn.Module, feed: ImageLoader) -> float:
    """The mean cross-entropy in eval mode, of images as they are."""
    return compute_score(predict_logits(network, feed), feed.labels, CLASSES).loss


def fall(bench: TrainingSetup, train: ImageLoader | None = None) -> float:
    """By how much training lowers the loss; with `train` other images are trained on."""
    training = bench.training()
    before = loss(training.network, bench.train_loader)
    for _ in fit(
        training,
        SplitLoaders(train or bench.train_loader, bench.validation_loader, None, bench.dataset.classes),
        ignored,
    ):
        pass
    assert not training.diverged
    return before - loss(training.eval_model, bench.train_loader)


def ignored(*_: object) -> None:
    """Nobody watches."""


# The last choice of each key is tried with the fast tests.
LAST = dict(ALONE)


@pytest.mark.parametrize(
    ("key", "call"),
    [pytest.param(key, call, marks=[] if LAST[key] == call else pytest.mark.full) for key, call in ALONE],
    ids=lambda word: word,
)
def test_each_choice_learns(key: str, call: str, recipe: Callable[..., Recipe]) -> None:
    value = [call] if key == "augment" else call
    assert fall(prepared(recipe(**{key: value}))) > LEAST_FALL


@pytest.mark.parametrize("norm", [NORM, "batchnorm"])
def test_without_a_rate_nothing_is_learned(norm: str, recipe: Callable[..., Recipe]) -> None:
    """The measure can fail; nor is it batch norm's statistics, which move by themselves, that pass it."""
    assert fall(prepared(recipe(table(norm), optimizer="sgd(1e-12)"))) < LEAST_FALL / 2


def test_against_the_gradient_the_loss_rises(recipe: Callable[..., Recipe]) -> None:
    bench = prepared(recipe(optimizer=CALLS["sgd"], clip=1.0))
    for weights in bench.network.parameters():
        weights.register_hook(torch.neg)
    assert fall(bench) < 0


def test_with_wrong_labels_the_loss_rises(recipe: Callable[..., Recipe]) -> None:
    bench = prepared(recipe())
    right = bench.train_loader
    wrong = ImageLoader(right.pixels, (right.labels + 1) % len(CLASSES), right.mean, right.std, right.device)
    assert fall(bench, wrong) < 0


def drawn(number: int) -> dict[str, Any]:
    """Arguments of `recipe`, drawn from everything that there is to choose."""
    rng = random.Random(number)
    found: dict[str, Any] = {key: rng.choice([*calls(registry), *MORE.get(key, ())]) for key, registry in KEYS.items()}
    kinds = [name for name in layers.kinds if name not in NO_ROWS]
    found |= {
        "layers": table(rng.choice(NORMS), rng.choice(ACTIVATIONS), ROWS.get(kind := rng.choice(kinds), kind)),
        "augment": rng.sample(calls(augmentations), rng.randrange(3)),
        "epochs": 2 * EPOCHS,
        "batch_size": 32,
        "validations_per_epoch": rng.choice([1, 2]),
        "accumulate": rng.choice([1, 2]),
        "clip": rng.choice([1.0, 5.0]),
        "rates": rng.choice([{}, {"conv1": 0.5, "dense*": 2.0}]),
        "seed": number,
    }
    for section, key in ((Model, "init"), *((Train, name) for name in ("sampling", "decay", "choose"))):
        found[key] = rng.choice(get_args(section.model_fields[key].annotation))
    found["weights"] = rng.choice(["best", "last"])
    return found


@pytest.mark.parametrize(
    "number",
    [
        0,
        *(pytest.param(number, marks=pytest.mark.full) for number in range(1, FULL)),
        *(pytest.param(number, marks=pytest.mark.slow) for number in range(FULL, COMBINATIONS)),
    ],
)
def test_choices_learn_in_random_company(number: int, recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    """A whole run of each, through the door that everyone uses."""
    chosen = drawn(number)
    made = recipe(**chosen)
    bench = prepared(made)
    before = loss(bench.network.eval(), bench.train_loader)
    result = run(made, RunContext(runs=tmp_path, device="cpu")).result()
    assert result is not None
    assert result.status != "diverged", chosen
    assert result.train is not None
    assert before - result.train.loss > LEAST_FALL, f"{before:.3f} to {result.train.loss:.3f} with {chosen}"


def test_all_kinds_are_in_company() -> None:
    """Every optimizer, every mixture and so on is drawn at least once, so that no combination is left to luck alone."""
    found = [drawn(number) for number in range(COMBINATIONS)]
    for key in ("mix", "average", "stop", "budget", "sampling", "loss", "optimizer", "schedule"):
        registry = KEYS.get(key)
        names = set(registry.kinds) if registry else set(get_args(Train.model_fields[key].annotation))
        assert {choice[key].partition("(")[0] for choice in found} >= names, key
