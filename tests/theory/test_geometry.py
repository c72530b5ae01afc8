"""Sizes solved for any one quantity, against torch itself, brute force, and the exercises that are to be solved."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from fractions import Fraction
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
import torch.nn.functional as functional
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cnnlab.errors import UsageError
from cnnlab.theory.geometry import Slide, Stretch, stretches
from cnnlab.theory.size_answers import solve_kernel, solve_output, solve_padding, solve_stride
from cnnlab.theory.size_records import OutputAnswer, SizeSolution
from cnnlab.theory.size_solvers import Nearby, Puzzle

FEW = st.integers(1, 7)
SIZES, SMALL = st.integers(1, 24), st.integers(0, 3)
PATIENT = settings(deadline=None)


@st.composite
def slides(draw: st.DrawFn, kinds: tuple[str, ...] = ("convolution", "pool", "ceil", "transposed")) -> Slide:
    """Windows of every kind, those that torch refuses among them."""
    kind, kernel, dilation, padding = (draw(of) for of in (st.sampled_from(kinds), FEW, st.integers(1, 4), SMALL))
    # Most windows are to fit on their image.
    smallest = max(dilation * (kernel - 1) - 2 * padding - 2, 1) if kind != "transposed" else 1
    return Slide(
        size=draw(st.integers(smallest, smallest + 23)),
        kernel=kernel,
        stride=draw(FEW),
        padding=padding,
        dilation=dilation,
        pool=kind in ("pool", "ceil"),
        ceil=kind == "ceil",
        transposed=kind == "transposed",
        output_padding=draw(st.integers(0, 3)) if kind == "transposed" else 0,
    )


def _torch_output(slide: Slide) -> torch.Tensor | None:
    """What torch makes of a column of ones; None where it refuses."""
    image = torch.ones(1, 1, slide.size, 1, device="meta")
    kernel = torch.ones(1, 1, slide.kernel, 1, device="meta")
    stride, padding, dilation = (slide.stride, 1), (slide.padding, 0), (slide.dilation, 1)
    try:
        if slide.pool:
            shape = (slide.kernel, 1)
            return functional.max_pool2d(image, shape, stride, padding, dilation, ceil_mode=slide.ceil)
        if slide.transposed:
            more = (slide.output_padding, 0)
            return functional.conv_transpose2d(image, kernel, None, stride, padding, more, 1, dilation)
        return functional.conv2d(image, kernel, None, stride, padding, dilation)
    except RuntimeError:
        return None


def _torch_size(slide: Slide) -> int | None:
    """What torch makes of it; None where it refuses, or, as some transposed convolutions, makes an empty image."""
    made = _torch_output(slide)
    return None if made is None else made.shape[2] or None


def _places(found: Iterable[Stretch]) -> list[int]:
    return sorted(
        place + turn * stretch.every
        for stretch in found
        for turn in range(stretch.times)
        for place in range(stretch.first, stretch.last + 1)
    )


def _brute(question: dict[str, Any], unknown: str, output: int, most: int) -> list[int]:
    """Every value of the unknown with which torch's own layers give the output."""
    return [
        value
        for value in range(unknown != "padding", most + 1)
        if _torch_size(Slide(**{**question, unknown: value})) == output
    ]


@PATIENT
@given(slides())
def test_torch_makes_the_same_size(slide: Slide) -> None:
    assert slide.output == _torch_size(slide)


@PATIENT
@given(slides())
@example(Slide(2, kernel=2, padding=2, dilation=3, transposed=True))
def test_unseen_pixels_are_those_without_a_gradient(slide: Slide) -> None:
    assume(slide.output is not None)
    if slide.pool:
        # A maximum's gradient reaches one pixel only; where the pixels of a window lie is the same as a convolution's.
        covered = torch.zeros(slide.size)
        for window in range(slide.output or 0):
            for tap in range(slide.kernel):
                place = window * slide.stride - slide.padding + tap * slide.dilation
                if 0 <= place < slide.size:
                    covered[place] = 1
    else:
        image = torch.ones(1, 1, slide.size, 1, requires_grad=True)
        kernel = torch.ones(1, 1, slide.kernel, 1)
        stride, padding, dilation = (slide.stride, 1), (slide.padding, 0), (slide.dilation, 1)
        if slide.transposed:
            more = (slide.output_padding, 0)
            made = functional.conv_transpose2d(image, kernel, None, stride, padding, more, 1, dilation)
            empty = [place for place, reached in enumerate(made[0, 0, :, 0].tolist()) if reached == 0]
            assert _places(slide.strip.untouched()[1]) == empty
        else:
            made = functional.conv2d(image, kernel, None, stride, padding, dilation)
        (covered,) = torch.autograd.grad(made.sum(), image)
    lost = [place for place, seen in enumerate(covered.flatten().tolist()) if seen == 0]
    found = slide.strip.idle() if slide.transposed else slide.strip.untouched()[1]
    assert _places(found) == lost


