"""What a run gets wrong, held against its kept predictions; the test part's ledger; and files that are not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.patches import Rectangle
from PIL import Image
from scipy.special import softmax
from sklearn import metrics as oracle
from torch import nn

import cnnlab
from cnnlab.config.recipe import Recipe
from cnnlab.context import Callbacks
from cnnlab.errors import RunError, UsageError
from cnnlab.interpret.mistakes import compute
from cnnlab.interpret.mistakes.compute import PredictionTable, inspect_mistakes
from cnnlab.interpret.mistakes.result import Mistakes
from cnnlab.render.plots import to_svg
from cnnlab.storage.run_folder import Predictions, RunFolder
from cnnlab.storage.test_ledger import LEDGER

HOSTILE = ("</script><img onerror=x>", "$x_{", "שלום", "猫" * 50, "x" * 4096, "a:b", "\x00\x1b", "{{7*7}}")


@pytest.fixture(scope="module")
def kept(recipe: Callable[..., Recipe], trained: Callable[..., RunFolder]) -> RunFolder:
    """A run whose test part has been opened at its end."""
    return trained(recipe(predictions="all"))


def ledger(folder: RunFolder) -> list[str]:
    return (folder.path.parent / LEDGER).read_text(encoding="utf-8").splitlines()


def rewritten(
    folder: RunFolder, logits: np.ndarray, labels: np.ndarray | None = None, part: str = "validation"
) -> None:
    """The run as if it had predicted this."""
    labels = folder.predictions(part).labels if labels is None else labels
    folder.write_predictions(part, Predictions(labels, logits.astype(np.float32)))


def renamed(folder: RunFolder, names: tuple[str, ...]) -> None:
    folder.write("data.json", folder.data().model_copy(update={"classes": names}).to_json())


def test_the_figures_are_those_of_the_predictions(kept: RunFolder) -> None:
    found = inspect_mistakes(kept.path, device="cpu")
    predictions, validation = kept.predictions("validation"), kept.result().validation
    named = predictions.logits.argmax(axis=1)
    assert found.accuracy.value == validation.accuracy
    assert np.array_equal(found.confusion, oracle.confusion_matrix(predictions.labels, named, labels=range(3)))
    recalls = [each.recall and each.recall.value for each in found.class_metrics]
    assert recalls == pytest.approx([each.recall for each in validation.per_class])
    assert found.calibration.before.loss == pytest.approx(validation.loss, abs=1e-6)
    assert found.calibration.after is None  # 9 images are too few
    assert found.missing_images_reason == ""


def test_the_gallery_shows_the_images_of_its_numbers(own: RunFolder, colours: Path) -> None:
    logits = np.eye(3)[[1, 2, 0] * 3] * np.arange(1, 10)[:, None] / 4
    rewritten(own, logits)
    found = inspect_mistakes(own.path, device="cpu", max_mistakes=3)
    labels = own.predictions("validation").labels
    wrong = [place for place in range(9) if logits[place].argmax() != labels[place]]
    expected = sorted(wrong, key=lambda place: -logits[place].max())[:3]
    assert [case.image for case in found.confident_errors] == [f"validation:{place}" for place in expected]
    dataset = cnnlab.load_model(str(own.path), device="cpu")
    for case, place in zip(found.confident_errors, expected, strict=True):
        assert case.probability == pytest.approx(softmax(logits[place]).max(), rel=1e-6)
        assert case.own == pytest.approx(softmax(logits[place])[labels[place]], rel=1e-6)
        picture = dataset.load_image(case.image)
        assert picture.label == labels[place]
        assert np.array_equal(found.pixels[place], picture.pixels)
        files = [np.asarray(Image.open(file)) for file in (colours / case.true).iterdir()]
        assert any(np.array_equal(found.pixels[place].transpose(1, 2, 0), file) for file in files)
    assert list(found.figures()) == ["confusion", "gallery", "reliability", "map"]
    assert own.data().classes[labels[expected[0]]] == found.confident_errors[0].true


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(2, 5), st.integers(1, 3))
def test_mistakes_are_ordered_by_probability_then_by_place(seed: int, count: int, kinds: int, limit: int) -> None:
    """Few different logits, so that many probabilities are equal."""
    numbers = np.random.default_rng(seed)
    logits = numbers.integers(0, 3, (count, kinds)).astype(np.float32)
    logits[numbers.random(count) < 0.1] = np.nan
    labels = numbers.integers(0, kinds, count)
    table = PredictionTable.from_predictions(Predictions(labels, logits))
    errors = table.errors()
    named = np.where(np.isfinite(logits).all(axis=1), logits.argmax(axis=1), -1)
    wrong = [n for n in range(count) if named[n] >= 0 and named[n] != labels[n]]
    sure = softmax(logits.astype(np.float64), axis=1).max(axis=1)
    assert errors.tolist() == sorted(wrong, key=lambda n: (-sure[n], n))
    correct = sorted((n for n in range(count) if named[n] == labels[n]), key=lambda n: (sure[n], n))
    assert table.uncertain_correct(4).tolist() == correct[:4]
    expected: list[int] = []
    for n in errors:
        same = [m for m in expected if (labels[m], named[m]) == (labels[n], named[n])]
        expected += [n] if len(same) < limit else []
    assert table.limit_pairs(errors, limit).tolist() == expected
    assert table.errors((0, 1)).tolist() == [n for n in errors if (labels[n], named[n]) == (0, 1)]


def test_logits_that_are_no_numbers_count_as_wrong_and_nothing_breaks(own: RunFolder) -> None:
    labels = own.predictions("validation").labels
    logits = np.eye(3)[labels] * 5
    logits[0], logits[1, 2], logits[2] = np.nan, np.inf, -np.inf
    rewritten(own, logits)
    found = inspect_mistakes(own.path, images=False)
    assert (found.num_correct, found.num_errors, found.num_unpredicted) == (6, 3, 3)
    assert np.sum(found.confusion) == 6
    assert (found.calibration.images, found.calibration.left_out) == (6, 3)
    assert found.confident_errors == ()
    assert "3 images without a prediction" in found.document().notes[0]
    assert [each.images for each in found.class_metrics] == np.bincount(labels).tolist()
    rewritten(own, np.full((9, 3), np.nan))
    nothing = inspect_mistakes(own.path, device="cpu")
    assert (nothing.num_correct, nothing.calibration, nothing.confident_errors) == (0, None, ())
    assert list(nothing.figures()) == ["confusion", "map"]
    assert Mistakes.from_json(nothing.to_json()).to_json() == nothing.to_json()


def test_a_perfect_run_has_no_mistakes_to_show(own: RunFolder) -> None:
    labels = own.predictions("validation").labels
    rewritten(own, np.eye(3)[labels] * 5)
    found = inspect_mistakes(own.path, device="cpu")
    assert (found.confident_errors, found.pairs, len(found.uncertain_correct)) == ((), (), 6)
    assert list(found.figures()) == ["confusion", "gallery", "reliability", "map"]
    assert "0 mistakes" in found.document().lines[0]
    assert not any("confused" in title or "errors" in title for title, _ in found.document().tables)


def test_a_look_at_the_test_parts_images_is_one_line_and_its_predictions_are_none(own: RunFolder) -> None:
    before = ledger(own)
    alone = inspect_mistakes(own.path, "test", images=False)
    assert ledger(own) == before
    assert alone.missing_images_reason == "they were not requested"
    looked = inspect_mistakes(own.path, "test", device="cpu")
    (line,) = ledger(own)[len(before) :]
    assert json.loads(line)["purpose"] == "inspect mistakes"
    assert json.loads(line)["run"] == own.path.name
    assert looked.pixels
    assert looked.embedding is not None
    assert looked.accuracy == alone.accuracy
    for part in ("train", "validation"):
        inspect_mistakes(own.path, part, device="cpu")
    assert len(ledger(own)) == len(before) + 1


def test_a_shut_test_part_stays_shut(own: RunFolder) -> None:
    own.write("result.json", own.result().model_copy(update={"test": None}).to_json())
    before = ledger(own)
    with pytest.raises(RunError, match=r"(?s)the test split of this run has not been opened.*cnnlab test"):
        inspect_mistakes(own.path, "test", device="cpu")
    assert ledger(own) == before


def test_without_its_data_a_run_has_figures_but_no_pictures_of_images(own: RunFolder, colours: Path) -> None:
    file = own.path / "recipe.toml"
    file.write_text(file.read_text(encoding="utf-8").replace(str(colours), "/gone/data"), encoding="utf-8")
    said: list[str] = []
    found = inspect_mistakes(own.path, device="cpu", callbacks=Callbacks(log=said.append))
    assert found.missing_images_reason
    assert any(line.startswith("without images: ") for line in said)
    assert list(found.figures()) == ["confusion", "reliability"]
    assert json.loads(found.to_json())["without_images"] == found.missing_images_reason
    assert found.missing_images_reason in found.document().notes[0]


def test_a_temperature_is_fitted_on_validation_and_judged_elsewhere(own: RunFolder) -> None:
    numbers = np.random.default_rng(0)
    parts = {}
    for part, count in (("validation", 900), ("test", 700)):
        logits = numbers.normal(0, 1.5, (count, 3))
        labels = (softmax(logits, axis=1).cumsum(axis=1) > numbers.random((count, 1))).argmax(axis=1)
        rewritten(own, 2 * logits, labels, part)
        parts[part] = logits, labels
    own_part, other = (inspect_mistakes(own.path, part, images=False).calibration for part in ("validation", "test"))
    assert own_part.after.halves is not None
    assert other.after.halves is None
    assert own_part.after.temperature == other.after.temperature
    assert other.after.temperature.value == pytest.approx(2, rel=0.15)
    # By hand: the other part's logits over this temperature.
    logits, labels = parts["test"]
    cooled = softmax(2 * logits / other.after.temperature.value, axis=1)
    assert other.after.sureness.loss == pytest.approx(oracle.log_loss(labels, cooled), rel=1e-5)
    for each in (own_part, other):
        assert each.before.width.value > each.before.width.limit
        assert each.after.sureness.width.value <= each.after.sureness.width.limit


def test_one_pair_of_classes_is_asked_for(own: RunFolder) -> None:
    rewritten(own, np.eye(3)[[1] * 9])
    found = inspect_mistakes(own.path, device="cpu", pair="blue:green")
    assert {(case.true, case.predicted) for case in found.confident_errors} == {("blue", "green")}
    assert found.num_candidates == len(found.confident_errors) == found.class_metrics[0].images
    assert inspect_mistakes(own.path, pair=("green", "red"), images=False).confident_errors == ()
    renamed(own, ("a:b", "c", "a"))
    assert inspect_mistakes(own.path, pair="a:b:c", images=False).pair == ("a:b", "c")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pair": "cat"}, "no such class.*cat.*as in --pair cat:dog"),
        ({"pair": "gren:red"}, "no such class.*gren.*blue, green, red.*did you mean 'green'"),
        ({"max_mistakes": 257}, "--most: .*257.*1 to 256"),
        ({"per_pair": 0}, "--per-pair: .*0.*1 to 256"),
    ],
)
def test_what_can_not_be_shown_is_told(kept: RunFolder, given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=f"(?s){words}"):
        inspect_mistakes(kept.path, images=False, **given)


@pytest.mark.parametrize("what", ["recipe", "resnet18"])
def test_only_a_run_has_mistakes(what: str, recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    path = tmp_path / "recipe"
    path.write_text(recipe().to_toml(), encoding="utf-8")
    with pytest.raises(UsageError, match=r"(?s)mistakes are those of a trained network.*the folder of a run.*train it"):
        inspect_mistakes(path if what == "recipe" else what)


def test_a_training_part_whose_predictions_were_not_kept_is_told_with_the_key(
    recipe: Callable[..., Recipe], trained: Callable[..., RunFolder]
) -> None:
    with pytest.raises(UsageError, match=r"(?s)no predictions for the train split.*--set train.predictions=all"):
        inspect_mistakes(trained(recipe()).path, "train")


def test_a_part_without_predictions_is_told(own: RunFolder) -> None:
    (own.path / "predictions-validation.npz").unlink()
    with pytest.raises(UsageError, match=r"(?s)no predictions for the validation split.*test, train"):
        inspect_mistakes(own.path)
    with pytest.raises(UsageError, match=r"(?s)there is no such split.*dev.*train, validation, test"):
        inspect_mistakes(own.path, "dev")
    (own.path / "result.json").unlink()
    with pytest.raises(RunError, match=r"(?s)this run has not finished.*--resume"):
        inspect_mistakes(own.path)


def test_the_network_is_not_touched(
    kept: RunFolder, monkeypatch: pytest.MonkeyPatch, untouched: Callable[[nn.Module], AbstractContextManager[None]]
) -> None:
    subject = cnnlab.load_model(str(kept.path), device="cpu")
    subject.network.train()
    monkeypatch.setattr(compute, "load_target", lambda *_: subject)
    with untouched(subject.network):
        assert inspect_mistakes(kept.path, device="cpu").embedding is not None


@pytest.mark.full
@pytest.mark.parametrize("kinds", [2, 30, pytest.param(100, marks=pytest.mark.full)])
def test_any_number_of_classes_and_any_names_are_drawn(own: RunFolder, kinds: int) -> None:
    """Every third class has no image."""
    names = tuple(f"{HOSTILE[k % len(HOSTILE)]}{k}" for k in range(kinds))
    renamed(own, names)
    numbers = np.random.default_rng(kinds)
    labels = numbers.choice([k for k in range(kinds) if k % 3 != 2], 300)
    rewritten(own, numbers.normal(0, 2, (300, kinds)) + 2 * np.eye(kinds)[labels], labels)
    found = inspect_mistakes(own.path, images=False)
    assert len(found.class_metrics) == kinds
    assert all(each.recall is None for each in found.class_metrics[2::3])
    sheet = found.document()
    assert len(sheet.tables[0][1].rows) == min(kinds, 20)
    assert "<img" not in sheet.to_html()
    for name, plate in found.figures(equal_mass=kinds == 2).items():
        svg = to_svg(plate.figure, name, plate.description, standalone=True)
        assert "<img" not in svg
        assert "x" * 60 not in svg
    assert Mistakes.from_json(found.to_json()) == found


@pytest.mark.parametrize("equal_mass", [False, True])
def test_the_histogram_of_the_reliability_diagram_has_an_axis(own: RunFolder, equal_mass: bool) -> None:
    found = inspect_mistakes(own.path, device="cpu", images=False)
    figure = found.figures(equal_mass=equal_mass)["reliability"].figure
    below = next(axes for axes in figure.axes if axes.get_xlabel() == "probability of the predicted class")
    assert below.get_ylabel() == ("density" if equal_mass else "images")
    bars = [bar for bar in below.patches if isinstance(bar, Rectangle)]
    # As many images as there are, or an area of 1.
    whole = sum(bar.get_height() * (bar.get_width() if equal_mass else 1) for bar in bars)
    assert whole == pytest.approx(1 if equal_mass else 9)
    assert len(below.get_yticks()) >= 2
