"""The page on which the window moves: its tables, the data of its script, and that it loads nothing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cnnlab.theory.convolution_by_hand.compute import convolve
from cnnlab.theory.convolution_by_hand.page import render_page, step_number
from cnnlab.theory.convolution_by_hand.result import Convolution

IMAGE = [[2, 1, 2, 3, 1], [3, 9, 1, 1, 4], [4, 5, 0, 7, 0]]
KERNEL = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
OTHER = [[1, 2, 3, 4, 5], [-1, 0, 1, 0, -2], [7, 8, 9, 7, 8]]
FOUND = convolve(IMAGE, KERNEL, padding=1)
SEVERAL = convolve([IMAGE, OTHER], [[KERNEL] * 2] * 3, bias=[0.5, -1, 0], stride=(1, 2), padding=1, flip=False)
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def _cells(page: str, kind: str) -> list[str]:
    """The cells of all tables of a kind, in the order in which the script numbers them."""
    tables = re.findall(rf'<table class="{kind}">.*?</table>', page, re.DOTALL)
    return [cell for table in tables for cell in re.findall(r"<td[^>]*>(.*?)</td>", table)]


def _flat(grids: list) -> list[str]:
    return [str(value) for grid in grids for row in grid for value in row]


@pytest.mark.parametrize("found", [FOUND, SEVERAL], ids=["T1", "several"])
def test_the_tables_and_the_data_of_the_script_are_the_results(found: Convolution) -> None:
    page = render_page(found)
    assert _cells(page, "image") == _flat(found.padded)
    assert _cells(page, "kernel") == _flat(found.used_kernels[0])
    assert _cells(page, "output") == _flat(found.outputs)
    steps = json.loads(re.search(r'id="steps">(.*?)</script>', page, re.DOTALL)[1])
    image = _cells(page, "image")
    for shown, step in zip(steps, found.steps, strict=True):
        assert [image[place] for place in shown["pixels"]] == [str(product.pixel) for product in step.products]
        assert shown["products"] == [str(product.product) for product in step.products]
        assert shown["weights"] == [str(product.weight) for product in step.products]
        assert shown["text"].endswith(f"] = {step.text}")
    assert [step_number(found, step) for step in found.steps] == list(range(1, len(found.steps) + 1))


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = render_page(FOUND)
    assert not re.search(r"https?://|url\(|@import| src=| href=|innerHTML", page)


@pytest.mark.full
@pytest.mark.skipif(BROWSER is None, reason="there is no browser")
@pytest.mark.parametrize(("found", "number"), [(FOUND, 7), (SEVERAL, 8)], ids=["T1", "several"])
def test_the_page_opens_at_a_step(found: Convolution, number: int, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(render_page(found), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [str(BROWSER), *options, f"{file.as_uri()}#step={number}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    step = found.steps[number - 1]
    assert f'<span id="number">{number}</span>' in done.stdout
    assert step.text in re.search(r'id="sum">(.*?)</p>', done.stdout)[1]
    assert _cells(done.stdout, "products") == [str(product.product) for product in step.products]
    assert len(re.findall(r'class="known now"', done.stdout)) == 1
