"""What a trained run says of image files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

from cnnlab.config.recipe import Recipe
from cnnlab.context import RunContext
from cnnlab.data.dataset import open_dataset
from cnnlab.errors import RunError
from cnnlab.export import predict as export_predict
from cnnlab.export.predict import Prediction, predict
from cnnlab.runs.run import run
from cnnlab.storage.run_folder import RunFolder


@pytest.fixture(scope="module")
def folder(recipe: Callable[..., Recipe], trained: Callable[..., RunFolder]) -> RunFolder:
    """A run that tells the colours apart."""
    return trained(recipe(epochs=12, optimizer="adam(0.02)", batch_size=9, predictions="all"))


def probabilities(answers: list[Prediction], classes: tuple[str, ...]) -> np.ndarray:
    told = [{guess.name: guess.probability for guess in answer.top} for answer in answers]
    return np.array([[guesses[name] for name in classes] for guesses in told])


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_the_runs_own_images_get_the_predictions_of_the_run(folder: RunFolder, colours: Path, part: str) -> None:
    names = open_dataset(folder.recipe().data, seed=0).image_names(part)
    answers = list(predict(folder, [colours / name for name in names]))
    assert [answer.image for answer in answers] == [str(colours / name) for name in names]
    found = probabilities(answers, folder.data().classes)
    np.testing.assert_allclose(found, softmax(folder.predictions(part).logits, axis=1), rtol=0, atol=1e-5)


def test_guesses_come_most_probable_first_and_as_many_as_asked_for(folder: RunFolder, colours: Path) -> None:
    (answer,) = predict(folder, [colours / "red" / "0.png"])
    chances = [guess.probability for guess in answer.top]
    assert chances == sorted(chances, reverse=True)
    assert sum(chances) == pytest.approx(1, abs=1e-5)
    assert answer.top[0].name == "red"
    (short,) = predict(folder, [colours / "red" / "0.png"], top_k=1)
    assert short.top == answer.top[:1]


def test_a_folder_stands_for_its_images_in_order(folder: RunFolder, colours: Path, tmp_path: Path) -> None:
    for name in ("b/2.png", "a/1.PNG", "c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((colours / "red" / "0.png").read_bytes())
    for name in ("notes.txt", "._c.png", ".ipynb_checkpoints/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no image")
    answers = predict(folder, [colours / "blue" / "0.png", tmp_path])
    expected = [colours / "blue" / "0.png", *(tmp_path / name for name in ("a/1.PNG", "b/2.png", "c.png"))]
    assert [answer.image for answer in answers] == [str(path) for path in expected]


def test_bad_images_are_told_and_the_others_answered(folder: RunFolder, colours: Path, tmp_path: Path) -> None:
    good = colours / "green" / "0.png"
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "page.png").write_text("<html>")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:100])
    (tmp_path / "nothing").mkdir()
    bad = [tmp_path / name for name in ("empty.png", "page.png", "cut.png", "missing.png", "nothing")]
    first, *answers, last = predict(folder, [good, *bad, good])
    assert first.top == last.top != ()
    assert [answer.image for answer in answers] == [str(path) for path in bad]
    assert not any(answer.top for answer in answers)
    words = ["empty: 0 bytes", "not an image: ", "truncated: ", "missing: ", r"no image: .*\.jpeg, \.jpg"]
    for answer, word in zip(answers, words, strict=True):
        assert re.match(word, answer.error)
    assert [answer.error for answer in predict(folder, bad[:1])] == ["empty: 0 bytes"]


def test_every_kind_of_image_is_understood(folder: RunFolder, tmp_path: Path) -> None:
    """One picture in many dresses gets one answer."""
    red = np.zeros((8, 8, 3), np.uint8)
    red[:, :4], red[:, 4:] = (220, 60, 60), (200, 80, 40)
    plain = Image.fromarray(red)
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns it clockwise
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    dresses = [
        (plain, {}),
        (plain.convert("RGBA"), {}),
        (plain.transpose(Image.Transpose.ROTATE_90), {"exif": exif}),
        (plain.quantize(16), {}),
        (Image.fromarray(np.stack([grey] * 3, axis=2)), {}),
        (Image.fromarray(grey), {}),
        (Image.fromarray(grey.astype(np.uint16) * 257), {}),
    ]
    for number, (picture, options) in enumerate(dresses):
        picture.save(tmp_path / f"{number}.png", **options)
    answers = probabilities(list(predict(folder, [tmp_path])), folder.data().classes)
    expected = answers[[0, 0, 0, 0, 4, 4, 4]]
    np.testing.assert_allclose(answers, expected, rtol=0, atol=1e-5)
    assert not np.allclose(answers[0], answers[4], atol=1e-3)


def test_many_images_are_answered_batch_by_batch(
    folder: RunFolder, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = list(predict(folder, [colours]))
    monkeypatch.setattr(export_predict, "BATCH_SIZE", 1)
    apart = list(predict(folder, [colours]))
    assert [answer.image for answer in apart] == [answer.image for answer in together]
    classes = folder.data().classes
    np.testing.assert_allclose(probabilities(apart, classes), probabilities(together, classes), rtol=0, atol=1e-5)


def test_a_run_without_weights_is_said(recipe: Callable[..., Recipe], tmp_path: Path, colours: Path) -> None:
    layers = ["conv(4, 3)", "flatten", "dense(classes)"]
    diverged = run(recipe(optimizer="sgd(1e30, momentum=0.9)", layers=layers), RunContext(runs=tmp_path))
    with pytest.raises(RunError, match="this run has no 'best' checkpoint"):
        list(predict(diverged, [colours]))
