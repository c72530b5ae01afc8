"""What a run gets wrong, held against its kept predictions; the test part's ledger; and files that are not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.patches import Rectangle
from PIL import Image
from scipy.special import softmax
from sklearn import metrics as oracle

import cnnlab
from cnnlab.errors import RunError, UsageError
from cnnlab.paper.plots import to_svg
from cnnlab.probe.mistakes.answer import MistakesRecord
from cnnlab.probe.mistakes.inspecting import inspect_mistakes
from cnnlab.probe.mistakes.said import Said
from cnnlab.runs.folder import Predictions, RunFolder
from cnnlab.runs.run import run
from cnnlab.spec.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")
HOSTILE = ("</script><img onerror=x>", "$x_{", "שלום", "猫" * 50, "x" * 4096, "a:b", "\x00\x1b", "{{7*7}}")


@pytest.fixture(scope="module")
def kept(recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose test part has been opened at its end."""
    return run(recipe(epochs=1), runs=tmp_path_factory.mktemp("runs"), device="cpu").path


@pytest.fixture
def own(kept: Path, tmp_path: Path) -> Path:
    """A copy of it, with a ledger of its own."""
    shutil.copytree(kept, tmp_path / "runs" / kept.name)
    return tmp_path / "runs" / kept.name


def ledger(path: Path) -> list[str]:
    file = path.parent / "test-ledger.jsonl"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def rewritten(path: Path, logits: np.ndarray, labels: np.ndarray | None = None, part: str = "validation") -> RunFolder:
    """The run as if it had predicted this."""
    folder = RunFolder.open(path)
    before = folder.predictions(part)
    assert before is not None
    folder.write_predictions(part, Predictions(before.labels if labels is None else labels, logits.astype(np.float32)))
    return folder


def renamed(path: Path, names: tuple[str, ...]) -> None:
    folder = RunFolder.open(path)
    folder.write("data.json", folder.data().model_copy(update={"classes": names}).to_json())


def test_the_figures_are_those_of_the_predictions(kept: Path) -> None:
    found = inspect_mistakes(kept, device="cpu")
    folder = RunFolder.open(kept)
    predictions, result = folder.predictions("validation"), folder.result()
    assert predictions is not None
    assert result is not None
    assert result.validation is not None
    named = predictions.logits.argmax(axis=1)
    assert found.accuracy.value == result.validation.accuracy
    assert np.array_equal(found.confusion, oracle.confusion_matrix(predictions.labels, named, labels=range(3)))
    assert [each.recall and each.recall.value for each in found.figures] == pytest.approx(
        [each.recall for each in result.validation.per_class]
    )
    assert found.calibration is not None
    assert found.calibration.before.loss == pytest.approx(result.validation.loss, abs=1e-6)
    assert found.calibration.after is None  # 9 images are too few
    assert found.missing == ""


