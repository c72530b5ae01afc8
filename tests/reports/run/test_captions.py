"""Numbers in sentences are those of the records; the sentences themselves are read in test_documents.py."""

import numpy as np
import pytest

from cnnlab.reports.run import captions
from cnnlab.reports.run.contents import ConfusionMatrix
from cnnlab.stats.intervals import wilson_interval


@pytest.mark.parametrize(("parts", "part"), [(("train", "validation", "test"), "test"), (("train",), "train")])
def test_a_run_is_judged_by_the_best_part_that_it_has_with_its_interval(make_view, parts, part):
    view = make_view(parts=parts)
    score = getattr(view.result, part)
    title, details = captions.headline(view)
    assert title.startswith(f"{100 * score.accuracy:.1f} % of {score.images:,} {part}")
    low, high = wilson_interval(round(score.accuracy * score.images), score.images)
    assert f"{100 * low:.1f} % to {100 * high:.1f} %" in details


def test_a_gap_between_training_and_validation_images_is_said(make_view):
    view = make_view()
    gap = view.result.train.accuracy - view.result.validation.accuracy
    assert f"{gap:.3f} higher" in captions.accuracy_caption(view.epochs, view.result)


def test_the_most_frequent_mistakes_are_named_in_their_order():
    counts = np.random.default_rng(0).permutation(9).reshape(3, 3)
    said = captions.confusion_caption(ConfusionMatrix("test", counts), ("cat", "dog", "ship"))
    wrong = sorted(((counts[i, j], i) for i in range(3) for j in range(3) if i != j and counts[i, j]), reverse=True)[:3]
    places = [said.index(f"({count}, {100 * count / counts[row].sum():.1f} %)") for count, row in wrong]
    assert places == sorted(places)
