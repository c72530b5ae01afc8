"""Where pictures may go."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnlab.cli.output.figure_files import check_figure_path
from cnnlab.errors import UsageError


@pytest.mark.parametrize(
    ("given", "step"),
    [
        ("", "--output maps.png"),
        (".", "--output maps.png"),
        ("..", "--output maps.png"),
        ("../..", "--output maps.png"),
        ("plot", "--output plot.png"),
        ("plot.jpg", "--output plot.png"),
    ],
)
def test_what_is_no_picture_is_told_with_a_name_that_is_one(given: str, step: str) -> None:
    with pytest.raises(UsageError, match="this is no name for a picture") as caught:
        check_figure_path(Path(given), "maps.png")
    (problem,) = caught.value.problems
    assert problem.next_step == step
    assert check_figure_path(Path(step.removeprefix("--output ")), "maps.png").suffix == ".png"
