"""Sentences made from the numbers."""

import numpy as np
import pytest

from cnnlab.probe.weights.filters import Filters
from cnnlab.records import EpochRecord, Opening, StepMeans
from cnnlab.report import captions
from cnnlab.report.view import Confusion


def with_losses(view, train: list[float], validation: list[float]) -> list[EpochRecord]:
    return [
        record.model_copy(
            update={
                "train": StepMeans(images=1, loss=train_loss, accuracy=0.5),
                "validation": record.validation.model_copy(update={"loss": loss}),
            }
        )
        for record, train_loss, loss in zip(view.epochs, train, validation, strict=True)
    ]


def opening(run: str) -> Opening:
    return Opening(time="2026-01-01T12:00:00", run=run, test_set="x", purpose="end of the recipe")


def test_overfitting_is_said_with_its_numbers(make_view):
    view = make_view(points=4)
    epochs = with_losses(view, [1.5, 0.9, 0.5, 0.3], [1.4, 0.8, 0.9, 1.1])
    assert captions.loss_caption(epochs, view.result) == (
        "Validation loss is lowest at epoch 2 (0.800); after that training loss falls on while validation loss rises "
        "to 1.10: overfitting."
    )


def test_a_rise_without_falling_training_loss_is_not_called_overfitting(make_view):
    view = make_view(points=3)
    said = captions.loss_caption(with_losses(view, [1.5, 0.9, 1.9], [1.4, 0.8, 1.1]), view.result)
    assert said == "Validation loss is lowest at epoch 2 (0.800); it ends at 1.10."


def test_a_loss_that_still_falls_is_said(make_view):
    view = make_view(points=3)
    said = captions.loss_caption(with_losses(view, [1.5, 1.2, 1.0], [1.4, 1.3, 1.2]), view.result)
    assert (
        said == "Validation loss is lowest at epoch 3 (1.20), the last point: it was still falling when training ended."
    )


def test_without_validation_nothing_is_read_from_it(make_view):
    view = make_view(parts=("train",), curve_parts=())
    for caption in (captions.loss_caption, captions.accuracy_caption):
        assert caption(view.epochs, view.result) == "There is no validation part, so nothing here says when to stop."


def test_one_point_is_not_a_curve(make_view):
    view = make_view(points=1)
    assert captions.loss_caption(view.epochs, view.result).startswith("One point only: at epoch 1 validation loss is ")


def test_a_gap_between_training_and_validation_images_is_said(make_view):
    view = make_view()
    said = captions.accuracy_caption(view.epochs, view.result)
    assert "With the weights of epoch 6 the training images score 0.139 higher than the validation images." in said
    level = view.result.model_copy(update={"train": view.result.validation})
    assert "about as high as the validation images (+0.000)" in captions.accuracy_caption(view.epochs, level)


def test_the_headline_has_accuracy_interval_data_and_cost(make_view):
    title, details = captions.headline(make_view())
    assert title == "73.2 % of 10,000 test images of cifar10 right"
    assert details.startswith("95 % interval 72.3 % to 74.0 %. Trained on 45,000 images, 10 epochs in 3 min 25 s; ")


@pytest.mark.parametrize(("parts", "part"), [(("train", "validation"), "validation"), (("train",), "training")])
def test_a_run_is_judged_by_the_best_part_that_it_has(make_view, parts, part):
    assert f"{part} images" in captions.headline(make_view(parts=parts))[0]


def test_a_diverged_run_says_so(make_view):
    view = make_view(points=3, broken_from=2)
    title, details = captions.headline(view)
    assert title == "The run on cifar10 diverged"
    assert details.startswith("The loss stopped being a number before the end of epoch 3. ")
    assert "stopped being a number" in captions.loss_caption(view.epochs, view.result)


def test_openings_are_counted_by_time_and_by_run(make_view):
    once, several = (opening("a"),), (opening("a"), opening("a"), opening("b"))
    assert captions.ledger(make_view(openings=once)) == "This test set was opened 1 time, by 1 run."
    said = captions.ledger(make_view(openings=several))
    assert said.startswith("This test set was opened 3 times, by 2 runs. Each look")
    assert "never been opened" in captions.ledger(make_view(parts=("train", "validation")))
    assert "not in the ledger" in captions.ledger(make_view(openings=()))
    data = make_view().data.model_copy(update={"parts": {"train": 5}})
    assert "has no test part" in captions.ledger(make_view(parts=("train",), data=data))


def test_the_filters_that_moved_most_are_named():
    before = np.ones((70, 3, 2, 2))
    after = before.copy()
    after[[5, 9, 2]] *= np.array([4.0, 3.0, 2.0]).reshape(3, 1, 1, 1)
    said = captions.filters_caption(Filters("first", before, after))
    assert said.startswith("The first 64 of 70 filters of “first”, 2×2, in colour")
    assert said.endswith("most of all filters 5, 9 and 2.")


@pytest.mark.parametrize(
    ("channels", "how"), [(1, "in grey"), (8, "as the mean of 8 channels"), (3, "in colour, red, green and blue")]
)
def test_the_way_channels_are_shown_is_said(make_filters, channels, how):
    assert how in captions.filters_caption(make_filters(channels=channels))


def test_weights_that_did_not_move_or_are_no_numbers_are_said():
    still = np.ones((2, 1, 3, 3))
    assert captions.filters_caption(Filters("first", still, still)).endswith("Training did not change them.")
    assert captions.filters_caption(Filters("first", still, still * np.nan)).endswith("numbers are drawn as 0.")


def test_the_most_frequent_mistakes_are_named():
    counts = np.array([[8, 2, 0], [5, 5, 0], [0, 1, 9]])
    said = captions.confusion_caption(Confusion("test", counts), ("cat", "dog", "ship"))
    assert "“dog” taken for “cat” (5 of 10, 50.0 %)" in said
    assert said.index("(5 of 10") < said.index("(2 of 10") < said.index("(1 of 10")
    assert captions.confusion_caption(Confusion("test", np.eye(2, dtype=int)), ("a", "b")).endswith(
        "There are no mistakes."
    )


def test_only_verdicts_that_were_given_are_explained(make_view):
    said = captions.claims_caption(make_view().claims)
    assert said.startswith("Not enough evidence: fewer than five runs")
    assert "reproduced" not in said
    assert captions.claims_caption([]) == ""


def test_the_best_and_the_worst_class_are_named(make_view):
    said = captions.class_caption(make_view().result.test)
    assert "best: “frog” (0.85); worst: “bird” (0.61)" in said
    assert captions.class_caption(None) == ""


def test_why_these_weights_were_selected_is_said(make_view):
    assert captions.selection_note(make_view()).startswith(
        "Of the weights of epoch 6 (best validation accuracy), in eval mode"
    )


def test_how_the_start_is_known_is_said():
    before = np.random.default_rng(0).standard_normal((2, 3, 3, 3))
    checked = captions.filters_caption(Filters("first", before, 2 * before, begun="checked"))
    assert "has the digest that the run wrote down" in checked
    assert "digest" not in captions.filters_caption(Filters("first", before, 2 * before))
    other = captions.filters_caption(Filters("first", None, before, begun="other", reason="why"))
    assert other.endswith("What they began as is not what the seed gives now.")
    assert captions.filters_caption(Filters("first", None, before, begun="lost")).endswith("can't be had any more.")
