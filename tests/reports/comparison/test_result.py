"""Runs compared: real tiny runs, whose figures are given to scipy as they stand in the folders."""

from __future__ import annotations

import inspect
import os
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import cnnlab
from cnnlab import RunError, RunFolder, UsageError
from cnnlab.api.compare import compare
from cnnlab.api.shift import shift
from cnnlab.config.recipe import Recipe
from cnnlab.config.search import Search
from cnnlab.config.study import Study
from cnnlab.reports.comparison.result import ComparedRuns
from cnnlab.stats.comparison import Comparison
from cnnlab.stats.defaults import SMALLEST_DIFFERENCE
from cnnlab.stats.welch import nominal_level
from cnnlab.storage.test_ledger import LEDGER

PLAIN = ("conv(4, 3, padding=1)", "relu", "maxpool(2)", "flatten", "dense(classes)")
RATES = {"slow": 0.001, "middle": 0.003, "fast": 0.02}


@pytest.fixture(scope="module")
def made(
    recipe: Callable[..., Recipe], trained: Callable[..., RunFolder], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[RunFolder]]:
    """Three recipes by six seeds each, all on one split, in one runs folder; to be read only."""
    runs = tmp_path_factory.mktemp("runs")
    found = dict[str, list[RunFolder]]()
    for name, rate in RATES.items():
        for seed in range(6):
            one = trained(recipe(PLAIN, epochs=1, optimizer=f"sgd({rate})", seed=seed, split_seed=0), name)
            copy = shutil.copytree(one.path, runs / f"20260101-{seed:06}-{name}")
            found.setdefault(name, []).append(RunFolder(copy))
            with (runs / LEDGER).open("a", encoding="utf-8") as ledger:
                ledger.write((one.path.parent / LEDGER).read_text(encoding="utf-8"))
    return found


@pytest.fixture
def own(made: dict[str, list[RunFolder]], tmp_path: Path) -> dict[str, list[RunFolder]]:
    """Copies of those runs, to be changed; files are replaced, never written into, so that links will do."""
    copied = shutil.copytree(made["slow"][0].path.parent, tmp_path / "runs", copy_function=os.link)
    return {name: [RunFolder(copied / one.name) for one in runs] for name, runs in made.items()}


def paths(*groups: list[RunFolder]) -> list[Path]:
    return [folder.path for group in groups for folder in group]


def changed(folder: RunFolder, **result: object) -> None:
    folder.write("result.json", folder.result().model_copy(update=result).to_json())


def rewritten(folder: RunFolder, key: str, value: object) -> None:
    """The run's recipe with another value."""
    tables = folder.recipe().to_tables()
    section, _, last = key.partition(".")
    tables[section][last] = value
    folder.write("recipe.toml", Recipe.from_tables(tables).to_toml())


def test_one_smallest_difference_is_the_default_of_all_comparisons(made: dict[str, list[RunFolder]]) -> None:
    of_shift = inspect.signature(shift).parameters["smallest_difference"].default
    base = made["fast"][0].recipe()
    study = Study(base=base, arms={"plain": {}, "few": {"train.batch_size": 4}})
    search = Search(base=base, search={"train.batch_size": "choice(4, 8)"})
    of_files = {study.smallest_difference, search.smallest_difference}
    of_compare = compare(paths(made["fast"], made["slow"])).delta
    assert {of_compare, of_shift} | of_files == {SMALLEST_DIFFERENCE}


def test_a_loss_has_no_smallest_difference_that_nobody_gave(made: dict[str, list[RunFolder]]) -> None:
    found = compare(paths(made["fast"], made["slow"]), metric="validation_loss")
    one = found.comparisons[0]
    assert (found.delta, one.delta, one.p_equal, one.equal_low, one.needed) == (None, None, None, None, None)
    assert one.verdict == "better"
    assert "Smallest difference of interest: not given" in found.document().to_markdown()
    assert found.svg()
    several = compare(paths(*made.values()), metric="validation_loss")
    assert {each.p_equal_adjusted for each in several.comparisons} == {None}
    assert several.svg()
    arms = {"plain": {}, "few": {"train.batch_size": 4}}
    study = Study(base=made["fast"][0].recipe(), arms=arms, metric="validation_loss")
    assert study.smallest_difference is None