def test_the_gallery_shows_the_images_of_its_numbers(own: Path, colours: Path) -> None:
    logits = np.eye(3)[[1, 2, 0] * 3] * np.arange(1, 10)[:, None] / 4
    folder = rewritten(own, logits)
    found = inspect_mistakes(own, device="cpu", most=3)
    labels = found.labels
    wrong = [place for place in range(9) if logits[place].argmax() != labels[place]]
    expected = sorted(wrong, key=lambda place: -logits[place].max())[:3]
    assert [case.image for case in found.mistakes] == [f"validation:{place}" for place in expected]
    dataset = cnnlab.open_subject(str(own), device="cpu")
    for case, place in zip(found.mistakes, expected, strict=True):
        assert case.probability == pytest.approx(softmax(logits[place]).max(), rel=1e-6)
        assert case.own == pytest.approx(softmax(logits[place])[labels[place]], rel=1e-6)
        picture = dataset.picture(case.image)
        assert picture.label == labels[place]
        assert np.array_equal(found.images[place], picture.pixels)
        files = [np.asarray(Image.open(file)) for file in (colours / case.true).iterdir()]
        assert any(np.array_equal(found.images[place].transpose(1, 2, 0), file) for file in files)
    assert list(found.plates()) == ["confusion", "gallery", "reliability", "map"]
    assert folder.data().classes[labels[expected[0]]] == found.mistakes[0].true


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(2, 5), st.integers(1, 3))
def test_mistakes_are_ordered_by_probability_then_by_place(seed: int, count: int, kinds: int, limit: int) -> None:
    """Few different logits, so that many probabilities are equal."""
    numbers = np.random.default_rng(seed)
    logits = numbers.integers(0, 3, (count, kinds)).astype(np.float32)
    logits[numbers.random(count) < 0.1] = np.nan
    labels = numbers.integers(0, kinds, count)
    said = Said.of(Predictions(labels, logits))
    places = said.mistakes(10_000, None, None)
    named = np.where(np.isfinite(logits).all(axis=1), logits.argmax(axis=1), -1)
    wrong = [n for n in range(count) if named[n] >= 0 and named[n] != labels[n]]
    sure = softmax(logits.astype(np.float64), axis=1).max(axis=1)
    assert places == sorted(wrong, key=lambda n: (-sure[n], n))
    assert said.count(None) == len(wrong)
    assert said.unsure(4) == sorted((n for n in range(count) if named[n] == labels[n]), key=lambda n: (sure[n], n))[:4]
    few: dict[tuple[int, int], int] = {}
    expected = []
    for n in places:
        pair = (int(labels[n]), int(named[n]))
        few[pair] = few.get(pair, 0) + 1
        expected += [n] if few[pair] <= limit else []
    assert said.mistakes(10_000, None, limit) == expected
    assert said.mistakes(2, None, limit) == expected[:2]
    assert said.mistakes(10_000, (0, 1), None) == [n for n in places if (labels[n], named[n]) == (0, 1)]


def test_logits_that_are_no_numbers_count_as_wrong_and_nothing_breaks(own: Path) -> None:
    folder = RunFolder.open(own)
    labels = folder.predictions("validation").labels  # type: ignore[union-attr]
    logits = np.eye(3)[labels] * 5
    logits[0], logits[1, 2], logits[2] = np.nan, np.inf, -np.inf
    rewritten(own, logits)
    found = inspect_mistakes(own, images=False)
    assert (found.right, found.wrong, found.unnamed) == (6, 3, 3)
    assert found.confusion.sum() == 6
    assert found.calibration is not None
    assert (found.calibration.images, found.calibration.left_out) == (6, 3)
    assert found.mistakes == ()
    assert "3 images got no name" in found.sheet().lines[0]
    assert [each.images for each in found.figures] == np.bincount(labels).tolist()
    rewritten(own, np.full((9, 3), np.nan))
    nothing = inspect_mistakes(own, device="cpu")
    assert (nothing.right, nothing.calibration, nothing.mistakes) == (0, None, ())
    assert list(nothing.plates()) == ["confusion", "map"]
    assert MistakesRecord.from_json(nothing.to_json()) == nothing.record()


def test_equal_logits_have_no_temperature(own: Path) -> None:
    labels = np.arange(30) % 3
    rewritten(own, np.zeros((30, 3)), labels)
    found = inspect_mistakes(own, images=False)
    assert any("No temperature changes anything: the logits" in line for line in found.sheet().lines)


def test_a_perfect_run_has_no_mistakes_to_show(own: Path) -> None:
    labels = RunFolder.open(own).predictions("validation").labels  # type: ignore[union-attr]
    rewritten(own, np.eye(3)[labels] * 5)
    found = inspect_mistakes(own, device="cpu")
    assert (found.mistakes, found.pairs, len(found.unsure)) == ((), (), 6)
    assert list(found.plates()) == ["confusion", "gallery", "reliability", "map"]
    assert "0 mistakes" in found.sheet().lines[0]
    assert all("taken for" not in line for line in found.sheet().lines)


def test_a_look_at_the_test_parts_images_is_one_line_and_its_predictions_are_none(own: Path) -> None:
    before = ledger(own)
    alone = inspect_mistakes(own, "test", images=False)
    assert ledger(own) == before
    assert alone.missing == "they were not asked for"
    looked = inspect_mistakes(own, "test", device="cpu")
    (line,) = ledger(own)[len(before) :]
    assert json.loads(line)["purpose"] == "inspect mistakes"
    assert json.loads(line)["run"] == own.name
    assert looked.images
    assert looked.map is not None
    assert looked.accuracy == alone.accuracy
    for part in ("train", "validation"):
        inspect_mistakes(own, part, device="cpu")
    assert len(ledger(own)) == len(before) + 1


