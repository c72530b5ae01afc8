"""Claims of recipes, runs and studies, judged by rule (e)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import cnnlab
from cnnlab.api.verify import verify
from cnnlab.config.recipe import Recipe
from cnnlab.context import RunContext
from cnnlab.errors import RunError, SpecError, UsageError
from cnnlab.records import ClaimRecord
from cnnlab.reports.verification.result import ClaimVerification, VerifiedRuns
from cnnlab.runs.index.same_data import is_same_source
from cnnlab.runs.run import run
from cnnlab.runs.verify.recompute import Checks
from cnnlab.runs.verify.result import RunVerification
from cnnlab.storage.run_folder import RunFolder
from cnnlab.studies.result import StudyResult

LOSSES = (0.50, 0.52, 0.51, 0.53, 0.49, 0.52)
CLOSE = {"smallest_difference": 0.1}


@pytest.fixture(scope="module")
def finished(recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A real run, to be read only."""
    made = recipe(("flatten", "dense(classes)"), epochs=2, stop="early(patience=9)")
    return run(made, RunContext(runs=tmp_path_factory.mktemp("verified"), device="cpu"), name="net")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def another(finished: RunFolder, folder: Path) -> Callable[..., RunFolder]:
    """Makes a run in `folder`: the finished one with some of the recipe's values and of the results changed."""

    def make(
        seed: int = 0, name: str = "net", loss: float | None = None, recipe: Any = (), data: Any = (), **result: Any
    ) -> RunFolder:
        made = RunFolder(folder / f"20260101-{len(list(folder.glob('*'))):06d}-{name}")
        made.path.mkdir(parents=True)
        for file in ("environment.json", "precision.json", "layers.json"):
            made.write(file, (finished.path / file).read_text())
        made.write("data.json", finished.data().model_copy(update=dict(data)).to_json())
        tables = finished.recipe().to_tables()
        for key, value in {"train.seed": seed, **dict(recipe)}.items():
            section, _, last = key.partition(".")
            tables[section][last] = value
        made.write("recipe.toml", Recipe.from_tables(tables).to_toml())
        if loss is not None:
            result["validation"] = finished.result().validation.model_copy(update={"loss": loss})
        made.write("result.json", finished.result().model_copy(update=result).to_json())
        return made

    return make


@pytest.fixture
def recipe_file(finished: RunFolder, tmp_path: Path) -> Callable[..., Path]:
    """Writes the recipe with claims; losses are reproduced within a tenth."""

    def write(**claims: Any) -> Path:
        path = tmp_path / "net.toml"
        if "validation_loss" in claims:
            loss = claims["validation_loss"]
            claims["validation_loss"] = CLOSE | (loss if isinstance(loss, dict) else {"published": loss})
        tables = finished.recipe().to_tables() | {"claims": claims}
        Recipe.from_tables(tables).write(path)
        return path

    return write


def only(found: ClaimVerification) -> ClaimRecord:
    (claim,) = found.claims
    return claim


def test_a_figure_is_reproduced_within_the_prediction_interval_of_all_runs(
    another: Callable[..., RunFolder], recipe_file: Callable[..., Path], folder: Path
) -> None:
    for seed, loss in enumerate(LOSSES):
        another(seed, loss=loss)
    mean, sd, n = np.mean(LOSSES), np.std(LOSSES, ddof=1), len(LOSSES)
    half = stats.t.ppf(0.975, n - 1) * sd * np.sqrt(1 + 1 / n)
    for published, verdict in ((mean + 0.99 * half, "reproduced"), (mean + 1.01 * half, "differs")):
        claim = only(verify(recipe_file(validation_loss=published), runs=folder))
        assert (claim.low, claim.high) == pytest.approx((mean - half, mean + half))
        assert (claim.verdict, claim.n, claim.seeds) == (verdict, 6, tuple(range(6)))
        assert claim.difference == pytest.approx(mean - published)
    assert claim.reason == f"ours is {published - mean:.4f} lower"
    inside = {"published": mean, "smallest_difference": 0.9 * half}
    wide = only(verify(recipe_file(validation_loss=inside), runs=folder))
    assert wide.verdict == "not enough evidence"
    told = f"one more run would lie within ±{half:.4f}, too wide to show it to be reproduced within ±{0.9 * half:g}"
    assert wide.reason == told


def test_fewer_than_five_seeds_are_not_enough_and_a_seed_counts_once(
    another: Callable[..., RunFolder], recipe_file: Callable[..., Path], folder: Path
) -> None:
    for seed in (0, 1, 2, 3, 3):
        another(seed, loss=LOSSES[seed])
    claim = only(verify(recipe_file(validation_loss=9.0), runs=folder))
    assert (claim.verdict, claim.n) == ("not enough evidence", 4)
    assert claim.reason.startswith("4 runs of 5; ours is ")