def test_two_groups_are_compared_by_welch_over_their_seeds(made: dict[str, list[RunFolder]]) -> None:
    found = compare(paths(made["fast"], made["slow"]), metric="validation_loss", delta=0.001)
    fast, slow = ([each.result().validation.loss for each in made[name]] for name in ("fast", "slow"))
    truth = stats.ttest_ind(fast, slow, equal_var=False)
    interval = truth.confidence_interval(0.95)
    assert [group.name for group in found.groups] == ["fast", "slow"]
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.difference == pytest.approx(np.mean(fast) - np.mean(slow))
    assert found.comparisons[0].p == pytest.approx(truth.pvalue)
    # A lower loss is better.
    assert truth.pvalue < 0.05
    assert found.verdict == ("better" if found.difference < 0 else "worse")
    assert (found.ablation.comparisons, found.mcnemar, found.looks) == (found.comparisons, None, None)


def test_the_other_way_round_only_the_sign_differs(made: dict[str, list[RunFolder]]) -> None:
    there = compare(paths(made["fast"], made["slow"]), metric="train_accuracy", delta=0.01)
    back = compare(paths(made["slow"], made["fast"]), metric="train_accuracy", delta=0.01)
    assert (back.difference, back.low, back.high) == pytest.approx((-there.difference, -there.high, -there.low))
    named = compare(paths(made["slow"], made["fast"]), metric="train_accuracy", delta=0.01, baseline="slow")
    assert (named.difference, named.baseline) == (there.difference, "slow")


def test_three_groups_are_held_against_the_first_together(made: dict[str, list[RunFolder]]) -> None:
    found = compare(paths(*made.values()), metric="validation_loss", delta=0.001)
    assert (found.baseline, [each.a for each in found.comparisons]) == ("slow", ["middle", "fast"])
    assert (found.verdict, found.difference, found.low, found.high) == (None, None, None, None)
    values = {name: [each.result().validation.loss for each in runs] for name, runs in made.items()}
    for each in found.comparisons:
        level = 1 - nominal_level(0.05 / 2, each.n_a, each.n_b)
        truth = stats.ttest_ind(values[each.a], values["slow"], equal_var=False).confidence_interval(level)
        assert (each.low, each.high) == pytest.approx((truth.low, truth.high))
    by_run = compare(paths(*made.values()), metric="validation_loss", delta=0.001, baseline=str(made["middle"][3].path))
    assert (by_run.baseline, [each.a for each in by_run.comparisons]) == ("middle", ["slow", "fast"])
    assert found.ablation.comparisons == found.comparisons


def assert_wider(found: Comparison) -> None:
    rounding = 1e-12
    low, high = found.new_images
    assert low - rounding <= found.low < found.high <= high + rounding


def test_an_accuracy_has_a_wider_interval_for_new_images(made: dict[str, list[RunFolder]]) -> None:
    found = compare(paths(made["fast"], made["slow"]), delta=0.01).comparisons[0]
    assert_wider(found)
    for each in compare(paths(*made.values()), delta=0.01).comparisons:  # at the level of the family
        assert_wider(each)
    losses = compare(paths(made["fast"], made["slow"]), delta=0.01, metric="validation_loss")
    assert losses.comparisons[0].new_images is None


def test_one_run_a_side_gives_no_verdict_but_mcnemars_test_of_the_two_models(made: dict[str, list[RunFolder]]) -> None:
    a, b = made["fast"][0], made["slow"][0]
    found = compare([a.path, b.path])
    right = [each.predictions("validation") for each in (a, b)]
    first, second = (one.labels == one.logits.argmax(axis=1) for one in right)
    only_a, only_b = int((first & ~second).sum()), int((second & ~first).sum())
    assert (found.mcnemar.only_a, found.mcnemar.only_b, found.mcnemar.images) == (only_a, only_b, len(first))
    exact = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert found.mcnemar.p == pytest.approx(exact)
    assert (found.verdict, found.low) == ("no verdict", None)
    assert "The two trained models on the same images; not their recipes" in found.document().to_markdown()
    assert "no verdict, by " in found.document().lines[0]


def test_two_seeds_of_one_recipe_are_two_models(made: dict[str, list[RunFolder]]) -> None:
    first, second = made["fast"][:2]
    found = compare([first.path, second.path])
    assert [group.name for group in found.groups] == [first.name, second.name]
    assert found.verdict == "no verdict"
    assert found.mcnemar is not None