@PATIENT
@given(slides(("convolution",)))
def test_unseen_padding_is_that_of_a_padded_image(slide: Slide) -> None:
    assume(slide.output is not None)
    padded = torch.ones(1, 1, slide.size + 2 * slide.padding, 1, requires_grad=True)
    kernel = torch.ones(1, 1, slide.kernel, 1)
    made = functional.conv2d(padded, kernel, None, (slide.stride, 1), 0, (slide.dilation, 1))
    (covered,) = torch.autograd.grad(made.sum(), padded)
    lost = [place - slide.padding for place, seen in enumerate(covered.flatten().tolist()) if seen == 0]
    front, _, behind = slide.strip.untouched()
    assert _places([*front, *behind]) == [place for place in lost if not 0 <= place < slide.size]


@PATIENT
@given(st.sets(st.integers(-20, 60)))
def test_stretches_hold_exactly_their_pixels(places: set[int]) -> None:
    found = stretches(sorted(places))
    assert _places(found) == sorted(places)
    assert {place for place in range(-30, 70) if any(stretch.holds(place) for stretch in found)} == places
    assert sum(stretch.count for stretch in found) == len(places)


@PATIENT
@given(slides(), st.sampled_from(["padding", "kernel", "stride"]), st.integers(1, 30))
def test_every_answer_is_found(slide: Slide, unknown: Any, output: int) -> None:
    found, any_from = Puzzle(slide, unknown, output).fits()
    most = 120
    values = [answer.value for answer in found if answer.value <= most]
    if any_from is not None:
        assert values[-1] == any_from
        values += range(any_from + 1, most + 1)
    question = {name: getattr(slide, name) for name in Slide.__dataclass_fields__}
    assert values == _brute(question, unknown, output, most)


@PATIENT
@given(SIZES, st.integers(1, 24), st.integers(0, 5), st.integers(1, 3), st.booleans())
def test_a_pools_kernel_is_its_stride(size: int, output: int, padding: int, dilation: int, ceil: bool) -> None:
    answer = solve_kernel(size, output, padding=padding, dilation=dilation, pool=True, ceil=ceil)
    (axis,) = answer.axes
    values = [found.value for found in axis.answers]
    if axis.any_from is not None:
        values += range(axis.any_from + 1, 101)
    alike = {"padding": padding, "dilation": dilation, "pool": True, "ceil": ceil}
    assert values == [k for k in range(1, 101) if _torch_size(Slide(size, k, k, **alike)) == output]
    assert answer.stride == answer.kernel


@PATIENT
@given(slides(), st.sampled_from(["padding", "kernel", "stride"]))
def test_the_formula_gives_back_what_went_in(slide: Slide, unknown: Any) -> None:
    assume(slide.output is not None and slide.exact.denominator == 1)
    exact = Puzzle(slide, unknown, int(slide.exact)).exact
    assert exact is None or exact == getattr(slide, unknown)


@PATIENT
@given(FEW, st.integers(1, 9), st.integers(0, 3), st.integers(1, 4))
def test_a_pools_formula_gives_back_its_kernel(kernel: int, output: int, padding: int, dilation: int) -> None:
    size = (output - 1) * kernel + dilation * (kernel - 1) + 1 - 2 * padding
    assume(size > 0)
    assert Puzzle(Slide(size, 1, padding=padding, dilation=dilation, pool=True), "kernel", output, True).exact == kernel