def test_counts_must_be_equal(
    another: Callable[..., RunFolder], recipe_file: Callable[..., Path], folder: Path, finished: RunFolder
) -> None:
    another()
    real = finished.result().parameters
    assert only(verify(recipe_file(parameters=real), runs=folder)).verdict == "equal"
    claim = only(verify(recipe_file(parameters=real + 1000), runs=folder))
    assert (claim.verdict, claim.reason) == ("not equal", "ours is 1,000 lower")


def test_other_data_is_compared_and_not_judged(
    another: Callable[..., RunFolder], recipe_file: Callable[..., Path], folder: Path
) -> None:
    for seed, loss in enumerate(LOSSES):
        another(seed, loss=loss)
    claim = only(verify(recipe_file(validation_loss={"published": 9.0, "data": "cifar10"}), runs=folder))
    assert (claim.verdict, claim.measured) == ("other data", pytest.approx(np.mean(LOSSES)))
    assert claim.reason == "published for cifar10, measured on colours"


def on(source: str, test_set: str, content: str = "") -> dict[str, Any]:
    """A run's data, as its recipe and its records tell of it."""
    return {"recipe": {"data.source": source}, "data": {"source": source, "test_set": test_set, "content": content}}


def test_a_claim_without_data_speaks_of_the_data_of_its_recipe(
    another: Callable[..., RunFolder], recipe_file: Callable[..., Path], folder: Path, finished: RunFolder
) -> None:
    for seed, loss in enumerate(LOSSES):
        another(seed, loss=loss, **on("/elsewhere/dogs", "d" * 24))
    real = finished.result().parameters
    loss, count = verify(recipe_file(validation_loss=0.51, parameters=real), runs=folder).claims
    assert (loss.verdict, loss.n, loss.measured) == ("other data", 6, pytest.approx(np.mean(LOSSES)))
    assert loss.reason == "published for colours, measured on dogs"
    # As many weights are as many, whatever the images are.
    assert count.verdict == "equal"
    assert verify(recipe_file(parameters=real + 1), runs=folder).claims[0].verdict == "other data"
    named = {"published": 0.51, "data": "dogs"}
    assert only(verify(recipe_file(validation_loss=named), runs=folder)).verdict == "reproduced"


def test_runs_on_other_data_stand_apart_from_those_on_the_recipes_own(
    another: Callable[..., RunFolder], recipe_file: Callable[..., Path], folder: Path
) -> None:
    for seed, loss in enumerate(LOSSES):
        another(seed, loss=loss)
        another(seed, loss=9.0, **on("/elsewhere/colours", "d" * 24))
    found = sorted(verify(recipe_file(validation_loss=0.51), runs=folder).claims, key=lambda claim: claim.measured)
    assert [(claim.verdict, claim.n) for claim in found] == [("reproduced", 6), ("other data", 6)]
    assert found[1].reason == "measured on other images than those of the recipe's colours"


@pytest.mark.parametrize(("test_set", "content"), [("t" * 24, ""), ("", "c" * 64)])
def test_a_copy_and_an_archive_of_the_same_images_are_the_same_data(
    another: Callable[..., RunFolder], recipe_file: Callable[..., Path], folder: Path, finished: RunFolder,
    test_set: str, content: str,
) -> None:  # fmt: skip
    for seed, loss in enumerate(LOSSES):
        source = finished.recipe().data.source if seed < 2 else "/elsewhere/packed.zip"
        another(seed, loss=loss, **on(source, test_set, content))
    claim = only(verify(recipe_file(validation_loss=0.51), runs=folder))
    assert (claim.verdict, claim.n) == ("reproduced", 6)
    named = {"published": 0.51, "data": "colours"}
    assert only(verify(recipe_file(validation_loss=named), runs=folder)).verdict == "reproduced"