def test_images_of_different_splits_are_never_set_side_by_side(own: dict[str, list[RunFolder]]) -> None:
    for folder in (own["slow"][0], own["slow"][1]):
        folder.write("data.json", folder.data().model_copy(update={"split_hash": "another"}).to_json())
    found = compare(paths(own["fast"], own["slow"]), delta=0.01)
    assert found.comparisons[0].new_images is None
    assert any("their validation images are not the same" in note for note in found.notes)
    pair = compare([own["fast"][0].path, own["slow"][0].path])
    assert pair.mcnemar is None
    assert "the two models can't be compared: their validation images" in pair.document().to_markdown()
    # The test images are the same whatever the split of the rest.
    tested = compare([own["fast"][0].path, own["slow"][0].path], metric="test_accuracy")
    assert tested.mcnemar.images == 12


def test_runs_without_predictions_are_not_compared_image_by_image(own: dict[str, list[RunFolder]]) -> None:
    folder = own["slow"][2]
    (folder.path / "predictions-validation.npz").unlink()
    found = compare(paths(own["fast"], own["slow"]), delta=0.01)
    assert found.comparisons[0].new_images is None
    assert any(f"{folder.name} has no predictions of its validation images" in note for note in found.notes)


def test_a_diverged_run_is_counted_as_a_failure(own: dict[str, list[RunFolder]]) -> None:
    changed(own["slow"][5], train=None, validation=None, test=None, status="diverged")
    found = compare(paths(own["fast"], own["slow"]), delta=0.01)
    slow = found.groups[1]
    assert (slow.n, slow.failures, slow.runs[5].value) == (5, 1, None)
    assert found.comparisons[0].failures_b == 1
    assert found.comparisons[0].new_images is not None
    assert "diverged" in found.document().to_markdown()
    assert "1 of 6 failed" in found.svg()


def test_an_unfinished_run_and_one_given_twice_are_told(own: dict[str, list[RunFolder]]) -> None:
    (own["slow"][5].path / "result.json").unlink()
    again = own["fast"][0].path.parent / "." / own["fast"][0].name
    found = compare([*paths(own["fast"], own["slow"]), again], delta=0.01)
    assert [group.n for group in found.groups] == [6, 5]
    assert f"Given twice, and counted once: {own['fast'][0].name}." in found.notes
    assert f"Left out: {own['slow'][5].name} (unfinished)." in found.notes


def test_of_a_seed_that_was_run_again_the_last_counts(own: dict[str, list[RunFolder]]) -> None:
    rewritten(own["slow"][5], "train.seed", 2)
    found = compare(paths(own["fast"], own["slow"]), metric="validation_loss", delta=0.01)
    slow = found.groups[1]
    assert [run.seed for run in slow.runs] == [0, 1, 2, 3, 4]
    assert slow.runs[2].run == own["slow"][5].name
    assert "Run more than once for slow, of which the last given counts: seed 2." in found.notes


def test_other_epochs_code_precision_and_device_are_told(own: dict[str, list[RunFolder]]) -> None:
    for folder in own["slow"]:
        rewritten(folder, "train.epochs", 3)
        folder.write("precision.json", folder.precision_config().model_copy(update={"precision": "bf16"}).to_json())
    one = own["fast"][0]
    machine = {"code": "other", "device": "cuda: x", "torch": "1.0", "threads": 7}
    one.write("environment.json", one.environment().model_copy(update=machine).to_json())
    two = own["slow"][0]
    two.write("environment.json", two.environment().model_copy(update={"processes": 2}).to_json())
    notes = "\n".join(compare(paths(own["fast"], own["slow"]), delta=0.01).notes)
    assert "different numbers of epochs, which may be the difference: fast: 1; slow: 3." in notes
    assert "different code of cnnlab, which may be the difference: fast: other, " in notes
    assert "computed in different ways, which may be the difference: fast: fp32" in notes
    assert "slow: bf16" in notes
    assert "on different devices, which may be the difference: fast: cuda: x, " in notes
    assert "by different versions of torch, which may be the difference: fast: 1.0, " in notes
    assert "different numbers of threads, which may be the difference: fast: 7 threads, 1 thread; slow: 2 proc" in notes
    assert (
        compare(paths(own["fast"], own["middle"][:5]), metric="train_loss").notes[0].startswith("The runs were made by")
    )


