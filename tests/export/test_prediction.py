"""What a trained run says of image files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

from cnnlab.data.dataset import open_dataset
from cnnlab.errors import RunError
from cnnlab.export import prediction
from cnnlab.export.prediction import Prediction, predict
from cnnlab.runs.folder import RunFolder
from cnnlab.runs.run import run
from cnnlab.spec.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def trained(recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that tells the colours apart."""
    made = recipe(epochs=12, optimizer="adam(0.02)", batch_size=9)
    return run(made, runs=tmp_path_factory.mktemp("trained"), device="cpu")


def probabilities(answers: list[Prediction], classes: tuple[str, ...]) -> np.ndarray:
    told = [{guess.name: guess.probability for guess in answer.top} for answer in answers]
    return np.array([[guesses[name] for name in classes] for guesses in told])


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_the_runs_own_images_get_the_predictions_of_the_run(trained: RunFolder, colours: Path, part: str) -> None:
    names = open_dataset(trained.recipe().data, seed=0).image_names(part)
    answers = list(predict(trained, [colours / name for name in names]))
    assert [answer.image for answer in answers] == [str(colours / name) for name in names]
    found = probabilities(answers, trained.data().classes)
    np.testing.assert_allclose(found, softmax(trained.predictions(part).logits, axis=1), rtol=0, atol=1e-5)


def test_guesses_come_most_probable_first_and_as_many_as_asked_for(trained: RunFolder, colours: Path) -> None:
    (answer,) = predict(trained, [colours / "red" / "0.png"])
    chances = [guess.probability for guess in answer.top]
    assert chances == sorted(chances, reverse=True)
    assert sum(chances) == pytest.approx(1, abs=1e-5)
    assert answer.top[0].name == "red"
    (short,) = predict(trained, [colours / "red" / "0.png"], top=1)
    assert short.top == answer.top[:1]


def test_a_folder_stands_for_its_images_in_order(trained: RunFolder, colours: Path, tmp_path: Path) -> None:
    for name in ("b/2.png", "a/1.PNG", "c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((colours / "red" / "0.png").read_bytes())
    for name in ("notes.txt", "._c.png", ".ipynb_checkpoints/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no image")
    answers = predict(trained, [colours / "blue" / "0.png", tmp_path])
    expected = [colours / "blue" / "0.png", *(tmp_path / name for name in ("a/1.PNG", "b/2.png", "c.png"))]
    assert [answer.image for answer in answers] == [str(path) for path in expected]


def test_bad_images_are_told_and_the_others_answered(trained: RunFolder, colours: Path, tmp_path: Path) -> None:
    good = colours / "green" / "0.png"
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "page.png").write_text("<html>")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:100])
    answers = list(predict(trained, [good, tmp_path / "empty.png", good, tmp_path / "page.png", tmp_path / "cut.png"]))
    assert [bool(answer.error) for answer in answers] == [False, True, False, True, True]
    assert [bool(answer.top) for answer in answers] == [True, False, True, False, False]
    assert answers[0].top == answers[2].top
    assert answers[1].error == "empty: 0 bytes"
    assert answers[3].error.startswith("not an image: it is of no known format")
    assert answers[4].error.startswith("truncated: ")


def test_images_that_are_all_bad_are_all_told(trained: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (answer,) = predict(trained, [tmp_path])
    assert answer.error == "empty: 0 bytes"


def test_every_kind_of_image_is_understood(trained: RunFolder, tmp_path: Path) -> None:
    """One red picture in many dresses gets one answer."""
    red = np.zeros((8, 8, 3), np.uint8)
    red[:, :4] = (220, 60, 60)
    red[:, 4:] = (200, 80, 40)
    plain = Image.fromarray(red)
    plain.save(tmp_path / "0 plain.png")
    opaque = plain.convert("RGBA")
    opaque.save(tmp_path / "1 alpha.png")
    turned = plain.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns it clockwise
    turned.save(tmp_path / "2 rotated.png", exif=exif)
    plain.quantize(16).save(tmp_path / "3 palette.png")
    answers = probabilities(list(predict(trained, [tmp_path])), trained.data().classes)
    np.testing.assert_allclose(answers, answers[:1].repeat(4, axis=0), rtol=0, atol=1e-5)


def test_grey_and_16_bit_pictures_are_those_of_8_bits(trained: RunFolder, tmp_path: Path) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    Image.fromarray(grey).save(tmp_path / "0.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "1.png")
    Image.fromarray(np.stack([grey] * 3, axis=2)).save(tmp_path / "2.png")
    answers = probabilities(list(predict(trained, [tmp_path])), trained.data().classes)
    np.testing.assert_allclose(answers, answers[:1].repeat(3, axis=0), rtol=0, atol=1e-5)


def test_another_size_is_brought_to_the_trained_one(trained: RunFolder, colours: Path, tmp_path: Path) -> None:
    small = Image.open(colours / "red" / "0.png")
    small.resize((64, 48), Image.Resampling.BILINEAR).save(tmp_path / "large.png")
    resized = Image.open(tmp_path / "large.png").resize((8, 8), Image.Resampling.BILINEAR)
    resized.save(tmp_path / "small.png")
    answers = probabilities(list(predict(trained, [tmp_path])), trained.data().classes)
    np.testing.assert_allclose(answers[0], answers[1], rtol=0, atol=1e-5)


def test_many_images_are_answered_batch_by_batch(
    trained: RunFolder, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = list(predict(trained, [colours]))
    monkeypatch.setattr(prediction, "BATCH", 1)
    apart = list(predict(trained, [colours]))
    assert [answer.image for answer in apart] == [answer.image for answer in together]
    classes = trained.data().classes
    np.testing.assert_allclose(probabilities(apart, classes), probabilities(together, classes), rtol=0, atol=1e-5)


def test_a_path_that_is_not_there_is_told_and_the_others_answered(
    trained: RunFolder, colours: Path, tmp_path: Path
) -> None:
    good, missing = colours / "green" / "0.png", tmp_path / "x.png"
    answers = list(predict(trained, [good, missing, good]))
    assert [answer.image for answer in answers] == [str(good), str(missing), str(good)]
    assert answers[1].error == "missing: there is no file of this name"
    assert answers[0].top == answers[2].top != ()


def test_a_folder_without_images_is_told_and_the_others_answered(
    trained: RunFolder, colours: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("")
    nothing, something = predict(trained, [tmp_path, colours / "green" / "0.png"])
    assert (nothing.image, nothing.top) == (str(tmp_path), ())
    assert nothing.error.startswith("no image: this folder holds none of .")
    assert ".jpeg, .jpg" in nothing.error
    assert something.top


def test_images_lie_in_memory_as_in_the_training(
    recipe: Callable[..., Recipe], tmp_path: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run(recipe(epochs=1, memory_format="channels_last"), runs=tmp_path, device="cpu")
    seen: list[str] = []
    honest = prediction.logits
    monkeypatch.setattr(prediction, "logits", lambda net, feed: seen.append(feed.memory_format) or honest(net, feed))
    list(predict(folder, [colours / "red" / "0.png"]))
    assert seen == ["channels_last"]


def test_a_run_without_weights_is_said(recipe: Callable[..., Recipe], tmp_path: Path, colours: Path) -> None:
    layers = ["conv(4, 3)", "flatten", "dense(classes)"]
    diverged = run(recipe(optimizer="sgd(1e30, momentum=0.9)", layers=layers), runs=tmp_path)
    with pytest.raises(RunError, match="this run has no 'best' checkpoint"):
        list(predict(diverged, [colours]))