@PATIENT
@given(slides(), st.sampled_from(["padding", "kernel", "stride"]), st.integers(1, 30))
def test_what_fits_exactly_leaves_nothing_over(slide: Slide, unknown: Any, output: int) -> None:
    puzzle = Puzzle(slide, unknown, output)
    for answer in puzzle.fits()[0]:
        found = puzzle.at(answer.value)
        last = (output - 1) * found.stride + found.dilation * (found.kernel - 1)
        ends = found.transposed or last + 1 == found.size + 2 * found.padding
        assert answer.fits == ends
        assert found.transposed or answer.left_over == found.size + 2 * found.padding - last - 1


@PATIENT
@given(slides(("convolution", "pool", "ceil")))
def test_no_nearer_setting_fits(slide: Slide) -> None:
    assume(slide.output is not None and not slide.fits)
    kind = {"dilation": slide.dilation, "pool": slide.pool, "ceil": slide.ceil}
    told = {"size": slide.size, "kernel": slide.kernel, "stride": slide.stride, "padding": slide.padding}
    nearest = solve_output(**told, **kind).axes[0].nearest

    sound = slide.padding < slide.reach

    def fits(setting: dict[str, int]) -> bool:
        reach = slide.dilation * (setting["kernel"] - 1) + 1
        left = setting["size"] + 2 * setting["padding"] - reach
        rules = not slide.pool or 2 * setting["padding"] <= setting["kernel"]
        return left >= 0 and left % setting["stride"] == 0 and rules and (setting["padding"] < reach or not sound)

    for name, value in told.items():
        lowest = 0 if name == "padding" else 1
        near = [at for at in range(lowest, value + 60) if fits({**told, name: at})]
        distance = min((abs(at - value) for at in near), default=0)
        expected = [at for at in near if abs(at - value) == distance]
        found = [item for item in nearest if item.change == name]
        assert [getattr(item, name) for item in found] == expected
        assert all(item.output == _torch_size(Slide(**_told(item), **kind)) for item in found)


def test_no_window_over_padding_alone_is_advised() -> None:
    found = solve_padding(32, 4).axes[0].nearest
    assert (4, 2, 17) not in {(item.kernel, item.stride, item.padding) for item in found}
    assert {item.change for item in found} == {"output", "size", "kernel"}
    assert "padding" not in {item.change for item in solve_output(32, 1, stride=3).axes[0].nearest}


def _told(item: Nearby) -> dict[str, int]:
    return {name: getattr(item, name) for name in ("size", "kernel", "stride", "padding")}


@PATIENT
@given(st.integers(1, 24), FEW, FEW, st.integers(1, 24))
def test_the_nearest_solutions_are_solutions(size: int, kernel: int, stride: int, output: int) -> None:
    (axis,) = solve_padding(size, kernel, stride=stride, output=output).axes
    told = {"size": size, "kernel": kernel, "stride": stride, "output": output}
    assert bool(axis.nearest) <= (not axis.fits)
    for item in axis.nearest:
        setting = Slide(**_told(item))
        assert _torch_size(setting) == item.output
        assert (item.output - 1) * item.stride + item.kernel == item.size + 2 * item.padding
        changed = [name for name, value in told.items() if getattr(item, name) != value]
        assert changed == [item.change]


@pytest.mark.parametrize("kernel", [2, 4, 7, 10])
@pytest.mark.parametrize("dilation", [1, 3])
def test_unequal_padding_is_that_of_torchs_same(kernel: int, dilation: int) -> None:
    answer = solve_padding(16, kernel, dilation=dilation)
    image = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(1, 1, kernel, kernel, generator=torch.Generator().manual_seed(1))
    front, behind = answer.axes[0].unequal or (answer.padding, answer.padding)
    by_hand = functional.pad(image, (front, behind, front, behind))
    with warnings.catch_warnings():
        # Once in a process torch warns that an odd padding costs a copy.
        warnings.simplefilter("ignore")
        same = functional.conv2d(image, weight, padding="same", dilation=dilation)
    assert torch.allclose(functional.conv2d(by_hand, weight, dilation=dilation), same, atol=1e-5)
    assert (answer.axes[0].unequal is not None) == (dilation * (kernel - 1) % 2 == 1)