def test_a_shut_test_part_stays_shut(own: Path) -> None:
    folder = RunFolder.open(own)
    result = folder.result()
    assert result is not None
    folder.write("result.json", result.model_copy(update={"test": None}).to_json())
    before = ledger(own)
    with pytest.raises(RunError, match=r"(?s)the test part of this run has not been opened.*cnnlab test"):
        inspect_mistakes(own, "test", device="cpu")
    assert ledger(own) == before


def test_without_its_data_a_run_has_figures_but_no_pictures_of_images(own: Path) -> None:
    text = (own / "recipe.toml").read_text(encoding="utf-8")
    source = RunFolder.open(own).recipe().data.source
    (own / "recipe.toml").write_text(text.replace(source, "/gone/data"), encoding="utf-8")
    said: list[str] = []
    found = inspect_mistakes(own, device="cpu", say=said.append)
    assert found.missing
    assert any(line.startswith("without images: ") for line in said)
    assert list(found.plates()) == ["confusion", "reliability"]
    assert found.record().without_images == found.missing
    assert found.sheet().notes == (f"No gallery and no map: {found.missing}.",)


def test_other_images_than_those_of_the_predictions_are_not_shown(own: Path) -> None:
    folder = RunFolder.open(own)
    predictions = folder.predictions("validation")
    assert predictions is not None
    folder.write_predictions("validation", Predictions(predictions.labels[::-1].copy(), predictions.logits))
    assert inspect_mistakes(own, device="cpu").missing == "the images are not those of the kept predictions"


def test_a_temperature_is_fitted_on_validation_and_judged_elsewhere(own: Path) -> None:
    numbers = np.random.default_rng(0)
    parts = {}
    for part, count in (("validation", 900), ("test", 700)):
        logits = numbers.normal(0, 1.5, (count, 3))
        labels = (softmax(logits, axis=1).cumsum(axis=1) > numbers.random((count, 1))).argmax(axis=1)
        rewritten(own, 2 * logits, labels, part)
        parts[part] = logits, labels
    own_part, other = (inspect_mistakes(own, part, images=False).calibration for part in ("validation", "test"))
    assert own_part is not None
    assert other is not None
    assert own_part.after is not None
    assert other.after is not None
    assert own_part.after.halves is not None
    assert other.after.halves is None
    assert own_part.after.temperature == other.after.temperature
    assert other.after.temperature.value == pytest.approx(2, rel=0.15)
    # By hand: the other part's logits over this temperature.
    logits, labels = parts["test"]
    cooled = softmax(2 * logits / other.after.temperature.value, axis=1)
    assert other.after.sureness.loss == pytest.approx(oracle.log_loss(labels, cooled), rel=1e-5)
    for each in (own_part, other):
        assert each.before.width.beyond_chance
        assert each.after is not None
        assert not each.after.sureness.width.beyond_chance
    found = inspect_mistakes(own, "test", images=False)
    sentence = found.sheet().lines[5]
    assert "fitted on the 900 validation images and judged here" in sentence
    assert "Above 1: on the validation part its probabilities are too sure." in sentence


def test_one_pair_of_classes_is_asked_for(own: Path) -> None:
    rewritten(own, np.eye(3)[[1] * 9])
    found = inspect_mistakes(own, device="cpu", pair="blue:green")
    assert {(case.true, case.predicted) for case in found.mistakes} == {("blue", "green")}
    assert found.of_pair == len(found.mistakes) == (found.labels == 0).sum()
    assert inspect_mistakes(own, pair=("green", "red"), images=False).mistakes == ()