@pytest.mark.parametrize(
    ("own", "named", "images", "verdicts"),
    [
        # A path that ends alike is the recipe's data, unless its images are known to be others.
        ("imgs", "/B/imgs", ("t", "t"), ["reproduced"]),
        ("imgs", "/B/imgs", ("t", "d"), ["other data", "reproduced"]),
        ("imgs", "/B/imgs", ("", ""), ["reproduced"]),
        # Older runs, of data that nothing but its path tells apart.
        ("/A/imgs", "/B/imgs", ("", ""), ["other data", "reproduced"]),
    ],
)
def test_data_of_one_name(
    another: Callable[..., RunFolder], recipe_file: Callable[..., Path], folder: Path,
    own: str, named: str, images: tuple[str, str], verdicts: list[str],
) -> None:  # fmt: skip
    file = recipe_file(validation_loss=0.51)
    tables = Recipe.read(file).to_tables()
    tables["data"]["source"] = own
    Recipe.from_tables(tables).write(file)
    for seed, loss in enumerate(LOSSES):
        another(seed, loss=loss, **on(own, images[0]))
        another(seed + 10, loss=loss, **on(named, images[1]))
    found = verify(file, runs=folder).claims
    assert sorted(claim.verdict for claim in found) == verdicts
    assert [claim.n for claim in found] == [12 // len(verdicts)] * len(verdicts)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("imgs", "imgs", True),
        ("imgs", "/A/imgs", True),
        ("./data/imgs/", "/home/me/data/imgs", True),
        ("../imgs", "C:\\data\\imgs", True),
        ("/A/imgs", "/B/imgs", False),
        ("imgs", "imgs.zip", False),
        ("gs", "/A/imgs", False),
        ("cifar10", "cifar10", True),
        ("cifar10", "/A/cifar10", False),
        ("/", "/A", False),
    ],
)
def test_a_path_is_the_same_data_where_it_ends_alike(one: str, other: str, same: bool) -> None:
    assert is_same_source(one, other) is is_same_source(other, one) is same


@pytest.mark.parametrize(
    ("changed", "result", "reason"),
    [
        ({"train.epochs": 1}, {"epochs": 1.0}, "1 of 2 epochs"),
        ({"data.limit": 20}, {}, "only 27 training images"),
        ({"train.budget": "images(30)"}, {"epochs": 1.25}, "1.25 of 2 epochs"),
    ],
)
def test_runs_that_were_cut_short_are_not_judged(
    another: Callable[..., RunFolder], recipe_file: Callable[..., Path], folder: Path, changed: Any, result: Any,
    reason: str,
) -> None:  # fmt: skip
    for seed, loss in enumerate(LOSSES):
        another(seed, loss=loss, recipe=changed, **result)
    claim = only(verify(recipe_file(validation_loss=9.0), runs=folder))
    assert (claim.verdict, claim.reason, claim.n) == ("shortened", reason, 6)


def test_a_run_that_its_recipe_stopped_early_is_not_shortened(
    another: Callable[..., RunFolder], recipe_file: Callable[..., Path], folder: Path
) -> None:
    for seed, loss in enumerate(LOSSES):
        another(seed, loss=loss, epochs=1.0, status="stopped early")
    assert only(verify(recipe_file(validation_loss=9.0), runs=folder)).verdict == "differs"


def test_runs_with_other_settings_and_unfinished_ones_are_left_out_aloud(
    another: Callable[..., RunFolder], recipe_file: Callable[..., Path], folder: Path
) -> None:
    for seed, loss in enumerate(LOSSES):
        another(seed, loss=loss)
    faster = another(7, loss=9.0, recipe={"train.optimizer": "sgd(0.5)"})
    longer = another(8, loss=9.0, recipe={"train.epochs": 3})
    other = another(9, loss=9.0, recipe={"model.layers": ["flatten", "dense(5)", "dense(classes)"]})
    broken = another(10, train=None, validation=None, test=None, status="diverged")
    unfinished = another(11)
    (unfinished.path / "result.json").unlink()
    found = verify(recipe_file(validation_loss=0.51), runs=folder)
    assert only(found).n == 6
    assert f"Left out: {faster.name} (other settings: train.optimizer=sgd(0.5))." in found.notes
    assert f"Left out: {longer.name} (other settings: train.epochs=3)." in found.notes
    assert f"Left out: {broken.name} (diverged)." in found.notes
    assert f"Left out: {unfinished.name} (unfinished)." in found.notes
    assert not any(other.name in note for note in found.notes)


def test_without_a_run_nothing_is_measured(recipe_file: Callable[..., Path], folder: Path) -> None:
    file = recipe_file(validation_loss=0.51, parameters=5)
    found = verify(file, runs=folder)
    assert [(claim.verdict, claim.n, claim.measured) for claim in found.claims] == [("not measured", 0, None)] * 2
    assert found.notes == (f"No finished run of this recipe is in {folder}: cnnlab train {file}",)
    assert verify(recipe_file(), runs=folder).document().lines == ("Nothing is claimed.",)


def test_runs_are_judged_by_the_claims_that_they_hold(another: Callable[..., RunFolder], folder: Path) -> None:
    made = [another(seed, name=f"net-{seed + 2}", loss=loss) for seed, loss in enumerate(LOSSES)]
    for one in made:
        tables = one.recipe().to_tables() | {"claims": {"validation_loss": {"published": 0.51, **CLOSE}}}
        one.write("recipe.toml", Recipe.from_tables(tables).to_toml())
    claim = only(verify([one.path for one in made]))
    assert (claim.verdict, claim.n) == ("reproduced", 6)
    assert only(verify(folder)) == claim
    assert only(verify(made[0].path)).verdict == "not enough evidence"
    quiet = another(0, name="quiet")
    assert verify(quiet.path).notes == ("Nothing is claimed by the recipe of quiet.",)