def test_exercise_padding_that_keeps_the_size() -> None:
    answer = solve_padding(32, 7)
    assert (answer.padding, answer.exact, answer.fits) == (3, "3", True)
    assert "P = ((S − 1)·W − S + F) / 2" in _text(answer)


def test_exercise_kernel() -> None:
    answer = solve_kernel(512, 508, stride=1, padding=0)
    assert (answer.kernel, answer.fits) == (5, True)


def test_exercises_one_layer_after_another() -> None:
    assert solve_output(508, 2, pool=True).size == 254
    assert solve_output(254, 3).size == 252


def test_exercise_parameters() -> None:
    answer = solve_output(32, 4, padding=2, stride=2, channels=3, filters=32)
    assert (answer.shape, answer.weights, answer.biases, answer.parameters) == ((32, 17, 17), 1536, 32, 1568)
    assert "parameters = 32·3·4·4 + 32 = 1,536 + 32 = 1,568" in _text(answer)
    layer = torch.nn.Conv2d(3, 32, 4, 2, 2, device="meta")
    assert sum(weights.numel() for weights in layer.parameters()) == answer.parameters


def test_exercise_that_does_not_fit() -> None:
    answer = solve_output(32, 5, padding=2, stride=2, channels=3, filters=32)
    (axis,) = answer.axes
    assert (answer.size, answer.exact, answer.fits, axis.left_over) == (16, "33/2", False, 1)
    assert (_places(axis.unseen), _places(axis.unseen_padding)) == ([], [33])
    assert axis.notes == (
        "33/2 = 16.5 is no size: torch rounds down and makes 16.",
        "Only padding is left over: the last row and column of padding. No pixel of the image is lost.",
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": 32, "kernel": 3, "stride": 2}, "Never seen: the last row and column of the image (31)."),
        ({"size": 33, "kernel": 5, "stride": 5}, "Never seen: the last 3 rows and columns of the image (30–32)."),
        ({"size": (9, 8), "kernel": 2, "stride": 2}, "Never seen: the last row of the image (8)."),
        (
            {"size": 9, "kernel": 1, "stride": 2},
            "every second row and column of the image, from 1 to 7 (counted from 0)",
        ),
        ({"size": 10, "kernel": 1, "stride": 3}, "6 rows and columns of the image: 1–2, 4–5, 7–8 (counted from 0)"),
        ({"size": 10, "kernel": 1, "stride": 3}, "The windows span 1 and move by 3: they step over what lies between."),
        ({"size": 9, "kernel": 2, "dilation": 2, "stride": 2}, "The window's pixels lie 2 apart"),
        ({"size": 32, "kernel": 3, "stride": 3, "padding": 2}, "Every row and column of the image is seen, and all"),
        (
            {"size": 33, "kernel": 5, "stride": 4, "padding": 1},
            "Never seen: the last row and column of the image (32).",
        ),
        ({"size": 33, "kernel": 5, "stride": 4, "padding": 1}, "Nor is the last row and column of the padding."),
        ({"size": 7, "kernel": 2, "pool": True, "ceil": True}, "The last window sticks out by 1 row and column behind"),
        ({"size": 5, "kernel": 2, "stride": 3, "transposed": True}, "No input reaches every third row and column"),
        ({"size": 5, "kernel": 3, "stride": 2, "transposed": True}, "can show as a checkerboard"),
        ({"size": 5, "kernel": 1, "padding": 1, "transposed": True}, "cuts off all that comes of 2 rows and columns"),
    ],
)
def test_words_of_an_output(arguments: dict[str, Any], words: str) -> None:
    answer = solve_output(**arguments)
    assert any(words in note for axis in answer.axes for note in axis.notes), answer.axes


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (solve_padding(32, 4), "The padding is odd, 3 in all, so that no equal padding fits; padding='same' puts 1 in"),
        (solve_padding(32, 4), "No padding gives 32: in torch padding 1 gives 31 and padding 2 gives 33."),
        (solve_padding(32, 5, stride=2, output=16), "padding by hand can put 1 in front and 2 behind."),
        (solve_padding(32, 5, stride=2, output=16), "With padding 2: only padding is left over"),
        (solve_padding(32, 3, output=20), "Exactly, the padding would be −5, which is below 0."),
        (solve_padding(8, 2, stride=1, output=11, pool=True), "would be 2, but a pool's padding is half its kernel"),
        (solve_padding(8, 3, output=12), "Padding 3 is as wide as the window or wider"),
        (solve_stride(32, 1, 5), "Any stride from 28 on gives 1."),
        (solve_stride(32, 1, 5), "Where one window is wanted, the stride drops out of the formula."),
        (solve_stride(1, 4, 4, transposed=True), "Where one pixel goes in, the stride drops out of the formula."),
        (solve_stride(3, 1, 5), "No stride gives 1: in torch stride 1 is refused."),
        (solve_stride(32, 20, 3), "No stride gives 20: in torch stride 1 gives 30 and stride 2 gives 15."),
        (solve_kernel(16, 7, stride=2), "2 values of the kernel give 7; only one of them fits exactly."),
        (
            solve_kernel(32, 9, stride=3, dilation=2),
            "Exactly, the kernel would be 9/2 = 4.5, which is no whole number.",
        ),
    ],
)
def test_words_of_a_solution(answer: SizeSolution, words: str) -> None:
    assert any(words in note for axis in answer.axes for note in axis.notes), answer.axes