def test_equal_groups_need_no_note(made: dict[str, list[RunFolder]]) -> None:
    assert compare(paths(made["fast"], made["slow"]), metric="validation_loss").notes == ()


def test_runs_of_different_data_are_refused(own: dict[str, list[RunFolder]]) -> None:
    for folder in own["slow"]:
        folder.write("data.json", folder.data().model_copy(update={"test_set": "elsewhere"}).to_json())
    with pytest.raises(UsageError) as caught:
        compare(paths(own["fast"], own["slow"]))
    assert "these runs are of different data" in str(caught.value)
    assert f"{own['slow'][0].name}: colours, 3 classes, 48 images, test set elsewhere" in str(caught.value)


def test_a_copy_of_the_data_elsewhere_is_the_same_data(own: dict[str, list[RunFolder]]) -> None:
    for folder in own["slow"]:
        rewritten(folder, "data.source", "/elsewhere/pictures.zip")
        folder.write("data.json", folder.data().model_copy(update={"source": "/elsewhere/pictures.zip"}).to_json())
    assert len(compare(paths(own["fast"], own["slow"])).groups) == 2


def without_a_test_part(folder: RunFolder, source: str, **data: str) -> None:
    """The run as of data that has no test images."""
    rewritten(folder, "data.test", 0.0)
    rewritten(folder, "data.source", source)
    splits = {split: count for split, count in folder.data().splits.items() if split != "test"}
    changes = {"source": source, "test_set": "", "splits": splits, **data}
    folder.write("data.json", folder.data().model_copy(update=changes).to_json())
    changed(folder, test=None)


def test_folders_of_one_name_without_test_images_are_other_data(own: dict[str, list[RunFolder]]) -> None:
    a, b = own["fast"][0], own["slow"][0]
    without_a_test_part(a, "/A/imgs", content="a" * 64)
    without_a_test_part(b, "/B/imgs", content="b" * 64)
    with pytest.raises(UsageError) as caught:
        compare([a.path, b.path])
    assert "these runs are of different data" in str(caught.value)
    assert f"{a.name}: imgs, 3 classes, 36 images, content aaaaaaaaaaaa; {b.name}: imgs" in str(caught.value)
    # A folder that was moved and renamed has the same content.
    without_a_test_part(b, "/B/pictures", content="a" * 64)
    assert compare([a.path, b.path]).mcnemar is not None


def test_seeds_of_a_recipe_on_other_data_of_one_name_are_no_one_group(own: dict[str, list[RunFolder]]) -> None:
    from cnnlab.runs.index.run_index import FinishedRun

    a, b = own["fast"][:2]
    for folder, content in ((a, "a"), (b, "a")):
        without_a_test_part(folder, "/A/imgs", content=content)
    assert FinishedRun.load(a).experiment_key == FinishedRun.load(b).experiment_key
    without_a_test_part(b, "/B/imgs", content="b")
    assert FinishedRun.load(a).experiment_key != FinishedRun.load(b).experiment_key


def test_runs_that_do_not_say_what_their_data_held_are_not_compared_image_by_image(
    own: dict[str, list[RunFolder]],
) -> None:
    """Those that were made before it was written down."""
    for folder in (*own["fast"], *own["slow"]):
        without_a_test_part(folder, "/A/imgs", content="")
    found = compare(paths(own["fast"], own["slow"]), delta=0.01)
    said = "The data of these runs is not known to be the same: some of the runs were made before a run wrote down"
    assert any(note.startswith(said) for note in found.notes)
    assert found.comparisons[0].new_images is None
    pair = compare([own["fast"][0].path, own["slow"][0].path])
    assert pair.mcnemar is None
    assert any("their validation images are not known to be the same" in note for note in pair.notes)
    own["slow"][0].write("data.json", own["fast"][0].data().model_copy(update={"classes": ("a", "b", "c")}).to_json())
    with pytest.raises(UsageError, match="these runs are of different data"):
        compare([own["fast"][0].path, own["slow"][0].path])


