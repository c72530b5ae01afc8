"""The studies that come with cnnlab: each reads, every arm traces, and published answers are the documents'."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from cnnlab.config.study import Study
from cnnlab.grammar.toml_files import bundled_recipe, bundled_study

FILES = sorted(bundled_study("any").parent.glob("*.toml"))
DOCUMENTS = ("tdt4265-assignment", "tdt4265-2019", "tdt4265-2024", "sapienza-2021", "koc-comp541")

# Accuracies of the training, validation and test split, from the documents: (study, arm) to figures. A pair is a
# range; BEST marks validation accuracies that are the highest of all epochs.
FLIPS = {
    "flip 0.1": (None, 0.825, 0.817),
    "flip 0.3": (None, 0.843, 0.826),
    "flip 0.5": (None, 0.847, 0.830),
    "flip 0.7": (None, 0.844, 0.838),
    "flip 0.9": (None, 0.831, 0.787),
}
PERCEPTRON = (None, None, 0.67)
PUBLISHED = {
    "batchnorm": {"plain": (None, None, 0.807), "batch norm": (None, None, 0.822)},
    "early-stopping": {
        "patience 5": (None, 0.807, None),
        "patience 5 + batch norm": (None, 0.828, 0.809),
        "patience 7 + batch norm": (None, 0.858, 0.809),
    },
    "flip": FLIPS,
    "augmentation": {
        **FLIPS,
        "crop": (None, 0.827, 0.829),
        "crop + flip": (None, 0.850, 0.846),
        "greyscale": (None, 0.807, 0.790),
        "crop + flip + greyscale": (None, 0.820, 0.816),
        "jitter": (None, 0.821, 0.811),
        "the three + blur": (None, 0.829, 0.818),
        "the three + blur + jitter": (None, 0.849, 0.830),
    },
    "dropout": {
        "0.1": (None, None, 0.835),
        "0.2": (None, None, 0.805),
        "0.3": (None, None, 0.799),
        "0.4": (None, None, 0.760),
        "0.5": (None, None, 0.690),
        "0.6": (None, None, 0.516),
    },
    "pooling": {"no pools": (0.658, 0.527, None), "two pools": (0.658, 0.527, None)},
    "regularise": {
        "none": (0.658, 0.527, None),
        "dropout 0.2": (0.67, 0.62, None),
        "+ plateau": (0.79, 0.64, None),
        "+ weight decay": (0.80, 0.65, None),
    },
    "schedules": {"plateau": (0.79, 0.64, None)},
    "optimizers": {"adam": (0.79, 0.64, None)},
    "architecture": {
        "plain": (0.80, 0.65, None),
        "kernel 7": (0.87, 0.69, None),
        "batch norm": (0.83, 0.66, None),
        "local response norm": (0.83, 0.66, None),
        "weight norm": (0.83, 0.66, None),
    },
    "perceptron-batch": {"batch 32": (None, None, (0.55, 0.67)), "batch 12": (None, None, (0.0, 0.42))},
    "perceptron-rate": {"1e-3": PERCEPTRON},
    "perceptron-optimizers": {"adam": PERCEPTRON},
    "perceptron-schedule": {},
    "perceptron-dropout": {},
    "improvements-2019": {"model 2": (0.9638, 0.7386, 0.7528), "deeper": (0.9833, 0.7792, 0.7792)},
    "improvements-2024": {"lenet": (None, None, 0.770)},
    "flip-small": {},
    "dropout-small": {},
    "vgg11": {
        "from scratch": (None, 0.877, 0.873),
        "frozen": (None, (0.61, 0.66), None),
        "fine-tuned": (None, 0.899, 0.892),
    },
    "alexnet": {"features alone": (None, None, 0.53), "pooling and dropout": (None, None, (0.70, 0.72))},
    "few-images": {},
    "shifts": {},
    "transfer-2019": {},
    "transfer-lite0": {},
    "faces-lite0": {},
}
# The validation accuracies above that are the highest of all epochs, and others of that kind.
BEST = {"flip", "augmentation", "early-stopping"}
BEST_TOO = {"improvements-2019": {"model 2": 0.7582, "deeper": 0.7904}}
# What a document says in words or what its figures say: arm, word, other arm.
BETTER_FLIPS = {(f"flip {p}", "better", "none") for p in (0.1, 0.3, 0.5, 0.7)}
WORDS = {
    "batchnorm": {("batch norm", "better", "plain")},
    "flip": {("flip 0.9", "worse", "none"), ("flip 0.7", "best", None), *BETTER_FLIPS},
    "augmentation": {
        ("crop + flip", "best", None),
        ("flip 0.9", "worse", "none"),
        ("crop", "better", "none"),
        ("greyscale", "better", "none"),
        ("the three + blur + jitter", "better", "the three + blur"),
        *BETTER_FLIPS,
    },
    "dropout": {("0.1", "equal", "0.2"), ("0.6", "worst", None)},
    "early-stopping": {
        ("patience 7 + batch norm", "better", "patience 5 + batch norm"),
        ("patience 5 + batch norm", "better", "patience 5"),
    },
    "pooling": {("two pools", "equal", "no pools")},
    "regularise": {
        ("dropout 0.2", "better", "none"),
        ("dropout 0.5 after the first relu", "worse", "none"),
        ("+ plateau", "better", "dropout 0.2"),
        ("+ weight decay", "better", "+ plateau"),
        ("+ early stopping", "equal", "+ weight decay"),
    },
    "schedules": {(arm, "equal", "plateau") for arm in ("step", "multistep", "cosine")},
    "optimizers": {
        ("rmsprop", "equal", "adam"),
        *((arm, "worse", other) for arm in ("sgd", "adagrad") for other in ("adam", "rmsprop")),
        ("adadelta at 0.0005", "worst", None),
    },
    "architecture": {
        ("kernel 7", "best", None),
        *((arm, "worse", "plain") for arm in ("one more layer", "stride 2", "greyscale", "jitter", "crop", "rotation")),
        *((f"{norm} norm", "better", "plain") for norm in ("batch", "local response", "weight")),
    },
    "improvements-2024": {
        *(
            (arm, "better", "lenet")
            for arm in ("batch norm", "kernel 3", "leaky relu", "more filters", "one more layer", "augmentation")
        ),
        *((arm, "worse", "lenet") for arm in ("fewer filters", "one layer fewer")),
    },
    "improvements-2019": {
        ("sgd", "worst", None),
        ("no dropout", "worse", "model 2"),
        ("dropout 0.3", "worse", "model 2"),
        ("strides for pools", "equal", "model 2"),
        ("deeper", "better", "model 2"),
    },
    "perceptron-batch": {("batch 12", "worse", "batch 32")},
    "perceptron-rate": {("1e-3", "best", None)},
    "perceptron-optimizers": {("adam", "best", None)},
    "perceptron-schedule": {("plateau", "better", "constant")},
    "perceptron-dropout": {("dropout 0.5", "better", "no dropout")},
    "vgg11": {("frozen", "worse", "from scratch"), ("fine-tuned", "better", "from scratch")},
    "alexnet": {("pooling and dropout", "better", "features alone")},
    "transfer-2019": {("from ImageNet", "better", "model 1")},
    "faces-lite0": {("pooling and dropout", "better", "features alone")},
    "transfer-lite0": {("fine-tuned", "better", "from scratch"), ("frozen", "worse", "from scratch")},
}


each_study = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@each_study
def test_every_study_reads_and_every_arm_traces(path: Path) -> None:
    study = Study.read(path)
    again = Study.from_tables(tomllib.loads(study.to_toml()))
    assert again == study
    assert [arm.recipe for arm in again.list_arms()] == [arm.recipe for arm in study.list_arms()]
    small = Study.read(path, {"data.limit": 1000, "train.epochs": 2}, seeds=2)
    assert {(arm.recipe.data.limit, arm.recipe.train.epochs) for arm in small.list_arms()} == {(1000, 2)}
    faces = study.base.data.source == "orl-faces.zip"
    for arm in study.list_arms():
        if arm.recipe.model.backbone is not None:  # a head needs the backbone's features (tests/runs/test_networks.py)
            continue
        size = arm.recipe.data.size
        shape, classes = ((1, *size), 40) if faces else ((3, 32, 32), 10)
        assert arm.recipe.model.trace(shape, classes).output == (classes,)
    experiments = {repr([arm.recipe.data, arm.recipe.model, arm.recipe.train]) for arm in study.list_arms()}
    assert len(experiments) == len(study.list_arms())


@each_study
def test_every_study_says_whose_question_it_asks(path: Path) -> None:
    study, lines = Study.read(path), path.read_text(encoding="utf-8").splitlines()
    comment = " ".join(line for line in lines[: lines.index("")] if line.startswith("# "))
    own = path.stem == "few-images"  # the one question that no document asks
    assert own or study.document.source in DOCUMENTS
    assert own or study.document.source in comment
    assert own or "ot stated" in comment or "chosen here" in comment
    assert study.question.endswith("?")
    assert all(len(line) <= 120 for line in lines)
    assert len(study.seeds) >= (5 if study.sweep else 10)
    assert study.smallest_difference >= 0.01


@each_study
def test_published_figures_are_those_of_the_documents(path: Path) -> None:
    study = Study.read(path)
    numbers = {(claim.arm, claim.metric): claim.published for claim in study.claims if claim.kind == "numeric"}
    validation = "best_validation" if path.stem in BEST else "validation"
    splits = ("train", validation, "test")
    found = {arm: tuple(numbers.get((arm, f"{split}_accuracy")) for split in splits) for arm, _ in numbers}
    assert found == PUBLISHED[path.stem]
    best = BEST_TOO.get(path.stem, {})
    assert best == {arm: numbers.get((arm, "best_validation_accuracy")) for arm in best}
    assert len(numbers) == sum(x is not None for row in found.values() for x in row) + len(best)
    # Figures of a test set are judged only if it is opened for all arms; no study chooses by it.
    assert (study.test == "after") == any(metric.startswith("test_") for _, metric in numbers)
    for claim in study.claims:
        assert (claim.source, claim.data) == (study.document.source, study.document.data)


@pytest.mark.parametrize("name", sorted(WORDS))
def test_published_words_are_those_of_the_documents(name: str) -> None:
    study = Study.read(bundled_study(name))
    words = [claim for claim in study.claims if claim.kind == "ordinal"]
    others = (None if claim.published in ("best", "worst") else claim.than or study.baseline for claim in words)
    assert {(claim.arm, claim.published, than) for claim, than in zip(words, others, strict=True)} == WORDS[name]


def test_a_recipes_arm_makes_the_same_claims_as_its_recipe() -> None:
    for path in FILES:
        arms = tomllib.loads(path.read_text(encoding="utf-8")).get("arms", {})
        recipes = {name: changes["recipe"] for name, changes in arms.items() if set(changes) == {"recipe"}}
        for claim in Study.read(path).claims if recipes else ():
            if claim.kind == "numeric" and claim.arm in recipes:
                file = bundled_recipe(recipes[claim.arm].removesuffix(".toml"))
                known = tomllib.loads(file.read_text(encoding="utf-8")).get("claims", {})
                stated = known.get(claim.metric, {"published": claim.published})["published"]
                assert (tuple(stated) if isinstance(stated, list) else stated) == claim.published


def test_no_study_has_a_recipes_name() -> None:
    """A study's base is looked for beside it first."""
    assert len(FILES) == len(PUBLISHED)
    assert not {path.name for path in FILES} & {path.name for path in bundled_recipe("any").parent.glob("*.toml")}


def test_what_is_published_of_shifts_is_what_the_document_says() -> None:
    """Unmoved by translation and greyscale; brightness or contrast fall to .35, and so do
    saturation and hue; inversion hurts."""
    (path,) = (path for path in FILES if path.stem == "shifts")
    said = {(each.shift, each.published) for each in Study.read(path).claims}
    assert said == {
        ("drawn([translation(0.1)])", "equal"),
        ("greyscale", "equal"),
        ("drawn([brightness(0.5)])", 0.35),
        ("drawn([contrast(0.5)])", 0.35),
        ("drawn([brightness(0.5)])", "worse"),
        ("drawn([contrast(0.5)])", "worse"),
        ("invert", "worse"),
        ("drawn([saturation(0.5)])", "worse"),
        ("drawn([hue(0.5)])", "worse"),
    }