def test_the_smallest_that_fits_exactly_is_the_answer() -> None:
    answer = solve_kernel(16, 7, stride=2)
    assert [(found.value, found.fits, found.left_over) for found in answer.axes[0].answers] == [
        (3, False, 1),
        (4, True, 0),
    ]
    assert (answer.kernel, answer.fits) == (4, True)
    assert solve_padding(32, 5, stride=2, output=16).padding == 2
    assert solve_stride(32, 20, 3).stride is None


def test_the_largest_numbers_are_answered_at_once() -> None:
    answer = solve_output(65_536, 20_000, stride=3, dilation=3)
    assert answer.size == (65_536 - 3 * 19_999 - 1) // 3 + 1
    assert solve_padding(32, 7, stride=60_000, output=60_000).padding is None


def test_two_dimensions_are_told_apart() -> None:
    answer = solve_output((32, 30), 5, padding=(2, 0), stride=2)
    image = torch.empty(1, 1, 32, 30, device="meta")
    made = functional.conv2d(image, torch.empty(1, 1, 5, 5, device="meta"), stride=2, padding=(2, 0))
    assert answer.size == tuple(made.shape[2:])
    assert (answer.exact, [axis.axis for axis in answer.axes]) == (("33/2", "27/2"), ["rows", "columns"])
    assert solve_stride((32, 64), 16, 4, padding=(1, 0)).stride == (2, 4)
    assert solve_padding(32, (7, 4)).padding == (3, None)
    assert OutputAnswer.from_json(answer.to_json()) == answer


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: solve_output(3, 5), "a window of 5 pixels does not fit on 3\n.*size 3, padding 0.*or the padding 1"),
        (lambda: solve_output(3, 3, dilation=2), r"a window of 5 \(kernel 3, with its gaps\) pixels does not fit on 3"),
        (lambda: solve_output(0, 5), "size: size is a whole number from 1 on\n.*0\n.*1 to 65,536"),
        (lambda: solve_output(9, 2.5), "kernel is a whole number from 1 on\n.*2.5"),  # type: ignore[arg-type]
        (lambda: solve_output((1, 2, 3), 5), "size is one number or two"),  # type: ignore[arg-type]
        (lambda: solve_output(9, 3, ceil=True), "only pools round up.*\n.*ceil without pool\n.*leave ceil out"),
        (lambda: solve_output(9, 3, pool=True, transposed=True), "a pool is not transposed"),
        (lambda: solve_output(9, 3, output_padding=1), "output padding is of transposed convolutions"),
        (
            lambda: solve_output(9, 3, stride=2, transposed=True, output_padding=2),
            "less than the stride.*\n.*\n.*0 to 1",
        ),
        (lambda: solve_output(9, 3, padding=2, pool=True), "half its kernel at most\n.*padding 2, kernel 3\n.*0 to 1"),
        (lambda: solve_output(2, 1, padding=1, transposed=True), "cuts off the whole output\n.*of 2 pixels\n.*up to 0"),
        (lambda: solve_output(60_000, 3, stride=2, transposed=True), "the output is too large"),
        (lambda: solve_output(9, 3, channels=3), "filters: .* by channels and filters together\n.*channels alone"),
        (lambda: solve_output(9, 3, filters=3), "channels: .* by channels and filters together\n.*filters alone"),
        (lambda: solve_output(9, 3, channels=0, filters=3), "channels is a whole number from 1 on"),
        (lambda: solve_output(9, 3, pool=True, channels=3, filters=3), "a pool has no filters"),
        (lambda: solve_padding(9, 3, output=0), "output is a whole number from 1 on"),
    ],
)
def test_errors_say_what_and_where(call: Any, words: str) -> None:
    with pytest.raises(UsageError, match=re.compile(words, re.DOTALL)):
        call()