def test_a_catalogues_data_is_known_by_its_name(own: dict[str, list[RunFolder]]) -> None:
    a, b = own["fast"][0], own["slow"][0]
    for folder, content in ((a, ""), (b, "b" * 64)):
        folder.write("data.json", folder.data().model_copy(update={"source": "cifar10", "content": content}).to_json())
    assert compare([a.path, b.path]).mcnemar is not None


def test_data_that_was_changed_beside_the_same_test_images_is_told(own: dict[str, list[RunFolder]]) -> None:
    a, b = own["fast"][0], own["slow"][0]
    b.write("data.json", b.data().model_copy(update={"content": "b" * 64}).to_json())
    found = compare([a.path, b.path])
    assert found.mcnemar is None
    assert any("changed, packed, or copied without its times" in note for note in found.notes)
    assert compare([a.path, b.path], metric="test_accuracy").mcnemar is not None


@pytest.mark.parametrize(("figure", "has"), [("accuracy", True), ("macro_f1", False)])
def test_only_shares_of_images_have_an_error_that_changes(
    own: dict[str, list[RunFolder]], figure: str, has: bool
) -> None:
    for value, runs in zip((0.5, 0.6, 0.8), own.values(), strict=True):
        for folder in runs:
            changed(
                folder,
                train=folder.result().train.model_copy(update={figure: value + folder.recipe().train.seed / 100}),
            )
    for groups in ([own["middle"], own["slow"]], list(own.values())):
        found = compare(paths(*groups), metric=f"train_{figure}", delta=0.01)
        assert [each.error_change is not None for each in found.comparisons] == [has] * len(found.comparisons)
        (_, checks), *_ = [table for table in found.document().tables if table[0] == "Cross-checks"]
        column = [column.title for column in checks.columns].index("error, relative")
        assert all((row[column] != "–") is has for row in checks.rows)


def test_test_figures_are_compared_where_all_have_some_and_the_looks_are_told(
    own: dict[str, list[RunFolder]],
) -> None:
    found = compare(paths(own["fast"], own["slow"]), metric="test_accuracy", delta=0.01)
    assert found.looks == 18
    assert "opened 18 times" in found.document().to_markdown()
    changed(own["slow"][1], test=None)
    with pytest.raises(RunError) as caught:
        compare(paths(own["fast"], own["slow"]), metric="test_accuracy")
    assert f"this run has no test figures\n  received: {own['slow'][1].name}" in str(caught.value)
    assert f"open it: cnnlab test {own['slow'][1].path}" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"metric": "validation_acuracy"}, "did you mean 'validation_accuracy'?"),
        ({"baseline": "slowly"}, "the baseline is not among the runs\n  received: slowly\n  allowed:  fast, slow"),
        ({"delta": -0.1}, "this is no smallest difference of interest"),
        ({"alpha": 2.0}, "this is no rate of wrong verdicts"),
    ],
)
def test_what_can_not_be_asked(made: dict[str, list[RunFolder]], given: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        compare(paths(made["fast"], made["slow"]), **given)
    assert said in str(caught.value)


def test_one_group_has_nothing_to_be_compared_with(made: dict[str, list[RunFolder]], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="6 finished runs of one recipe, which differ in their seeds alone"):
        compare(paths(made["fast"]))
    with pytest.raises(RunError, match="there is no run here"):
        compare([made["fast"][0].path, tmp_path / "nowhere"])


def test_a_folder_of_runs_stands_for_them(made: dict[str, list[RunFolder]]) -> None:
    found = compare([made["slow"][0].path.parent], metric="validation_loss")
    assert sorted(group.name for group in found.groups) == ["fast", "middle", "slow"]


def test_the_answer_comes_in_every_form(made: dict[str, list[RunFolder]]) -> None:
    found = cnnlab.compare(paths(*made.values()), delta=0.01)
    assert ComparedRuns.from_json(found.to_json()) == found
    picture = ElementTree.fromstring(found.svg())
    texts = [element.text for element in picture.iter() if element.tag.endswith("text")]
    assert {"slow", "middle", "fast"} <= {str(text).strip() for text in texts}
    assert sum(each.verdict in str(text) for each in found.comparisons for text in texts) >= 2
    sheet = found.document().to_markdown()
    assert all(folder.name in sheet for runs in made.values() for folder in runs)
    assert "<img" in found._repr_html_()
