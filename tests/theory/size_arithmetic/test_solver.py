"""One unknown from the others, against torch's own layers, tried one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnnlab.theory.size_arithmetic.compute import solve_kernel, solve_output, solve_padding
from cnnlab.theory.size_arithmetic.result import NearbySetting
from cnnlab.theory.size_arithmetic.window import SizeSolver, Window

FEW = st.integers(1, 7)
# Each example tries many values.
BRUTE = settings(max_examples=15)


@BRUTE
@given(st.from_type(Window), st.sampled_from(["padding", "kernel", "stride"]), st.integers(1, 30))
def test_every_answer_is_found(
    torch_size: Callable[[Window], int | None], window: Window, unknown: Any, output: int
) -> None:
    most = 120
    padded = (output if window.transposed else window.size) + 2 * window.padding
    last = most if unknown == "padding" else min(most, padded)
    question = {name: getattr(window, name) for name in Window.__dataclass_fields__}
    tried = range(unknown != "padding", last + 1)
    expected = [value for value in tried if torch_size(Window(**{**question, unknown: value})) == output]
    assert [value for value in SizeSolver(window, unknown, output).values() if value <= most] == expected


@BRUTE
@given(st.integers(1, 24), st.integers(1, 24), st.integers(0, 5), st.integers(1, 3), st.booleans())
def test_a_pools_kernel_is_its_stride(
    torch_size: Callable[[Window], int | None], size: int, output: int, padding: int, dilation: int, ceil: bool
) -> None:
    answer = solve_kernel(size, output, padding=padding, dilation=dilation, pool=True, ceil=ceil)
    (axis,) = answer.axes
    values = list(axis.answers)
    alike = {"padding": padding, "dilation": dilation, "pool": True, "ceil": ceil}
    assert values == [k for k in range(1, size + 2 * padding + 1) if torch_size(Window(size, k, k, **alike)) == output]
    assert answer.stride == answer.kernel


@given(st.from_type(Window), st.sampled_from(["padding", "kernel", "stride"]))
def test_the_formula_gives_back_what_went_in(window: Window, unknown: Any) -> None:
    assume(window.output is not None and window.exact.denominator == 1)
    exact = SizeSolver(window, unknown, int(window.exact)).formula()[1]
    assert exact is None or exact == getattr(window, unknown)


@given(st.from_type(Window), st.sampled_from(["padding", "kernel", "stride"]), st.integers(1, 30))
def test_what_fits_exactly_leaves_nothing_over(window: Window, unknown: Any, output: int) -> None:
    solver = SizeSolver(window, unknown, output)
    for value in solver.values():
        found = solver.with_value(value)
        last = (output - 1) * found.stride + found.dilation * (found.kernel - 1)
        assert found.fits == (found.transposed or last + 1 == found.size + 2 * found.padding)
        assert found.transposed or found.left_over == found.size + 2 * found.padding - last - 1


@given(st.from_type(Window))
def test_no_nearer_setting_fits(torch_size: Callable[[Window], int | None], window: Window) -> None:
    assume(window.output is not None and not window.fits and not window.transposed)
    kind = {"dilation": window.dilation, "pool": window.pool, "ceil": window.ceil}
    message = {"size": window.size, "kernel": window.kernel, "stride": window.stride, "padding": window.padding}
    nearest = solve_output(**message, **kind).axes[0].nearest

    def fits(setting: dict[str, int]) -> bool:
        reach = window.dilation * (setting["kernel"] - 1) + 1
        left = setting["size"] + 2 * setting["padding"] - reach
        rules = not window.pool or 2 * setting["padding"] <= setting["kernel"]
        return left >= 0 and left % setting["stride"] == 0 and rules and setting["padding"] < reach

    for name, value in message.items():
        lowest = 0 if name == "padding" else 1
        near = [at for at in range(lowest, value + 60) if fits({**message, name: at})]
        distance = min((abs(at - value) for at in near), default=0)
        expected = [at for at in near if abs(at - value) == distance]
        found = [item for item in nearest if item.change == name]
        assert [getattr(item, name) for item in found] == expected
        assert all(item.output == torch_size(Window(**_told(item), **kind)) for item in found)


def test_no_window_over_padding_alone_is_advised() -> None:
    found = solve_padding(32, 4).axes[0].nearest
    assert (4, 2, 17) not in {(item.kernel, item.stride, item.padding) for item in found}
    assert {item.change for item in found} == {"output", "size", "kernel"}
    assert "padding" not in {item.change for item in solve_output(32, 1, stride=3).axes[0].nearest}


@BRUTE
@given(st.integers(1, 24), FEW, FEW, st.integers(1, 24))
def test_the_nearest_solutions_are_solutions(
    torch_size: Callable[[Window], int | None], size: int, kernel: int, stride: int, output: int
) -> None:
    (axis,) = solve_padding(size, kernel, stride=stride, output=output).axes
    message = {"size": size, "kernel": kernel, "stride": stride, "output": output}
    assert bool(axis.nearest) <= (not axis.fits)
    for item in axis.nearest:
        setting = Window(**_told(item))
        assert torch_size(setting) == item.output
        assert (item.output - 1) * item.stride + item.kernel == item.size + 2 * item.padding
        changed = [name for name, value in message.items() if getattr(item, name) != value]
        assert changed == [item.change]


def _told(item: NearbySetting) -> dict[str, int]:
    return {name: getattr(item, name) for name in ("size", "kernel", "stride", "padding")}