def test_a_pool_keeps_its_channels() -> None:
    answer = solve_output(8, 2, pool=True, channels=5)
    assert (answer.shape, answer.parameters) == ((5, 4, 4), 0)


@PATIENT
@given(slides(), st.sampled_from(["output", "padding", "kernel", "stride"]))
def test_sheets_work_out_what_they_say(slide: Slide, unknown: str) -> None:
    """The arithmetic as it is written comes to the fraction beside it."""
    assume(slide.output is not None)
    answer = _asked(slide, unknown)
    for line in answer.sheet().lines:
        text = line if isinstance(line, str) else line.text
        parts = text.split(" = ")
        if not re.search(r"\d", parts[1]) or re.search(r"[A-Z]", parts[1]) or len(parts) < 3 or "less" in text:
            continue
        worked, value = (part.split(" ≈ ")[0].replace("−", "-").replace("·", "*") for part in parts[1:3])
        counted = eval(re.sub(r"\d+", r"Fraction(\g<0>)", worked), {"Fraction": Fraction})
        assert counted == Fraction(value), text


def _asked(slide: Slide, unknown: str) -> OutputAnswer | SizeSolution:
    told = {name: getattr(slide, name) for name in Slide.__dataclass_fields__ if name != unknown}
    if unknown == "output":
        return solve_output(**told)
    solve = {"padding": solve_padding, "kernel": solve_kernel, "stride": solve_stride}[unknown]
    return solve(output=slide.output, **told)  # type: ignore[operator,no-any-return]


@PATIENT
@given(slides())
def test_pictures_are_drawn_of_every_window(slide: Slide) -> None:
    assume(slide.output is not None)
    answer = _asked(slide, "output")
    assert isinstance(answer, OutputAnswer)
    root = ElementTree.fromstring(answer.svg())
    titles = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
    windows = {text for text in titles if text and text.startswith(("output", "input"))}
    last = max(slide.strip.window(slide.strip.windows - 1)[-1] + 1, slide.strip.inner + slide.padding)
    if slide.padding + last <= 76:
        assert len(windows) == (slide.size if slide.transposed else slide.output)
    width = float(root.attrib["width"])
    for box in root.iter("{http://www.w3.org/2000/svg}rect"):
        if "x" in box.attrib:
            assert 0 <= float(box.attrib["x"]) <= float(box.attrib["x"]) + float(box.attrib["width"]) <= width


def test_long_pictures_show_their_ends() -> None:
    svg = solve_output(512, 5, stride=2, padding=2).svg()
    root = ElementTree.fromstring(svg)
    for line in root.iter("{http://www.w3.org/2000/svg}polyline"):
        places = [float(point.split(",")[0]) for point in line.attrib["points"].split()]
        assert 0 < min(places) <= max(places) < float(root.attrib["width"])
    assert "output 0: pixels -2 to 2" in svg
    assert "output 255: pixels 508 to 512" in svg
    assert "output 100:" not in svg


def test_notebooks_show_the_sheet_and_its_picture() -> None:
    html = solve_output(9, 3, stride=2)._repr_html_()
    assert "data:image/svg+xml" in html
    assert "(9 − 3 + 2·0) / 2 + 1 = 4" in html
    assert "Padding of a convolution, 32 → 32: 3" in solve_padding(32, 7)._repr_html_()


def _text(answer: OutputAnswer | SizeSolution) -> list[str]:
    return [line if isinstance(line, str) else line.text for line in answer.sheet().lines]