def test_a_colon_within_a_name_is_understood(own: Path) -> None:
    renamed(own, ("a:b", "c", "a"))
    rewritten(own, np.eye(3)[[1] * 9])
    assert inspect_mistakes(own, pair="a:b:c", images=False).pair == ("a:b", "c")


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("cat", r"(?s)this takes two classes.*TRUE:PREDICTED"),
        ("gren:red", r"(?s)no such class.*gren.*blue, green, red.*did you mean 'green'"),
    ],
)
def test_a_pair_that_is_none_is_told(kept: Path, pair: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        inspect_mistakes(kept, pair=pair, images=False)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"most": 0}, "--most: nothing would be shown"),
        ({"most": 257}, r"(?s)--most: these are too many to be shown.*257.*1 to 256"),
        ({"per_pair": 0}, "--per-pair: this is no number of mistakes"),
    ],
)
def test_numbers_out_of_range_are_told(kept: Path, given: dict[str, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        inspect_mistakes(kept, images=False, **given)


@pytest.mark.parametrize("what", ["recipe", "resnet18"])
def test_only_a_run_has_mistakes(what: str, recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    if what == "recipe":
        path = tmp_path / "tiny.toml"
        path.write_text(recipe().to_toml(), encoding="utf-8")
        what = str(path)
    with pytest.raises(UsageError, match=r"(?s)mistakes are those of a trained network.*the folder of a run.*train it"):
        inspect_mistakes(what)


def test_a_part_without_predictions_is_told(own: Path) -> None:
    (own / "predictions-validation.npz").unlink()
    with pytest.raises(UsageError, match=r"(?s)no predictions of a validation part.*test, train.*--part"):
        inspect_mistakes(own)
    with pytest.raises(UsageError, match=r"(?s)there is no such part.*dev.*train, validation, test"):
        inspect_mistakes(own, "dev")
    (own / "result.json").unlink()
    with pytest.raises(RunError, match=r"(?s)this run has not finished.*--resume"):
        inspect_mistakes(own)


@pytest.mark.parametrize("shape", [(9, 4), (8, 3), (9,)])
def test_predictions_of_another_shape_are_told(own: Path, shape: tuple[int, ...]) -> None:
    rewritten(own, np.zeros(shape))
    with pytest.raises(RunError, match=r"predictions-validation\.npz: these predictions do not fit this run's classes"):
        inspect_mistakes(own, images=False)


def test_the_network_is_not_touched(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cnnlab.probe.mistakes import inspecting as mistakes

    opened = []

    def noted(*args: object, **options: object) -> object:
        subject = cnnlab.open_subject(*args, **options)  # type: ignore[arg-type]
        subject.network.train()
        before = {name: tensor.clone() for name, tensor in subject.network.state_dict().items()}
        opened.append((subject.network, before))
        return subject

    monkeypatch.setattr(mistakes, "open_subject", noted)
    inspect_mistakes(kept, device="cpu")
    ((network, before),) = opened
    assert all(module.training for module in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(weight.requires_grad and weight.grad is None for weight in network.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("kinds", [2, 8, 30, 100])
def test_any_number_of_classes_and_any_names_are_drawn(own: Path, kinds: int) -> None:
    """Every third class has no image."""
    names = tuple(f"{HOSTILE[k % len(HOSTILE)]}{k}" for k in range(kinds))
    renamed(own, names)
    numbers = np.random.default_rng(kinds)
    labels = numbers.choice([k for k in range(kinds) if k % 3 != 2], 300)
    rewritten(own, numbers.normal(0, 2, (300, kinds)) + 2 * np.eye(kinds)[labels], labels)
    found = inspect_mistakes(own, images=False)
    assert len(found.figures) == kinds
    assert all(each.recall is None for each in found.figures[2::3])
    sheet = found.sheet()
    assert len(sheet.tables[0][1].rows) == min(kinds, 20)
    assert "<img" not in sheet.to_html()
    for equal_mass in (False, True):
        for name, plate in found.plates(equal_mass=equal_mass).items():
            svg = to_svg(plate.figure, name, plate.description, alone=True)
            assert "<img" not in svg
            assert "x" * 60 not in svg
    assert MistakesRecord.from_json(found.to_json()) == found.record()


@pytest.mark.parametrize("equal_mass", [False, True])
def test_the_histogram_of_the_reliability_diagram_has_an_axis(own: Path, equal_mass: bool) -> None:
    found = inspect_mistakes(own, device="cpu", images=False)
    figure = found.plates(equal_mass=equal_mass)["reliability"].figure
    below = next(axes for axes in figure.axes if axes.get_xlabel() == "probability of the named class")
    assert below.get_ylabel() == ("density" if equal_mass else "images")
    bars = [bar for bar in below.patches if isinstance(bar, Rectangle)]
    # As many images as there are, or an area of 1.
    whole = sum(bar.get_height() * (bar.get_width() if equal_mass else 1) for bar in bars)
    assert whole == pytest.approx(1 if equal_mass else 9)
    assert len(below.get_yticks()) >= 2
