"""The recipes of the documents have the values and the published figures that the documents state."""

from __future__ import annotations

from typing import Any

import pytest

from cnnlab.config.claims import parse_claim_metric
from cnnlab.config.recipe import Recipe
from cnnlab.grammar.toml_files import bundled_recipe

SIX = ("train_accuracy", "validation_accuracy", "test_accuracy", "train_loss", "validation_loss", "test_loss")


def six(*figures: float) -> dict[str, float]:
    """Accuracies, then losses, of the training, validation and test split."""
    return dict(zip(SIX, figures, strict=True))


def small(train: float, validation: float) -> dict[str, float]:
    return {"train_accuracy": train, "validation_accuracy": validation}


ADAM, SMALL = "adam(lr=0.001", {"epochs": 50, "optimizer": "adam(lr=0.0001"}
# Typed from the documents: what they state of the training (the beginning of a call is enough), and their figures.
STATED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lenet": (
        {"epochs": 10, "batch_size": 64, "weights": "last"},
        {
            "parameters": 390_410,
            "train_accuracy": 0.9233,
            "validation_accuracy": 0.7092,
            "best_validation_loss": 0.8024,
            "test_accuracy": 0.7149,
        },
    ),
    "lenet-2024": (
        {"epochs": 10, "batch_size": 64, "validations_per_epoch": 2, "stop": "early(patience=3"},
        {"parameters": 390_410, **six(0.757, 0.734, 0.756, 0.693, 0.761, 0.713), "best_validation_loss": 0.78},
    ),
    "model1": (
        {"epochs": 10, "optimizer": ADAM, "stop": "never", "weights": "last"},
        {
            **six(0.9833, 0.7792, 0.7792, 0.0532, 0.8744, 0.9055),
            "best_validation_loss": 0.6595,
            "best_validation_accuracy": 0.7904,
        },
    ),
    "model2": (
        {"epochs": 10, "batch_size": 64, "optimizer": ADAM, "stop": "never", "weights": "last"},
        {
            **six(0.9638, 0.7386, 0.7528, 0.1196, 0.8879, 0.8628),
            "best_validation_loss": 0.7511,
            "best_validation_accuracy": 0.7582,
        },
    ),
    "improved": (
        {"batch_size": 64, "optimizer": "sgd(0.05", "schedule": "constant", "stop": "early("},
        {"train_accuracy": 0.835, "train_loss": 0.475, "test_accuracy": 0.811, "test_loss": 0.562},
    ),
    "convnet": ({"epochs": 30}, {"parameters": 7_678_474, "test_accuracy": 0.807}),
    "convnet-batchnorm": ({"epochs": 30}, {"parameters": 7_682_826, "test_accuracy": 0.822}),
    "small": (SMALL, small(0.658, 0.527)),
    "small-pooled": (SMALL, small(0.658, 0.527)),
    "small-dropout": (SMALL, small(0.67, 0.62)),
    # ReduceLROnPlateau's patience of 20 acts one validation later than ours.
    "small-plateau": (
        {"epochs": 50, "optimizer": "adam(lr=0.0005", "schedule": "plateau(factor=0.8, patience=21"},
        small(0.79, 0.64),
    ),
    "small-regularised": ({"epochs": 50, "optimizer": "adam(lr=0.0005"}, small(0.80, 0.65)),
    "small-wide-kernel": ({}, small(0.87, 0.69)),
    "small-batchnorm": ({}, small(0.83, 0.66)),
    "small-lrn": ({}, small(0.83, 0.66)),
    "small-weightnorm": ({}, small(0.83, 0.66)),
    "small-deeper": ({}, {}),
    "perceptron": (
        {"batch_size": 32, "optimizer": ADAM, "schedule": "plateau(factor=0.1, patience=7"},
        {"test_accuracy": 0.67},
    ),
    "resnet18": ({"epochs": 5, "batch_size": 32, "optimizer": "adam(lr=0.0005"}, {"parameters": 11_181_642}),
    "resnet18-2019": ({"epochs": 5, "batch_size": 64, "optimizer": "adam(lr=0.0005"}, {"parameters": 11_181_642}),
    "resnet18-224": (
        {"epochs": 5, "batch_size": 32, "optimizer": "adam(lr=0.0005"},
        {"parameters": 11_181_642, **six(0.969, 0.891, 0.889, 0.089, 0.360, 0.381)},
    ),
    "vgg11-frozen": ({}, {"validation_accuracy": (0.61, 0.66)}),
    "vgg11-fine-tuned": ({}, {"validation_accuracy": 0.899, "test_accuracy": 0.892}),
    "vgg11-scratch": ({}, {"validation_accuracy": 0.877, "test_accuracy": 0.873}),
    "alexnet-faces": ({"batch_size": 32, "optimizer": "adam(lr=5e-05"}, {"test_accuracy": (0.70, 0.72)}),
    "alexnet-faces-fine-tuned": ({"batch_size": 32, "optimizer": "adam(lr=5e-05"}, {}),
}
# Documents that say on how many images a figure was measured, or let it be known.
SPLITS_KNOWN = ("lenet-2024", "improved", "resnet18-224")
RESIZED = {"resnet18": (256, 256), "resnet18-2019": (256, 256), "resnet18-224": (224, 224)}


@pytest.mark.parametrize("name", STATED)
def test_a_recipe_is_as_its_document_states(name: str) -> None:
    recipe = Recipe.read(bundled_recipe(name))
    train, figures = STATED[name]
    written = recipe.to_tables()["train"]
    for key, value in train.items():
        held = written[key].startswith(value) if isinstance(value, str) else written[key] == value
        assert held, (key, written[key])
    assert {metric: claim.published for metric, claim in recipe.claims.items()} == figures


@pytest.mark.parametrize("name", STATED)
def test_images_of_a_claim_are_those_that_its_document_lets_be_known(name: str) -> None:
    for metric, claim in Recipe.read(bundled_recipe(name)).claims.items():
        split = parse_claim_metric(metric).split
        if name in SPLITS_KNOWN and split:
            assert claim.images == {"train": 45_000, "validation": 5_000, "test": 10_000}[split]
        elif split in ("train", "validation"):
            assert claim.images is None


def test_what_the_documents_state_of_the_networks() -> None:
    def layers(name: str) -> list[str]:
        return [str(row) for row in Recipe.read(bundled_recipe(name)).to_tables()["model"]["layers"]]

    for name, size in RESIZED.items():
        model = Recipe.read(bundled_recipe(name)).model
        assert (model.resize, model.interpolation) == (size, "nearest" if size == (256, 256) else "bilinear")
    block = [text.partition("(")[0] for text in layers("improved")[:5]]
    assert block == ["conv", "leaky_relu", "batchnorm", "dropout2d", "maxpool"]
    augment = [
        call.partition("(")[0] for call in Recipe.read(bundled_recipe("improved")).to_tables()["data"]["augment"]
    ]
    assert sorted(augment) == ["crop", "rotation", "scale"]
    assert sum(text.startswith("dropout(0.5") for text in layers("perceptron")) == 1
    faces = Recipe.read(bundled_recipe("alexnet-faces")).to_tables()
    assert (faces["data"]["size"], faces["data"]["fit"]) == ([224, 224], "crop")
    assert [text.partition("(")[0] for text in faces["model"]["head"]] == ["dropout", "maxpool", "flatten", "dense"]
    assert "weight_decay=0.0001" in faces["train"]["optimizer"]