def _study_result(**fields: Any) -> StudyResult:
    blank = {
        "study": "drop", "question": "", "metric": "validation_accuracy", "higher_is_better": True,
        "smallest_difference": 0.01, "alpha": 0.05, "data": "colours", "images": 9, "baseline": None, "arms": (),
        "ablation": None, "curve": None, "trials": 2, "precision": "fp32", "memory_format": "contiguous",
        "device": "cpu", "seconds": 1.0, "complete": True,
    }  # fmt: skip
    return StudyResult(**{**blank, **fields})


def test_a_studys_folder_says_what_its_result_says(folder: Path) -> None:
    number = ClaimRecord(of="flip", name="test_accuracy", published=0.7, measured=0.74, n=6, verdict="differs")
    word = ClaimRecord(
        of="flip", name="validation_accuracy", than="plain", published="better", measured=0.01, n=6, verdict="holds"
    )
    result = _study_result(claims=(number, word), complete=False)
    place = folder / "studies" / "drop"
    place.mkdir(parents=True)
    (place / "result.json").write_text(result.to_json())
    (place / "study.toml").write_text("")
    found = verify(place)
    assert found.claims == (number, word)
    assert "The study is not complete" in found.notes[0]
    sheet = found.document().to_markdown()
    assert "2 claims: 1 differs, 1 holds." in sheet
    assert "| flip | validation accuracy | better than plain | +0.0100 |" in sheet


def test_a_result_of_an_earlier_version_has_its_claims() -> None:
    number = {"name": "test_accuracy", "published": 0.7, "measured": 0.74, "low": 0.72, "high": 0.76, "n": 6}
    word = {"arm": "flip", "than": "plain", "published": "better", "reason": "better: +1 point", "source": "a paper"}
    under = {"arm": "plain", "shift": "inverted", "published": "0.35", "reason": "0.400", "note": "one run"}
    blank = json.loads(_study_result().to_json())
    for words, shifts, verdict in (("ordinal_claims", "shift_claims", "verdict"), ("sayings", "under", "answer")):
        old = {
            "claims": [{"arm": "flip", "claim": {**number, "verdict": "differs"}}],
            words: [{**word, verdict: "holds"}],
            shifts: [{**under, verdict: "not enough evidence"}],
        }
        first, second, third = StudyResult.from_json(json.dumps(blank | old)).claims
        assert (first.of, first.published, first.difference) == ("flip", 0.7, pytest.approx(0.04))
        assert (second.name, second.published, second.than, second.verdict) == (
            *("validation_accuracy", "better", "plain", "holds"),
        )
        assert (third.shift, third.published, third.verdict) == ("inverted", 0.35, "not enough evidence")


def test_what_can_not_be_verified(recipe_file: Callable[..., Path], folder: Path, tmp_path: Path) -> None:
    file = recipe_file()
    with pytest.raises(UsageError, match="one recipe or study at a time"):
        verify([file, file])
    with pytest.raises(RunError, match="there is no run here"):
        verify(tmp_path / "nowhere")
    (tmp_path / "torn.toml").write_text("[data\n")
    with pytest.raises(SpecError, match=r"torn\.toml"):
        verify(tmp_path / "torn.toml")
    study = tmp_path / "drop.toml"
    study.write_text("[arms]\nplain = {}\n")
    with pytest.raises(RunError, match="there is no result of cnnlab study here"):
        verify(study, runs=folder)


def test_claims_come_in_every_form(
    another: Callable[..., RunFolder], recipe_file: Callable[..., Path], folder: Path
) -> None:
    another(loss=0.5)
    found = cnnlab.verify(recipe_file(validation_loss={"published": 0.4, "source": "table 9"}), runs=folder)
    assert ClaimVerification.from_json(found.to_json()) == found
    for text in (found.document().to_markdown(), found.document().to_latex(), found._repr_html_()):
        assert "table 9" in text
        assert "not enough evidence" in text


def test_recalculated_runs_on_a_sheet() -> None:
    checks = Checks()
    checks.equal("parameters", 5, 5, "never told")
    checks.close("test loss", 0.5, float("nan"), 0.1, "no number")
    checks.close("train loss", float("nan"), float("nan"), 0.1, "never told")
    wrong = RunVerification(run="a", figures=tuple(checks.figures), notes=("same", "a alone"))
    right = RunVerification(run="b", figures=tuple(checks.figures[:1]), notes=("same",))
    found = VerifiedRuns(runs=(wrong, right))
    text = found.document().to_markdown()
    assert "2 runs recomputed: 3 of 4 figures hold." in text
    assert "| test loss | 0.5 | nan | no | no number |" in text
    assert "never told" not in text
    assert found.document().notes == ("same", "a: a alone")
